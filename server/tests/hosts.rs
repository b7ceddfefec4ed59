// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines and groups, by the real program and a running server: commands, local socket, boot script.

mod common;

use common::{Server, World, local, until};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

const PC1: &str = "52:54:00:00:00:01";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A server with two images.
fn two_images(w: &World) -> Server {
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    w.run(&["image", "add", "lab.squashfs", "--name", "exam"]).good();
    Server::start(w, &["--no-seed"])
}

fn script(server: &Server, query: &str) -> String {
    server.get(&format!("/boot.ipxe?{query}")).text()
}

/// What a script boots: image and the last words of its command line, or `menu DEFAULT`.
fn boots(script: &str) -> String {
    if let Some(line) = script.lines().find(|l| l.starts_with("choose ")) {
        return format!("menu {}", line.split(' ').nth(2).unwrap());
    }
    let line = script.lines().find(|l| l.starts_with("kernel ")).unwrap_or_else(|| panic!("{script}"));
    let image = line.split("/images/").nth(1).unwrap().split('/').next().unwrap();
    let words: Vec<&str> = line.split(' ').filter(|w| w.starts_with("x.")).collect();
    [&[image], &words[..]].concat().join(" ")
}

/// The way of an admin: everybody, a room, one machine, one boot.
#[test]
fn from_everybody_to_one_machine() {
    let w = World::new();
    let server = two_images(&w);
    assert_eq!(boots(&script(&server, "")), "menu exam", "the newest one");
    let set = |args: &[&str]| w.run(&[&["host", "set"], args].concat()).good();
    assert_eq!(
        set(&["default", "--image", "lab", "--param", "x.all=1"]),
        "default: boots lab, with x.all=1\n"
    );
    assert_eq!(boots(&script(&server, "")), "menu lab");
    assert_eq!(set(&["default", "--no-menu"]), "default: boots lab, without a menu, with x.all=1\n");
    assert_eq!(boots(&script(&server, &format!("mac={PC1}"))), "lab x.all=1");
    set(&[
        "group:room1",
        "--subnet",
        "10.0.1.0/24",
        "--prefix",
        "pc-",
        "--image",
        "exam",
        "--param",
        "x.room",
    ]);
    assert_eq!(boots(&script(&server, &format!("mac={PC1}&ip=10.0.1.7"))), "exam x.all=1 x.room");
    assert_eq!(boots(&script(&server, &format!("mac={PC1}&hostname=pc-7"))), "exam x.all=1 x.room");
    let said = parsed(&set(&[PC1, "--name", "pc1", "--group", "room1", "--param", "x.own=1", "--json"]));
    assert_eq!(said, json!({"key": PC1, "name": "pc1", "group": "room1", "params": ["x.own=1"]}));
    assert_eq!(boots(&script(&server, "mac=52-54-00-00-00-01")), "exam x.all=1 x.room x.own=1");
    set(&["serial:AB 1", "--image", "lab"]);
    assert_eq!(boots(&script(&server, "mac=52:54:00:00:00:02&serial=AB%201")), "lab x.all=1");
    // What the machine itself asks for goes before all.
    assert!(script(&server, &format!("mac={PC1}&image=lab")).contains("/images/lab/vmlinuz"));

    // A machine that was never named is in the list as soon as it has asked.
    let clients = parsed(&w.run(&["status", "--json"]).good());
    let find = |id: &str| clients.as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone();
    assert_eq!(find(PC1)["phase"], "loader");
    assert_eq!(
        (&find(PC1)["name"], &find(PC1)["group"], &find(PC1)["next"]),
        (&json!("pc1"), &json!("room1"), &json!("exam"))
    );
    assert_eq!(find("52:54:00:00:00:02")["serial"], "AB 1");
    let list = w.run(&["host", "list"]).good();
    assert!(
        list.contains(
            "52:54:00:00:00:01  pc1   room1  -      -          -     x.own=1     -                 loader"
        ),
        "{list}"
    );
    assert_eq!(parsed(&w.run(&["host", "list", "--json"]).good()).as_array().unwrap().len(), 4);

    // One boot: asked again before the agent speaks (a cable) it is the same, afterwards it is not.
    assert!(set(&["pc1", "--once", "lab"]).contains("boots lab the next time"));
    let ask = || boots(&script(&server, &format!("mac={PC1}")));
    assert_eq!((ask(), ask()), ("lab x.all=1 x.room x.own=1".into(), "lab x.all=1 x.room x.own=1".into()));
    let beat = json!({"id": PC1, "phase": "network"});
    assert_eq!(server.heartbeat(&beat.to_string()).status, 204);
    assert_eq!(ask(), "lab x.all=1 x.room x.own=1", "anybody may have said that");
    let once = || fs::read_to_string(w.path("cat/hosts.toml")).unwrap().contains("once");
    assert!(once());
    assert_eq!(server.beat(beat).status, 204);
    assert!(!once());
    assert_eq!(ask(), "exam x.all=1 x.room x.own=1");

    // By hand, while it runs; then damaged by hand: what was said before counts.
    let path = w.path("cat/hosts.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("x.own=1", "x.own=2")).unwrap();
    until("the file", || (ask() == "exam x.all=1 x.room x.own=2").then_some(()));
    fs::write(&path, "[broken").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(ask(), "exam x.all=1 x.room x.own=2");
    w.run(&["host", "set", "pc1", "--image", "lab"])
        .refused(&format!("{}: line 1: unclosed table, expected `]`", path.display()));
    fs::write(&path, &text).unwrap();

    // An image that somebody should boot stays; renamed, everything goes along.
    w.run(&["image", "remove", "exam"]).refused(
        "image 'exam' is what group:room1 should boot: give them another one first, or give --force",
    );
    let renamed = w.run(&["image", "set", "exam", "--rename", "exam-2027", "--default"]).good();
    assert!(renamed.starts_with("image 'exam-2027' is what 'exam' was, is the default;"), "{renamed}");
    assert_eq!(ask(), "exam-2027 x.all=1 x.room x.own=1");
    assert_eq!(server.get("/images/exam-2027/exam-2027.torrent").status, 200);
    assert_eq!(server.get("/images/exam/vmlinuz").status, 404);
    assert_eq!(boots(&script(&server, "mac=52:54:00:00:00:09")), "exam-2027 x.all=1");
    assert_eq!(w.run(&["host", "unset", "pc1"]).good(), format!("{PC1}: removed\n"));
    assert_eq!(ask(), "exam-2027 x.all=1");
    assert_eq!(server.stop(), Some(0));
    assert!(!w.path("cat/api.sock").exists());
    // Without a server it is written to the disk.
    w.run(&["host", "set", PC1, "--image", "lab"]).good();
    assert!(w.run(&["host", "list"]).good().contains(PC1));
}

/// Everybody may ask, and only the local socket changes anything.
#[test]
fn who_may_change_what() {
    let w = World::new();
    let server = two_images(&w);
    let mode = fs::metadata(w.path("cat/api.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let refusal = "this port only answers questions: change things on the server itself, with `boottorrent` (it uses the local socket)\n";
    for (method, path) in [
        ("PUT", "/api/v1/hosts/default"),
        ("DELETE", "/api/v1/hosts/default"),
        ("POST", "/api/v1/images/lab"),
        ("DELETE", "/api/v1/images/lab"),
        ("POST", "/api/v1/fetches"),
        ("DELETE", "/api/v1/fetches/1"),
        ("POST", "/api/v1/wake"),
    ] {
        let answer = server.ask(method, path, &[], b"{}");
        assert_eq!((answer.status, answer.text().as_str()), (403, refusal), "{method} {path}");
    }
    for path in ["clients", "images", "hosts", "fetches", "health"] {
        assert_eq!(server.get(&format!("/api/v1/{path}")).status, 200, "{path}");
        assert_eq!(local(&w, "GET", &format!("/api/v1/{path}"), "").0, 200, "{path}");
    }
    for (method, path, body, status, answer) in [
        (
            "PUT",
            "/api/v1/hosts/room1",
            "{}",
            400,
            "'room1' is neither a machine nor a group: write a MAC address, a UUID, serial:NUMBER, group:NAME or default\n",
        ),
        (
            "PUT",
            "/api/v1/hosts/default",
            "{\"set\":{\"img\":1}}",
            400,
            "this request cannot be understood: unknown field `img`, ",
        ),
        (
            "PUT",
            "/api/v1/hosts/default",
            "{\"set\":{\"image\":\"x\"}}",
            400,
            "there is no image 'x': there are: exam, lab\n",
        ),
        (
            "DELETE",
            "/api/v1/hosts/serial:A%20B",
            "",
            400,
            "nothing is set for 'serial:A B': see `boottorrent host list`\n",
        ),
        ("DELETE", "/api/v1/images/..", "", 400, "'..' is not a valid image name: "),
        (
            "POST",
            "/api/v1/images/lab",
            "{\"name\":\"exam\"}",
            400,
            "there is an image 'exam' already: give --replace, or another --name\n",
        ),
        (
            "POST",
            "/api/v1/wake",
            "{\"target\":\"nobody\"}",
            400,
            "no machine and no group is called 'nobody'",
        ),
    ] {
        let (got, text) = local(&w, method, path, body);
        assert!(got == status && text.starts_with(answer), "{method} {path}: {got} {text}");
    }
    let long = "x".repeat(70_000);
    assert_eq!(
        local(&w, "PUT", "/api/v1/hosts/default", &long),
        (413, "a request's body has at most 65536 bytes\n".into())
    );
    assert_eq!(local(&w, "DELETE", "/api/v1/images/exam", "").0, 204);
    assert_eq!(server.get("/images/exam/vmlinuz").status, 404);

    // A second server on the same catalogue says so and serves; the first one keeps the socket.
    let second = Server::start(&w, &["--no-seed"]);
    assert_eq!(second.get("/api/v1/health").status, 200);
    drop(second);
    assert_eq!(local(&w, "GET", "/api/v1/health", "").0, 200);
    // What a killed server leaves behind is not an obstacle.
    drop(server);
    assert!(w.path("cat/api.sock").exists());
    let _third = Server::start(&w, &["--no-seed"]);
    assert_eq!(local(&w, "PUT", "/api/v1/hosts/default", "{\"set\":{\"image\":\"lab\"}}").0, 200);
}

/// users.md A7: who may not use the socket may ask all the same, over TCP.
#[test]
fn an_ordinary_user_may_look() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let w = World::new();
    w.run(&["host", "set", "52:54:00:00:00:01", "--name", "pc-1"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    let config = std::fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", format!("{config}[serve]\nlisten = \"{}\"\n", server.http));
    common::tool("chmod", &["-R", "a+rX", w.dir.path().to_str().unwrap()]);
    let run = |args: &[&str]| -> common::Said {
        let ours = w.command(args);
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(ours.get_program()).args(ours.get_args()).current_dir("/");
        command.output().unwrap().into()
    };
    assert!(run(&["host", "list"]).good().contains("pc-1"));
    assert_eq!(run(&["host", "set", "52:54:00:00:00:01", "--name", "mine"]).code, Some(1));
    assert!(run(&["host", "list"]).good().contains("pc-1"));
}
