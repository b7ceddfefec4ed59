// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and signatures by the real program, beside stock minisign, and what the agent takes of them over HTTP.

mod common;

use bootspec::Exit;
use boottorrent_agent::args::{Cli, Command as Agent};
use clap::Parser;
use common::{Said, Server, World, tool, until};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// Run a program with something on its standard input.
fn with_input(command: &mut Command, input: &str) -> Said {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // One that does not read it may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

fn minisign(args: &[&str]) -> Said {
    Command::new("minisign").args(args).stdin(Stdio::null()).output().unwrap().into()
}

/// The id of a key that was just made.
fn id(said: &str) -> String {
    said.lines().next().unwrap().strip_prefix("key ").unwrap().to_owned()
}

#[test]
fn both_ways_with_stock_minisign() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--append", "quiet splash"]).good();
    let statement = w.shown("cat/images/lab/lab.statement");
    let text = fs::read_to_string(&statement).unwrap();
    assert!(text.ends_with("kind: filesystem\nparameters: quiet splash\n"), "{text}");
    let out = Command::new("sha256sum").arg(w.path("cat/images/lab/payload")).output().unwrap().stdout;
    let sum = String::from_utf8_lossy(&out)[..64].to_owned();
    assert!(text.contains(&format!("\nsha256: {sum}\n")), "{text}");

    // Ours signs, theirs verifies, and shows what we say.
    let made = id(&w.run(&["key", "generate", "--no-password"]).good());
    assert_eq!(fs::metadata(w.path("keys/boottorrent.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let said = w.run(&["image", "sign", "lab"]).good();
    assert!(said.ends_with(&format!(": signed by key {made}\n")), "{said}");
    let public = w.shown("keys/boottorrent.pub");
    let said = minisign(&["-V", "-p", &public, "-m", &statement]).good();
    assert!(
        said.contains("Signature and comment signature verified\nTrusted comment: image lab, 20"),
        "{said}"
    );
    assert!(
        w.run(&["image", "verify", "--all"])
            .good()
            .contains(&format!("signed by key {made}, and its payload"))
    );

    // Theirs signs with our key, and with one of its own; ours verifies.
    let secret = w.shown("keys/boottorrent.key");
    minisign(&["-S", "-s", &secret, "-m", &statement]).good();
    w.run(&["image", "verify", "lab"]).good();
    let (public, secret) = (w.shown("site.pub"), w.shown("site.key"));
    minisign(&["-G", "-W", "-p", &public, "-s", &secret]).good();
    minisign(&["-S", "-s", &secret, "-m", &statement]).good();
    let said = w.run(&["image", "verify", "lab"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(1), "boottorrent: one image is not what somebody signed\n")
    );
    assert!(said.out.contains(&format!("and only what key {made} signed may boot here")), "{}", said.out);
    w.run(&["image", "verify", "lab", "--key", &public]).good();
    let theirs = id(&w.run(&["key", "import", "site.pub"]).good());
    w.run(&["image", "verify", "lab"]).good();
    let shown: Value = serde_json::from_str(&w.run(&["image", "show", "lab", "--json"]).good()).unwrap();
    assert_eq!(shown["key"], theirs.as_str());
    w.run(&["key", "import", "site.key", "--name", "both"]).good();
    let said = w.run(&["key", "show"]).good();
    assert!(said.contains("here, signs") && said.contains(&theirs) && said.contains(&made), "{said}");
}

#[test]
fn passwords() {
    let w = World::new();
    w.squashfs("lab");
    let with = |args: &[&str], password: &str| -> Said {
        w.command(args)
            .env("BOOTTORRENT_KEY_PASSWORD", password)
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    };
    let no_terminal = "there is no terminal to ask for a password on: set BOOTTORRENT_KEY_PASSWORD or \
                       BOOTTORRENT_KEY_PASSWORD_FILE, or give --no-password";
    let alone = |args: &[&str]| -> Said { w.command(args).stdin(Stdio::null()).output().unwrap().into() };
    alone(&["key", "generate"]).refused(no_terminal);
    with(&["key", "generate"], "")
        .refused("an empty password protects nothing: type one, or give --no-password");
    let made = with(&["key", "generate"], "geheim").good();
    assert!(
        made.contains("boottorrent.key (with a password); keep a copy where nobody else gets it"),
        "{made}"
    );
    with(&["key", "generate"], "x").refused(&format!(
        "there is {} already: give the new key another --name",
        w.shown("keys/boottorrent.pub")
    ));

    // Without the password the image is added all the same, and it is said.
    let said = alone(&["image", "add", "lab.squashfs"]).good();
    let key = w.shown("keys/boottorrent.key");
    let why = format!(
        "the key {key} has a password, and there is no terminal to ask for it on, nor BOOTTORRENT_KEY_PASSWORD or \
         BOOTTORRENT_KEY_PASSWORD_FILE"
    );
    assert!(
        said.contains(&format!("note: not signed: {why}; `boottorrent image sign` does it later\n")),
        "{said}"
    );
    alone(&["image", "sign", "lab"]).refused(&format!("nothing is signed: {why}"));
    assert!(alone(&["key", "show"]).good().contains(&format!("note: {why}\n")));
    with(&["image", "add", "lab.squashfs", "--replace"], "nein")
        .refused(&format!("wrong password for {key}"));
    let said = with(&["image", "add", "lab.squashfs", "--replace"], "geheim").good();
    assert!(said.contains(&format!("signed by key {}\n", id(&made))), "{said}");
    w.run(&["image", "verify", "lab"]).good();

    // From a file; stock minisign opens the same key with the same password.
    w.write("password", "geheim\nmore");
    let mut sign = w.command(&["image", "sign", "--all"]);
    let said: Said = sign.env("BOOTTORRENT_KEY_PASSWORD_FILE", w.path("password")).output().unwrap().into();
    said.good();
    let statement = w.shown("cat/images/lab/lab.statement");
    with_input(Command::new("minisign").args(["-S", "-s", &key, "-m", &statement]), "geheim\n").good();
    w.run(&["image", "verify", "lab"]).good();

    // On a terminal it is asked for, twice where it is new, and not shown.
    let typed = |args: &str, keys: &str| {
        let program = format!(
            "{} --config {} --dir {} {args}",
            env!("CARGO_BIN_EXE_boottorrent"),
            w.shown("server.toml"),
            w.shown("cat")
        );
        let mut script = Command::new("script");
        with_input(script.args(["-qec", &program, "/dev/null"]).current_dir(w.dir.path()), keys)
    };
    let said = typed("key generate --name typed", "offen\noffen\n").good();
    assert!(
        said.contains("Password for the new key: ") && said.contains("typed.key (with a password)"),
        "{said}"
    );
    let said = typed("key generate --name other", "offen\nzu\n");
    assert!(said.out.contains("the two passwords are not the same: no key was made"), "{}", said.out);
    assert!(!w.path("keys/other.pub").exists());
    let said = typed("image sign lab --key keys/typed.key", "zu\noffen\n").good();
    assert!(said.contains("That is not the password.") && said.contains(": signed by key "), "{said}");
}

/// The agent's `fetch` with keys. How it ended.
fn fetch(torrent: &str, to: &Path, keys: &Path) -> Exit {
    let words = ["boottorrent-agent", "fetch", "--torrent", torrent, "--port", "0", "--timeout", "20"];
    let to = [Path::new("--to"), to, Path::new("--keys"), keys].map(|p| p.to_str().unwrap());
    match Cli::parse_from(words.into_iter().chain(to)).command {
        Agent::Fetch(args) => boottorrent_agent::fetch::run(&args),
        _ => unreachable!(),
    }
}

#[test]
fn an_agent_with_keys_takes_what_is_signed_and_nothing_else() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["key", "generate", "--no-password"]).good();
    w.run(&["image", "add", "lab.squashfs", "--name", "lab"]).good();
    let server = Server::start(&w, &[]);
    let url = format!("http://{}/images/lab/lab.torrent", server.http);
    let (to, keys) = (w.path("got"), w.path("keys"));
    assert_eq!(fetch(&url, &to, &keys), Exit::Ok);
    assert!(fs::read(&to).unwrap() == fs::read(w.path("cat/images/lab/payload")).unwrap());
    fs::remove_file(&to).unwrap();

    // As anybody can look at it.
    let statement = server.get("/images/lab/lab.statement");
    assert_eq!((statement.status, statement.header("content-type")), (200, "text/plain"));
    w.write("s", &statement.body);
    w.write("s.minisig", server.get("/images/lab/lab.statement.minisig").body);
    tool("minisign", &["-V", "-p", &w.shown("keys/boottorrent.pub"), "-m", &w.shown("s")]);

    // From a folder: beside the .torrent.
    w.write("usb/lab.torrent", server.get("/images/lab/lab.torrent").body);
    let usb = w.shown("usb/lab.torrent");
    assert_eq!(fetch(&usb, &to, &keys), Exit::Trust, "there is no statement beside it");
    w.write("usb/lab.statement", &statement.body);
    w.write("usb/lab.statement.minisig", fs::read(w.path("s.minisig")).unwrap());
    assert_eq!(fetch(&usb, &to, &keys), Exit::Ok);
    fs::remove_file(&to).unwrap();
    fs::rename(w.path("usb/lab.torrent"), w.path("usb/other.torrent")).unwrap();
    fs::rename(w.path("usb/lab.statement"), w.path("usb/other.statement")).unwrap();
    fs::rename(w.path("usb/lab.statement.minisig"), w.path("usb/other.statement.minisig")).unwrap();
    assert_eq!(fetch(&w.shown("usb/other.torrent"), &to, &keys), Exit::Trust, "lab was signed, not other");

    // Signed by a key that is no longer here; by nobody; with a part of a signature.
    let signature = w.path("cat/images/lab/lab.statement.minisig");
    let signed = fs::read(&signature).unwrap();
    let served = |bytes: &[u8]| {
        until("the new signature", || {
            (server.get("/images/lab/lab.statement.minisig").body == bytes).then_some(())
        });
    };
    fs::create_dir(w.path("others")).unwrap();
    minisign(&["-G", "-W", "-p", &w.shown("others/a.pub"), "-s", &w.shown("a.key")]).good();
    assert_eq!(fetch(&url, &to, &w.path("others")), Exit::Trust);
    assert_eq!(fetch(&url, &to, &w.path("nothing")), Exit::Trust, "--keys without keys takes nothing");
    // As stock minisign does, which writes in place: the server sees it by its time.
    fs::remove_file(&signature).unwrap();
    fs::write(&signature, &signed[..signed.len() - 20]).unwrap();
    served(&signed[..signed.len() - 20]);
    assert_eq!(fetch(&url, &to, &keys), Exit::Trust);
    fs::remove_file(&signature).unwrap();
    until("no signature", || (server.get("/images/lab/lab.statement.minisig").status == 404).then_some(()));
    assert_eq!(fetch(&url, &to, &keys), Exit::Trust);

    // Signed, with the right pieces, and another SHA-256: nothing of it stays.
    let text = String::from_utf8(statement.body).unwrap();
    let sum = text.lines().find(|l| l.starts_with("sha256: ")).unwrap();
    let other = text.replace(sum, &format!("sha256: {}", "0".repeat(64)));
    fs::write(w.path("cat/images/lab/lab.statement"), &other).unwrap();
    minisign(&["-S", "-s", &w.shown("keys/boottorrent.key"), "-m", &w.shown("cat/images/lab/lab.statement")])
        .good();
    served(&fs::read(&signature).unwrap());
    assert_eq!(fetch(&url, &to, &keys), Exit::Trust);
    assert!(!to.exists() && !w.path("got.part").exists());
    let said = w.run(&["image", "verify", "lab"]).out;
    assert!(said.contains("is not what its manifest.toml says now"), "{said}");
}

#[test]
fn doctor_tells_what_machines_would_refuse() {
    let w = World::new();
    w.squashfs("lab");
    w.write("dnsmasq.d/boottorrent.conf", "interface=none0\n");
    let doctor = |check: &str| -> Vec<String> {
        let said = w.run(&["doctor", "--json", "--dnsmasq-dir", "dnsmasq.d", "--ipxe-dir", "none"]);
        let found: Value = serde_json::from_str(&said.out).unwrap();
        let of = found.as_array().unwrap().iter().filter(|f| f["check"] == check);
        of.map(|f| format!("{} {}", f["state"].as_str().unwrap(), f["what"].as_str().unwrap())).collect()
    };
    w.run(&["image", "add", "lab.squashfs"]).good();
    assert_eq!(doctor("signatures"), [format!("good no key in {}: images are not signed", w.shown("keys"))]);
    let made = id(&w.run(&["key", "generate", "--no-password"]).good());
    assert_eq!(doctor("signatures"), ["warning image 'lab' is not signed"]);
    let initrd = fs::read(w.path("cat/images/lab/initrd")).unwrap();
    let files = ["scripts/boottorrent", "usr/bin/boottorrent-agent", "etc/boottorrent/keys/site.pub"];
    fs::write(w.path("cat/images/lab/initrd"), common::initrd(&files)).unwrap();
    assert_eq!(doctor("signatures"), ["bad image 'lab' is not signed"], "not even its own initrd takes it");
    fs::write(w.path("cat/images/lab/initrd"), initrd).unwrap();
    w.run(&["image", "sign", "lab"]).good();
    assert_eq!(doctor("signatures"), [format!("good 1 images are signed by key {made}")]);
    fs::set_permissions(w.path("keys/boottorrent.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let key = w.shown("keys/boottorrent.key");
    assert_eq!(doctor("keys"), [format!("bad the secret key {key} can be read by others than its owner")]);
    fs::remove_file(&key).unwrap();
    fs::remove_file(w.path("keys/boottorrent.pub")).unwrap();
    let there =
        format!("good 1 images are signed, and there is no key in {} to look at that with", w.shown("keys"));
    assert_eq!(doctor("signatures"), [there]);
    w.write("keys/x.pub", "");
    assert!(
        doctor("keys")[0].ends_with("x.pub: it is not a public key of minisign: remove it, or copy it again")
    );
}
