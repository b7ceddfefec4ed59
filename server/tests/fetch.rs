// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources and `image fetch`, by the real program: what is genuine, what is not, and real gpg keys.

mod common;
#[path = "common/fetching.rs"]
mod fetching;
#[path = "common/gpg.rs"]
mod gpg;

use common::{
    Server, World,
    site::{Page, Site},
    until,
};
use fetching::{failed, good, image, images, parsed, sha256};
use gpg::Key;
use serde_json::json;
use std::fs;

/// The way of a distribution: a folder, a signed list of sums, the latest version in it.
#[test]
fn a_source_with_a_signed_list() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let key = Key::make(&w, "signer", None, true);
    let sums = format!("{}  live-1.9.squashfs\n{}  live-1.10.squashfs\n", "a".repeat(64), sha256(&bytes));
    site.put("live/SHA256SUMS", &sums);
    site.put("live/SHA256SUMS.sign", key.sign(None, "--detach-sign", sums.as_bytes()));
    site.put("live/live-1.10.squashfs", &bytes);
    let url = site.url("live/");
    let source = [
        "source",
        "add",
        "live",
        "--url",
        &url,
        "--file",
        "live-*.squashfs",
        "--size",
        "1M",
        "--description",
        "A live image",
    ];
    let (list, sign) = (format!("{url}SHA256SUMS"), format!("{url}SHA256SUMS.sign"));
    let fingerprint = key.fingerprint();
    let signed =
        ["--checksums", &list, "--signature", &sign, "--key", &key.file, "--fingerprint", &fingerprint];
    let wrote = w.run(&[&source[..], &signed[..]].concat()).good();
    assert_eq!(
        wrote,
        format!("wrote {}; next: `boottorrent image fetch live`\n", w.shown("etc/sources.d/live.toml"))
    );
    assert!(w.run(&["source", "list"]).good().contains("live  -    1.00 MiB  signature    A live image"));
    assert_eq!(
        w.run(&["source", "list", "nothing"]).good(),
        "no source with 'nothing': see `boottorrent source add --help`\n"
    );
    assert_eq!(w.run(&["source", "check", "--online"]).good(), "live: good\n");
    assert_eq!(parsed(&w.run(&["source", "show", "live", "--json"]).good())["file"], "live-*.squashfs");

    let (out, _) = good(w.run(&["image", "fetch", "live", "--append", "quiet"]));
    assert!(
        out.starts_with(&format!(
            "verified: SHA-256 as in {list}, which {fingerprint} has signed\nimage 'live': "
        )),
        "{out}"
    );
    assert_eq!(fs::read(w.path("cat/images/live/payload")).unwrap(), bytes);
    let shown = parsed(&w.run(&["image", "show", "live", "--json"]).good());
    assert_eq!((&shown["source"], &shown["append"]), (&json!("live"), &json!("quiet")));
    assert_eq!(fs::read_dir(w.path("cat/fetch")).unwrap().count(), 0, "nothing is left");
    w.run(&["image", "fetch", "live"])
        .refused("there is an image 'live' already: give --replace, or another --name");

    // A list that its signature is in.
    let inline = String::from_utf8(key.sign(None, "--clear-sign", sums.as_bytes())).unwrap();
    // What is around the signed text says nothing.
    site.put("live/CHECKSUM", format!("{}  live-1.11.squashfs\n{inline}", "b".repeat(64)));
    w.write("etc/sources.d/inline.toml", format!(
        "url = \"{url}\"\nfile = \"live-*.squashfs\"\nchecksums = \"{url}CHECKSUM\"\nsignature = \"{url}CHECKSUM\"\nsigned = \"inline\"\nkey = \"{}\"\n",
        key.file
    ));
    let (out, _) = good(w.run(&["image", "fetch", "inline", "--json"]));
    assert!(
        parsed(&out)["verified"].as_str().unwrap().ends_with(&format!("which {fingerprint} has signed")),
        "{out}"
    );
    let removed = w.run(&["source", "remove", "live"]).good();
    assert_eq!(removed, format!("deleted {}\n", w.shown("etc/sources.d/live.toml")));
}

/// What is not what it should be is refused, each with its sentence, and is not an image.
#[test]
fn what_is_not_genuine() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let url = site.url("x.squashfs");
    let (sums, sign) = (site.url("SUMS"), site.url("SUMS.sign"));
    site.put("x.squashfs", &bytes);
    let sum = sha256(&bytes);
    let key = Key::make(&w, "signer", None, false);
    let other = Key::make(&w, "other", None, true);
    let past = "20200101T000000";
    let old = Key::make(&w, "old", Some(past), false);
    let fetch = |args: &[&str]| w.run(&[&["image", "fetch", &url, "--tries", "1"], args].concat());

    failed(
        &w,
        fetch(&[]),
        &format!(
            "nothing says that {url} is genuine, and machines will run it as root: give --sum, --checksums, or --signature with --key; \
         or --no-verify to take it as it is"
        ),
    );
    let wrong = "b".repeat(64);
    failed(
        &w,
        fetch(&["--sum", &wrong]),
        &format!("what came is not the image: its SHA-256 is {sum}, and {wrong} was given; it was deleted"),
    );
    site.put("SUMS", format!("{wrong}  x.squashfs\n"));
    failed(
        &w,
        fetch(&["--checksums", &sums]),
        &format!(
            "what came is not the image: its SHA-256 is {sum}, and {wrong} is in {sums}; it was deleted"
        ),
    );
    assert_eq!(fs::read_dir(w.path("cat/fetch")).unwrap().count(), 0, "the wrong bytes are gone");
    site.put("SUMS", format!("{sum}  y.squashfs\n"));
    failed(
        &w,
        fetch(&["--checksums", &sums]),
        &format!(
            "{sums} has no checksum for 'x.squashfs' (it has 1 SHA-256 and SHA-512 sums): it is of another version, or --file is wrong"
        ),
    );
    site.page("SUMS", Page { body: b"<!DOCTYPE html><html>".into(), kind: "text/html", ..Page::default() });
    failed(
        &w,
        fetch(&["--checksums", &sums]),
        &format!("{sums} is a web page, and no list of checksums: look at the address in a browser"),
    );

    let text = format!("{sum}  x.squashfs\n");
    site.put("SUMS", &text);
    let key_file = key.file.clone();
    let by = |file: &str| fetch(&["--checksums", &sums, "--signature", &sign, "--key", file]);
    site.put("SUMS.sign", key.sign(None, "--detach-sign", b"another text"));
    failed(
        &w,
        by(&key_file),
        &format!(
            "the signature of {sums} is wrong: somebody has changed it, or signature and file are of different versions; fetch it again later"
        ),
    );
    site.put("SUMS.sign", other.sign(None, "--detach-sign", text.as_bytes()));
    failed(
        &w,
        by(&key_file),
        &format!(
            "{sums} is signed by a key that is not in {key_file}: get the right key, or somebody else made the signature"
        ),
    );
    site.put("SUMS.sign", old.sign(Some(past), "--detach-sign", text.as_bytes()));
    failed(
        &w,
        by(&old.file),
        &format!(
            "the key that signed {sums} has expired: get its renewed key into {}, or ask who signs it",
            old.file
        ),
    );
    site.put("SUMS.sign", b"nonsense");
    failed(
        &w,
        by(&key_file),
        &format!("the signature of {sums} is not an OpenPGP signature: look at what its address gives"),
    );
    let absent = w.shown("no.key");
    failed(&w, by(&absent), &format!("there is no key at {absent}: put the key of who signs it there"));
    // The right key, but it is not the one that was named.
    site.put("SUMS.sign", other.sign(None, "--detach-sign", text.as_bytes()));
    w.write("etc/sources.d/pinned.toml", format!(
        "url = \"{url}\"\nchecksums = \"{sums}\"\nsignature = \"{sign}\"\nkey = \"{}\"\nfingerprint = \"{}\"\n",
        other.file, key.fingerprint()
    ));
    failed(
        &w,
        w.run(&["image", "fetch", "pinned"]),
        &format!("{sums} is signed by the key {}, and not by {}", other.fingerprint(), key.fingerprint()),
    );
    // The image's own signature is looked at when it is here.
    site.put("x.sig", key.sign(None, "--detach-sign", b"another image"));
    failed(
        &w,
        fetch(&["--signature", &site.url("x.sig"), "--key", &key_file]),
        &format!(
            "the signature of {url} is wrong: somebody has changed it, or signature and file are of different versions; fetch it again later"
        ),
    );
    site.put("x.sig", key.sign(None, "--detach-sign", &bytes));
    let (out, _) = good(fetch(&["--signature", &site.url("x.sig"), "--key", &key_file, "--name", "signed"]));
    assert!(out.starts_with(&format!("verified: signed by {}\n", key.fingerprint())), "{out}");

    // Not verified: it is said loudly.
    let (out, err) = good(fetch(&["--no-verify"]));
    assert!(out.starts_with("verified: not verified\n"), "{out}");
    assert!(err.starts_with("note: NOT VERIFIED, as --no-verify says: "), "{err}");
    assert_eq!(images(&w), ["signed", "x"]);
    let (_, err) = good(fetch(&["--checksums", &sums, "--name", "summed"]));
    assert_eq!(
        err,
        format!(
            "note: {sums} is not signed: it protects against damage, but not against anyone who can change both the list and the image\n"
        )
    );
}

/// Sources that cannot be understood: file, line and what was expected; they hide no other.
#[test]
fn sources_that_cannot_be_understood() {
    let w = World::new();
    w.write("usr/sources.d/good.toml", "url = \"/srv/x.iso\"\n");
    let bad = w.write("etc/sources.d/bad.toml", "description = \"x\"\nurl = http://x\n");
    let sentence = format!("{}: line 2: invalid unquoted string, expected literal `'`", bad.display());
    let said = w.run(&["source", "list"]);
    assert!(
        said.out.contains("good") && said.err.starts_with(&format!("warning: {}: line 2: ", bad.display())),
        "{}{}",
        said.out,
        said.err
    );
    let said = w.run(&["image", "fetch", "bad"]);
    assert!(said.err.starts_with(&format!("boottorrent: {}: line 2: ", bad.display())), "{}", said.err);
    let _ = sentence;
    fs::write(&bad, "url = \"http://x/y.iso\"\nsha256 = \"12\"\n").unwrap();
    w.run(&["image", "fetch", "bad"]).refused(&format!(
        "{}: line 2: '12' is not a valid SHA-256 sum: write its 64 hexadecimal digits",
        bad.display()
    ));
    let said = w.run(&["source", "check"]);
    assert_eq!(said.err, "boottorrent: 2 of 2 sources cannot be used as they are\n");
    assert!(said.out.contains("good: there is nothing at /srv/x.iso\n"), "{}", said.out);
    w.run(&["image", "fetch", "god"]).refused(
        "there is no source 'god': see `boottorrent source list`, or give a URL, a magnet link or a .torrent; did you mean good?",
    );
    let own = w.write("new.toml", "ur = 1\n");
    let said = w.run(&["source", "add", "--from", "new.toml"]);
    assert!(
        said.err
            .starts_with("boottorrent: new.toml: line 1: unknown key `ur`, expected one of `description`, "),
        "{}",
        said.err
    );
    fs::write(own, "url = \"/srv/new/\"\n").unwrap();
    w.run(&["source", "add", "--from", "new.toml"])
        .refused("new.toml: line 1: a folder needs file, as in file = \"live-*.iso\", and checksums, in which the file's name is found");
}

/// The daemon fetches: asked, listed, cancelled, gone on with after a restart, published by itself.
#[test]
fn in_the_background() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let (url, sum) = (site.url("x.squashfs"), sha256(&bytes));
    let start = ["image", "fetch", &url, "--sum", &sum, "--background", "--tries", "1000"];
    w.run(&start).refused(&format!(
        "no server is running here ({} is not there): start it with `boottorrent serve`, or omit --background",
        w.shown("cat/api.sock")
    ));
    let server = Server::start(&w, &["--no-seed"]);
    assert_eq!(w.run(&["image", "fetch", "--list"]).good(), "nothing is being fetched\n");
    let rows = || parsed(&server.get("/api/v1/fetches").text());
    // It never gets further than its half.
    site.page("x.squashfs", Page { body: bytes.clone(), busy: 1_000_000, ..Page::default() });
    assert_eq!(
        w.run(&start).good(),
        "fetch number 1: it becomes the image 'x'; see `boottorrent image fetch --list`\n"
    );
    w.run(&start).refused("'x' is being fetched already: it is number 1");
    until("the first try", || (rows()[0]["state"] == "fetching").then_some(()));
    assert!(w.run(&["image", "fetch", "--list"]).good().contains("1  x      fetching"));
    w.run(&["image", "fetch", "--cancel", "1"]).good();
    until("the end", || (rows()[0]["state"] == "cancelled").then_some(()));
    w.run(&["image", "fetch", "--cancel", "9"]).refused("there is no fetch number 9");

    // A restart in the middle.
    w.run(&start).good();
    until("it", || (rows()[1]["state"] == "fetching").then_some(()));
    drop(server);
    site.page("x.squashfs", Page { body: bytes.clone(), ..Page::default() });
    let server = Server::start(&w, &["--no-seed"]);
    let done = until("the image", || {
        let rows = parsed(&server.get("/api/v1/fetches").text());
        rows.as_array()?.iter().find(|r| r["id"] == 2 && r["state"] == "done").cloned()
    });
    assert_eq!((&done["verified"], &done["image"]), (&json!("SHA-256 as it was given"), &json!("x")));
    assert!(server.get("/images/x/payload").body == bytes, "it is served at once");
    let list = w.run(&["image", "fetch", "--list"]).good();
    assert!(list.contains("1  x      cancelled") && list.contains("2  x      done"), "{list}");
    // One that fails says why.
    let bad = ["image", "fetch", &url, "--sum", &"b".repeat(64), "--background", "--name", "bad", "--json"];
    assert_eq!(parsed(&w.run(&bad).good())["id"], 3);
    let failed = until("the failure", || {
        let rows = parsed(&server.get("/api/v1/fetches").text());
        rows.as_array()?.iter().find(|r| r["id"] == 3 && r["state"] == "failed").cloned()
    });
    assert!(
        failed["error"].as_str().unwrap().starts_with("what came is not the image: its SHA-256 is "),
        "{failed}"
    );
}

/// server.md F10: during a change of keys a list has two signatures, of which one key is known.
// Tried: lists of checksums with two signers, expired keys | gpg 2.2
#[test]
fn a_list_that_two_keys_have_signed() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    site.put("x.squashfs", &bytes);
    let sums = format!("{}  x.squashfs\n", sha256(&bytes));
    site.put("SUMS", &sums);
    let (new, old) = (Key::make(&w, "new", None, false), Key::make(&w, "old", None, false));
    let expired = Key::make(&w, "expired", Some("20200101T000000"), false);
    let both = w.shown("both.key");
    fs::write(&both, [fs::read(&new.file).unwrap(), fs::read(&expired.file).unwrap()].concat()).unwrap();
    let sign = |key: &Key, time| key.sign(time, "--detach-sign", sums.as_bytes());
    let (by_new, by_old) = (sign(&new, None), sign(&old, None));
    let by_expired = sign(&expired, Some("20200101T010000"));
    let url = site.url("x.squashfs");
    let (list, address) = (site.url("SUMS"), site.url("SUMS.sign"));
    let fetch = |signatures: &[&Vec<u8>], key: &str| {
        site.put("SUMS.sign", signatures.iter().flat_map(|s| s.iter().copied()).collect::<Vec<u8>>());
        w.run(&[
            "image",
            "fetch",
            &url,
            "--replace",
            "--checksums",
            &list,
            "--signature",
            &address,
            "--key",
            key,
        ])
    };
    for (signatures, key, good) in [
        (&[&by_new, &by_old][..], &new.file, true),
        (&[&by_old, &by_new], &new.file, true),
        (&[&by_new, &by_expired], &both, true),
        (&[&by_expired, &by_new], &both, true),
        (&[&by_old], &new.file, false),
        (&[&by_expired], &both, false),
    ] {
        let said = fetch(signatures, key);
        assert_eq!(said.code == Some(0), good, "{}", said.err);
    }
    // A good one beside one that the known key made of something else.
    let of_else = new.sign(None, "--detach-sign", b"something else");
    let said = fetch(&[&by_new, &of_else], &new.file);
    assert!(said.err.contains("is wrong: somebody has changed it"), "{}", said.err);
}

/// server.md F11: lists and addresses as the world writes them.
#[test]
fn lists_and_addresses_of_others() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let (sum, other) = (sha256(&bytes), "0".repeat(64));
    site.put("images/netboot/mini.squashfs", &bytes);
    site.put("images/live+nonfree.squashfs", &bytes);
    site.put("images/live%2Bnonfree.squashfs", &bytes);
    site.put(
        "images/SUMS",
        format!("{other}  ./netboot/gtk/mini.squashfs\n{sum}  ./netboot/mini.squashfs\n"),
    );
    let wide: Vec<u8> =
        format!("{sum}  live+nonfree.squashfs\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    site.put("images/WIDE", [&[0xff, 0xfe][..], &wide].concat());
    site.put("images/EMPTY", "nothing of the kind\n");
    let fetch = |what: &str, list: &str, more: &[&str]| {
        let (what, list) = (site.url(what), site.url(list));
        w.run(&[&["image", "fetch", &what, "--replace", "--checksums", &list], more].concat())
    };
    good(fetch("images/netboot/mini.squashfs", "images/SUMS", &[]));
    good(fetch("images/", "images/SUMS", &["--file", "netboot/mini.squashfs", "--name", "folder"]));
    good(fetch("images/live%2Bnonfree.squashfs", "images/WIDE", &["--name", "live"]));
    let said = fetch("images/netboot/mini.squashfs", "images/EMPTY", &[]);
    let sentence =
        "has no SHA-256 or SHA-512 sum that can be read: sha256sum writes such lists; or give --sum\n";
    assert!(said.err.ends_with(sentence), "{}", said.err);
}
