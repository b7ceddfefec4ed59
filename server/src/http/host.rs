// SPDX-License-Identifier: GPL-3.0-or-later
//! How a client reaches us, for the URLs that we hand out.

use super::ends::Ends;
use axum::http::{HeaderMap, header::HOST};
use std::net::{IpAddr, SocketAddr};

/// `HOST:PORT` for URLs. An address in the client's `Host` header is what it
/// typed, right even behind a port redirection. A name is not taken: a machine
/// in its initramfs may have no way to resolve it; our end of the connection is right.
pub fn host(headers: &HeaderMap, ends: Ends) -> String {
    let asked = headers.get(HOST).and_then(|h| h.to_str().ok()).and_then(address);
    let mut host = asked.unwrap_or(ends.local);
    if let Some(port) = ends.plain {
        host.set_port(port);
    }
    host.to_string()
}

/// The same for GRUB, which leaves the port out of its `Host` header whichever port it has connected to.
pub fn host_of_grub(headers: &HeaderMap, ends: Ends) -> String {
    let asked = headers.get(HOST).and_then(|h| h.to_str().ok());
    let bare = asked.and_then(|h| h.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok());
    match bare {
        Some(ip) => SocketAddr::new(ip, ends.plain.unwrap_or(ends.local.port())).to_string(),
        None => host(headers, ends),
    }
}

/// The address under which this client reaches us, for peers.
pub fn seeder_ip(headers: &HeaderMap, ends: Ends) -> IpAddr {
    let asked = headers.get(HOST).and_then(|h| h.to_str().ok()).and_then(address);
    asked.map_or(ends.local.ip(), |a| a.ip())
}

fn address(host: &str) -> Option<SocketAddr> {
    let with_port = host.parse::<SocketAddr>().ok();
    let bare = || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    // Without a port in it, it is HTTP's own.
    with_port.or_else(|| bare().map(|ip| SocketAddr::new(ip, 80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_names_are_not() {
        let ends = Ends {
            remote: "10.0.0.9:5".parse().unwrap(),
            local: "10.0.0.1:6980".parse().unwrap(),
            plain: None,
            user: None,
        };
        for (header, url) in [
            ("192.168.1.1:80", "192.168.1.1:80"),
            ("192.168.1.1", "192.168.1.1:80"),
            ("[fd00::1]:6980", "[fd00::1]:6980"),
            ("boot.example:6980", "10.0.0.1:6980"),
            ("x y\"", "10.0.0.1:6980"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, header.parse().unwrap());
            assert_eq!(host(&headers, ends), url, "{header}");
        }
        assert_eq!(host(&HeaderMap::new(), ends), "10.0.0.1:6980");
        let tls = Ends { local: "10.0.0.1:6982".parse().unwrap(), plain: Some(6980), ..ends };
        assert_eq!(host(&HeaderMap::new(), tls), "10.0.0.1:6980");
        let grub = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, header.parse().unwrap());
            host_of_grub(&headers, ends)
        };
        assert_eq!(
            (grub("192.168.1.1"), grub("[fd00::1]")),
            ("192.168.1.1:6980".into(), "[fd00::1]:6980".into())
        );
        assert_eq!(
            (grub("192.168.1.1:80"), grub("boot.example")),
            ("192.168.1.1:80".into(), "10.0.0.1:6980".into())
        );
    }
}
