// SPDX-License-Identifier: GPL-3.0-or-later
//! `image fetch` over BitTorrent, by the real program: a real seeder.

mod common;
#[path = "common/fetching.rs"]
mod fetching;
#[path = "common/seeder.rs"]
mod seeder;

use common::{World, exists, site::Site};
use fetching::{good, image, sha256};
use seeder::{Seeder, torrent};
use std::fs;

/// From a torrent of several files: by its .torrent and a tracker, and by a magnet link that names a peer.
#[test]
fn over_bittorrent() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    w.write("seed/dist/live.squashfs", &bytes);
    w.write("seed/dist/README", "read me");
    let (torrent, hash) = torrent(&w.path("seed/dist"), &site.url("announce"));
    let file = w.write("dist.torrent", &torrent);
    let (_seeder, port) = Seeder::start(&w.path("seed"), &file);
    let peer = [&[127, 0, 0, 1][..], &port.to_be_bytes()].concat();
    site.put("announce", [b"d8:intervali5e5:peers6:", &peer[..], b"e"].concat());

    w.run(&["image", "fetch", "dist.torrent"])
        .refused("no file of the torrent is an ISO: name one with --file; there are: README, live.squashfs");
    let (out, _) = good(w.run(&["image", "fetch", "dist.torrent", "--file", "live.*", "--name", "live"]));
    assert!(
        out.starts_with(&format!("verified: piece by piece as in the torrent {hash}\nimage 'live': ")),
        "{out}"
    );
    assert_eq!(fs::read(w.path("cat/images/live/payload")).unwrap(), bytes);
    assert!(!exists(&w.path("cat/fetch").join("README")));
    assert_eq!(fs::read_dir(w.path("cat/fetch")).unwrap().count(), 0, "nothing is left");

    let magnet = format!("magnet:?xt=urn:btih:{hash}&dn=dist&x.pe=127.0.0.1:{port}");
    let sum = sha256(&bytes);
    let (out, _) = good(w.run(&["image", "fetch", &magnet, "--file", "live.squashfs", "--sum", &sum]));
    assert!(
        out.starts_with(&format!(
            "verified: piece by piece as in the torrent {hash}; SHA-256 as it was given\nimage 'dist': "
        )),
        "{out}"
    );
    w.run(&["image", "fetch", &format!("magnet:?xt=urn:btih:{hash}&dn=x")]).refused(
        "the magnet link names no tracker and no peer: give --dht to look for peers in the DHT (which is all over the internet), or a \
         .torrent",
    );
    site.put("no.torrent", "nonsense");
    let said = w.run(&["image", "fetch", &site.url("no.torrent")]);
    assert!(said.err.starts_with("boottorrent: this torrent cannot be used: "), "{}", said.err);
}

/// server.md F18: torrents of others that cannot be fetched, made by libtorrent, are told at once.
#[test]
fn torrents_that_are_not_for_us() {
    let w = World::new();
    w.write("x.iso", common::noise(300_000));
    let make = |name: &str, more: &str| {
        let script = format!(
            "import libtorrent as lt\nfs = lt.file_storage()\nlt.add_files(fs, 'x.iso')\n{more}\n\
             lt.set_piece_hashes(t, '.')\nopen('{name}', 'wb').write(lt.bencode(t.generate()))"
        );
        let done = std::process::Command::new("/usr/bin/python3")
            .args(["-c", &script])
            .current_dir(w.dir.path())
            .status();
        assert!(done.unwrap().success(), "python3-libtorrent is missing: scripts/setup installs it");
    };
    make("v2.torrent", "t = lt.create_torrent(fs, 0, lt.create_torrent.v2_only)");
    let said = w.run(&["image", "fetch", "v2.torrent", "--no-verify", "--name", "x"]);
    assert!(
        said.err.contains("it is a torrent of version 2 only: make a hybrid one, or one of version 1"),
        "{}",
        said.err
    );
    make("web.torrent", "t = lt.create_torrent(fs)\nt.add_url_seed('http://127.0.0.1:9/x.iso')");
    let said = w.run(&["image", "fetch", "web.torrent", "--no-verify", "--name", "x"]);
    assert!(
        said.err.contains("its web seeds (url-list) are not supported: fetch the file by its own"),
        "{}",
        said.err
    );
}
