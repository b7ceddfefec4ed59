// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent source …`

use super::{complete, run::block_on};
use crate::{
    cli::run::print_json,
    config::Config,
    fetch::{http::Http, signature::OpenPgpSigner},
    sources::{Folders, FoundSource, ImageSource, parse::Signed},
    table::{Align, layout},
};
use anyhow::{Context, Result, bail};
use bootspec::{
    ImageName,
    units::{human_size, parse_size},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// List the sources that `image fetch` knows by name
    List {
        /// Only sources with this text in the name or description
        filter: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one source
    Show {
        /// The source
        #[arg(add = complete::sources())]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a source
    Add(Box<Add>),
    /// Remove a source (shipped ones are hidden)
    Remove {
        /// The source
        #[arg(add = complete::sources())]
        name: ImageName,
    },
    /// Check that sources are valid and that their keys are installed
    Check {
        /// The sources [default: all]
        #[arg(add = complete::sources())]
        names: Vec<String>,
        /// Also contact their servers
        #[arg(long)]
        online: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boottorrent source add lab --url http://mirror.lan/iso/ --file 'lab-*.iso' \\
      --checksums http://mirror.lan/iso/SHA256SUMS
  boottorrent source add exam --url /srv/iso/exam.iso --description 'The exam'
  boottorrent source add --from lab.toml

A folder of this machine, or of a web server, can be a source: the latest
version of --file is taken. docs/admin.md has all that can be in the file.")]
pub struct Add {
    /// The source's name [default: the file's]
    #[arg(required_unless_present = "from")]
    name: Option<ImageName>,
    /// A file that describes it
    #[arg(long, value_name = "FILE.toml")]
    from: Option<PathBuf>,
    /// A description of one line
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    description: String,
    /// The architecture of the image
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ARCH")]
    architecture: String,
    /// The approximate size
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,
    /// The URL or path of the image; a folder ends in /
    #[arg(long)]
    url: Option<String>,
    /// The file name in the folder or torrent; * matches the version
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// The URL of the .torrent, or a magnet link
    #[arg(long, value_name = "URL")]
    torrent: Option<String>,
    /// The URL of the checksum list
    #[arg(long, value_name = "URL")]
    checksums: Option<String>,
    /// The SHA-256 checksum
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// The URL of the OpenPGP signature
    #[arg(long, value_name = "URL")]
    signature: Option<String>,
    /// The signature covers the image, not the checksum list
    #[arg(long)]
    image_signed: bool,
    /// The keyring with the keys that may sign
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The only key in the keyring that may sign (fingerprint)
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Kernel parameters for the image
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    append: String,
    /// Replace the source of this name
    #[arg(long)]
    replace: bool,
}

impl SourceCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let folders = Folders { dirs: config.catalogue.sources.clone() };
        match self {
            SourceCommand::List { filter, json } => list(&folders, filter.as_deref(), json),
            SourceCommand::Show { name, json } => {
                let found = folders.find(&name)?;
                if json {
                    return print_json(&found);
                }
                // As it was written, with its comments.
                let text = std::fs::read_to_string(&found.path);
                let text = text.with_context(|| format!("reading {}", found.path.display()))?;
                println!("# {}\n{}", found.path.display(), text.trim_end());
                Ok(())
            }
            SourceCommand::Add(add) => add.run(&folders),
            SourceCommand::Remove { name } => {
                println!("{}", folders.remove(&name)?);
                Ok(())
            }
            SourceCommand::Check { names, online, json } => check(&folders, &names, online, json),
        }
    }
}

fn list(folders: &Folders, filter: Option<&str>, json: bool) -> Result<()> {
    let all = folders.read()?;
    let wanted = filter.unwrap_or_default().to_lowercase();
    let fits = |f: &&FoundSource| {
        f.name.as_str().to_lowercase().contains(&wanted)
            || f.source.description.to_lowercase().contains(&wanted)
    };
    let found: Vec<&FoundSource> = all.sources.values().filter(fits).collect();
    all.broken.iter().for_each(|b| eprintln!("warning: {b}"));
    if json {
        return print_json(&found);
    }
    if found.is_empty() {
        println!(
            "no source{}: see `boottorrent source add --help`",
            filter.map_or(String::new(), |f| format!(" with '{f}'"))
        );
        return Ok(());
    }
    let head = [
        ("NAME", Align::Left),
        ("FOR", Align::Left),
        ("SIZE", Align::Right),
        ("VERIFIED BY", Align::Left),
        ("DESCRIPTION", Align::Left),
    ];
    let row = |f: &&FoundSource| {
        let s = &f.source;
        vec![
            f.name.to_string(),
            if s.architecture.is_empty() { "-".into() } else { s.architecture.clone() },
            s.size.map_or("-".into(), human_size),
            verified_by(s).unwrap_or("NOTHING").into(),
            s.description.clone(),
        ]
    };
    print!("{}", layout(&head, &found.iter().map(row).collect::<Vec<_>>()));
    Ok(())
}

/// What says that it is genuine; `None`: nothing.
fn verified_by(s: &ImageSource) -> Option<&'static str> {
    let by = match (&s.signature, &s.checksums) {
        (Some(_), _) => "signature",
        _ if s.sha256.is_some() || s.sha512.is_some() => "sum",
        (None, Some(_)) => "checksums",
        _ if s.torrent.is_some() => "torrent",
        _ if s.url.as_ref().is_some_and(|u| u.starts_with('/')) => "own file",
        _ => return None,
    };
    Some(by)
}

/// A source as a file: without what it does not say.
#[derive(serde::Serialize)]
struct Written(toml::Table);

impl Written {
    fn of(source: &ImageSource) -> Written {
        let mut table = toml::Table::try_from(source).unwrap_or_default();
        table.retain(|key, value| {
            let empty = value.as_str() == Some("");
            !(empty || key == "signed" && source.signed == Signed::Checksums)
        });
        if let Some(size) = source.size {
            table.insert("size".into(), size.to_string().into());
        }
        Written(table)
    }
}

impl Add {
    fn run(self, folders: &Folders) -> Result<()> {
        let (name, text) = match &self.from {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
                // Said of the file that was given, and not of the one that it becomes.
                crate::sources::parse::parse(&text)
                    .map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
                (self.name.map_or_else(|| stem.parse(), Ok)?, text)
            }
            None => {
                let source = ImageSource {
                    description: self.description,
                    architecture: self.architecture,
                    size: self.size,
                    url: self.url,
                    file: self.file,
                    torrent: self.torrent,
                    checksums: self.checksums,
                    sha256: self.sha256,
                    signature: self.signature,
                    signed: if self.image_signed { Signed::Image } else { Signed::Checksums },
                    key: self.key,
                    fingerprint: self.fingerprint,
                    append: self.append,
                    ..ImageSource::default()
                };
                (self.name.context("give the source a name")?, toml::to_string(&Written::of(&source))?)
            }
        };
        let path = folders.add(&name, &text, self.replace)?;
        println!("wrote {}; next: `boottorrent image fetch {name}`", path.display());
        Ok(())
    }
}

fn check(folders: &Folders, names: &[String], online: bool, json: bool) -> Result<()> {
    let all = folders.read()?;
    // Files that are no sources are told of when all are looked at.
    let (found, broken): (Vec<FoundSource>, _) = match names {
        [] => (all.sources.into_values().collect(), all.broken),
        names => (names.iter().map(|name| folders.find(name)).collect::<Result<_>>()?, Vec::new()),
    };
    let mut rows = Vec::new();
    for f in &found {
        rows.push((f, problems(&f.source, online)?));
    }
    if json {
        let list: Vec<_> =
            rows.iter().map(|(f, p)| json!({"name": f.name, "path": f.path, "problems": p})).collect();
        print_json(&json!({"sources": list, "broken": broken}))?;
    } else {
        for (f, problems) in &rows {
            match problems.as_slice() {
                [] => println!("{}: good", f.name),
                problems => problems.iter().for_each(|p| println!("{}: {p}", f.name)),
            }
        }
        broken.iter().for_each(|b| println!("{b}"));
    }
    match rows.iter().filter(|(_, p)| !p.is_empty()).count() + broken.len() {
        0 => Ok(()),
        bad => bail!("{bad} of {} sources cannot be used as they are", rows.len().max(bad)),
    }
}

/// Why a source cannot be used. `online`: its addresses are asked for too.
fn problems(source: &ImageSource, online: bool) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if let (Some(_), Some(key)) = (&source.signature, &source.key) {
        let signer = OpenPgpSigner {
            key: key.clone(),
            package: source.key_package.clone(),
            fingerprint: None,
            note: source.note.clone(),
        };
        problems.extend(signer.ready().err().map(|e| format!("{e:#}")));
    }
    if verified_by(source).is_none() {
        problems.push("nothing says that it is genuine: `image fetch` will ask for --no-verify".into());
    }
    let http = Http::new(1)?;
    let addresses =
        [&source.url, &source.torrent, &source.checksums, &source.signature].into_iter().flatten();
    for address in addresses.filter(|a| !a.ends_with('/') || a.starts_with('/')) {
        if address.starts_with('/') {
            let there = std::path::Path::new(address).exists();
            problems.extend((!there).then(|| format!("there is nothing at {address}")));
        } else if online && address.starts_with("http") {
            problems.extend(block_on(http.size(address)).err().map(|e| format!("{e:#}")));
        }
    }
    Ok(problems)
}
