// SPDX-License-Identifier: GPL-3.0-or-later
//! What the boot loaders on an ISO would start: kernel, initrds and kernel parameters, as GRUB,
//! isolinux/syslinux and systemd-boot have them in their configurations. Reading only, no I/O.

/// More entries, or more words in one, are not read: this is other people's text.
const MAX_ENTRIES: usize = 256;
const MAX_WORDS: usize = 128;

/// What one entry of a menu starts. Paths as they are written, without a device and a leading slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The kernel.
    pub kernel: String,
    /// The initrds, which the boot loader puts one behind the other.
    pub initrds: Vec<String>,
    /// The kernel's parameters.
    pub words: Vec<String>,
}

/// Read a configuration in any of the three languages: they share the words that count.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut now = Entry::default();
    let mut done = |now: &mut Entry| {
        let entry = std::mem::take(now);
        if !entry.kernel.is_empty() && entries.len() < MAX_ENTRIES {
            entries.push(entry);
        }
    };
    for line in text.lines() {
        // Nothing between quotes is no word.
        let mut words = line.split_whitespace().map(unquoted).filter(|w| !w.is_empty());
        let Some(key) = words.next() else { continue };
        match key.to_ascii_lowercase().as_str() {
            "menuentry" | "label" | "title" => done(&mut now),
            "linux" | "linuxefi" | "linux16" | "kernel" => {
                if !now.kernel.is_empty() {
                    done(&mut now);
                }
                now.kernel = words.next().map(path).unwrap_or_default();
                take_words(&mut now, words);
            }
            "initrd" | "initrdefi" | "initrd16" => {
                now.initrds.extend(words.flat_map(|w| w.split(',')).map(path).take(MAX_WORDS));
            }
            "append" | "options" => take_words(&mut now, words),
            _ => {}
        }
    }
    done(&mut now);
    entries
}

fn take_words<'a>(entry: &mut Entry, words: impl Iterator<Item = &'a str>) {
    for word in words.take(MAX_WORDS) {
        match word.strip_prefix("initrd=") {
            Some(initrds) => entry.initrds.extend(initrds.split(',').map(path)),
            None => entry.words.push(word.to_owned()),
        }
    }
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `($root)/boot/x` and `/boot/x` are both `boot/x`.
fn path(written: &str) -> String {
    let rest = match written.strip_prefix('(') {
        Some(device) => device.split_once(')').map_or("", |(_, rest)| rest),
        None => written,
    };
    rest.trim_start_matches('/').to_owned()
}

/// Words of which only the boot loader on the medium knows what they mean, or which say where the
/// medium is: that is what we say.
const PLACES: [&str; 10] = [
    "findiso=",
    "iso-scan/filename=",
    "fromiso=",
    "live-media=",
    "bootfrom=",
    "img_dev=",
    "img_loop=",
    "BOOT_IMAGE=",
    "fetch=",
    "netboot=",
];

/// The words that go on the command line, and those that are left out. What is not plain could be
/// taken for something else by iPXE, which the command line passes through.
pub fn usable(words: &[String]) -> (Vec<String>, Vec<String>) {
    let plain = |w: &str| w.chars().all(|c| c.is_ascii_alphanumeric() || "=._-/:,+@%~".contains(c));
    words.iter().cloned().partition(|w| plain(w) && !PLACES.iter().any(|p| w.starts_with(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kernel: &str, initrds: &[&str], words: &str) -> Entry {
        Entry {
            kernel: kernel.into(),
            initrds: initrds.iter().map(|i| (*i).to_owned()).collect(),
            words: words.split_whitespace().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn grub() {
        let text = "set default=0\nif loadfont $prefix/font.pf2 ; then\nfi\n\
            menuentry \"Live system (amd64)\" --hotkey=l {\n\tlinux\t/live/vmlinuz boot=live components \"quiet\" findiso=${iso_path}\n\
            \tinitrd\t/live/initrd.img\n}\nmenuentry 'Start' --class fedora {\n\tlinuxefi ($root)/images/pxeboot/vmlinuz root=live:CDLABEL=F-40\n\
            \tinitrdefi ($root)/images/pxeboot/initrd.img\n}\n";
        assert_eq!(
            parse(text),
            [
                entry("live/vmlinuz", &["live/initrd.img"], "boot=live components quiet findiso=${iso_path}"),
                entry("images/pxeboot/vmlinuz", &["images/pxeboot/initrd.img"], "root=live:CDLABEL=F-40"),
            ]
        );
    }

    #[test]
    fn syslinux() {
        let text = "DEFAULT arch\nLABEL arch\n  MENU LABEL Arch Linux install medium\n  LINUX /arch/boot/x86_64/vmlinuz-linux\n\
            \x20 INITRD /arch/boot/intel-ucode.img,/arch/boot/x86_64/initramfs-linux.img\n  APPEND archisobasedir=arch archisosearchuuid=2024\n\
            label live\n  kernel vmlinuz\n  append initrd=initrd.img boot=live quiet\n";
        assert_eq!(
            parse(text),
            [
                entry(
                    "arch/boot/x86_64/vmlinuz-linux",
                    &["arch/boot/intel-ucode.img", "arch/boot/x86_64/initramfs-linux.img"],
                    "archisobasedir=arch archisosearchuuid=2024"
                ),
                entry("vmlinuz", &["initrd.img"], "boot=live quiet"),
            ]
        );
    }

    #[test]
    fn systemd_boot() {
        let text = "title    Arch Linux\nsort-key 01\nlinux    /arch/boot/x86_64/vmlinuz-linux\ninitrd   /arch/boot/x86_64/initramfs-linux.img\n\
            options  archisobasedir=arch archisolabel=ARCH_202411\n";
        assert_eq!(
            parse(text),
            [entry(
                "arch/boot/x86_64/vmlinuz-linux",
                &["arch/boot/x86_64/initramfs-linux.img"],
                "archisobasedir=arch archisolabel=ARCH_202411"
            )]
        );
    }

    #[test]
    fn what_is_no_configuration_has_no_entries() {
        for text in ["", "hello", "initrd /x\nappend y", "linux\n", "\0\u{1}"] {
            assert_eq!(parse(text), [], "{text:?}");
        }
        assert_eq!(parse(&"linux /k\n".repeat(1000)).len(), MAX_ENTRIES);
    }

    #[test]
    fn nothing_between_quotes_is_no_word() {
        assert_eq!(parse("linux \"\" /k \"\" a ''\ninitrd '' /i\n"), [entry("k", &["i"], "a")]);
    }

    #[test]
    fn words_of_the_medium_are_left_out() {
        let words =
            entry("", &[], "boot=live findiso=${iso_path} a|b live-media=/dev/sr0 root=live:CDLABEL=X").words;
        let (used, left) = usable(&words);
        assert_eq!(used, ["boot=live", "root=live:CDLABEL=X"]);
        assert_eq!(left, ["findiso=${iso_path}", "a|b", "live-media=/dev/sr0"]);
    }
}
