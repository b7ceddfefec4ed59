// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine that gives kernels and initrds to its group: which machines are sent there, and what it gives. The agent's own
//! code, at the real server. tests/tests/relays.rs boots through one.
#![allow(missing_docs)]

mod common;

use boottorrent_agent::relay::{Cache, serve};
use common::{Server, World, until};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

const HEAD: &str = "52:54:00:00:00:01";
const NODE: &str = "52:54:00:00:00:02";
const KERNEL: &str = "/images/lab/vmlinuz";

fn with_image() -> World {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--name", "lab"]).good();
    w
}

/// The giving part of an agent.
fn giving(server: &Server, limit: u64) -> SocketAddr {
    let url = format!("http://{}/", server.http).parse().unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            serve(listener, Cache::new(url, client, limit)).await;
        })
    });
    hears.recv().unwrap()
}

/// The status and the body. Nothing: it has closed the connection.
fn ask(at: SocketAddr, request: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let body = bytes.split_off(end + 4);
    let length =
        head.to_lowercase().split_once("content-length: ").unwrap().1.lines().next().unwrap().parse();
    assert!(request.starts_with("HEAD") || length == Ok(body.len()), "{head}");
    Some((head.split(' ').nth(1)?.parse().ok()?, body))
}

fn get(at: SocketAddr, target: &str) -> (u16, Vec<u8>) {
    ask(at, &format!("GET {target} HTTP/1.1\r\nHost: {at}\r\n\r\n")).unwrap()
}

/// Bytes of kernels and initrds that the server has sent.
fn sent(server: &Server) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find(|l| l.starts_with("boottorrent_boot_files_sent_bytes_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

#[test]
fn the_server_sends_a_file_once_for_all_of_them() {
    let w = with_image();
    let server = Server::start(&w, &["--no-seed"]);
    let at = giving(&server, 64 << 20);
    let kernel = server.get(KERNEL).body;
    let before = sent(&server);
    // No more at once come from one address.
    let five = || std::thread::spawn(move || [(); 5].map(|()| get(at, KERNEL)));
    let asking: Vec<_> = (0..8).map(|_| five()).collect();
    let given: Vec<_> = asking.into_iter().flat_map(|a| a.join().unwrap()).collect();
    assert!(given.iter().all(|(status, body)| *status == 200 && *body == kernel));
    assert_eq!(sent(&server) - before, kernel.len() as u64);
    assert_eq!(ask(at, &format!("HEAD {KERNEL} HTTP/1.0\r\n\r\n")), Some((200, Vec::new())));

    // Nothing but kernels and initrds, whatever is asked for.
    let other = get(at, "/images/none/vmlinuz");
    assert_eq!(other.0, 404, "what the server says");
    for target in ["/images/lab/payload", "/api/v1/clients", "/images/lab/../lab/vmlinuz", "http://a/"] {
        assert_eq!(get(at, target).0, 404, "{target}");
    }
    assert_eq!(ask(at, "PUT /images/lab/vmlinuz HTTP/1.1\r\n\r\n").unwrap().0, 405);
    assert_eq!(ask(at, "\0\u{1}\r\n\r\n").unwrap().0, 400);
    assert_eq!(ask(at, &format!("GET {KERNEL} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(8192))), None);
    // Many names for one file push nothing out that is being given, and end nothing.
    for n in 0..100 {
        let (status, body) = get(at, &format!("{KERNEL}?n={n}"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }

    // Without the server it gives what it has.
    assert_eq!(get(at, KERNEL).1, kernel);
    server.stop();
    assert_eq!(get(at, KERNEL), (200, kernel));
    assert_eq!(get(at, &format!("{KERNEL}?other")).0, 503);
}

#[test]
fn it_uses_no_more_memory_than_it_may() {
    let w = with_image();
    let server = Server::start(&w, &["--no-seed"]);
    let kernel = server.get(KERNEL).body;
    let at = giving(&server, 2 * (kernel.len() as u64).next_multiple_of(1024));
    let before = sent(&server);
    for n in [1, 2, 3, 1, 2, 3] {
        assert_eq!(get(at, &format!("{KERNEL}?n={n}")), (200, kernel.clone()));
    }
    assert_eq!(sent(&server) - before, 6 * kernel.len() as u64, "two of three, the oldest goes");
    let small = giving(&server, 0);
    let (status, why) = get(small, KERNEL);
    assert!(
        status == 503
            && String::from_utf8_lossy(&why).contains("which do not fit into the RAM of boottorrent.relay=")
    );
}

#[test]
fn machines_of_its_group_are_sent_there_first() {
    let w = with_image();
    let server = Server::start(&w, &["--no-seed"]);
    let script = |mac: &str| server.get(&format!("/boot.ipxe?mac={mac}")).text();
    w.run(&["host", "set", "group:rack1", "--image", "lab"]).good();
    w.run(&["host", "set", NODE, "--group", "rack1"]).good();
    let alone = w.run(&["host", "set", HEAD, "--name", "head", "--image", "lab", "--relay"]);
    assert!(alone.err.contains("is in no group, and no machine is sent to it: give it one with --group"));
    let said = w.run(&["host", "set", "head", "--group", "rack1", "--relay=64M"]).good();
    assert!(said.contains("with boottorrent.relay=64M"), "{said}");
    w.run(&["host", "set", "head", "--relay=1M"])
        .refused("kernel parameter boottorrent.relay: '1M' has no space for a kernel and an initrd: write 32.0 MiB or more");
    assert!(script(HEAD).contains(" boottorrent.relay=64M"), "{}", script(HEAD));
    assert!(!script(NODE).contains("--timeout 2000 http://"), "it is not there yet");

    // Its own word, and nobody else's.
    let beat = json!({"id": HEAD, "phase": "seed", "relay_port": 6980, "uptime": 1.0});
    assert_eq!(server.heartbeat(&beat.to_string()).status, 204);
    assert!(!script(NODE).contains("127.0.0.1:6980"), "anybody can say that");
    server.beat(beat);
    let near = "kernel --timeout 2000 http://127.0.0.1:6980/images/lab/vmlinuz?infohash=";
    let lines = until("the node", || {
        let script = script(NODE);
        script.contains(near).then_some(script)
    });
    let kernel = lines.lines().find(|l| l.starts_with(near)).unwrap();
    // Lists of machines keep `relay` for the server through which a machine reports.
    let all: Vec<serde_json::Value> = serde_json::from_slice(&server.get("/api/v1/clients").body).unwrap();
    let head = all.iter().find(|c| c["id"] == HEAD).unwrap();
    assert!(head["relay"].is_null() && head["relay_port"] == 6980, "{head}");
    assert!(w.run(&["status"]).good().contains("head"));
    let back = format!(" || kernel http://{}/images/lab/vmlinuz?infohash=", server.http);
    assert!(kernel.contains(&back) && kernel.ends_with(" || goto failed"), "{kernel}");
    let initrd = lines.lines().find(|l| l.starts_with("initrd --name ")).unwrap();
    assert!(initrd.contains(" --timeout 2000 http://127.0.0.1:6980/images/lab/"), "{initrd}");
    assert!(initrd.contains(&format!(
        " || {} http://{}/",
        initrd.split(" --t").next().unwrap(),
        server.http
    )));
    // Not itself, nor one of another group.
    w.run(&["host", "set", "52:54:00:00:00:03", "--image", "lab"]).good();
    assert!(!script(HEAD).contains("6980/images") && !script("52:54:00:00:00:03").contains("6980/images"));
    w.run(&["host", "set", "head", "--no-relay"]).good();
    until("no node", || (!script(NODE).contains(near)).then_some(()));
}
