// SPDX-License-Identifier: GPL-3.0-or-later
//! Files for machines by the real program and a running server, and what the agent accepts of them.

mod common;

use bootspec::{Exit, Sha256Sum, trust::Keys};
use boottorrent_agent::{layers, report::Report, web};
use common::{Server, World, local};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const PC1: &str = "52:54:00:00:00:01";
const PC2: &str = "52:54:00:00:00:02";

/// A folder with one file.
fn folder(w: &World, name: &str, text: &str) -> String {
    fs::create_dir_all(w.path(name).join("etc")).unwrap();
    fs::write(w.path(name).join("etc/room"), text).unwrap();
    w.shown(name)
}

/// The sum of the files that somebody has.
fn sum(w: &World, who: &str) -> String {
    let rows: Value = serde_json::from_str(&w.run(&["host", "list", who, "--json"]).good()).unwrap();
    rows[0]["files"].as_str().unwrap().to_owned()
}

#[test]
fn files_are_set_served_and_removed() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    w.run(&["host", "set", "group:floor", "--files", &folder(&w, "floor", "floor")]).good();
    w.run(&["host", "set", "group:room", "--group", "floor", "--files", &folder(&w, "room", "room")]).good();
    w.run(&["host", "set", "default", "--files", &folder(&w, "all", "all")]).good();
    let said = w.run(&[
        "host",
        "set",
        PC1,
        "--name",
        "pc1",
        "--group",
        "room",
        "--files",
        &folder(&w, "own", "own"),
    ]);
    let said = said.good();
    let own = sum(&w, "pc1");
    assert!(
        said.ends_with(&format!("{PC1}: named pc1, in group room, with files {}\n", &own[..8])),
        "{said}"
    );

    // Everybody's first, then the outer group's, the group's and its own.
    let script = server.get(&format!("/boot.ipxe?mac={PC1}")).text();
    let all = ["default", "group:floor", "group:room", PC1].map(|who| sum(&w, who)).join(",");
    assert!(script.contains(&format!(" boottorrent.files={all} boottorrent.group=room")), "{script}");
    let others = server.get("/boot.ipxe?mac=52:54:00:00:00:09").text();
    assert!(others.contains(&format!(" boottorrent.files={}", sum(&w, "default"))), "{others}");
    let listed = w.run(&["host", "list"]).good();
    assert!(listed.contains("  FILES  ") && listed.matches("  yes    -").count() == 4, "{listed}");
    let files = w.run(&["host", "files", "pc1"]).good();
    assert!(
        files.starts_with(&format!("{PC1}: SHA-256 {own}, not signed\n")) && files.contains(" etc/room\n"),
        "{files}"
    );

    let answer = server.get(&format!("/files/{own}"));
    assert_eq!((answer.status, answer.body), (200, fs::read(w.path("cat/files").join(&own)).unwrap()));
    for path in [
        format!("/files/{own}.minisig"),
        "/files/..%2fhosts.toml".into(),
        format!("/files/{}", "0".repeat(64)),
    ] {
        let answer = server.get(&path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "there are no such files for machines here\n"),
            "{path}"
        );
    }
    // A table does not have them, and importing it removes none.
    let table = w.run(&["host", "export"]).good();
    assert!(!table.contains(&own));
    w.write("t.csv", table);
    w.run(&["host", "import", "t.csv"]).good();
    assert_eq!(sum(&w, "pc1"), own);
    w.run(&["host", "set", "pc1", "--files", "none"]).good();
    let script = server.get(&format!("/boot.ipxe?mac={PC1}")).text();
    assert!(!script.contains(&own) && script.contains(&sum(&w, "group:room")), "{script}");
}

#[test]
fn refusals_change_nothing() {
    let w = World::new();
    let (given, none) = (folder(&w, "given", "x"), w.shown("none"));
    w.run(&["host", "set", PC1, "--files", &given]).good();
    let (own, before) = (sum(&w, PC1), fs::read(w.path("cat/hosts.toml")).unwrap());
    let refused = |args: &[&str], why: &str| w.run(&[&["host"], args].concat()).refused(why);
    refused(
        &["set", PC1, "--files", &none],
        &format!("reading {none}: No such file or directory (os error 2)"),
    );
    w.write("text", "not a tarball");
    let said = w.run(&["host", "set", PC1, "--files", &w.shown("text")]);
    assert!(said.err.contains("text: it is neither a folder nor a tarball"), "{}", said.err);
    refused(
        &["files", "default"],
        "'default' has no files of its own: add them with `boottorrent host set default --files DIR`",
    );
    let server = Server::start(&w, &["--no-seed"]);
    let put = |key: &str, sum: &str| {
        let body = format!("{{\"set\":{{\"files\":\"{sum}\"}}}}");
        local(&w, "PUT", &format!("/api/v1/hosts/{key}"), &body)
    };
    let again = format!("add them with `boottorrent host set {PC2} --files DIR`");
    assert_eq!(put(PC2, &own), (400, format!("the files {own} are for {PC1}, not for {PC2}: {again}\n")));
    let absent = "0".repeat(64);
    assert_eq!(put(PC2, &absent), (400, format!("there are no files {absent} here: {again}\n")));
    assert_eq!(fs::read(w.path("cat/hosts.toml")).unwrap(), before);
    drop(server);
}

/// What the agent says of files that it fetches from this server.
fn fetched(server: &Server, keys: Option<&Keys>, mac: &str, sum: &str) -> Result<usize, (Exit, String)> {
    let report = Report::new(None, None);
    let client = web::client(Path::new("/nonexistent"), &[], &report).unwrap();
    let url = format!("http://{}/", server.http).parse().unwrap();
    let limit = Some(Duration::from_secs(10));
    let asking = layers::Asking {
        client: &client,
        server: Some(&url),
        relays: &[],
        keys,
        mac,
        limit,
        report: &report,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sums: [Sha256Sum; 1] = [sum.parse().unwrap()];
    let got = runtime.block_on(asking.fetch(&sums));
    got.map(|layers| layers.len()).map_err(|f| (f.exit, format!("{:#}", f.error)))
}

#[test]
fn with_keys_only_signed_files_of_this_machine_count() {
    let w = World::new();
    let given = folder(&w, "given", "x");
    for who in [PC1, PC2, "default"] {
        w.run(&["host", "set", who, "--files", &given]).good();
    }
    let (own, others, all) = (sum(&w, PC1), sum(&w, PC2), sum(&w, "default"));
    let made = w.run(&["key", "generate", "--no-password"]).good();
    let key = made.lines().next().unwrap().strip_prefix("key ").unwrap();
    let mut keys = Keys::default();
    keys.add(&fs::read(w.path("keys/boottorrent.pub")).unwrap()).unwrap();
    let server = Server::start(&w, &["--no-seed"]);
    let refused = |mac, sum: &str, exit, why: String| {
        assert_eq!(fetched(&server, Some(&keys), mac, sum), Err((exit, why)));
    };

    assert_eq!(fetched(&server, None, PC1, &own), Ok(1), "without keys nobody asks for a signature");
    let sign = |who: &str| format!("sign them with `boottorrent host sign {who}` on the server");
    let unsigned = format!("the files for {PC1} are not signed by key {key}: {}", sign(PC1));
    refused(PC1, &own, Exit::Trust, unsigned.clone());
    assert!(w.run(&["doctor"]).out.contains(&format!("files: {unsigned}")));
    let said = w.run(&["host", "sign", "--all"]).good();
    assert!(
        said.contains(" etc/room\n")
            && said.contains(&format!("{PC1}: these files are signed by key {key}\n")),
        "{said}"
    );
    for sum in [&own, &all] {
        assert_eq!(fetched(&server, Some(&keys), PC1, sum), Ok(1));
    }
    let wrong = format!("the files signed by key {key} are for {PC2}, but this machine is {PC1}");
    refused(PC1, &others, Exit::Trust, wrong);

    // Stock minisign reads the signature, and writes another one.
    let (file, public) = (w.shown(&format!("cat/files/{own}")), w.shown("keys/boottorrent.pub"));
    let minisign = |args: &[&str]| {
        let run = Command::new("minisign").args(args).stdin(Stdio::null()).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    let said = minisign(&["-V", "-p", &public, "-m", &file]);
    assert!(said.contains(&format!("Trusted comment: files for {PC1}")), "{said}");
    minisign(&["-S", "-s", &w.shown("keys/boottorrent.key"), "-m", &file]);
    assert_eq!(fetched(&server, Some(&keys), PC1, &own), Ok(1));
    // Given again where the key is: signed at once.
    w.run(&["host", "set", PC1, "--files", &folder(&w, "given", "other")]).good();
    assert_eq!(fetched(&server, Some(&keys), PC1, &sum(&w, PC1)), Ok(1));

    // The signature of other files, and other bytes.
    let of = |sum: &str| w.path(&format!("cat/files/{sum}.minisig"));
    fs::copy(of(&others), of(&own)).unwrap();
    let forged = format!(
        "the signature of the files for {PC1} is wrong, because key {key} did not sign these files: if nobody changed them \
         on purpose, {}",
        sign(PC1)
    );
    refused(PC1, &own, Exit::Trust, forged);
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    fs::write(&file, bytes).unwrap();
    let (exit, why) = fetched(&server, None, PC1, &own).unwrap_err();
    assert!(exit == Exit::Trust && why.ends_with(&format!("but boottorrent.files= names {own}")), "{why}");
    w.run(&["host", "sign", "pc-without-entry"]).refused(
        "no machine and no group is called 'pc-without-entry': write a MAC address, a UUID, serial:NUMBER, or \
         group:pc-without-entry for a new group",
    );
    let absent = "0".repeat(64);
    let (exit, why) = fetched(&server, None, PC1, &absent).unwrap_err();
    let want = format!("the files {absent} for this machine cannot be fetched: there is nothing at http://");
    assert!(exit == Exit::Metainfo && why.starts_with(&want), "{why}");
}
