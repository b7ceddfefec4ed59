// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of the boot story: the complete image becomes a root, or is left to those who make one of it.

use crate::{
    args::BootArgs,
    device::PATIENCE,
    fail::{Failure, Step},
    identity::{self, Identity, Manager, Written},
    iso,
    layers::{self, Layer},
    lease::Renewal,
    left::{Left, Lent, Way},
    ltsp,
    mounts::{Asked, Mounted, Root, detach},
    net::Net,
    reach::Reach,
    report::Report,
    root,
    store::{Caches, Payload},
    stream::Streaming,
    target::Writes,
    zram,
};
use bootspec::{
    DeviceName, Exit, Params, Phase, Target, layer::Values, ltsp::Ltsp, manifest::Kind, params::Then,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm::{Metainfo, Session, Torrent};

/// An image that can be read, and what seeds it.
pub struct Fetched {
    /// What it is called.
    pub image: String,
    /// Its torrent.
    pub metainfo: Metainfo,
    /// Its trackers, by address.
    pub trackers: Vec<String>,
    /// Where it is kept.
    pub target: Target,
    /// Where what the booted system writes goes.
    pub writes: Writes,
    /// Its file.
    pub payload: Payload,
    /// What seeds it.
    pub session: Session,
    /// What is sent of it.
    pub torrent: Arc<Torrent>,
    /// It is not complete: this serves what is read of it.
    pub streaming: Option<Streaming>,
}

impl Fetched {
    /// Why it could not be mounted: nobody has sent it, perhaps.
    pub fn blame(&self, failure: Failure) -> Failure {
        let end = self.streaming.as_ref().and_then(|s| s.stream.end());
        end.map_or(failure, |why| Failure::new(Exit::Swarm, why))
    }
}

/// To whom the image was handed over.
pub enum Handed {
    /// The disk that was named, from which the machine starts next.
    Disk(DeviceName),
    /// The scripts of a live system, as a file.
    Medium(PathBuf),
    /// The scripts of a live system, as a loop device.
    Iso(PathBuf),
    /// LTSP's scripts: where the image is.
    Ltsp(String),
    /// Its own init: how it was mounted, and what was written into it to make it this machine's own. Nothing into a
    /// root that is read-only.
    Root(String, Option<Written>),
}

impl Handed {
    /// What happened, for people.
    fn sentence(&self, image: &str) -> String {
        match self {
            Handed::Disk(disk) => format!("{image} is on {disk}, verified and flushed"),
            Handed::Medium(file) => {
                format!("the image is {}: the initrd's own scripts boot it now", file.display())
            }
            Handed::Iso(device) => {
                format!("the ISO is on {}: its own scripts boot it now", device.display())
            }
            Handed::Ltsp(what) => format!("{image} is {what}: LTSP's own scripts boot it now"),
            Handed::Root(what, Some(written)) => {
                format!("root mounted ({what}), host name {}", written.hostname)
            }
            Handed::Root(what, None) => {
                format!("root mounted ({what}): host name, fstab and machine-id are the image's own")
            }
        }
    }

    /// What becomes of the machine. There is no root only where a disk was written for another boot.
    pub fn then(&self, params: &Params) -> Then {
        match self {
            Handed::Disk(_) => params.then,
            _ => Then::Boot,
        }
    }

    /// Say it. Returns the lease, where it is us who look after it from here on.
    pub fn tell(&self, image: &str, net: &Net, report: &Report) -> Option<Renewal> {
        report.info(&self.sentence(image));
        let Handed::Root(_, Some(written)) = self else { return None };
        report.note(|b| b.hostname = Some(written.hostname.clone()));
        if !written.dropped.is_empty() {
            report.warn(&format!(
                "not mounted, because the image's fstab names disks that this machine does not have: {}",
                written.dropped.join(", ")
            ));
        }
        renewed_by_us(written, net, report)
    }
}

/// What handing over takes.
pub struct Boot<'a> {
    /// Paths.
    pub args: &'a BootArgs,
    /// How to boot.
    pub params: &'a Params,
    /// The kernel command line.
    pub line: &'a str,
    /// What LTSP wants, if it boots this machine.
    pub ltsp: Option<Ltsp>,
    /// Who we are.
    pub net: &'a Net,
    /// The files for this machine.
    pub layers: &'a [Layer],
    /// Hears of it.
    pub report: &'a Report,
}

impl Boot<'_> {
    /// The root is in use and may not be complete: then a keeper looks after it. `renews`: the lease is ours to renew.
    pub fn keep(&self, reach: &Reach, image: &mut Fetched, renews: bool) -> anyhow::Result<()> {
        let Boot { args, line, net, report, .. } = *self;
        let Fetched { streaming: Some(streaming), metainfo, image, trackers, .. } = image else {
            return Ok(());
        };
        let way = Way { line, reach, trackers, image, port: args.port };
        let left = Left::of(&way, renews.then(|| Lent::of(net)), report);
        left.write(&args.run_dir, metainfo, &args.ca_dir)?;
        streaming.keep(&args.run_dir, &args.kmsg)
    }

    /// Hand the image over to whoever boots it.
    pub async fn hand_over(&self, image: &Fetched, caches: &mut Caches<'_>) -> Result<Handed, Failure> {
        let Boot { args, params, net, report, .. } = *self;
        if let (Target::Device(disk), Then::Reboot | Then::Poweroff) = (&image.target, params.then) {
            return Ok(Handed::Disk(disk.clone()));
        }
        report.phase(Phase::Root);
        let (payload, run) = (&image.payload.path, &args.run_dir);
        let kind = root::kind(params.kind, payload).step(Exit::Root)?;
        let others = args.medium || kind == Kind::Iso || self.ltsp.is_some();
        if others && !self.layers.is_empty() {
            report.warn(
                "this image boots without the files for this machine: files work with filesystem and disk images only",
            );
        }
        if args.medium {
            return iso::name(payload, kind, run).step(Exit::Root).map(Handed::Medium);
        }
        if kind == Kind::Iso {
            return iso::attach(payload, run).step(Exit::Root).map(Handed::Iso);
        }
        if let Some(ltsp) = &self.ltsp {
            if matches!(image.writes, Writes::None | Writes::Kept(_)) {
                report.warn("boottorrent.overlay= has no effect: LTSP makes its own overlay, in RAM");
            }
            return ltsp::hand_over(ltsp, payload, args, net.server).step(Exit::Root).map(Handed::Ltsp);
        }
        self.mount(kind, image, caches).await
    }

    /// Mount it as the root, under what is to be written, and make it this machine's own.
    async fn mount(&self, kind: Kind, image: &Fetched, caches: &mut Caches<'_>) -> Result<Handed, Failure> {
        let Boot { args, params, line, net, .. } = *self;
        if image.writes == Writes::None && !self.layers.is_empty() {
            let why = "this machine has files, but its root is read-only: remove boottorrent.overlay=none, or the files \
                       (`boottorrent host set WHO --files none`)";
            return Err(Failure::new(Exit::Params, why));
        }
        let (writes, kept) = self.overlay(image, caches).await?;
        let root = Root {
            payload: &image.payload.path,
            run: &args.run_dir,
            root: &args.root_mnt,
            writes: &writes,
            kept: kept.as_deref(),
            asked: &Asked::read(line, params),
        };
        let Mounted { what, also } = root::mount(kind, &root).step(Exit::Root)?;
        if writes == Writes::None {
            return Ok(Handed::Root(what, None));
        }
        let identity = Identity {
            root: &args.root_mnt,
            kept: kept.as_deref(),
            run: Path::new("/run"),
            net,
            mounted: &also,
            hostname: params.hostname.as_ref(),
            networkd: identity::asks_for_networkd(line),
        };
        let written = identity::write(&identity).and_then(|written| {
            layers::apply(self.layers, &args.root_mnt, &self.values(&written), self.report)?;
            Ok(written)
        });
        let written = written.inspect_err(|_| detach(&args.root_mnt)).step(Exit::Root)?;
        Ok(Handed::Root(what, Some(written)))
    }

    /// What templates among the files are filled with.
    fn values(&self, written: &Written) -> Values {
        Values {
            name: written.hostname.clone(),
            mac: self.net.mac.clone(),
            ip: self.net.address.map(|a| a.to_string()).unwrap_or_default(),
            group: self.params.group.clone().unwrap_or_default(),
            serial: layers::serial(Path::new("/sys")),
        }
    }

    /// Where what is written goes, and the folder for it, unless it is plain RAM. Without zram it is.
    async fn overlay(
        &self,
        image: &Fetched,
        caches: &mut Caches<'_>,
    ) -> Result<(Writes, Option<PathBuf>), Failure> {
        let report = self.report;
        let kept = match &image.writes {
            Writes::Zram { size, limit } => {
                let at = self.args.run_dir.join("overlay");
                if let Err(e) = zram::mount(&at, *size, *limit) {
                    report.warn(&format!("boottorrent.overlay=zram is plain RAM on this machine: {e:#}"));
                    return Ok((Writes::Ram(*limit), None));
                }
                Some(at)
            }
            Writes::Kept(name) => {
                let cache = caches.open(name, PATIENCE).await.step(Exit::Storage)?;
                let version = image.metainfo.infohash();
                Some(cache.overlay(version, &image.image, report).step(Exit::Storage)?)
            }
            Writes::Ram(_) | Writes::None => None,
        };
        Ok((image.writes.clone(), kept))
    }
}

/// Who looks after the network from here on; the lease, where it is us.
fn renewed_by_us(written: &Written, net: &Net, report: &Report) -> Option<Renewal> {
    if written.manager != Manager::Nobody {
        report.info(&format!(
            "network: {} is configured by the image's {}",
            net.interface,
            written.manager.as_str()
        ));
        return None;
    }
    let renewal = Renewal::prepare(net).unwrap_or_else(|e| {
        report.warn(&format!("the DHCP lease will not be renewed: {e:#}"));
        None
    });
    if renewal.is_some() {
        report.info(&format!(
            "network: nothing in the image configures {}, so boottorrent renews its DHCP lease",
            net.interface
        ));
    }
    renewal
}
