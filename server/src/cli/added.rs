// SPDX-License-Identifier: GPL-3.0-or-later
//! What `image add` and `image fetch` say in the end.

use super::backend::Backend;
use crate::{addon::Addons, config::Config, import::Added, operations::Retention, trail};
use bootspec::{ImageManifest, manifest::FIRST, text::clean, units};

/// What was found and done.
pub fn told(added: &Added, config: &Config) -> String {
    let addons = &Addons::of(config);
    let m = &added.manifest;
    let size = units::human_size;
    let version = added.version.as_deref().map(|v| format!("{v} ")).unwrap_or_default();
    let mut text = format!(
        "image '{}': {}, {} in pieces of {}, infohash {}\n\
         kernel {version}from {}, initrd {}\n",
        m.name,
        m.what(),
        size(m.size),
        size(m.piece_length.into()),
        m.infohash,
        m.kernel.from,
        match added.own {
            Some(_) => "made by this server".to_owned(),
            None => format!("from {}", m.initrd.from),
        },
    );
    text += &versions(added);
    let addon = addons.size(m);
    if m.family.is_some() && !m.append.is_empty() {
        text += &format!("kernel parameters: {}\n", m.append);
    }
    text += &match (m.family, &added.own) {
        (_, Some(own)) => {
            let agent = addons.init(m, own.xz).map_or(0, |b| b.len() as u64);
            let (one, all) = own.sizes();
            format!(
                "phase one (kernel and initrd, sent to each machine): {} + about {} = {}; {} for a card that is not known\n",
                size(m.kernel.size),
                size(agent + one),
                size(m.kernel.size + agent + one),
                size(m.kernel.size + agent + all)
            )
        }
        (None, None) => format!(
            "phase one (kernel and initrd, sent to each machine): {} + {} = {}\n",
            size(m.kernel.size),
            size(m.initrd.size),
            size(m.kernel.size + m.initrd.size)
        ),
        (Some(_), None) => format!(
            "phase one (kernel, initrd and add-on, sent to each machine): {} + {} + {} = {}\n",
            size(m.kernel.size),
            size(m.initrd.size),
            size(addon),
            size(m.kernel.size + m.initrd.size + addon)
        ),
    };
    text.extend(added.sealed.told().map(|line| line + "\n"));
    for note in &added.notes {
        text += &format!("note: {note}\n");
    }
    let agent = added.own.as_ref().map(|own| addons.init(m, own.xz));
    if let Some(Err(e)) = m.family.map(|f| addons.get(m.architecture, f)).or(agent) {
        text += &format!("note: machines cannot boot it from this server yet: {e:#}\n");
    }
    text += "next: `boottorrent serve` offers it at once; a running server offers it within 2 seconds\n";
    text += &format!("watch machines: `boottorrent`, or {}\n", page(config));
    // The names of kernels come out of images.
    clean(&text, &['\n']).into_owned()
}

/// The server's web page.
pub fn page(config: &Config) -> String {
    format!("http://{}:{}/", own_address(), config.serve.listen.port())
}

/// The address by which machines are likely to reach us.
pub fn own_address() -> String {
    let addresses = crate::net::interfaces().unwrap_or_default();
    addresses.first().map_or("SERVER".into(), |i| i.address.to_string())
}

/// What is to be said of an image that has more than one version.
fn versions(added: &Added) -> String {
    let ImageManifest { name, version, .. } = &added.manifest;
    match (added.candidate, *version) {
        (true, _) => format!(
            "version {version}, not the current one: `boottorrent host set WHO --image {name}@{version}` boots it first for \
             a few machines, `boottorrent image set {name} --version {version}` for all\n"
        ),
        (false, FIRST) => String::new(),
        (false, _) => format!(
            "version {version}: `boottorrent image history {name}` lists all, `boottorrent image rollback {name}` goes back\n"
        ),
    }
}

/// Remove earlier versions of images that are too many, after one was added. A running server does this itself: it knows
/// better who runs what.
pub fn prune(config: &Config) {
    let Ok(Backend::Disk(disk)) = Backend::open(config) else { return };
    let removed = disk.machines().and_then(|clients| disk.prune(&Retention::of(config), &clients));
    // The image was added all the same.
    let removed = removed.unwrap_or_else(|e| {
        eprintln!("note: earlier versions of images are not removed: {e:#}");
        Vec::new()
    });
    removed.iter().for_each(|image| trail::tell(&format!("image '{image}' is removed, newer ones are kept")));
}
