// SPDX-License-Identifier: GPL-3.0-or-later
//! What relays and their first server know of each other: of a thousand machines, and in whatever order things happen.

#[path = "common/certificate.rs"]
mod certificate;
mod common;
#[path = "common/first.rs"]
mod first;

use common::{Server, World, until};
use first::{First, MAC, get, has, script, trouble};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_thousand_machines_by_four_relays() {
    let first = First::new();
    let tokens = ["a", "b", "c", "d"].map(|name| (name, first.run(&["relay", "add", name])));
    let server = first.start();
    let id = |n: usize| format!("52:54:00:00:{:02x}:{:02x}", n / 256, n % 256);
    for phase in ["download", "booted"] {
        for (of, (name, token)) in tokens.iter().enumerate() {
            for part in 0..2 {
                let ids = (0..125).map(|n| id(of * 250 + part * 125 + n));
                let beat = |id: String| json!({"id": id, "phase": phase, "image": "lab"});
                let words = ids.map(|id| json!({"remote": "10.0.0.9", "proof": "link", "beat": beat(id)}));
                let report = json!({
                    "version": env!("CARGO_PKG_VERSION"), "http": 6980, "subnets": [], "images": 1, "missing": 0,
                    "words": words.collect::<Vec<_>>(), "done": [],
                });
                let bearer = format!("Bearer {}", token.trim());
                let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                let path = "/api/v1/relay/report";
                let answer = server.ask("POST", path, &headers, report.to_string().as_bytes());
                let orders: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let answered = orders["orders"].as_object().map(|o| o.len());
                assert_eq!((answer.status, answered), (200, Some(125)), "{name} {phase}: {}", answer.text());
            }
        }
    }
    let machines = get(&server, "/api/v1/clients");
    let booted = |name: &str| {
        let is = |m: &&Value| m["relay"] == name && m["phase"] == "booted";
        machines.as_array().unwrap().iter().filter(is).count()
    };
    assert_eq!(["a", "b", "c", "d"].map(booted), [250; 4]);
}

/// Random numbers that can be had again.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Changes, cuts, restarts and boots in a random order: at the end both have the same, and nothing was booted once too often.
/// `DICE=N` repeats an order.
#[test]
fn in_whatever_order_both_end_with_the_same() {
    let seed =
        std::env::var("DICE").ok().and_then(|n| n.parse().ok()).unwrap_or(u64::from(std::process::id()));
    println!("DICE={seed}");
    let mut dice = Dice(seed);
    let first = First::new();
    ["lab", "exam", "other"].iter().for_each(|image| drop(first.w.squashfs(image)));
    let add = |image: &str| {
        first.w.run(&["image", "add", &format!("{image}.squashfs"), "--name", image, "--replace"]).good();
    };
    add("lab");
    add("exam");
    first.run(&["host", "set", MAC, "--name", "pc1", "--image", "lab"]);
    let w = first.relay("east", "");
    let (mut server, mut relay) = (Some(first.start()), Some(Server::start(&w, &[])));
    has(relay.as_ref().unwrap(), "exam");
    until("the machine's entry", || {
        script(relay.as_ref().unwrap()).contains("images/lab/vmlinuz").then_some(())
    });
    let (mut set, mut booted) = (0, 0);
    for step in 0..20 {
        let n = dice.throw(10);
        match n {
            0 => drop(first.run(&["host", "set", MAC, "--param", &format!("step={step}")])),
            1 => drop(first.run(&["host", "set", &format!("group:g{step}"), "--image", "exam"])),
            2 => drop(first.run(&["entry", "add", &format!("e{step}"), "--local", "--title", "A disk"])),
            3 => add("other"),
            4 => drop(first.w.run(&["image", "remove", "other"])),
            5 => {
                first.run(&["host", "set", MAC, "--once", "exam"]);
                set += 1;
            }
            6 => server = server.take().map_or_else(|| Some(first.start()), |s| (s.stop(), None).1),
            7 => relay = relay.take().map_or_else(|| Some(Server::start(&w, &[])), |r| (r.stop(), None).1),
            _ => {
                if let Some(relay) = relay.as_ref()
                    && script(relay).contains("images/exam/vmlinuz")
                {
                    relay.beat(json!({"id": MAC, "phase": "download", "image": "exam"}));
                    booted += 1;
                }
            }
        }
    }
    let server = server.unwrap_or_else(|| first.start());
    let relay = relay.unwrap_or_else(|| Server::start(&w, &[]));
    // What both know of machines, but for boots for one time that are still to come.
    let hosts = |w: &World| fs::read_to_string(w.path("cat/hosts.toml")).unwrap_or_default();
    let list = |server: &Server, path: &str, key: &str| {
        let rows = get(server, path).as_array().cloned().unwrap_or_default();
        let mut all: Vec<String> = rows.iter().map(|r| format!("{} {}", r["name"], r[key])).collect();
        all.sort();
        all
    };
    let both = || {
        let lists = [("/api/v1/images", "infohash"), ("/api/v1/entries", "title")];
        let [a, b] = [&server, &relay].map(|s| lists.map(|(path, key)| list(s, path, key)));
        (hosts(&first.w), a, hosts(&w), b)
    };
    let start = std::time::Instant::now();
    loop {
        let (hosts, lists, relays_hosts, relays_lists) = both();
        if hosts == relays_hosts && lists == relays_lists {
            break;
        }
        let differ = format!("{hosts}\n{lists:?}\ninstead of\n{relays_hosts}\n{relays_lists:?}");
        assert!(start.elapsed().as_secs() < 60, "DICE={seed}: {differ}\n{}", trouble(&w));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(booted <= set, "DICE={seed}: {booted} boots of what was set {set} times");
}
