// SPDX-License-Identifier: GPL-3.0-or-later
//! Versions of images: whatever is done in whatever order, what a machine runs stays; and a way back while machines run
//! both.

mod common;

use bootspec::{Heartbeat, ImageManifest, ImageName, ImageRef, InfoHash, Phase};
use boottorrent_server::{
    catalogue::{Catalogue, INITRD, ImageChange, KERNEL, PAYLOAD, Place},
    clients::Client,
    hosts::{Asker, EntryKey, HostChange, HostEntry, choose},
    operations::{Disk, Retention},
};
use common::{Server, World, until};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What somebody does.
#[derive(Clone, Debug)]
enum Doing {
    /// Add a payload, as this.
    Add(u8, bool),
    Back,
    Current(u32),
    Remove,
    RemoveVersion(u32),
    Rename,
    Prune(usize, Option<u64>),
    /// A machine is set to a version, or to none.
    Assign(u8, Option<u32>),
    /// A machine boots what it should, or is switched off.
    Boot(u8),
    Off(u8),
    /// Two renames were begun when the power went.
    PowerCut(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (1..6u8, any::<bool>()).prop_map(|(payload, candidate)| Doing::Add(payload, candidate)),
        2 => Just(Doing::Back),
        2 => (1..6u32).prop_map(Doing::Current),
        1 => Just(Doing::Remove),
        2 => (1..6u32).prop_map(Doing::RemoveVersion),
        1 => Just(Doing::Rename),
        3 => (0..3usize, proptest::option::of(0..4u64)).prop_map(|(n, size)| Doing::Prune(n, size)),
        2 => (0..3u8, proptest::option::of(1..6u32)).prop_map(|(m, v)| Doing::Assign(m, v)),
        5 => (0..3u8).prop_map(Doing::Boot),
        1 => (0..3u8).prop_map(Doing::Off),
        1 => (1..6u8).prop_map(Doing::PowerCut),
    ]
}

/// A site with one image, and three machines that may run a version of it.
struct Room {
    disk: Disk,
    name: ImageName,
    runs: BTreeMap<u8, InfoHash>,
    dir: tempfile::TempDir,
}

fn key(machine: u8) -> EntryKey {
    format!("52:54:00:00:00:0{machine}").parse().unwrap()
}

fn hash(payload: u8) -> InfoHash {
    InfoHash([payload; 20])
}

fn manifest(name: &ImageName, payload: u8) -> ImageManifest {
    serde_json::from_value(json!({
        "name": name, "kind": "filesystem", "infohash": hash(payload).to_string(), "size": 1, "piece_length": 16384,
        "kernel": {"size": 1, "from": "x"}, "initrd": {"size": 1, "from": "x"}, "source": "",
        "added": format!("2026-11-26T08:00:0{payload}Z"),
    }))
    .unwrap()
}

fn publish(catalogue: &Catalogue, name: &ImageName, payload: u8, place: Place) -> anyhow::Result<u32> {
    let staging = catalogue.stage(name)?;
    for file in [PAYLOAD, KERNEL, INITRD] {
        std::io::Write::write_all(&mut staging.create(file)?, &[payload])?;
    }
    Ok(staging.publish_as(&manifest(name, payload), b"torrent", place)?.1)
}

impl Room {
    fn new() -> Room {
        let dir = tempfile::tempdir().unwrap();
        let config = boottorrent_server::config::Config {
            catalogue: boottorrent_server::config::Catalogue { dir: dir.path().into(), ..Default::default() },
            ..Default::default()
        };
        Room { disk: Disk::of(&config), name: "lab".parse().unwrap(), runs: BTreeMap::new(), dir }
    }

    fn clients(&self) -> Vec<Client> {
        let client = |(machine, infohash): (&u8, &InfoHash)| Client {
            heartbeat: Heartbeat {
                id: key(*machine).to_string(),
                infohash: Some(*infohash),
                phase: Phase::Seed,
                ..Heartbeat::default()
            },
            proven: true,
            ..Client::default()
        };
        self.runs.iter().map(client).collect()
    }

    /// What there is of the image, by its content.
    fn there(&self) -> BTreeMap<u32, (InfoHash, u8)> {
        let Ok(versions) = self.disk.catalogue.versions(&self.name) else { return BTreeMap::new() };
        let one = |m: &ImageManifest| {
            let dir = self.disk.catalogue.dir_of(&self.name, m.version).unwrap();
            (m.version, (m.infohash, std::fs::read(dir.join(PAYLOAD)).unwrap()[0]))
        };
        let all: BTreeMap<_, _> = versions.iter().map(one).collect();
        assert_eq!(all.len(), versions.len(), "two of one number: {versions:?}");
        all
    }

    fn act(&mut self, doing: &Doing) -> anyhow::Result<()> {
        let (catalogue, name) = (&self.disk.catalogue, self.name.clone());
        let of = |version| ImageRef { name: name.clone(), version };
        match *doing {
            Doing::Add(payload, true) => publish(catalogue, &name, payload, Place::Candidate).map(drop)?,
            Doing::Add(payload, false) => publish(catalogue, &name, payload, Place::Current).map(drop)?,
            Doing::Back => catalogue.make_current(&name, None).map(drop)?,
            Doing::Current(n) => catalogue.make_current(&name, Some(n)).map(drop)?,
            Doing::Remove => self.disk.remove_image(&of(None), false, || Ok(self.clients()))?,
            Doing::RemoveVersion(n) => {
                self.disk.remove_image(&of(Some(n)), false, || Ok(self.clients()))?;
            }
            Doing::Rename => {
                let new: ImageName = if name.as_str() == "lab" { "lesson" } else { "lab" }.parse()?;
                let change = ImageChange { name: Some(new.clone()), ..ImageChange::default() };
                self.disk.change_image(&name, &change)?;
                self.name = new;
            }
            Doing::Prune(versions, size) => {
                self.disk.prune(&Retention { versions, size }, &self.clients()).map(drop)?;
            }
            Doing::Assign(machine, version) => {
                let image = Some(of(version));
                let change = HostChange { set: HostEntry { image, ..HostEntry::default() }, unset: vec![] };
                self.disk.set_host(&key(machine), &change).map(drop)?;
            }
            Doing::Boot(machine) => {
                let EntryKey::Mac(mac) = key(machine) else { unreachable!() };
                let asker = Asker { mac: Some(mac), ..Asker::default() };
                let image = choose(&self.disk.hosts.load()?, &asker).image.unwrap_or(of(None));
                let version =
                    image.version.map_or_else(|| catalogue.manifest(&name).map(|m| m.version), Ok)?;
                let there = self.there();
                let (infohash, _) = there.get(&version).expect("what a machine is set to is there");
                self.runs.insert(machine, *infohash);
            }
            Doing::Off(machine) => drop(self.runs.remove(&machine)),
            Doing::PowerCut(payload) => {
                // Before the new version and the current one change places.
                publish(catalogue, &name, payload, Place::Candidate).map(drop)?;
                let images = self.dir.path().join("images");
                let (now, other) = (images.join(name.as_str()), images.join("between"));
                if let Some(new) = catalogue.kept(&name)?.last() {
                    let new = images.join(&new.folder);
                    for (from, to) in [(&now, &other), (&new, &now), (&other, &new)] {
                        std::fs::rename(from, to)?;
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_a_machine_runs_is_never_deleted(doings in proptest::collection::vec(doing(), 1..40)) {
        let mut room = Room::new();
        for doing in &doings {
            let before = room.there();
            if let Err(e) = room.act(doing) {
                prop_assert_eq!(&room.there(), &before, "{:?}: {:#}: nothing was changed", doing, e);
                let said = format!("{e:#}");
                prop_assert!(!said.contains('\n') && said.contains(room.name.as_str()), "{}", said);
            }
            let there = room.there();
            for (version, (infohash, payload)) in &there {
                prop_assert_eq!(infohash, &hash(*payload), "{:?}: version {}", doing, version);
                if let Some((was, _)) = before.get(version) {
                    prop_assert!(was == infohash || matches!(doing, Doing::Remove), "{:?}: {}", doing, version);
                }
            }
            for infohash in room.runs.values() {
                prop_assert!(there.values().any(|(h, _)| h == infohash), "{:?}: {} is gone", doing, infohash);
            }
            for entry in room.disk.hosts.load().unwrap().entries.values() {
                let version = entry.image.as_ref().and_then(|i| i.version);
                prop_assert!(version.is_none_or(|v| there.contains_key(&v)), "{:?}: {:?}", doing, version);
            }
            let left = std::fs::read_dir(room.dir.path().join("images")).into_iter().flatten();
            let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
            prop_assert!(!left.iter().any(|f| f.to_string_lossy().starts_with(".s")), "{:?}: {:?}", doing, left);
        }
    }
}

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";

fn rows(w: &World) -> Vec<Value> {
    serde_json::from_str(&w.run(&["image", "history", "lab", "--json"]).good()).unwrap()
}

fn infohash(w: &World) -> String {
    let shown = w.run(&["image", "show", "lab", "--json"]).good();
    serde_json::from_str::<Value>(&shown).unwrap()["infohash"].as_str().unwrap().to_owned()
}

/// A root whose content is not the last one's.
fn add(w: &World, content: &str, how: &str) -> String {
    let root = w.root("lab-root");
    w.write("lab-root/etc/version", content);
    let add = ["image", "add", root.to_str().unwrap(), "--name", "lab", "--initrd-from", "image"];
    let said = w.run(&[&add[..], &[how]].concat()).good();
    std::fs::remove_dir_all(root).unwrap();
    said
}

/// What the boot script of a machine names.
fn boots(server: &Server, mac: &str) -> String {
    let script = server.get(&format!("/boot.ipxe?mac={mac}")).text();
    let (_, rest) = script.split_once("boottorrent.infohash=").unwrap_or_else(|| panic!("{script}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_new_version_for_a_group_first_then_for_all_and_back() {
    let w = World::new();
    add(&w, "1", "--replace");
    let server = Server::start(&w, &[]);
    let old = infohash(&w);
    let beat = |mac: &str, hash: &str| {
        let body = json!({"id": mac, "hostname": mac.replace(':', "-"), "image": "lab", "infohash": hash,
            "phase": "seed", "uptime": 9.0, "progress": {"have": 1, "total": 1}});
        until("a heartbeat", || (server.beat(body.clone()).status == 204).then_some(()));
    };
    beat(ONE, &old);

    // For a group first.
    let said = add(&w, "2", "--candidate");
    assert!(said.contains("version 2, not the current one"), "{said}");
    w.run(&["host", "set", "group:test", "--image", "lab@2"]).good();
    w.run(&["host", "set", TWO, "--group", "test", "--name", "pc2"]).good();
    let new = rows(&w)[0]["infohash"].as_str().unwrap().to_owned();
    until("the new version for one", || (boots(&server, TWO) == new).then_some(()));
    assert_eq!(boots(&server, ONE), old);
    for (hash, mac) in [(&old, ONE), (&new, TWO)] {
        let file = format!("/images/lab/vmlinuz?infohash={hash}");
        assert_eq!(server.get(&file).status, 200, "{mac}");
        let torrent = server.get(&format!("/images/lab/lab.torrent?infohash={hash}")).body;
        assert_eq!(swarm::Metainfo::parse(torrent).unwrap().infohash().to_string(), *hash);
    }
    beat(TWO, &new);
    let table = w.run(&["status", "--server", &server.http.to_string()]).good();
    assert!(table.contains(" lab@1 ") && table.contains(" lab@2 "), "{table}");
    let told = rows(&w);
    assert_eq!(
        (&told[0]["machines"], &told[0]["assigned"], &told[1]["machines"], &told[1]["current"]),
        (&json!(["pc2"]), &json!(["group:test"]), &json!([ONE]), &json!(true))
    );
    until("both are seeded", || {
        let health: Value = serde_json::from_str(&server.get("/api/v1/health").text()).unwrap();
        (health["seeding"] == 2).then_some(())
    });

    // Then for all, and back in one command, while machines run both.
    w.run(&["image", "set", "lab", "--version", "2"]).good();
    until("the new version for all", || (boots(&server, ONE) == new).then_some(()));
    let back = w.run(&["image", "rollback", "lab"]).good();
    assert!(back.starts_with("image 'lab' is of version 1 again; "), "{back}");
    until("the way back", || (boots(&server, ONE) == old).then_some(()));
    assert_eq!(boots(&server, TWO), new, "who is set to a version keeps it");

    // What runs, or should be booted, is not removed.
    w.run(&["image", "remove", "lab@2"])
        .refused("image 'lab@2' is in use by pc2: shut them down first, or give --force");
    let current = w.run(&["image", "remove", "lab@1"]).err;
    assert!(current.contains("in use by"), "{current}");
    w.run(&["image", "remove", "lab@7"]).refused("image 'lab' has no version 7: its versions are 1, 2");
    w.run(&["image", "rollback", "lab"])
        .refused("image 'lab' has no version before 1: `boottorrent image history lab` lists its versions");
    w.run(&["host", "set", "pc2", "--image", "lab@3"])
        .refused("there is no version 3 of 'lab': its versions are 1, 2");

    // Nor when the server has stopped.
    assert_eq!(server.stop(), Some(0));
    let stopped = w.run(&["image", "remove", "lab"]).err;
    assert!(stopped.contains("image 'lab' is in use by") && stopped.contains("pc2"), "{stopped}");
    // A server that starts again knows what machines did, and removes nothing of it.
    let server = Server::start(&w, &["--no-seed"]);
    let one: Value = serde_json::from_str(&server.get(&format!("/api/v1/clients/{TWO}")).text()).unwrap();
    assert_eq!(
        (&one["phase"], &one["proven"], &one["name"]),
        (&json!("booted"), &json!(true), &json!("pc2"))
    );
    let last = one["boots"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["phase"], &last["infohash"]), (&json!("booted"), &json!(new)));
    let refused = w.run(&["image", "remove", "lab"]).err;
    assert!(refused.contains("is in use by"), "{refused}");
    w.run(&["image", "remove", "lab", "--force"]).good();
    assert_eq!(std::fs::read_dir(w.path("cat/images")).unwrap().count(), 1, "the lock");
}

#[test]
fn two_earlier_versions_are_kept_and_what_runs_besides() {
    let w = World::new();
    let numbers = || rows(&w).iter().map(|r| r["version"].as_u64().unwrap()).collect::<Vec<_>>();
    // Without a server too.
    for n in 1..=4 {
        add(&w, &n.to_string(), "--replace");
    }
    assert_eq!(numbers(), [4, 3, 2]);
    let first = rows(&w).last().unwrap()["infohash"].as_str().unwrap().to_owned();
    let server = Server::start(&w, &["--no-seed"]);
    let body = json!({"id": ONE, "image": "lab", "infohash": first, "phase": "seed", "uptime": 9.0});
    until("a heartbeat", || (server.beat(body.clone()).status == 204).then_some(()));
    for n in 5..=6 {
        add(&w, &n.to_string(), "--replace");
    }
    until("the third one goes, and the second one runs", || (numbers() == [6, 5, 4, 2]).then_some(()));
    // The same again is not a new version.
    let same = w.squashfs("same").display().to_string();
    for _ in 0..2 {
        let add = ["image", "add", &same, "--name", "lab", "--replace", "--initrd-from", "image"];
        let said = w.run(&add).good();
        assert!(said.contains("version 7:"), "{said}");
    }
    until("the fourth one goes", || (numbers() == [7, 6, 5, 2]).then_some(()));
}

/// Nobody runs who would do it later.
#[test]
fn a_fetch_without_a_server_removes_what_is_too_old() {
    let w = World::new();
    w.run(&["image", "list"]).good();
    let settings = std::fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", settings.replace("[catalogue]\n", "[catalogue]\nkeep-versions = 1\n"));
    for number in 1..=4 {
        w.squashfs(&format!("v{number}"));
        let file = format!("./v{number}.squashfs");
        w.run(&["image", "fetch", &file, "--name", "lab", "--replace", "--no-verify"]).good();
    }
    let kept: Vec<serde_json::Value> =
        serde_json::from_str(&w.run(&["image", "history", "lab", "--json"]).good()).unwrap();
    let numbers: Vec<_> = kept.iter().map(|v| v["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [4, 3]);
}
