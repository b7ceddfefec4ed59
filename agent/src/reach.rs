// SPDX-License-Identifier: GPL-3.0-or-later
//! Where things are, with addresses instead of names; and what the image is called.

use crate::locate::{self, Located, MetainfoSource};
use bootspec::{ImageName, Params};
use std::{net::IpAddr, time::Duration};
use swarm::Metainfo;
use url::{Host, Url};

/// How long a name may take, and one that the boot does not need.
const LOOKUP: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(2);

/// Where things are, with addresses instead of names: after switch_root there is no resolver.
#[derive(Clone)]
pub struct Reach {
    /// The .torrent.
    pub torrent: MetainfoSource,
    /// `boottorrent serve`.
    pub server: Option<Url>,
    /// Servers that have the same, for when that one does not answer.
    pub relays: Vec<Url>,
    /// Where the server's own bytes come from.
    pub servers: Vec<IpAddr>,
    /// Names whose address is known: what a certificate is for is asked for by its name.
    pub names: Vec<(String, IpAddr)>,
}

impl Reach {
    /// There is no network: only what peers find us by, should one come later.
    pub fn nowhere() -> Self {
        Self {
            torrent: MetainfoSource::File(Default::default()),
            server: None,
            relays: Vec::new(),
            servers: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Look names up. One that is not found stays as it is: the fetch then says what is wrong.
    pub async fn resolve(located: &Located, params: &Params) -> Self {
        let Located { torrent, server, relays } = located.clone();
        let mut reach = Self { torrent, server, relays, ..Self::nowhere() };
        let torrent = if let MetainfoSource::Url(url) = &mut reach.torrent { Some(url) } else { None };
        let first = reach.server.iter_mut().chain(torrent).map(|url| (url, true));
        for (url, first) in first.chain(reach.relays.iter_mut().map(|url| (url, false))) {
            let limit = if first { params.timeout } else { Some(SHORT) };
            let Some(address) = address(url, limit).await else { continue };
            // Relays are not used as peers while the server answers, because they may be behind a slow link.
            if first {
                reach.servers.push(address);
            }
            match url.domain() {
                Some(name) if url.scheme() == "https" => reach.names.push((name.to_owned(), address)),
                _ => drop(url.set_ip_host(address)),
            }
        }
        reach
    }
}

/// The address of a URL's host, if that can be found.
pub async fn address(url: &Url, limit: Option<Duration>) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(name) => {
            let limit = limit.unwrap_or(LOOKUP).min(LOOKUP);
            let lookup = tokio::time::timeout(limit, tokio::net::lookup_host((name, 0))).await;
            Some(lookup.ok()?.ok()?.next()?.ip())
        }
    }
}

/// What the image is called: as it was asked for, else by the torrent. (On the server it may have another name than when
/// its torrent was made.)
pub fn image_name(metainfo: &Metainfo, params: &Params) -> String {
    let names = locate::asked(params).into_iter().chain([metainfo.name()]);
    let mut names = names.filter(|name| name.parse::<ImageName>().is_ok());
    names.next().unwrap_or("image").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image that was renamed on the server has the torrent of its first name.
    #[test]
    fn an_image_is_called_as_it_was_asked_for() {
        let options = swarm::CreateOptions { name: "lab-new".into(), ..Default::default() };
        let torrent = swarm::create(&mut &[7; 100][..], 100, &options, &mut |_| {}).unwrap();
        let metainfo = Metainfo::parse(torrent.bytes().to_vec()).unwrap();
        for (line, name) in [
            ("boottorrent.image=lab", "lab"),
            ("boottorrent.torrent=http://s/lab.torrent", "lab"),
            ("boottorrent.torrent=http://s/get%20it?file=lab.torrent", "lab-new"),
            ("boottorrent.torrent=magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567", "lab-new"),
        ] {
            assert_eq!(image_name(&metainfo, &Params::parse(line).0), name, "{line}");
        }
    }
}
