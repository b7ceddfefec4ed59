// SPDX-License-Identifier: GPL-3.0-or-later
//! Hostile hosts against a running server: while they do what they do, others are answered soon, and it stays small.
//! (What they do to the swarm is in swarm/tests/hostile.rs.)
#![allow(missing_docs)]

#[path = "common/certificate.rs"]
mod certificate;
mod common;

use common::{Server, World, connect_from, until};
use nix::{
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One attack at a time: what it costs is to be seen.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the server may take, in MiB.
const MOST: u64 = 150;

/// Its memory now, in MiB.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    // Not the pages of the program itself, which are larger with each feature, above all when it is built for tests.
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Another host asks whether all is well, again and again.
#[track_caller]
fn all_is_well(server: &Server, what: &str) {
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let mut stream = connect_from([127, 0, 0, 200].into(), server.http);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"status\":\"ok\""), "{what}: {answer}");
        slowest = slowest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    // A second, on a machine that has something else to do as well.
    assert!(slowest < Duration::from_secs(5), "{what}: {slowest:?}");
    let now = memory(server);
    eprintln!("{what}: {now} MiB");
    assert!(now < MOST, "{what}: {now} MiB");
}

fn host(n: u8) -> IpAddr {
    [127, 0, 1, n].into()
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // It may have hung up on us: that is its right.
    let _ = stream.write_all(bytes);
}

/// A heartbeat as large as can be, of a machine that there is not.
fn made_up(n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    let wide = "\u{1f600}".repeat(60);
    let log = vec![format!("\"{wide}\""); 20].join(",");
    let phases = vec![r#"{"phase":"download","at":1234567.125}"#; 32].join(",");
    let body = format!(
        "{{\"id\":\"52:54:00:{a:02x}:{b:02x}:{c:02x}\",\"hostname\":\"{wide}{wide}\",\"address\":\"{wide}{wide}\",\"image\":\"{wide}{wide}\",\
         \"version\":\"{wide}{wide}\",\"error\":\"{0}\",\"phases\":[{phases}],\"log\":[{log}]}}",
        wide.repeat(8)
    );
    assert!(body.len() < 16_384, "{}", body.len());
    format!(
        "POST /api/v1/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// 4096 machines that there are not, as large as they can be.
fn crowd(server: &Server) {
    let mut stream = connect_from(host(1), server.http);
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    (0..4096).for_each(|n| send(&mut stream, made_up(n).as_bytes()));
    let all =
        || server.get("/metrics").text().contains("boottorrent_heartbeats_total{result=\"taken\"} 4096");
    until("all are there", || all().then_some(()));
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = reader.join();
}

#[test]
fn answers_that_nobody_reads() {
    let _alone = alone();
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    crowd(&server);
    all_is_well(&server, "a crowd");
    let mut held = Vec::new();
    for path in ["clients", "images", "stats", "events", "hosts", "clients/52:54:00:00:00:01"] {
        for n in 0..80 {
            let mut stream = connect_from(host(2 + n / 40), server.http);
            // Twenty questions at once, and no answer is read.
            let ask = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(20);
            send(&mut stream, ask.as_bytes());
            held.push(stream);
        }
        all_is_well(&server, path);
    }
    // Who reads gets all of it.
    let list: serde_json::Value = serde_json::from_str(&server.get("/api/v1/clients").text()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 4096);
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0), "SIGTERM is heeded");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Heads without an end, connections without a word, and all that many addresses can hold.
#[test]
fn heads_without_an_end() {
    let _alone = alone();
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let mut held = Vec::new();
    for n in 0..512_u32 {
        let mut stream = connect_from(host(1 + (n / 250) as u8), server.http);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        send(&mut stream, format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(400_000)).as_bytes());
        held.push(stream);
    }
    all_is_well(&server, "heads");
    // From one address: who has been silent makes room for who comes.
    let silent: Vec<TcpStream> = (0..300).map(|_| connect_from(host(9), server.http)).collect();
    std::thread::sleep(Duration::from_millis(2500));
    let mut late = connect_from(host(9), server.http);
    late.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    send(&mut late, b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"status\":\"ok\""), "{answer}");
    drop((held, silent));
}

/// Many connections from as many addresses as there may be of one host: those that say nothing make room.
#[test]
fn all_places_taken() {
    let _alone = alone();
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most).unwrap();
    if most < 20_000 {
        eprintln!("skipped: at most {most} files");
        return;
    }
    // 33 addresses, 256 each: more than all 8192 places.
    let mut held = Vec::new();
    for n in 0..33_u8 {
        held.extend((0..256).map(|_| connect_from([127, 0, 2, n].into(), server.http)));
        // More at once than the kernel queues would be called again after a second.
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(2500));
    all_is_well(&server, "all places taken");
}

#[test]
fn tls_that_does_not_begin() {
    let _alone = alone();
    let w = World::new();
    certificate::certificate(&w, "lab", "IP:127.0.0.1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (key, cert) = (w.shown("lab.key"), w.shown("lab.pem"));
    w.write(
        "server.toml",
        format!("[catalogue]\nsources = []\n[serve]\ntls-cert = {cert:?}\ntls-key = {key:?}\ntls-listen = \"127.0.0.1:{port}\"\n"),
    );
    let server = Server::start(&w, &["--no-seed"]);
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    // Some say nothing, some the beginning of a hello and then nothing.
    let mut held: Vec<TcpStream> = (0..200).map(|_| connect_from(host(1), to)).collect();
    for n in 0..7 {
        for _ in 0..30 {
            let mut stream = connect_from(host(2 + n), to);
            send(&mut stream, &[22, 3, 1, 2, 0, 1]);
            held.push(stream);
        }
    }
    // Before, each question took as long as those may be silent: 10 s. (curl 7.88 sometimes loses a connection that
    // takes a moment, with "getpeername() failed".)
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--interface", "127.0.0.77", "--cacert", "lab.ca.crt"])
        .arg(format!("https://127.0.0.1:{port}/api/v1/health"))
        .current_dir(&w.dir);
    let took = until("an answer over TLS", || {
        let began = Instant::now();
        let out = curl.output().unwrap();
        String::from_utf8_lossy(&out.stdout).contains("\"status\":\"ok\"").then(|| began.elapsed())
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    all_is_well(&server, "TLS");
    drop(held);
}

/// Whatever has brought the server to a standstill: its threads are stopped one by one, but for the one that listens for
/// SIGTERM.
#[test]
fn sigterm_ends_a_server_that_stands_still() {
    let w = World::new();
    let server = Server::start(&w, &["--no-seed"]);
    let pid = Pid::from_raw(server.child.id() as i32);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut stopped = 0;
    for task in tasks.map(|t| t.unwrap().path()) {
        if fs::read_to_string(task.join("comm")).unwrap().trim() != "sigterm" {
            let thread = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            stopped += 1;
        }
    }
    assert!(stopped > 1, "{stopped}");
    common::signal(&server.child, Signal::SIGTERM);
    let began = Instant::now();
    // Whoever traces must hear of the end of each thread before that of the process.
    let end = loop {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG))
            .unwrap()
        {
            end @ (WaitStatus::Exited(who, _) | WaitStatus::Signaled(who, ..)) if who == pid => break end,
            _ if began.elapsed() > Duration::from_secs(20) => common::signal(&server.child, Signal::SIGKILL),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(matches!(end, WaitStatus::Signaled(_, Signal::SIGTERM, _)), "it had to be killed: {end:?}");
}
