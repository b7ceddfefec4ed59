// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages from a clap command: clap_mangen's sections, but what stands behind the options in
//! `--help` (examples, tables) keeps its lines.

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

/// What stands at the bottom of each page.
const SOURCE: &str = concat!("BootTorrent ", env!("CARGO_PKG_VERSION"));

/// A page's file name and its text.
pub type ManPage = (String, String);

/// Pages of a command and all below it.
pub fn clap_pages(command: &Command, section: &str) -> Vec<ManPage> {
    let mut root = command.clone();
    root.build();
    // `help` is not a command that a page could tell more of.
    let mut all = vec![root.clone()];
    let mut pages = Vec::new();
    while let Some(one) = all.pop() {
        all.extend(one.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").cloned());
        let name = display(&one);
        pages.push((format!("{name}.{section}"), clap_page(&one, section, &related(&root, &one, section))));
    }
    pages.sort();
    pages
}

fn display(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// What one should read next: the page above, and what goes with them all.
fn related(root: &Command, one: &Command, section: &str) -> Vec<String> {
    let top = format!("{}({section})", display(root));
    let others = ["boottorrent.toml(5)", "boottorrent-kernel(7)", "boottorrent-agent(8)"].map(String::from);
    let own = format!("{}({section})", display(one));
    [top].into_iter().chain(others).filter(|p| *p != own).collect()
}

/// A part of a page.
type Part = fn(&Man, &mut dyn std::io::Write) -> std::io::Result<()>;

/// One page.
fn clap_page(command: &Command, section: &str, related: &[String]) -> String {
    let name = display(command);
    // The `help` command is in `--help` already.
    let shown = command.clone().mut_subcommands(|c| if c.get_name() == "help" { c.hide(true) } else { c });
    let man = Man::new(shown)
        .title(name.to_uppercase())
        .section(section)
        .source(SOURCE)
        .manual("BootTorrent")
        // A date would make every build another one.
        .date("");
    let mut out = Vec::new();
    let render: [Part; 5] = [
        Man::render_title,
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ];
    render.iter().for_each(|part| part(&man, &mut out).expect("a Vec"));
    if command.get_subcommands().any(|c| !c.is_hide_set() && c.get_name() != "help") {
        man.render_subcommands_section(&mut out).expect("a Vec");
    }
    let mut roff = Roff::new();
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    after.map(ToString::to_string).iter().for_each(|text| blocks(&mut roff, text));
    see_also(&mut roff, related);
    // The preamble that `Roff` writes is there already.
    roff.to_writer(&mut out).expect("a Vec");
    let text = String::from_utf8(out).expect("roff is UTF-8");
    once(&text)
}

/// Paragraphs of `--help`: "Head:" alone on its first line is a section; indented lines keep their form.
fn blocks(roff: &mut Roff, text: &str) {
    for (n, block) in text.trim_end().split("\n\n").enumerate() {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        let (head, body) = match first.strip_suffix(':') {
            Some(head) if rest.starts_with("  ") => (Some(head), rest),
            _ => (None, block),
        };
        match head {
            Some(head) => drop(roff.control("SH", [head.to_uppercase().as_str()])),
            None if n == 0 => drop(roff.control("SH", ["NOTES"])),
            None => drop(roff.control("PP", [])),
        }
        let kept = body.lines().any(|l| l.starts_with(' '));
        if kept {
            roff.control("nf", []);
        }
        for line in body.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        if kept {
            roff.control("fi", []);
        }
    }
}

/// The last section of a page.
pub(super) fn see_also(roff: &mut Roff, pages: &[String]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (n, page) in pages.iter().enumerate() {
        let (name, section) = page.split_once('(').unwrap_or((page, ""));
        words.push(roman(if n > 0 { ", " } else { "" }));
        words.push(bold(name));
        words.push(roman(format!("({section}")));
    }
    roff.text(words);
}

/// Title and name of a page that comes from no clap command.
pub(super) fn head(name: &str, section: &str, what: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", [name.to_uppercase().as_str(), section, "", SOURCE, "BootTorrent"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {what}"))]);
    roff
}

/// Each part begins with the same preamble for apostrophes: one is enough.
fn once(text: &str) -> String {
    let mut seen = false;
    let preamble = |l: &str| l.starts_with(".ie ") || l.starts_with(".el ");
    let mut out = String::new();
    for line in text.lines() {
        if preamble(line) {
            if seen {
                continue;
            }
            seen = line.starts_with(".el ");
        }
        out += line;
        out.push('\n');
    }
    out
}
