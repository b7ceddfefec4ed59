// SPDX-License-Identifier: GPL-3.0-or-later
//! What must be true of texts that we make of other people's.

use bootspec::{
    ImageManifest, InfoHash,
    manifest::{BootFile, Kind},
    text::is_odd,
};
use boottorrent_server::{
    grub::{self, Way},
    ipxe,
    menu::Menu,
};

/// Nothing in it controls a terminal. Lines may end.
#[track_caller]
pub fn quiet(text: &str) {
    assert!(!text.contains(|c| c != '\n' && is_odd(c)), "{text:?}");
}

/// One line, and nothing in it controls a terminal.
#[track_caller]
pub fn one_line(text: &str) {
    assert!(!text.contains(is_odd), "{text:?}");
}

/// An image with nothing odd about it.
pub fn image(name: &str) -> ImageManifest {
    ImageManifest {
        name: name.parse().expect("a name"),
        version: 1,
        kind: Kind::Filesystem,
        architecture: Default::default(),
        format: None,
        family: None,
        partition: None,
        sector: None,
        infohash: InfoHash([0xab; 20]),
        size: 300 << 20,
        sha256: None,
        piece_length: 1 << 18,
        private: false,
        kernel: BootFile { size: 8 << 20, from: "/boot/vmlinuz-6".into() },
        initrd: BootFile { size: 30 << 20, from: "/boot/initrd.img-6".into() },
        initrd_from: Default::default(),
        append: "quiet".into(),
        extra: String::new(),
        unified: false,
        priority: Default::default(),
        added: "2026-11-22T18:00:00Z".into(),
        source: "/srv/x".into(),
    }
}

/// What is asked of boot scripts: which image, with which parameters for every one of them.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub wanted: Option<&'a str>,
    pub append: &'a str,
    pub mac: Option<&'a str>,
}

/// The scripts for iPXE and GRUB have the lines that they have of harmless images, and each of them begins alike.
#[track_caller]
pub fn scripts(images: &[ImageManifest], ask: Ask) {
    let harmless: Vec<_> =
        images.iter().map(|i| ImageManifest { append: "quiet".into(), ..i.clone() }).collect();
    let model = Ask { append: "quiet", ..ask };
    let render = |images: &[ImageManifest], ask: Ask, script: &dyn Fn(&Menu) -> String| {
        let images: Vec<&ImageManifest> = images.iter().collect();
        let menu = Menu {
            machine: Default::default(),
            first: None,
            node: None,
            host: "10.0.0.1:6980",
            images: &images,
            entries: &[],
            settings: &Default::default(),
            users: &Default::default(),
            unlocked: false,
            once: None,
            wanted: ask.wanted,
            assigned: None,
            default: None,
            timeout: 10_000,
            append: ask.append,
            stage: &|_| Default::default(),
            phase_one: &|_| 0,
        };
        script(&menu)
    };
    let (text, like) = (render(images, ask, &ipxe::script), render(&harmless, model, &ipxe::script));
    one_line(&text.replace('\n', ""));
    assert_eq!(text.lines().count(), like.lines().count());
    for (line, like) in text.lines().zip(like.lines()) {
        // Where a command ends: at these words, and at a word that begins with #.
        let ends = |l: &str| l.split(' ').filter(|w| matches!(*w, "&&" | "||") || w.starts_with('#')).count();
        assert!(line == like || line.starts_with("kernel http://10.0.0.1:6980/images/"), "{line:?}");
        assert_eq!(ends(line), ends(like), "{line:?}");
    }
    for way in [Way::Http(ask.mac), Way::Tftp { port: 6980 }] {
        let config = |menu: &Menu| grub::config(menu, way);
        let (text, like) = (render(images, ask, &config), render(&harmless, model, &config));
        assert!(!text.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{text:?}");
        assert_eq!(text.lines().count(), like.lines().count(), "{text:?}");
        for (line, like) in text.lines().zip(like.lines()) {
            let (words, like) = (grub_words(line), grub_words(like));
            let linux = words.get(1).is_some_and(|w| w == "linux");
            assert!(
                words == like || linux && words[..3] == like[..3] && words.last() == like.last(),
                "{line:?}"
            );
        }
    }
}

/// The words of a line as GRUB's lexer sees them (grub-core/script/yylex.l); variables stay as they are.
fn grub_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            '\'' if !double => {
                single = !single;
                word.get_or_insert_default();
            }
            _ if single => word.get_or_insert_default().push(c),
            '"' => {
                double = !double;
                word.get_or_insert_default();
            }
            '\\' => escaped = true,
            ' ' | '\t' if !double => words.extend(word.take()),
            // Else it would be a word of its own.
            '&' | '|' | '<' | '>' | '\n' => panic!("{line:?}: a command ends in it"),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(!single && !double && !escaped, "{line:?}: not closed");
    words.extend(word);
    words
}
