// SPDX-License-Identifier: GPL-3.0-or-later
//! Which .torrent, and where the server is: from parameters and DHCP. No I/O.

use anyhow::{Context, anyhow, bail};
use bootspec::{HTTP_PORT, Params};
use std::{net::Ipv4Addr, path::PathBuf};
use swarm::Magnet;
use url::Url;

/// Where the metainfo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Over HTTP.
    Url(Url),
    /// A file, in the initramfs.
    File(PathBuf),
    /// Peers are asked for it.
    Magnet(Magnet),
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The .torrent.
    pub torrent: Place,
    /// `boottorrent serve`, where it is known.
    pub server: Option<Url>,
}

/// Make the addresses. `next_server`: what DHCP said.
pub fn locate(params: &Params, next_server: Option<Ipv4Addr>) -> anyhow::Result<Located> {
    let server = match &params.server {
        Some(host) => Some(server_url(host)?),
        None => None,
    };
    if let Some(torrent) = &params.torrent {
        if torrent.starts_with('/') {
            return Ok(Located { torrent: Place::File(torrent.into()), server });
        }
        if torrent.starts_with(Magnet::SCHEME) {
            let mut magnet = Magnet::parse(torrent)
                .map_err(|why| anyhow!("kernel parameter boottorrent.torrent: {why}"))?;
            // A server that is known has a tracker.
            magnet.trackers.extend(server.iter().filter_map(|s| s.join("announce").ok()).map(String::from));
            magnet.trackers.extend(params.tracker.iter().cloned());
            magnet.peers.extend(&params.peers);
            return Ok(Located { torrent: Place::Magnet(magnet), server });
        }
        let url: Url = torrent
            .parse()
            .with_context(|| format!("kernel parameter boottorrent.torrent: '{torrent}' is no URL"))?;
        // A torrent that our server publishes tells where the server is.
        let server = server.or_else(|| payload_url(&url).and_then(|p| p.join("/").ok()));
        return Ok(Located { torrent: Place::Url(url), server });
    }
    let Some(image) = &params.image else {
        bail!(
            "no image was named: add boottorrent.image=NAME or boottorrent.torrent=URL to the kernel command line"
        );
    };
    let server = match (server, next_server) {
        (Some(url), _) => url,
        (None, Some(ip)) => server_url(&ip.to_string())?,
        (None, None) => bail!(
            "no server is known: DHCP named none; add boottorrent.server=HOST to the kernel command line"
        ),
    };
    let torrent = server.join(&format!("images/{image}/{image}.torrent"))?;
    Ok(Located { torrent: Place::Url(torrent), server: Some(server) })
}

/// A magnet link is a pin: no other torrent may boot. Errors: another one was asked for besides.
pub fn pin(params: &mut Params) -> anyhow::Result<()> {
    let Some(link) = params.torrent.as_ref().filter(|t| t.starts_with(Magnet::SCHEME)) else { return Ok(()) };
    let magnet = Magnet::parse(link).map_err(|why| anyhow!("kernel parameter boottorrent.torrent: {why}"))?;
    match params.infohash {
        Some(pin) if pin != magnet.infohash => bail!(
            "boottorrent.torrent= is a magnet link to {}, but boottorrent.infohash={pin} was asked for",
            magnet.infohash
        ),
        _ => params.infohash = Some(magnet.infohash),
    }
    Ok(())
}

/// The name of a .torrent, by its URL or path.
pub fn stem(torrent: &str) -> &str {
    let file = torrent.rsplit('/').next().unwrap_or(torrent);
    file.strip_suffix(".torrent").unwrap_or(file)
}

/// `HOST[:PORT]` as the base URL of the server's HTTP.
fn server_url(host: &str) -> anyhow::Result<Url> {
    let mut url: Url = format!("http://{host}/")
        .parse()
        .with_context(|| format!("kernel parameter boottorrent.server: '{host}' is no HOST or HOST:PORT"))?;
    if url.port().is_none() && !host.ends_with(":80") {
        url.set_port(Some(HTTP_PORT)).expect("an http URL has a port");
    }
    Ok(url)
}

/// The payload endpoint beside a .torrent of our server: `/images/NAME/payload`.
pub fn payload_url(torrent: &Url) -> Option<Url> {
    let parts: Vec<&str> = torrent.path_segments()?.collect();
    match parts.as_slice() {
        ["images", name, file] if file.strip_suffix(".torrent") == Some(name) => torrent.join("payload").ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str, next: Option<Ipv4Addr>) -> Result<(String, Option<String>), String> {
        let (params, remarks) = Params::parse(line);
        assert_eq!(remarks, []);
        match locate(&params, next) {
            Ok(Located { torrent: Place::Url(u), server }) => {
                Ok((u.to_string(), server.map(|s| s.to_string())))
            }
            Ok(Located { torrent: Place::File(f), server }) => {
                Ok((f.display().to_string(), server.map(|s| s.to_string())))
            }
            Ok(Located { torrent: Place::Magnet(m), server }) => {
                Ok((m.trackers.join(" "), server.map(|s| s.to_string())))
            }
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn from_server_and_image() {
        let dhcp = Some(Ipv4Addr::new(10, 0, 0, 1));
        let lab = |s: &str| (format!("{s}images/lab/lab.torrent"), Some(s.to_string()));
        assert_eq!(at("boottorrent.image=lab", dhcp), Ok(lab("http://10.0.0.1:6980/")));
        assert_eq!(at("boottorrent.image=lab boottorrent.server=srv", dhcp), Ok(lab("http://srv:6980/")));
        assert_eq!(at("boottorrent.image=lab boottorrent.server=srv:80", None), Ok(lab("http://srv/")));
        assert_eq!(
            at("boottorrent.image=lab boottorrent.server=http://srv:81/", None),
            Ok(lab("http://srv:81/"))
        );
        assert!(at("boottorrent.image=lab", None).unwrap_err().contains("boottorrent.server=HOST"));
        assert!(at("quiet", dhcp).unwrap_err().starts_with("no image was named"));
    }

    #[test]
    fn from_torrent() {
        let (url, server) =
            at("boottorrent.torrent=http://10.0.0.1:6980/images/lab/lab.torrent", None).unwrap();
        assert_eq!(server.as_deref(), Some("http://10.0.0.1:6980/"));
        assert_eq!(
            payload_url(&url.parse().unwrap()).unwrap().as_str(),
            "http://10.0.0.1:6980/images/lab/payload"
        );
        assert_eq!(at("boottorrent.torrent=http://x/y.torrent", None).unwrap().1, None);
        assert_eq!(at("boottorrent.torrent=/lab.torrent", None).unwrap().0, "/lab.torrent");
    }

    const MAGNET: &str =
        "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&tr=udp://10.0.0.9:6969";

    #[test]
    fn from_a_magnet_link() {
        let line = format!("boottorrent.torrent={MAGNET} boottorrent.server=10.0.0.1");
        let trackers = "udp://10.0.0.9:6969 http://10.0.0.1:6980/announce".to_string();
        assert_eq!(at(&line, None), Ok((trackers, Some("http://10.0.0.1:6980/".into()))));
        assert!(at("boottorrent.torrent=magnet:?dn=x", None).unwrap_err().contains("is no magnet link"));
    }

    #[test]
    fn a_magnet_link_is_a_pin() {
        let (mut params, _) = Params::parse(&format!("boottorrent.torrent={MAGNET}"));
        pin(&mut params).unwrap();
        assert_eq!(params.infohash.unwrap().to_string(), "0123456789abcdef0123456789abcdef01234567");
        pin(&mut params).unwrap();
        params.infohash = Some(bootspec::InfoHash([1; 20]));
        assert!(pin(&mut params).unwrap_err().to_string().contains("was asked for"));
    }
}
