// SPDX-License-Identifier: GPL-3.0-or-later
//! `[menu]` of server.toml, beside what is on the disk.

use super::finding::Finding;
use crate::{
    config::Config,
    menu_users,
    operations::Disk,
    setup::{prepare::gives_shell, write::Record},
};
use std::collections::BTreeSet;

/// Names of nothing, and locks without a key. Nothing is found of a menu without settings.
pub fn menu(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let there = Disk::of(config).bootable().unwrap_or_default();
    let lost: BTreeSet<String> = config
        .menu
        .names()
        .filter(|(_, name)| !there.contains_key(name))
        .map(|(key, name)| format!("'{name}' ({key})"))
        .collect();
    if !lost.is_empty() {
        let lost = lost.into_iter().collect::<Vec<_>>().join(", ");
        found.push(Finding::warning(
            "menu",
            format!("[menu] of server.toml names what is neither an image nor an entry: {lost}"),
            "these names have no effect until there is an image or entry of that name",
            "correct the names: boottorrent image list; boottorrent entry list",
        ));
    }
    if !config.menu.locked.is_empty() && !menu_users::any(&config.catalogue.dir) {
        found.push(Finding::warning(
            "menu",
            "items of the menu are locked, and nobody has a password",
            "nobody can start these items from the menu, or open iPXE's shell",
            "boottorrent menu password",
        ));
    }
    found.extend(open_shells(config));
    found
}

/// Loaders that `setup` wrote before the menu gave no shell, or without what closes theirs.
fn open_shells(config: &Config) -> Option<Finding> {
    let record = Record::read(&config.catalogue.dir).ok().filter(|_| !gives_shell(config))?;
    let written = |names: &[&str]| record.files.keys().any(|f| names.iter().any(|n| f.ends_with(n)));
    let machines: Vec<&str> =
        [("a BIOS", &["undionly.kpxe"][..]), ("UEFI", &["boottorrent/snponly.efi", "boottorrent/ipxe.efi"])]
            .into_iter()
            .filter_map(|(machines, loaders)| written(loaders).then_some(machines))
            .collect();
    (!machines.is_empty()).then(|| {
        Finding::warning(
            "menu",
            format!(
                "the menu gives no shell without a password, but Ctrl-B at iPXE's banner does on machines with {}",
                machines.join(" or ")
            ),
            "who sits there can start something else",
            "boottorrent setup says what closes it; then run it again with --write",
        )
    })
}
