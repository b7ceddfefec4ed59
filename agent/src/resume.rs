// SPDX-License-Identifier: GPL-3.0-or-later
//! An agent that takes the place of one that has died while the root depended on it. The pieces are in the file; they are
//! hashed again, for nobody knows why the other one died.

use crate::{
    args::HeldArgs,
    beat,
    booted::{Booted, Seeded},
    download::Join,
    fail::{Failure, Step},
    lease::Renewal,
    left::{AUTHORITIES, Left, Lent},
    metainfo,
    report::Report,
    status, stay, store,
    stream::{Held, Keeper, Stream, Watch},
    web,
};
use anyhow::Context;
use bootspec::{Exit, params::Then, units::human_size};
use std::{os::unix::net::UnixStream, path::Path, sync::Arc};
use swarm::Metainfo;
use tokio::runtime::Builder;

/// The agent's folder, which is its working directory.
const RUN: &str = ".";

/// Go on. Its keeper tries again if this returns before the image is complete.
pub fn run(args: &HeldArgs) -> Exit {
    let (held, keeper) = Held::inherited(args);
    let _ = nix::unistd::setsid();
    let (left, metainfo) = match Left::read(Path::new(RUN)) {
        Ok(left) => left,
        Err(e) => {
            eprintln!("boottorrent-agent: {e:#}");
            return Exit::Storage;
        }
    };
    let kmsg = held.kmsg.as_ref().and_then(|f| f.try_clone().ok());
    let report = Report::again(kmsg, &Path::new(RUN).join("agent.log"), left.age(), left.beat.clone());
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("starting the runtime").block_on(async {
        match again(left, metainfo, (held, keeper), &report).await {
            Ok(booted) => {
                stay::on(booted, None, &report).await;
                Exit::Ok
            }
            Err(Failure { exit, error }) => {
                report.warn(&format!("{error:#}"));
                exit
            }
        }
    })
}

async fn again(
    left: Left,
    metainfo: Metainfo,
    (held, keeper): (Held, UnixStream),
    report: &Report,
) -> Result<Booted, Failure> {
    let run = Path::new(RUN);
    let (params, reach) = left.reach();
    report.set_level(params.log);
    let metainfo = metainfo::pick(metainfo, &params)?;
    let client = web::client(&run.join(AUTHORITIES), &reach.names, report).step(Exit::Network)?;
    beat::start(report, &client, &reach, params.report);
    status::listen(run, report).step(Exit::Storage)?;
    let path = run.join("store/payload");
    let mut payload = store::file(&path, &metainfo).step(Exit::Storage)?;
    let swarm = Join {
        trackers: left.trackers(),
        metainfo,
        params: &params,
        patience: None,
        reach,
        client,
        port: left.port,
        image: &left.image,
    };
    let (session, torrent) = swarm.begin(&mut payload).await?;
    let torrent = Arc::new(torrent);
    let have = torrent.progress();
    report.info(&format!(
        "taking the place of an agent that has died: {} of {} are here",
        human_size(have.have),
        human_size(have.total)
    ));
    let stream = Stream::again(run, &path, &held, torrent.demand()).step(Exit::Root)?;
    let watch = Watch { torrent: torrent.clone(), patience: None, image: left.image, report: report.clone() };
    let keeper = Keeper::adopt(held, keeper, report).context("watching the keeper").step(Exit::Root)?;
    let streaming = Some(watch.over(stream, Some(keeper)));
    let net = left.lent.map(Lent::net);
    let renewal = net.map(|net| Renewal::prepare(&net)).transpose().unwrap_or_else(|e| {
        report.warn(&format!("the DHCP lease will not be renewed: {e:#}"));
        None
    });
    let (seeded, renewal) = (Seeded::new(torrent), renewal.flatten());
    Ok(Booted { params, seeded, session, then: Then::Boot, streaming, renewal, obeys: None })
}
