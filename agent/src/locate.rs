// SPDX-License-Identifier: GPL-3.0-or-later
//! Which .torrent, and where the server is: from parameters and DHCP. No I/O.

use anyhow::{Context, anyhow, bail};
use bootspec::{
    HTTP_PORT, HTTPS_PORT, InfoHash, Params,
    trust::{SIGNATURE, STATEMENT},
};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};
use swarm::Magnet;
use url::Url;

/// Where the metainfo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoSource {
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
    pub torrent: MetainfoSource,
    /// `boottorrent serve`, where it is known.
    pub server: Option<Url>,
    /// Servers that have the same, for when that one does not answer.
    pub relays: Vec<Url>,
}

/// Make the addresses. `next_server`: what DHCP said.
pub fn locate(params: &Params, next_server: Option<Ipv4Addr>) -> anyhow::Result<Located> {
    let server = params.server.as_deref().map(|host| server_url("server", host)).transpose()?;
    let relays =
        params.relays.iter().map(|host| server_url("relays", host)).collect::<anyhow::Result<_>>()?;
    if let Some(torrent) = &params.torrent {
        if torrent.starts_with('/') {
            return Ok(Located { torrent: MetainfoSource::File(torrent.into()), server, relays });
        }
        if torrent.starts_with(Magnet::SCHEME) {
            let mut magnet = Magnet::parse(torrent)
                .map_err(|why| anyhow!("kernel parameter boottorrent.torrent: {why}"))?;
            // A server that is known has a tracker.
            magnet.trackers.extend(server.iter().filter_map(tracker).map(String::from));
            magnet.trackers.extend(params.tracker.iter().cloned());
            magnet.peers.extend(&params.peers);
            return Ok(Located { torrent: MetainfoSource::Magnet(magnet), server, relays });
        }
        let url: Url = torrent.parse().with_context(|| {
            format!("kernel parameter boottorrent.torrent: '{torrent}' is not a valid URL")
        })?;
        // A torrent that our server publishes tells where the server is.
        let server = server.or_else(|| payload_url(&url).and_then(|p| p.join("/").ok()));
        return Ok(Located { torrent: MetainfoSource::Url(url), server, relays });
    }
    let Some(image) = &params.image else {
        bail!(
            "no image was named: add boottorrent.image=NAME or boottorrent.torrent=URL to the kernel command line"
        );
    };
    let server = match (server, next_server) {
        (Some(url), _) => url,
        (None, Some(ip)) => server_url("server", &ip.to_string())?,
        (None, None) => bail!(
            "no server is known: DHCP named none; add boottorrent.server=HOST to the kernel command line"
        ),
    };
    let mut torrent = server.join(&format!("images/{image}/{image}.torrent"))?;
    // So that a version which was replaced while this machine loaded its kernel is still the one it gets.
    let pin = params.infohash.map(|h| format!("infohash={h}"));
    torrent.set_query(pin.as_deref());
    Ok(Located { torrent: MetainfoSource::Url(torrent), server: Some(server), relays })
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

/// The name that was asked for: in words, or by the .torrent's file name. A magnet link asks for none.
pub fn asked(params: &Params) -> Option<&str> {
    match (&params.image, &params.torrent) {
        (Some(image), _) => Some(image.as_str()),
        (None, Some(torrent)) if !torrent.starts_with(swarm::Magnet::SCHEME) => {
            torrent.split(['?', '#']).next().map(stem)
        }
        _ => None,
    }
}

/// The name of a .torrent, by its URL or path.
pub fn stem(torrent: &str) -> &str {
    let file = torrent.rsplit('/').next().unwrap_or(torrent);
    file.strip_suffix(".torrent").unwrap_or(file)
}

/// `[https://]HOST[:PORT]` as the base URL of a server's HTTP; `key` is the parameter that says it.
fn server_url(key: &str, server: &str) -> anyhow::Result<Url> {
    let (scheme, host, usual, ours) = match server.strip_prefix("https://") {
        Some(host) => ("https", host, ":443", HTTPS_PORT),
        None => ("http", server, ":80", HTTP_PORT),
    };
    let mut url: Url = format!("{scheme}://{host}/").parse().with_context(|| {
        format!("kernel parameter boottorrent.{key}: '{host}' is not a valid HOST or HOST:PORT")
    })?;
    if url.port().is_none() && !host.ends_with(usual) {
        url.set_port(Some(ours)).expect("an http URL has a port");
    }
    Ok(url)
}

/// The tracker of a server. Announces are never encrypted, as nothing between peers is: with HTTPS, it is on the usual port
/// for HTTP.
pub fn tracker(server: &Url) -> Option<Url> {
    let mut url = server.join("announce").ok()?;
    if url.scheme() == "https" {
        url.set_scheme("http").ok()?;
        url.set_port(Some(HTTP_PORT)).ok()?;
    }
    Some(url)
}

/// The same file on other servers of ours.
pub fn elsewhere(url: &Url, relays: &[Url]) -> Vec<Url> {
    let on = |relay: &Url| {
        let mut other = relay.clone();
        other.set_path(url.path());
        other.set_query(url.query());
        other
    };
    relays.iter().map(on).collect()
}

/// The payload endpoint beside a .torrent of our server: `/images/NAME/payload`.
pub fn payload_url(torrent: &Url) -> Option<Url> {
    beside(torrent, "payload")
}

/// A file of the same version of the same image as a .torrent of our server: `/images/NAME/FILE`.
pub fn beside(torrent: &Url, file: &str) -> Option<Url> {
    let parts: Vec<&str> = torrent.path_segments()?.collect();
    let ["images", name, last] = parts.as_slice() else { return None };
    if last.strip_suffix(".torrent") != Some(name) {
        return None;
    }
    let mut url = torrent.join(file).ok()?;
    url.set_query(torrent.query());
    Some(url)
}

/// The statement that goes with a .torrent: `X.torrent` has it in `X.statement`. For a magnet link, it is on the server
/// that is known, if the image is named as well.
pub fn statement(
    torrent: &MetainfoSource,
    server: Option<&Url>,
    params: &Params,
    infohash: InfoHash,
) -> Option<MetainfoSource> {
    let named =
        |torrent: &str| format!("{}.{STATEMENT}", torrent.strip_suffix(".torrent").unwrap_or(torrent));
    let version = format!("infohash={infohash}");
    match torrent {
        MetainfoSource::File(path) if path.as_os_str().is_empty() => None,
        MetainfoSource::File(path) => Some(MetainfoSource::File(named(path.to_str()?).into())),
        MetainfoSource::Url(url) => {
            let mut at = url.clone();
            at.set_path(&named(url.path()));
            if payload_url(url).is_some() {
                at.set_query(Some(&version));
            }
            Some(MetainfoSource::Url(at))
        }
        MetainfoSource::Magnet(_) => {
            let image = params.image.as_ref()?;
            let mut at = server?.join(&format!("images/{image}/{image}.{STATEMENT}")).ok()?;
            at.set_query(Some(&version));
            Some(MetainfoSource::Url(at))
        }
    }
}

/// Where the signature of a statement is.
pub fn signature(statement: &Url) -> Url {
    let mut at = statement.clone();
    at.set_path(&format!("{}.{SIGNATURE}", statement.path()));
    at
}

/// The same of one in a file.
pub fn signature_file(statement: &Path) -> PathBuf {
    format!("{}.{SIGNATURE}", statement.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str, next: Option<Ipv4Addr>) -> Result<(String, Option<String>), String> {
        let (params, remarks) = Params::parse(line);
        assert_eq!(remarks, []);
        match locate(&params, next) {
            Ok(Located { torrent: MetainfoSource::Url(u), server, .. }) => {
                Ok((u.to_string(), server.map(|s| s.to_string())))
            }
            Ok(Located { torrent: MetainfoSource::File(f), server, .. }) => {
                Ok((f.display().to_string(), server.map(|s| s.to_string())))
            }
            Ok(Located { torrent: MetainfoSource::Magnet(m), server, .. }) => {
                Ok((m.trackers.join(" "), server.map(|s| s.to_string())))
            }
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn the_same_on_other_servers() {
        let line = format!(
            "boottorrent.image=lab boottorrent.server=a boottorrent.relays=b:1,https://c boottorrent.infohash={}",
            "0".repeat(40)
        );
        let located = locate(&Params::parse(&line).0, None).unwrap();
        let MetainfoSource::Url(torrent) = &located.torrent else { panic!("{located:?}") };
        let found = elsewhere(torrent, &located.relays).iter().map(Url::to_string).collect::<Vec<_>>();
        let path = format!("images/lab/lab.torrent?infohash={}", "0".repeat(40));
        assert_eq!(found, [format!("http://b:1/{path}"), format!("https://c:6982/{path}")]);
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
        for (server, url) in [
            ("https://srv", "https://srv:6982/"),
            ("https://srv:443/", "https://srv/"),
            ("https://10.0.0.1:8443", "https://10.0.0.1:8443/"),
        ] {
            assert_eq!(at(&format!("boottorrent.image=lab boottorrent.server={server}"), dhcp), Ok(lab(url)));
        }
        assert!(at("boottorrent.image=lab", None).unwrap_err().contains("boottorrent.server=HOST"));
        assert!(at("quiet", dhcp).unwrap_err().starts_with("no image was named"));
    }

    #[test]
    fn announces_are_plain() {
        let tracker = |server: &str| tracker(&server.parse().unwrap()).unwrap().to_string();
        assert_eq!(tracker("http://10.0.0.1:81/"), "http://10.0.0.1:81/announce");
        assert_eq!(tracker("https://10.0.0.1:8443/"), "http://10.0.0.1:6980/announce");
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
        let pinned = format!(
            "boottorrent.image=lab boottorrent.server=10.0.0.1 boottorrent.infohash={}",
            "ab".repeat(20)
        );
        let url: Url = at(&pinned, None).unwrap().0.parse().unwrap();
        let query = format!("?infohash={}", "ab".repeat(20));
        assert_eq!(url.as_str(), format!("http://10.0.0.1:6980/images/lab/lab.torrent{query}"));
        assert_eq!(
            beside(&url, "sums").unwrap().as_str(),
            format!("http://10.0.0.1:6980/images/lab/sums{query}")
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
        assert!(
            at("boottorrent.torrent=magnet:?dn=x", None).unwrap_err().contains("is not a valid magnet link")
        );
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

    #[test]
    fn a_statement_and_its_signature_are_beside_the_torrent() {
        let hash = InfoHash([0xab; 20]);
        let found = |line: &str| {
            let (params, _) = Params::parse(line);
            let located = locate(&params, None).unwrap();
            let statement = statement(&located.torrent, located.server.as_ref(), &params, hash)?;
            Some(match &statement {
                MetainfoSource::Url(url) => (url.to_string(), signature(url).to_string()),
                MetainfoSource::File(path) => {
                    (path.display().to_string(), signature_file(path).display().to_string())
                }
                MetainfoSource::Magnet(_) => ("?".into(), "?".into()),
            })
        };
        let q = format!("?infohash={hash}");
        for (line, at, query) in [
            (
                "boottorrent.image=lab boottorrent.server=s",
                "http://s:6980/images/lab/lab.statement",
                q.as_str(),
            ),
            (
                "boottorrent.torrent=http://s:80/images/lab/lab.torrent",
                "http://s/images/lab/lab.statement",
                &q,
            ),
            ("boottorrent.torrent=http://s/a/lab.torrent?x=1", "http://s/a/lab.statement", "?x=1"),
            ("boottorrent.torrent=http://s/get", "http://s/get.statement", ""),
            ("boottorrent.torrent=/a.b/lab.torrent", "/a.b/lab.statement", ""),
            (
                &format!("boottorrent.torrent={MAGNET} boottorrent.server=s boottorrent.image=lab"),
                "http://s:6980/images/lab/lab.statement",
                &q,
            ),
        ] {
            let all = (format!("{at}{query}"), format!("{at}.minisig{query}"));
            assert_eq!(found(line), Some(all), "{line}");
        }
        assert_eq!(found(&format!("boottorrent.torrent={MAGNET} boottorrent.server=s")), None);
        assert_eq!(
            statement(&MetainfoSource::File(Default::default()), None, &Params::default(), hash),
            None
        );
    }

    #[test]
    fn the_name_that_was_asked_for() {
        for (line, name) in [
            ("boottorrent.image=lab", Some("lab")),
            ("boottorrent.torrent=http://s/images/lab/lab.torrent", Some("lab")),
            ("boottorrent.torrent=http://s/lab.torrent?a=/b", Some("lab")),
            ("boottorrent.torrent=/srv/lab.torrent boottorrent.image=other", Some("other")),
            ("boottorrent.torrent=magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567", None),
            ("quiet", None),
        ] {
            assert_eq!(asked(&Params::parse(line).0), name, "{line}");
        }
    }
}
