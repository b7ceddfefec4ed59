// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's disk, and what is on it when a program is killed in the middle.

use super::{
    IDENTICAL, Scenario, Seen,
    room::{agents, completed, general, identical, part_way, room},
    sources::new_version,
};
use crate::{Cmd, Lab, Server, assets, server_binary};
use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub(super) const ALL: [Scenario; 3] = [
    Scenario::quick(
        "server-disk-full",
        "`image add` on a server whose disk is full, and on one whose disk is full in the middle; machines fetch meanwhile",
        disk_full,
    ),
    Scenario::quick(
        "killed-adding-10",
        "`image add --replace` and the server, killed 10 times at any moment, while machines fetch",
        || killed(10),
    ),
    Scenario::full("killed-adding-100", "the same 100 times", || killed(100)),
];

/// A filesystem of its own; it is gone when dropped.
struct Full(PathBuf);

impl Full {
    fn mount(at: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(at)?;
        let options = format!("size={bytes}");
        mount(Some("full"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .context("mounting a tmpfs")?;
        Ok(Self(at.into()))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // Files in it may be open: it goes when they are closed.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn disk_full() -> Result<Seen> {
    let from = assets::random(24)?;
    let used = Cmd::new("du").args(["-sb"]).arg(&from).run()?;
    let used: u64 = used.split_whitespace().next().context("du says nothing")?.parse()?;
    let lab = Lab::new("fault-full")?;
    let dir = lab.dir().join("catalogue");
    let _full = Full::mount(&dir, used + (6 << 20))?;
    Cmd::new("cp").args(["-a"]).arg(from.join("images")).arg(&dir).run()?;
    let mut server = Server::serve(&lab, &dir, &[])?;
    let mut all = part_way(&lab, &mut server, (3, 40), 0.2, &[])?;
    let (file, kernel, initrd) = new_version(&server)?;
    let add = Cmd::new(server_binary()?)
        .args(["image", "add", &file, "--name", "second", "--kernel", &kernel, "--initrd", &initrd, "--dir"])
        .arg(&dir);
    let out = lab.server().netns().run(move || add.output())?;
    let said = String::from_utf8_lossy(&out.stderr).replace(&*dir.to_string_lossy(), "DIR");
    let last = said.lines().rfind(|l| !l.trim().is_empty()).context("it says nothing")?;
    ensure!(!out.status.success(), "there was room: {said}");
    consistent(&dir, &["debian"])?;
    // How much a folder becomes nobody knows before it is packed: then the disk is full in the middle.
    let folder = lab.dir().join("folder");
    fs::create_dir_all(&folder)?;
    fs::copy(server.payload(), folder.join("noise"))?;
    let add = Cmd::new(server_binary()?)
        .args(["image", "add", "--name", "third", "--kernel", &kernel, "--initrd", &initrd]);
    let add = add.arg("--dir").arg(&dir).arg(&folder);
    let middle = lab.server().netns().run(move || add.output())?;
    let middle = String::from_utf8_lossy(&middle.stderr).replace(&*dir.to_string_lossy(), "DIR");
    let full = "no room for 'third' in the catalogue: the disk with DIR/images is full; free some, or choose another one with --dir";
    ensure!(middle.contains(full), "{middle}");
    consistent(&dir, &["debian"])?;
    let left = Cmd::new("find").arg(dir.join("images")).args(["-name", ".staging-*"]).run()?;
    ensure!(left.is_empty(), "this is left: {left}");
    // Not a byte is left: what is said of machines stays as it was.
    server.boottorrent(&["host", "set", "group:one", "--image", "debian"])?;
    let hosts = fs::read(dir.join("hosts.toml"))?;
    let fill = Cmd::new("dd").args(["if=/dev/zero", "bs=64K", "status=none"]);
    fill.arg(format!("of={}", dir.join("fill").display())).output()?;
    let refused = server.boottorrent(&["host", "set", "group:two", "--image", "debian"]);
    ensure!(refused.is_err() && fs::read(dir.join("hosts.toml"))? == hosts, "{refused:?}");
    let refused = refused.err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(refused.contains("No space left on device"), "{refused}");
    completed(&mut all, &server, Instant::now())?;
    server.check()?;
    let end = format!(
        "exit code {}: `{}`; {IDENTICAL}",
        out.status.code().unwrap_or(-1),
        general(last.trim()).replace(&std::process::id().to_string(), "N")
    );
    Ok(Seen { machines: 3, end, note: "nothing of the new image was left, and hosts.toml is whole".into() })
}

/// Every image is there whole, with the payload that its torrent says, and there are these. What killed runs have
/// left is hidden, and goes with the next `image add`.
fn consistent(dir: &Path, names: &[&str]) -> Result<()> {
    let listed = Cmd::new(server_binary()?).args(["image", "list", "--json", "--dir"]).arg(dir).run()?;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).with_context(|| listed.clone())?;
    let found: Vec<&str> = listed.iter().filter_map(|i| i["name"].as_str()).collect();
    ensure!(found == names, "images {found:?}, not {names:?}");
    for name in names {
        let image = dir.join("images").join(name);
        for file in ["manifest.toml", "payload", "vmlinuz", "initrd"] {
            ensure!(image.join(file).metadata()?.len() > 0, "{name}/{file} is empty");
        }
    }
    Ok(())
}

/// What the payload is, by its bytes; it is one of the two that were added.
fn which(dir: &Path, of: &[(&Path, &str)]) -> Result<String> {
    let payload = dir.join("images").join(assets::IMAGE).join("payload");
    for (file, name) in of {
        if Cmd::new("cmp").args(["-s"]).arg(&payload).arg(file).output()?.status.success() {
            return Ok((*name).into());
        }
    }
    anyhow::bail!("the payload is neither the old nor the new one")
}

fn killed(times: u64) -> Result<Seen> {
    room(&format!("killed-{times}"), 16, &[], |lab, server| {
        let dir = server.catalogue().to_owned();
        let (one, other) = (lab.dir().join("one"), assets::random(24)?.join("images/debian/payload"));
        fs::copy(server.payload(), &one)?;
        let (_, kernel, initrd) = new_version(server)?;
        // Copies: what is added is not what is there.
        let (boot_kernel, boot_initrd) = (lab.dir().join("vmlinuz"), lab.dir().join("initrd"));
        fs::copy(kernel, &boot_kernel)?;
        fs::copy(initrd, &boot_initrd)?;
        let add = |payload: &Path| {
            let add = Cmd::new(server_binary()?).args(["image", "add", "--name", assets::IMAGE, "--replace"]);
            let add = add.arg("--kernel").arg(&boot_kernel).arg("--initrd").arg(&boot_initrd);
            Ok::<_, anyhow::Error>(add.arg("--dir").arg(&dir).arg(payload))
        };
        // How long it takes when nobody disturbs it: moments are taken from all of that.
        let begun = Instant::now();
        lab.server().run(&add(&one)?)?;
        let mut whole = begun.elapsed();
        let (mut done, mut seen) = (0, [0, 0]);
        for n in 0..times {
            let payload = if n % 2 == 0 { &other } else { &one };
            let mut adding = lab.server().spawn("add", &add(payload)?)?;
            std::thread::sleep(whole.mul_f64((n as f64 * 0.618).fract()));
            let late = adding.ended()?.is_some();
            done += usize::from(late);
            // Others take time too: about one in seven is to be too late, so that no moment is left out.
            whole = whole.mul_f64(if late { 0.7 } else { 1.06 });
            drop(adding);
            // And the server, each third time.
            let fetched = n % (times / 5) == 0;
            if n % 3 == 0 || fetched {
                server.stop();
                server.restart(&[])?;
            }
            consistent(&dir, &[assets::IMAGE]).with_context(|| format!("after {} kills", n + 1))?;
            let is = which(&dir, &[(&one, "one"), (&other, "other")])?;
            seen[usize::from(is == "other")] += 1;
            // The torrent is that of the payload: the seeder hashes before it seeds, and a machine fetches it.
            if fetched {
                server.seeding()?;
                let host = lab.host(&format!("m{n}"))?;
                let mut peers = agents(vec![host], server, &[])?;
                let begun = Instant::now();
                while !peers[0].is_complete() {
                    peers[0].check()?;
                    ensure!(
                        begun.elapsed() < Duration::from_secs(30),
                        "it cannot be fetched after {} kills",
                        n + 1
                    );
                    std::thread::sleep(Duration::from_millis(20));
                }
                peers[0].same_as(if is == "one" { &one } else { &other })?;
            }
        }
        // Undisturbed, it cleans up.
        lab.server().run(&add(&one)?)?;
        let left = Cmd::new("find").arg(dir.join("images")).args(["-name", ".staging-*"]).run()?;
        ensure!(left.is_empty(), "this is left: {left}");
        let note = format!(
            "{times} kills, {done} too late to hinder; {} times the one version was there, {} times the other, never a part",
            seen[0], seen[1]
        );
        identical(5, note)
    })
}
