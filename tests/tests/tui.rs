// SPDX-License-Identifier: GPL-3.0-or-later
//! A day of an admin with real machines: from an empty catalogue, an image is chosen, fetched, verified, served,
//! booted and removed. Once on the screen, with keys only; once by commands, for scripts.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Background, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{self, Image},
    server_binary,
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

#[path = "../../server/tests/common/tmux.rs"]
mod tmux;

/// As long as fetching, importing and publishing may take.
const PREPARED: Duration = Duration::from_secs(240);

/// A server without an image, and what it can fetch: by HTTP and by BitTorrent, both on its own host.
struct Day<'a> {
    server: Server<'a>,
    config: PathBuf,
    _mirror: Background,
    _seeder: Background,
}

impl<'a> Day<'a> {
    fn new(lab: &'a Lab, image: &Image) -> Result<Day<'a>> {
        let [sources, empty, site] = ["sources", "empty", "site"].map(|n| lab.dir().join(n));
        [&sources, &empty, &site].into_iter().try_for_each(fs::create_dir_all)?;
        let payload = site.join("debian.squashfs");
        fs::copy(image.payload(), &payload)?;
        let sum = Cmd::new("sha256sum").arg(&payload).run()?;
        let sum = sum.split(' ').next().unwrap_or_default();
        let mirror = Cmd::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(&site)
            .arg("8000");
        let mirror = lab.server().spawn("mirror", &mirror)?;
        let torrent = lab.dir().join("debian.torrent");
        Cmd::new("transmission-create").args(["-s", "256", "-o"]).arg(&torrent).arg(&payload).run()?;
        let seeder = Cmd::new("aria2c")
            .args(["--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false"])
            .args([
                "--seed-ratio=0.0",
                "--check-integrity=true",
                "--interface=127.0.0.1",
                "--listen-port=6999",
            ])
            .arg(format!("--dir={}", site.display()))
            .arg(&torrent);
        let seeder = lab.server().spawn("seeder", &seeder)?;
        let shown = Cmd::new("transmission-show").arg(&torrent).run()?;
        let hash = shown.lines().find_map(|l| l.trim().strip_prefix("Hash")).context("no infohash")?;
        let hash = hash.trim_start_matches(" v1").trim_start_matches(':').trim();
        let url = "http://127.0.0.1:8000/debian.squashfs";
        for (name, what) in [
            ("debian-by-http", format!("url = \"{url}\"\nsha256 = \"{sum}\"\n")),
            (
                "debian-by-torrent",
                format!(
                    "torrent = \"magnet:?xt=urn:btih:{hash}&x.pe=127.0.0.1:6999\"\nfile = \"*.squashfs\"\n"
                ),
            ),
            ("another", format!("url = \"{url}\"\nsha256 = \"{}\"\n", "7".repeat(64))),
        ] {
            fs::write(
                sources.join(format!("{name}.toml")),
                format!("description = \"Debian\"\nappend = \"{}\"\n{what}", assets::APPEND),
            )?;
        }
        let config = lab.dir().join("server.toml");
        fs::write(&config, format!("[catalogue]\nsources = [\"{}\"]\n", sources.display()))?;
        // Slow enough that the way is seen.
        let flags = ["--up", "15MB/s", "--config", config.to_str().context("the path")?];
        let server = Server::of(lab, &empty, &flags)?;
        Ok(Day { server, config, _mirror: mirror, _seeder: seeder })
    }

    /// What a command with `--json` says.
    fn json(&self, args: &[&str]) -> Result<Value> {
        let config = self.config.to_string_lossy();
        let said = self.server.boottorrent(&[args, &["--json", "--config", &config]].concat())?;
        // Progress comes first, one object a line.
        let last = serde_json::Deserializer::from_str(&said).into_iter().last();
        last.with_context(|| format!("{args:?} says nothing"))?.with_context(|| format!("{args:?}: {said}"))
    }
}

fn two(lab: &Lab, names: [&str; 2]) -> Result<Vec<Vm>> {
    names.iter().map(|n| Vm::pxe(n).start(lab)).collect()
}

/// The picture of the README, on demand (`make screen`): what the terminal shows, as SVG.
fn keep_picture(ansi: &str) -> Result<()> {
    let Some(path) = std::env::var_os("BOOTTORRENT_SCREEN") else { return Ok(()) };
    let svg = anstyle_svg::Term::new().render_svg(ansi.trim_end());
    fs::write(&path, svg).with_context(|| format!("writing {}", path.to_string_lossy()))
}

#[test]
fn with_keys_only() -> Result<()> {
    let image = assets::image(assets::Suite::own()?)?;
    let lab = Lab::new("tui")?;
    let day = Day::new(&lab, &image)?;
    let t = tmux::Tmux::new(80, 24);
    // Over the catalogue's socket, from outside of the lab's network.
    t.run(&format!(
        "clear; {} --config {} --dir {}; echo left $?",
        server_binary()?.display(),
        day.config.display(),
        day.server.catalogue().display()
    ));
    t.sees("There is no image yet.");
    t.keys(&["f"]);
    t.sees("3 of 3 with:");
    t.text("deb http");
    t.sees("> debian-by-http");
    t.keys(&["Enter"]);
    t.wait("the image", PREPARED, |s| s.contains("> debian-by-http  squashfs") && s.contains("published"));
    t.keys(&["2"]);
    t.sees("No machine has reported yet.");
    let mut machines = two(&lab, ["one", "two"])?;
    let (mut seen, mut picture, began) = (Vec::new(), None, Instant::now());
    let finished = loop {
        let screen = t.screen();
        // About half of it is here.
        if screen.matches(" download ").count() == 2 && screen.matches('█').count() <= 14 {
            picture = Some(t.call(&["capture-pane", "-p", "-e"]));
        }
        for phase in ["loader", "network", "download", "booted"] {
            if screen.contains(&format!(" {phase} ")) && !seen.contains(&phase) {
                seen.push(phase);
                println!("{:.1} s: {phase}\n{screen}", began.elapsed().as_secs_f64());
            }
        }
        // The header counts them too.
        if screen.matches(" booted  ").count() == 2 && screen.matches("100 %").count() == 2 {
            break screen;
        }
        ensure!(began.elapsed() < BOOT, "they never boot:\n{screen}");
        std::thread::sleep(Duration::from_millis(200));
    };
    println!("{finished}");
    ensure!(seen.contains(&"download"), "no progress was seen, only {seen:?}");
    keep_picture(&picture.context("the two machines were never seen downloading together")?)?;
    for machine in &mut machines {
        machine.expect(MULTI_USER, BOOT)?;
    }
    t.keys(&["Enter"]);
    println!("{}", t.until("its log", |s| s.contains("boottorrent") || s.contains("root mounted")));
    t.keys(&["Escape"]);
    t.until("the list", |s| s.contains("MACHINE"));
    t.keys(&["3"]);
    println!("{}", t.until("what was received", |s| s.contains("machines received")));
    t.keys(&["1", "x"]);
    t.sees("2 machines run it: ");
    t.keys(&["y"]);
    t.sees("There is no image yet.");
    t.keys(&["q"]);
    t.sees("left 0");
    Ok(())
}

#[test]
#[ignore = "the same day without a terminal: make test-full"]
fn with_commands_only() -> Result<()> {
    let image = assets::image(assets::Suite::own()?)?;
    let lab = Lab::new("commands")?;
    let day = Day::new(&lab, &image)?;
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|i| i["name"].as_str().map(str::to_owned)).collect()
    };
    ensure!(names(&day.json(&["image", "list"])?).is_empty(), "it is not empty");
    let sources = names(&day.json(&["source", "list"])?);
    ensure!(sources == ["another", "debian-by-http", "debian-by-torrent"], "{sources:?}");
    let forged = day.json(&["image", "fetch", "another"]).err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(forged.contains("its SHA-256 is "), "{forged}");
    day.json(&["image", "fetch", "debian-by-torrent"])?;
    ensure!(names(&day.json(&["image", "list"])?) == ["debian-by-torrent"], "it is not served");
    let mut machines = two(&lab, ["one", "two"])?;
    let began = Instant::now();
    loop {
        let status = day.json(&["status"])?;
        let all = status.as_array().context("no list")?;
        let done = |m: &&Value| m["phase"] == "booted" && m["progress"]["have"] == m["progress"]["total"];
        if all.iter().filter(done).count() == 2 {
            println!("{:.1} s: {status}", began.elapsed().as_secs_f64());
            break;
        }
        ensure!(began.elapsed() < BOOT, "they never boot: {status}");
        std::thread::sleep(Duration::from_secs(1));
    }
    for machine in &mut machines {
        machine.expect(MULTI_USER, BOOT)?;
    }
    let one = day.json(&["status", machines[0].mac()])?;
    ensure!(one["log"].as_array().is_some_and(|l| l.len() >= 4), "{one}");
    day.server.boottorrent(&["image", "remove", "debian-by-torrent", "--force"])?;
    ensure!(names(&day.json(&["image", "list"])?).is_empty(), "it is still there");
    Ok(())
}
