// SPDX-License-Identifier: GPL-3.0-or-later
//! Orders for machines that run, by the real program: given, signed, carried in answers to heartbeats, taken back.

mod common;

use bootspec::{
    order::{Order, SentOrder},
    trust::Keys,
};
use common::{Said, Server, World, until};
use serde_json::{Value, json};
use std::{fs, process::Stdio};

const PC1: &str = "52:54:00:00:00:01";
const PC2: &str = "52:54:00:00:00:02";

fn world() -> (World, Server) {
    let w = World::new();
    for image in ["lesson", "exam"] {
        w.squashfs(image);
        w.run(&["image", "add", &format!("{image}.squashfs"), "--initrd-from", "image"]).good();
    }
    let server = Server::start(&w, &["--no-seed"]);
    w.run(&["host", "set", "group:lab", "--image", "lesson"]).good();
    w.run(&["host", "set", PC1, "--name", "pc1", "--group", "lab"]).good();
    w.run(&["host", "set", PC2, "--name", "pc2", "--group", "lab"]).good();

    (w, server)
}

/// A machine that runs says what became of its order, and is answered.
fn beat(server: &Server, mac: &str, order: Value) -> Option<SentOrder> {
    let remote = json!({"allows": ["switch", "reboot"], "order": order});
    let beat = json!({"id": mac, "phase": "booted", "uptime": 9.0, "orders": remote});
    let answer = until("a heartbeat", || {
        let answer = server.beat(beat.clone());
        (answer.status != 429).then_some(answer)
    });
    match answer.status {
        204 => None,
        200 => {
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            serde_json::from_value(answer["order"].clone()).unwrap()
        }
        other => panic!("{other}: {}", answer.text()),
    }
}

fn rows(w: &World) -> Vec<Value> {
    serde_json::from_str(&w.run(&["host", "switch", "--json"]).good()).unwrap()
}

fn report(order: &Order, stage: &str, by: &str) -> Value {
    json!({"id": order.id, "what": order.what(), "stage": stage, "percent": 100, "by": by})
}

#[test]
fn an_order_reaches_the_machines_and_they_report() {
    let (w, server) = world();
    for mac in [PC1, PC2] {
        assert_eq!(beat(&server, mac, Value::Null), None);
    }
    assert_eq!(
        w.run(&["host", "switch"]).good(),
        "no machine has an order: `boottorrent host switch WHO IMAGE` gives one\n"
    );
    let said = w.run(&["host", "switch", "pc[1-2]", "exam", "--at", "23:59", "--wait-for-users"]).good();
    assert!(said.contains("pc1      switch to exam  20") && said.contains(" 23:59:00  sent\n"), "{said}");
    assert!(said.contains("\n2 machines, 0 ready\n"), "{said}");
    let sent = beat(&server, PC1, Value::Null).unwrap();
    let order = Order::parse(&sent.order).unwrap();
    let infohash = order.image.as_ref().unwrap().infohash;
    assert_eq!((order.machine.as_str(), sent.signature.as_str(), order.wait_for_users), (PC1, "", true));
    assert!(server.get("/api/v1/images").text().contains(&infohash.to_string()));
    assert_eq!(rows(&w)[0]["state"], "sent");
    assert!(beat(&server, PC1, report(&order, "ready", "soft-reboot")).is_some());
    let said = w.run(&["host", "switch"]).good();
    assert!(said.contains("ready (soft-reboot)") && said.contains("2 machines, 1 ready"), "{said}");
    let status = w.run(&["status", "--server", &server.http.to_string()]).good();
    assert!(status.contains("switch to exam: ready (soft-reboot)"), "{status}");
    // Somebody else speaks in its name: nothing of that counts.
    let liar =
        json!({"id": PC1, "phase": "booted", "orders": {"order": report(&order, "refused", "reboot")}});
    assert_eq!(server.heartbeat(&liar.to_string()).status, 403);
    assert_eq!(rows(&w)[0]["stage"], "ready");

    // Taken back, of one of them; then there is nothing more to take back.
    assert_eq!(w.run(&["host", "switch", "pc1", "--cancel"]).good(), "pc1: switch to exam is taken back\n");
    assert_eq!(beat(&server, PC1, Value::Null), None);
    w.run(&["host", "switch", "pc1", "--cancel"])
        .refused("these machines have no order that could be taken back");
    assert_eq!(rows(&w).len(), 1);
    // What is on the disk is what a server knows that starts again.
    server.stop();
    let server = Server::start(&w, &["--no-seed"]);
    assert_eq!(rows(&w).len(), 1);
    assert!(beat(&server, PC2, Value::Null).is_some());
    drop(server);
    w.run(&["host", "switch", "pc1", "exam"]).refused(
        "no server runs here, and machines get their orders from it: systemctl start boottorrent-server",
    );
}

#[test]
fn a_machine_that_must_reboot_boots_the_image_once() {
    let (w, server) = world();
    w.run(&["host", "set", PC1, "--image", "lesson"]).good();
    beat(&server, PC1, Value::Null);
    w.run(&["host", "switch", "pc1", "exam"]).good();
    let order = Order::parse(&beat(&server, PC1, Value::Null).unwrap().order).unwrap();
    let boots = |server: &Server| server.get(&format!("/boot.ipxe?mac={PC1}")).text();
    assert!(!boots(&server).contains("/images/exam/vmlinuz"));
    assert!(beat(&server, PC1, report(&order, "going", "soft-reboot")).is_some());
    assert!(!boots(&server).contains("/images/exam/vmlinuz"), "it needs no boot");
    assert!(beat(&server, PC1, report(&order, "going", "reboot")).is_some());
    assert!(boots(&server).contains("/images/exam/vmlinuz"));
    // It does not go after all: its next boot is what it was.
    assert!(beat(&server, PC1, report(&order, "refused", "reboot")).is_some());
    assert!(!boots(&server).contains("/images/exam/vmlinuz"), "it stays as it is");
    assert!(beat(&server, PC1, report(&order, "going", "reboot")).is_some());
    assert!(boots(&server).contains("/images/exam/vmlinuz"));
    assert_eq!(beat(&server, PC1, Value::Null), None, "who comes back does not find it again");
    w.run(&["host", "switch", "pc1", "--cancel"])
        .refused("it is too late: the order is being carried out, or it has been");
}

#[test]
fn orders_are_signed_by_whoever_can() {
    let (w, server) = world();
    w.run(&["key", "generate", "--no-password"]).good();
    beat(&server, PC1, Value::Null);
    w.run(&["host", "reboot", "pc1", "--message", "Sorry"]).good();
    let sent = beat(&server, PC1, Value::Null).unwrap();
    let mut keys = Keys::default();
    let id = keys.add(&fs::read(w.path("keys/boottorrent.pub")).unwrap()).unwrap();
    assert_eq!(keys.signed_by(sent.order.as_bytes(), sent.signature.as_bytes()), Ok(id));
    assert_eq!((&rows(&w)[0]["signed"], &rows(&w)[0]["action"]), (&json!(true), &json!("reboot")));

    // A key with a password that nobody is asked for: said, and given without a signature.
    let locked = w.shown("locked");
    let mut generate = w.command(&["--keys", &locked, "key", "generate"]);
    let made = generate.env("BOOTTORRENT_KEY_PASSWORD", "geheim").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let poweroff = || {
        let mut command = w.command(&["--keys", &locked, "host", "poweroff", "pc1"]);
        Said::from(command.stdin(Stdio::null()).output().unwrap())
    };
    assert_eq!((poweroff().err.as_str(), &rows(&w)[0]["signed"]), ("", &json!(true)), "the server can");
    drop(server);
    let server = Server::start(&w, &["--no-seed", "--keys", &locked]);
    let said = poweroff();
    assert!(said.err.starts_with("note: not signed: the key ") && said.code == Some(0), "{}", said.err);
    assert_eq!(beat(&server, PC1, Value::Null).unwrap().signature, "");
}

#[test]
fn who_may_and_bad_input() {
    let (w, server) = world();
    let token = w.run(&["token", "new", "page"]).good().trim().to_owned();
    let json = ("content-type", "application/json");
    let bearer = format!("Bearer {token}");
    let ask = |headers: &[(&str, &str)], body: Value| {
        server.ask("POST", "/api/v1/orders", headers, body.to_string().as_bytes())
    };
    let good = json!({"who": ["group:lab"], "action": "switch", "image": "exam"});
    assert_eq!(ask(&[json], good.clone()).status, 401);
    assert_eq!(rows(&w).len(), 0);
    let with_token = [json, ("authorization", bearer.as_str())];
    let answer = ask(&with_token, good.clone());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(rows(&w).len(), 2);
    let order = rows(&w)[0].clone();
    let text = json!({"order": "boottorrent order 1\n"});
    for (body, why) in [
        (json!({"who": ["pc9"], "action": "reboot"}), "no machine and no group is called 'pc9'"),
        (
            json!({"who": ["pc1"], "action": "fly"}),
            "this request cannot be understood: unknown variant `fly`",
        ),
        (
            json!({"who": ["pc1"], "action": "switch", "image": "gone"}),
            "there is no image 'gone' to switch to",
        ),
        (json!({"who": ["pc1"], "action": "reboot", "at": "noon"}), "'noon' is not a valid time"),
        (json!({"who": ["pc1"], "action": "reboot", "within": 9999}), "9999 minutes are not allowed"),
        (json!({"who": ["pc1"], "later": true}), "this request cannot be understood: unknown field `later`"),
        (json!({"who": ["pc1"], "signed": [text]}), "`signed` stands alone"),
        (json!({"signed": [text]}), "this is not an order: it ends before its line 'id'"),
    ] {
        let answer = ask(&with_token, body.clone());
        assert!(answer.status == 400 && answer.text().starts_with(why), "{body}: {}", answer.text());
    }
    assert_eq!(rows(&w)[0], order, "nothing has changed");
    for (args, why) in [
        (&["host", "switch", "pc1"][..], "name the image to switch to"),
        (&["host", "switch", "--cancel"], "name the machines whose orders are taken back"),
        (
            &["host", "reboot", "pc1", "--at", "25:00"],
            "'25:00' is not a valid time: write 09:55, 2026-11-27T09:55:00+01:00 or now",
        ),
    ] {
        w.run(args).refused(why);
    }
    let path = format!("/api/v1/orders/{PC1}");
    assert_eq!(server.ask("DELETE", &path, &[json], b"").status, 401);
    assert_eq!(server.ask("DELETE", &path, &with_token, b"").status, 200);
    assert_eq!(server.ask("DELETE", &path, &with_token, b"").status, 409);
}
