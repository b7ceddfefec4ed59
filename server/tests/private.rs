// SPDX-License-Identifier: GPL-3.0-or-later
//! Private files by the real program over TLS: who gets them, who does not, and what the admin sees.

#[path = "common/certificate.rs"]
mod certificate;
mod common;

use bootspec::{Exit, Sha256Sum, machine_key::shown};
use boottorrent_agent::{
    layers,
    machine_key::MachineKey,
    report::{Report, Show},
    web,
};
use certificate::certificate;
use common::{Server, World, free_port};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

const PC1: &str = "52:54:00:00:00:01";
const PC2: &str = "52:54:00:00:00:02";

/// A machine's key as it would be kept.
fn key(n: u8) -> MachineKey {
    let bytes = [n; 32];
    let digits = bytes.iter().map(|b| format!("{b:02x}")).collect();
    MachineKey { digits, fingerprint: Sha256Sum(Sha256::digest(bytes).into()), place: "here".into() }
}

struct Room {
    w: World,
    server: Server,
    url: String,
    ca: PathBuf,
}

impl Room {
    fn new() -> Room {
        let w = World::new();
        certificate(&w, "ours", "DNS:localhost");
        let port = free_port();
        let (cert, key) = (w.shown("ours.pem"), w.shown("ours.key"));
        let tls = format!("tls-cert = {cert:?}\ntls-key = {key:?}\ntls-listen = \"[::]:{port}\"\n");
        let keys = w.shown("keys");
        w.write("server.toml", format!("[catalogue]\nsources = []\n[keys]\ndir = {keys:?}\n[serve]\n{tls}"));
        w.squashfs("lab");
        w.run(&["image", "add", "lab.squashfs"]).good();
        let ca = w.path("ca");
        fs::create_dir(&ca).unwrap();
        fs::copy(w.path("ours.ca.crt"), ca.join("site.crt")).unwrap();
        let server = Server::start(&w, &["--no-seed"]);
        Room { w, server, url: format!("https://localhost:{port}/"), ca }
    }

    /// Private files with one file in them.
    fn give(&self, who: &str, text: &str) -> String {
        let name = format!("given-{}", who.replace(':', "-"));
        fs::create_dir_all(self.w.path(&name).join("etc")).unwrap();
        fs::write(self.w.path(&name).join("etc/secret"), text).unwrap();
        self.w.run(&["host", "set", who, "--private", &self.w.shown(&name)]).good();
        let rows: Value = serde_json::from_str(&self.w.run(&["host", "list", who, "--json"]).good()).unwrap();
        rows[0]["private"].as_str().unwrap().to_owned()
    }

    /// What the agent of a machine gets: how many archives, or why none.
    fn asked(&self, url: &str, mac: &str, key: &MachineKey, seconds: u64) -> Result<usize, (Exit, String)> {
        let report = Report::new(None, None);
        report.show(Show::None);
        let client = web::client(&self.ca, &[], &report).unwrap();
        let (url, limit) = (url.parse().unwrap(), Some(Duration::from_secs(seconds)));
        let asking = layers::Asking {
            client: &client,
            server: Some(&url),
            relays: &[],
            keys: None,
            mac,
            limit,
            report: &report,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(async {
            asking.can_be_private()?;
            asking.fetch_private(key, limit).await
        });
        got.map(|layers| layers.len()).map_err(|f| (f.exit, format!("{:#}", f.error)))
    }

    /// The status and text of a question without the agent.
    fn get(&self, url: &str, key: Option<&str>) -> (u16, String) {
        let header = key.map(|k| format!("Authorization: Bearer {k}"));
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}", "--cacert"])
            .arg(self.ca.join("site.crt"));
        if let Some(header) = &header {
            curl.args(["-H", header]);
        }
        let out = curl.arg(url).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let (text, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }
}

#[test]
fn private_files_are_for_machines_whose_key_was_accepted() {
    let room = Room::new();
    let (w, url) = (&room.w, room.url.as_str());
    w.run(&["host", "set", PC1, "--name", "pc1"]).good();
    w.run(&["host", "set", "group:room", "--prefix", "pc"]).good();
    let (own, all) = (room.give("pc1", "the key of pc1\n"), room.give("group:room", "of the room\n"));
    let (mine, thief) = (key(1), key(2));

    // Its boot script says that there are some, not which.
    let script = room.server.get(&format!("/boot.ipxe?mac={PC1}")).text();
    assert!(
        script.contains(" boottorrent.private=on boottorrent.group=room") && !script.contains(&own),
        "{script}"
    );
    // Who says that it is in the group, by its name or its address, is told of none: it would get none.
    w.run(&["host", "set", "group:net", "--subnet", "10.0.0.0/8", "--private", &w.shown("given-pc1")]).good();
    for says in ["", "&hostname=pc9", "&ip=10.1.2.3"] {
        let script = room.server.get(&format!("/boot.ipxe?mac={PC2}{says}")).text();
        assert!(!script.contains("private"), "{script}");
    }

    // Nobody has accepted a key: everybody waits.
    let waits = |k: &MachineKey| {
        format!(
            "the server does not know this machine's key {0} yet: run `boottorrent host accept {PC1} --key {0}` there; nobody \
             has within ",
            shown(&k.fingerprint)
        )
    };
    for key in [&mine, &thief] {
        let (exit, why) = room.asked(url, PC1, key, 0).unwrap_err();
        assert!(exit == Exit::Trust && why.starts_with(&waits(key)), "{why}");
    }
    let listed = w.run(&["host", "accept"]).good();
    assert!(
        listed.starts_with("MACHINE            ADDRESS  ") && listed.matches(PC1).count() == 2,
        "{listed}"
    );
    assert!(
        w.run(&["host", "list"])
            .good()
            .ends_with("2 machines wait for a key to be accepted: boottorrent host accept\n")
    );
    let waiting: Value = serde_json::from_str(&w.run(&["host", "accept", "--json"]).good()).unwrap();
    let from = waiting[0]["address"].as_str().unwrap();
    let both = [&mine, &thief].map(|k| format!("{PC1} ({from}) with {}", shown(&k.fingerprint))).join(", ");
    w.run(&["host", "accept", "pc1"]).refused(&format!(
        "several machines say that they are {PC1}: give --key with what its screen shows: {both}"
    ));
    w.run(&["host", "accept", "pc1", "--key", "0000-0000-0000-0000-0000"]).refused(&format!(
        "no machine waits that says it is {PC1} and has the key '0000-0000-0000-0000-0000': {both}"
    ));
    w.run(&["host", "accept", "group:room"])
        .refused("'group:room' is not a machine: each machine has a key of its own");

    let said = w.run(&["host", "accept", "pc1", "--key", &shown(&mine.fingerprint)]).good();
    assert_eq!(said, format!("{PC1}: the key {} is accepted\n", shown(&mine.fingerprint)));
    assert_eq!(room.asked(url, PC1, &mine, 10), Ok(2), "the group's, and its own");
    // The key is the machine, whatever address it says; the address without the key is nobody.
    assert_eq!(room.asked(url, PC2, &mine, 10), Ok(2));
    let (exit, why) = room.asked(url, PC1, &thief, 0).unwrap_err();
    assert!(
        exit == Exit::Trust && why.starts_with("the server knows this machine by another key than"),
        "{why}"
    );

    for sum in [&own, &all] {
        let at = |path: &str| format!("{url}{path}/{sum}");
        assert_eq!(room.get(&at("private"), Some(&mine.digits)).0, 200);
        for key in [Some(thief.digits.as_str()), Some("x"), None] {
            assert_ne!(room.get(&at("private"), key).0, 200, "{key:?}");
        }
        // Not among the files that everybody may have, and not over plain HTTP, even with the key.
        assert_eq!(room.get(&at("files"), Some(&mine.digits)).0, 404);
        let plain = format!("http://{}/private/{sum}", room.server.http);
        let refused = (403, "private files are sent over HTTPS only\n".to_owned());
        assert_eq!(room.get(&plain, Some(&mine.digits)), refused);
    }
    let other = format!("{url}private/{}", "0".repeat(64));
    assert_eq!(room.get(&other, Some(&mine.digits)).0, 404);

    // No longer: it waits again.
    w.run(&["host", "set", "pc1", "--clear", "fingerprint"]).good();
    let (_, why) = room.asked(url, PC1, &mine, 0).unwrap_err();
    assert!(why.starts_with(&waits(&mine)), "{why}");
}

#[test]
fn nobody_else_reads_them_here() {
    let room = Room::new();
    let w = &room.w;
    let first = room.give(PC1, "pin 1234\n");
    // Everybody may read the sum: it tells nothing of files that could be guessed.
    assert_ne!(first, room.give(PC1, "pin 1234\n"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = w.path("cat/private");
    assert_eq!((mode(&folder), mode(&folder.join(&first))), (0o700, 0o600));
    let listed = w.run(&["host", "list"]).good();
    assert!(listed.contains("  FILES  ") && listed.contains("  private  "), "{listed}");
    let files = w.run(&["host", "files", PC1]).good();
    assert!(files.starts_with(&format!("{PC1}: private files, SHA-256 ")), "{files}");
    w.run(&["key", "generate", "--no-password"]).good();
    assert!(w.run(&["doctor"]).out.contains(&format!("the files for {PC1} are not signed by key ")));
    assert!(w.run(&["host", "sign", PC1]).good().contains("these files are signed by key"));

    // Over plain HTTP the agent does not even ask.
    let plain = format!("http://{}/", room.server.http);
    let (exit, why) = room.asked(&plain, PC1, &key(1), 1).unwrap_err();
    assert!(
        exit == Exit::Trust
            && why.starts_with("this machine has private files, which are sent over HTTPS only"),
        "{why}"
    );
    w.run(&["host", "set", PC1, "--private", "none"]).good();
    assert!(!room.server.get(&format!("/boot.ipxe?mac={PC1}")).text().contains("private"));
}
