// SPDX-License-Identifier: GPL-3.0-or-later
//! Which firmware starts an ISO: its boot catalogue ("El Torito", Phoenix and IBM, 1995; UEFI, 13.3.2.1).

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{fs::File, os::unix::fs::FileExt};

/// A sector of a CD.
const SECTOR: u64 = 2048;
/// The sector that says where the catalogue is.
const BOOT_RECORD: u64 = 17;
/// A record of the catalogue.
const RECORD: usize = 32;

/// For which firmware something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    /// A BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// Either.
    Both,
}

impl FirmwareKind {
    /// Whether a BIOS starts it.
    pub fn bios(self) -> bool {
        self != FirmwareKind::Uefi
    }

    /// Whether UEFI does.
    pub fn uefi(self) -> bool {
        self != FirmwareKind::Bios
    }
}

/// Which firmware starts this ISO. Errors: none does, or it is something else.
pub fn firmware(iso: &File) -> Result<FirmwareKind> {
    let sector = |number: u64| -> Result<[u8; SECTOR as usize]> {
        let mut bytes = [0; SECTOR as usize];
        iso.read_exact_at(&mut bytes, number * SECTOR).context("it is too short for an ISO")?;
        Ok(bytes)
    };
    let record = sector(BOOT_RECORD)?;
    if &record[..7] != b"\0CD001\x01" || &record[7..30] != b"EL TORITO SPECIFICATION" {
        bail!("it is not a bootable ISO: it has no El Torito boot record");
    }
    let at = u32::from_le_bytes([record[0x47], record[0x48], record[0x49], record[0x4a]]);
    let catalogue = sector(at.into()).context("its boot catalogue cannot be read")?;
    let (mut bios, mut uefi) = (false, false);
    let mut platform = catalogue[1];
    for record in catalogue.chunks_exact(RECORD).skip(1) {
        match (record[0], platform) {
            // A section of boot images, and the last one.
            (0x90 | 0x91, _) => platform = record[1],
            (0x88, 0x00) => bios = true,
            (0x88, 0xef) => uefi = true,
            _ => {}
        }
    }
    match (bios, uefi) {
        (true, true) => Ok(FirmwareKind::Both),
        (true, false) => Ok(FirmwareKind::Bios),
        (false, true) => Ok(FirmwareKind::Uefi),
        (false, false) => {
            bail!("it is not a bootable ISO: nothing in its boot catalogue is for BIOS or UEFI")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(catalogue: &[&[u8]]) -> Result<FirmwareKind> {
        let mut bytes = vec![0; 20 * SECTOR as usize];
        let record = BOOT_RECORD as usize * SECTOR as usize;
        bytes[record..record + 7].copy_from_slice(b"\0CD001\x01");
        bytes[record + 7..record + 30].copy_from_slice(b"EL TORITO SPECIFICATION");
        bytes[record + 0x47] = 19;
        for (n, entry) in catalogue.iter().enumerate() {
            let at = 19 * SECTOR as usize + n * RECORD;
            bytes[at..at + entry.len()].copy_from_slice(entry);
        }
        of(&bytes)
    }

    fn of(bytes: &[u8]) -> Result<FirmwareKind> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        firmware(&file)
    }

    #[test]
    fn catalogues() {
        let (valid, efi) = ([1, 0, 0, 0], [1, 0xef, 0, 0]);
        assert_eq!(read(&[&valid, &[0x88]]).unwrap(), FirmwareKind::Bios);
        assert_eq!(read(&[&efi, &[0x88]]).unwrap(), FirmwareKind::Uefi);
        assert_eq!(read(&[&valid, &[0x88], &[0x91, 0xef, 1, 0], &[0x88]]).unwrap(), FirmwareKind::Both);
        // An image that is not for booting, and a Mac's.
        for none in [&[&valid[..], &[0]][..], &[&valid, &[0], &[0x91, 2, 1, 0], &[0x88]], &[]] {
            let why = read(none).unwrap_err().to_string();
            assert!(why.contains("nothing in its boot catalogue"), "{why}");
        }
        assert!(of(b"short").unwrap_err().to_string().contains("too short"));
        assert!(of(&[0; 40960]).unwrap_err().to_string().contains("no El Torito boot record"));
    }
}
