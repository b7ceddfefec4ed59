// SPDX-License-Identifier: GPL-3.0-or-later
//! boottorrent-kernel(7), from the table that the agent's parser is made of.

use super::page::{head, see_also};
use bootspec::{
    Exit, docs,
    params::{PREFIX, TABLE},
};
use roff::{Roff, bold, italic, roman};

/// The page.
pub fn kernel() -> String {
    let mut roff =
        head("boottorrent-kernel", "7", "kernel parameters of machines that boot with BootTorrent");
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, docs::INTRO);
    roff.control("SH", ["PARAMETERS"]);
    for spec in TABLE {
        roff.control("TP", []);
        roff.text([bold(format!("{PREFIX}{}=", spec.name)), italic(spec.value)]);
        roff.text([roman(spec.help)]);
        roff.text([roman(format!("Default: {}.", spec.default))]);
    }
    roff.control("SH", ["PARAMETERS OF DEBIAN'S INITRAMFS"]);
    for (names, meaning) in docs::GENERIC {
        roff.control("TP", []);
        roff.text([bold(names.replace('`', ""))]);
        roff.text([roman(format!("{}.", meaning.replace('`', "")))]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("Of "), bold("boottorrent-agent boot"), roman(":")]);
    for (exit, meaning) in Exit::ALL {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(meaning)]);
    }
    let pages =
        ["boottorrent(1)", "boottorrent-agent(8)", "bootparam(7)", "initramfs-tools(7)"].map(String::from);
    see_also(&mut roff, &pages);
    roff.render()
}

/// Markdown of the plainest kind: paragraphs, and words in backquotes.
fn paragraphs(roff: &mut Roff, text: &str) {
    for (n, paragraph) in text.trim().split("\n\n").enumerate() {
        if n > 0 {
            roff.control("PP", []);
        }
        for line in paragraph.lines() {
            let words = line.split('`').enumerate();
            let inlines: Vec<_> = words.map(|(n, w)| if n % 2 == 1 { bold(w) } else { roman(w) }).collect();
            roff.text(inlines);
        }
    }
}
