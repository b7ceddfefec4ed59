// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent fetch`: the same steps without mounting, for scripts, tests and benchmarks.

use crate::{
    cli::FetchArgs,
    download::{Join, Reach, image_name},
    fail::{Failure, Step},
    http_client, locate, metainfo,
    report::Report,
};
use anyhow::Context;
use bootspec::{
    Exit, Params,
    params::{Log, Seed},
};
use std::{path::PathBuf, time::Duration};
use swarm::Torrent;

/// The command.
pub fn run(args: &FetchArgs) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = Report::new(None, None);
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
    let torrent = if args.torrent.starts_with("http://") {
        args.torrent.clone()
    } else {
        let path = std::path::absolute(&args.torrent)
            .with_context(|| format!("finding {}", args.torrent))
            .step(Exit::Params)?;
        path.display().to_string()
    };
    let params = Params {
        torrent: Some(torrent),
        timeout: (args.timeout > 0).then(|| Duration::from_secs(args.timeout)),
        seed: args.seed.0,
        fallback: !args.no_http,
        ..Params::default()
    };
    if crate::link::loopback_up().is_err() {
        report.debug("the loopback interface cannot be set up from here");
    }
    let located = locate::locate(&params, None).step(Exit::Params)?;
    let client = http_client().step(Exit::Network)?;
    let reach = Reach::resolve(&located, &params).await;
    let metainfo = metainfo::obtain(&client, &reach.torrent, None, params.timeout, report).await?;
    let image = image_name(&metainfo, &params);
    let mut part = args.to.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let join = Join { metainfo, params: &params, reach, client, port: args.port, image: &image };
    // An unfinished file of an earlier run is ours to replace; a finished one is not touched before the end.
    let _ = std::fs::remove_file(&part);
    let (session, torrent) = join.fetch(&part, report).await?;
    std::fs::rename(&part, &args.to)
        .with_context(|| format!("renaming {} to {}", part.display(), args.to.display()))
        .step(Exit::Storage)?;
    tell(args, &torrent);
    match params.seed {
        Seed::Off => {}
        Seed::For(time) => tokio::time::sleep(time).await,
        Seed::Forever => std::future::pending().await,
    }
    tell(args, &torrent);
    session.stop();
    Ok(())
}

fn tell(args: &FetchArgs, torrent: &Torrent) {
    if args.json {
        println!("{}", serde_json::to_string(&torrent.progress()).expect("progress is JSON"));
    }
}
