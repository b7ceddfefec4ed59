// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image fetch`

use super::{
    added::{prune, told},
    complete,
    run::block_on,
};
use crate::{
    api::Api,
    catalogue::as_json,
    cli::run::print_json,
    config::Config,
    fetch::{
        FetchDirs, Watch, fetch,
        request::{FetchRequest, FetchRow, FetchState},
        watch::FetchStatus,
    },
    interrupt,
    keys::{AskPassword, Folder},
    meter::{self, Meter},
    table::{Align, layout},
};
use anyhow::{Context, Result, bail};
use bootspec::{
    ImageName,
    units::{human_rate, human_size, human_time},
};
use clap::Args;
use std::{
    io::{Write, stderr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

#[derive(Debug, Args)]
#[command(after_help = "\
WHAT is one of:
  debian-live-gnome                     a source: see `boottorrent source list`
  https://…/live.iso                    a file over HTTP(S)
  magnet:?…, FILE.torrent, its URL      a torrent; of several files, the ISO
  /srv/iso/live.iso                     a file on this machine

It is verified before it becomes an image: by a checksum (--sum, --checksums),
by an OpenPGP signature (--signature with --key), or by both; a source says
which. With --checksums, the signature is that of the checksums. What nothing
vouches for is refused without --no-verify.
Interrupted, it goes on where it was when it is fetched again.

Examples:
  boottorrent image fetch debian-live-xfce
  boottorrent image fetch debian-live-gnome --background
  boottorrent image fetch --list
  boottorrent image fetch https://example.org/lab.iso --sum 9f86d081884c7d65…
  boottorrent image fetch http://mirror.lan/x.iso \\
      --checksums http://mirror.lan/SHA256SUMS \\
      --signature http://mirror.lan/SHA256SUMS.gpg \\
      --key /etc/boottorrent/openpgp/us.asc")]
pub struct Fetch {
    /// A source's name, a URL, a magnet link, a .torrent
    #[arg(required_unless_present_any = ["list", "cancel"], add = complete::sources())]
    what: Option<String>,
    /// The image's name [default: the source's, or the file's without its extensions]
    #[arg(long, short = 'n')]
    name: Option<ImageName>,
    /// The file in the torrent or the checksum list; * matches any characters
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// The SHA-256 or SHA-512 checksum of the image
    #[arg(long, value_name = "HEX")]
    sum: Option<String>,
    /// The URL of the checksum list
    #[arg(long, value_name = "URL")]
    checksums: Option<String>,
    /// The URL of the OpenPGP signature
    #[arg(long, value_name = "URL")]
    signature: Option<String>,
    /// The keyring with the keys that may sign
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Additional kernel parameters for this image
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    append: String,
    /// Replace the image of this name
    #[arg(long)]
    replace: bool,
    /// Skip verification (the image will run as root on every machine)
    #[arg(long)]
    no_verify: bool,
    /// Find peers in the DHT (on the public internet)
    #[arg(long)]
    dht: bool,
    /// Give up after this many failures in a row without data [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: Option<u32>,
    /// Let the running server fetch it, and return immediately
    #[arg(long)]
    background: bool,
    /// List the fetches of the running server
    #[arg(long, conflicts_with_all = ["what", "name", "file", "sum", "checksums", "signature", "key", "replace", "background"])]
    list: bool,
    /// Cancel a fetch of the running server, or remove a finished one from the list
    #[arg(long, value_name = "ID", conflicts_with_all = ["what", "list", "background"])]
    cancel: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub fn run(mut self, config: &Config) -> Result<()> {
        if let Some(id) = self.cancel {
            block_on(server(config)?.cancel_fetch(id))?;
            println!("fetch number {id}: cancelled, or removed from the list if it had ended");
            return Ok(());
        }
        if self.list {
            return self.listing(config);
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).context("asking for the current folder");
        self.key = self.key.map(absolute).transpose()?;
        let request = FetchRequest {
            what: typed(self.what.unwrap_or_default())?,
            name: self.name,
            file: self.file,
            append: self.append,
            sum: self.sum,
            checksums: self.checksums,
            signature: self.signature,
            key: self.key,
            replace: self.replace,
            no_verify: self.no_verify,
            dht: self.dht,
            tries: self.tries,
        };
        match self.background {
            true => background(config, &request, self.json),
            false => foreground(config, &request, self.json),
        }
    }

    fn listing(&self, config: &Config) -> Result<()> {
        let rows = block_on(Api::connect(config)?.fetches())?;
        if self.json {
            return print_json(&rows);
        }
        print!("{}", table(&rows));
        Ok(())
    }
}

/// A path as it was typed: the server is in another folder. Names and URLs stay as they are.
fn typed(what: String) -> Result<String> {
    let path = what.ends_with(".torrent") || what.contains('/');
    if !path || what.contains("://") || what.starts_with("magnet:") {
        return Ok(what);
    }
    let path = std::path::absolute(&what).context("asking for the current folder")?;
    path.to_str().map(str::to_owned).with_context(|| format!("'{what}' is not valid UTF-8"))
}

/// The running server.
fn server(config: &Config) -> Result<Api> {
    Api::local(&config.serve.socket)?.with_context(|| {
        format!(
            "no server is running here ({} is not there): start it with `boottorrent serve`, or omit --background",
            config.serve.socket.display()
        )
    })
}

fn background(config: &Config, request: &FetchRequest, json: bool) -> Result<()> {
    let row = block_on(server(config)?.fetch(request))?;
    if json {
        return print_json(&row);
    }
    let image = row.progress.image.as_ref().map_or("?", |i| i.as_str());
    println!("fetch number {}: it becomes the image '{image}'; see `boottorrent image fetch --list`", row.id);
    Ok(())
}

fn foreground(config: &Config, request: &FetchRequest, json: bool) -> Result<()> {
    interrupt::catch()?;
    if json {
        meter::be_quiet();
    }
    let (mut place, watch) = (FetchDirs::of(config), Arc::new(Watch::default()));
    let _ours = place.for_root()?;
    // A password is asked for before the long work.
    place.catalogue = place.catalogue.signed_by(Folder::of(config).hand(AskPassword::Terminal)?);
    // The engine has threads of its own for disks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let done = runtime.block_on(async {
        let fetching = fetch(&place, request, &watch);
        tokio::pin!(fetching);
        let mut shown = Shown { meter: Meter::new("fetching", None), notes: 0 };
        loop {
            tokio::select! {
                done = &mut fetching => {
                    if !json {
                        shown.notes(&watch.seen());
                    }
                    return done;
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    if interrupt::wanted() {
                        // Too late: then it ends by itself in a moment.
                        let _ = watch.cancel();
                    }
                    if !json {
                        shown.show(&watch.seen());
                    }
                }
            }
        }
    });
    runtime.shutdown_background();
    let added = match done {
        Err(_) if interrupt::wanted() => {
            bail!("interrupted: fetch it again to resume")
        }
        done => done?,
    };
    prune(config);
    let verified = watch.seen().progress.verified;
    if json {
        let mut value = as_json(&added.manifest);
        value["verified"] = verified.into();
        value["key"] = added.sealed.key.map(|k| k.to_string()).into();
        return print_json(&value);
    }
    println!("verified: {}", verified.as_deref().unwrap_or("it is a file of this machine"));
    print!("{}", told(&added, config));
    Ok(())
}

/// What is shown of a fetch while it runs.
struct Shown {
    meter: Meter,
    notes: usize,
}

impl Shown {
    fn show(&mut self, seen: &FetchStatus) {
        self.notes(seen);
        let p = &seen.progress;
        let label = match p.state {
            FetchState::Fetching => "fetching",
            FetchState::Verifying => "verifying",
            _ => return,
        };
        let peers = if p.peers > 0 { format!(", {} peers", p.peers) } else { String::new() };
        self.meter.describe(label, p.total, peers);
        self.meter.update(p.have);
    }

    fn notes(&mut self, seen: &FetchStatus) {
        for note in seen.notes.iter().skip(self.notes) {
            // Nobody reads stderr: then there is nobody to tell.
            self.meter.above(|| drop(writeln!(stderr(), "note: {note}")));
        }
        self.notes = seen.notes.len();
    }
}

/// How long it will take.
fn left(have: u64, total: Option<u64>, rate: u64) -> Option<Duration> {
    Some(Duration::from_secs(total?.saturating_sub(have).checked_div(rate)?))
}

fn table(rows: &[FetchRow]) -> String {
    if rows.is_empty() {
        return "nothing is being fetched\n".into();
    }
    let head = [
        ("ID", Align::Right),
        ("IMAGE", Align::Left),
        ("STATE", Align::Left),
        ("DONE", Align::Right),
        ("SIZE", Align::Right),
        ("RATE", Align::Right),
        ("LEFT", Align::Right),
        ("FROM", Align::Left),
        ("", Align::Left),
    ];
    let dash = |w: Option<String>| w.unwrap_or_else(|| "-".into());
    let row = |r: &FetchRow| {
        let done = r.progress.total.filter(|t| *t > 0).map(|t| format!("{} %", r.progress.have * 100 / t));
        let moving = r.progress.state == FetchState::Fetching && r.progress.rate > 0;
        vec![
            r.id.to_string(),
            dash(r.progress.image.as_ref().map(|i| i.to_string())),
            r.progress.state.as_str().into(),
            dash(done),
            dash(r.progress.total.map(human_size)),
            dash(moving.then(|| human_rate(r.progress.rate))),
            dash(left(r.progress.have, r.progress.total, r.progress.rate).filter(|_| moving).map(human_time)),
            bootspec::text::printable(&r.request.what, 60),
            r.error.clone().or(r.progress.verified.clone()).unwrap_or_default(),
        ]
    };
    layout(&head, &rows.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::request::FetchProgress;

    #[test]
    fn the_list() {
        let row = FetchRow {
            id: 1,
            request: FetchRequest { what: "debian-live".into(), ..Default::default() },
            progress: FetchProgress {
                state: FetchState::Fetching,
                image: "debian-live".parse().ok(),
                have: 1 << 30,
                total: Some(2 << 30),
                rate: 10_000_000,
                ..FetchProgress::default()
            },
            ..Default::default()
        };
        let progress = FetchProgress { state: FetchState::Failed, ..FetchProgress::default() };
        let failed = FetchRow { id: 2, progress, error: Some("why".into()), ..Default::default() };
        assert_eq!(
            table(&[row, failed]),
            "\
ID  IMAGE        STATE     DONE      SIZE       RATE        LEFT  FROM
 1  debian-live  fetching  50 %  2.00 GiB  10.0 MB/s  1 min 47 s  debian-live
 2  -            failed       -         -          -           -               why
"
        );
    }
}
