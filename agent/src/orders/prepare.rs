// SPDX-License-Identifier: GPL-3.0-or-later
//! What an order needs before its time: the image of a switch, in RAM beside the one that runs, verified as at a boot.

use super::next::{Ask, Own, Place, ask};
use crate::{
    booted::{Obeys, Seeded},
    download::{self, Join},
    fail::Failure,
    layers::{self, Layer},
    locate::MetainfoSource,
    metainfo::Asking,
    reach::Reach,
    report::Report,
    store::{self, SumsSource},
    target::{self, Memory, Writes},
    trust,
};
use anyhow::{Context, bail};
use bootspec::{
    Overlay, Params, Phase, Target,
    layer::Values,
    order::{Action, Order, OrderReport, OrderedImage, SwitchBy},
    params::KindParam,
    trust::Newest,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm::{Metainfo, Torrent};

/// Where memory is told of, from the working directory.
const MEMINFO: &str = "../../proc/meminfo";
/// A machine that is in use gets the image no faster than this part of the rate at which it booted, in bytes a second at
/// least.
const SHARE: u64 = 2;
const LEAST: u64 = 1_000_000;
/// Without any progress for so long, it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is ready.
pub struct Prepared {
    /// How the machine will switch; none: it is no switch.
    pub by: Option<SwitchBy>,
    /// Why it cannot be a soft-reboot.
    pub why: String,
    /// The image of a soft-reboot.
    pub image: Option<NextImage>,
}

/// An image that is here, verified.
pub struct NextImage {
    /// What it is called.
    pub name: String,
    /// Seeds it.
    pub torrent: Arc<Torrent>,
    /// Its folder.
    pub home: PathBuf,
    /// The machine's name in it.
    pub hostname: String,
    /// What its root consists of.
    pub what: String,
    /// The files for this machine.
    layers: Vec<Layer>,
}

impl NextImage {
    /// Lay the machine's files over the next root.
    pub fn lay_files(&self, obeys: &Obeys, report: &Report) -> anyhow::Result<()> {
        let values = Values {
            name: self.hostname.clone(),
            mac: obeys.net.mac.clone(),
            ip: obeys.net.address.map(|a| a.to_string()).unwrap_or_default(),
            group: obeys.params.group.clone().unwrap_or_default(),
            serial: layers::serial(Path::new("../../sys")),
        };
        layers::apply(&self.layers, Path::new("../nextroot"), &values, report)
    }
}

/// What preparing takes.
pub struct Preparing<'a> {
    /// How things are reached.
    pub obeys: &'a Obeys,
    /// The image that runs.
    pub seeded: &'a Seeded,
    /// Hears of it.
    pub report: &'a Report,
}

impl Preparing<'_> {
    /// Nothing of what was prepared stays.
    pub async fn give_up(&self, order: &Order, home: PathBuf) {
        if let Some(image) = &order.image
            && image.infohash != self.seeded.get().infohash()
        {
            self.obeys.session.remove(image.infohash);
        }
        if let Err(e) = ask(Ask::Forget(home, true)).await {
            self.report.debug(&format!("{e:#}"));
        }
    }

    /// Fetch what an order needs, and find out how it can be done.
    pub async fn prepare(&self, order: &Order, home: &Path) -> anyhow::Result<Prepared> {
        let (Action::Switch, Some(ordered)) = (order.action, &order.image) else {
            return Ok(Prepared { by: None, why: String::new(), image: None });
        };
        if self.seeded.get().infohash() == ordered.infohash {
            bail!("this machine runs {} already", ordered.image);
        }
        let why = match (self.obeys.soft, self.obeys.params.private) {
            (false, _) => "this machine runs a live system".to_owned(),
            (true, true) => "this machine has private files, which it gets when it boots".to_owned(),
            (true, false) => match self.fetched(order, ordered, home).await? {
                Ok(image) => {
                    let (by, image) = (Some(SwitchBy::SoftReboot), Some(image));
                    return Ok(Prepared { by, why: String::new(), image });
                }
                Err(e) => format!("{e:#}"),
            },
        };
        if !self.obeys.params.remote.contains(&Action::Reboot) {
            bail!(
                "it cannot be done by soft-reboot ({why}), and boottorrent.remote= does not allow a reboot"
            );
        }
        // The RAM is of no use: the image is fetched again by the boot.
        self.give_up(order, home.to_owned()).await;
        Ok(Prepared { by: Some(SwitchBy::Reboot), why: format!("no soft-reboot: {why}"), image: None })
    }

    /// Fetch the image, and make its root ready. The inner error: why it cannot be switched to without a reboot.
    async fn fetched(
        &self,
        order: &Order,
        ordered: &OrderedImage,
        home: &Path,
    ) -> anyhow::Result<anyhow::Result<NextImage>> {
        let Obeys { params, reach, client, net, line, .. } = self.obeys;
        let server = reach.server.as_ref().context("the server is not known")?;
        let name = ordered.image.name.clone();
        let mut url = server.join(&format!("images/{name}/{name}.torrent"))?;
        url.set_query(Some(&format!("infohash={}", ordered.infohash)));
        let params = Params {
            torrent: None,
            image: Some(name.clone()),
            infohash: Some(ordered.infohash),
            file: None,
            kind: KindParam::Auto,
            ..params.clone()
        };
        let reach = Reach { torrent: MetainfoSource::Url(url), ..reach.clone() };
        let asking = Asking {
            client,
            reach: &reach,
            params: &params,
            port: self.obeys.args.port,
            report: self.report,
        };
        let metainfo = asking.obtain(Some(PATIENCE)).await.map_err(|f| f.error)?;
        let writes = self.room(name.as_str(), metainfo.size())?;
        let layers = self.files(&reach).await.map_err(|f| f.error)?;
        let torrent = self.download((&metainfo, name.as_str()), (&params, &reach), order, home).await?;
        let place = Place { home: home.to_owned(), payload: home.join("store/payload") };
        let hostname = params.hostname.as_ref().map(ToString::to_string);
        let own = Own { net: net.clone(), hostname, line: line.clone(), writes };
        Ok(ask(Ask::Prepare(place, Box::new(own))).await.map(|said| {
            let (hostname, what) = said.split_once('\n').unwrap_or((&said, ""));
            let (name, hostname, what) = (name.to_string(), hostname.to_owned(), what.to_owned());
            NextImage { name, torrent, home: home.to_owned(), hostname, what, layers }
        }))
    }

    /// Whether it fits into RAM beside the image that runs. Bytes for what the next system writes.
    fn room(&self, image: &str, size: u64) -> anyhow::Result<u64> {
        let meminfo = fs::read_to_string(MEMINFO).context("reading /proc/meminfo")?;
        let memory = Memory::parse(&meminfo)?;
        match target::choose(&Target::Ram, image, size, &Overlay::Ram, memory)?.writes {
            Writes::Ram(bytes) => Ok(bytes),
            _ => bail!("the next system's writes have no place"),
        }
    }

    async fn files(&self, reach: &Reach) -> Result<Vec<Layer>, Failure> {
        let Obeys { params, client, keys, net, .. } = self.obeys;
        let (server, keys, mac) = (reach.server.as_ref(), keys.as_ref(), net.mac.as_str());
        let (limit, relays) = (Some(PATIENCE), &reach.relays[..]);
        let asking = layers::Asking { client, server, relays, keys, mac, limit, report: self.report };
        asking.fetch(&params.files).await
    }

    /// Fetch it into RAM, in the session in which the image that runs is seeded.
    async fn download(
        &self,
        (metainfo, image): (&Metainfo, &str),
        (params, reach): (&Params, &Reach),
        order: &Order,
        home: &Path,
    ) -> anyhow::Result<Arc<Torrent>> {
        let Obeys { client, keys, session, args, .. } = self.obeys;
        let report = self.report;
        let vouched = match keys {
            None => None,
            Some(keys) => {
                let newest = Newest::new();
                let case = trust::Case {
                    keys,
                    params,
                    metainfo,
                    image,
                    kept: None,
                    kept_only: false,
                    newest,
                    reach,
                    client,
                    report,
                };
                Some((keys, case.vouch().await.map_err(|f| f.error)?))
            }
        };
        let run = home.strip_prefix(&args.run_dir).unwrap_or(home);
        let mut payload = store::in_ram(run, metainfo)?;
        let sums = SumsSource::beside(&reach.torrent, client).filter(|_| params.fallback);
        store::copy_from(&self.seeded.get(), &mut payload, metainfo, sums, image, report).await?;
        let join = Join {
            metainfo: metainfo.clone(),
            params,
            trackers: download::trackers(metainfo, params, report).await,
            patience: Some(PATIENCE),
            reach: reach.clone(),
            client: client.clone(),
            port: args.port,
            image,
        };
        let torrent =
            Arc::new(join.join(session, &mut payload, Some(self.rate())).await.map_err(|f| f.error)?);
        self.watch(&torrent, order).await?;
        if let Some((keys, vouched)) = vouched {
            vouched.check(&mut payload, image, keys, report).await.map_err(|f| f.error)?;
        }
        Ok(torrent)
    }

    /// Wait for the last piece, and tell how much is here.
    async fn watch(&self, torrent: &Torrent, order: &Order) -> anyhow::Result<()> {
        let (mut have, mut since) = (0, std::time::Instant::now());
        let mut report = OrderReport::of(order);
        while !torrent.complete() {
            if let Some(error) = torrent.error() {
                bail!("the image could not be written: {}", error.lines().next().unwrap_or_default());
            }
            let progress = torrent.next_progress().await;
            if progress.have != have {
                (have, since) = (progress.have, std::time::Instant::now());
            }
            report.percent = progress.percent().clamp(0.0, 100.0) as u8;
            let told = report.clone();
            self.report.note(|b| {
                if let Some(orders) = &mut b.orders {
                    orders.order = Some(told);
                }
            });
            if since.elapsed() >= PATIENCE {
                bail!("nobody has sent a piece of the image for {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    }

    /// Bytes a second: a part of what came when the machine booted, so that its other traffic has room. The command line's
    /// limit counts for the whole session besides.
    fn rate(&self) -> u64 {
        let beat = self.report.heartbeat();
        let at = |phase| beat.phases.iter().find(|p| p.phase == phase).map(|p| p.at);
        let seconds = match (at(Phase::Download), at(Phase::Root)) {
            (Some(begun), Some(done)) => (done - begun).max(0.1),
            _ => return LEAST,
        };
        ((beat.progress.total as f64 / seconds) as u64 / SHARE).max(LEAST)
    }
}
