// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent key …`

use crate::{
    cli::run::print_json,
    config::Config,
    keys::{self, AskPassword, CatalogueSigner, Folder, NewKey},
    table::{Align, layout},
};
use anyhow::Result;
use bootspec::ImageName;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key pair: a secret key to sign images, a public key for machines
    Generate(Generate),
    /// Show the keys, and which one signs new images
    Show(Show),
    /// Import a minisign key, public or secret
    Import(Import),
}

#[derive(Debug, Args)]
#[command(after_help = "\
NAME.key is secret and stays here, mode 0600. NAME.pub goes to where initrds are
made: into /etc/boottorrent/keys of the image (or of the machine that makes it);
BootTorrent's hook puts it into the initrd. A machine with a key boots only what
that key signed. From now on `image add` and `image fetch` sign by themselves.

The password is asked for on the terminal, or taken from the variable
BOOTTORRENT_KEY_PASSWORD, or from the file that BOOTTORRENT_KEY_PASSWORD_FILE
names. Stock minisign can use both files.

Examples:
  boottorrent key generate
  boottorrent key generate --no-password --daemon
  boottorrent key generate --name 2027")]
pub struct Generate {
    /// The key's name
    #[arg(long, default_value = keys::NAME)]
    name: ImageName,
    /// Do not encrypt the secret key: anyone who can read the file can sign
    #[arg(long)]
    no_password: bool,
    /// Let the server read the secret key, to sign images that it fetches
    #[arg(long)]
    daemon: bool,
}

#[derive(Debug, Args)]
pub struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A secret key is opened once, for its public one, and kept as it is, with the
password that it has.

Examples:
  boottorrent key import /mnt/usb/site.pub
  boottorrent key import ~/.minisign/minisign.key --name site")]
pub struct Import {
    /// The key's file
    file: PathBuf,
    /// The key's name [default: the file's]
    #[arg(long)]
    name: Option<ImageName>,
    /// Let the server read the secret key, to sign images that it fetches
    #[arg(long)]
    daemon: bool,
}

impl KeysCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let folder = Folder::of(config);
        // The catalogue is the daemon's.
        let owner = |daemon: bool| daemon.then_some(&*config.catalogue.dir);
        match self {
            KeysCommand::Generate(Generate { name, no_password, daemon }) => {
                told(&folder, &keys::generate(&folder, &name, !no_password, owner(daemon))?)
            }
            KeysCommand::Import(Import { file, name, daemon }) => {
                told(&folder, &keys::import(&folder, &file, name.as_ref(), owner(daemon))?)
            }
            KeysCommand::Show(Show { json }) => show(&folder, json),
        }
    }
}

/// What was made, and what comes next.
fn told(folder: &Folder, made: &NewKey) -> Result<()> {
    println!("key {}", made.id);
    println!("public: {}", made.public.display());
    if let Some(secret) = &made.secret {
        let password = if made.password { "with a password" } else { "without a password" };
        println!("secret: {} ({password}); keep a copy where nobody else gets it", secret.display());
        match folder.chosen() {
            Ok(Some(signs)) if signs != *secret => println!("note: {} goes on signing", signs.display()),
            Ok(_) => {}
            Err(e) => println!("note: {e:#}"),
        }
    }
    println!(
        "next: copy the public key into /etc/boottorrent/keys of your images, run `update-initramfs -u` in them, and\n\
         `boottorrent image add --replace`; `boottorrent image sign --all` signs what is there (docs/security.md)"
    );
    Ok(())
}

/// A public key, or a secret one whose public one is not here.
struct KeyRow {
    name: String,
    id: Option<String>,
    secret: Option<PathBuf>,
    signs: bool,
    line: Option<String>,
}

fn rows(folder: &Folder) -> Result<Vec<KeyRow>> {
    let chosen = folder.chosen().ok().flatten();
    let secrets = folder.secrets()?;
    let stem = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let secret_of = |name: &str| secrets.iter().find(|s| stem(s) == name).cloned();
    let mut rows: Vec<KeyRow> = Vec::new();
    for key in folder.public()? {
        let name = stem(&key.path);
        let secret = secret_of(&name);
        let text = String::from_utf8_lossy(&key.text).into_owned();
        rows.push(KeyRow {
            signs: secret.is_some() && secret == chosen,
            secret,
            id: Some(key.id.to_string()),
            line: text.lines().nth(1).map(str::to_owned),
            name,
        });
    }
    let lone: Vec<&PathBuf> = secrets.iter().filter(|s| !rows.iter().any(|r| r.name == stem(s))).collect();
    rows.extend(lone.into_iter().map(|s| KeyRow {
        name: stem(s),
        id: None,
        secret: Some(s.clone()),
        signs: Some(s) == chosen.as_ref(),
        line: None,
    }));
    Ok(rows)
}

fn show(folder: &Folder, json: bool) -> Result<()> {
    let rows = rows(folder)?;
    if json {
        let value = |r: &KeyRow| {
            serde_json::json!({
                "name": r.name, "id": r.id, "secret": r.secret, "signs": r.signs, "public": r.line,
            })
        };
        return print_json(&rows.iter().map(value).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        println!("no keys in {}: make one with `boottorrent key generate`", folder.dir.display());
        return Ok(());
    }
    let head = [
        ("NAME", Align::Left),
        ("KEY", Align::Left),
        ("SECRET KEY", Align::Left),
        ("PUBLIC KEY", Align::Left),
    ];
    let row = |r: &KeyRow| {
        let secret = match (&r.secret, r.signs) {
            (None, _) => "-",
            (Some(_), true) => "here, signs",
            (Some(_), false) => "here",
        };
        vec![
            r.name.clone(),
            r.id.clone().unwrap_or("?".into()),
            secret.into(),
            r.line.clone().unwrap_or("-".into()),
        ]
    };
    print!("{}", layout(&head, &rows.iter().map(row).collect::<Vec<_>>()));
    // What stands in the way of signing is said here, where somebody looks.
    match folder.hand(AskPassword::Nobody) {
        Ok(CatalogueSigner::Unable(why)) => println!("note: {why}"),
        Err(e) => println!("note: {e:#}"),
        Ok(_) => {}
    }
    Ok(())
}
