// SPDX-License-Identifier: GPL-3.0-or-later
//! A relay and its first server, two real daemons over TLS.

#[path = "common/certificate.rs"]
mod certificate;
mod common;
#[path = "common/first.rs"]
mod first;

use bootspec::units::human_size;
use certificate::certificate;
use common::{Server, World, free_port, local, until};
use first::{First, MAC, get, has, once, says, script, trouble, upstream};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_relay_has_what_the_first_server_has() {
    let first = First::new();
    first.add("lab");
    first.run(&["entry", "add", "disk", "--local", "--title", "The disk"]);
    let w = first.relay("east", "");
    // A part of an image that has been removed.
    let part = w.write(&format!("cat/relay/{}.part", "0".repeat(40)), "old");
    // Files for a machine that were damaged at the first server.
    let files = first.w.path("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("motd"), "hello").unwrap();
    first.run(&["host", "set", "group:f", "--files", &files.display().to_string()]);
    let layers = fs::read_dir(first.w.path("cat/files")).unwrap().map(|f| f.unwrap().path());
    let layer = layers.into_iter().find(|f| f.extension().is_none() && f.is_file()).unwrap();
    let good = fs::read(&layer).unwrap();
    fs::remove_file(&layer).unwrap();
    fs::write(&layer, [&good[..], b"more"].concat()).unwrap();
    let server = first.start();
    let relay = Server::start(&w, &[]);
    has(&relay, "lab");
    until("no part", || (!part.exists()).then_some(()));
    // The payload has come by the swarm: the first server gives it in no other way here.
    let payload = fs::read(first.w.path("cat/images/lab/payload")).unwrap();
    assert!(
        relay.get("/images/lab/payload").body == payload && server.get("/images/lab/payload").status == 404
    );
    let files = ["vmlinuz", "initrd", "lab.statement", "sums"];
    for file in files.map(|f| format!("/images/lab/{f}")) {
        let (a, b) = (server.get(&file), relay.get(&file));
        assert!(a.status == b.status && a.body == b.body, "{file}: {} {}", a.status, b.status);
    }
    let refused = "the first server has sent other files than ";
    until("a sentence", || trouble(&w).starts_with(refused).then_some(()));
    until("the entry", || relay.get("/api/v1/entries").text().contains("The disk").then_some(()));

    // What is changed there counts here.
    first.run(&["host", "set", MAC, "--name", "pc1", "--image", "lab", "--param", "colour=green"]);
    until("the machine's entry", || script(&relay).contains("colour=green").then_some(()));
    let own = format!("http://{}/images/lab/vmlinuz", relay.http);
    assert!(script(&relay).contains(&own), "{}", script(&relay));
    // Whose machines ask the first server when it is gone; and that one's ask the relay.
    let others = |of: &Server, is: &Server| {
        until("other servers", || {
            script(of).contains(&format!(" boottorrent.relays={}", is.http)).then_some(())
        })
    };
    others(&relay, &server);
    others(&server, &relay);
    first.add("exam");
    has(&relay, "exam");
    first.run(&["host", "set", "group:r", "--image", "exam"]);
    first.w.write("lab-root/more", "another version");
    let root = first.w.shown("lab-root");
    fs::remove_file(first.w.path("lab.squashfs")).unwrap();
    common::tool("mksquashfs", &[&root, &first.w.shown("lab.squashfs"), "-quiet", "-no-progress"]);
    first.run(&["image", "add", "lab.squashfs", "--name", "lab", "--replace"]);
    let versions = |server: &Server| {
        let images = get(server, "/api/v1/images");
        let lab = images.as_array().unwrap().iter().find(|i| i["name"] == "lab").unwrap().clone();
        let all = lab["versions"].as_array().cloned().unwrap_or_default();
        all.iter().map(|v| (v["version"].to_string(), v["infohash"].to_string())).collect::<Vec<_>>()
    };
    until("both versions", || {
        (versions(&relay).len() == 2 && versions(&relay) == versions(&server)).then_some(())
    });
    first.run(&["image", "rollback", "lab"]);
    until("the version before", || (versions(&relay) == versions(&server)).then_some(()));
    first.run(&["host", "unset", "group:r"]);
    first.run(&["image", "remove", "exam"]);
    until("no exam", || (relay.get("/images/exam/vmlinuz").status == 404).then_some(()));

    // Nothing is changed here.
    let refusal =
        format!("this is a relay of {}/, which takes no changes: make them on that server", first.url());
    assert_eq!(local(&w, "DELETE", "/api/v1/images/lab", ""), (409, format!("{refusal}\n")));
    w.run(&["image", "remove", "lab"]).refused(&refusal.replace("/,", ","));
    w.run(&["host", "schedule", "remove", "night"]).refused(&refusal.replace("/,", ","));
    assert_eq!(w.run(&["host", "schedule", "list", "--json"]).good().trim(), "[]");
    let elsewhere =
        format!("this is a relay of {}, which does not have this list: see it on that server", first.url());
    w.run(&["relay", "list"]).refused(&elsewhere);
    w.run(&["host", "switch"]).refused(&elsewhere);
    assert_eq!(relay.stop(), Some(0));

    // What its disk has lost comes again.
    let payload = fs::read(first.w.path("cat/images/lab/payload")).unwrap();
    fs::remove_file(w.path("cat/images/lab/payload")).unwrap();
    let kernel = fs::read(first.w.path("cat/images/lab/vmlinuz")).unwrap();
    w.write("cat/images/lab/vmlinuz", "");
    let relay = Server::start(&w, &[]);
    until("all of it", || {
        let is = |file: &str, bytes: &[u8]| relay.get(&format!("/images/lab/{file}")).body == bytes;
        (is("payload", &payload) && is("vmlinuz", &kernel)).then_some(())
    });
    assert_eq!(relay.stop(), Some(0));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn machines_behind_a_relay_are_seen_and_boot_without_the_first_server() {
    let first = First::new();
    first.add("lab");
    first.add("exam");
    first.run(&["host", "set", MAC, "--name", "pc1", "--image", "lab", "--once", "exam"]);
    let w = first.relay("east", "");
    let server = first.start();
    let relay = Server::start(&w, &[]);
    has(&relay, "lab");
    has(&relay, "exam");
    until("the machine's entry", || script(&relay).contains("images/exam/vmlinuz").then_some(()));

    // A machine's words reach the first server, and what stands behind them with them.
    relay.beat(json!({"id": MAC, "phase": "download", "image": "exam"}));
    let machine = |server: &Server| {
        let all = get(server, "/api/v1/clients");
        all.as_array().unwrap().iter().find(|c| c["id"] == MAC).cloned().unwrap_or_default()
    };
    until("the machine", || (machine(&server)["relay"] == "east").then_some(()));
    assert_eq!(machine(&server)["proven"], true, "{}", machine(&server));
    assert_eq!(machine(&server)["name"], "pc1");
    // It has booted that once, for both.
    until("once is over", || (!once(&first) && script(&relay).contains("images/lab/vmlinuz")).then_some(()));
    let list: Value = serde_json::from_str(&first.run(&["relay", "list", "--json"])).unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["up"], &list[0]["machines"]),
        (&json!("east"), &json!(true), &json!(1))
    );
    assert!(server.get("/metrics").text().contains("boottorrent_relay_up{relay=\"east\"} 1"));
    // It is not in the relay's subnet, as far as the first server knows.
    assert!(server.get(&format!("/boot.ipxe?mac={MAC}")).text().contains("images/lab/vmlinuz"));

    // Without it: from what is known, after a restart too, and once is once.
    let token = first.run(&["relay", "add", "east", "--subnet", "127.0.0.0/8"]);
    w.write("token", token);
    assert_eq!(relay.stop(), Some(0));
    let relay = Server::start(&w, &[]);
    until("it answers", || (get(&relay, "/api/v1/health")["upstream"]["up"] == true).then_some(()));
    // The first server sends it there, unless it has been there.
    let chain = format!("chain --autofree --replace --timeout 2000 http://{}/boot.ipxe?", relay.http);
    until("a way to the relay", || {
        server.get(&format!("/boot.ipxe?mac={MAC}")).text().contains(&chain).then_some(())
    });
    assert!(script(&server).contains("images/lab/vmlinuz"), "{}", script(&server));
    let grub = server.get(&format!("/grub.cfg?mac={MAC}")).text();
    let chain = format!("configfile '(http,{})/grub.cfg?mac={MAC}&arch=x86_64'\n", relay.http);
    assert!(
        grub.contains(&chain) && grub.ends_with(&format!("/grub.cfg?mac={MAC}&arch=x86_64&relay=none'\n")),
        "{grub}"
    );
    assert!(server.get(&format!("/grub.cfg?mac={MAC}&relay=none")).text().contains("linux "));
    first.run(&["host", "set", MAC, "--once", "exam"]);
    until("once more", || script(&relay).contains("images/exam/vmlinuz").then_some(()));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(relay.stop(), Some(0));
    let relay = Server::start(&w, &[]);
    assert!(script(&relay).contains("images/exam/vmlinuz"));
    relay.beat(json!({"id": MAC, "phase": "download", "image": "exam"}));
    assert!(script(&relay).contains("images/lab/vmlinuz"), "it has booted that");
    assert_eq!(relay.get("/images/lab/payload").status, 200);
    says(&w, &format!("127.0.0.1:{} does not answer (Connection refused (os error 111))", first.https));
    assert_eq!(upstream(&w)["url"], format!("{}/", first.url()));
    // Strangers learn neither where it is, nor what is wrong.
    for path in ["/api/v1/health", "/api/v1/stats"] {
        let told = get(&relay, path)["upstream"].clone();
        assert_eq!(
            (&told["up"], &told["url"], &told["trouble"]),
            (&json!(false), &json!(""), &Value::Null),
            "{path}"
        );
    }
    assert_eq!(relay.stop(), Some(0));
    let relay = Server::start(&w, &[]);
    assert!(script(&relay).contains("images/lab/vmlinuz"), "after another restart too");
    relay.beat(json!({"id": MAC, "phase": "booted", "image": "lab"}));

    // There again, it knows what has happened.
    assert!(once(&first));
    let server = first.start();
    until("once is over there", || (!once(&first)).then_some(()));
    until("the machine has booted", || (machine(&server)["phase"] == "booted").then_some(()));
    says(&w, "");
    assert!(script(&relay).contains("images/lab/vmlinuz"));
}

#[test]
fn nobody_else_is_a_relay_or_a_first_server() {
    let first = First::new();
    first.add("lab");
    certificate(&first.w, "theirs", "IP:127.0.0.1");
    let token = first.run(&["relay", "add", "east"]);
    let server = first.start();
    let serve = |w: &World| w.run(&["serve", "--listen", "127.0.0.1:0", "--peer-port", "0"]);

    // What cannot be is said at once.
    let plain = first.world(&token, "http://10.0.0.1:6980", "ours", "");
    serve(&plain).refused(
        "http://10.0.0.1:6980 is plain HTTP, where everybody on the way can change what machines boot: use https://HOST:6982 \
         (tls-cert and tls-key in [serve] of the first server's server.toml)",
    );
    let odd = first.world("secret", &first.url(), "ours", "");
    let file = odd.shown("token");
    serve(&odd).refused(&format!("{file} has no token in it: a token is 64 digits and letters"));
    fs::remove_file(odd.path("token")).unwrap();
    serve(&odd).refused(&format!(
        "a relay needs a token: run `boottorrent relay add NAME` on the first server, and put what it prints into token-file \
         of [upstream]: opening {file}: No such file or directory (os error 2)"
    ));

    // A relay would remove what somebody else has made.
    let own = first.relay("own", "");
    let settings = fs::read_to_string(own.path("server.toml")).unwrap();
    own.write("server.toml", settings.split("[upstream]").next().unwrap());
    own.squashfs("ours");
    own.run(&["image", "add", "ours.squashfs", "--name", "ours"]).good();
    own.write("server.toml", &settings);
    let before = own.catalogue();
    let said = serve(&own);
    assert!(said.err.contains("has 1 image, 0 entries and 0 machines and groups of its own"), "{}", said.err);
    assert_eq!(own.catalogue(), before);

    // What may heal is tried again.
    let wrong = first.world(&"0".repeat(64), &first.url(), "ours", "");
    let relay = Server::start(&wrong, &[]);
    says(
        &wrong,
        "this is not the token of a relay of this server: make one with `boottorrent relay add NAME` there, and put it into \
         token-file of [upstream] on the relay",
    );
    assert_eq!(get(&relay, "/api/v1/images"), json!([]));
    let other = first.world(&token, &first.url(), "theirs", "");
    let _relay_of_nobody = Server::start(&other, &[]);
    says(
        &other,
        &format!(
            "the certificate of 127.0.0.1:{} is by no authority that is known here: give that authority's own with ca = in \
             [upstream] of server.toml",
            first.https
        ),
    );
    // A relay's token changes nothing, and another's is not a relay's.
    let admin = first.run(&["token", "new"]);
    for (token, path, status) in [
        (&token, "/api/v1/token", 401),
        (&admin, "/api/v1/relay/snapshot", 401),
        (&token, "/api/v1/relay/snapshot", 200),
    ] {
        let bearer = format!("Bearer {}", token.trim());
        assert_eq!(server.ask("GET", path, &[("authorization", &bearer)], b"").status, status, "{path}");
    }
    assert_eq!(server.get("/api/v1/relay/snapshot").status, 401);
    assert_eq!(server.get("/api/v1/relay/images/lab/vmlinuz?infohash=x").status, 401);

    // A relay of a relay, itself for one.
    let port = free_port();
    let itself = first.world(&token, &format!("http://127.0.0.1:{port}"), "ours", "");
    let _relay = Server::start_on(&itself, &format!("127.0.0.1:{port}"), &[]);
    says(
        &itself,
        &format!(
            "this server is itself a relay, of http://127.0.0.1:{port}/: give that address as url in [upstream]"
        ),
    );
}

#[test]
fn another_program() {
    let site = common::site::Site::start();
    let first = First::new();
    let w = first.world(&"0".repeat(64), &format!("http://{}", site.address), "ours", "");
    site.put("api/v1/relay/snapshot", r#"{"version": "9.9.9", "what": "is new"}"#);
    let _relay = Server::start(&w, &["--no-seed"]);
    says(
        &w,
        &format!(
            "the first server has version 9.9.9 of BootTorrent and this relay has {}: install the same version on both",
            env!("CARGO_PKG_VERSION")
        ),
    );
}

#[test]
fn with_keys_only_what_is_signed_is_served() {
    let first = First::new();
    first.add("lab");
    first.run(&["key", "generate", "--no-password"]);
    first.add("exam");
    let w = first.relay("east", "");
    let server = first.start();
    let relay = Server::start(&w, &["--no-seed"]);
    let keys = get(&server, "/api/v1/images");
    let id = keys.as_array().unwrap().iter().find_map(|i| i["key"].as_str()).unwrap().to_owned();
    says(
        &w,
        &format!(
            "machines that boot from the first server believe 1 key that this relay does not have ({id}): copy \
             /etc/boottorrent/keys/*.pub from there into {}",
            w.shown("keys")
        ),
    );
    fs::create_dir_all(w.path("keys")).unwrap();
    fs::copy(first.w.path("keys/boottorrent.pub"), w.path("keys/site.pub")).unwrap();
    has(&relay, "exam");
    until("a sentence", || trouble(&w).starts_with("image 'lab' is not here: ").then_some(()));
    assert_eq!(relay.get("/images/lab/vmlinuz").status, 404, "{}", trouble(&w));
    // A first server that lies: other kernel parameters than those that were signed.
    let manifest = first.w.path("cat/images/exam/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, text.replace("append = \"", "append = \"init=/bin/evil ")).unwrap();
    first.run(&["image", "remove", "lab"]);
    until("a sentence", || trouble(&w).contains("signed for image exam is not what").then_some(()));
    assert!(!relay.get(&format!("/boot.ipxe?mac={MAC}&relay=none")).text().contains("evil"));
}

#[test]
fn with_a_bound_what_was_booted_least_recently_makes_room() {
    let first = First::new();
    ["a", "b", "c"].iter().for_each(|image| first.add(image));
    first.run(&["host", "set", "default", "--image", "a", "--no-menu"]);
    let sizes = ["a", "b", "c"]
        .map(|i| fs::metadata(first.w.path(&format!("cat/images/{i}/payload"))).unwrap().len());
    let disk = sizes[0] + sizes[1] + sizes[2] / 2;
    let w = first.relay("east", &format!("disk = \"{disk}\"\n"));
    let server = first.start();
    let relay = Server::start(&w, &[]);
    has(&relay, "a");
    has(&relay, "b");
    until("c is missing", || {
        (get(&relay, "/api/v1/health")["upstream"]["missing"] == json!(["c@1"])).then_some(())
    });
    says(
        &w,
        &format!(
            "1 image is not here, since all take {} and this relay may use {}: machines that need them, or the menu, boot from \
             the first server (raise disk = in [upstream] of server.toml)",
            human_size(sizes.iter().sum()),
            human_size(disk)
        ),
    );
    // Who asks for it by name boots it from the first server: anybody can ask. A round of the relay later it has what it had.
    let asked = relay.get("/boot.ipxe?mac=52:54:00:00:00:03&image=c").text();
    assert!(asked.contains(&format!("http://127.0.0.1:{}/boot.ipxe?", first.http)), "{asked}");
    for entry in ["one", "two"] {
        first.run(&["entry", "add", entry, "--local", "--title", entry]);
        until(entry, || relay.get("/api/v1/entries").text().contains(entry).then_some(()));
    }
    assert_eq!(upstream(&w)["missing"], json!(["c@1"]));
    assert_eq!(relay.get("/images/b/vmlinuz").status, 200);
    // A machine boots a, another is to boot c: until it is here, that one boots from the first server.
    assert!(script(&relay).contains("images/a/vmlinuz"));
    first.run(&["host", "set", "52:54:00:00:00:02", "--image", "c", "--no-menu"]);
    let wants = || relay.get("/boot.ipxe?mac=52:54:00:00:00:02").text();
    let elsewhere = format!("chain --autofree --replace http://127.0.0.1:{}/boot.ipxe?", first.http);
    until("it is sent there", || wants().contains(&elsewhere).then_some(()));
    until("c is here", || wants().contains(&format!("http://{}/images/c/vmlinuz", relay.http)).then_some(()));
    assert_eq!(relay.get("/images/b/vmlinuz").status, 404);
    assert_eq!(relay.get("/images/a/vmlinuz").status, 200);
    // Nobody has the file of b open: its blocks are free.
    let open = || {
        let files = fs::read_dir(format!("/proc/{}/fd", relay.child.id())).unwrap().flatten();
        let names = files.filter_map(|f| fs::read_link(f.path()).ok());
        names.filter(|n| n.to_string_lossy().ends_with("payload (deleted)")).count()
    };
    until("b is closed", || (open() == 0).then_some(()));
    drop(server);
}

#[test]
fn a_relay_becomes_the_first_server_by_an_admins_word() {
    let first = First::new();
    first.add("lab");
    let settings = first.w.path("server.toml");
    let boot = "[boot]\nappend = \"site=ours\"\n[menu]\ntitle = \"Our lab\"\n";
    fs::write(&settings, fs::read_to_string(&settings).unwrap() + boot).unwrap();
    first.run(&["host", "set", MAC, "--name", "pc1", "--image", "lab"]);
    let w = first.relay("east", "");
    let server = first.start();
    let relay = Server::start(&w, &[]);
    has(&relay, "lab");
    until("the machine's entry", || script(&relay).contains("site=ours").then_some(()));

    // Three refusals: a server runs here, the first server answers, this is no relay.
    let url = first.url();
    let promote = |words: &[&str]| w.run(&[&["relay", "promote"], words].concat());
    promote(&[]).refused(&format!(
        "the server runs, and goes on following {url}/: stop it first (systemctl stop boottorrent-server)"
    ));
    assert_eq!(relay.stop(), Some(0));
    promote(&[]).refused(&format!(
        "{url}/ answers: two first servers would be changed apart from each other. Stop that one first, or use --force"
    ));
    let shown = first.w.shown("cat");
    first
        .w
        .run(&["relay", "promote"])
        .refused(&format!("{shown} is not the catalogue of a relay: there is nothing to promote"));
    assert_eq!(server.stop(), Some(0));
    let printed = promote(&[]).good();
    assert!(
        printed.contains("append = \"site=ours\"") && printed.contains("title = \"Our lab\""),
        "{printed}"
    );

    // With the settings of a relay it would remove what is its own now.
    let said = w.run(&["serve", "--listen", "127.0.0.1:0", "--peer-port", "0"]);
    assert!(said.err.contains("has 1 image, 0 entries and 1 machines and groups of its own"), "{}", said.err);
    let own = fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", own.split("[upstream]").next().unwrap().to_owned() + &printed);
    let now = Server::start(&w, &[]);
    assert!(script(&now).contains("site=ours"), "{}", script(&now));
    w.run(&["host", "set", MAC, "--param", "colour=blue"]).good();
    assert!(script(&now).contains("colour=blue"));
    // And it has relays.
    assert_eq!(w.run(&["relay", "add", "west"]).good().trim().len(), 64);
}
