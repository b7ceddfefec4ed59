// SPDX-License-Identifier: GPL-3.0-or-later
//! Which machines a kernel and an agent are for. No I/O.

use serde::{Deserialize, Serialize};

/// A machine's architecture, by Debian's name (dpkg-architecture(1)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64, with a BIOS or UEFI.
    #[default]
    Amd64,
    /// 64-bit ARM, with UEFI.
    Arm64,
}

/// Bytes from the start of a kernel that [`Architecture::of_kernel`] needs. The boot header of x86 is the farthest but for
/// PE's, which lies behind some code of the kernel's choice.
pub const KERNEL_BYTES: usize = 0x1000;

impl Architecture {
    /// Its name, as in manifests and package names.
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// Whether it is the one that manifests do not name.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What a boot loader says that its machine is: iPXE's `${buildarch}`, GRUB's `$grub_cpu`. A 32-bit iPXE starts 64-bit
    /// kernels too, and older scripts of ours do not ask.
    pub fn of_boot_loader(word: Option<&str>) -> Architecture {
        match word {
            Some("arm64") => Architecture::Arm64,
            _ => Architecture::Amd64,
        }
    }

    /// What a kernel or EFI program is for. `head`: its first [`KERNEL_BYTES`] bytes, or fewer if it has no more; unpacked, if
    /// gzip has packed it. `None`: it is for other machines, or is no kernel.
    pub fn of_kernel(head: &[u8]) -> Option<Architecture> {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
        // Documentation/arch/x86/boot.rst; Documentation/arch/arm64/booting.rst.
        if at(0x202, b"HdrS") {
            return Some(Architecture::Amd64);
        }
        if at(0x38, b"ARM\x64") {
            return Some(Architecture::Arm64);
        }
        // PE (the COFF header's Machine), as EFI programs, unified kernel images and arm64's vmlinuz.efi have it.
        let pe = u32::from_le_bytes(head.get(0x3c..0x40)?.try_into().ok()?) as usize;
        let coff = head.get(pe..).filter(|b| b.starts_with(b"PE\0\0"))?;
        match u16::from_le_bytes(coff.get(4..6)?.try_into().ok()?) {
            0x8664 => Some(Architecture::Amd64),
            0xaa64 => Some(Architecture::Arm64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernels_by_their_headers() {
        let with = |parts: &[(usize, &[u8])]| {
            let mut head = vec![0; KERNEL_BYTES];
            parts.iter().for_each(|(at, bytes)| head[*at..at + bytes.len()].copy_from_slice(bytes));
            Architecture::of_kernel(&head)
        };
        assert_eq!(with(&[(0x202, b"HdrS")]), Some(Architecture::Amd64));
        assert_eq!(with(&[(0x38, b"ARM\x64")]), Some(Architecture::Arm64));
        let pe = |machine: &[u8]| with(&[(0x3c, &[0x80]), (0x80, b"PE\0\0"), (0x84, machine)]);
        assert_eq!(pe(&[0x64, 0x86]), Some(Architecture::Amd64));
        assert_eq!(pe(&[0x64, 0xaa]), Some(Architecture::Arm64));
        assert_eq!(pe(&[0x4c, 0x01]), None, "32-bit x86");
        assert_eq!(with(&[]), None);
        assert_eq!(Architecture::of_kernel(b"MZ"), None);
    }

    #[test]
    fn what_boot_loaders_say() {
        for (word, is) in
            [(None, "amd64"), (Some("i386"), "amd64"), (Some("x86_64"), "amd64"), (Some("arm64"), "arm64")]
        {
            assert_eq!(Architecture::of_boot_loader(word).as_str(), is, "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_kernels_are_none(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Architecture::of_kernel(&head);
        }
    }
}
