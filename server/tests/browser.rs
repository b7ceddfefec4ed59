// SPDX-License-Identifier: GPL-3.0-or-later
//! The page in a real browser: Chromium without a window (`apt-get install chromium`), told what to do over
//! its debugging pipe. Part of `make test-full`; the picture of the page is left in target/page.png.
#![allow(missing_docs)]

mod common;

use common::{Server, World, until};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A page in Chromium. It ends when this is dropped.
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    calls: u64,
}

impl Browser {
    fn open(w: &World, url: &str, width: u32, height: u32) -> Browser {
        let (to, from) = (w.path("to-browser"), w.path("from-browser"));
        for fifo in [&to, &from] {
            mkfifo(fifo, Mode::S_IRWXU).unwrap();
        }
        let flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe";
        let command = format!(
            "exec chromium {flags} --user-data-dir={} 3<{} 4>{}",
            w.shown("profile"),
            to.display(),
            from.display()
        );
        let child = Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the shell's order: each waits for the other.
        let (to, from) = (File::options().write(true).open(to).unwrap(), File::open(from).unwrap());
        let mut browser = Browser { child, to, from: BufReader::new(from), session: None, calls: 0 };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser.call("Page.navigate", json!({"url": url}));
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            assert!(self.from.read_until(0, &mut answer).unwrap() > 0, "the browser has ended");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// What an expression gives in the page.
    fn eval(&mut self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The page's text.
    fn text(&mut self) -> String {
        self.eval("document.body ? document.body.innerText : ''").as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn sees(&mut self, text: &str) {
        let mut last = String::new();
        for _ in 0..200 {
            last = self.text();
            if last.contains(text) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the page never shows {text}:\n{last}");
    }

    fn screenshot(&mut self, path: &Path) {
        let png = self.call("Page.captureScreenshot", json!({}))["data"].as_str().unwrap().to_owned();
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(File::create(path).unwrap())
            .spawn()
            .unwrap();
        decode.stdin.take().unwrap().write_all(png.as_bytes()).unwrap();
        assert!(decode.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
