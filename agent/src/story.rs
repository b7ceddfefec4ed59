// SPDX-License-Identifier: GPL-3.0-or-later
//! The boot story: what the process that stays does, top to bottom.

#[cfg(feature = "tls")]
use crate::machine_key::MachineKey;
use crate::{
    args::BootArgs,
    beat,
    booted::{Booted, Obeys, Seeded},
    download::{self, Join},
    early::{self, Early},
    engine_log,
    fail::{Failure, Step},
    handed::{Boot, Fetched, Handed},
    launch,
    layers::{self, Layer},
    leave, link, locate,
    metainfo::{self, Asking},
    mkfs,
    net::{self, Net},
    oom::Oom,
    orders::Follower,
    reach::{Reach, image_name},
    relay,
    report::Report,
    status, stay,
    store::{self, Caches, Order, Ready, Spare, SumsSource},
    trust::{self, Vouched},
    web,
};
use anyhow::Context;
use bootspec::{
    Exit, Params, Phase, Target,
    ltsp::Ltsp,
    params::{Log, Remark, Then},
    trust::Keys,
    units::human_size,
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use swarm::Metainfo;
use tokio::runtime::{Builder, Runtime};

/// The process that stays: runs the story, tells the launcher how it ended, seeds on.
pub fn boot_child(args: &BootArgs) -> Exit {
    let report = Report::new(Some(&args.kmsg), Some(&args.run_dir.join("agent.log")));
    runtime(args).block_on(async {
        match story(args, &report).await {
            Ok(booted) if booted.then != Then::Boot => {
                let then = booted.then;
                let Failure { exit, error } = leave::leave(booted, then, &report).await;
                report.fail(&error);
                launch::hand_over(exit);
                exit
            }
            Ok(mut booted) => {
                report.leave_console();
                if booted.streaming.is_none() {
                    Oom::open().first(&report);
                }
                // From here the booted system is found again: with a keeper, and for orders.
                let _ = std::env::set_current_dir(&args.run_dir);
                let memory = stay::Memory::open();
                launch::hand_over(Exit::Ok);
                let obeys = booted.obeys.take();
                let giving = obeys.as_ref().and_then(|obeys| giving(obeys, &report));
                let follower = obeys.map(|obeys| Follower::new(obeys, booted.seeded.clone(), &report));
                tokio::select! {
                    () = stay::on(booted, memory, &report) => {}
                    () = obey(follower) => {}
                    () = give(giving) => {}
                }
                Exit::Ok
            }
            Err(Failure { exit, error }) => {
                report.fail(&error);
                beat::last(&report).await;
                launch::hand_over(exit);
                exit
            }
        }
    })
}

/// Orders are obeyed as long as the machine seeds.
async fn obey(follower: Option<Follower>) {
    match follower {
        Some(follower) => follower.obey().await,
        None => std::future::pending().await,
    }
}

/// What other machines boot is given to them as long as this one runs.
async fn give(giving: Option<impl Future<Output = ()>>) {
    if let Some(giving) = giving {
        giving.await;
    }
    std::future::pending().await
}

/// None: it was not asked for.
fn giving(obeys: &Obeys, report: &Report) -> Option<impl Future<Output = ()> + use<>> {
    let (limit, server) = (obeys.params.relay?, obeys.reach.server.clone()?);
    let (client, report) = (obeys.client.clone(), report.clone());
    Some(async move { relay::give(server, client, limit, &report).await })
}

/// With `boottorrent.target=stream`, who mounts waits for pieces: they come on another thread.
fn runtime(args: &BootArgs) -> Runtime {
    let line = fs::read_to_string(&args.cmdline_file).unwrap_or_default();
    let mut runtime = match early::asked(&Params::parse(&line).0) {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    runtime.worker_threads(1).enable_all().build().expect("starting the runtime")
}

/// The boot story. Every step says what it does, and fails with its own exit code.
pub async fn story(args: &BootArgs, report: &Report) -> Result<Booted, Failure> {
    let line = fs::read_to_string(&args.cmdline_file)
        .with_context(|| format!("reading {}", args.cmdline_file.display()))
        .step(Exit::Params)?;
    let mut params = parameters(&line, report)?;
    locate::pin(&mut params).step(Exit::Params)?;
    let ltsp = Ltsp::adopt(&mut params, &line).map_err(|e| Failure::new(Exit::Params, e))?;

    let keys = trust::keys(&args.keys_dir, report);
    if let Some(keys) = &keys {
        report.info(&format!("only what {keys} signed boots here"));
    }

    report.phase(Phase::Network);
    let online = online(args, &params, &line, report).await;
    status::listen(&args.run_dir, report).step(Exit::Storage)?;

    report.phase(Phase::Metainfo);
    if let Some(disk) = &params.mkfs {
        mkfs::run(&args.dev_dir, disk, report).await.step(Exit::Storage)?;
    }
    let mut caches = Caches::new(args);
    caches.open_all(&params, report).await;
    let spare = caches.spare(&params);
    let (net, reach, client) = match (online, &spare) {
        (Err(failure), Some(spare)) => {
            report.warn(&format!("{:#}: booting {}", failure.error, spare.what()));
            let client = web::client(&args.ca_dir, &[], report).step(Exit::Network)?;
            (Net::default(), Reach::nowhere(), client)
        }
        (online, _) => online?,
    };
    let asking = Asking { client: &client, reach: &reach, params: &params, port: args.port, report };
    let wanted = match caches.pinned(params.infohash) {
        Some(metainfo) => Some(metainfo::announced(metainfo, reach.server.as_ref())),
        None => asking.obtain_or(spare.as_ref()).await?,
    };
    let machine = Machine { args, params: &params, net: &net, keys: keys.as_ref(), report };
    let layers = machine.files(&reach, &client, &caches, spare.is_some()).await?;
    let how = Fetching {
        args,
        params: &params,
        line: &line,
        keys: keys.clone(),
        reach: &reach,
        client: &client,
        report,
    };
    let mut fetched = match (wanted, spare) {
        (Some(metainfo), _) => how.fetch_or_spare(metainfo, &mut caches).await?,
        (None, Some(spare)) => how.fetch_spare(spare, &mut caches).await?,
        (None, None) => unreachable!("without a spare, there is a torrent or a failure"),
    };

    let boot = Boot { args, params: &params, line: &line, ltsp, net: &net, layers: &layers, report };
    let handed = boot.hand_over(&fetched, &mut caches).await.map_err(|failure| fetched.blame(failure))?;
    if let Some(streaming) = &mut fetched.streaming {
        streaming.rooted().step(Exit::Root)?;
    }
    report.phase(if fetched.streaming.is_some() { Phase::Streaming } else { Phase::Seed });
    let renewal = handed.tell(&fetched.image, &net, report);
    let then = handed.then(&params);
    boot.keep(&reach, &mut fetched, renewal.is_some()).step(Exit::Storage)?;
    let soft = matches!(handed, Handed::Root(..));
    let Fetched { torrent, session, streaming, .. } = fetched;
    let obeys = Obeys {
        args: args.clone(),
        params: params.clone(),
        line,
        keys,
        net,
        reach,
        client,
        session: session.clone(),
        soft,
    };
    let seeded = Seeded::new(torrent);
    Ok(Booted { params, seeded, session, then, streaming, renewal, obeys: Some(obeys) })
}

/// A machine that is about to boot.
struct Machine<'a> {
    #[cfg_attr(not(feature = "tls"), expect(dead_code))]
    args: &'a BootArgs,
    params: &'a Params,
    net: &'a Net,
    /// Whose signature its files need; none: nobody's.
    keys: Option<&'a Keys>,
    report: &'a Report,
}

impl Machine<'_> {
    /// The files that the server has for it, private ones last. A machine that can boot without the server (`spare`)
    /// boots without them when nobody answers.
    async fn files(
        &self,
        reach: &Reach,
        client: &reqwest::Client,
        caches: &Caches<'_>,
        spare: bool,
    ) -> Result<Vec<Layer>, Failure> {
        let Machine { params, net, keys, report, .. } = *self;
        if params.files.is_empty() && !params.private {
            return Ok(Vec::new());
        }
        let limit = if spare { Some(metainfo::SHORT) } else { params.timeout };
        let (server, relays, mac) = (reach.server.as_ref(), &reach.relays[..], &net.mac[..]);
        let asking = layers::Asking { client, server, relays, keys, mac, limit, report };
        match self.fetch(&asking, caches).await {
            Err(Failure { exit: Exit::Metainfo, error }) if spare => {
                report.warn(&format!("{error:#}: booting without the files for this machine"));
                Ok(Vec::new())
            }
            files => files,
        }
    }

    async fn fetch(&self, asking: &layers::Asking<'_>, caches: &Caches<'_>) -> Result<Vec<Layer>, Failure> {
        let mut files = asking.fetch(&self.params.files).await?;
        if self.params.private {
            asking.can_be_private()?;
            files.extend(self.fetch_private(asking, caches).await?);
        }
        Ok(files)
    }

    #[cfg(feature = "tls")]
    async fn fetch_private(
        &self,
        asking: &layers::Asking<'_>,
        caches: &Caches<'_>,
    ) -> Result<Vec<Layer>, Failure> {
        let key = MachineKey::obtain(self.params.key, caches, &self.args.run_dir, self.report);
        asking.fetch_private(&key.step(Exit::Storage)?, self.params.timeout).await
    }

    #[cfg(not(feature = "tls"))]
    async fn fetch_private(
        &self,
        asking: &layers::Asking<'_>,
        _: &Caches<'_>,
    ) -> Result<Vec<Layer>, Failure> {
        Err(Failure::new(Exit::Metainfo, asking.server.and_then(web::unspoken).unwrap_or_default()))
    }
}

/// What fetching takes, whichever version it is.
struct Fetching<'a> {
    args: &'a BootArgs,
    params: &'a Params,
    /// The kernel command line.
    line: &'a str,
    /// Whose signature an image needs; none: nobody's.
    keys: Option<Keys>,
    reach: &'a Reach,
    client: &'a reqwest::Client,
    report: &'a Report,
}

/// How long nothing may come when the machine could boot another version instead.
const SHORT: Duration = Duration::from_secs(60);

impl Fetching<'_> {
    /// Fetch; when nobody has all of it any more, boot the last version that was complete here. Never
    /// another than the one that is pinned.
    async fn fetch_or_spare(&self, metainfo: Metainfo, caches: &mut Caches<'_>) -> Result<Fetched, Failure> {
        let wanted = metainfo.infohash();
        let other = |spare: &Spare| spare.metainfo.infohash() != wanted;
        let limit = self.params.timeout;
        let patience = match caches.spare(self.params).filter(other) {
            Some(_) => Some(limit.unwrap_or(SHORT).min(SHORT)),
            None => limit,
        };
        let failure = match self.fetch(metainfo, self.params, patience, false, caches).await {
            Err(failure) if failure.exit == Exit::Swarm => failure,
            ended => return ended,
        };
        // Asked again: it may have been deleted for want of room.
        let Some(spare) = caches.spare(self.params).filter(other) else { return Err(failure) };
        self.report.warn(&format!("{:#}: booting {}", failure.error, spare.what()));
        self.fetch_spare(spare, caches).await
    }

    /// What is here: it is only hashed, and what is wrong in it fetched if anybody has that.
    async fn fetch_spare(&self, spare: Spare, caches: &mut Caches<'_>) -> Result<Fetched, Failure> {
        let params = spare.only(self.params);
        // Who did not answer before is not waited for again.
        self.fetch(spare.metainfo, &params, params.timeout, true, caches).await
    }

    async fn fetch(
        &self,
        metainfo: Metainfo,
        params: &Params,
        patience: Option<Duration>,
        kept_only: bool,
        caches: &mut Caches<'_>,
    ) -> Result<Fetched, Failure> {
        let Fetching { args, reach, client, report, .. } = *self;
        let metainfo = metainfo::pick(metainfo, params)?;
        let (image, infohash) = (image_name(&metainfo, params), metainfo.infohash());
        report.note(|b| {
            b.image = Some(image.clone());
            b.infohash = Some(infohash);
        });
        report.info(&format!("image {image}: {}, infohash {infohash}", human_size(metainfo.size())));
        let vouched = match &self.keys {
            Some(keys) => Some((keys, self.vouch(keys, &metainfo, &image, kept_only, caches).await?)),
            None => None,
        };

        report.phase(Phase::Target);
        let sums = SumsSource::beside(&reach.torrent, client);
        let signed = vouched.is_some();
        let order = Order { args, params, metainfo: &metainfo, image: &image, signed, sums };
        let Ready { target, writes, mut payload } = store::prepare(&order, caches, report).await?;

        report.phase(Phase::Download);
        let trackers = download::trackers(&metainfo, params, report).await;
        let swarm = Join {
            metainfo: metainfo.clone(),
            params,
            trackers: trackers.clone(),
            patience,
            reach: reach.clone(),
            client: client.clone(),
            port: args.port,
            image: &image,
        };
        let (session, torrent) = swarm.begin(&mut payload).await?;
        let torrent = Arc::new(torrent);
        let early = Early { args, params, torrent: &torrent, image: &image, signed, patience, report };
        let streaming = match target {
            Target::Stream => early.begin(&mut payload),
            _ => Ok(None),
        };
        let waited = match streaming {
            Ok(None) => download::wait(&torrent, patience, &image, report).await.map(|()| None),
            begun => begun,
        };
        // Its port is free then, for another try.
        let streaming = waited.inspect_err(|_| session.stop())?;
        if let Some((keys, vouched)) = vouched {
            if let Err(failure) = vouched.check(&mut payload, &image, keys, report).await {
                // Nobody gets this from us.
                session.stop();
                return Err(failure);
            }
            // Before it is finished: then nothing may be written any more.
            caches.remember_signed(&vouched.signed.statement, &vouched.evidence, report);
        }
        payload.finish(&writes).step(Exit::Storage)?;
        Ok(Fetched { image, metainfo, trackers, target, writes, payload, session, torrent, streaming })
    }

    /// Who stands for this image; without anybody, it does not boot.
    async fn vouch(
        &self,
        keys: &Keys,
        metainfo: &Metainfo,
        image: &str,
        kept_only: bool,
        caches: &Caches<'_>,
    ) -> Result<Vouched, Failure> {
        let Fetching { params, reach, client, report, .. } = *self;
        let kept = caches.evidence(metainfo.infohash());
        let newest = caches.newest();
        let vouched =
            trust::Case { keys, params, metainfo, image, kept, kept_only, newest, reach, client, report };
        let vouched = vouched.vouch().await?;
        let missing = trust::missing(&vouched.signed.statement, self.line);
        if !missing.is_empty() {
            let missing = missing.join(" ");
            report.warn(&format!(
                "image {image} was signed with kernel parameters that are not here: {missing}"
            ));
        }
        Ok(vouched)
    }
}

/// Who we are, and where the image is.
async fn online(
    args: &BootArgs,
    params: &Params,
    line: &str,
    report: &Report,
) -> Result<(Net, Reach, reqwest::Client), Failure> {
    let net = net::read(&args.net_dir, net::bootif(line).as_deref()).step(Exit::Network)?;
    network_ready(&net, report);
    let located = locate::locate(params, net.server).step(Exit::Params)?;
    let reach = Reach::resolve(&located, params).await;
    let client = web::client(&args.ca_dir, &reach.names, report).step(Exit::Network)?;
    beat::start(report, &client, &reach, params.report);
    Ok((net, reach, client))
}

/// Read the parameters; say what is odd; stop at what cannot be understood.
fn parameters(line: &str, report: &Report) -> Result<Params, Failure> {
    let (params, remarks) = Params::parse(line);
    report.set_level(params.log);
    report.note(|b| b.secret = params.secret.as_ref().map(ToString::to_string));
    if params.log == Log::Debug {
        engine_log::install(report);
    }
    for remark in &remarks {
        match remark {
            Remark::Unknown { .. } => report.warn(&format!("{remark}; it is ignored")),
            Remark::Bad { .. } => return Err(Failure::new(Exit::Params, remark.to_string())),
        }
    }
    Ok(params)
}

/// Tell who we are; make what is missing: the loopback interface, name servers.
fn network_ready(net: &Net, report: &Report) {
    let address = net.address.map(|a| a.to_string()).unwrap_or_default();
    report.note(|b| {
        b.id = if net.mac.is_empty() { address.clone() } else { net.mac.clone() };
        b.address = Some(address.clone());
        b.hostname = net.hostname.clone();
    });
    report.info(&format!("network: {} has {address}", net.interface));
    if let Err(e) = link::loopback_up() {
        report.warn(&format!("{e:#}"));
    }
    // bookworm's initramfs leaves none, trixie's does.
    let resolv = Path::new("/etc/resolv.conf");
    if !net.dns.is_empty() && !resolv.exists() {
        let lines: String = net.dns.iter().map(|d| format!("nameserver {d}\n")).collect();
        if let Err(e) = fs::write(resolv, lines) {
            report.warn(&format!("writing {}: {e}", resolv.display()));
        }
    }
}
