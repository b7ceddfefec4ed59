// SPDX-License-Identifier: GPL-3.0-or-later
//! Disks as programs for virtual machines keep them, told by content.

/// A format that qemu-img reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtual {
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's.
    Vhdx,
}

impl Virtual {
    /// For QEMU: a file of exactly this format, which has nothing behind it, whatever it says itself.
    pub fn described(self, name: &str) -> String {
        let file = serde_json::json!({ "driver": "file", "filename": name });
        let mut node = serde_json::json!({ "driver": self.as_str(), "file": file });
        if matches!(self, Virtual::Qcow2 | Virtual::Vmdk) {
            node["backing"] = serde_json::Value::Null;
        }
        format!("json:{node}")
    }

    /// By content. `head`: how the file begins.
    pub fn recognise(head: &[u8]) -> Option<Virtual> {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
        match () {
            () if at(0, b"QFI\xfb") => Some(Virtual::Qcow2),
            () if at(0, b"KDMV") => Some(Virtual::Vmdk),
            () if at(64, &0xbeda_107f_u32.to_le_bytes()) => Some(Virtual::Vdi),
            () if at(0, b"vhdxfile") => Some(Virtual::Vhdx),
            () => None,
        }
    }

    /// As qemu-img calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Virtual::Qcow2 => "qcow2",
            Virtual::Vmdk => "vmdk",
            Virtual::Vdi => "vdi",
            Virtual::Vhdx => "vhdx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_content() {
        let mut vdi = vec![0; 512];
        vdi[64..68].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        for (head, format) in [
            (&b"QFI\xfb\0\0\0\x03"[..], Some(Virtual::Qcow2)),
            (b"KDMV", Some(Virtual::Vmdk)),
            (b"vhdxfile", Some(Virtual::Vhdx)),
            (&vdi, Some(Virtual::Vdi)),
            (b"# Disk DescriptorFile", None),
            (b"", None),
        ] {
            assert_eq!(Virtual::recognise(head), format);
        }
    }
}
