// SPDX-License-Identifier: GPL-3.0-or-later
//! The menu of boot loaders, by the real program and a running server. tests/tests/entries.rs has it on machines.

mod common;

use common::{Said, Server, World, until};
use md5::{Digest, Md5};
use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

const PC1: &str = "52:54:00:00:00:01";
const PASSWORD: &str = "p@ss w:/1#&&";
const MENU: &str = r#"
[menu]
title = "Room 2"
order = ["disk"]
locked = ["disk", "exam"]
hidden = ["other"]
titles = { lab = "Lessons", exam = "Exam" }
submenus = [{ title = "Tools", items = ["disk"] }]
"#;

fn world(menu: &str) -> World {
    let w = World::new();
    for name in ["lab", "exam", "other"] {
        w.squashfs(name);
        w.run(&["image", "add", &format!("{name}.squashfs")]).good();
    }
    w.run(&["entry", "add", "disk", "--title", "This machine", "--local"]).good();
    let settings = std::fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", settings + menu);
    w
}

fn password(w: &World, args: &[&str], typed: &str) -> Said {
    let mut command = w.command(&[&["menu", "password"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap().into()
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What iPXE answers to a challenge.
fn proof(challenge: &str, path: &str, user: &str, password: &str) -> String {
    let nonce = challenge.split_once("nonce=\"").unwrap().1.split('"').next().unwrap();
    let ha1 = md5(&format!("{user}:BootTorrent:{password}"));
    let response = md5(&format!("{ha1}:{nonce}:00000001:0a4f:auth:{}", md5(&format!("GET:{path}"))));
    format!(
        "Digest realm=\"BootTorrent\", nonce=\"{nonce}\", uri=\"{path}\", username=\"{user}\", qop=auth, \
         algorithm=MD5, cnonce=\"0a4f\", nc=00000001, response=\"{response}\""
    )
}

#[test]
fn a_password_opens_what_is_locked_and_the_shell() {
    let w = world(MENU);
    let server = Server::start(&w, &["--no-seed"]);
    let menu = server.get("/boot.ipxe").text();
    assert!(menu.contains("menu Room 2\nitem :menu-0 Tools\nitem exam "), "{menu}");
    assert!(menu.contains("item lab Lessons\n") && !menu.contains("other"), "{menu}");
    for secret in ["sanboot", "/images/exam/", "\nshell\n"] {
        assert!(!menu.contains(secret), "{secret}: {menu}");
    }

    // Nobody has a password: nobody comes in.
    let path = "/boot.ipxe?image=exam";
    let refused = server.get(path);
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (401, "this item of the menu needs a user name and a password\n")
    );
    let ask = |path: &str, header: &str| server.ask("GET", path, &[("authorization", header)], b"");
    let with = |path: &str, user: &str, password: &str| {
        let challenge = server.get(path).header("www-authenticate").to_owned();
        ask(path, &proof(&challenge, path, user, password))
    };
    assert_eq!(with(path, "admin", "").status, 401);
    let said = password(&w, &[], &format!("{PASSWORD}\n"));
    assert_eq!(said.good(), "user 'admin' has a password: the shell and locked items ask for it\n");
    let opened =
        until("the password counts", || Some(with(path, "admin", PASSWORD)).filter(|a| a.status == 200));
    assert!(
        opened.text().starts_with("#!ipxe\nclear username ||\nclear password ||\necho BootTorrent: exam")
    );
    assert!(with("/boot.ipxe?image=disk", "admin", PASSWORD).text().contains("sanboot"));
    assert!(with("/boot.ipxe?image=%3Ashell", "admin", PASSWORD).text().contains("\nshell\n"));

    // Each wrong one takes two seconds.
    let start = Instant::now();
    for (user, password) in [("admin", "wrong"), ("eve", PASSWORD)] {
        assert_eq!(with(path, user, password).status, 401, "{user}");
    }
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    // What was heard on the network opens nothing else, and a nonce of somebody's own nothing at all.
    let heard = proof(server.get(path).header("www-authenticate"), path, "admin", PASSWORD);
    assert_eq!(ask(path, &heard).status, 200);
    assert_eq!(ask("/boot.ipxe?image=%3Ashell", &heard).status, 401);
    for header in [&proof("nonce=\"00\"", path, "admin", PASSWORD), "Digest x", "Basic YWRtaW46eA==", ""] {
        assert_eq!(ask(path, header).status, 401, "{header}");
    }
    let grub = server.get("/grub.cfg").text();
    assert!(
        grub.contains(
            "set superusers='admin'\nexport superusers\npassword_pbkdf2 'admin' 'grub.pbkdf2.sha512."
        )
    );
    assert!(
        grub.contains("\tmenuentry 'This machine' {\n")
            && grub.contains("menuentry 'Lessons' --unrestricted {")
    );
    for text in [menu, grub, opened.text()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }

    // What the admin assigns needs none, and only that.
    w.run(&["host", "set", PC1, "--image", "exam"]).good();
    let own = server.get(&format!("/boot.ipxe?mac={PC1}")).text();
    assert!(own.contains("/images/exam/vmlinuz") && !own.contains("\nshell\n"), "{own}");
    assert_eq!(server.get(&format!("/boot.ipxe?mac={PC1}&image=disk")).status, 401);

    password(&w, &["--remove"], "").good();
    until("nobody comes in", || Some(()).filter(|()| with(path, "admin", PASSWORD).status == 401));
}

#[test]
fn shown_and_checked() {
    let w = world(MENU);
    w.run(&["host", "set", "default", "--image", "lab"]).good();
    assert_eq!(
        w.run(&["menu", "show"]).good(),
        "Room 2\n  Tools >\n    This machine [disk, asks for a password]\n  Exam [exam, asks for a password]\n  \
         Lessons [lab, starts after 10s]\n  iPXE shell [asks for a password]\n"
    );
    let found = w.run(&["doctor"]).out;
    assert!(found.contains("menu: items of the menu are locked, and nobody has a password"), "{found}");
    w.run(&["image", "set", "exam", "--rename", "test"]).good();
    let found = w.run(&["doctor"]).out;
    assert!(found.contains("menu: [menu] of server.toml names what is neither an image nor an entry: 'exam' (locked), 'exam' (titles)"), "{found}");
    password(&w, &["teacher"], "long enough\n").good();
    assert!(w.run(&["menu", "show"]).good().ends_with("\nusers: teacher\n"));
    for (args, typed, why) in [
        (&["a b"][..], "xyzw\n", "'a b' is not a valid name: use 1 to 32 of a-z A-Z 0-9 . _ -"),
        (&[], "abc\n", "this password cannot be typed in every boot loader: use 4 to 64 ASCII characters"),
        (&["eve", "--remove"], "", "the menu has no user 'eve': there are teacher"),
    ] {
        let said = password(&w, args, typed);
        assert!(said.code != Some(0) && said.err.contains(why), "{}", said.err);
    }
    w.write("server.toml", "[menu]\nsubmenus = [{ title = \"\", items = [] }]\n");
    let said = w.run(&["serve", "--check"]);
    assert!(said.code == Some(1) && said.err.ends_with("line 2: a submenu needs a title\n"), "{}", said.err);
}
