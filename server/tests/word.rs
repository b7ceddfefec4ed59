// SPDX-License-Identifier: GPL-3.0-or-later
//! Whose word counts: what others say in a machine's name changes nothing, and what a machine says of itself is never
//! another kind of name.
#![allow(missing_docs)]

mod common;

use common::{Server, World, until};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, Output},
};

const MAC: &str = "52:54:00:00:00:01";

fn clients(server: &Server) -> Vec<Value> {
    serde_json::from_str(&server.get("/api/v1/clients").text()).unwrap()
}

fn one(server: &Server, id: &str) -> Value {
    serde_json::from_str(&server.get(&format!("/api/v1/clients/{id}")).text()).unwrap()
}

fn with_image(w: &World) {
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
}

#[test]
fn a_question_and_made_up_words_change_nothing() {
    let w = World::new();
    with_image(&w);
    let server = Server::start(&w, &["--no-seed"]);
    w.run(&["image", "add", "lab.squashfs", "--name", "exam"]).good();
    until("exam", || server.get("/api/v1/images").text().contains("\"exam\"").then_some(()));
    w.run(&["host", "set", MAC, "--once", "exam"]).good();
    let hosts = || fs::read_to_string(w.path("cat/hosts.toml")).unwrap();
    let before = hosts();
    let ask = || server.get(&format!("/boot.ipxe?mac={MAC}")).text();
    for _ in 0..3 {
        assert!(ask().contains("images/exam/vmlinuz"));
    }
    assert_eq!(hosts(), before, "a question is only a question");
    let infohash = |name: &str| {
        let images: Vec<Value> = serde_json::from_str(&server.get("/api/v1/images").text()).unwrap();
        images.iter().find(|i| i["name"] == name).unwrap()["infohash"].clone()
    };
    let beat = |phase: &str| json!({"id": MAC, "phase": phase, "infohash": infohash("lab"), "uptime": 0.1});
    // Without a secret, with one of another machine, and with nonsense.
    let other = server.secret("52:54:00:00:00:02").unwrap();
    for secret in [Value::Null, json!(other), json!("00".repeat(26)), json!("é")] {
        let mut body = beat("failed");
        body["secret"] = secret;
        server.heartbeat(&body.to_string());
        assert_eq!(hosts(), before);
        assert_eq!(one(&server, MAC)["proven"], false);
        std::thread::sleep(std::time::Duration::from_millis(110));
    }
    let stats: Value = serde_json::from_str(&server.get("/api/v1/stats").text()).unwrap();
    assert_eq!((&stats["totals"]["failed"], &stats["totals"]["booted"]), (&json!(0), &json!(0)));
    // The machine itself.
    let mine = server.secret(MAC).unwrap();
    let speak = |phase: &str, secret: &str| {
        let mut body = beat(phase);
        body["secret"] = secret.into();
        server.heartbeat(&body.to_string()).status
    };
    assert_eq!(speak("network", &mine), 204);
    assert!(!hosts().contains("once"), "the boot has begun");
    assert!(ask().contains("choose"), "the next one is as always");
    assert_eq!(server.heartbeat(&beat("failed").to_string()).status, 403);
    until("a word", || (speak("seed", &mine) == 204).then_some(()));
    let now = one(&server, MAC);
    assert_eq!((&now["phase"], &now["proven"]), (&json!("booted"), &json!(true)));
    assert!(now.get("secret").is_none(), "it is told nobody");
    ask();
    assert_eq!(one(&server, MAC)["phase"], "booted", "somebody asks in its name");
    // Only machines that are there keep an image.
    let removed =
        |name: &str| w.run(&["image", "remove", name, "--server", &format!("http://{}", server.http)]);
    assert!(removed("lab").err.contains("is in use by"), "it runs there");
    let fake =
        json!({"id": "52:54:00:00:00:07", "phase": "seed", "infohash": infohash("exam"), "uptime": 1.0});
    assert_eq!(server.heartbeat(&fake.to_string()).status, 204);
    removed("exam").good();
    // A later boot has another secret; the earlier one is void then.
    let later = server.secret(MAC).unwrap();
    until("a later boot", || (speak("network", &later) == 204).then_some(()));
    assert_eq!(speak("seed", &mine), 403);
    // After a restart of the server too it is known.
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&w, &["--no-seed"]);
    let mut body = beat_of("download");
    body["secret"] = later.into();
    assert_eq!(server.heartbeat(&body.to_string()).status, 204);
    assert_eq!(one(&server, MAC)["proven"], true);
}

fn beat_of(phase: &str) -> Value {
    json!({"id": MAC, "phase": phase})
}

#[test]
fn a_machine_is_no_group_and_not_everybody() {
    let w = World::new();
    with_image(&w);
    let server = Server::start(&w, &["--no-seed"]);
    for id in ["default", "group:room1", "serial:1", "pc-07", "4c4c4544-0042-3510-8052-b4c04f564433", "x"] {
        let answer = server.heartbeat(&json!({"id": id, "hostname": "pc-07"}).to_string());
        assert_eq!(answer.status, 400, "{id}");
        assert_eq!(
            answer.text(),
            format!(
                "'{id}' is not a machine: the id of a heartbeat is the MAC address that the machine boots with\n"
            )
        );
    }
    assert_eq!(clients(&server), Vec::<Value>::new());
    // Who has no card's address is known by its own, whatever it says.
    assert_eq!(server.heartbeat(&json!({"id": "10.9.9.9"}).to_string()).status, 204);
    assert_eq!(clients(&server)[0]["id"], "127.0.0.1");
}

/// A host on a link of ours, with two addresses.
struct Host(String);

impl Host {
    fn new(tag: &str, mac: &str) -> Host {
        let (name, pid) = (format!("bt{tag}{}", std::process::id()), std::process::id() % 200);
        let here = format!("{name}h");
        let run = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(Command::new("ip").args(&words).status().unwrap().success(), "ip {line}");
        };
        run(&format!("netns add {name}"));
        run(&format!("link add {here} type veth peer name eth0 address {mac} netns {name}"));
        run(&format!("address add 10.231.{pid}.1/24 dev {here}"));
        run(&format!("link set {here} up"));
        for n in [2, 3] {
            run(&format!("-n {name} address add 10.231.{pid}.{n}/24 dev eth0"));
        }
        run(&format!("-n {name} link set eth0 up"));
        Host(name)
    }

    fn server(&self) -> String {
        format!("10.231.{}.1", std::process::id() % 200)
    }

    fn curl(&self, args: &[&str]) -> Output {
        let out = Command::new("ip")
            .args(["netns", "exec", &self.0, "curl", "-sS", "--max-time", "20"])
            .args(args)
            .output();
        out.unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &format!("{}h", self.0)]).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// On the server's own link nobody gets a secret in another's name, and who needs none has none.
#[test]
fn the_link_says_whose_card_it_is() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let w = World::new();
    with_image(&w);
    let host = Host::new("w", MAC);
    let server = Server::start_on(&w, &format!("{}:0", host.server()), &["--no-seed"]);
    let url = |path: &str| format!("http://{}{path}", server.http);
    let text = |args: &[&str]| String::from_utf8_lossy(&host.curl(args).stdout).into_owned();
    let own = text(&[&url(&format!("/boot.ipxe?mac={MAC}"))]);
    assert!(own.contains(" boottorrent.secret="), "{own}");
    for path in ["/boot.ipxe?mac=52:54:00:00:00:99", "/grub.cfg?mac=52:54:00:00:00:99"] {
        let others = text(&[&url(path)]);
        assert!(others.contains("boottorrent.image=lab") && !others.contains("secret"), "{others}");
    }
    let listed = |id: &str| clients(&server).iter().any(|c| c["id"] == id);
    assert!(listed(MAC) && !listed("52:54:00:00:00:99"), "nor is it listed by its question");
    // From the server itself, which is not a machine of that link: not in the name of one that is there.
    let beat = |id: &str, phase: &str| {
        let body = json!({"id": id, "phase": phase, "uptime": 0.1}).to_string();
        text(&[
            "-H",
            "content-type: application/json",
            "-d",
            &body,
            "-w",
            "%{http_code}",
            &url("/api/v1/heartbeat"),
        ])
    };
    // Without a secret, as after GRUB by TFTP or LTSP: the machine's own address stands for it.
    assert_eq!(beat(MAC, "seed"), "204");
    assert_eq!((&one(&server, MAC)["proven"], &one(&server, MAC)["phase"]), (&json!(true), &json!("booted")));
    assert_eq!(beat("52:54:00:00:00:99", "seed"), "204");
    assert_eq!(one(&server, "52:54:00:00:00:99")["proven"], false, "its own address belongs to another card");
}
