// SPDX-License-Identifier: GPL-3.0-or-later
//! `image fetch` over HTTP, by the real program: a web server with bad manners, ranges and mirrors.

mod common;
#[path = "common/fetching.rs"]
mod fetching;

use common::{
    World,
    site::{Page, Site},
};
use fetching::{failed, good, image, sha256};
use std::fs;

/// Servers as they are: cut off, busy, gone, a web page, too much.
#[test]
fn servers_with_bad_manners() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let (url, sum, half) = (site.url("x.squashfs"), sha256(&bytes), bytes.len() / 2);
    let fetch = |args: &[&str]| w.run(&[&["image", "fetch", &url, "--sum", &sum], args].concat());
    let page = |p: Page| site.page("x.squashfs", Page { body: bytes.clone(), ..p });

    // Cut off for good: what is here is kept, and the next run goes on with it.
    page(Page { cut: 1, ..Page::default() });
    let size = bootspec::units::human_size;
    failed(
        &w,
        fetch(&["--tries", "1"]),
        &format!(
            "gave up after 1 tries; {} of {} are here; fetch it again to resume: {url}: the server ended the connection \
         after {} of {}",
            size(half as u64),
            size(bytes.len() as u64),
            size(half as u64),
            size(bytes.len() as u64)
        ),
    );
    site.asked();
    let (_, err) = good(fetch(&[]));
    assert_eq!(err, "");
    assert_eq!(site.asked(), [format!("GET x.squashfs {half}-")]);
    w.run(&["image", "remove", "x"]).good();

    // Cut off twice and busy once: it goes on by itself.
    page(Page { cut: 2, busy: 1, ..Page::default() });
    let (_, err) = good(fetch(&[]));
    assert_eq!(site.asked().len(), 4, "{err}");
    assert!(err.contains(&format!("note: {url} answers 503 Service Unavailable; trying again\n")), "{err}");
    w.run(&["image", "remove", "x"]).good();

    // Another version since: from its beginning, and not a mixture.
    page(Page { cut: 1, ..Page::default() });
    assert_eq!(fetch(&["--tries", "1"]).code, Some(1));
    let newer = fs::read(w.squashfs("newer")).unwrap();
    site.put("x.squashfs", &newer);
    good(w.run(&["image", "fetch", &url, "--sum", &sha256(&newer)]));
    assert_eq!(fs::read(w.path("cat/images/x/payload")).unwrap(), newer);
    w.run(&["image", "remove", "x"]).good();

    // A server that knows neither length nor ranges.
    page(Page { simple: true, ..Page::default() });
    good(fetch(&[]));
    w.run(&["image", "remove", "x"]).good();

    page(Page { kind: "text/html; charset=utf-8", ..Page::default() });
    let html = format!(
        "{url} is a web page, and no image: give the address of the image itself (in a browser, copy the link behind the download button)"
    );
    failed(&w, fetch(&[]), &html);
    site.put("x.squashfs", "\n<!doctype html>\n<title>Sign in</title>");
    failed(&w, fetch(&[]), &html);
    page(Page { claims: Some(1 << 60), ..Page::default() });
    let said = fetch(&[]);
    assert!(
        said.err.starts_with("boottorrent: no room for 'x' in the catalogue: it needs 1048576 TiB and ")
            && said.err.ends_with(" are free; free some, or choose another disk with --dir\n"),
        "{}",
        said.err
    );
    let gone = site.url("gone.iso");
    failed(
        &w,
        w.run(&["image", "fetch", &gone, "--sum", &sum]),
        &format!("there is nothing at {gone} (404 Not Found): look for its new address"),
    );
    failed(
        &w,
        w.run(&["image", "fetch", "http://127.0.0.1:9/x.iso", "--sum", &sum, "--tries", "1"]),
        "gave up after 1 tries: asking http://127.0.0.1:9/x.iso: Connection refused (os error 111)",
    );
    // Right by its sum, and no image.
    site.put("x.squashfs", "hello\n");
    failed(
        &w,
        w.run(&["image", "fetch", &url, "--sum", &sha256(b"hello\n")]),
        &format!(
            "'{url}' is a text file: give a live ISO, a disk image, a squashfs, erofs or ext4 image, a root directory or a root tarball"
        ),
    );
}

/// server.md F7: what a server answers is compared with what was asked for, and of two versions never one is made.
#[test]
fn what_servers_make_of_a_range() {
    let (w, site) = (World::new(), Site::start());
    let old = image(&w);
    let mut new = old.clone();
    new[5000..6000].fill(7);
    let url = site.url("x.squashfs");
    let tail = |args: &[&str]| {
        let said = w.run(&[&["image", "fetch", &url, "--name", "x", "--replace"], args].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        fs::read(w.path("cat/images/x/payload")).unwrap()
    };
    let cut = |body: &[u8]| Page { body: body.to_vec(), cut: 2, ..Page::default() };
    // The file is another one by the second request, and the server does not heed If-Range.
    site.page("x.squashfs", cut(&old));
    w.run(&["image", "fetch", &url, "--name", "x", "--no-verify", "--tries", "1"]);
    for again in [
        Page { body: new.clone(), careless: true, ..Page::default() },
        Page { body: new.clone(), ..Page::default() },
    ] {
        site.page("x.squashfs", again);
        assert!(tail(&["--no-verify"]) == new, "neither the old one nor the new one");
        assert!(tail(&["--sum", &sha256(&new)]) == new);
        site.page("x.squashfs", cut(&old));
        w.run(&["image", "fetch", &url, "--name", "x", "--no-verify", "--replace", "--tries", "1"]);
    }
    // The rest, called 200: nothing is lost.
    site.asked();
    site.page("x.squashfs", Page { body: old.clone(), miscalled: true, ..Page::default() });
    assert!(tail(&["--no-verify"]) == old);
    let asked = site.asked();
    assert!(asked.len() == 1 && asked[0].ends_with('-'), "resumed in one request: {asked:?}");

    site.page("x.squashfs", Page { body: old.clone(), encoding: Some("br"), ..Page::default() });
    let said = w.run(&["image", "fetch", &url, "--no-verify", "--replace"]);
    let sentence = format!(
        "{url} comes with the Content-Encoding \"br\", which was not asked for: use another mirror\n"
    );
    assert!(said.err.ends_with(&sentence), "{}", said.err);
}

/// server.md F8: behind a redirector, the mirror that began goes on, and another one where that is gone.
#[test]
fn mirrors_behind_a_redirector() {
    let (w, site) = (World::new(), Site::start());
    let bytes = image(&w);
    let date = Some("Thu, 26 Nov 2026 10:00:00 GMT".to_owned());
    let page = |tag: &str, cut: usize| {
        let (tag, date) = (Some(format!("\"{tag}\"")), date.clone());
        Page { body: bytes.clone(), tag, date, cut, ..Page::default() }
    };
    let mirrors = ["b", "c", "a"].map(|m| site.url(&format!("{m}/x.squashfs"))).to_vec();
    site.page("x.squashfs", Page { mirrors, ..Page::default() });
    for mirror in ["a", "b", "c"] {
        site.page(&format!("{mirror}/x.squashfs"), page(mirror, 99));
    }
    let url = site.url("x.squashfs");
    let fetch = |args: &[&str]| {
        w.run(&[&["image", "fetch", &url, "--replace", "--sum", &sha256(&bytes)], args].concat())
    };
    // Each connection is cut in the middle of what is left.
    let said = fetch(&["--tries", "2"]);
    let asked = site.asked();
    let gone_on = asked.iter().filter(|a| a.starts_with("GET b/") && a.ends_with('-')).count();
    assert!(gone_on >= 2, "{asked:?} {}", said.err);
    assert!(
        asked.iter().filter(|a| !a.ends_with('-') && a.contains("/x")).count() <= 1,
        "only once from 0: {asked:?}"
    );
    // That one is gone: another one has the rest, which the date tells.
    site.page("b/x.squashfs", Page { busy: 99, ..Page::default() });
    site.page("c/x.squashfs", page("c", 0));
    site.page("a/x.squashfs", page("a", 0));
    let said = fetch(&[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let asked = site.asked();
    assert!(
        asked.iter().any(|a| (a.starts_with("GET c/") || a.starts_with("GET a/")) && a.ends_with('-')),
        "{asked:?}"
    );
    assert!(fs::read(w.path("cat/images/x/payload")).unwrap() == bytes);
}
