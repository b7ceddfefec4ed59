// SPDX-License-Identifier: GPL-3.0-or-later
//! What `image add` and `image fetch` say in the end.

use crate::{addon::Addons, import::Added};
use bootspec::{text::clean, units};

/// What was found and done.
pub fn told(added: &Added, addons: &Addons) -> String {
    let m = &added.manifest;
    let size = units::human_size;
    let version = added.version.as_deref().map(|v| format!("{v} ")).unwrap_or_default();
    let mut text = format!(
        "image '{}': {}, {} in pieces of {}, infohash {}\n\
         kernel {version}from {}, initrd from {}\n",
        m.name,
        m.what(),
        size(m.size),
        size(m.piece_length.into()),
        m.infohash,
        m.kernel.from,
        m.initrd.from,
    );
    let addon = addons.size(m.family);
    if m.family.is_some() && !m.append.is_empty() {
        text += &format!("kernel parameters: {}\n", m.append);
    }
    text += &match m.family {
        None => format!(
            "phase one (kernel and initrd, sent to each machine): {} + {} = {}\n",
            size(m.kernel.size),
            size(m.initrd.size),
            size(m.kernel.size + m.initrd.size)
        ),
        Some(_) => format!(
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
    if let Some(Err(e)) = m.family.map(|f| addons.get(f)) {
        text += &format!("note: machines cannot boot it from this server yet: {e:#}\n");
    }
    text +=
        "next: `boottorrent serve` makes it bootable at once; a running one has seen it within 2 seconds\n";
    // The names of kernels come out of images.
    clean(&text, &['\n']).into_owned()
}
