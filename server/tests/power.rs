// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines are switched by BMCs of others' making: ipmi_sim, sushy-tools' Redfish service; and by those that answer
//! nothing, or nonsense.
#![allow(missing_docs)]

#[path = "common/bmc.rs"]
mod bmc;
#[path = "common/certificate.rs"]
mod certificate;
mod common;

use bmc::Bmc;
use certificate::certificate;
use common::{Server, World, local, until};
use serde_json::{Value, json};
use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const LOGIN: &str = "[default]\nuser = \"admin\"\npassword = \"secret\"\ncipher = 3\n";

/// power.toml, as the settings of this world name it.
fn bmcs(w: &World, text: &str) {
    w.command(&[]);
    let settings = fs::read_to_string(w.path("server.toml")).unwrap();
    if !settings.contains("[power]") {
        w.write("server.toml", format!("{settings}[power]\nfile = {:?}\n", w.shown("power.toml")));
    }
    w.write("power.toml", text);
    fs::set_permissions(w.path("power.toml"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn named(w: &World, machines: &[(&str, &str)]) {
    w.run(&["image", "list"]).good();
    for (mac, name) in machines {
        w.run(&["host", "set", mac, "--name", name]).good();
    }
}

/// What is printed, and the exit code.
fn power(w: &World, args: &[&str]) -> (String, Option<i32>) {
    let said = w.run(&[&["host", "power"], args].concat());
    (said.out, said.code)
}

#[track_caller]
fn says(w: &World, args: &[&str], out: &str) {
    assert_eq!(power(w, args), (out.to_owned(), Some(0)));
}

#[track_caller]
fn fails(w: &World, args: &[&str], out: &str) {
    assert_eq!(power(w, args), (out.to_owned(), Some(1)));
}

// Tried: power by IPMI: on, off, cycle, status | ipmi_sim 2.0.33 (openipmi), ipmitool 1.8.19
#[test]
fn by_ipmi() {
    let w = World::new();
    let sim = Bmc::ipmi(&w, "sim");
    let text = |login: &str| format!("{login}[pc1]\nbmc = \"ipmi://127.0.0.1:{}\"\n", sim.port);
    bmcs(&w, &text(LOGIN));
    named(&w, &[("52:54:00:00:00:01", "pc1"), ("52:54:00:00:00:02", "pc2")]);
    w.run(&["host", "set", "group:room", "--menu"]).good();
    w.run(&["host", "set", "pc1", "--group", "room"]).good();
    let (server, log) = Server::logged(&w);
    says(&w, &["status", "pc1"], "pc1: off (ipmi)\n");
    says(&w, &["on", "room"], "pc1: switched on (ipmi)\n");
    says(&w, &["status", "group:room"], "pc1: on (ipmi)\n");
    says(&w, &["cycle", "pc1"], "pc1: switched off and on (ipmi)\n");
    until("it is on again", || (sim.calls() == ["power 1", "power 0", "power 1"]).then_some(()));
    says(&w, &["off", "52:54:00:00:00:01"], "pc1: switched off (ipmi)\n");
    says(&w, &["cycle", "pc1"], "pc1: switched off and on (ipmi)\n");
    assert_eq!(sim.calls()[3..], ["power 0", "power 1"], "it was off: it is only switched on");

    // Over the API.
    let ask = |body: Value| local(&w, "POST", "/api/v1/power", &body.to_string());
    let (status, rows) = ask(json!({"who": ["pc1"], "action": "status"}));
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let want = json!([{"key": "52:54:00:00:00:01", "name": "pc1", "by": "ipmi", "state": "on"}]);
    assert_eq!((status, rows), (200, want));
    assert!(ask(json!({"who": ["pc1"], "action": "burn"})).1.contains("unknown variant `burn`"));
    assert_eq!(ask(json!({"action": "off"})), (400, "name a machine or a group\n".into()));

    // Who has none, and who is nobody.
    let unknown = format!("pc2: its BMC is not known: add it to {}\n", w.shown("power.toml"));
    fails(&w, &["off", "pc2"], &unknown);
    fails(&w, &["status", "pc1", "pc2"], &format!("pc1: on (ipmi)\n{unknown}"));
    w.run(&["host", "power", "off", "default"])
        .refused("'default' is neither a machine nor a group: name those that you mean");
    assert!(w.run(&["host", "power", "off", "pc[1-3]"]).err.contains("no machine and no group has: pc3"));

    // Wrong logins.
    let port = sim.port;
    for wrong in [LOGIN.replace("secret", "hunter2"), LOGIN.replace("admin", "hunter2")] {
        bmcs(&w, &text(&wrong));
        let user = if wrong.contains("admin") { "admin" } else { "hunter2" };
        fails(
            &w,
            &["off", "pc1"],
            &format!("pc1: its BMC 127.0.0.1:{port} refuses user '{user}' or the password\n"),
        );
    }
    bmcs(&w, &text(&LOGIN.replace("cipher = 3", "cipher = 17")));
    fails(
        &w,
        &["off", "pc1"],
        &format!("pc1: its BMC 127.0.0.1:{port} does not take this cipher suite: set cipher = 3 or 17\n"),
    );
    // A BMC that does not say which suites it has costs two seconds.
    bmcs(&w, &text(&LOGIN.replace("cipher = 3", "")));
    says(&w, &["status", "pc1"], "pc1: on (ipmi)\n");
    assert_eq!(sim.calls().len(), 5, "none of these did anything");
    let log = log.lock().unwrap().join("\n");
    assert!(log.contains("changed by") && log.contains(r#"{"who":["pc1"],"action":"cycle"}"#), "{log}");
    for secret in ["secret", "hunter2"] {
        assert!(!log.contains(secret), "{log}");
    }
    drop(server);
    // Without a server, root does it.
    bmcs(&w, &text(LOGIN));
    says(&w, &["off", "pc1"], "pc1: switched off (ipmi)\n");
}

// Tried: power by Redfish: on, off, cycle, status | sushy-tools 2.2
#[test]
fn by_redfish() {
    let w = World::new();
    let sim = Bmc::redfish(&w, "bmc", &["one", "two"]);
    let port = sim.port;
    let text = |login: &str, system: &str, more: &str| {
        format!("{login}[pc1]\nbmc = \"redfish://127.0.0.1:{port}{system}\"\n{more}\n")
    };
    let ca = format!("ca = {:?}", w.shown("bmc.ca.crt"));
    bmcs(&w, &text(LOGIN, "/one", &ca));
    named(&w, &[("52:54:00:00:00:01", "pc1")]);
    let (_server, log) = Server::logged(&w);
    says(&w, &["status", "pc1"], "pc1: off (redfish)\n");
    // The service takes up to eleven seconds for what it is told.
    let is = |state: &str| {
        let want = format!("pc1: {state} (redfish)\n");
        until(state, || (power(&w, &["status", "pc1"]).0 == want).then_some(()));
    };
    says(&w, &["on", "pc1"], "pc1: switched on (redfish)\n");
    is("on");
    says(&w, &["on", "pc1"], "pc1: switched on (redfish)\n");
    says(&w, &["cycle", "pc1"], "pc1: switched off and on (redfish)\n");
    is("off");
    is("on");
    bmcs(&w, &text(LOGIN, "/redfish/v1/Systems/one", "insecure = true"));
    says(&w, &["off", "pc1"], "pc1: switched off (redfish)\n");
    is("off");

    // Which machine is meant, and whether it is the right BMC.
    bmcs(&w, &text(LOGIN, "", &ca));
    let (said, code) = power(&w, &["on", "pc1"]);
    let systems = said.contains("one, two") || said.contains("two, one");
    assert!(
        code == Some(1) && systems && said.ends_with(&format!("as in redfish://127.0.0.1:{port}/NAME\n")),
        "{said}"
    );
    bmcs(&w, &text(LOGIN, "/one", ""));
    let (said, code) = power(&w, &["on", "pc1"]);
    let distrusts = format!("pc1: the certificate of its BMC 127.0.0.1:{port} is not trusted (");
    assert!(code == Some(1) && said.starts_with(&distrusts), "{said}");
    for (more, why) in [
        (
            format!("ca = {:?}", w.shown("none.crt")),
            format!("reading {}: No such file or directory (os error 2)", w.shown("none.crt")),
        ),
        (
            format!("ca = {:?}", w.shown("bmc.key")),
            format!("{} has no certificate in it (PEM)", w.shown("bmc.key")),
        ),
    ] {
        bmcs(&w, &text(LOGIN, "/one", &more));
        fails(&w, &["on", "pc1"], &format!("pc1: {why}\n"));
    }
    bmcs(&w, &text(&LOGIN.replace("secret", "hunter2"), "/one", &ca));
    fails(
        &w,
        &["on", "pc1"],
        &format!("pc1: its BMC 127.0.0.1:{port} refuses user 'admin' or the password\n"),
    );
    bmcs(&w, &text(LOGIN, "/redfish/v1/Systems/three", &ca));
    assert!(power(&w, &["on", "pc1"]).0.contains("answers /redfish/v1/Systems/three with 404 Not Found"));
    let log = log.lock().unwrap().join("\n");
    assert!(!log.contains("secret") && !log.contains("hunter2"), "{log}");
}

/// Forty machines of which none answers cost ten seconds for each sixteen; no word of any command is the password.
#[test]
fn those_that_do_not_answer() {
    let w = World::new();
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut text = LOGIN.replace("secret", "hunter2");
    for n in 1..=38 {
        text += &format!("[\"52:54:00:00:00:{n:02x}\"]\nbmc = \"ipmi://{}\"\n", udp.local_addr().unwrap());
    }
    text += &format!("[\"52:54:00:00:00:fe\"]\nbmc = \"redfish://{}\"\n", tcp.local_addr().unwrap());
    text += "[\"52:54:00:00:00:ff\"]\nbmc = \"ipmi://nobody.invalid\"\n";
    bmcs(&w, &text);
    let _server = Server::start(&w, &["--no-seed"]);
    let who: Vec<String> = (1..=38).chain([0xfe, 0xff]).map(|n| format!("52:54:00:00:00:{n:02x}")).collect();
    let args: Vec<&str> =
        ["host", "power", "off", "--json"].into_iter().chain(who.iter().map(String::as_str)).collect();
    let begun = Instant::now();
    let asking = w
        .command(&args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (mut most, mut seen) = (0, 0);
    while begun.elapsed() < Duration::from_secs(6) {
        let lines = commands("ipmitool");
        let ours: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains(&udp.local_addr().unwrap().port().to_string()))
            .collect();
        assert!(ours.iter().all(|line| !line.contains("hunter2")), "{ours:?}");
        (most, seen) = (most.max(ours.len()), seen + ours.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!((8..=16).contains(&most) && seen > 100, "{most} at once, {seen} seen");
    let said = asking.wait_with_output().unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(32), "{took:?}");
    let rows: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((rows.len(), said.status.code()), (40, Some(1)));
    let error = |n: usize| rows[n]["error"].as_str().unwrap().to_owned();
    assert_eq!(error(0), format!("its BMC {} does not answer", udp.local_addr().unwrap()));
    assert_eq!(error(38), format!("its BMC {} does not answer", tcp.local_addr().unwrap()));
    assert_eq!(error(39), "the name of its BMC nobody.invalid is not known");
    eprintln!("forty silent BMCs: {took:?}, at most {most} at once");
}

/// The command lines of programs with this word in them.
fn commands(word: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(word) && !line.starts_with("prlimit") && !line.starts_with("setpriv"))
        .collect()
}

/// A service that answers each path with the rest of an HTTP answer, over TLS; what it was asked.
fn odd(w: &World, answers: Vec<(&'static str, String)>) -> (u16, Arc<std::sync::Mutex<Vec<String>>>) {
    certificate(w, "odd", "IP:127.0.0.1");
    let cert = CertificateDer::from_pem_file(w.path("odd.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(w.path("odd.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heads = asked.clone();
    let serve = async move {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = vec![0; 8192];
            let n = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            heads.lock().unwrap().push(head);
            let answer =
                answers.iter().find(|(at, _)| *at == path).map_or("404 Not Found\r\n\r\n", |(_, a)| a);
            let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    };
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve)
    });
    (port, asked)
}

/// What a BMC answers leads nowhere else, and costs a bounded time and memory.
#[test]
fn bmcs_that_answer_nonsense() {
    let w = World::new();
    let json = |text: &str| format!("200 OK\r\nconnection: close\r\n\r\n{text}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at_other = format!("https://{}/redfish/v1/Systems/1", other.local_addr().unwrap());
    let target = |to: &str| {
        json(&format!(
            r##"{{"PowerState":"Off","Actions":{{"#ComputerSystem.Reset":{{"target":"{to}"}}}}}}"##
        ))
    };
    let (port, asked) = odd(
        &w,
        vec![
            (
                "/moved/1",
                format!("307 Temporary Redirect\r\nlocation: {at_other}\r\nconnection: close\r\n\r\n"),
            ),
            ("/long/1", json(&"x".repeat(2 << 20))),
            ("/text/1", json("\u{1b}[31mhello")),
            ("/state/1", json(r#"{"PowerState":"\u001b[31mPaused"}"#)),
            ("/target/1", target(&at_other)),
            ("/slashes/1", target("//127.0.0.1/x")),
            ("/redfish/v1/Systems", json(&format!(r#"{{"Members":[{{"@odata.id":"{at_other}"}}]}}"#))),
        ],
    );
    named(&w, &[("52:54:00:00:00:01", "pc1")]);
    for (system, why) in [
        ("/moved/1", "answers /moved/1 with 307 Temporary Redirect".to_owned()),
        ("/long/1", "answers /long/1 with more than 1048576 bytes".into()),
        ("/text/1", "answers /text/1 with what is not JSON".into()),
        ("/state/1", "answers the power state '[31mPaused'".into()),
        ("/target/1", format!("answers the link '{at_other}'")),
        ("/slashes/1", "answers the link '//127.0.0.1/x'".into()),
        ("/lost/1", "answers /lost/1 with 404 Not Found".into()),
        ("", format!("answers the link '{at_other}'")),
    ] {
        let ca = w.shown("odd.ca.crt");
        bmcs(&w, &format!("{LOGIN}[pc1]\nbmc = \"redfish://127.0.0.1:{port}{system}\"\nca = {ca:?}\n"));
        fails(&w, &["on", "pc1"], &format!("pc1: its BMC 127.0.0.1:{port} {why}\n"));
    }
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody else was asked");
    assert!(asked.lock().unwrap().iter().all(|head| head.starts_with("GET ")), "nothing was switched");
}

#[test]
fn a_file_that_cannot_be_used() {
    let w = World::new();
    bmcs(&w, "[pc1]\npassword = 4711\n");
    named(&w, &[("52:54:00:00:00:01", "pc1")]);
    let file = w.shown("power.toml");
    let on = ["host", "power", "on", "pc1"];
    let broken = format!("{file}: line 2: a password is one line of text in quotes");
    w.run(&on).refused(&broken);
    bmcs(&w, "[pc1]\nbmc = \"ipmi://10.0.0.1\"\n");
    let said = w.run(&on);
    assert_eq!(
        (said.out, said.code),
        (
            format!(
                "pc1: {file} has no user and password for its BMC 10.0.0.1: give them to it, its group or default\n"
            ),
            Some(1)
        )
    );
    fs::set_permissions(w.path("power.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = format!(
        "{file} has passwords, and others may read or change it: chown root:_boottorrent {file} && chmod 640 {file}"
    );
    w.run(&on).refused(&open);
    let server = Server::start(&w, &["--no-seed"]);
    w.run(&on).refused(&open);
    let doctor = w.run(&["doctor"]);
    assert!(doctor.out.contains(&format!("power: {open}")), "{}", doctor.out);
    drop(server);
    // Nothing but wake-on-LAN where there is no file; in a network of its own.
    fs::remove_file(w.path("power.toml")).unwrap();
    let network = "ip link add d0 type veth peer name d1 && ip addr add 10.9.0.1/24 dev d0 && ip link set d0 up && exec \"$@\"";
    let said = w.run_in_network(network, &[], &["host", "power", "on", "pc1"]);
    assert_eq!(said.good(), "pc1: wake-on-LAN packet sent\n");
}
