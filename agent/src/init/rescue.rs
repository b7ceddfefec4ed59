// SPDX-License-Identifier: GPL-3.0-or-later
//! A shell at the console, where `break=` asks for one: initramfs-tools(7). The server sends one with the initrd then.

use bootspec::cmdline;
use std::{fs, fs::File, path::Path, process::Command};

const BUSYBOX: &str = "/bin/busybox";

/// A point of the boot at which `break=` stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the card's driver is loaded.
    Top,
    /// Before the image is fetched.
    Premount,
    /// Before the image's init is started.
    Bottom,
}

/// Where the command line asks for a shell; initramfs-tools has more words for fewer points.
pub fn asked(line: &str) -> Option<Stage> {
    let words = cmdline::split(line);
    // As initramfs-tools has it: who sets that wants no shell.
    if words.iter().any(|(name, _)| name == "panic") {
        return None;
    }
    let (_, value) = words.iter().rev().find(|(name, _)| name == "break")?;
    Some(match value.as_deref() {
        Some("top" | "modules") => Stage::Top,
        Some("bottom" | "init") => Stage::Bottom,
        _ => Stage::Premount,
    })
}

/// Stop here, if the command line asks for it.
pub fn stop(stage: Stage, line: &str) {
    if asked(line) == Some(stage) {
        shell("break= stops the boot here");
    }
}

/// Run a shell until somebody leaves it. Whether there is one.
pub fn shell(why: &str) -> bool {
    if !Path::new(BUSYBOX).exists() {
        eprintln!(
            "boottorrent: break= asks for a shell, but this initrd has none: install busybox in the image or on the server, and add the image again"
        );
        return false;
    }
    eprintln!("boottorrent: {why}: `exit` continues");
    // Its commands, by their names.
    let _ = Command::new(BUSYBOX).args(["--install", "-s", "/bin"]).status();
    let consoles = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    // The last one is /dev/console, which itself cannot be a controlling terminal.
    let name = consoles.split_whitespace().next_back().unwrap_or("console");
    let open = || File::options().read(true).write(true).open(format!("/dev/{name}"));
    let mut shell = Command::new(BUSYBOX);
    shell.args(["setsid", "-c", "sh"]).env("PATH", "/bin").env("HOME", "/").env("TERM", "linux");
    if let (Ok(input), Ok(output), Ok(errors)) = (open(), open(), open()) {
        shell.stdin(input).stdout(output).stderr(errors);
    }
    if let Err(e) = shell.status() {
        eprintln!("boottorrent: starting {BUSYBOX}: {e}");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_stops() {
        for (line, stage) in [
            ("quiet", None),
            ("break=top panic=10", None),
            ("breakfast=init", None),
            ("break", Some(Stage::Premount)),
            ("break=premount quiet", Some(Stage::Premount)),
            ("break=mountroot", Some(Stage::Premount)),
            ("break=top", Some(Stage::Top)),
            ("break=top break=bottom", Some(Stage::Bottom)),
        ] {
            assert_eq!(asked(line), stage, "{line}");
        }
    }
}
