// SPDX-License-Identifier: GPL-3.0-or-later
//! The families of initrds that BootTorrent boots without its own hook in them: one row each, with all that differs
//! between them. A new family is a row here, a folder in initramfs-hooks/addon and a name in [`Family`].

use bootspec::manifest::Family;

/// What is particular to the initrds of one family.
pub struct Spec {
    /// Which family.
    pub family: Family,
    /// The file by which it is recognised, by its path or by its name alone.
    pub mark: &'static str,
    /// What the add-on needs of an initrd, where the family has it as an option.
    pub needs: Option<Needs>,
    /// Whether it boots live systems from ISOs; otherwise installed ones from disks.
    pub live: bool,
    /// Where an ISO has kernel and initrd, when none of its boot loaders says so.
    pub usual: &'static [Usual],
    /// The kernel parameters that bring the network up. Every family has its own.
    pub network: &'static str,
    /// The kernel parameters that its scripts cannot do without.
    pub parameters: Option<Parameters>,
    /// Whether the add-on comes behind the initrd. Of a file that both have, the later one counts: in front, the
    /// distribution's own files win.
    pub behind: bool,
    /// Whether it can be taken out of the ISO and started behind an initrd that the server makes.
    pub second: bool,
    /// Its files in the add-on.
    pub hook: &'static [HookFile],
}

/// One of these files must be in an initrd.
pub struct Needs {
    /// By path or by name alone, like [`Spec::mark`].
    pub any: &'static [&'static str],
    /// What is missing when none of them is there.
    pub what: &'static str,
}

/// A place for kernel and initrd on an ISO: the folder, and how the two names begin.
pub struct Usual {
    /// The folder.
    pub folder: &'static str,
    /// The beginning of the kernel's name.
    pub kernel: &'static str,
    /// The beginning of the initrd's name.
    pub initrd: &'static str,
}

/// Kernel parameters that an ISO's own must have.
pub struct Parameters {
    /// They are there already when one of the ISO's parameters begins with this.
    pub key: &'static str,
    /// The parameters, with `LABEL` for the ISO's label.
    pub words: &'static str,
    /// How a parameter of the ISO's begins that `words` say in another form.
    pub instead_of: Option<&'static str>,
}

/// A file in the add-on.
pub struct HookFile {
    /// Its path in the initrd.
    pub path: &'static str,
    /// Its permissions.
    pub mode: u32,
    /// Its content.
    pub text: &'static str,
}

macro_rules! hook {
    ($path:literal, $mode:literal, $file:literal) => {
        HookFile { path: $path, mode: $mode, text: include_str!(concat!("../../initramfs-hooks/", $file)) }
    };
}

/// live-boot and casper are both initramfs-tools, and both can be told of a medium.
const MEDIUM: [HookFile; 2] = [
    hook!("conf/conf.d/00-boottorrent.conf", 0o644, "addon/initramfs-tools/00-boottorrent.conf"),
    hook!("scripts/boottorrent-medium", 0o644, "addon/initramfs-tools/boottorrent-medium"),
];

/// All families, in the order in which their marks are looked for: those that bring initramfs-tools along come before it.
pub static FAMILIES: [Spec; 5] = [
    Spec {
        family: Family::Casper,
        mark: "scripts/casper",
        needs: None,
        live: true,
        usual: &[Usual { folder: "casper", kernel: "vmlinuz", initrd: "initrd" }],
        // The add-on brings it up by itself: casper would take ip= for an address in the booted system.
        network: "",
        parameters: Some(Parameters { key: "boot=", words: "boot=casper", instead_of: None }),
        behind: false,
        second: true,
        hook: &MEDIUM,
    },
    Spec {
        family: Family::Archiso,
        mark: "hooks/archiso",
        needs: Some(Needs {
            any: &["hooks/archiso_pxe_http"],
            what: "archiso's hook archiso_pxe_http, which the add-on replaces",
        }),
        live: true,
        usual: &[Usual {
            folder: "arch/boot/x86_64",
            kernel: "vmlinuz-linux",
            initrd: "initramfs-linux.img",
        }],
        // Else it may copy the ISO's content into RAM once more, and takes the network down then.
        network: "ip=dhcp copytoram=n",
        parameters: Some(Parameters {
            key: "archisobasedir=",
            words: "archisobasedir=arch",
            instead_of: None,
        }),
        // The add-on replaces one of its hooks.
        behind: true,
        second: false,
        hook: &[hook!("hooks/archiso_pxe_http", 0o755, "addon/archiso/archiso_pxe_http")],
    },
    Spec {
        family: Family::LiveBoot,
        mark: "scripts/live",
        needs: None,
        live: true,
        usual: &[Usual { folder: "live", kernel: "vmlinuz", initrd: "initrd" }],
        // As for casper.
        network: "",
        parameters: Some(Parameters { key: "boot=", words: "boot=live", instead_of: None }),
        behind: false,
        second: true,
        hook: &MEDIUM,
    },
    Spec {
        family: Family::Dracut,
        mark: "dmsquash-live-root",
        needs: Some(Needs {
            any: &["ifup", "nm-run.sh", "nm-initrd-generator", "systemd-networkd", "cm-run.sh"],
            what: "dracut's module for the network",
        }),
        live: true,
        usual: &[
            Usual { folder: "images/pxeboot", kernel: "vmlinuz", initrd: "initrd.img" },
            Usual { folder: "boot/x86_64/loader", kernel: "linux", initrd: "initrd" },
            Usual { folder: "isolinux", kernel: "vmlinuz", initrd: "initrd" },
        ],
        network: "rd.neednet=1 ip=dhcp",
        parameters: Some(Parameters {
            key: "root=",
            words: "root=live:CDLABEL=LABEL rd.live.image",
            instead_of: Some("root=live:"),
        }),
        behind: false,
        second: true,
        // Never below /lib: that is a link in the initrd, and could not be made any more if a folder were there.
        hook: &[
            hook!(
                "usr/lib/dracut/hooks/initqueue/settled/50-boottorrent.sh",
                0o755,
                "addon/dracut/50-boottorrent.sh"
            ),
            // Since dracut 106.
            hook!(
                "var/lib/dracut/hooks/initqueue/settled/50-boottorrent.sh",
                0o755,
                "addon/dracut/50-boottorrent.sh"
            ),
            hook!(
                "usr/lib/dracut/hooks/pre-pivot/50-boottorrent-identify.sh",
                0o755,
                "addon/dracut/50-boottorrent-identify.sh"
            ),
            hook!(
                "var/lib/dracut/hooks/pre-pivot/50-boottorrent-identify.sh",
                0o755,
                "addon/dracut/50-boottorrent-identify.sh"
            ),
        ],
    },
    Spec {
        family: Family::InitramfsTools,
        mark: "scripts/local",
        needs: None,
        live: false,
        usual: &[],
        network: OWN_NETWORK,
        parameters: None,
        behind: false,
        second: false,
        hook: &[hook!("scripts/boottorrent", 0o644, "initramfs-tools/scripts/boottorrent")],
    },
];

/// The kernel parameters that bring the network up where our boot script is in the initrd.
pub const OWN_NETWORK: &str = "boot=boottorrent ip=dhcp";

/// The row of a family.
pub fn spec(family: Family) -> &'static Spec {
    FAMILIES.iter().find(|s| s.family == family).expect("every family has a row, as a test says")
}

impl Spec {
    /// [`Parameters::words`] that the ISO's own parameters lack; `label` is the ISO's.
    pub fn missing(&self, own: &[String], label: &str) -> Vec<String> {
        let Some(Parameters { key, words, .. }) = &self.parameters else { return Vec::new() };
        if own.iter().any(|word| word.starts_with(key)) {
            return Vec::new();
        }
        let filled = words.split(' ').map(|word| match word.strip_suffix("LABEL") {
            Some(begin) => format!("{begin}{}", encoded(label)),
            None => word.to_owned(),
        });
        filled.filter(|word| !own.contains(word)).collect()
    }

    /// Whether a parameter of the ISO's is said in another form by [`Spec::missing`].
    pub fn rewrites(&self, word: &str) -> bool {
        let before = self.parameters.as_ref().and_then(|p| p.instead_of);
        before.is_some_and(|begin| word.starts_with(begin))
    }
}

/// A label as udev has it in the names of its links, and dracut on the kernel command line: one word, whatever is in it.
fn encoded(label: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&b);
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("\\x{b:02x}") };
    label.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_one_row() {
        for family in
            [Family::LiveBoot, Family::Casper, Family::Dracut, Family::Archiso, Family::InitramfsTools]
        {
            assert_eq!(FAMILIES.iter().filter(|s| s.family == family).count(), 1, "{family:?}");
            assert_eq!(spec(family).family, family);
        }
    }

    #[test]
    fn what_an_iso_cannot_do_without() {
        let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let needed = |family, own: &[String], label| spec(family).missing(own, label);
        assert_eq!(needed(Family::Casper, &words("quiet splash"), "U"), ["boot=casper"]);
        assert_eq!(needed(Family::LiveBoot, &words("boot=live"), "D"), Vec::<String>::new());
        assert_eq!(needed(Family::Dracut, &[], "F-40"), ["root=live:CDLABEL=F-40", "rd.live.image"]);
        // The label is as somebody wrote it on the ISO: it is not a place for more parameters.
        assert_eq!(
            needed(Family::Dracut, &[], "F 40\n&& shell init=/x"),
            [r"root=live:CDLABEL=F\x2040\x0a\x26\x26\x20shell\x20init=\x2fx", "rd.live.image"]
        );
    }
}
