// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent boot`, the process that stays, by the real program, on 127.0.0.1 and in folders of its own: nothing is
//! mounted, and a folder stands for the disk that keeps images.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};
use swarm::{CreateOptions, Metainfo, create};

fn payload() -> Vec<u8> {
    (0..50_000u32).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect()
}

fn torrent() -> Metainfo {
    let options = CreateOptions { name: "lab".into(), private: true, piece_length: Some(64 << 10) };
    create(&mut payload().as_slice(), payload().len() as u64, &options, &mut |_| {}).unwrap()
}

/// A server that is there, and answers everything with this.
fn serve(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            BufReader::new(&stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|l| !l.is_empty())
                .for_each(drop);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
    });
    address
}

/// A machine with a disk labelled `images`, on which the image `lab` is complete.
fn machine(dir: &Path) {
    let disk = dir.join("run/disk/sda1/boottorrent");
    for folder in [&disk, &dir.join("dev/disk/by-label"), &dir.join("root")] {
        fs::create_dir_all(folder).unwrap();
    }
    let mut ext4 = vec![0; 128 << 10];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xEF]);
    fs::write(dir.join("dev/sda1"), ext4).unwrap();
    symlink("../../sda1", dir.join("dev/disk/by-label/images")).unwrap();
    let (lab, hash) = (torrent(), torrent().infohash());
    fs::write(disk.join(format!("{hash}.img")), payload()).unwrap();
    fs::write(disk.join(format!("{hash}.torrent")), lab.bytes()).unwrap();
    let state =
        format!(r#"{{"turn":1,"images":{{"{hash}":{{"name":"lab","used":1,"fetched":1000000000}}}}}}"#);
    fs::write(disk.join("state.json"), state).unwrap();
}

/// Boot, as far as the image is handed to the initrd's own scripts.
fn boot(dir: &Path, words: &str) -> Output {
    boot_by(Command::new(env!("CARGO_BIN_EXE_boottorrent-agent")), dir, words)
}

fn boot_by(mut command: Command, dir: &Path, words: &str) -> Output {
    fs::write(
        dir.join("cmdline"),
        format!(
            "boottorrent.image=lab boottorrent.target=LABEL=images boottorrent.kind=iso boottorrent.seed=off \
             boottorrent.report=off {words}\n"
        ),
    )
    .unwrap();
    fs::write(dir.join("run/net-lo.conf"), "DEVICE='lo'\nIPV4ADDR='127.0.0.1'\n").unwrap();
    fs::write(dir.join("kmsg"), "").unwrap();
    command.args(["boot", "--child", "--medium", "--port", "0"]);
    for (flag, path) in [
        ("--cmdline-file", "cmdline"),
        ("--run-dir", "run"),
        ("--net-dir", "run"),
        ("--dev-dir", "dev"),
        ("--root-mnt", "root"),
        ("--keys-dir", "keys"),
        ("--ca-dir", "ca"),
        ("--kmsg", "kmsg"),
    ] {
        command.arg(flag).arg(dir.join(path));
    }
    command.output().unwrap()
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("run/agent.log")).unwrap_or_default()
}

#[test]
fn a_kept_image_boots_when_the_server_has_none_of_that_name() {
    for (status, body) in [("404 Not Found", ""), ("403 Forbidden", ""), ("200 OK", "this is not a .torrent")]
    {
        let dir = tempfile::tempdir().unwrap();
        machine(dir.path());
        let server = serve(status, body);
        let ended = boot(dir.path(), &format!("boottorrent.server=http://{server}"));
        let log = log(dir.path());
        assert!(log.contains(": booting lab as it was fetched on 2001-09-09"), "{status}: {log}");
        assert_eq!(ended.stdout.first(), Some(&0), "{status}: {log}");
        let medium = fs::read_to_string(dir.path().join("run/medium")).unwrap();
        assert!(fs::read(medium.trim()).unwrap() == payload());
    }
}

/// Who pins an image boots that one or none.
#[test]
fn another_image_than_the_pinned_one_does_not_boot() {
    let dir = tempfile::tempdir().unwrap();
    machine(dir.path());
    let server = serve("404 Not Found", "");
    let pin = "0123456789012345678901234567890123456789";
    let ended = boot(dir.path(), &format!("boottorrent.server=http://{server} boottorrent.infohash={pin}"));
    assert_eq!(ended.stdout.first(), Some(&11), "{}", log(dir.path()));
}

/// What is written to the disk is there after a power cut: the file is synced before it gets its name, its folder afterwards.
#[test]
fn what_is_kept_is_synced_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    machine(dir.path());
    let server = serve("404 Not Found", "");
    let calls = dir.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--decode-fds=path", "--trace=rename,renameat,renameat2,fsync,fdatasync"]);
    strace.arg("--output").arg(&calls).arg(env!("CARGO_BIN_EXE_boottorrent-agent"));
    let ended = boot_by(strace, dir.path(), &format!("boottorrent.server=http://{server}"));
    assert_eq!(ended.stdout.first(), Some(&0), "{}", log(dir.path()));

    let calls = fs::read_to_string(calls).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let folder = dir.path().join("run/disk/sda1/boottorrent");
    let kept = |line: &&str| line.contains("rename") && line.contains(folder.to_str().unwrap());
    assert!(calls.iter().any(kept), "nothing was kept: {calls:#?}");
    for (at, rename) in calls.iter().enumerate().filter(|(_, line)| kept(line)) {
        let new = rename.split('"').nth(1).unwrap();
        let synced = |calls: &[&str], path: &str| {
            calls
                .iter()
                .any(|c| c.contains("sync(") && c.contains(&format!("<{path}>")) && c.ends_with("= 0"))
        };
        assert!(synced(&calls[..at], new), "{rename}: {calls:#?}");
        assert!(synced(&calls[at..], folder.to_str().unwrap()), "{rename}: {calls:#?}");
    }
}
