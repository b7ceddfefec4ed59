// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's packages for a host in a lab, which has no way out: an HTTP proxy at that host that hands
//! everything to the mirror that this machine's own apt uses.

use crate::{Host, assets};
use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader, Read, Write, copy},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

/// Start it at the host's loopback, and give what `http_proxy` must say. It runs as long as this process.
pub fn proxy(host: &Host) -> Result<String> {
    let mirror = assets::mirror_host()?;
    // The socket belongs to the host's network; who accepts on it is outside, and gets to the mirror.
    let listener = host.netns().run(|| TcpListener::bind("127.0.0.1:0")).context("listening in the lab")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mirror = mirror.clone();
            thread::spawn(move || pass(client, &mirror));
        }
    });
    Ok(url)
}

/// One connection. What fails is seen by apt, which says so.
fn pass(client: TcpStream, mirror: &str) -> Result<()> {
    let port = if mirror.contains(':') { "" } else { ":80" };
    let mut server = TcpStream::connect(format!("{mirror}{port}"))?;
    let (mut back, mut down) = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        let _ = copy(&mut back, &mut down);
        let _ = down.shutdown(Shutdown::Both);
    });
    // Heads of GET have no body behind them: only lines come, and an empty one ends a head.
    let mut head = String::new();
    for line in BufReader::new(client.take(1 << 30)).lines() {
        let line = line?;
        head += &rewritten(&line, mirror);
        if line.is_empty() {
            server.write_all(std::mem::take(&mut head).as_bytes())?;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
    Ok(())
}

/// A line of a request to a proxy, as the mirror wants it.
fn rewritten(line: &str, mirror: &str) -> String {
    if line.to_ascii_lowercase().starts_with("host:") {
        return format!("Host: {mirror}\r\n");
    }
    let path = line.strip_prefix("GET http://").and_then(|rest| rest.split_once('/'));
    path.map_or(format!("{line}\r\n"), |(_, path)| format!("GET /{path}\r\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn requests_go_to_the_mirror() {
        let r = |line| super::rewritten(line, "m:81");
        assert_eq!(r("GET http://a.example/debian/x HTTP/1.1"), "GET /debian/x HTTP/1.1\r\n");
        assert_eq!((r("host: a.example"), r("")), ("Host: m:81\r\n".into(), "\r\n".into()));
    }
}
