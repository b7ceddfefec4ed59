// SPDX-License-Identifier: GPL-3.0-or-later
//! What a running server can be watched by: its page, its events, its metrics. And that nobody upsets it.
#![allow(missing_docs)]

mod common;

use common::{Server, World, connect_from, until};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A page that listens.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(server: &Server) -> Listener {
        Listener::from(server, 1)
    }

    /// From another host.
    fn from(server: &Server, host: u8) -> Listener {
        let mut stream = connect_from([127, 0, 0, host].into(), server.http);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        Listener(BufReader::new(stream))
    }

    /// The next message; None when the server has ended the stream.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The first message of which this holds.
    fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut next = || self.next().unwrap_or_else(|| panic!("the stream ended before {what}"));
        std::iter::repeat_with(&mut next).take(30).find(is).unwrap_or_else(|| panic!("never came: {what}"))
    }
}

fn beat(server: &Server, id: &str, more: Value) -> u16 {
    let mut body = json!({"id": id, "phase": "download", "uptime": 0.5});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.beat(body).status
}

fn stats(server: &Server) -> Value {
    serde_json::from_str(&server.get("/api/v1/stats").text()).unwrap()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[test]
fn the_page_hears_what_happens() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let server = Server::start(&w, &[]);
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");

    let mut listener = Listener::new(&server);
    let first = listener.next().unwrap();
    assert_eq!((&first["all"], &first["images"][0]["name"]), (&json!(true), &json!("lab")));
    assert_eq!(first["machines"], json!([]));
    let hash = first["images"][0]["infohash"].clone();
    let more = json!({"hostname": "<b>pc\u{1b}[1m", "infohash": hash, "progress": {"have": 5, "total": 10}});
    assert_eq!(beat(&server, "52:54:00:00:00:01", more), 204);
    let news = listener.until("the machine", |m| !m["machines"].as_array().unwrap().is_empty());
    let row = &news["machines"][0];
    // Markup is text for the page; what controls a terminal is taken out here already.
    assert_eq!(
        (&row["name"], &row["percent"], &row["phase"]),
        (&json!("<b>pc[1m"), &json!(50), &json!("download"))
    );
    assert_eq!((&news["all"], &news["images"][0]["machines"]), (&json!(false), &json!(1)));

    let all = server.get("/images/lab/payload").body.len() as u64;
    until("its bytes among those sent", || (stats(&server)["images"][0]["sent"] == all).then_some(()));
    until("our seeder", || (stats(&server)["images"][0]["complete"] == 1).then_some(()));
    let metrics = server.get("/metrics");
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        format!("boottorrent_image_sent_bytes_total{{image=\"lab\"}} {all}"),
        "boottorrent_machines{phase=\"download\"} 1".into(),
        "boottorrent_image_seeding{image=\"lab\"} 1".into(),
        "boottorrent_listeners 1".into(),
    ] {
        assert!(metrics.text().contains(&format!("\n{line}\n")), "{line} is not in\n{}", metrics.text());
    }

    w.run(&["image", "remove", "lab", "--force"]).good();
    listener.until("no image", |m| m["images"] == json!([]));
    assert_eq!(server.stop(), Some(0));
    while listener.next().is_some() {}
}

#[test]
fn listeners_have_places() {
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let full = |from: u8| {
        let mut stream = connect_from([127, 0, 0, from].into(), server.http);
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let sentence = "8 pages on your host, or 64 in all, listen to this server already: close one\n";
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with(sentence), "{answer}");
    };
    let mut pages: Vec<Listener> = Vec::new();
    for host in 1..=8 {
        pages.extend((0..8).map(|_| Listener::from(&server, host)));
        assert!(pages.iter_mut().skip(8 * usize::from(host - 1)).all(|p| p.next().is_some()));
        full(host);
    }
    full(9);
    pages.pop();
    // Noticed at the next word that is said to it.
    until("a free place", || {
        beat(&server, "52:54:00:00:00:0a", json!({}));
        (stats(&server)["listeners"] == 63).then_some(())
    });
    assert!(Listener::from(&server, 9).next().is_some());
}

/// Ten megabytes, made-up machines in crowds, half a heartbeat: one sentence each, and the others notice nothing.
#[test]
fn hostile_heartbeats() {
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let big = server.ask("POST", "/api/v1/heartbeat", JSON, &vec![b' '; 10 << 20]);
    assert_eq!((big.status, big.text().as_str()), (413, "a heartbeat has at most 16384 bytes\n"));
    let half = server.ask("POST", "/api/v1/heartbeat", JSON, br#"{"id": "a", "progress": "#);
    assert_eq!(half.status, 400);
    assert!(half.text().starts_with("this is not a heartbeat: "), "{}", half.text());
    // All over one connection, from another address.
    let socket = std::net::TcpStream::connect(server.http).unwrap();
    let (mut out, mut answers) = (socket.try_clone().unwrap(), BufReader::new(socket));
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        answers.read_to_string(&mut text).unwrap();
        text.matches("HTTP/1.1 204").count()
    });
    let crowd = 5_000;
    for n in 0..crowd {
        let [_, _, a, b] = (n as u32).to_be_bytes();
        let body =
            format!("{{\"id\": \"52:54:00:01:{a:02x}:{b:02x}\", \"hostname\": \"made up {n}\\u001b[2J\"}}");
        let close = if n + 1 == crowd { "Connection: close\r\n" } else { "" };
        let head = format!(
            "POST /api/v1/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{close}Content-Length: {}\r\n\r\n",
            body.len()
        );
        out.write_all(format!("{head}{body}").as_bytes()).unwrap();
    }
    assert_eq!(reader.join().unwrap(), crowd);
    assert_eq!(beat(&server, "52:54:00:00:00:01", json!({"hostname": "real"})), 204);
    // So many are listed once a second.
    let clients = until("the list", || {
        Some(server.get("/api/v1/clients").text()).filter(|list| list.contains("\"real\""))
    });
    assert!(!clients.contains("u001b"));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&clients).unwrap().len(), 4096);
    assert_eq!(stats(&server)["totals"]["heartbeats"], crowd + 1);
}

/// house.md D3: one answer to "is it the default?", by server.toml as by hosts.toml.
#[test]
fn images_and_figures_agree_on_the_default() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let config = fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", format!("{config}[boot]\ndefault = \"lab\"\n"));
    let server = Server::start(&w, &["--no-seed"]);
    let json = |path: &str| serde_json::from_slice::<Value>(&server.get(path).body).unwrap();
    assert_eq!(json("/api/v1/images")[0]["default"], true);
    assert_eq!(json("/api/v1/stats")["images"][0]["default"], true);
}
