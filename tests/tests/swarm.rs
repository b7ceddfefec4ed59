// SPDX-License-Identifier: GPL-3.0-or-later
//! Swarms of real processes on a network of their own: our server, our agents
//! (`boottorrent-agent fetch`), and aria2 on either side. The payload is a real image.

use anyhow::{Context, Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{Background, Cmd, Host, Lab, Server, agent_binary, assets};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(240);

fn torrent_url() -> String {
    format!("http://{}:6980/images/{name}/{name}.torrent", Lab::SERVER, name = assets::IMAGE)
}

/// A machine that fetches the image. Its log ends with its progress as JSON.
struct Fetch {
    process: Background,
    file: PathBuf,
    _host: Host,
}

impl Fetch {
    fn start(lab: &Lab, name: &str, flags: &[&str]) -> Result<Self> {
        let (host, file) = (lab.host(name)?, lab.dir().join(name));
        let cmd = Cmd::new(agent_binary()?)
            .args(["fetch", "--json", "--torrent", &torrent_url(), "--to"])
            .arg(&file)
            .args(flags);
        let process = host.spawn(name, &cmd)?;
        Ok(Self { process, file, _host: host })
    }

    /// Wait for its end; check the file byte by byte.
    fn finish(&mut self, server: &Server) -> Result<Progress> {
        let status = self.process.wait(LIMIT)?;
        let said = String::from_utf8_lossy(&self.process.output()).into_owned();
        ensure!(status.success(), "{status}\n{said}");
        same_as_payload(&self.file, server)?;
        let last = said.lines().rfind(|l| l.starts_with('{')).context("no JSON on standard output")?;
        Ok(serde_json::from_str(last)?)
    }
}

fn same_as_payload(file: &Path, server: &Server) -> Result<()> {
    let payload = server.catalogue().join("images").join(assets::IMAGE).join("payload");
    Cmd::new("cmp").arg(file).arg(payload).run().map(drop)
}

fn lab(name: &str, flags: &[&str], test: impl FnOnce(&Lab, &mut Server) -> Result<()>) -> Result<()> {
    let lab = Lab::new(name)?;
    let mut server = Server::start(&lab, &assets::image(assets::Suite::own()?)?, flags)?;
    test(&lab, &mut server).with_context(|| format!("the logs are in {}", lab.dir().display()))
}

/// aria2 without what leaves the network, one torrent, byte for byte.
fn aria2(dir: &Path) -> Cmd {
    Cmd::new("aria2c")
        .args(["--no-conf", "--enable-dht=false", "--enable-dht6=false", "--summary-interval=0"])
        .arg(format!("--dir={}", dir.display()))
}

#[test]
fn machines_that_start_together_help_each_other() -> Result<()> {
    lab("together", &["--up", "30MB/s"], |lab, server| {
        let mut all = ["a", "b", "c"]
            .map(|name| Fetch::start(lab, name, &["--seed", "8s"]))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let progress = all.iter_mut().map(|f| f.finish(server)).collect::<Result<Vec<_>>>()?;
        let sum = |of: fn(&Progress) -> u64| progress.iter().map(of).sum::<u64>();
        let (received, peers, payload) = (sum(Progress::received), sum(|p| p.from_peers), progress[0].total);
        println!(
            "3 machines: {:.2} copies from the server and its HTTP, {:.0} % of all bytes from other machines, {:.3} received/size",
            (received - peers) as f64 / payload as f64,
            peers as f64 * 100.0 / received as f64,
            received as f64 / (3 * payload) as f64,
        );
        ensure!(peers * 3 >= received, "less than a third came from other machines: {progress:?}");
        Ok(())
    })
}

#[test]
fn aria2_downloads_from_our_seeder_and_tracker() -> Result<()> {
    lab("aria2-leech", &["--no-payload"], |lab, server| {
        let (host, dir) = (lab.host("aria2")?, lab.dir().join("aria2-files"));
        host.run(&aria2(&dir).args(["--seed-time=0", "--bt-stop-timeout=120", &torrent_url()]))?;
        same_as_payload(&dir.join(assets::IMAGE), server)
    })
}

#[test]
fn our_agent_downloads_from_an_aria2_seeder() -> Result<()> {
    lab("aria2-seed", &["--no-seed", "--no-payload"], |lab, server| {
        let _seeder = aria2_seeder(lab, server, |_| Ok(()))?;
        let progress = Fetch::start(lab, "agent", &[])?.finish(server)?;
        ensure!(progress.from_peers >= progress.total, "all of it came from aria2: {progress:?}");
        Ok(())
    })
}

#[test]
fn a_peer_that_sends_wrong_pieces_does_no_harm() -> Result<()> {
    lab("liar", &["--up", "30MB/s"], |lab, server| {
        let _liar = aria2_seeder(lab, server, |file| {
            use std::os::unix::fs::FileExt;
            // A byte in every 100 KiB: every piece of it is wrong.
            let f = std::fs::File::options().write(true).open(file)?;
            (0..f.metadata()?.len()).step_by(100 << 10).try_for_each(|at| f.write_all_at(b"!", at))?;
            Ok(())
        })?;
        let mut agents =
            ["a", "b"].map(|n| Fetch::start(lab, n, &[])).into_iter().collect::<Result<Vec<_>>>()?;
        let all = agents.iter_mut().map(|a| a.finish(server)).collect::<Result<Vec<_>>>()?;
        let wrong: u64 = all.iter().map(|p| p.received() - p.total).sum();
        println!("{} KiB received in vain", wrong >> 10);
        ensure!(wrong > 0, "the liar was not asked, so this shows nothing: {all:?}");
        Ok(())
    })
}

#[test]
fn a_server_that_stops_seeding_half_way_and_a_cut_cable_cost_only_time() -> Result<()> {
    lab("faults", &["--up", "20MB/s"], |lab, server| {
        let mut cut = Fetch::start(lab, "cut", &[])?;
        let mut other = Fetch::start(lab, "other", &[])?;
        std::thread::sleep(Duration::from_secs(4));
        cut._host.cable(false)?;
        std::thread::sleep(Duration::from_secs(3));
        cut._host.cable(true)?;
        ensure!(
            cut.process.ended()?.is_none() && other.process.ended()?.is_none(),
            "too fast to be cut half way"
        );
        // The tracker and the payload endpoint stay; the seeder is gone.
        server.restart(&["--no-seed"])?;
        let (cut, other) = (cut.finish(server)?, other.finish(server)?);
        // Each had one piece that way before.
        ensure!(
            cut.from_http + other.from_http > 2 << 20,
            "what nobody had came over HTTP: {cut:?} {other:?}"
        );
        Ok(())
    })
}

/// aria2 seeds a copy of the payload, after `spoil` had it.
fn aria2_seeder(
    lab: &Lab,
    server: &Server,
    spoil: impl FnOnce(&Path) -> Result<()>,
) -> Result<(Host, Background)> {
    let (host, dir) = (lab.host("aria2")?, lab.dir().join("aria2-files"));
    std::fs::create_dir_all(&dir)?;
    let (file, torrent) = (dir.join(assets::IMAGE), dir.join("the.torrent"));
    std::fs::copy(server.catalogue().join("images").join(assets::IMAGE).join("payload"), &file)?;
    std::fs::write(&torrent, server.get(&format!("/images/{0}/{0}.torrent", assets::IMAGE))?)?;
    spoil(&file)?;
    let cmd = aria2(&dir)
        .args(["--seed-ratio=0.0", "--bt-seed-unverified=true", "--allow-overwrite=true"])
        .arg(&torrent);
    let seeder = host.spawn("aria2", &cmd)?;
    Ok((host, seeder))
}
