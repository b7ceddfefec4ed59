// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/screens.md's pictures, of the real terminal UI and the real page (`make screens`): a room in the middle of
//! its boot, made up by heartbeats. Part of `make test-full`, where they go to target/screens.
#![allow(missing_docs)]

#[path = "common/browser.rs"]
mod chromium;
mod common;
#[path = "common/tmux.rs"]
mod tmux;

use chromium::Browser;
use common::{Server, World};
use serde_json::json;
use std::{fs, path::PathBuf};
use tmux::Tmux;

const MACHINES: u32 = 24;
const GIB: u64 = 1 << 30;

/// Where the pictures go.
fn pictures() -> PathBuf {
    let path = std::env::var_os("BOOTTORRENT_SCREENS").map(PathBuf::from);
    let path = path.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/screens"));
    fs::create_dir_all(&path).unwrap();
    path
}

/// Eight machines have booted, one has failed, the rest are on their way.
fn room(server: &Server) {
    for n in 1..=MACHINES {
        let (phase, have) = match n {
            1..=8 => ("seed", GIB),
            17 => ("failed", 0),
            _ => ("download", GIB / 32 * u64::from(n)),
        };
        let done = have == GIB;
        let mut body = json!({
            "id": format!("52:54:00:00:00:{n:02x}"), "hostname": format!("pc{n:02}"), "image": "lab",
            "address": format!("192.0.2.{}", 100 + n), "phase": phase, "uptime": 21.4, "kernel_uptime": 4.0,
            "version": "0.1.0", "memory": 5 << 20,
            "phases": [{"phase": "network", "at": 0.4}, {"phase": "download", "at": 1.6}],
            "log": ["    0.41 network: enp1s0 has 192.0.2.1", "    1.38 image lab: 1.00 GiB"],
            "progress": {"have": have, "total": GIB, "down_rate": if done { 0 } else { 11_000_000 + n * 9000 },
                "up_rate": 9_000_000, "from_server": have / 20, "from_peers": have / 20 * 19, "peers": 12},
        });
        if phase == "failed" {
            body["error"] =
                json!("no room: the image has 1.00 GiB, there are 512 MiB: give boottorrent.target=");
        }
        assert_eq!(server.beat(body).status, 204);
    }
}

#[test]
#[ignore = "makes pictures; needs chromium: make screens, make test-full"]
fn the_room_is_seen() {
    let w = World::new();
    w.squashfs("lab");
    for name in ["lab", "exam", "cad"] {
        w.run(&["image", "add", "lab.squashfs", "--name", name]).good();
    }
    let server = Server::start(&w, &[]);
    w.run(&["image", "set", "lab", "--default"]).good();
    w.run(&["host", "set", "group:room1", "--subnet", "192.0.2.0/24"]).good();
    room(&server);
    let (program, config, cat) = (env!("CARGO_BIN_EXE_boottorrent"), w.shown("server.toml"), w.shown("cat"));
    w.write("server.toml", "");
    let t = Tmux::new(80, 24);
    let modes = t.modes();
    for (width, height) in [(80, 24), (200, 50)] {
        t.resize(width, height);
        let keep = |name: &str| {
            let ansi = t.call(&["capture-pane", "-p", "-e"]);
            let svg = anstyle_svg::Term::new().render_svg(ansi.trim_end());
            fs::write(pictures().join(format!("{name}-{width}.svg")), svg).unwrap();
        };
        t.run(&format!("clear; {program} --config {config} --dir {cat}"));
        t.sees("published, default");
        keep("images");
        t.keys(&["2"]);
        t.sees("> pc17");
        t.keys(&["Down", "Space", "Space"]);
        t.sees("2 machines are marked");
        if width == 200 {
            t.sees("1.38 image lab");
        }
        keep("machines");
        t.keys(&["a"]);
        t.sees("Which image for 2 machines?");
        keep("assign");
        t.keys(&["C-c"]);
        t.until("the end", |_| t.modes() == modes);
    }
    let mut page = Browser::open(&w, &format!("http://{}/", server.http), 1440, 1000);
    page.sees("24 machines: 8 booted, 15 under way, 1 failed, 0 gone");
    for (width, height) in [(390u32, 844), (1440, 1000)] {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        page.call("Emulation.setDeviceMetricsOverride", size);
        let seen = page.eval("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(seen <= u64::from(width), "the page is {seen} px wide on a screen of {width}");
        // Of a table that scrolls by itself one sees a part only.
        let cut = "[...document.querySelectorAll('.wide')].filter(t => t.scrollWidth > t.clientWidth).length";
        assert_eq!(page.eval(cut), 0, "a table is cut on a screen of {width} px");
        page.screenshot(&pictures().join(format!("page-{width}.png")));
    }
    let token = w.run(&["token", "new", "anna"]).good();
    page.tabs_to("it.id === 'sign-in'");
    page.press("Enter");
    page.types(token.trim());
    page.press("Enter");
    page.sees("signed in as anna");
    page.tabs_to("it.id === 'tiles-view'");
    page.press("Enter");
    for (width, height) in [(1440, 1000), (390u32, 844)] {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        page.call("Emulation.setDeviceMetricsOverride", size);
        let keep = |page: &mut Browser, name: &str| {
            page.screenshot(&pictures().join(format!("page-{name}-{width}.png")))
        };
        page.eval("document.getElementById(innerWidth < 600 ? 'machines-title' : 'notice').scrollIntoView()");
        keep(&mut page, "rooms");
        page.tabs_to("it.textContent === 'Act on room1…'");
        page.press("Enter");
        page.tabs_to("it.id === 'act-what'");
        page.chooses("Switch the running system to this image");
        keep(&mut page, "act");
        page.press("Escape");
        page.tabs_to("it.classList.contains('tile')");
        page.press("Enter");
        page.sees("1.38 image lab");
        keep(&mut page, "details");
        page.press("Escape");
    }
}
