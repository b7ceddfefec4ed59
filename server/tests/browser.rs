// SPDX-License-Identifier: GPL-3.0-or-later
//! The page in a real browser. Part of `make test-full`; the picture of the page is left in target/page.png.
#![allow(missing_docs)]

#[path = "common/bmc.rs"]
mod bmc;
#[path = "common/certificate.rs"]
mod certificate;
#[path = "common/browser.rs"]
mod chromium;
mod common;

use bmc::Bmc;
use chromium::Browser;
use common::{Server, World, local, until};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn beat(server: &Server, n: u32, phase: &str, have: u64, more: Value) {
    let mut body = json!({"id": format!("52:54:00:00:00:{n:02x}"), "hostname": format!("pc{n}"), "image": "lab",
        "phase": phase, "uptime": 20.5, "kernel_uptime": 4.0,
        "progress": {"have": have, "total": 100, "down_rate": have * 100_000, "from_server": 3 << 20, "from_peers": 40 << 20}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = server.beat(body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn a_browser_sees_what_happens() {
    let w = World::new();
    w.squashfs("lab");
    for name in ["lab", "exam"] {
        w.run(&["image", "add", "lab.squashfs", "--name", name]).good();
    }
    let server = Server::start(&w, &[]);
    let mut page = Browser::open(&w, &format!("http://{}/", server.http), 1200, 800);
    page.sees("live");
    page.sees("No machine has reported.");
    page.sees("exam");
    // Its name is markup, for whoever would take it so.
    beat(&server, 1, "download", 10, json!({"hostname": "<img src=x onerror=alert(1)><b>pc1"}));
    page.sees("<img src=x onerror=alert(1)><b>pc1");
    assert_eq!(page.eval("document.querySelectorAll('main img, main b:not(.figures b)').length"), 0);
    page.sees("10 %");
    beat(&server, 1, "download", 60, json!({}));
    page.sees("60 %");
    assert_eq!(page.eval("document.querySelector('#machines progress').value"), 60);
    for n in 2..9 {
        beat(&server, n, "seed", 100, json!({"phases": [{"phase": "seed", "at": 18.0}]}));
    }
    beat(&server, 9, "failed", 0, json!({"error": "no room: the image has 1.00 GiB, there are 512 MiB"}));
    page.sees("9 machines: 7 booted, 1 under way, 1 failed, 0 gone");
    // The one that needs attention is first, the one under way second.
    let order = "[...document.querySelectorAll('#machines tr')].map(r => r.cells[2].firstChild.textContent).slice(0, 3).join()";
    assert_eq!(page.eval(order), "failed,download,booted");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    page.screenshot(&root.join("page.png"));
    page.eval("const q = document.getElementById('q'); q.value = 'pc9'; q.dispatchEvent(new Event('input'))");
    assert_eq!(page.eval("document.querySelectorAll('#machines tr').length"), 1);
    w.run(&["image", "remove", "exam", "--force"]).good();
    until("exam is gone", || (!page.text().contains("exam")).then_some(()));
    // Accessible: a table is one, with heads, a name, and a status that is read out.
    for (what, count) in [
        ("table[aria-labelledby] thead th[scope=col]", 28),
        ("#machines th[scope=row]", 1),
        ("[role=status][aria-live=polite]", 1),
    ] {
        assert_eq!(page.eval(&format!("document.querySelectorAll('{what}').length")), count, "{what}");
    }
    // On a telephone nothing is wider than the screen, but what scrolls by itself.
    page.eval("q.value = ''; q.dispatchEvent(new Event('input'))");
    let size = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    page.call("Emulation.setDeviceMetricsOverride", size);
    assert!(page.eval("document.documentElement.scrollWidth").as_u64().unwrap() <= 390);
    page.call(
        "Emulation.setEmulatedMedia",
        json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    );
    page.screenshot(&root.join("page-phone.png"));
    drop(server);
    page.sees("the server does not answer: trying again");
}

/// A room of six, an image for lessons and one for exams, and a machine with a BMC.
fn room(w: &World, bmc: &Bmc) -> Server {
    w.squashfs("lab");
    for name in ["lesson", "exam"] {
        w.run(&["image", "add", "lab.squashfs", "--name", name]).good();
    }
    let settings = fs::read_to_string(w.path("server.toml")).unwrap();
    w.write("server.toml", format!("{settings}[power]\nfile = {:?}\n", w.shown("power.toml")));
    let text = format!(
        "[default]\nuser = \"admin\"\npassword = \"secret\"\ncipher = 3\n[pc1]\nbmc = \"ipmi://127.0.0.1:{}\"\n",
        bmc.port
    );
    w.write("power.toml", text);
    fs::set_permissions(w.path("power.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    w.run(&["host", "set", "group:room", "--image", "lesson", "--prefix", "pc"]).good();
    w.run(&["host", "set", "52:54:00:00:00:01", "--name", "pc1"]).good();
    let server = Server::start(w, &[]);
    (1..=6).for_each(|n| booted(&server, n, "lesson"));
    server
}

fn booted(server: &Server, n: u32, image: &str) {
    beat(
        server,
        n,
        "seed",
        100,
        json!({"image": image, "log": ["   1.0 hello"], "phases": [{"phase": "seed", "at": 18.0}]}),
    );
}

fn hosts(w: &World) -> String {
    fs::read_to_string(w.path("cat/hosts.toml")).unwrap()
}

/// Sign in with keys only; what the page says then.
fn sign_in(page: &mut Browser, token: &str) {
    page.tabs_to("it.id === 'sign-in'");
    page.press("Enter");
    page.tabs_to("it.id === 'token'");
    page.types(token.trim());
    page.press("Enter");
}

/// No hand on the mouse: an admin signs in, sees the room as tiles, acts on it and watches what comes of it.
fn with_keys_only(width: u32, height: u32) {
    let w = World::new();
    w.run(&["image", "list"]).good();
    let bmc = Bmc::ipmi(&w, "sim");
    let server = room(&w, &bmc);
    let token = w.run(&["token", "new", "anna"]).good();
    let short = w.run(&["token", "new", "old", "--expires", "1d"]).good();
    let kept = fs::read_to_string(w.path("cat/token")).unwrap();
    let (_, at) = kept.split_once("expires = \"").unwrap();
    fs::write(w.path("cat/token"), kept.replace(at.split('"').next().unwrap(), "2026-01-01T00:00:00Z"))
        .unwrap();

    let mut page = Browser::open(&w, &format!("http://{}/", server.http), width, height);
    page.sees("6 machines: 6 booted");
    let button = "[...document.querySelectorAll('.change')].filter(it => it.checkVisibility()).length";
    assert_eq!(page.eval(button), 0, "who has not signed in only looks");
    for (given, why) in [
        ("x".repeat(64), "the token is missing or wrong"),
        (short, "token 'old' has expired (2026-01-01T00:00:00Z)"),
    ] {
        sign_in(&mut page, &given);
        page.sees(why);
        assert_eq!(page.eval("sessionStorage.length + localStorage.length"), 0);
        page.press("Escape");
    }
    sign_in(&mut page, &token);
    page.sees("signed in as anna");
    assert_eq!(
        page.eval(
            "document.cookie + Object.keys(localStorage) + location.href.includes(sessionStorage.token)"
        ),
        "false"
    );

    // The room as tiles.
    page.tabs_to("it.id === 'tiles-view'");
    page.press("Enter");
    page.sees("6 machines: 6 booted, 0 failed, 0 gone");
    assert_eq!(
        page.eval(
            "[...document.querySelectorAll('.tile')].map(t => t.innerText.replace(/\\s+/g, ' ')).join()"
        ),
        (1..=6).map(|n| format!("pc{n} booted lesson")).collect::<Vec<_>>().join(",")
    );
    assert!(page.eval("document.documentElement.scrollWidth").as_u64().unwrap() <= width.into());
    page.screenshot(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/page-rooms-{width}.png")));

    // Assign: for good to the room, and once to one machine.
    act(&mut page, "it.textContent === 'Act on room…'", "Boot this image from now on", Some("exam"));
    page.sees("group room boots exam from now on");
    assert!(hosts(&w).contains("image = \"exam\""));
    page.press("Escape");
    booted(&server, 3, "exam");
    page.sees("exam");
    until("the tile", || {
        (page.eval("document.querySelectorAll('.tile')[2].innerText.includes('exam')") == true).then_some(())
    });
    page.tabs_to("it.classList.contains('tile') && it.innerText.startsWith('pc2')");
    page.press("Enter");
    page.sees("1.0 hello");
    page.sees("Boots next");
    act(&mut page, "it.id === 'details-act'", "Boot this image once, the next time", Some("lesson"));
    page.sees("pc2 boots lesson once, the next time");
    assert!(hosts(&w).contains("once = \"lesson\""));
    page.press("Escape");

    // Switch the room, and watch it.
    act(
        &mut page,
        "it.textContent === 'Act on room…'",
        "Switch the running system to this image",
        Some("lesson"),
    );
    page.sees("6 orders given");
    page.press("Escape");
    page.sees("switch to lesson");
    let secret = server.secret("52:54:00:00:00:05");
    let says = |order: Value| {
        let body = json!({"id": "52:54:00:00:00:05", "hostname": "pc5", "image": "lesson", "phase": "seed", "uptime": 30.0, "secret": secret,
            "orders": {"allows": ["switch"], "order": order}});
        server.heartbeat(&body.to_string())
    };
    let told: Value = serde_json::from_slice(&says(Value::Null).body).unwrap();
    let order = told["order"]["order"].as_str().unwrap().to_owned();
    let id = order.lines().find_map(|l| l.strip_prefix("id: ")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let ready =
        json!({"id": id, "what": "switch to lesson", "stage": "ready", "percent": 100, "by": "soft-reboot"});
    assert_eq!(says(ready).status, 200);
    page.sees("ready (soft-reboot)");
    page.tabs_to("it.textContent === 'Take back' && it.getAttribute('aria-description') === 'pc6'");
    page.press("Enter");
    page.sees("taken back");
    until("one is gone", || (page.eval("document.querySelectorAll('#orders tr').length") == 5).then_some(()));

    // A time of day is the one of whoever sits before the page.
    let midnight = "(at => at > new Date() && at.getHours() + at.getMinutes() === 0 && next('00:00').length === 20)(new Date(next('00:00')))";
    assert_eq!(page.eval(midnight), true);

    // Power, by the BMC and without one.
    act(&mut page, "it.textContent === 'Act on room…'", "Power: is it on?", None);
    page.sees("6 machines, 5 failed");
    page.sees("pc1: off");
    page.press("Escape");
    page.tabs_to("it.id === 'list-view'");
    page.press("Enter");
    page.tabs_to("it.id === 'q'");
    page.types("pc1");
    page.tabs_to("it.type === 'checkbox'");
    page.press("Space");
    act(&mut page, "it.id === 'act-open'", "Power on (BMC or wake-on-LAN)", None);
    page.sees("pc1: switched on");
    assert_eq!(bmc.calls(), ["power 1"]);
    page.press("Escape");

    // The filter is in the address: the page is the same when it is opened again, and still signed in.
    page.tabs_to("it.id === 'phase'");
    page.chooses("booted");
    let address = page.eval("location.hash");
    assert_eq!(address, "#phase=booted&q=pc1");
    page.call("Page.reload", json!({}));
    page.sees("signed in as anna");
    until("the filter", || {
        (page.eval("document.querySelectorAll('#machines tr').length") == 1).then_some(())
    });
    assert_eq!(page.eval("document.getElementById('phase').value"), "booted");

    // Images, fetches, history.
    page.tabs_to("it.getAttribute('aria-label') === 'Make lesson the default image'");
    page.press("Enter");
    page.sees("lesson is the default image now");
    page.tabs_to("it.id === 'fetch-what'");
    // Two are under way and wait for a silent server: the third one is queued.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |name: &str| format!("http://{}/{name}.iso", silent.local_addr().unwrap());
    let sum = "0".repeat(64);
    for name in ["a", "b"] {
        let body = json!({"what": url(name), "name": name, "sum": sum}).to_string();
        assert_eq!(local(&w, "POST", "/api/v1/fetches", &body).0, 200);
    }
    let url = url("c");
    page.types(&url);
    page.tabs_to("it.id === 'fetch-sum'");
    page.types(&sum);
    page.press("Enter");
    page.sees(&format!("{url} is being fetched"));
    let first = |text: &str| format!("document.querySelector('#fetches tr')?.innerText.includes('{text}')");
    until("it is queued", || (page.eval(&first("queued")) == true).then_some(()));
    page.tabs_to("it.textContent === 'Cancel'");
    page.press("Enter");
    page.sees("fetch cancelled");
    until("it is cancelled", || (page.eval(&first("Forget")) == true).then_some(()));
    page.tabs_to("it.textContent === 'Forget'");
    page.press("Enter");
    until("it is forgotten", || (page.eval(&first("fetching")) == true).then_some(()));
    page.tabs_to("it.localName === 'summary'");
    page.press("Enter");
    page.sees("after 21 s");
    assert_eq!(page.eval("document.querySelectorAll('#boots tr').length"), 6);
    assert!(page.eval("document.documentElement.scrollWidth").as_u64().unwrap() <= width.into());

    // A token that is taken back: the next change is refused, and the page has forgotten it.
    w.run(&["token", "remove", "anna"]).good();
    w.run(&["token", "new", "other"]).good();
    let before = hosts(&w);
    page.tabs_to("it.getAttribute('aria-label') === 'Make exam the default image'");
    page.press("Enter");
    page.sees("the token is missing or wrong");
    assert_eq!(page.eval("sessionStorage.length"), 0);
    assert_eq!(page.eval(button), 0);
    assert_eq!(hosts(&w), before, "nothing was changed");
}

#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn with_keys_only_on_a_wide_screen() {
    with_keys_only(1440, 1000);
}

#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn with_keys_only_on_a_phone() {
    with_keys_only(390, 844);
}

/// A page from elsewhere in the same browser, with the right token: it changes nothing, and reads nothing.
#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn another_origin_is_refused() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    let token = w.run(&["token", "new"]).good();
    let other = common::site::Site::start();
    let html = common::site::Page { body: b"<p>other</p>".to_vec(), kind: "text/html", ..Default::default() };
    other.page("other", html);
    let mut page = Browser::open(&w, &other.url("other"), 800, 600);
    page.sees("other");
    let mut asks = |method: &str, how: &str| {
        let ask = format!(
            "fetch('http://{}/api/v1/{}', {{method: '{method}', {how}}}).then(a => a.type + a.status, e => 'refused')",
            server.http,
            if method == "POST" { "hosts" } else { "hosts/default" }
        );
        let params = json!({"expression": ask, "returnByValue": true, "awaitPromise": true});
        page.call("Runtime.evaluate", params)["result"]["value"].clone()
    };
    let bearer = format!(
        "headers: {{'Authorization': 'Bearer {}', 'Content-Type': 'application/json'}}",
        token.trim()
    );
    let body = "body: '{\"set\": {\"image\": \"lab\"}}'";
    assert_eq!(asks("PUT", &format!("{bearer}, {body}")), "refused");
    assert_eq!(asks("GET", &bearer), "refused");
    // What a page may send without asking first comes to nothing.
    assert_eq!(
        asks(
            "POST",
            "mode: 'no-cors', body: '{\"changes\": [{\"key\": \"default\", \"change\": {\"set\": {\"image\": \"lab\"}}}]}'"
        ),
        "refused"
    );
    assert!(!w.path("cat/hosts.toml").exists(), "nothing was changed");
}

/// Where the list of machines needs a token, the page shows it to who signs in; a read-only token changes nothing.
#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn a_list_that_needs_a_token() {
    let w = World::new();
    w.write("server.toml", "[catalogue]\nsources = []\n[serve]\nmachines = \"token\"\n");
    let server = Server::start(&w, &["--no-seed"]);
    let look = w.run(&["token", "new", "look", "--read-only"]).good();
    beat(&server, 1, "download", 60, json!({}));
    let mut page = Browser::open(&w, &format!("http://{}/", server.http), 800, 600);
    page.sees("sign in to see images and machines");
    assert!(!page.text().contains("pc1"));
    sign_in(&mut page, &look);
    page.sees("signed in as look (read-only)");
    page.sees("60 %");
    beat(&server, 1, "download", 70, json!({}));
    page.sees("70 %");
    assert_eq!(
        page.eval("[...document.querySelectorAll('.change')].filter(it => it.checkVisibility()).length"),
        0
    );
    page.tabs_to("it.id === 'sign-in'");
    page.press("Enter");
    page.sees("sign in to see images and machines");
    assert!(!page.text().contains("70 %"));
}

/// Act on what has this button.
fn act(page: &mut Browser, on: &str, what: &str, image: Option<&str>) {
    page.tabs_to(on);
    page.press("Enter");
    page.tabs_to("it.id === 'act-what'");
    page.chooses(what);
    if let Some(image) = image {
        page.tabs_to("it.id === 'act-image'");
        page.chooses(image);
    }
    page.tabs_to("it.id === 'act-do'");
    page.press("Enter");
}
