// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the kernel of an image can mount its root: what a filesystem is compressed with is a kernel's option. What
//! no machine could mount is refused here, before each of them has fetched it.

use super::{request::Request, taken::Boot};
use anyhow::{Context, Result, bail};
use bootspec::manifest::{Format, MAGIC_BYTES};
use std::{fs::File, io::Read, path::Path};

/// A compression, and the kernel's option for it; without one no kernel has it.
type Compressor = (&'static str, Option<&'static str>);

/// Refuse an image whose kernel cannot mount it.
pub fn check(image: &Path, format: Format, boot: &Boot, request: &Request) -> Result<()> {
    let shown = request.source.display().to_string();
    let mut head = Vec::new();
    let file = File::open(image).with_context(|| format!("opening {shown}"))?;
    file.take(MAGIC_BYTES as u64).read_to_end(&mut head).with_context(|| format!("reading {shown}"))?;
    check_head(&head, format, boot, &format!("'{shown}'"))
}

/// The same of the first bytes of a filesystem.
pub fn check_head(head: &[u8], format: Format, boot: &Boot, shown: &str) -> Result<()> {
    let name = format.as_str();
    for (compressor, option) in compressors(head, format) {
        let Some(option) = option else {
            bail!(
                "{shown} is a {name} compressed with {compressor}, which no kernel mounts: pack it with zstd or xz"
            );
        };
        if !boot.has_option(option) {
            bail!(
                "{shown} is a {name} compressed with {compressor}, which its kernel {} cannot mount (CONFIG_{option} is \
                 not set): pack it with another compression",
                boot.version.as_deref().unwrap_or(&boot.kernel.from)
            );
        }
    }
    Ok(())
}

/// What a filesystem is compressed with: its superblock says so.
fn compressors(head: &[u8], format: Format) -> Vec<Compressor> {
    let number = |at: usize| head.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    match format {
        // Documentation/filesystems/squashfs.rst; the numbers are in fs/squashfs/squashfs_fs.h.
        Format::Squashfs => match number(20) {
            1 => vec![("gzip", Some("SQUASHFS_ZLIB"))],
            2 => vec![("lzma", None)],
            3 => vec![("lzo", Some("SQUASHFS_LZO"))],
            4 => vec![("xz", Some("SQUASHFS_XZ"))],
            5 => vec![("lz4", Some("SQUASHFS_LZ4"))],
            6 => vec![("zstd", Some("SQUASHFS_ZSTD"))],
            _ => vec![("something unknown", None)],
        },
        // fs/erofs/erofs_fs.h: feature_incompat has COMPR_CFGS, and then there is a bitmap of algorithms.
        Format::Erofs if number(1024 + 80) & 0x2 != 0 => {
            let algorithms = number(1024 + 84);
            let all = [
                (2, "lzma", "EROFS_FS_ZIP_LZMA"),
                (4, "deflate", "EROFS_FS_ZIP_DEFLATE"),
                (8, "zstd", "EROFS_FS_ZIP_ZSTD"),
            ];
            all.iter()
                .filter(|(bit, ..)| algorithms & bit != 0)
                .map(|(_, name, o)| (*name, Some(*o)))
                .collect()
        }
        Format::Erofs | Format::Ext4 => Vec::new(),
    }
}
