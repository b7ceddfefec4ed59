// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image sign` and `image verify`

use super::complete;
use crate::{
    catalogue::{Catalogue, signature_name, statement_name},
    config::Config,
    files, interrupt,
    keys::Folder,
};
use anyhow::{Result, bail};
use bootspec::{
    ImageName,
    trust::{Keys, MAX_KEY, Signed},
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
What is signed is the image's statement: name, time, infohash, size, SHA-256,
kind and kernel parameters. The payload is read to its end first: it must be
what statement and torrent say. Changes since the last signature are shown; if
you made none, somebody else did.

Stock minisign can sign a statement as well, on a machine that is in no network.
It looks at no bytes of the image: compare the line sha256 in the statement with
`sha256sum` of the image where it was made (see docs/security.md).
  minisign -Sm /var/lib/boottorrent/images/lab/lab.statement -s my.key

The password of a key is asked for on the terminal, or taken from
BOOTTORRENT_KEY_PASSWORD or the file that BOOTTORRENT_KEY_PASSWORD_FILE names.

Examples:
  boottorrent image sign lab
  boottorrent image sign --all --key /etc/boottorrent/keys/2027.key")]
pub struct Sign {
    #[command(flatten)]
    images: Images,
    /// The secret key [default: see `boottorrent key show`]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The signature must be by one of the public keys, the statement must say what the
catalogue has, and the payload must have the SHA-256 that was signed: it is read
to its end. The exit code is 1 when one of the images is not right.

Examples:
  boottorrent image verify lab
  boottorrent image verify --all --key /mnt/usb/site.pub")]
pub struct Verify {
    #[command(flatten)]
    images: Images,
    /// A public key [default: all in the key folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Which images.
#[derive(Debug, Args)]
struct Images {
    /// The images
    #[arg(required_unless_present = "all", add = complete::images())]
    names: Vec<ImageName>,
    /// Every image
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

impl Images {
    fn chosen(self, catalogue: &Catalogue) -> Result<Vec<ImageName>> {
        if self.all { catalogue.names() } else { Ok(self.names) }
    }
}

impl Sign {
    pub fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        interrupt::catch()?;
        let folder = Folder::of(config);
        let folder = Folder { secret: self.key.or(folder.secret), ..folder };
        let signer = folder.signer()?;
        let known = folder.keys()?;
        for name in self.images.chosen(catalogue)? {
            let done = catalogue.sign(&name, &signer, &known)?;
            println!("{}", done.told());
            let Signed { statement, key } = done.signed;
            println!("image '{name}' of {}: signed by key {key}", statement.version);
        }
        // Machines would not know it.
        if !known.ids().any(|id| id == signer.id) {
            println!("note: the public key of {} is not in {}", signer.id, folder.dir.display());
        }
        Ok(())
    }
}

impl Verify {
    pub fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        interrupt::catch()?;
        let folder = Folder::of(config);
        let keys = match &self.key {
            None => folder.keys()?,
            Some(file) => one(file)?,
        };
        if keys.ids().next().is_none() {
            bail!(
                "there is no public key in {}: make one with `boottorrent key generate`, or give one with --key",
                folder.dir.display()
            );
        }
        let mut wrong = 0;
        for name in self.images.chosen(catalogue)? {
            match right(catalogue, &name, &keys) {
                Ok(Signed { statement, key }) => println!(
                    "image '{name}' of {}: signed by key {key}, and its payload is what was signed (SHA-256 {})",
                    statement.version, statement.sha256
                ),
                Err(e) => {
                    wrong += 1;
                    println!("image '{name}': NOT RIGHT: {e:#}");
                }
            }
            interrupt::check()?;
        }
        match wrong {
            0 => Ok(()),
            1 => bail!("one image is not what somebody signed"),
            n => bail!("{n} images are not what somebody signed"),
        }
    }
}

/// A public key in a file.
fn one(file: &std::path::Path) -> Result<Keys> {
    let text = files::read_named(file, MAX_KEY, "key")?;
    let mut keys = Keys::default();
    match keys.add(&text) {
        Ok(_) => Ok(keys),
        Err(why) => bail!("{}: {why}", file.display()),
    }
}

/// Everything about one image.
fn right(catalogue: &Catalogue, name: &ImageName, keys: &Keys) -> Result<Signed> {
    let signed = catalogue.verify(name, keys)?;
    let sum = catalogue.sum(name)?;
    if sum != signed.statement.sha256 {
        bail!(
            "the payload's SHA-256 is {sum}, and {} was signed ({} and {} are in {}): the disk is failing, or somebody changed it",
            signed.statement.sha256,
            statement_name(name),
            signature_name(name),
            catalogue.dir(name).display()
        );
    }
    Ok(signed)
}
