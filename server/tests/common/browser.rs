// SPDX-License-Identifier: GPL-3.0-or-later
//! A page in Chromium without a window (`apt-get install chromium`), told what to do over its debugging pipe.

use super::common::World;
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A page in Chromium. It ends when this is dropped.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    calls: u64,
}

impl Browser {
    /// Open a page, in a window of this size.
    pub fn open(w: &World, url: &str, width: u32, height: u32) -> Browser {
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

    /// Tell the browser something (Chrome DevTools Protocol).
    pub fn call(&mut self, method: &str, params: Value) -> Value {
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
    pub fn eval(&mut self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The page's text.
    pub fn text(&mut self) -> String {
        self.eval("document.body ? document.body.innerText : ''").as_str().unwrap_or_default().to_owned()
    }

    /// Press a key: its name, as in `Enter`, or one character; `Shift+Tab`.
    pub fn press(&mut self, key: &str) {
        let (modifiers, key) = key.strip_prefix("Shift+").map_or((0, key), |key| (8, key));
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Space" => (32, " "),
            "ArrowDown" => (40, ""),
            "ArrowUp" => (38, ""),
            text => (0, text),
        };
        let key = if key == "Space" { " " } else { key };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        for (kind, text) in [(kind, text), ("keyUp", "")] {
            let event = json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code, "modifiers": modifiers});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Type a text where the focus is.
    pub fn types(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(&c.to_string()));
    }

    /// Tab on until the focus is on what this expression about `it` says; everything on the way must show that it has it.
    #[track_caller]
    pub fn tabs_to(&mut self, it: &str) {
        let here = format!("(it => Boolean({it}))(document.activeElement)");
        for _ in 0..300 {
            if self.eval(&here) == true {
                return;
            }
            self.press("Tab");
            let seen = "(it => it === document.body || getComputedStyle(it).outlineStyle !== 'none')(document.activeElement)";
            let what = "document.activeElement.outerHTML.slice(0, 200)";
            assert_eq!(self.eval(seen), true, "the focus is not seen: {}", self.eval(what));
        }
        panic!("the focus never comes to {it}");
    }

    /// Choose from the list that has the focus, by its text.
    #[track_caller]
    pub fn chooses(&mut self, text: &str) {
        let chosen = "(it => it.options[it.selectedIndex]?.text)(document.activeElement)";
        for key in ["ArrowUp"; 30].iter().chain(&["ArrowDown"; 30]) {
            if self.eval(chosen) == text {
                return;
            }
            self.press(key);
        }
        panic!("{text} cannot be chosen; it is {}", self.eval(chosen));
    }

    /// Wait until the page shows a text.
    #[track_caller]
    pub fn sees(&mut self, text: &str) {
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

    /// Keep a picture of it.
    pub fn screenshot(&mut self, path: &Path) {
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
