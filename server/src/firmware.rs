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
/// iPXE as a Linux kernel, which PXELINUX starts with our script as its initrd. An iPXE that brings a script offers no
/// shell before it (`usr/autoboot.c` in iPXE), which `undionly.kpxe` does, for two seconds.
const CLOSED_BIOS: [Loader; 3] = [
    Loader { from: "PXELINUX/pxelinux.0", to: "boottorrent/pxelinux.0", package: "pxelinux" },
    Loader {
        from: "syslinux/modules/bios/ldlinux.c32",
        to: "boottorrent/ldlinux.c32",
        package: "syslinux-common",
    },
    Loader { from: "ipxe/ipxe.lkrn", to: "boottorrent/ipxe.lkrn", package: "ipxe" },
];
/// Where PXELINUX finds what it is to do.
pub const PXELINUX_CONFIG: &str = "boottorrent/pxelinux.cfg/default";
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

/// The same for 64-bit ARM. Debian has no iPXE for it, so GRUB is what such machines get, with Secure Boot or without.
const ARM64_SHIM: Loader =
    Loader { from: "shim/shimaa64.efi.signed", to: "shimaa64.efi", package: "shim-signed:arm64" };
const ARM64_GRUB: Loader = Loader {
    from: "grub/arm64-efi-signed/grubnetaa64.efi.signed",
    to: "grubaa64.efi",
    package: "grub-efi-arm64-signed:arm64",
};

/// The loaders, as paths below the TFTP root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaders {
    /// iPXE for BIOS, or PXELINUX, which starts it.
    pub bios: Option<&'static str>,
    /// iPXE for 64-bit UEFI, or shim.
    pub efi: Option<&'static str>,
    /// GRUB for 64-bit ARM, or shim, which starts it.
    pub arm64: Option<&'static str>,
    /// A URL for UEFI that boots over HTTP.
    pub http: Option<String>,
}

impl Loaders {
    /// Whether UEFI machines are sent shim, which starts GRUB.
    pub fn start_shim(&self) -> bool {
        self.efi == Some(SHIM.to)
    }

    /// Which machines are sent GRUB, for people; none: nobody is.
    pub fn of_grub(&self) -> Option<&'static str> {
        match (self.start_shim(), self.arm64) {
            (true, _) => Some("UEFI"),
            (false, Some(_)) => Some("arm64"),
            (false, None) => None,
        }
    }

    /// Whether BIOS machines are sent PXELINUX, which starts iPXE.
    pub fn start_pxelinux(&self) -> bool {
        self.bios == Some(CLOSED_BIOS[0].to)
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

/// Look below `lib` (`/usr/lib`). `shell`: whether whoever sits at a machine may have iPXE's. An error when a machine of no
/// kind could boot, or not what was asked for.
pub fn find(lib: &Path, secure_boot: bool, shell: bool) -> Result<Firmware> {
    let mut notes = Vec::new();
    let closed = CLOSED_BIOS.iter().all(|l| l.there(lib)) && !shell;
    let bios: Vec<&Loader> = match closed {
        true => CLOSED_BIOS.iter().collect(),
        false => Some(&BIOS).filter(|l| l.there(lib)).into_iter().collect(),
    };
    let efi = match secure_boot {
        true => {
            if let Some(loader) = [&SHIM, &GRUB].into_iter().find(|l| !l.there(lib)) {
                bail!("{}, or leave --secure-boot out", loader.missing(lib));
            }
            Some(&SHIM)
        }
        false => EFI.iter().find(|l| l.there(lib)),
    };
    if bios.is_empty() && efi.is_none() {
        bail!("{}; nothing can boot without it", BIOS.missing(lib));
    }
    if bios.is_empty() {
        notes.push(format!("{}; machines with a BIOS will not boot", BIOS.missing(lib)));
    }
    if efi.is_none() {
        notes.push(format!("{}; machines with UEFI will not boot", EFI[0].missing(lib)));
    }
    if !shell {
        notes.extend(open_shells(lib, !bios.is_empty() && !closed, efi.is_some() && !secure_boot));
    }
    if !secure_boot {
        let install = packages(&[&SHIM, &GRUB], lib);
        let first = match install.is_empty() {
            true => String::new(),
            false => format!(" (after `apt install {}`)", install.join(" ")),
        };
        notes.push(format!(
            "machines with Secure Boot switched on will not boot, since iPXE is not signed: switch it off \
             there, or add --secure-boot here{first}"
        ));
    }
    let mut copies: Vec<_> = bios.iter().copied().chain(efi).collect();
    if secure_boot {
        copies.push(&GRUB);
    }
    // Its packages are of another architecture: who has installed them wants it.
    let arm64: Vec<&Loader> = match (ARM64_GRUB.there(lib), secure_boot && ARM64_SHIM.there(lib)) {
        (true, true) => vec![&ARM64_SHIM, &ARM64_GRUB],
        (true, false) => vec![&ARM64_GRUB],
        (false, _) => vec![],
    };
    if let (true, [grub]) = (secure_boot, &arm64[..]) {
        notes.push(format!(
            "{}; arm64 machines with Secure Boot switched on will not boot {}",
            ARM64_SHIM.missing(lib),
            grub.to
        ));
    }
    copies.extend(&arm64);
    Ok(Firmware {
        loaders: Loaders {
            bios: bios.first().map(|l| l.to),
            efi: efi.map(|l| l.to),
            arm64: arm64.first().map(|l| l.to),
            http: None,
        },
        copies: copies.into_iter().map(|l| (lib.join(l.from), l.to)).collect(),
        notes,
    })
}

/// The packages of those that are not there.
fn packages(loaders: &[&Loader], lib: &Path) -> Vec<&'static str> {
    loaders.iter().filter(|l| !l.there(lib)).map(|l| l.package).collect()
}

/// Which machines have a shell without a password all the same, and what closes it.
fn open_shells(lib: &Path, bios: bool, efi: bool) -> Vec<String> {
    let note = |machines: &str, cure: &str| {
        format!(
            "the menu gives no shell without a password, but Ctrl-B at iPXE's banner does on machines with \
             {machines}: {cure}"
        )
    };
    let install = packages(&CLOSED_BIOS.iter().collect::<Vec<_>>(), lib).join(" ");
    let bios = bios.then(|| note("a BIOS", &format!("run `apt install {install}`, then this again")));
    let efi = efi.then(|| note("UEFI", "add --secure-boot here, which gives them GRUB"));
    bios.into_iter().chain(efi).collect()
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
            let found = find(lib.path(), secure, true).unwrap();
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
            let e = find(lib(there).path(), secure, true).unwrap_err().to_string();
            assert!(e.ends_with(said), "{e}");
        }
    }

    /// What is there besides, whether Secure Boot is asked for; what arm64 machines get, and whether it is said what lacks.
    #[test]
    fn arm64_where_its_grub_is() {
        let usual = [BIOS.from, EFI[0].from, SHIM.from, GRUB.from];
        let (grub, shim) = (ARM64_GRUB.from, ARM64_SHIM.from);
        for (more, secure, loader, said) in [
            (&[][..], false, None, false),
            (&[shim], true, None, false),
            (&[grub], false, Some("grubaa64.efi"), false),
            (&[grub], true, Some("grubaa64.efi"), true),
            (&[grub, shim], true, Some("shimaa64.efi"), false),
            (&[grub, shim], false, Some("grubaa64.efi"), false),
        ] {
            let lib = lib(&[&usual[..], more].concat());
            let found = find(lib.path(), secure, true).unwrap();
            assert_eq!(found.loaders.arm64, loader, "{more:?}");
            assert_eq!(found.copies.iter().any(|(_, to)| *to == ARM64_GRUB.to), loader.is_some());
            let install = "run `apt install shim-signed:arm64`; arm64 machines with Secure Boot";
            assert_eq!(found.notes.join("\n").contains(install), said, "{:?}", found.notes);
        }
    }

    /// Where no shell is to be given: what is there, whether Secure Boot is asked for; what BIOS machines get, and what is
    /// said of the machines that have a shell all the same.
    #[test]
    fn a_shell_that_is_closed() {
        let pxelinux = CLOSED_BIOS.map(|l| l.from);
        let efi = [BIOS.from, EFI[0].from, SHIM.from, GRUB.from];
        let whole = [&efi[..], &pxelinux].concat();
        let unclosed = [&efi[..], &pxelinux[2..]].concat();
        for (there, secure, bios, said) in [
            (&whole, true, CLOSED_BIOS[0].to, &[][..]),
            (&whole, false, CLOSED_BIOS[0].to, &["with UEFI: add --secure-boot here"][..]),
            (&unclosed, true, BIOS.to, &["with a BIOS: run `apt install pxelinux syslinux-common`, then"]),
        ] {
            let lib = lib(there);
            let found = find(lib.path(), secure, false).unwrap();
            assert_eq!(found.loaders.bios, Some(bios));
            let shells: Vec<&String> = found.notes.iter().filter(|n| n.contains("Ctrl-B")).collect();
            assert_eq!(shells.len(), said.len(), "{shells:?}");
            assert!(shells.iter().zip(said).all(|(note, said)| note.contains(said)), "{shells:?}");
            let copied = |l: &Loader| found.copies.iter().any(|(_, to)| *to == l.to);
            assert_eq!(CLOSED_BIOS.iter().all(copied), found.loaders.start_pxelinux());
            assert_ne!(copied(&BIOS), found.loaders.start_pxelinux());
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
