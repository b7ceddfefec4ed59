// SPDX-License-Identifier: GPL-3.0-or-later
//! The screen in a real terminal, with keys only.
#![allow(missing_docs)]

mod common;
#[path = "common/seeder.rs"]
mod seeder;
#[path = "common/tmux.rs"]
mod tmux;

use common::{Server, World, until};
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};
use seeder::{Seeder, torrent};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt,
    process::{Command, Stdio},
    time::Duration,
};
use tmux::Tmux;

/// The program on a shell's command line, with a world's catalogue; what it leaves is in `after`.
fn command(w: &World, environment: &str) -> String {
    let (program, config, cat) = (env!("CARGO_BIN_EXE_boottorrent"), w.shown("server.toml"), w.shown("cat"));
    let before = w.shown("before");
    format!(
        "clear; stty -g >{before}; {environment} {program} --config {config} --dir {cat}; echo left $?; stty -g | cmp - {before} && echo as found"
    )
}

/// A server that the screen finds by its socket, with a catalogue of sources of its own.
fn start(w: &World) -> Server {
    // Nobody listens on port 1: a screen without a server finds no other one.
    w.write(
        "server.toml",
        format!("[serve]\nlisten = \"127.0.0.1:1\"\n[catalogue]\nsources = [\"{}\"]\n", w.shown("sources")),
    );
    Server::start(w, &[])
}

/// A web server with one file, which takes about two seconds for it.
fn mirror(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serve = move |mut socket: TcpStream| -> std::io::Result<()> {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            asked.push(byte[0]);
        }
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
        if asked.starts_with(b"GET") {
            for chunk in bytes.chunks(bytes.len() / 20 + 1) {
                socket.write_all(chunk)?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    };
    // Who hangs up has what it wanted.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(serve(socket))));
    at
}

/// A seeder of a torrent with an image in it, and the magnet link that names it.
fn swarm_of(w: &World, image: &[u8]) -> (Seeder, String) {
    w.write("seed/dist/live.squashfs", image);
    w.write("seed/dist/README", "read me");
    let (torrent, hash) = torrent(&w.path("seed/dist"), "http://127.0.0.1:1/announce");
    let (seeder, port) = Seeder::start(&w.path("seed"), &w.write("dist.torrent", torrent));
    (seeder, format!("magnet:?xt=urn:btih:{hash}&dn=dist&x.pe=127.0.0.1:{port}"))
}

/// From the catalogue of sources: filter, choose, download, verify, publish; and what is wrong is refused.
#[test]
fn fetched_with_keys_only() {
    let w = World::new();
    let bytes = std::fs::read(w.squashfs("lab")).unwrap();
    let (_seeder, magnet) = swarm_of(&w, &bytes);
    w.write(
        "sources/by-torrent.toml",
        format!("description = \"A root\"\ntorrent = \"{magnet}\"\nfile = \"*.squashfs\"\n"),
    );
    let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let url = format!("http://{}/demo.squashfs", mirror(bytes));
    for (name, sum) in [("demo-kde", sum.clone()), ("demo-gnome", sum.clone()), ("forged", "7".repeat(64))] {
        let text =
            format!("description = \"A small root\"\nsize = \"700K\"\nurl = \"{url}\"\nsha256 = \"{sum}\"\n");
        w.write(&format!("sources/{name}.toml"), text);
    }
    let server = start(&w);
    let t = Tmux::new(80, 24);
    t.run(&command(&w, ""));
    t.sees("There is no image yet.");
    t.keys(&["f"]);
    t.sees("4 of 4 with:");
    t.text("demo kd");
    t.until("one source", |s| s.contains("1 of 4 with: demo kd_") && s.contains("> demo-kde"));
    t.keys(&["Enter"]);
    t.until("its progress", |s| s.contains("demo-kde") && s.contains('█') && s.contains(" %"));
    t.until("the image", |s| s.contains("> demo-kde  squashfs") && s.contains("published"));
    t.until("the fetch is over", |s| !s.contains("  fetch  "));
    t.keys(&["f"]);
    t.text("forg");
    t.sees("1 of 4 with: forg_");
    t.keys(&["Enter"]);
    t.sees("failed: ");
    t.keys(&["Down", "Enter"]);
    let screen = t.sees("fetch of");
    assert!(screen.contains("77777777"), "{screen}");
    // Together they would be another key: Alt-x.
    t.keys(&["Escape"]);
    t.until("the list", |s| !s.contains("fetch of"));
    t.keys(&["x"]);
    t.until("it is forgotten", |s| !s.contains("forged"));
    t.keys(&["Up", "x", "y"]);
    t.sees("There is no image yet.");
    // The same over BitTorrent.
    t.keys(&["f"]);
    t.text("by-t");
    t.sees("1 of 4 with: by-t_");
    t.keys(&["Enter"]);
    t.until("the image", |s| s.contains("> by-torrent  squashfs") && s.contains("published"));
    t.until("the fetch is over", |s| !s.contains("  fetch  "));
    t.keys(&["x", "y"]);
    t.sees("There is no image yet.");
    until("it is not served", || (server.get("/api/v1/images").text() == "[]").then_some(()));
}

fn beat(server: &Server, id: &str, phase: &str, have: u64, hash: &Value) {
    let body = json!({"id": id, "hostname": "pc\u{1b}[31m1", "image": "lab", "infohash": hash, "phase": phase, "uptime": 0.5,
        "log": ["    0.10 network: eth0 has 10.0.0.9", "    0.40 image \u{1b}[31mlab: 100 bytes"],
        "progress": {"have": have, "total": 100, "down_rate": 11_000_000, "from_peers": 3 << 20}});
    let answer = server.beat(body);
    assert_eq!(answer.status, 204);
}

/// From an empty catalogue to a machine that has booted, and back.
#[test]
fn a_day_with_keys_only() {
    let w = World::new();
    let image = w.squashfs("lab").display().to_string();
    let server = start(&w);
    let t = Tmux::new(80, 24);
    t.run(&command(&w, ""));
    t.sees("There is no image yet.");
    t.keys(&["a"]);
    t.sees("Add which file?");
    t.text(w.path("").to_str().unwrap());
    t.keys(&["Enter"]);
    t.until("the folder", |s| s.contains("lab.squashfs") && s.contains("../"));
    t.text(&image);
    t.keys(&["Enter"]);
    t.sees("The image's name");
    t.keys(&["Enter"]);
    t.until("the image", |s| s.contains("> lab    squashfs") && s.contains("published"));
    let hash =
        serde_json::from_str::<Value>(&server.get("/api/v1/images").text()).unwrap()[0]["infohash"].clone();

    t.keys(&["2"]);
    t.sees("No machine has reported yet.");
    beat(&server, "52:54:00:00:00:01", "download", 42, &hash);
    t.sees("> pc[31m1  lab    download  ████░░░░░░  42 %  11.0 MB/s");
    beat(&server, "52:54:00:00:00:01", "seed", 100, &hash);
    t.sees("booted  ██████████ 100 %");
    t.keys(&["a"]);
    t.sees("Which image for pc[31m1?");
    t.text("la");
    t.keys(&["Enter"]);
    t.sees("pc[31m1 boots 'lab' the next time (z takes it back)");
    t.keys(&["o"]);
    t.sees("Which image for pc[31m1, once?");
    t.keys(&["Enter"]);
    t.sees("pc[31m1 boots 'lab' the next time, and only then");
    edited(&w, &t);
    t.keys(&["Enter"]);
    t.sees("booted in");
    t.sees("    0.40 image [31mlab: 100 bytes");
    t.keys(&["Escape"]);
    t.until("the list", |s| !s.contains("booted in"));

    // A larger terminal, a smaller one, and one that is almost nothing.
    t.resize(200, 60);
    t.until("more columns", |s| s.contains("FROM MACHINES") && s.contains("booted in"));
    t.until("the log beside them", |s| s.contains("0.40 image [31mlab: 100 bytes"));
    t.resize(20, 5);
    t.resize(80, 24);
    t.until("as before", |s| s.contains("FROM SERVER") && s.contains("q quit"));
    t.keys(&["3"]);
    t.sees("machines receive: ");
    assert!(t.screen().contains("machines received 3.00 MiB (100 % from each other)"), "{}", t.screen());

    t.keys(&["1", "d"]);
    t.sees("The default is none now.");
    t.keys(&["y"]);
    t.sees("published, default");
    t.keys(&["r", "C-u"]);
    t.text("exam");
    t.keys(&["Enter"]);
    t.sees("> exam   squashfs");
    t.keys(&["x"]);
    t.sees("One machine runs it: pc[31m1.");
    t.keys(&["n"]);
    t.until("no question", |s| !s.contains("run it"));
    t.keys(&["x", "y"]);
    t.sees("There is no image yet.");
    until("it is not served", || (server.get("/api/v1/images").text() == "[]").then_some(()));
    assert!(!w.path("cat/images/exam").exists());

    assert_eq!(server.stop(), Some(0));
    t.sees("systemctl start boottorrent-server");
    t.keys(&["q"]);
    t.sees("left 0\nas found");
}

/// What is set for the machine, as the commands tell it.
fn said(w: &World) -> Value {
    let out = w.run(&["host", "list", "--json"]);
    serde_json::from_str(&out.out).unwrap()
}

/// A name and a group, the second taken back; a mark, by the mouse.
fn edited(w: &World, t: &Tmux) {
    t.keys(&["e"]);
    t.sees("Change what of pc[31m1?");
    t.text("name");
    t.keys(&["Enter"]);
    t.sees("Its host name too");
    t.text("pc-01");
    t.keys(&["Enter"]);
    t.sees("pc[31m1 is 'pc-01' now");
    t.sees("> pc-01 ");
    t.keys(&["e"]);
    t.text("group");
    t.keys(&["Enter"]);
    t.sees("no group");
    t.text("room1");
    t.keys(&["Enter"]);
    t.sees("pc-01 is in group 'room1' now");
    assert!(said(w).to_string().contains("\"group\":\"room1\""), "{}", said(w));
    t.keys(&["z"]);
    t.sees("taken back: pc-01 is in group 'room1' now");
    let rest = said(w).to_string();
    assert!(!rest.contains("room1") && rest.contains("pc-01") && rest.contains("\"once\":\"lab\""), "{rest}");
    // The right button on the first row, as xterm sends it (SGR, 1-based).
    t.text("\u{1b}[<2;5;3M\u{1b}[<2;5;3m");
    t.sees("1 machine is marked");
    t.sees(">*pc-01");
    t.keys(&["Escape"]);
    t.until("no mark", |s| !s.contains("marked"));
    // As it was for what follows.
    t.keys(&["e"]);
    t.text("name");
    t.keys(&["Enter", "C-u", "Enter"]);
    t.sees("pc-01 has no name of its own any more");
    t.sees("> pc[31m1");
}

/// Killed, hung up, interrupted: the terminal is as it was, and so is what stood on it.
#[test]
fn the_terminal_is_left_as_found() {
    let w = World::new();
    let _server = start(&w);
    let t = Tmux::new(80, 24);
    let modes = t.modes();
    for (environment, signal) in
        [("", "TERM"), ("", "HUP"), ("", "INT"), ("NO_COLOR=1", "QUIT"), ("TERM=vt220 LC_ALL=C", "TERM")]
    {
        t.run(&format!("{} # {signal}", command(&w, environment)));
        t.sees("There is no image yet.");
        assert_ne!(t.modes(), modes, "{signal}: the cursor is hidden");
        // The shell's only child.
        let shell = t.call(&["display-message", "-p", "#{pane_pid}"]);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
        let pid = nix::unistd::Pid::from_raw(children.trim().parse().unwrap());
        nix::sys::signal::kill(pid, format!("SIG{signal}").parse::<nix::sys::signal::Signal>().unwrap())
            .unwrap();
        let screen = t.sees("as found");
        assert_eq!(t.modes(), modes, "{signal}");
        if environment != "TERM=vt220 LC_ALL=C" {
            assert!(screen.contains(&format!("# {signal}\n")) || screen.contains("left 0"), "{screen}");
            assert!(!screen.contains("There is no image"), "{screen}");
        }
    }
}

/// A terminal goes away, and no SIGHUP says so: it was not the one that controls the screen's session.
#[test]
fn a_terminal_that_is_gone_is_the_end() {
    let w = World::new();
    let _server = start(&w);
    // Closed on exec: nobody else holds the window.
    let window = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&window).and_then(|()| unlockpt(&window)).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&window).unwrap())
        .unwrap();
    let end = || Stdio::from(terminal.try_clone().unwrap());
    let mut screen = Command::new(env!("CARGO_BIN_EXE_boottorrent"))
        .args(["--config", &w.shown("server.toml"), "--dir", &w.shown("cat")])
        .env("TERM", "xterm")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let (mut shown, mut window) = (Vec::new(), window);
    while !String::from_utf8_lossy(&shown).contains("There is no image yet.") {
        let mut some = [0; 4096];
        let n = window.read(&mut some).unwrap();
        shown.extend_from_slice(&some[..n]);
    }
    drop((window, terminal));
    let ended = until("it ends by itself", || screen.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

/// Colours are for terminals that have them and people who want them; a plain locale gets plain letters.
#[test]
fn without_colours_and_in_ascii() {
    let w = World::new();
    let server = start(&w);
    beat(&server, "52:54:00:00:00:01", "download", 50, &Value::Null);
    let colours = |screen: &str| ["\u{1b}[36m", "38;5;6m"].iter().any(|c| screen.contains(c));
    for (environment, coloured, ascii) in [
        ("TERM=xterm-256color LC_ALL=C.UTF-8", true, false),
        ("NO_COLOR=1 LC_ALL=C.UTF-8", false, false),
        ("TERM=vt220 LC_ALL=C.UTF-8", false, true),
        ("TERM=xterm LC_ALL=C", true, true),
    ] {
        let t = Tmux::new(80, 24);
        t.run(&command(&w, environment));
        t.sees("There is no image yet.");
        t.keys(&["2"]);
        let screen = t.until("the machine", |s| s.contains(" 50 %"));
        assert_eq!(screen.is_ascii(), ascii, "{environment}: {screen}");
        // The row that is selected is reversed, and so has no colour of its own.
        beat(
            &server,
            &format!("52:54:00:00:01:{coloured:01}{ascii:01}").replace("true", "1").replace("false", "0"),
            "download",
            60,
            &Value::Null,
        );
        t.sees(" 60 %");
        let raw = t.call(&["capture-pane", "-p", "-e"]);
        assert_eq!(colours(&raw), coloured, "{environment}: {raw:?}");
        t.keys(&["q"]);
        t.sees("as found");
    }
}

/// No terminal, no screen: help as ever, and a sentence for who insists.
#[test]
fn without_a_terminal() {
    let w = World::new();
    let said = w.run(&[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("Usage: boottorrent"), "{}", said.err);
    w.run(&["tui"]).refused(
        "the terminal UI needs a terminal: scripts can use the commands with --json (boottorrent --help)",
    );
}
