// SPDX-License-Identifier: GPL-3.0-or-later
//! What an agent leaves behind for the one that takes its place, should it die while the root depends on it: files in its
//! folder.

use crate::{
    locate::MetainfoSource,
    net::Net,
    reach::Reach,
    report::{Report, monotonic},
    web,
};
use anyhow::Context;
use bootspec::{Heartbeat, Params};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};
use swarm::Metainfo;

const STATE: &str = "stream.json";
const TORRENT: &str = "stream.torrent";
/// Certificates, where HTTPS is spoken.
pub const AUTHORITIES: &str = "stream.ca";

/// All of it but the .torrent. Addresses instead of names: there is no resolver any more.
#[derive(Serialize, Deserialize)]
pub struct Left {
    /// The kernel command line.
    pub line: String,
    /// The image's name.
    pub image: String,
    /// The port for peers.
    pub port: u16,
    /// The lease that the agent renews.
    pub lent: Option<Lent>,
    /// When the agent began.
    began: Duration,
    /// What it has told of itself.
    pub beat: Heartbeat,
    trackers: Vec<String>,
    torrent: Option<String>,
    server: Option<String>,
    relays: Vec<String>,
    servers: Vec<IpAddr>,
    names: Vec<(String, IpAddr)>,
    peers: Vec<SocketAddr>,
}

/// A DHCP lease.
#[derive(Serialize, Deserialize)]
pub struct Lent {
    interface: String,
    mac: String,
    address: Option<IpAddr>,
    lease: Option<u32>,
}

impl Lent {
    /// Of an interface.
    pub fn of(net: &Net) -> Self {
        let Net { interface, mac, address, lease, .. } = net.clone();
        Self { interface, mac, address, lease }
    }

    /// As much of an interface as renewing takes.
    pub fn net(self) -> Net {
        let Lent { interface, mac, address, lease } = self;
        Net { interface, mac, address, lease, ..Net::default() }
    }
}

/// What was found on the way to the swarm.
pub struct Way<'a> {
    /// The kernel command line.
    pub line: &'a str,
    /// Where things are.
    pub reach: &'a Reach,
    /// Trackers.
    pub trackers: &'a [String],
    /// The image's name.
    pub image: &'a str,
    /// The port for peers.
    pub port: u16,
}

impl Left {
    /// Of an agent that has come so far.
    pub fn of(way: &Way, lent: Option<Lent>, report: &Report) -> Self {
        let Way { line, reach, trackers, image, port } = *way;
        let peers = match &reach.torrent {
            MetainfoSource::Magnet(magnet) => magnet.peers.clone(),
            _ => Params::parse(line).0.peers,
        };
        let torrent = match &reach.torrent {
            MetainfoSource::Url(url) => Some(url.to_string()),
            _ => None,
        };
        Self {
            line: line.to_owned(),
            image: image.to_owned(),
            port,
            lent,
            began: report.began(),
            beat: report.heartbeat(),
            trackers: trackers.to_vec(),
            torrent,
            server: reach.server.as_ref().map(ToString::to_string),
            relays: reach.relays.iter().map(ToString::to_string).collect(),
            servers: reach.servers.clone(),
            names: reach.names.clone(),
            peers,
        }
    }

    /// Write it. `authorities`: where certificates are.
    pub fn write(&self, run: &Path, metainfo: &Metainfo, authorities: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_vec(self).expect("it is JSON");
        fs::write(run.join(TORRENT), metainfo.bytes()).context("writing the .torrent for the keeper")?;
        fs::write(run.join(STATE), json).context("writing what the keeper needs")?;
        web::keep(authorities, &run.join(AUTHORITIES)).context("copying certificates for the keeper")
    }

    /// Read it.
    pub fn read(run: &Path) -> anyhow::Result<(Self, Metainfo)> {
        let read = |name| fs::read(run.join(name)).with_context(|| format!("reading {name}"));
        let left = serde_json::from_slice(&read(STATE)?).with_context(|| format!("reading {STATE}"))?;
        Ok((left, Metainfo::parse(read(TORRENT)?).with_context(|| format!("reading {TORRENT}"))?))
    }

    /// How it was to boot, and where things are.
    pub fn reach(&self) -> (Params, Reach) {
        let url = |text: &Option<String>| text.as_ref().and_then(|t| t.parse().ok());
        let params = Params { peers: self.peers.clone(), ..Params::parse(&self.line).0 };
        let reach = Reach {
            torrent: url(&self.torrent).map_or(Reach::nowhere().torrent, MetainfoSource::Url),
            server: url(&self.server),
            relays: self.relays.iter().filter_map(|r| r.parse().ok()).collect(),
            servers: self.servers.clone(),
            names: self.names.clone(),
        };
        (params, reach)
    }

    /// Trackers, by address.
    pub fn trackers(&self) -> Vec<String> {
        self.trackers.clone()
    }

    /// How long ago the first agent of this boot began.
    pub fn age(&self) -> Duration {
        monotonic().saturating_sub(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let torrent = swarm::create(&mut &[7; 100][..], 100, &Default::default(), &mut |_| {}).unwrap();
        let metainfo = Metainfo::parse(torrent.bytes().to_vec()).unwrap();
        let report = Report::new(None, None);
        report.note(|b| b.id = "52:54:00:00:00:01".into());
        let mut reach = Reach::nowhere();
        reach.torrent = MetainfoSource::Url("http://10.0.0.1:6980/images/lab/lab.torrent".parse().unwrap());
        reach.names.push(("s".into(), "10.0.0.1".parse().unwrap()));
        let line = "boottorrent.image=lab boottorrent.peers=10.0.0.9:1";
        let trackers = ["http://10.0.0.1:6980/announce".to_owned()];
        let way = Way { line, reach: &reach, trackers: &trackers, image: "lab", port: 7000 };
        let net = Net { interface: "eth0".into(), lease: Some(60), ..Net::default() };
        let left = Left::of(&way, Some(Lent::of(&net)), &report);
        left.write(dir.path(), &metainfo, Path::new("/nonexistent")).unwrap();
        let (again, same) = Left::read(dir.path()).unwrap();
        assert_eq!((same.infohash(), again.trackers()), (metainfo.infohash(), trackers.to_vec()));
        let (params, there) = again.reach();
        assert_eq!((params.peers.len(), there.torrent, there.names), (1, reach.torrent, reach.names));
        assert_eq!((again.beat.id.as_str(), again.lent.unwrap().net()), ("52:54:00:00:00:01", net));
        fs::write(dir.path().join(STATE), "{").unwrap();
        assert_eq!(Left::read(dir.path()).err().unwrap().to_string(), "reading stream.json");
    }
}
