// SPDX-License-Identifier: GPL-3.0-or-later
//! What keeps others out: the unit's sandbox, what browsers are told, the token, TLS.
#![allow(missing_docs)]

#[path = "common/certificate.rs"]
mod certificate;
mod common;

use certificate::certificate;
use common::{Answer, Server, World};
use std::process::{Command, Output};

/// How systemd rates a unit: refused above 2.0 (`--threshold` is in tenths).
fn rated(w: &World, unit: &str) -> Output {
    let file = w.write("boottorrent-server.service", unit);
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(file)
        .output();
    rated.expect("systemd-analyze, of the package systemd")
}

#[test]
fn the_units_exposure_is_two_at_most() {
    let w = World::new();
    let unit = include_str!("../../debian/boottorrent-server.service");
    let rated_as =
        |o: &Output| String::from_utf8_lossy(&o.stdout).lines().last().unwrap_or_default().to_owned();
    let ours = rated(&w, unit);
    assert!(ours.status.success(), "{}{}", rated_as(&ours), String::from_utf8_lossy(&ours.stderr));
    // It would be told: a unit without two of its lines is not good enough.
    let worse =
        unit.replace("CapabilityBoundingSet=\n", "").replace("SystemCallFilter=@system-service\n", "");
    let worse = rated(&w, &worse);
    assert!(!worse.status.success(), "{}", rated_as(&worse));
}

/// With every answer, whoever asks from wherever.
#[track_caller]
fn guarded(path: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
        "{path}: {policy}"
    );
    for unsafe_word in ["unsafe", "*", "http:", "https:"] {
        assert!(!policy.contains(unsafe_word), "{path}: {policy}");
    }
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
    assert!(!answer.headers.keys().any(|h| h.starts_with("access-control-")), "{path}: {:?}", answer.headers);
}

#[test]
fn other_sites_pages_get_nothing() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    let origin = [("origin", "http://evil.example"), ("access-control-request-method", "PUT")];
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/metrics", 200),
        ("GET", "/boot.ipxe", 200),
        ("GET", "/images/lab/lab.torrent", 200),
        ("GET", "/images/lab/payload", 200),
        ("GET", "/api/v1/clients", 200),
        ("GET", "/nowhere", 404),
        ("OPTIONS", "/api/v1/clients", 405),
        ("OPTIONS", "/api/v1/hosts/default", 403),
        ("PUT", "/api/v1/hosts/default", 403),
    ] {
        let answer = server.ask(method, path, &origin, b"");
        assert_eq!(answer.status, status, "{method} {path}");
        guarded(path, &answer);
    }
}

const WRONG: &str = "the token is missing or wrong: send the header `Authorization: Bearer TOKEN` with the one that \
                     `boottorrent token new` has printed on the server\n";

#[test]
fn changes_need_the_token() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    let ask = |method: &str, path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        server.ask(
            method,
            path,
            if token.is_empty() { &headers[..1] } else { &headers },
            br#"{"set":{"image":"lab"}}"#,
        )
    };
    let put = |token: &str| ask("PUT", "/api/v1/hosts/default", token);
    assert_eq!(put("").status, 403, "nobody has made a token");
    let first = w.run(&["token", "new"]).good().trim().to_owned();
    let second = w.run(&["token", "new"]).good().trim().to_owned();
    for wrong in ["", &first, &second[1..], "x"] {
        let refused = put(wrong);
        assert_eq!((refused.status, refused.text().as_str()), (401, WRONG), "{wrong}");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    for (method, path) in [
        ("DELETE", "/api/v1/images/lab?force=true"),
        ("POST", "/api/v1/images/lab"),
        ("POST", "/api/v1/fetches"),
        ("DELETE", "/api/v1/fetches/1"),
        ("POST", "/api/v1/wake"),
        ("POST", "/api/v1/power"),
        ("DELETE", "/api/v1/hosts/default"),
    ] {
        assert_eq!(ask(method, path, "").status, 401, "{method} {path}");
    }
    assert!(!w.path("cat/hosts.toml").exists(), "nothing was changed");
    let done = put(&second);
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(server.get("/api/v1/hosts").text().contains(r#""image":"lab""#));
    assert!(!server.get("/api/v1/hosts").text().contains(&second));
    // By name; one that reads, and one whose time is over.
    let look = w.run(&["token", "new", "look", "--read-only"]).good().trim().to_owned();
    let refused = put(&look);
    let text = "token 'look' may only read: make one without --read-only to change things\n";
    assert_eq!((refused.status, refused.text().as_str()), (403, text));
    let short = w.run(&["token", "new", "short", "--expires", "1d"]).good().trim().to_owned();
    assert_eq!(put(&short).status, 200);
    let kept = std::fs::read_to_string(w.path("cat/token")).unwrap();
    let (_, at) = kept.split_once("expires = \"").unwrap();
    let over = kept.replace(at.split('"').next().unwrap(), "2026-01-01T00:00:00Z");
    std::fs::write(w.path("cat/token"), over).unwrap();
    let refused = put(&short);
    assert_eq!(refused.status, 401);
    assert!(
        refused.text().starts_with("token 'short' has expired (2026-01-01T00:00:00Z): "),
        "{}",
        refused.text()
    );
    let listed = w.run(&["token", "list"]).good();
    assert!(listed.contains("look     read    -") && listed.contains("(expired)"), "{listed}");
    for secret in [&look, &short, &second] {
        assert!(!listed.contains(secret.as_str()) && !kept.contains(secret.as_str()));
    }
    // What it reads where not everybody may.
    let settings = std::fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", format!("{settings}[serve]\nmachines = \"token\"\n"));
    common::signal(&server.child, nix::sys::signal::Signal::SIGHUP);
    common::until("the setting", || (ask("GET", "/api/v1/hosts", "").status == 401).then_some(()));
    assert_eq!(ask("GET", "/api/v1/hosts", &look).status, 200);
    assert_eq!(ask("GET", "/api/v1/hosts", &short).status, 401);
    // Errors for programs.
    let json = server.ask("GET", "/api/v1/hosts", &[("accept", "application/json")], b"");
    let error: serde_json::Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(
        (json.status, &error["status"], error["error"].as_str()),
        (401, &401.into(), Some(WRONG.trim_end()))
    );
    for name in ["look", "short"] {
        w.run(&["token", "remove", name]).good();
    }
    w.run(&["token", "remove", "x"]).refused("there is no token 'x': there are default");
    w.run(&["token", "remove"]).good();
    assert_eq!(put(&second).status, 403);
    let document: serde_json::Value =
        serde_json::from_str(&server.get("/api/v1/openapi.json").text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

/// A name that somebody else's DNS points at us, and another site's page.
#[test]
fn other_names_and_other_pages() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    w.write("server.toml", "[catalogue]\nsources = []\n[serve]\nnames = [\"boot.example.org\"]\n");
    let server = Server::start(&w, &["--no-seed"]);
    let asked = |path: &str, host: &str| {
        let mut stream = std::net::TcpStream::connect(server.http).unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, ask.as_bytes()).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().to_owned()
    };
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for path in ["/", "/metrics", "/api/v1/clients", "/api/v1/health", "/api/v1/stats", "/api/v1/hosts"] {
        for host in ["evil.example", "evil.example:6980", "127.0.0.1.evil.example"] {
            assert_eq!(asked(path, host), "421", "{path} {host}");
        }
        for host in ["127.0.0.1", "[::1]:6980", "localhost:6980", "boot.example.org", machine.trim()] {
            assert_eq!(asked(path, host), "200", "{path} {host}");
        }
    }
    // Boot loaders and agents ask by whatever name there is.
    for path in ["/boot.ipxe", "/grub.cfg", "/images/lab/lab.torrent", "/images/lab/vmlinuz"] {
        assert_eq!(asked(path, "boot.lab.example:6980"), "200", "{path}");
    }
    let beat = br#"{"id":"52:54:00:00:00:01"}"#;
    let post = |headers: &[(&str, &str)]| server.ask("POST", "/api/v1/heartbeat", headers, beat).status;
    let json = ("content-type", "application/json");
    assert_eq!((post(&[]), post(&[("content-type", "text/plain")])), (415, 415));
    assert_eq!(post(&[json, ("origin", "http://evil.example")]), 403);
    assert_eq!(post(&[json, ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(post(&[json, ("content-type", "application/json; charset=utf-8")]), 204);
    let own = format!("http://{}", server.http);
    assert_eq!(
        server.ask("PUT", "/api/v1/hosts/default", &[json, ("origin", &own)], b"{}").status,
        403,
        "no token"
    );
}

/// Names, serial numbers and logs of machines are for those whom the admin wants to have them.
#[test]
fn the_list_of_machines_may_need_the_token() {
    let w = World::new();
    w.write("server.toml", "[catalogue]\nsources = []\n[serve]\nmachines = \"token\"\n");
    let token = w.run(&["token", "new"]).good().trim().to_owned();
    let server = Server::start(&w, &["--no-seed"]);
    assert_eq!(server.heartbeat(r#"{"id":"52:54:00:00:00:01","hostname":"pc-07"}"#).status, 204);
    let bearer = format!("Bearer {token}");
    for path in ["clients", "clients/52:54:00:00:00:01", "images", "hosts", "events"] {
        let path = format!("/api/v1/{path}");
        assert_eq!(server.get(&path).status, 401, "{path}");
        if !path.ends_with("events") {
            assert_eq!(server.ask("GET", &path, &[("authorization", &bearer)], b"").status, 200, "{path}");
        }
    }
    for path in ["/api/v1/health", "/api/v1/stats", "/metrics", "/"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text().contains("pc-07") && !answer.text().contains("52:54:00"), "{path}");
    }
    // Over the local socket it is as ever.
    assert!(w.run(&["status"]).good().contains("pc-07"));
}

/// curl, with one authority.
fn curl(w: &World, args: &[&str]) -> Output {
    Command::new("curl")
        .args(["-sS", "--max-time", "20", "--cacert", "lab.ca.crt"])
        .args(args)
        .current_dir(&w.dir)
        .output()
        .unwrap()
}

#[test]
fn tls_with_a_certificate() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    certificate(&w, "lab", "IP:127.0.0.1");
    let (key, cert) = (w.shown("lab.key"), w.shown("lab.pem"));
    let sources = format!("[catalogue]\nsources = []\n[serve]\ntls-cert = {cert:?}\n");
    w.write("server.toml", &sources);
    w.run(&["serve", "--listen", "127.0.0.1:0", "--no-seed"])
        .refused("tls-cert and tls-key in [serve] of the settings go together: give both, or none");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    w.write("server.toml", format!("{sources}tls-key = {key:?}\ntls-listen = \"127.0.0.1:{port}\"\n"));
    let server = Server::start(&w, &["--no-seed"]);
    let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
    let text = |o: &Output| String::from_utf8_lossy(&o.stdout).into_owned();

    let health = curl(&w, &["-D", "-", &url("/api/v1/health")]);
    assert!(text(&health).contains(r#""status":"ok""#), "{health:?}");
    // Boot loaders and clients of trackers speak plain HTTP: what they are told to fetch is on that port.
    assert!(
        text(&curl(&w, &[&url("/boot.ipxe")]))
            .contains(&format!("http://{}/images/lab/vmlinuz", server.http))
    );
    let stranger = Command::new("curl").args(["-sS", &url("/")]).output().unwrap();
    assert_eq!(stranger.status.code(), Some(60), "{stranger:?}");

    let token = w.run(&["token", "new"]).good();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let change = [
        "-w",
        "%{http_code}",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/json",
        "-d",
        r#"{"set":{"image":"lab"}}"#,
        &url("/api/v1/hosts/default"),
    ];
    assert!(text(&curl(&w, &change)).ends_with("401"));
    assert!(text(&curl(&w, &[&["-H", &bearer], &change[..]].concat())).ends_with("200"));
    // Who does not speak TLS, or says nothing, keeps nobody out.
    let silent: Vec<_> =
        (0..80).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    drop(silent);
    assert!(text(&curl(&w, &[&url("/metrics")])).contains("boottorrent_info"));
    assert_eq!(server.stop(), Some(0));
}
