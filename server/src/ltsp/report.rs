// SPDX-License-Identifier: GPL-3.0-or-later
//! `ltsp boottorrent status`: how things are, and what to do where they are not as they should be.

use super::{
    Site, menu,
    publish::{Published, all_published, images, published},
    wishes::Wish,
};
use crate::{
    clients::Client,
    table::{Align, layout},
};
use anyhow::Result;
use bootspec::{Phase, SERVER_UNIT, units::human_size};
use std::fs;

/// The whole text. `clients`: what a running server knows of the machines.
pub fn report(site: &Site, clients: Result<Vec<Client>>) -> Result<String> {
    let (files, odd) = images(site)?;
    let wishes = site.wishes()?;
    let mut rows = Vec::new();
    let mut todo = Vec::new();
    for (name, file) in &files {
        let state = published(site, name, file)?;
        let boot = match wishes.images.get(name) {
            Some(Wish::On) => "over the swarm",
            Some(Wish::Pilot) => "as ltsp.conf says",
            _ => "over NFS",
        };
        let what = match &state {
            Published::Current(_) => "yes",
            Published::Older(_) => "an older version",
            Published::Not => "no",
        };
        if matches!(state, Published::Older(_))
            || (state == Published::Not && wishes.images.contains_key(name))
        {
            let wanted = wishes.publishes(name);
            todo.extend(
                wanted.then(|| format!("publish {name} as it is now: ltsp kernel {}", file.display())),
            );
        }
        let manifest = state.manifest();
        rows.push(vec![
            name.to_string(),
            boot.into(),
            what.into(),
            manifest.map(|m| human_size(m.size)).unwrap_or_default(),
            manifest.map(|m| m.infohash.to_string()).unwrap_or_default(),
        ]);
    }
    for (name, hash) in all_published(site)?.into_iter().filter(|(n, _)| !files.contains_key(n)) {
        todo.push(format!("{name} is published, but its file is gone: ltsp boottorrent disable {name}"));
        rows.push(vec![
            name.to_string(),
            String::new(),
            "its file is gone".into(),
            String::new(),
            hash.to_string(),
        ]);
    }
    let head = [
        ("IMAGE", Align::Left),
        ("MACHINES BOOT IT", Align::Left),
        ("PUBLISHED", Align::Left),
        ("SIZE", Align::Right),
        ("INFOHASH", Align::Left),
    ];
    let mut text = match rows.is_empty() {
        true => format!("There are no images in {}.\n", site.base.join("images").display()),
        false => layout(&head, &rows),
    };
    let wired = fs::read_to_string(site.menu()).ok().map(|m| menu::is_wired(&m));
    let shown = site.menu().display().to_string();
    match (wired, wishes.in_menu()) {
        (Some(true), true) => text += &format!("{shown}: asks for {}\n", site.pins().display()),
        (Some(false), false) => text += &format!("{shown}: as LTSP makes it\n"),
        (None, _) => todo.push("make LTSP's menu: ltsp ipxe".into()),
        (Some(_), _) => todo.push(format!("bring {shown} in line: ltsp ipxe")),
    }
    match clients {
        Ok(clients) => {
            let ours = all_published(site)?;
            let runs = |c: &&Client| {
                c.heartbeat.image.as_ref().is_some_and(|i| ours.keys().any(|n| n.as_str() == i))
            };
            let (up, loading): (Vec<_>, Vec<_>) =
                clients.iter().filter(runs).partition(|c| c.heartbeat.phase == Phase::Seed);
            text += &format!(
                "boottorrent serve: {} LTSP's images, {} load them\n",
                if up.len() == 1 { "1 machine runs".into() } else { format!("{} machines run", up.len()) },
                loading.len()
            );
        }
        Err(_) if wishes.in_menu() => {
            todo.push(format!(
                "start the server, without which no machine boots over the swarm: systemctl enable --now {SERVER_UNIT}"
            ));
        }
        Err(_) => text += "boottorrent serve: does not run\n",
    }
    odd.iter().for_each(|why| text += &format!("left alone: {why}\n"));
    todo.iter().for_each(|t| text += &format!("to do: {t}\n"));
    Ok(text)
}
