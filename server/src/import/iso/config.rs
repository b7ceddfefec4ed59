// SPDX-License-Identifier: GPL-3.0-or-later
//! What the boot loaders on an ISO would start: kernel, initrds and kernel parameters, as GRUB,
//! isolinux/syslinux and systemd-boot have them in their configurations. Reading only, no I/O.

use super::shell;
use bootspec::cmdline;

/// More entries, or more words in one, are not read: this is other people's text.
const MAX_ENTRIES: usize = 256;
const MAX_WORDS: usize = 128;

/// What one entry of a menu starts. Paths as they are written, without a device and a leading slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MenuEntry {
    /// The kernel.
    pub kernel: String,
    /// The initrds, which the boot loader puts one behind the other.
    pub initrds: Vec<String>,
    /// The kernel's parameters.
    pub words: Vec<String>,
}

/// Whose language a configuration is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// GRUB's script language.
    Grub,
    /// isolinux, syslinux and systemd-boot: a key and its value on each line, and kernel parameters as the kernel
    /// itself reads them.
    Lines,
}

/// Read a configuration.
pub fn parse(text: &str, language: Language) -> Vec<MenuEntry> {
    let mut menu = Menu::default();
    match language {
        Language::Grub => shell::run(text, &mut |words| menu.command(words)),
        Language::Lines => text.lines().for_each(|line| menu.line(line)),
    }
    menu.end_entry();
    menu.entries
}

/// The entries so far, and the one that is being read.
#[derive(Default)]
struct Menu {
    entries: Vec<MenuEntry>,
    now: MenuEntry,
}

impl Menu {
    fn end_entry(&mut self) {
        let entry = std::mem::take(&mut self.now);
        if !entry.kernel.is_empty() && self.entries.len() < MAX_ENTRIES {
            self.entries.push(entry);
        }
    }

    fn command(&mut self, words: &[String]) {
        let [name, words @ ..] = words else { return };
        // The name of the command may be a variable that another file sets: `$linux`, `$initrd_cmd`.
        let name = name.trim_start_matches("${");
        let words = words.iter().filter(|w| !w.is_empty());
        if name.starts_with("linux") || name == "kernel" {
            let mut words = words.cloned();
            self.kernel(words.next().as_deref().unwrap_or_default());
            self.take_words(words);
        } else if name.starts_with("initrd") {
            self.initrds(words.flat_map(|w| w.split(',')));
        } else if matches!(name, "menuentry" | "submenu" | "}") {
            self.end_entry();
        }
    }

    fn line(&mut self, line: &str) {
        let line = line.trim();
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        let parameters = |text: &str| kernel_words(text).into_iter();
        match key.to_ascii_lowercase().as_str() {
            "label" | "title" => self.end_entry(),
            "linux" | "kernel" => {
                let (kernel, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
                self.kernel(kernel);
                self.take_words(parameters(rest));
            }
            "initrd" => self.initrds(value.split([',', ' ', '\t'])),
            "append" | "options" => self.take_words(parameters(value)),
            _ => {}
        }
    }

    fn kernel(&mut self, written: &str) {
        if !self.now.kernel.is_empty() {
            self.end_entry();
        }
        self.now.kernel = path(written);
    }

    fn initrds<'a>(&mut self, written: impl Iterator<Item = &'a str>) {
        let room = MAX_WORDS.saturating_sub(self.now.initrds.len());
        self.now.initrds.extend(written.filter(|w| !w.is_empty()).map(path).take(room));
    }

    fn take_words(&mut self, words: impl Iterator<Item = String>) {
        for word in words.take(MAX_WORDS) {
            match word.strip_prefix("initrd=") {
                Some(initrds) => self.initrds(initrds.split(',')),
                None => self.now.words.push(word),
            }
        }
    }
}

/// Kernel parameters as the kernel splits them, without the quotes that hold a word together.
fn kernel_words(text: &str) -> Vec<String> {
    let word = |(name, value): (String, Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name,
    };
    cmdline::split(text).into_iter().map(word).filter(|w| !w.is_empty()).collect()
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

/// The words that go on the command line, quoted as the kernel reads them, and those that are left out. What is not
/// plain could be taken for something else by iPXE, which the command line passes through.
pub fn usable(words: &[String]) -> (Vec<String>, Vec<String>) {
    let plain = |w: &str| w.chars().all(|c| c.is_ascii_alphanumeric() || "=._-/:,+@%~()[]*?! ".contains(c));
    let place = |w: &str| PLACES.iter().any(|p| w.starts_with(p));
    let (used, left): (Vec<_>, Vec<_>) = words.iter().cloned().partition(|w| plain(w) && !place(w));
    (used.iter().map(|w| quoted(w)).collect(), left)
}

/// A word as it is written on a kernel command line.
fn quoted(word: &str) -> String {
    match word.split_once('=') {
        Some((name, value)) if !name.contains(' ') => cmdline::render(name, value),
        _ if word.contains(' ') => format!("\"{word}\""),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kernel: &str, initrds: &[&str], words: &str) -> MenuEntry {
        MenuEntry {
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
            parse(text, Language::Grub),
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
            parse(text, Language::Lines),
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
            parse(text, Language::Lines),
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
            for language in [Language::Grub, Language::Lines] {
                assert_eq!(parse(text, language), [], "{text:?}");
            }
        }
        assert_eq!(parse(&"linux /k\n".repeat(1000), Language::Grub).len(), MAX_ENTRIES);
    }

    #[test]
    fn nothing_between_quotes_is_no_word() {
        assert_eq!(
            parse("linux \"\" /k \"\" a ''\ninitrd '' /i\n", Language::Grub),
            [entry("k", &["i"], "a")]
        );
    }

    #[test]
    fn words_of_the_medium_are_left_out() {
        let words =
            entry("", &[], "boot=live findiso=${iso_path} a|b live-media=/dev/sr0 root=live:CDLABEL=X").words;
        let (used, left) = usable(&words);
        assert_eq!(used, ["boot=live", "root=live:CDLABEL=X"]);
        assert_eq!(left, ["findiso=${iso_path}", "a|b", "live-media=/dev/sr0"]);
    }

    /// What Clonezilla's, openSUSE's and other menus have: cases/boot.md 6.
    #[test]
    fn shell_words_of_other_peoples_menus() {
        let one = |menu: &str| parse(menu, Language::Grub);
        let words = |menu: &str| usable(&one(menu)[0].words).0.join(" ");
        let in_entry = |body: &str| format!("menuentry 'x' {{\n{body}\n initrd /live/initrd.img\n}}\n");
        for (body, want) in [
            (r#"linux /k locales="de_DE.UTF-8" username="lab""#, "locales=de_DE.UTF-8 username=lab"),
            (
                r#"linux /k ocs_prerun="sleep 1" ocs_live_run="ocs-sr -g auto -p poweroff restoredisk img sda""#,
                r#"ocs_prerun="sleep 1" ocs_live_run="ocs-sr -g auto -p poweroff restoredisk img sda""#,
            ),
            (r#"linux /k "a=b c" d"#, r#"a="b c" d"#),
            ("$linux /k quiet", "quiet"),
            ("${linux_cmd} /k quiet", "quiet"),
            ("linux /k a \\\n  b", "a b"),
            ("linux /k a # the usual one", "a"),
            ("set params='a b'\nlinux /k ${params} c", "a b c"),
        ] {
            let menu = in_entry(body);
            assert_eq!(words(&menu), want, "{body}");
            assert_eq!(
                (one(&menu)[0].kernel.as_str(), &one(&menu)[0].initrds[..]),
                ("k", &["live/initrd.img".to_owned()][..])
            );
        }
        assert_eq!(one("menuentry \"x\" { linux /k quiet; initrd /i ; }"), [entry("k", &["i"], "quiet")]);
    }

    #[test]
    fn syslinux_leaves_quotes_to_the_kernel() {
        let menu = "label x\n kernel /k\n append initrd=/i a=\"b c\" # d;e\n";
        let words = &parse(menu, Language::Lines)[0].words;
        assert_eq!(words, &["a=b c", "#", "d;e"]);
        assert_eq!(usable(words), (vec!["a=\"b c\"".to_owned()], vec!["#".into(), "d;e".into()]));
    }
}
