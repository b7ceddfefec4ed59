// SPDX-License-Identifier: GPL-3.0-or-later
//! The page in a real browser. Part of `make test-full`; the picture of the page is left in target/page.png.
#![allow(missing_docs)]

#[path = "common/browser.rs"]
mod chromium;
mod common;

use chromium::Browser;
use common::{Server, World, until};
use serde_json::{Value, json};
use std::path::Path;

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
    page.eval("document.getElementById('filter').value = 'pc9'; arrange()");
    assert_eq!(page.eval("document.querySelectorAll('#machines tr').length"), 1);
    w.run(&["image", "remove", "exam", "--force"]).good();
    until("exam is gone", || (!page.text().contains("exam")).then_some(()));
    // Accessible: a table is one, with heads, a name, and a status that is read out.
    for (what, count) in [
        ("table[aria-labelledby] thead th[scope=col]", 15),
        ("#machines th[scope=row]", 1),
        ("[role=status][aria-live=polite]", 1),
    ] {
        assert_eq!(page.eval(&format!("document.querySelectorAll('{what}').length")), count, "{what}");
    }
    // On a telephone nothing is wider than the screen, but what scrolls by itself.
    page.eval("document.getElementById('filter').value = ''; arrange()");
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
