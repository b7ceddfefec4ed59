// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether a filesystem is all there, as its superblock says.

use bootspec::manifest::Format;

/// Whether the file holds all that its superblock says. `head`: at least [`MAGIC_BYTES`](bootspec::manifest::MAGIC_BYTES) where there are so many.
pub fn whole(format: Format, head: &[u8], len: u64) -> Result<(), String> {
    // A file too short for its superblock has fields of zeros here, and is caught by its length.
    let bytes = |at: usize| {
        head.get(at..at + 4).map_or(0, |b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
    };
    let need = match format {
        Format::Squashfs => {
            let version = bytes(28) & 0xffff;
            if head.len() >= 96 && version != 4 {
                return Err(format!("is a squashfs of version {version}: only version 4 can be booted"));
            }
            (bytes(40) | bytes(44) << 32).max(96)
        }
        Format::Erofs => {
            let bits = bytes(1024 + 12) & 0xff;
            bytes(1024 + 36).checked_shl(bits as u32).unwrap_or(u64::MAX).max(1024 + 128)
        }
        Format::Ext4 => {
            let incompat = bytes(1024 + 0x60);
            if incompat & 0x4 != 0 {
                return Err("was not unmounted cleanly: run `e2fsck -f` on it first".into());
            }
            let high = if incompat & 0x80 != 0 { bytes(1024 + 0x150) } else { 0 };
            let blocks = bytes(1024 + 4) | high << 32;
            let block = 1024u64.checked_shl(bytes(1024 + 24) as u32).unwrap_or(u64::MAX);
            blocks.saturating_mul(block).max(2048)
        }
    };
    if len < need {
        return Err(format!("is truncated: its {} needs {need} bytes, the file has {len}", format.as_str()));
    }
    Ok(())
}
