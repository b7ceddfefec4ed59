// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent serve`, asked over HTTP on 127.0.0.1.

mod common;

use common::{Answer, KERNEL, Server, World, tool, until};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    time::Duration,
};

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// A server with the image `lab`, seeded.
fn seeding(w: &World, args: &[&str]) -> Server {
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--append", "quiet"]).good();
    let server = Server::start(w, args);
    if !args.contains(&"--no-seed") {
        until("seeding", || (json(&server.get("/api/v1/health"))["seeding"] == 1).then_some(()));
    }
    server
}

fn infohash(server: &Server) -> [u8; 20] {
    let hex = json(&server.get("/api/v1/images"))[0]["infohash"].as_str().unwrap().to_owned();
    let bytes = (0..20).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).unwrap());
    bytes.collect::<Vec<_>>().try_into().unwrap()
}

fn announce(server: &Server, hash: &[u8], id: u8, more: &str) -> Answer {
    let encode = |b: &[u8]| b.iter().map(|b| format!("%{b:02x}")).collect::<String>();
    server.get(&format!(
        "/announce?info_hash={}&peer_id={}&port={}&{more}",
        encode(hash),
        encode(&[id; 20]),
        7000 + u16::from(id)
    ))
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[test]
fn boot_files_with_ranges() {
    let w = World::new();
    let server = seeding(&w, &[]);
    let payload = fs::read(w.path("cat/images/lab/payload")).unwrap();
    let size = payload.len();
    let all = server.get("/images/lab/payload");
    assert_eq!(
        (all.status, all.header("accept-ranges"), all.header("content-length")),
        (200, "bytes", size.to_string().as_str())
    );
    assert!(all.body == payload);
    let part = |range: &str| server.ask("GET", "/images/lab/payload", &[("range", range)], b"");
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        (format!("bytes=100-{}", size * 2), 100, size),
        ("bytes=300000-".into(), 300_000, size),
        ("bytes=-7".into(), size - 7, size),
    ] {
        let answer = part(&range);
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (206, format!("bytes {from}-{}/{size}", to - 1).as_str())
        );
        assert!(answer.body == payload[from..to], "{range}");
    }
    let beyond = part(&format!("bytes={size}-"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{size}").as_str()));
    assert_eq!(beyond.text(), format!("the file has {size} bytes\n"));
    let other = [("range", "bytes=0-3"), ("if-range", "\"another\"")];
    assert_eq!(server.ask("GET", "/images/lab/payload", &other, b"").status, 200);
    let head = server.ask("HEAD", "/images/lab/payload", &[], b"");
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, size.to_string().as_str(), 0)
    );

    assert_eq!(server.get("/images/lab/vmlinuz").text(), "the kernel of lab-root");
    assert_eq!(server.get("/images/lab/initrd").body, fs::read(w.path("cat/images/lab/initrd")).unwrap());
    for (path, sentence) in [
        ("/images/nope/vmlinuz", "no image 'nope' on this server: there are lab\n"),
        ("/images/..%2f..%2fetc/passwd", "no image '../../etc' on this server: there are lab\n"),
        (
            "/images/lab/manifest.toml",
            "image 'lab' has no such file: it has vmlinuz, initrd, payload, lab.torrent, addon, own, sums, lab.statement and lab.statement.minisig\n",
        ),
        ("/x", "there is nothing at /x on this BootTorrent server\n"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (404, sentence));
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn torrent_names_the_tracker_that_the_client_sees() {
    let w = World::new();
    let server = seeding(&w, &[]);
    let answer = server.get("/images/lab/lab.torrent");
    let torrent = swarm::Metainfo::parse(answer.body).unwrap();
    assert_eq!(torrent.trackers(), [format!("http://{}/announce", server.http)]);
    assert_eq!(torrent.infohash().0, infohash(&server));
}

#[test]
fn boot_script() {
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let host = server.http;
    let none = server.get("/boot.ipxe").text();
    assert!(
        none.starts_with(&format!("#!ipxe\necho BootTorrent: there is no image on {host} yet: ")),
        "{none}"
    );
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--append", "quiet"]).good();
    // Noticed while it runs.
    let one = until("the image", || {
        Some(server.get("/boot.ipxe?mac=52:54:00:00:00:01&platform=efi").text()).filter(|t| *t != none)
    });
    let hash: String = infohash(&server).iter().map(|b| format!("{b:02x}")).collect();
    // Each question has a secret of its own.
    let (head, rest) = one.split_once(" boottorrent.secret=").expect("a secret");
    let (secret, rest) = rest.split_at(52);
    assert!(secret.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    let one = format!("{head}{rest}");
    assert!(
        one.contains(&format!(
            "\nkernel http://{host}/images/lab/vmlinuz?infohash={hash} initrd=initrd.img boot=boottorrent ip=dhcp BOOTIF=01-${{mac:hexhyp}} \
             boottorrent.server={host} boottorrent.image=lab boottorrent.infohash={hash} quiet || goto failed\n\
             initrd --name initrd.img http://{host}/images/lab/initrd?infohash={hash} || goto failed\nboot || goto failed\n"
        )),
        "{one}"
    );
    w.run(&["image", "add", "lab.squashfs", "--name", "two"]).good();
    until("the menu", || {
        server.get("/boot.ipxe").text().contains("choose --default two --timeout 10000").then_some(())
    });
    assert!(server.get("/boot.ipxe?image=lab").text().contains("images/lab/vmlinuz"));
    assert!(
        server
            .get("/boot.ipxe?image=x")
            .text()
            .contains(&format!("echo BootTorrent: no image x on {host}, there are: lab two\n"))
    );
    w.run(&["image", "remove", "two"]).good();
    until("no menu", || (!server.get("/boot.ipxe").text().contains("choose")).then_some(()));
}

#[test]
fn tracker_and_seeder() {
    let w = World::new();
    let server = seeding(&w, &[]);
    let hash = infohash(&server);
    let first = announce(&server, &hash, 1, "left=9&event=started&compact=1&ip=6.6.6.6");
    assert_eq!((first.status, first.header("content-type")), (200, "text/plain"));
    let head = b"d8:completei1e10:incompletei1e8:intervali30e12:min intervali15e5:peers6:";
    assert!(first.body.starts_with(head) && first.body.len() == head.len() + 7, "{}", first.text());
    let peer = &first.body[head.len()..head.len() + 6];
    assert_eq!(peer[..4], [127, 0, 0, 1]);
    let peer_port = u16::from_be_bytes([peer[4], peer[5]]);
    handshake(peer_port, &hash);

    let second = announce(&server, &hash, 2, "left=0&compact=0").text();
    assert!(
        second.contains("5:peersld2:ip9:127.0.0.17:peer id20:\u{1}\u{1}")
            && second.contains("4:porti7001eee"),
        "{second}"
    );
    let gone = announce(&server, &hash, 1, "left=9&event=stopped");
    assert!(gone.body.ends_with(b"5:peers0:e"), "{}", gone.text());
    let mut scrape = b"d5:filesd20:".to_vec();
    scrape.extend(hash);
    scrape.extend(b"d8:completei2e10:downloadedi0e10:incompletei0eeee");
    assert_eq!(server.get("/scrape").body, scrape);

    let unknown = announce(&server, &[7; 20], 1, "left=9").text();
    assert_eq!(
        unknown,
        format!("d14:failure reason{}:no image here has the infohash {}e", 71, "07".repeat(20))
    );
    assert_eq!(server.get("/announce").text(), "d14:failure reason20:info_hash is missinge");
}

/// A running server takes a new priority, and goes on seeding what it seeds.
#[test]
fn priority_of_a_running_image() {
    let w = World::new();
    let server = seeding(&w, &["--seeder", "dealing"]);
    let priority = || json(&server.get("/api/v1/images"))[0]["priority"].as_u64();
    assert_eq!(priority(), Some(5));
    w.run(&["image", "set", "lab", "--priority", "8"]).good();
    until("the new priority", || (priority() == Some(8)).then_some(()));
    assert_eq!(json(&server.get("/api/v1/health"))["seeding"], 1);
}

/// The seeder answers a BitTorrent handshake for this torrent.
fn handshake(port: u16, hash: &[u8; 20]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hello = [b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0", &hash[..], b"-TT0000-abcdefghijkl"].concat();
    stream.write_all(&hello).unwrap();
    let mut answer = [0; 68];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[28..48], hash);
}

#[test]
fn without_seeder_and_payload() {
    let w = World::new();
    let server = seeding(&w, &["--no-seed", "--no-payload"]);
    let payload = server.get("/images/lab/payload");
    assert_eq!((payload.status, payload.text().as_str()), (404, "payload endpoint is off\n"));
    assert_eq!(server.get("/images/lab/vmlinuz").status, 200);
    let alone = announce(&server, &infohash(&server), 1, "left=9");
    assert!(alone.body.ends_with(b"5:peers0:e"), "{}", alone.text());
}

#[test]
fn heartbeats_status_and_removal() {
    let w = World::new();
    let server = seeding(&w, &["--no-seed"]);
    let url = format!("http://{}", server.http);
    let status = |args: &[&str]| w.run(&[&["status", "--server", &url][..], args].concat());
    assert_eq!(status(&[]).good(), "no machine has reported yet\n");
    let hash = json(&server.get("/api/v1/images"))[0]["infohash"].clone();
    let heartbeat = |id: &str, phase: &str| {
        let body = json!({
            "id": id, "hostname": "pc\u{1b}[1m", "image": "lab", "infohash": hash, "phase": phase, "uptime": 12.5,
            "progress": {"have": 50, "total": 100, "from_server": 20 << 20, "from_peers": 30 << 20},
        });
        server.beat(body)
    };
    assert_eq!(heartbeat("52:54:00:00:00:01", "download").status, 204);
    assert_eq!(heartbeat("52:54:00:00:00:01", "seed").status, 204);
    assert_eq!(heartbeat("52:54:00:00:00:01", "seed").status, 429);
    let clients = json(&server.get("/api/v1/clients"));
    assert_eq!(
        (&clients[0]["hostname"], &clients[0]["phase"], &clients[0]["gone"]),
        (&json!("pc[1m"), &json!("booted"), &json!(false))
    );
    assert_eq!(clients[0]["remote"], "127.0.0.1");
    let table = status(&[]).good();
    assert!(table.contains("52:54:00:00:00:01 (pc[1m)  127.0.0.1  lab    booted  50 %"), "{table}");
    assert_eq!(
        serde_json::from_str::<Value>(&status(&["--json"]).good()).unwrap()[0]["id"],
        "52:54:00:00:00:01"
    );

    let big = server.ask("POST", "/api/v1/heartbeat", JSON, &[b' '; 20_000]);
    assert_eq!((big.status, big.text().as_str()), (413, "a heartbeat has at most 16384 bytes\n"));
    assert_eq!(server.ask("POST", "/api/v1/heartbeat", JSON, b"{").status, 400);

    let remove = ["image", "remove", "lab", "--server", &url];
    w.run(&remove).refused("image 'lab' is in use by pc[1m: shut them down first, or give --force");
    w.run(&[&remove[..], &["--force"]].concat()).good();
    drop(server);
    let gone = status(&[]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.starts_with(&format!("boottorrent: asking {url}/api/v1/clients: ")), "{}", gone.err);
}

#[test]
fn says_ready_to_systemd_and_stops_clean() {
    let w = World::new();
    let socket = UnixDatagram::bind(w.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = w.command(&["serve", "--listen", "127.0.0.1:0", "--no-seed"]);
    let mut child =
        command.env("NOTIFY_SOCKET", w.path("notify")).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut buf = [0; 100];
    let n = socket.recv(&mut buf).unwrap();
    assert_eq!(&buf[..n], b"READY=1");
    common::signal(&child, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let n = socket.recv(&mut buf).unwrap();
    assert_eq!(&buf[..n], b"STOPPING=1");
}

#[test]
fn a_port_that_is_taken() {
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let said = w.run(&["serve", "--no-seed", "--listen", &server.http.to_string()]);
    assert_eq!(said.code, Some(1));
    let sentence =
        format!("boottorrent: listening on {}: Address already in use (os error 98)\n", server.http);
    assert!(said.err.ends_with(&sentence), "{}", said.err);
}

/// The way of an admin, by the program: shown, written, checked, taken back.
#[test]
fn setup_by_the_program() {
    let w = World::new();
    for dir in ["dnsmasq.d", "ipxe"] {
        fs::create_dir(w.path(dir)).unwrap();
    }
    w.write("ipxe/undionly.kpxe", "bios");
    w.write("ipxe/snponly.efi", "efi");
    w.write("dnsmasq.d/lan.conf", "domain=lan\n");
    let args = |more: &[&str]| {
        let dirs =
            ["--dnsmasq-dir", "dnsmasq.d", "--lib-dir", ".", "--subnet", "192.168.7.0/24"].map(str::to_owned);
        let tftp = ["--tftp-root".to_owned(), w.shown("tftp")];
        let args = [
            &["setup".to_owned()][..],
            &dirs,
            &tftp,
            &more.iter().map(|m| m.to_string()).collect::<Vec<_>>(),
        ]
        .concat();
        w.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let shown = args(&[]).good();
    assert!(shown.contains("dhcp-range=192.168.7.0,proxy,255.255.255.0\n"), "{shown}");
    assert!(
        shown.ends_with("checked with `dnsmasq --test`; nothing is written yet: add --write\n"),
        "{shown}"
    );
    assert!(!w.path("dnsmasq.d/boottorrent.conf").exists() && !w.path("tftp").exists());
    let written = args(&["--write"]).good();
    assert!(written.contains("now run: systemctl restart dnsmasq\nthen watch machines: "), "{written}");
    assert_eq!(fs::read_to_string(w.path("tftp/boottorrent/snponly.efi")).unwrap(), "efi");
    tool("dnsmasq", &["--test", "--conf-file=/dev/null", &format!("--conf-dir={}", w.shown("dnsmasq.d"))]);
    args(&["--write"]).good();
    let removed = args(&["--remove"]).good();
    assert_eq!(removed.lines().count(), 6, "{removed}");
    assert!(!w.path("tftp").exists() && w.path("dnsmasq.d/lan.conf").exists());
    args(&["--remove"])
        .refused("there is nothing to remove: `boottorrent setup --write` has written nothing here");
}

/// Boot loaders read HTTP by hand: the name of a header as the standard's examples write it, and no port in `Host`.
#[test]
fn what_grub_asks_and_reads() {
    let w = World::new();
    let server = seeding(&w, &["--no-seed"]);
    let ask = |path: &str, host: &str| {
        let mut stream = std::net::TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: GRUB 2.12\r\n\r\n").as_bytes(),
        )
        .unwrap();
        // The connection stays open: the length must be found.
        let (mut bytes, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            let n = std::io::Read::read(&mut stream, &mut buf).unwrap();
            bytes.extend_from_slice(&buf[..n]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let length = head.split_once("\r\nContent-Length: ").unwrap_or_else(|| panic!("{head}")).1;
            if body.len() >= length.split("\r\n").next().unwrap().parse::<usize>().unwrap() {
                return body.to_owned();
            }
        }
    };
    let port = server.http.port();
    for host in ["10.0.0.1", &format!("10.0.0.1:{port}")] {
        let config = ask("/grub.cfg", host);
        assert!(config.contains(&format!("(http,10.0.0.1:{port})/images/lab/vmlinuz?infohash=")), "{config}");
        assert!(config.contains(&format!("boottorrent.server=10.0.0.1:{port}")), "{config}");
    }
    assert!(ask("/grub.cfg", "x").contains(&format!("(http,127.0.0.1:{port})")));
    // For others no port is port 80, as behind a redirection.
    assert!(ask("/boot.ipxe", "10.0.0.1").contains("http://10.0.0.1:80/images/lab/vmlinuz"));
    ask("/images/lab/vmlinuz", "10.0.0.1");
}

/// A boot goes on with the version that it began with, or begins again.
#[test]
fn kernel_and_initrd_of_one_version() {
    let w = World::new();
    let server = seeding(&w, &["--no-seed"]);
    let script = server.get("/boot.ipxe").text();
    let urls: Vec<String> = script
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(&format!("http://{}", server.http)))
        .filter(|path| path.starts_with("/images/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(urls.len(), 2, "{script}");
    let first: Vec<Vec<u8>> = urls.iter().map(|u| server.get(u).body).collect();
    let old = infohash(&server);
    w.write("lab-root/etc/new", "new");
    w.write(&format!("lab-root/boot/vmlinuz-{KERNEL}"), "another kernel");
    fs::remove_file(w.path("lab.squashfs")).unwrap();
    common::tool("mksquashfs", &[&w.shown("lab-root"), &w.shown("lab.squashfs"), "-quiet", "-no-progress"]);
    w.run(&["image", "add", "lab.squashfs", "--replace"]).good();
    until("the new one", || (infohash(&server) != old).then_some(()));
    let again: Vec<Vec<u8>> = urls.iter().map(|u| server.get(u).body).collect();
    assert_eq!(again, first, "what was begun goes on");
    assert_eq!(server.get("/images/lab/vmlinuz").text(), "another kernel");
    // Removed, it is still served to those who have begun; after a restart it is gone for good.
    w.run(&["image", "remove", "lab@1", "--yes"]).good();
    let again: Vec<Vec<u8>> = urls.iter().map(|u| server.get(u).body).collect();
    assert_eq!(again, first, "what was begun goes on");
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&w, &["--no-seed"]);
    for url in urls {
        let gone = server.get(&url);
        assert_eq!(gone.status, 410, "{url}");
        assert!(
            gone.text().ends_with(" is not here any more: ask for the boot script again\n"),
            "{}",
            gone.text()
        );
    }
}
