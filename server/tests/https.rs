// SPDX-License-Identifier: GPL-3.0-or-later
//! The agent over HTTPS, against the real server: by the certificate of an authority, and not at all without.

#[path = "common/certificate.rs"]
mod certificate;
mod common;

use bootspec::Exit;
use boottorrent_agent::{
    args::{Cli, Command},
    ask::{Answer, Get, Patience},
    report::{Report, Show},
    web,
};
use certificate::certificate;
use clap::Parser;
use common::{Server, World, free_port};
use std::{fs, path::Path, time::Duration};

/// What the agent says to `url` when it believes the authorities in this folder.
fn asked(folder: &Path, url: &str) -> String {
    let report = Report::new(None, None);
    report.show(Show::None);
    let client = web::client(folder, &[], &report).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Some(Duration::from_secs(10));
    let parsed = url.parse().unwrap();
    let get = Get { client: &client, max: 1 << 20, key: None };
    let patience = Patience { url: &parsed, relays: &[], limit, report: &report };
    match runtime.block_on(patience.ask(async |url| get.once(url).await, |_| Ok(()))) {
        Ok(Answer::Got(_)) => "fetched".into(),
        Ok(Answer::No(why)) => why,
        Err(failure) => panic!("{url}: {:#}: it was waited for", failure.error),
    }
}

#[test]
fn only_whom_an_authority_stands_for_is_believed() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--name", "lab"]).good();
    certificate(&w, "ours", "DNS:localhost");
    certificate(&w, "theirs", "DNS:localhost");
    let port = free_port();
    // Nobody seeds: its pieces come from there as well.
    let start = |cert: &str, key: &str| {
        let (cert, key) = (w.shown(cert), w.shown(key));
        let tls = format!("tls-cert = {cert:?}\ntls-key = {key:?}\ntls-listen = \"[::]:{port}\"\n");
        w.write("server.toml", format!("[catalogue]\nsources = []\n[serve]\n{tls}"));
        Server::start(&w, &["--no-seed"])
    };
    let server = start("ours.pem", "ours.key");
    let url = |host: &str| format!("https://{host}:{port}/images/lab/lab.torrent");
    let folder = |name: &str| {
        let dir = w.path(&format!("ca-{name}"));
        fs::create_dir(&dir).unwrap();
        fs::copy(w.path(&format!("{name}.ca.crt")), dir.join("site.crt")).unwrap();
        dir
    };
    let (ours, theirs) = (folder("ours"), folder("theirs"));

    assert_eq!(asked(&ours, &url("localhost")), "fetched");
    // Prometheus is told how long that goes on.
    let metrics = server.get("/metrics").text();
    let ends =
        metrics.lines().find_map(|l| l.strip_prefix("boottorrent_certificate_expiry_timestamp_seconds "));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(ends.and_then(|e| e.parse::<u64>().ok()).is_some_and(|e| e > now), "{metrics}");
    // What is not a certificate turns nothing on, and nothing off.
    fs::write(ours.join("odd.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::copy(w.path("theirs.ca.crt"), ours.join("theirs.pem")).unwrap();
    assert_eq!(asked(&ours, &url("localhost")), "fetched");
    let nobody = format!(
        "the certificate of localhost:{port} is by no authority that is known here: put the authority's own into \
         /etc/boottorrent/ca/NAME.crt where the initrd is made, and make it again"
    );
    assert_eq!(asked(&theirs, &url("localhost")), nobody);
    assert_eq!(asked(&w.path("none"), &url("localhost")), nobody);
    assert_eq!(
        asked(&ours, &url("127.0.0.1")),
        format!(
            "the certificate of 127.0.0.1:{port} is for another name: ask for the server by the name that is in it"
        )
    );
    let plain = asked(&ours, &format!("https://localhost:{}/", server.http.port()));
    assert!(
        plain.starts_with(&format!("localhost:{} does not prove to be the server (", server.http.port())),
        "{plain}"
    );
    assert!(
        asked(&ours, &format!("https://localhost:{port}/images/no/no.torrent")).contains("no image 'no'")
    );

    // All of an image.
    let to = w.shown("got");
    let (torrent, ca) = (url("localhost"), ours.display().to_string());
    let words =
        ["boottorrent-agent", "fetch", "--torrent", &torrent, "--to", &to, "--port", "0", "--ca", &ca];
    let Command::Fetch(args) = Cli::parse_from(words).command else { unreachable!() };
    assert_eq!(boottorrent_agent::fetch::run(&args), Exit::Ok);
    assert!(fs::read(&to).unwrap() == fs::read(w.path("cat/images/lab/payload")).unwrap());
    assert_eq!(server.stop(), Some(0));

    // An authority is not a server.
    let server = start("ours.ca.crt", "ours.ca.key");
    let why = asked(&ours, &url("localhost"));
    assert!(why.contains("does not prove to be the server (") && why.contains("CaUsedAsEndEntity"), "{why}");
    assert_eq!(server.stop(), Some(0));
}
