// SPDX-License-Identifier: GPL-3.0-or-later
//! LTSP's iPXE menu, and our part of it. No I/O.
//!
//! The menu itself gets two lines which ask for a script of ours when an image was chosen. So the infohash
//! is of the version that is published then, however long the machine has stood before the menu, and without
//! the script the machine boots as LTSP alone would have it.

use super::wishes::{Wish, Wishes};
use anyhow::{Context, Result};
use bootspec::{ImageName, InfoHash};
use std::{collections::BTreeMap, fmt::Write};

/// The script's name in LTSP's TFTP folder.
pub const PINS: &str = "boottorrent.ipxe";

const BEGIN: &str = "# BootTorrent: see man:ltsp-boottorrent(8)";

/// LTSP's menu with our lines in it.
pub fn wire(menu: &str) -> Result<String> {
    let menu = unwire(menu);
    // Where LTSP says how an image is mounted; what comes behind may still be overridden by ltsp.conf.
    let is_method = |l: &&str| l.starts_with("set cmdline_method ") && l.contains(" ltsp.image=");
    let line = menu.lines().find(is_method).context(
        "LTSP's menu ltsp.ipxe has no line `set cmdline_method … ltsp.image=…`: run `ltsp ipxe` to make it again",
    )?;
    let ours = format!("{line}\n{BEGIN}\nchain --autofree /ltsp/{PINS} ||\n");
    Ok(menu.replacen(&format!("{line}\n"), &ours, 1))
}

/// LTSP's menu without them, as it was.
pub fn unwire(menu: &str) -> String {
    let mut kept = String::new();
    let mut lines = menu.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        if line.trim_end() == BEGIN {
            lines.next_if(|l| l.contains(PINS));
        } else {
            kept.push_str(line);
        }
    }
    kept
}

/// Whether our lines are in it.
pub fn is_wired(menu: &str) -> bool {
    menu.lines().any(|l| l == BEGIN)
}

/// Our script: for each image that is published and wanted, what the kernel is told besides.
pub fn pins(wishes: &Wishes, published: &BTreeMap<ImageName, InfoHash>) -> String {
    let mut script = format!("#!ipxe\n{BEGIN}\n# Rewritten whenever an image is published.\n");
    for (name, wish) in &wishes.images {
        let (Some(hash), true) = (published.get(name), *wish != Wish::Off) else { continue };
        let boot = if *wish == Wish::On { "boot=boottorrent " } else { "" };
        writeln!(
            script,
            "iseq ${{img}} {name} && set cmdline_method ${{cmdline_method}} {boot}boottorrent.infohash={hash} ||"
        )
        .expect("a String");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = "#!ipxe\n:images\n# The \"images\" method\nset cmdline_method root=/dev/nfs \
        nfsroot=${srv}:/srv/ltsp ltsp.image=images/${img}.img loop.max_part=9\ngoto ltsp\n\n:roots\n\
        set cmdline_method root=/dev/nfs nfsroot=${srv}:/srv/ltsp/${img}\ngoto ltsp\n";

    #[test]
    fn two_lines_come_and_go() {
        let wired = wire(STOCK).unwrap();
        assert!(!is_wired(STOCK) && is_wired(&wired));
        assert!(wired.contains(
            " loop.max_part=9\n# BootTorrent: see man:ltsp-boottorrent(8)\n\
             chain --autofree /ltsp/boottorrent.ipxe ||\ngoto ltsp\n"
        ));
        assert_eq!(wire(&wired).unwrap(), wired, "once is enough");
        assert_eq!(unwire(&wired), STOCK);
        assert!(wire("#!ipxe\n").unwrap_err().to_string().contains("run `ltsp ipxe`"));
        // An image is not the last line of a file without a line's end, and what is not ours stays.
        assert_eq!(unwire("a\n# BootTorrent: see man:ltsp-boottorrent(8)\nb"), "a\nb");
    }

    #[test]
    fn only_what_is_published_and_wanted() {
        let mut wishes = Wishes::default();
        for (name, wish) in [("on", Wish::On), ("pilot", Wish::Pilot), ("off", Wish::Off), ("gone", Wish::On)]
        {
            wishes.images.insert(name.parse().unwrap(), wish);
        }
        let hash = InfoHash([0xab; 20]);
        let published = ["on", "pilot", "off", "other"].map(|n| (n.parse().unwrap(), hash)).into();
        let script = pins(&wishes, &published);
        let hash = "ab".repeat(20);
        let ours: Vec<&str> = script.lines().skip(3).collect();
        assert_eq!(
            ours,
            [
                format!(
                    "iseq ${{img}} on && set cmdline_method ${{cmdline_method}} boot=boottorrent boottorrent.infohash={hash} ||"
                ),
                format!(
                    "iseq ${{img}} pilot && set cmdline_method ${{cmdline_method}} boottorrent.infohash={hash} ||"
                ),
            ]
        );
    }
}
