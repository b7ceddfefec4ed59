// SPDX-License-Identifier: GPL-3.0-or-later
//! What firmware is given to start with, from Debian's packages: which files are there, which package
//! has those that are not, and what cannot boot without them.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A loader and where it comes from.
struct Loader {
    /// Its place below `/usr/lib`.
    from: &'static str,
    /// Its place below the TFTP root.
    to: &'static str,
    package: &'static str,
}

const BIOS: Loader = Loader { from: "ipxe/undionly.kpxe", to: "boottorrent/undionly.kpxe", package: "ipxe" };
const EFI: [Loader; 2] = [
    Loader { from: "ipxe/snponly.efi", to: "boottorrent/snponly.efi", package: "ipxe" },
    Loader { from: "ipxe/ipxe.efi", to: "boottorrent/ipxe.efi", package: "ipxe" },
];
/// shim asks for `grubx64.efi` at the TFTP root, wherever it came from itself; so both are there.
const SHIM: Loader = Loader { from: "shim/shimx64.efi.signed", to: "shimx64.efi", package: "shim-signed" };
const GRUB: Loader = Loader {
    from: "grub/x86_64-efi-signed/grubnetx64.efi.signed",
    to: "grubx64.efi",
    package: "grub-efi-amd64-signed",
};

/// The loaders, as paths below the TFTP root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaders {
    /// iPXE for BIOS.
    pub bios: Option<&'static str>,
    /// iPXE for 64-bit UEFI, or shim.
    pub efi: Option<&'static str>,
    /// A URL for UEFI that boots over HTTP.
    pub http: Option<String>,
}

impl Loaders {
    /// Whether UEFI machines are sent shim, which starts GRUB.
    pub fn start_shim(&self) -> bool {
        self.efi == Some(SHIM.to)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// What dnsmasq is to name.
    pub loaders: Loaders,
    /// Copies: from, and to below the TFTP root.
    pub copies: Vec<(PathBuf, &'static str)>,
    /// What will not boot.
    pub notes: Vec<String>,
}

impl Loader {
    fn there(&self, lib: &Path) -> bool {
        lib.join(self.from).is_file()
    }

    fn missing(&self, lib: &Path) -> String {
        format!("{} is not there: run `apt install {}`", lib.join(self.from).display(), self.package)
    }
}

/// Below which Debian's packages have their loaders.
pub const LIB: &str = "/usr/lib";

/// Where the daemon gives the loader for UEFI HTTP boot.
pub const OVER_HTTP: &str = "boot/ipxe.efi";

/// iPXE for UEFI HTTP boot, if it is there.
pub fn for_http(lib: &Path) -> Option<PathBuf> {
    EFI.iter().find(|l| l.there(lib)).map(|l| lib.join(l.from))
}

/// Look below `lib` (`/usr/lib`). An error when a machine of no kind could boot, or not what was asked for.
pub fn find(lib: &Path, secure_boot: bool) -> Result<Firmware> {
    let mut notes = Vec::new();
    let bios = Some(&BIOS).filter(|l| l.there(lib));
    let efi = match secure_boot {
        true => {
            if let Some(loader) = [&SHIM, &GRUB].into_iter().find(|l| !l.there(lib)) {
                bail!("{}, or leave --secure-boot out", loader.missing(lib));
            }
            Some(&SHIM)
        }
        false => EFI.iter().find(|l| l.there(lib)),
    };
    if bios.is_none() && efi.is_none() {
        bail!("{}; nothing can boot without it", BIOS.missing(lib));
    }
    if bios.is_none() {
        notes.push(format!("{}; machines with a BIOS will not boot", BIOS.missing(lib)));
    }
    if efi.is_none() {
        notes.push(format!("{}; machines with UEFI will not boot", EFI[0].missing(lib)));
    }
    if !secure_boot {
        let install: Vec<&str> = [&SHIM, &GRUB].iter().filter(|l| !l.there(lib)).map(|l| l.package).collect();
        let first = match install.is_empty() {
            true => String::new(),
            false => format!(" (after `apt install {}`)", install.join(" ")),
        };
        notes.push(format!(
            "machines with Secure Boot switched on will not boot, since iPXE is not signed: switch it off \
             there, or add --secure-boot here{first}"
        ));
    }
    let mut copies: Vec<_> = [bios, efi].into_iter().flatten().collect();
    if secure_boot {
        copies.push(&GRUB);
    }
    Ok(Firmware {
        loaders: Loaders { bios: bios.map(|l| l.to), efi: efi.map(|l| l.to), http: None },
        copies: copies.into_iter().map(|l| (lib.join(l.from), l.to)).collect(),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is there, whether Secure Boot is asked for; what the loaders are, and what is said.
    #[test]
    fn what_is_missing_is_named() {
        let all = [BIOS.from, EFI[0].from, SHIM.from, GRUB.from];
        for (there, secure, loaders, said) in [
            (&all[..], false, (Some(BIOS.to), Some(EFI[0].to)), "or add --secure-boot here"),
            (&all[..], true, (Some(BIOS.to), Some(SHIM.to)), ""),
            (
                &all[..2],
                false,
                (Some(BIOS.to), Some(EFI[0].to)),
                "(after `apt install shim-signed grub-efi-amd64-signed`)",
            ),
            (
                &all[..1],
                false,
                (Some(BIOS.to), None),
                "snponly.efi is not there: run `apt install ipxe`; machines with UEFI will not boot",
            ),
            (
                &all[1..2],
                false,
                (None, Some(EFI[0].to)),
                "undionly.kpxe is not there: run `apt install ipxe`; machines with a BIOS will not boot",
            ),
            (&all[2..], true, (None, Some(SHIM.to)), "machines with a BIOS will not boot"),
            (&[EFI[1].from], false, (None, Some(EFI[1].to)), "BIOS"),
        ] {
            let lib = lib(there);
            let found = find(lib.path(), secure).unwrap();
            assert_eq!((found.loaders.bios, found.loaders.efi), loaders, "{there:?}");
            assert!(found.notes.join("\n").contains(said), "{there:?}: {:?}", found.notes);
            assert_eq!(found.notes.is_empty(), said.is_empty(), "{:?}", found.notes);
            assert_eq!(found.copies.iter().any(|(_, to)| *to == GRUB.to), secure);
        }
        for (there, secure, said) in [
            (
                &all[..0],
                false,
                "undionly.kpxe is not there: run `apt install ipxe`; nothing can boot without it",
            ),
            (
                &all[..2],
                true,
                "shimx64.efi.signed is not there: run `apt install shim-signed`, or leave --secure-boot out",
            ),
            (
                &all[..3],
                true,
                "grubnetx64.efi.signed is not there: run `apt install grub-efi-amd64-signed`, or leave --secure-boot out",
            ),
        ] {
            let e = find(lib(there).path(), secure).unwrap_err().to_string();
            assert!(e.ends_with(said), "{e}");
        }
    }

    fn lib(files: &[&str]) -> tempfile::TempDir {
        let lib = tempfile::tempdir().unwrap();
        for file in files {
            fs::create_dir_all(lib.path().join(file).parent().unwrap()).unwrap();
            fs::write(lib.path().join(file), file).unwrap();
        }
        lib
    }
}
