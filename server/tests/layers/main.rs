// SPDX-License-Identifier: GPL-3.0-or-later
//! The house has storeys: a file imports from its own or from those below, and no files import each other in a circle.

mod imports;

use imports::{Imports, imports};
use std::collections::BTreeSet;

/// The storeys of a crate, from the ground up: their names, and the modules on them.
type Storeys = &'static [(&'static str, &'static str)];

const SERVER: Storeys = &[
    (
        "ground",
        "body cage config files firmware interrupt menu_settings menu_users meter net notify owner parallel socket table tls token tool trail",
    ),
    ("images", "addon catalogue command_line family fetch import keys library sources"),
    ("machines", "attempts clients hosts neighbours operations orders power relay ticket tracker wake"),
    ("boot files", "grub ipxe menu"),
    ("what is told", "api watch"),
    ("daemon", "calendar figures ordering refresh seed state tftp upstream"),
    ("http", "http"),
    ("serve", "serve"),
    ("admin", "cli doctor lib ltsp main manual setup status tui"),
];

/// The admin's programs stand beside the daemon: they ask it over its API, like everybody else.
const NOT_FOR_ADMINS: [&str; 2] = ["daemon", "http"];

const SWARM: Storeys = &[
    ("ground", "metainfo_error networks places socket wire"),
    ("decisions", "plan"),
    ("payload", "create files http metainfo sha256 store sums survey"),
    ("what connections need", "conn gate greeting known write_queue"),
    ("torrent", "account demand exchange fallback heed landing members torrent trial vouch"),
    ("peers", "discover peer"),
    ("session", "drive lib magnet session"),
];

const AGENT: Storeys = &[
    ("ground", "dhcp engine_log fail files link modules oom report"),
    ("what is given", "args lease locate net second vlan"),
    ("where things are", "ask beat reach web"),
    ("disks", "destination device disks mkfs mounts superblock target zram"),
    ("store", "store"),
    ("what is wanted", "layers machine_key metainfo trust"),
    ("swarm", "booted download leave left status stay stream"),
    ("root", "disk identity iso ltsp root"),
    ("orders", "orders relay"),
    ("story", "early handed launch resume story"),
    ("programs", "cli fetch identify init lib main main_tls"),
];

/// Every program and library of the workspace.
const CRATES: &[(&str, Storeys)] = &[
    ("bootspec/src", &[]),
    ("initrd/src", &[]),
    ("swarm/src", SWARM),
    ("swarm/examples/flashcrowd", &[]),
    ("agent/src", AGENT),
    ("server/src", SERVER),
    ("tests/src", &[]),
    ("tests/src/bin/bench", &[]),
    ("tests/src/bin/demo", &[]),
    ("tests/src/bin/reliability", &[]),
    ("fuzz/src", &[]),
];

#[test]
fn a_file_imports_from_its_own_storey_or_below() {
    for (folder, storeys) in CRATES.iter().filter(|(_, storeys)| !storeys.is_empty()) {
        for (file, imports) in imports(folder) {
            let own = storey(storeys, &file);
            for (imported, at) in imports.iter().map(|i| (i, storey(storeys, i))) {
                let beside = storeys[own].0 == "admin" && NOT_FOR_ADMINS.contains(&storeys[at].0);
                assert!(
                    at <= own && !beside,
                    "{folder}: {file} ({}) imports {imported} ({})",
                    storeys[own].0,
                    storeys[at].0
                );
            }
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = CRATES.iter().map(|(folder, _)| (folder, circle(&imports(folder))));
    let circles: Vec<_> = circles.filter(|(_, files)| !files.is_empty()).collect();
    assert!(circles.is_empty(), "they import each other: {circles:#?}");
}

/// The files that are left when those are taken away, again and again, that import nothing or are imported by nothing.
fn circle(all: &Imports) -> BTreeSet<String> {
    let imports = |a: &String, b: &String| all[a].contains(b);
    let mut left: BTreeSet<&String> = all.keys().collect();
    let is_tied = |file: &String, left: &BTreeSet<&String>| {
        left.iter().any(|other| imports(file, other)) && left.iter().any(|other| imports(other, file))
    };
    while let Some(file) = left.iter().copied().find(|file| !is_tied(file, &left)) {
        left.remove(file);
    }
    left.into_iter().cloned().collect()
}

fn storey(storeys: Storeys, file: &str) -> usize {
    let module = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let has = |(_, modules): &(&str, &str)| modules.split(' ').any(|m| m == module);
    storeys.iter().position(has).unwrap_or_else(|| panic!("{file} is on no storey: add it to the table"))
}
