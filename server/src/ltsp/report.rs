// SPDX-License-Identifier: GPL-3.0-or-later
//! `ltsp boottorrent status`: how things are, and what to do where they are not as they should be.

use super::{
    Site, menu,
    publish::{Published, all_published, images, published},
    wishes::{Wish, Wishes},
};
use crate::{
    clients::Client,
    table::{Align, layout},
};
use anyhow::Result;
use bootspec::{ImageName, Phase, SERVER_UNIT, text::count, units::human_size};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The whole text. `clients`: what a running server knows of the machines.
pub fn report(site: &Site, clients: Result<Vec<Client>>) -> Result<String> {
    let (files, odd) = images(site)?;
    let wishes = site.wishes()?;
    let mut report = Report { site, wishes, text: String::new(), todo: Vec::new() };
    report.images(&files)?;
    report.menu();
    report.machines(clients)?;
    let Report { mut text, todo, .. } = report;
    odd.iter().for_each(|why| text += &format!("left alone: {why}\n"));
    todo.iter().for_each(|t| text += &format!("to do: {t}\n"));
    Ok(text)
}

/// The text so far, and what there is to do.
struct Report<'a> {
    site: &'a Site,
    wishes: Wishes,
    text: String,
    todo: Vec<String>,
}

impl Report<'_> {
    /// A row for each image that LTSP has, and for each that is only published.
    fn images(&mut self, files: &BTreeMap<ImageName, PathBuf>) -> Result<()> {
        let mut rows = Vec::new();
        for (name, file) in files {
            rows.push(self.image(name, file)?);
        }
        for (name, hash) in all_published(self.site)?.into_iter().filter(|(n, _)| !files.contains_key(n)) {
            self.todo
                .push(format!("{name} is published, but its file is gone: ltsp boottorrent disable {name}"));
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
        self.text += &match rows.is_empty() {
            true => format!("There are no images in {}.\n", self.site.base.join("images").display()),
            false => layout(&head, &rows),
        };
        Ok(())
    }

    fn image(&mut self, name: &ImageName, file: &Path) -> Result<Vec<String>> {
        let state = published(self.site, name, file)?;
        let boot = match self.wishes.images.get(name) {
            Some(Wish::On) => "over the swarm",
            Some(Wish::Pilot) => "as ltsp.conf says",
            _ => "over NFS",
        };
        let what = match &state {
            Published::Current(_) => "yes",
            Published::Older(_) => "an older version",
            Published::Not => "no",
        };
        let is_behind = matches!(state, Published::Older(_))
            || (state == Published::Not && self.wishes.images.contains_key(name));
        if is_behind && self.wishes.publishes(name) {
            self.todo.push(format!("publish {name} as it is now: ltsp kernel {}", file.display()));
        }
        let manifest = state.manifest();
        Ok(vec![
            name.to_string(),
            boot.into(),
            what.into(),
            manifest.map(|m| human_size(m.size)).unwrap_or_default(),
            manifest.map(|m| m.infohash.to_string()).unwrap_or_default(),
        ])
    }

    /// Whether LTSP's menu asks for ours.
    fn menu(&mut self) {
        let wired = fs::read_to_string(self.site.menu()).ok().map(|m| menu::is_wired(&m));
        let shown = self.site.menu().display().to_string();
        match (wired, self.wishes.in_menu()) {
            (Some(true), true) => self.text += &format!("{shown}: asks for {}\n", self.site.pins().display()),
            (Some(false), false) => self.text += &format!("{shown}: as LTSP makes it\n"),
            (None, _) => self.todo.push("make LTSP's menu: ltsp ipxe".into()),
            (Some(_), _) => self.todo.push(format!("bring {shown} in line: ltsp ipxe")),
        }
    }

    /// What machines do, as far as a server runs that knows.
    fn machines(&mut self, clients: Result<Vec<Client>>) -> Result<()> {
        let Ok(clients) = clients else {
            match self.wishes.in_menu() {
                true => self.todo.push(format!(
                    "start the server, without which no machine boots over the swarm: systemctl enable --now {SERVER_UNIT}"
                )),
                false => self.text += "boottorrent serve: does not run\n",
            }
            return Ok(());
        };
        let ours = all_published(self.site)?;
        let runs =
            |c: &&Client| c.heartbeat.image.as_ref().is_some_and(|i| ours.keys().any(|n| n.as_str() == i));
        let (up, loading): (Vec<_>, Vec<_>) =
            clients.iter().filter(runs).partition(|c| c.heartbeat.phase == Phase::Seed);
        let run = if up.len() == 1 { "runs" } else { "run" };
        self.text += &format!(
            "boottorrent serve: {} {run} LTSP's images, {} load them\n",
            count(up.len(), "machine"),
            loading.len()
        );
        Ok(())
    }
}
