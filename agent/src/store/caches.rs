// SPDX-License-Identifier: GPL-3.0-or-later
//! The filesystems that the targets name, each opened once; and what of the
//! wanted image is on them before anybody is asked over the network.

use super::{cache::Cache, state::Kept};
use crate::{args::BootArgs, device, locate, report::Report};
use anyhow::bail;
use bootspec::{
    DeviceName, InfoHash, Params, Target,
    trust::{Evidence, Newest, Statement},
};
use std::time::{Duration, SystemTime};
use swarm::Metainfo;

/// See the module's text.
pub struct Caches<'a> {
    args: &'a BootArgs,
    open: Vec<(DeviceName, Cache)>,
    /// What could not be opened, after how long, and why.
    failed: Vec<(DeviceName, Duration, String)>,
}

/// An image that was complete and verified once.
pub struct Spare {
    /// The target that has it.
    pub target: DeviceName,
    /// Where.
    pub cache: Cache,
    /// Its .torrent.
    pub metainfo: Metainfo,
    /// What is remembered of it.
    pub kept: Kept,
}

impl Spare {
    /// The parameters with which it is taken from where it is, whatever other targets there are.
    pub fn only(&self, params: &Params) -> Params {
        Params { target: vec![Target::Cache(self.target.clone())], ..params.clone() }
    }

    /// When it was fetched, and where it is, for people.
    pub fn what(&self) -> String {
        let Kept { infohash, entry, .. } = &self.kept;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.fetched);
        let at = humantime::format_rfc3339_seconds(at).to_string().replace('T', " ").replace('Z', " UTC");
        format!("{} as it was fetched on {at} (infohash {infohash}), kept on {}", entry.name, self.cache.name)
    }
}

impl<'a> Caches<'a> {
    /// None is open yet.
    pub fn new(args: &'a BootArgs) -> Self {
        Self { args, open: Vec::new(), failed: Vec::new() }
    }

    /// The filesystem of that name.
    pub async fn open(&mut self, name: &DeviceName, patience: Duration) -> anyhow::Result<Cache> {
        if let Some((_, cache)) = self.open.iter().find(|(n, _)| n == name) {
            return Ok(cache.clone());
        }
        if let Some((.., why)) = self.failed.iter().find(|(n, waited, _)| n == name && *waited >= patience) {
            bail!("{why}");
        }
        let cache = match Cache::open(&self.args.dev_dir, name, &self.args.run_dir, patience).await {
            Ok(cache) => cache,
            Err(e) => {
                self.failed.push((name.clone(), patience, format!("{e:#}")));
                return Err(e);
            }
        };
        self.open.push((name.clone(), cache.clone()));
        Ok(cache)
    }

    /// Open what can be: the first target is waited for, since it will be used; a second choice only if it is there now.
    pub async fn open_all(&mut self, params: &Params, report: &Report) {
        for (n, target) in params.target.iter().enumerate() {
            let Target::Cache(name) = target else { continue };
            let patience = if n == 0 { device::PATIENCE } else { Duration::ZERO };
            // Whether it matters is known when a target is chosen.
            if let Err(e) = self.open(name, patience).await {
                report.debug(&format!("{e:#}"));
            }
        }
    }

    /// The .torrent of a pinned image, if an image of that infohash was begun here.
    pub fn pinned(&self, pin: Option<InfoHash>) -> Option<Metainfo> {
        let pin = pin?;
        self.open.iter().filter(|(_, c)| c.file(pin).is_some()).find_map(|(_, c)| c.metainfo(pin))
    }

    /// What was kept of who stands for an image.
    pub fn evidence(&self, infohash: InfoHash) -> Option<Evidence> {
        self.open.iter().find_map(|(_, c)| c.evidence(infohash))
    }

    /// The newest version of each image that was booted, as far as any filesystem here remembers.
    pub fn newest(&self) -> Newest {
        let mut all = Newest::new();
        for (name, version) in self.open.iter().flat_map(|(_, c)| c.newest()) {
            let newest = all.entry(name).or_insert(version);
            *newest = version.max(*newest);
        }
        all
    }

    /// This version boots now.
    pub fn remember_signed(&self, statement: &Statement, proof: &Evidence, report: &Report) {
        for (_, cache) in &self.open {
            if let Err(e) = cache.remember_signed(statement, proof) {
                report.warn(&format!("an older version than this one may boot next time: {e:#}"));
            }
        }
    }

    /// Where the machine's own key is kept, by name, and the key if it was kept there.
    pub fn machine_key(&self) -> Option<(&str, Option<String>)> {
        let kept = self.open.iter().find_map(|(_, c)| Some((c.name.as_str(), Some(c.machine_key()?))));
        kept.or_else(|| self.open.first().map(|(_, c)| (c.name.as_str(), None)))
    }

    /// Keep the machine's own key where [`Caches::machine_key`] says.
    pub fn keep_machine_key(&self, digits: &str) -> anyhow::Result<()> {
        self.open.first().map_or(Ok(()), |(_, cache)| cache.keep_machine_key(digits))
    }

    /// What can be booted without a server: the pinned image, else the last version of the wanted name.
    pub fn spare(&self, params: &Params) -> Option<Spare> {
        self.open.iter().find_map(|(target, cache)| {
            let kept = match (params.infohash, locate::asked(params)) {
                (Some(pin), _) => cache.images().into_iter().find(|k| k.complete && k.infohash == pin),
                (None, name) => cache.latest(name?),
            }?;
            let metainfo = cache.metainfo(kept.infohash)?;
            Some(Spare { target: target.clone(), cache: cache.clone(), metainfo, kept })
        })
    }
}
