// SPDX-License-Identifier: GPL-3.0-or-later
//! What a GRUB without HTTP gets by TFTP: `boottorrent setup --secure-boot` makes a folder in the
//! catalogue and links it below dnsmasq's TFTP root; here it is kept up to date.

use crate::{
    attempts::Stage,
    files,
    grub::{self, Way},
    menu::Menu,
    state::ServerState,
};
use anyhow::Result;
use bootspec::Architecture;
use std::{collections::BTreeMap, fs, path::Path};

/// Write what has changed, if the folder is there.
pub fn refresh(state: &ServerState) -> Result<()> {
    let config = state.config();
    let folder = config.catalogue.dir.join(grub::IN_CATALOGUE);
    if !folder.is_dir() {
        return Ok(());
    }
    let library = state.library();
    let images = library.bootable(None);
    let families: BTreeMap<_, _> = images.iter().filter_map(|i| i.family.map(|f| (f.as_str(), f))).collect();
    for (name, family) in families {
        let addon = state.addons.get(Architecture::default(), family)?;
        put(&folder, &format!("addon-{name}"), &addon)?;
    }
    let boot = &config.boot;
    let text = grub::config(
        &Menu {
            machine: Architecture::default(),
            first: None,
            node: None,
            host: "this server",
            images: &images,
            // By TFTP there are files of images only.
            entries: &[],
            settings: &config.menu,
            users: &state.menu_users(),
            unlocked: false,
            once: None,
            wanted: None,
            assigned: None,
            default: boot.default.as_ref(),
            timeout: boot.timeout.as_millis(),
            append: &boot.append,
            stage: &|_| Stage::Image,
            phase_one: &|m| m.kernel.size + m.initrd.size + state.addons.size(m),
        },
        Way::Tftp { port: config.serve.listen.port() },
    );
    put(&folder, "grub.cfg", text.as_bytes())
}

/// Beside it and renamed: a machine that reads it gets the old one or the new one.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // dnsmasq reads it as another user.
    files::replace(&path, bytes, 0o644)
}
