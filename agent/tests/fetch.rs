// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent fetch` by the real program, on 127.0.0.1: a few lines of
//! HTTP server here stand for `boottorrent serve`.

use bootspec::Progress;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use swarm::{CreateOptions, Metainfo, create};

const SIZE: usize = 3 << 20;

/// The payload: not the same in any two pieces.
fn payload() -> Vec<u8> {
    (0..SIZE as u32 / 4).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect()
}

fn torrent(name: &str) -> Metainfo {
    let options = CreateOptions { name: name.into(), private: true, piece_length: Some(64 << 10) };
    create(&mut payload().as_slice(), SIZE as u64, &options, &mut |_| {}).unwrap()
}

/// Serve the .torrent and ranges of the payload. Returns the torrent's URL.
fn serve(torrent: Metainfo) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/images/lab/lab.torrent", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let payload = payload();
        for stream in listener.incoming() {
            // Who has gone away needs no answer.
            let _ = answer(stream.unwrap(), &torrent, &payload);
        }
    });
    url
}

fn answer(mut stream: TcpStream, torrent: &Metainfo, payload: &[u8]) -> std::io::Result<()> {
    let head: Vec<String> =
        BufReader::new(&stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
    let range = head.iter().find_map(|l| {
        let l = l.to_lowercase();
        let (from, to) = l.strip_prefix("range: bytes=")?.split_once('-')?;
        Some(from.parse::<usize>().ok()?..=to.parse::<usize>().ok()?)
    });
    let (status, body) = match range {
        Some(range) => ("206 Partial Content", &payload[range]),
        None => ("200 OK", &torrent.bytes()[..]),
    };
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn fetch(url: &str, to: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boottorrent-agent"));
    command.args(["fetch", "--timeout", "60", "--torrent", url, "--to"]).arg(to).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, progress lines, and what it said.
fn end(output: Output) -> (i32, Vec<Progress>, String) {
    let lines = String::from_utf8(output.stdout).unwrap();
    let progress = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    (output.status.code().unwrap(), progress, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn into_a_folder_with_progress_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let lab = torrent(".lab: 1");
    let (hash, url) = (lab.infohash().to_string(), serve(lab));
    fs::write(dir.path().join("lab_ 1"), "an older version").unwrap();
    let flags =
        ["--infohash", &hash, "--port", "0", "--progress", "json", "--seed", "1s", "--down", "900KB/s"];
    let (code, progress, said) = end(fetch(&url, dir.path(), &flags).output().unwrap());
    assert_eq!(code, 0, "{said}");
    let file = dir.path().join("lab_ 1");
    assert!(fs::read(&file).unwrap() == payload(), "byte for byte");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");
    assert!(said.contains("boottorrent: seeding is over: 1 s have passed (--seed 1s)\n"), "{said}");
    assert!(!said.contains('%'), "no progress for people: {said}");
    let (first, last) = (progress.first().unwrap(), progress.last().unwrap());
    assert!(progress.len() >= 4 && first.have < first.total && last.have == SIZE as u64, "{progress:?}");
    assert!(progress.is_sorted_by_key(|p| p.have), "{progress:?}");
}

#[test]
fn goes_on_with_what_an_interrupted_run_left() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(torrent("lab"));
    let mut half = payload();
    half.truncate(SIZE / 2);
    fs::write(dir.path().join("lab.part"), half).unwrap();
    let (code, progress, said) = end(fetch(&url, dir.path(), &["--port", "0", "--json"]).output().unwrap());
    assert_eq!(code, 0, "{said}");
    assert!(fs::read(dir.path().join("lab")).unwrap() == payload(), "byte for byte");
    assert_eq!(progress[0].from_http, SIZE as u64 / 2, "{progress:?}");
}

/// server.md F12: a cache that is warmed again fetches nothing, or only what is wrong.
#[test]
fn onto_a_file_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(torrent("lab"));
    let file = dir.path().join("lab");
    fs::write(&file, payload()).unwrap();
    let before = fs::metadata(&file).unwrap().ino();
    let flags = ["--port", "0", "--json"];
    let (code, progress, said) = end(fetch(&url, dir.path(), &flags).output().unwrap());
    assert_eq!((code, progress[0].received()), (0, 0), "{said}");
    assert!(said.contains("is this image already: nothing is fetched"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().ino(), before, "the very file");

    let mut damaged = payload();
    damaged[SIZE / 2] ^= 1;
    fs::write(&file, damaged).unwrap();
    let (code, progress, said) = end(fetch(&url, dir.path(), &flags).output().unwrap());
    assert_eq!((code, progress[0].received()), (0, 64 << 10), "one piece: {said}");
    assert!(fs::read(&file).unwrap() == payload());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn refusals_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(torrent("lab"));
    let other = "0123456789012345678901234567890123456789";
    for (to, flags, code, why) in [
        ("x", &["--infohash", other][..], 12, "is not the image that this machine may boot"),
        ("no/", &[][..], 2, "/no/: create it first, or omit the trailing /\n"),
        ("x", &["--seed", "later"][..], 2, "'later' is not forever, off, a time such as 30m"),
    ] {
        let (ended, progress, said) = end(fetch(&url, &dir.path().join(to), flags).output().unwrap());
        assert!(ended == code && said.contains(why), "{ended}: {said}");
        assert!(progress.is_empty());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
}

/// One machine has the image over HTTP and seeds until it has sent it once; the other one has all from it.
#[test]
fn seeds_until_it_has_sent_enough() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(torrent("lab"));
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port().to_string();
    let to = dir.path().join("first");
    let first = fetch(&url, &to, &["--port", &port, "--json", "--seed", "ratio:1"]).spawn().unwrap();
    let begun = Instant::now();
    while !to.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the first one does not get it");
        std::thread::sleep(Duration::from_millis(50));
    }
    let peer = format!("127.0.0.1:{port}");
    let flags = ["--port", "0", "--no-http", "--json", "--peers", &peer];
    let (code, progress, said) = end(fetch(&url, &dir.path().join("second"), &flags).output().unwrap());
    assert_eq!((code, progress.len()), (0, 2), "{said}");
    let (code, progress, said) = end(first.wait_with_output().unwrap());
    assert_eq!((code, progress.len()), (0, 2), "--json: at completion, and at the end of seeding: {said}");
    assert!(progress[1].uploaded >= SIZE as u64, "{progress:?}");
    assert!(said.contains("seeding is over: this machine has sent 3."), "{said}");
}
