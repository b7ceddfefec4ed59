// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host files` and `host sign`, and what `host set --files` does.

use super::{backend::Backend, complete};
use crate::{
    config::Config,
    hosts::{
        EntryKey, HostChanges, HostEntry,
        files::{Content, LayersFolder, pack},
        select,
    },
    keys::{AskPassword, CatalogueSigner, Folder, Signer},
    trail,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    Sha256Sum,
    text::{clean, count},
};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Debug, Args)]
#[command(after_help = "\
A line for each file: mode, owner, size and path. Files named .wh.NAME remove
NAME from the image; what ends in .bt-template is filled in on the machine.

Examples:
  boottorrent host files pc1
  boottorrent host files group:room1 default")]
pub struct Files {
    /// The machines or groups
    #[arg(required = true, add = complete::hosts())]
    who: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Machines with a public key in their initrd take only signed files. `host set
--files` signs them if it can use the secret key; this does it later. It lists
the files first: sign them only if they are yours.

Stock minisign can sign them as well, on a machine without a network:
  minisign -Sm /var/lib/boottorrent/files/SHA256 -s my.key

Examples:
  boottorrent host sign pc1
  boottorrent host sign --all --key /etc/boottorrent/keys/2027.key")]
pub struct SignFiles {
    /// The machines or groups
    #[arg(required_unless_present = "all", add = complete::hosts())]
    who: Vec<String>,
    /// All that have files
    #[arg(long, conflicts_with = "who")]
    all: bool,
    /// The secret key [default: see `boottorrent key show`]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that everybody on the network can read.
    Open,
    /// Those for machines whose key was accepted.
    Private,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Open, Kind::Private];

    fn folder(self, config: &Config) -> LayersFolder {
        match self {
            Kind::Open => LayersFolder::at(&config.catalogue.dir),
            Kind::Private => LayersFolder::private(&config.catalogue.dir),
        }
    }

    fn of(self, entry: &HostEntry) -> Option<Sha256Sum> {
        match self {
            Kind::Open => entry.files,
            Kind::Private => entry.private,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Open => "",
            Kind::Private => "private files, ",
        }
    }
}

/// Who has which files, of those that the words mean.
fn those_with_files(
    backend: &Backend,
    who: &[String],
    all: bool,
) -> Result<Vec<(EntryKey, Kind, Sha256Sum)>> {
    let hosts = backend.hosts()?;
    let keys = match all {
        true => hosts.entries.keys().cloned().collect(),
        false => select(&hosts, who).map_err(|e| anyhow!(e))?,
    };
    let mut found = Vec::new();
    for key in keys {
        let entry = hosts.entries.get(&key);
        let theirs: Vec<_> =
            Kind::ALL.into_iter().filter_map(|kind| Some((key.clone(), kind, kind.of(entry?)?))).collect();
        if theirs.is_empty() && !all {
            bail!("'{key}' has no files of its own: add them with `boottorrent host set {key} --files DIR`")
        }
        found.extend(theirs);
    }
    Ok(found)
}

impl Files {
    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        for (key, kind, sum) in those_with_files(backend, &self.who, false)? {
            let layers = kind.folder(config);
            let signed = if layers.signature(sum)?.is_some() { "signed" } else { "not signed" };
            println!("{key}: {}SHA-256 {sum}, {signed}", kind.what());
            print!("{}", pack::list(&layers.read(sum)?)?);
        }
        Ok(())
    }
}

impl SignFiles {
    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        let folder = Folder::of(config);
        let folder = Folder { secret: self.key.or(folder.secret), ..folder };
        let signer = folder.signer()?;
        for (key, kind, sum) in those_with_files(backend, &self.who, self.all)? {
            let layers = kind.folder(config);
            layers.check(sum, &key)?;
            let layer = layers.read(sum)?;
            print!("{}", pack::list(&layer)?);
            layers.sign(sum, &signed(&signer, &key, &layer)?)?;
            println!("{key}: these files are signed by key {}", signer.id);
            trail::tell(&format!("files {sum} for {key} are signed by key {}", signer.id));
        }
        Ok(())
    }
}

fn signed(signer: &Signer, key: &EntryKey, layer: &[u8]) -> Result<Vec<u8>> {
    signer.sign_bytes(layer, &format!("files for {key}"))
}

/// Who signs files that are given now. None: nobody wants signatures.
fn hand(config: &Config) -> Result<Option<Result<Arc<Signer>, String>>> {
    Ok(match Folder::of(config).hand(AskPassword::Terminal)? {
        CatalogueSigner::Ready(signer) => Some(Ok(signer)),
        CatalogueSigner::Unable(why) => Some(Err(why)),
        // A site may have only public keys here: the secret one is elsewhere.
        _ => Folder::of(config).keys()?.ids().next().map(|_| Err("the secret key is not here".into())),
    })
}

/// Keep these files for everybody whose entry is going to have them, and put them into the changes.
pub fn give(from: &Path, kind: Kind, changes: &mut HostChanges, config: &Config) -> Result<()> {
    let content = Content::read(from)?;
    let notes = content.notes();
    notes.iter().for_each(|note| eprintln!("note: {}", clean(note, &[])));
    let (layers, hand) = (kind.folder(config), hand(config)?);
    for change in &mut changes.changes {
        let layer = match kind {
            Kind::Open => pack::layer(&content, &change.key)?,
            Kind::Private => pack::private_layer(&content, &change.key)?,
        };
        let signature = match &hand {
            Some(Ok(signer)) => Some(signed(signer, &change.key, &layer)?),
            _ => None,
        };
        let kept = layers.keep(&layer, signature.as_deref());
        let sum = Some(kept.context("keeping the files")?);
        match kind {
            Kind::Open => change.change.set.files = sum,
            Kind::Private => change.change.set.private = sum,
        }
    }
    println!("{} of {}", count(content.items.len(), "path"), from.display());
    if let Some(Err(why)) = hand {
        eprintln!(
            "note: not signed: {why}; machines with a key in their initrd refuse these files; `boottorrent host sign` signs them later"
        );
    }
    Ok(())
}
