// SPDX-License-Identifier: GPL-3.0-or-later
//! The calendar, kept by the real daemon: entries are added, checked and removed, and machines get their orders.

mod common;

use bootspec::order::{Action, Order, SentOrder};
use common::{Server, World, tool, until};
use serde_json::{Value, json};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

const PC1: &str = "52:54:00:00:00:01";
const PC2: &str = "52:54:00:00:00:02";

fn world() -> World {
    let w = World::new();
    for image in ["lesson", "exam"] {
        w.squashfs(image);
        w.run(&["image", "add", &format!("{image}.squashfs"), "--initrd-from", "image"]).good();
    }
    w.run(&["host", "set", "group:lab", "--image", "lesson"]).good();
    w.run(&["host", "set", PC1, "--name", "pc1", "--group", "lab"]).good();
    w.run(&["host", "set", PC2, "--name", "pc2"]).good();
    w
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A machine that has run for a day reports, and is answered.
fn beat(server: &Server, mac: &str, image: &str, order: Value) -> Option<Order> {
    let images: Value = serde_json::from_slice(&server.get("/api/v1/images").body).unwrap();
    let infohash = &images.as_array().unwrap().iter().find(|i| i["name"] == image).unwrap()["infohash"];
    let beat = json!({"id": mac, "phase": "booted", "uptime": 86_400.0, "image": image, "infohash": infohash,
        "orders": {"allows": ["switch"], "order": order}});
    let answer = until("a heartbeat", || {
        let answer = server.beat(beat.clone());
        (answer.status != 429).then_some(answer)
    });
    if answer.status == 204 {
        return None;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let sent: SentOrder = serde_json::from_value(answer["order"].clone()).unwrap();
    Some(Order::parse(&sent.order).unwrap())
}

fn done(order: &Order) -> Value {
    json!({"id": order.id, "what": order.what(), "stage": "done", "percent": 100, "by": "soft-reboot"})
}

fn rows(w: &World) -> Vec<Value> {
    serde_json::from_str(&w.run(&["host", "schedule", "--json"]).good()).unwrap()
}

#[test]
fn entries_are_added_checked_and_removed() {
    let w = world();
    let add = |args: &[&str]| w.run(&[&["host", "schedule", "add"], args].concat());
    let exams = ["exams", "--who", "group:lab", "pc2", "--days", "mon-fri,2027-06-01", "--at", "09:55,13:30"];
    assert_eq!(
        w.run(&["host", "schedule"]).good(),
        "the calendar is empty: `boottorrent host schedule add` adds an entry\n"
    );
    // Without a server, and with one.
    let said = add(&[&exams[..], &["--image", "exam"]].concat());
    assert!(said.out.starts_with("exams: switch to exam, next at 20"), "{}", said.out);
    assert_eq!(said.err, "note: no server runs here, and the calendar is kept by it\n");
    let before = w.catalogue();
    let (server, log) = Server::logged(&w);
    for (args, why) in [
        (&["--days", "someday"][..], "'someday' is not a valid day: write mon, mon-fri, daily or 2026-12-24"),
        (&["--at", "9:5x"], "'9:5x' is not a valid time of day: write it as in 09:55"),
    ] {
        let said = add(&[&["x", "--who", "lab", "--image", "exam"], args].concat());
        assert!(said.code == Some(2) && said.err.contains(why), "{}", said.err);
    }
    let more = ["--days", "mon", "--at", "09:55"];
    for (args, why) in [
        (
            &["x", "--who", "lab", "--image", "gone"][..],
            "there is no image 'gone' to switch to: `boottorrent image list` lists the images",
        ),
        (
            &["x", "--who", "lab", "--image", "exam@2"],
            "there is no image 'exam@2' to switch to: `boottorrent image list` lists the images",
        ),
        (
            &["x", "--who", "room9", "--image", "exam"],
            "no machine and no group is called 'room9': write a MAC address, a UUID, serial:NUMBER, or group:room9 for a new group",
        ),
        (
            &["x", "--who", "group:room9", "--image", "exam"],
            "nothing is set for 'group:room9': see `boottorrent host list`",
        ),
        (
            &["x", "--who", "lab", "--image", "exam", "--within", "0"],
            "0 minutes are not allowed: use 1 to 1440",
        ),
    ] {
        add(&[args, &more].concat()).refused(why);
    }
    w.run(&["host", "schedule", "remove", "x"])
        .refused("the calendar has no entry 'x': see `boottorrent host schedule`");
    assert_eq!(
        fs::read(w.path("cat/hosts.toml")).unwrap(),
        before[&w.path("cat/hosts.toml")].0,
        "nothing has changed"
    );
    add(&["night", "--who", "lab", "--days", "daily", "--at", "22:00", "--poweroff", "--wait-for-users"])
        .good();
    let names: Vec<Value> = rows(&w).iter().map(|r| r["name"].clone()).collect();
    assert!(names.len() == 2 && names.contains(&json!("exams")), "{names:?}");
    let said = w.run(&["host", "schedule", "list"]).good();
    assert!(
        said.contains("exams  group:lab,pc2  mon-fri,2027-06-01  09:55,13:30  switch to exam  20"),
        "{said}"
    );
    assert!(log.lock().unwrap().join("\n").contains("PUT /api/v1/schedule/night"));

    // An image that the calendar needs stays, and follows its name.
    w.run(&["image", "remove", "exam", "--yes"]).refused(
        "image 'exam' is what the calendar's 'exams' should boot: give them another one first, or give --force",
    );
    w.run(&["image", "set", "exam", "--rename", "exam-2026"]).good();
    let exams = |w: &World| rows(w).into_iter().find(|r| r["name"] == "exams").unwrap();
    assert_eq!(exams(&w)["image"], "exam-2026");
    w.run(&["image", "remove", "exam-2026", "--force", "--yes"]).good();
    assert!(exams(&w)["problem"].as_str().unwrap().starts_with("there is no image 'exam-2026' to switch to"));
    let check = w.run(&["serve", "--check"]);
    let lost = "warning: calendar: 'exams' switches to 'exam-2026', and there is no such image\n";
    assert_eq!((check.code, check.err.as_str()), (Some(0), lost));
    assert_eq!(
        w.run(&["host", "schedule", "remove", "exams", "night"]).good(),
        "exams: removed\nnight: removed\n"
    );
    drop(server);
    // By hand, with a mistake.
    let path = w.path("cat/hosts.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}\n[schedule.a]\nwho = [\"lab\"]\ndays = [\"mo\"]\n")).unwrap();
    let check = w.run(&["serve", "--check"]);
    let line = good.lines().count() + 4;
    let why = format!("line {line}: 'mo' is not a valid day: write mon, mon-fri, daily or 2026-12-24\n");
    assert!(check.code == Some(0) && check.err.ends_with(&why), "{}", check.err);
}

/// The daemon with a clock of its own, which can be set while it runs.
fn with_clock(w: &World, clock: &str) -> Server {
    set_clock(w, clock);
    let library = std::process::Command::new("sh")
        .args(["-c", "dpkg -L libfaketime | grep '/libfaketimeMT\\.so'"])
        .output()
        .unwrap();
    let mut command = w.command(&["serve", "--listen", "127.0.0.1:0", "--peer-port", "0", "--no-seed"]);
    command
        .env("LD_PRELOAD", String::from_utf8(library.stdout).unwrap().trim())
        .env("FAKETIME_TIMESTAMP_FILE", w.path("clock"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // Berlin's rules, without tzdata.
        .env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3");
    Server::spawned(command)
}

/// RFC 3339 in UTC.
fn set_clock(w: &World, clock: &str) {
    let at: bootspec::trust::Version = clock.parse().unwrap();
    w.write("clock.new", format!("{:+}\n", at.0 as i64 - now() as i64));
    // A reader sees the old one or the new one.
    tool("mv", &[&w.shown("clock.new"), &w.shown("clock")]);
}

/// Until a machine has the order of another entry, which is due as well: by then the calendar has been looked at.
fn looked(server: &Server) -> Order {
    until("the calendar to be looked at", || beat(server, PC2, "lesson", Value::Null))
}

#[test]
fn the_daemon_keeps_it_whatever_the_clock_does() {
    let w = world();
    let add = |name: &str, who: &str, at: &str| {
        let given = ["host", "schedule", "add", name, "--who", who, "--days", "daily", "--at", at];
        w.run(&[&given[..], &["--image", "exam"]].concat()).good()
    };
    add("exam", "lab", "02:30");
    // Clocks are put back at 03:00 that night: 02:30 comes twice.
    let server = with_clock(&w, "2026-10-24T23:50:00Z");
    assert_eq!(beat(&server, PC1, "lesson", Value::Null), None);
    add("fence", "pc2", "01:51");
    assert_eq!(looked(&server).at.to_string(), "2026-10-24T23:51:00Z");
    assert_eq!(beat(&server, PC1, "lesson", Value::Null), None, "it is too early");
    set_clock(&w, "2026-10-25T00:01:00Z");
    let order = until("the order", || beat(&server, PC1, "lesson", Value::Null));
    assert_eq!((order.action, order.at.to_string().as_str()), (Action::Switch, "2026-10-25T00:30:00Z"));
    assert_eq!(order.expires.0 - order.at.0, 15 * 60);
    set_clock(&w, "2026-10-25T00:30:10Z");
    assert_eq!(beat(&server, PC1, "exam", done(&order)), None);
    // It is switched back by hand. The second 02:30 is not another one.
    set_clock(&w, "2026-10-25T01:31:00Z");
    assert_eq!(beat(&server, PC1, "lesson", Value::Null), None);
    add("fence", "pc2", "03:01");
    let at = "2026-10-25T02:01:00Z";
    until("the new fence", || looked(&server).at.to_string().eq(at).then_some(()));
    assert_eq!(beat(&server, PC1, "lesson", Value::Null), None);
    drop(server);

    // The server was off the next night, and starts too late; then within the bound.
    add("fence", "pc2", "02:40");
    let server = with_clock(&w, "2026-10-26T01:45:30Z");
    beat(&server, PC1, "lesson", Value::Null);
    assert_eq!(looked(&server).at.to_string(), "2026-10-26T01:40:00Z");
    assert_eq!(beat(&server, PC1, "lesson", Value::Null), None, "it is not caught up");
    drop(server);
    let server = with_clock(&w, "2026-10-27T01:44:00Z");
    let order = until("the order", || beat(&server, PC1, "lesson", Value::Null));
    assert_eq!(order.expires.to_string(), "2026-10-27T01:45:00Z");
    // A lesson goes on when nothing is due, and what is removed is taken back.
    w.run(&["host", "schedule", "remove", "exam"]).good();
    until("it to be taken back", || beat(&server, PC1, "lesson", Value::Null).is_none().then_some(()));
    assert_eq!(w.run(&["host", "schedule"]).good().lines().count(), 2);
}
