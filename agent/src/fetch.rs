// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent fetch`: the same steps without mounting, for scripts, tests and benchmarks.

use crate::{
    args::FetchArgs,
    destination,
    download::{self, Join},
    fail::{Failure, Step},
    files::sync_folder,
    locate,
    metainfo::{self, Asking},
    reach::{Reach, image_name},
    report::{Report, Show, json_line},
    stay, store, trust, web,
};
use anyhow::Context;
use bootspec::{Exit, Params, Seed, params::Log};
use std::{
    fs::{self, File},
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm::{Magnet, Metainfo, Torrent, sample, survey};

/// The command.
pub fn run(args: &FetchArgs) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = Report::new(None, None);
    report.show(match args.progress {
        Some(show) => show,
        None if args.json || std::io::stderr().is_terminal() => Show::Text,
        None => Show::None,
    });
    if args.verbose {
        report.set_level(Log::Debug);
        crate::engine_log::install(&report);
    }
    match runtime.expect("starting the runtime").block_on(fetch(args, &report)) {
        Ok(()) => Exit::Ok,
        Err(Failure { exit, error }) => {
            report.fail(&error);
            exit
        }
    }
}

async fn fetch(args: &FetchArgs, report: &Report) -> Result<(), Failure> {
    let params = parameters(args).step(Exit::Params)?;
    if crate::link::loopback_up().is_err() {
        report.debug("the loopback interface cannot be set up from here");
    }
    let located = locate::locate(&params, None).step(Exit::Params)?;
    let reach = Reach::resolve(&located, &params).await;
    let client = web::client(&args.ca, &reach.names, report).step(Exit::Network)?;
    let asking = Asking { client: &client, reach: &reach, params: &params, port: args.port, report };
    let metainfo = asking.obtain(params.timeout).await?;
    let metainfo = metainfo::pick(metainfo, &params)?;
    let image = image_name(&metainfo, &params);
    let file = destination::file(&args.to, metainfo.file_name()).step(Exit::Params)?;
    let keys = args.keys.as_ref().map(|dir| trust::keys(dir, report).unwrap_or_default());
    let vouched = match &keys {
        Some(keys) => {
            let (newest, kept, kept_only) = (Default::default(), None, false);
            let (params, metainfo, image, reach, client) = (&params, &metainfo, &*image, &reach, &client);
            let case =
                trust::Case { keys, params, metainfo, image, kept, kept_only, newest, reach, client, report };
            Some((keys, case.vouch().await?))
        }
        None => None,
    };
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let here = whatever_is_here(&file, &part, &metainfo, report).step(Exit::Storage)?;
    let work = if here == Here::Whole { &file } else { &part };
    let mut payload = store::file(work, &metainfo).step(Exit::Storage)?;
    let patience = params.timeout;
    let trackers = download::trackers(&metainfo, &params, report).await;
    let (params, port) = (&params, args.port);
    let join = Join { metainfo, params, trackers, patience, reach, client, port, image: &image };
    let (session, torrent) = join.fetch(&mut payload, report).await?;
    if let Some((keys, vouched)) = &vouched
        && let Err(failure) = vouched.check(&mut payload, &image, keys, report).await
    {
        session.stop();
        // Else the next try would find it complete. A file that was there before is not ours to delete.
        if here != Here::Whole {
            let _ = fs::remove_file(&part);
        }
        return Err(failure);
    }
    if here != Here::Whole {
        publish(&payload.file, &part, &file).step(Exit::Storage)?;
    }
    drop(payload);
    seed(args, &torrent, &image, report).await;
    session.stop();
    Ok(())
}

/// The arguments, as what the kernel command line would say.
fn parameters(args: &FetchArgs) -> anyhow::Result<Params> {
    let elsewhere = ["http://", "https://", Magnet::SCHEME];
    let torrent = if elsewhere.iter().any(|scheme| args.torrent.starts_with(scheme)) {
        args.torrent.clone()
    } else {
        let path = std::path::absolute(&args.torrent).with_context(|| format!("finding {}", args.torrent))?;
        path.display().to_string()
    };
    let mut params = Params {
        torrent: Some(torrent),
        timeout: (args.timeout > 0).then(|| Duration::from_secs(args.timeout)),
        infohash: args.infohash,
        file: args.file.clone(),
        seed: args.seed,
        up: args.up,
        down: args.down,
        tracker: args.tracker.clone(),
        peers: args.peers.clone(),
        fallback: !args.no_http,
        ..Params::default()
    };
    locate::pin(&mut params)?;
    Ok(params)
}

/// Seed until `--seed` says that it is over. Programs get the numbers before and after.
async fn seed(args: &FetchArgs, torrent: &Torrent, image: &str, report: &Report) {
    tell(args, torrent);
    let why = stay::until_over(
        args.seed,
        EVERY,
        || torrent.progress(),
        |progress| {
            if !args.json {
                report.progress(&progress, image);
            }
        },
    );
    let why = why.await;
    if args.seed != Seed::Off {
        report.info(&format!("seeding is over: {why} (--seed {})", args.seed));
    }
    tell(args, torrent);
}

/// What an earlier fetch, or somebody else, has left in the place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// All of the image: it is seeded as it is.
    Whole,
    /// A part of it, which was copied: only the rest is fetched.
    Part,
    /// Nothing of it.
    Nothing,
}

/// Look at the file that is to be replaced. An interrupted fetch is resumed whatever that is.
fn whatever_is_here(file: &Path, part: &Path, metainfo: &Metainfo, report: &Report) -> anyhow::Result<Here> {
    let reading = || format!("reading {}", file.display());
    if part.exists() || !file.is_file() {
        return Ok(Here::Nothing);
    }
    let old = File::open(file).with_context(reading)?;
    if !sample(&old, metainfo, SAMPLE).with_context(reading)? {
        return Ok(Here::Nothing);
    }
    let same_size = old.metadata().with_context(reading)?.len() == metainfo.size();
    if same_size && survey(&old, metainfo, |_| {}).with_context(reading)?.is_full() {
        report.info(&format!("{} is this image already: nothing is fetched", file.display()));
        return Ok(Here::Whole);
    }
    report.info(&format!("{} has parts of this image: only the rest is fetched", file.display()));
    fs::copy(file, part).with_context(|| format!("copying {} to {}", file.display(), part.display()))?;
    Ok(Here::Part)
}

/// Pieces that tell whether a file has anything of an image.
const SAMPLE: u32 = 64;

/// Give the file its name. All of it is on the disk before: a name that is there after a power cut promises a file that is.
fn publish(content: &File, part: &Path, file: &Path) -> anyhow::Result<()> {
    content.sync_all().with_context(|| format!("writing {}", part.display()))?;
    let named = fs::rename(part, file);
    named.with_context(|| format!("renaming {} to {}", part.display(), file.display()))?;
    sync_folder(file);
    Ok(())
}

/// How often progress is shown while seeding.
const EVERY: Duration = Duration::from_secs(1);

fn tell(args: &FetchArgs, torrent: &Torrent) {
    if args.json || args.progress == Some(Show::Json) {
        json_line(&torrent.progress());
    }
}
