// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image history|rollback|remove`

use super::{backend::Backend, complete, run::block_on};
use crate::{
    api::{self, Api},
    catalogue::{Catalogue, ImageChange, as_json},
    cli::run::print_json,
    clients::Client,
    config::Config,
    keys::{AskPassword, Folder},
    operations::Disk,
    table::{Align, layout},
    trail,
};
use anyhow::{Context, Result, bail};
use bootspec::{ImageManifest, ImageName, ImageRef, text::count, units::human_size};
use clap::Args;
use serde_json::json;
use std::io::{IsTerminal, Write, stdin, stdout};

#[derive(Debug, Args)]
#[command(after_help = "\
`image add --replace` keeps the version before. Two earlier versions are kept
(keep-versions in server.toml), and all that a machine runs or should boot.

Examples:
  boottorrent image history lab
  boottorrent image history lab --json | jq '.[] | {version, machines}'")]
pub struct History {
    /// The image
    #[arg(add = complete::images())]
    name: ImageName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Machines that run a version keep it. From their next boot on, machines boot the
current version, except for those that `host set --image NAME@NUMBER` sets to
another one. A signed image is signed again if the key is here, since machines
that keep images on a disk refuse a signature older than the last.

Examples:
  boottorrent image rollback lab
  boottorrent image rollback lab --to 3")]
pub struct Rollback {
    /// The image
    #[arg(add = complete::images())]
    name: ImageName,
    /// The version to make current [default: the previous one]
    #[arg(long, value_name = "NUMBER")]
    to: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without a running server, the machines count that ran the image when it stopped.

Examples:
  boottorrent image remove lab          with all its versions
  boottorrent image remove lab@1        one version, not the current one
  boottorrent image remove lab --yes    in a script: it asks on a terminal only")]
pub struct Remove {
    /// The image, or one version of it
    image: ImageRef,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Remove it even if machines run it, without asking
    #[arg(long)]
    force: bool,
    /// The server that tracks the machines [default: this machine's]
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
}

/// The machines: as the running server knows them, or as the last one did.
pub fn machines(config: &Config) -> Result<Vec<Client>> {
    match Backend::open_to_read(config).and_then(|b| if b.is_server() { b.clients() } else { bail!("none") })
    {
        Ok(clients) => Ok(clients),
        Err(_) => Disk::of(config).machines(),
    }
}

impl History {
    pub fn run(self, config: &Config) -> Result<()> {
        let disk = Disk::of(config);
        let versions = disk.catalogue.versions(&self.name)?;
        let current = versions[0].version;
        let (clients, hosts) = (machines(config)?, disk.hosts.load()?);
        let mut versions: Vec<(ImageManifest, Vec<String>, Vec<String>)> = versions
            .into_iter()
            .map(|m| {
                let runs = clients.iter().filter(|c| c.runs(m.infohash));
                let runs = runs.map(|c| c.name.clone().unwrap_or_else(|| c.heartbeat.id.clone())).collect();
                let set = hosts.users_of_version(&self.name, m.version);
                (m, runs, set)
            })
            .collect();
        versions.sort_by_key(|(m, ..)| std::cmp::Reverse(m.version));
        if self.json {
            let row = |(m, runs, set): &(ImageManifest, Vec<String>, Vec<String>)| {
                let mut value = as_json(m);
                value["current"] = json!(m.version == current);
                value["machines"] = json!(runs);
                value["assigned"] = json!(set);
                value
            };
            return print_json(&versions.iter().map(row).collect::<Vec<_>>());
        }
        print!("{}", render(&versions, current));
        Ok(())
    }
}

fn render(versions: &[(ImageManifest, Vec<String>, Vec<String>)], current: u32) -> String {
    let head = [
        ("VERSION", Align::Right),
        ("STATE", Align::Left),
        ("SIZE", Align::Right),
        ("ADDED", Align::Left),
        ("RUNNING", Align::Right),
        ("SET FOR", Align::Left),
        ("INFOHASH", Align::Left),
    ];
    let row = |(m, runs, set): &(ImageManifest, Vec<String>, Vec<String>)| {
        let state = match m.version.cmp(&current) {
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Less => "earlier",
            std::cmp::Ordering::Greater => "newer",
        };
        let set = if set.is_empty() { "-".to_owned() } else { set.join(", ") };
        vec![
            m.version.to_string(),
            state.into(),
            human_size(m.size),
            m.added.clone(),
            runs.len().to_string(),
            set,
            m.infohash.to_string(),
        ]
    };
    layout(&head, &versions.iter().map(row).collect::<Vec<_>>())
}

/// Make a version the current one: on the disk, where the key is that signs it again, or by the server where this user
/// may not write.
pub fn switch(config: &Config, name: &ImageName, version: u32) -> Result<()> {
    let backend = if nix::unistd::geteuid().is_root() { None } else { Some(Backend::open(config)?) };
    if let Some(Backend::Server(api)) = backend {
        let change = ImageChange { version: Some(version), ..ImageChange::default() };
        return block_on(api.change_image(name, &change)).map(drop);
    }
    let catalogue = Disk::of(config).catalogue.signed_by(Folder::of(config).hand(AskPassword::Terminal)?);
    let done = catalogue.make_current(name, Some(version))?;
    trail::tell(&format!("image '{name}': version {version} is the current one"));
    if let Some(note) = done.sealed.told() {
        println!("{note}");
    }
    Ok(())
}

impl Rollback {
    pub fn run(self, config: &Config) -> Result<()> {
        let catalogue = Disk::of(config).catalogue;
        let (to, before) =
            (catalogue.version_for(&self.name, self.to)?, catalogue.manifest(&self.name)?.version);
        switch(config, &self.name, to)?;
        println!(
            "image '{0}' is of version {to} again; `boottorrent image rollback {0} --to {before}` takes that back",
            self.name
        );
        Ok(())
    }
}

impl Remove {
    pub fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        let name = &self.image.name;
        let manifest = catalogue.manifest(name);
        if manifest.is_err() && (!self.force || !catalogue.dir(name).exists()) {
            return manifest.map(drop);
        }
        if let Some(version) = self.image.version {
            catalogue.dir_of(name, version)?;
        }
        if !self.yes && !self.force && !self.asked(catalogue)? {
            bail!("nothing is removed");
        }
        match (self.server.as_deref(), Backend::open(config)) {
            // It knows who runs the image, and it may be allowed what this user is not.
            (None, Ok(Backend::Server(api))) => block_on(api.remove_image(&self.image, self.force))?,
            // A server without a socket for us, or those that the last one knew.
            (server, _) => {
                let asked = |server| block_on(Api::remote(&api::url(Some(server), config))?.clients());
                let clients = || server.map_or_else(|| machines(config), asked);
                Disk::of(config).remove_image(&self.image, self.force, clients)?;
                trail::tell(&format!("image '{}' is removed", self.image));
            }
        }
        println!("image '{}' removed", self.image);
        Ok(())
    }

    /// Whether whoever sits there wants it.
    fn asked(&self, catalogue: &Catalogue) -> Result<bool> {
        let image = &self.image;
        if !stdin().is_terminal() {
            return Ok(true);
        }
        let mut all = catalogue.versions(&image.name)?;
        all.retain(|m| image.version.is_none_or(|v| v == m.version));
        let size = human_size(all.iter().map(|m| m.size).sum());
        let what = match all.len() {
            1 => size,
            n => format!("{}, {size}", count(n, "version")),
        };
        print!("remove image '{image}' ({what})? [y/N] ");
        stdout().flush().context("writing to the terminal")?;
        let mut answer = String::new();
        stdin().read_line(&mut answer).context("reading the answer")?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}
