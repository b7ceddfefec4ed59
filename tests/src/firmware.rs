// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine in QEMU starts with: firmware, and the processor and boot ROM that go with it.

use anyhow::{Context, Result};
use std::path::Path;

/// iPXE as it is in a virtio card's boot ROM (package ipxe-qemu): in bookworm, in trixie.
const ROMS: [&str; 2] = ["/usr/lib/ipxe/qemu/pxe-virtio.rom", "/usr/share/qemu/pxe-virtio.rom"];

/// UEFI firmware (package ovmf).
const OVMF: &str = "/usr/share/OVMF/OVMF";
/// That for arm64 (package qemu-efi-aarch64).
const AAVMF: &str = "/usr/share/AAVMF/AAVMF";

/// What a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// UEFI that starts what it is given.
    Uefi,
    /// UEFI with Microsoft's keys, and Secure Boot switched on.
    SecureBoot,
    /// UEFI of a machine with 64-bit ARM.
    Arm64,
}

impl Firmware {
    /// QEMU's machine. Firmware and iPXE write to the serial port too, with graphics=off.
    pub fn machine(self) -> &'static str {
        match self {
            // Secure Boot's variables are safe only from code that is not in system management mode.
            Firmware::SecureBoot => "q35,smm=on,graphics=off",
            Firmware::Bios | Firmware::Uefi => "pc,graphics=off",
            Firmware::Arm64 => "virt",
        }
    }

    /// QEMU's program, and the processor.
    pub fn emulator(self) -> (&'static str, &'static str) {
        match self {
            // With erms and fsrm kernels copy and clear byte by byte, which is slow to emulate.
            Firmware::Bios | Firmware::Uefi | Firmware::SecureBoot => {
                ("qemu-system-x86_64", "max,-erms,-fsrm")
            }
            // A later one signs pointers, which is slow to emulate.
            Firmware::Arm64 => ("qemu-system-aarch64", "cortex-a72"),
        }
    }

    /// UEFI's code, and its variables as they are in a new machine.
    pub fn files(self) -> (String, String) {
        match self {
            Firmware::Arm64 => (format!("{AAVMF}_CODE.fd"), format!("{AAVMF}_VARS.fd")),
            Firmware::SecureBoot => (format!("{OVMF}_CODE_4M.ms.fd"), format!("{OVMF}_VARS_4M.ms.fd")),
            Firmware::Bios | Firmware::Uefi => (format!("{OVMF}_CODE_4M.fd"), format!("{OVMF}_VARS_4M.fd")),
        }
    }
}

/// The boot ROM and the card that it fits. The BIOS runs a ROM only on a card of the very type that
/// the ROM names, and which of virtio's two types that is differs between releases of ipxe-qemu.
pub fn rom() -> Result<String> {
    let path = ROMS.into_iter().find(|p| Path::new(p).exists());
    let path = path.with_context(|| format!("none of {ROMS:?} is there: install ipxe-qemu"))?;
    let rom = std::fs::read(path).with_context(|| format!("reading {path}"))?;
    // The PCI header that is pointed to at 0x18: "PCIR", vendor, device.
    let header = rom.get(0x18..0x1a).map_or(0, |p| usize::from(p[0]) | usize::from(p[1]) << 8);
    let modern = rom.get(header..).is_some_and(|h| h.starts_with(b"PCIR\xf4\x1a\x41\x10"));
    Ok(format!("{path},{}", if modern { "disable-legacy=on" } else { "disable-modern=on" }))
}
