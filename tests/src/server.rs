// SPDX-License-Identifier: GPL-3.0-or-later
//! The real server in a lab: `boottorrent serve`, and stock dnsmasq with the
//! configuration that `boottorrent setup` writes.

use crate::{
    Background, Cmd, Host, Lab, Vm, agent_binary,
    assets::{self, Image},
    server_binary,
};
use anyhow::{Context, Result, bail, ensure};
use bootspec::{ImageName, InfoHash, Phase};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What the server says of an image, as far as tests ask.
#[derive(Clone, Debug, Deserialize)]
pub struct Served {
    /// Its name.
    pub name: ImageName,
    /// Its torrent.
    pub infohash: InfoHash,
    /// Bytes of every piece but the last.
    pub piece_length: u32,
}

/// What the server knows about a machine.
pub type Client = bootspec::Heartbeat;

/// This dnsmasq gives the addresses.
pub const AUTHORITATIVE: [&str; 4] = ["--mode", "authoritative", "--range", "10.77.0.100,10.77.0.200"];

/// What an agent may take besides its image, at its highest.
const MEMORY: u64 = 48 << 20;

/// An agent says how much memory it took, and it is little, whatever it booted from wherever.
pub fn little_memory(client: &Client) -> Result<()> {
    println!("{}: {} KiB of memory beyond the image at the highest", client.id, client.memory >> 10);
    ensure!((1..=MEMORY).contains(&client.memory), "the agent took {} bytes of memory", client.memory);
    Ok(())
}

/// The agent lives on in a booted system, where a systemd initrd kills whoever is not called `@…`; it knows what
/// it did, and needs little memory.
pub fn lives_on(vm: &mut Vm) -> Result<()> {
    let argv0 = vm.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep '^@'")?;
    ensure!(argv0 == "@boottorrent-agent", "{argv0}");
    let status = vm.sh("/run/boottorrent/boottorrent-agent status --json")?;
    let status: Client = serde_json::from_str(&status).with_context(|| format!("reading {status}"))?;
    ensure!(status.id == vm.mac() && status.phase == Phase::Seed, "{status:#?}");
    // When memory runs out, seeding ends and not the machine.
    let agent = "$(grep -l ^@boottorrent /proc/[0-9]*/cmdline 2>/dev/null | tr -dc 0-9)";
    let score = vm.sh(&format!("cat /proc/{agent}/oom_score_adj"))?;
    ensure!(score == "1000", "the agent's oom_score_adj is {score}");
    little_memory(&status)
}

/// A program that is told another time than it is; what it waits for takes as long as ever.
fn by_clock(cmd: Cmd, wrong: &str) -> Result<Cmd> {
    let library = Cmd::new("sh").args(["-c", "dpkg -L libfaketime | grep '/libfaketimeMT\\.so'"]).run()?;
    let cmd = cmd.env("LD_PRELOAD", library.trim()).env("FAKETIME", wrong);
    Ok(cmd.env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
}

/// The port of `boottorrent serve`.
const PORT: u16 = 6980;

/// A running server; everything of it ends when dropped.
pub struct Server<'a> {
    lab: &'a Lab,
    catalogue: PathBuf,
    serve: Option<Background>,
    dnsmasq: Option<Background>,
    /// What dnsmasqs before this one have logged.
    logged: String,
    starts: u32,
    clock: Option<String>,
}

impl<'a> Server<'a> {
    /// Start with a catalogue of its own that holds `image`. `flags` go to `boottorrent serve`.
    pub fn start(lab: &'a Lab, image: &Image, flags: &[&str]) -> Result<Self> {
        Self::of(lab, &assets::catalogue(image)?, flags)
    }

    /// Start with a copy of a catalogue.
    pub fn of(lab: &'a Lab, of: &Path, flags: &[&str]) -> Result<Self> {
        Self::set_up(lab, of, &AUTHORITATIVE, flags)
    }

    /// The same with other flags for `boottorrent setup`.
    pub fn set_up(lab: &'a Lab, of: &Path, setup: &[&str], flags: &[&str]) -> Result<Self> {
        let catalogue = lab.dir().join("catalogue");
        assets::copy_catalogue(of, &catalogue)?;
        let dnsmasq = Some(dnsmasq(lab, &catalogue, setup)?);
        let mut server =
            Self { lab, catalogue, serve: None, dnsmasq, logged: String::new(), starts: 0, clock: None };
        server.restart(flags)?;
        Ok(server)
    }

    /// A test in a lab with a server. Its failure tells where the logs are.
    pub fn in_lab(
        name: &str,
        catalogue: &Path,
        flags: &[&str],
        test: impl FnOnce(&Lab, &mut Server) -> Result<()>,
    ) -> Result<()> {
        let lab = Lab::new(name)?;
        let mut server = Server::of(&lab, catalogue, flags)?;
        test(&lab, &mut server).with_context(|| format!("the logs are in {}", lab.dir().display()))
    }

    /// The same with `mib` MiB of noise to serve, for swarms of processes.
    pub fn in_noisy_lab(
        name: &str,
        mib: u32,
        flags: &[&str],
        test: impl FnOnce(&Lab, &mut Server) -> Result<()>,
    ) -> Result<()> {
        Server::in_lab(name, &assets::random(mib)?, flags, test)
    }

    /// Start `boottorrent serve` alone, with a catalogue that is there: nothing boots, machines fetch.
    pub fn serve(lab: &'a Lab, catalogue: &Path, flags: &[&str]) -> Result<Self> {
        let mut server = Self {
            lab,
            catalogue: catalogue.into(),
            serve: None,
            dnsmasq: None,
            logged: String::new(),
            starts: 0,
            clock: None,
        };
        server.restart(flags)?;
        Ok(server)
    }

    /// The process id of `boottorrent serve`, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.serve.as_ref().map(Background::id)
    }

    /// Stop `boottorrent serve`; dnsmasq goes on.
    pub fn stop(&mut self) {
        self.serve = None;
    }

    /// From its next start on, its clock is wrong by so much, as in `-10y`; `+0` is right.
    pub fn clock(&mut self, wrong: &str) {
        self.clock = Some(wrong.into());
    }

    /// Stop `boottorrent serve` if it runs, and start it with other flags.
    pub fn restart(&mut self, flags: &[&str]) -> Result<()> {
        self.stop();
        self.starts += 1;
        let cmd = Cmd::new(server_binary()?)
            .arg("serve")
            .arg("--dir")
            .arg(&self.catalogue)
            .args(["--listen", &format!("0.0.0.0:{PORT}")])
            .arg("--agent")
            .arg(agent_binary()?)
            .args(flags);
        let cmd = match &self.clock {
            Some(wrong) => by_clock(cmd, wrong)?,
            None => cmd,
        };
        let mut serve = self.lab.server().spawn(&format!("serve-{}", self.starts), &cmd)?;
        let start = Instant::now();
        while let Err(e) = self.get("/boot.ipxe") {
            serve.check()?;
            if start.elapsed() > Duration::from_secs(30) {
                return Err(e.context("waiting for boottorrent serve"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.serve = Some(serve);
        Ok(())
    }

    /// Run `boottorrent ARGS… --dir CATALOGUE` on the server's host.
    pub fn boottorrent(&self, args: &[&str]) -> Result<String> {
        let cmd = Cmd::new(server_binary()?).args(args).arg("--dir").arg(&self.catalogue);
        self.lab.server().run(&cmd)
    }

    /// The same by a wrong clock, as in `-1h`.
    pub fn boottorrent_by_clock(&self, wrong: &str, args: &[&str]) -> Result<String> {
        let cmd = Cmd::new(server_binary()?).args(args).arg("--dir").arg(&self.catalogue);
        self.lab.server().run(&by_clock(cmd, wrong)?)
    }

    /// The server's catalogue.
    pub fn catalogue(&self) -> &Path {
        &self.catalogue
    }

    /// The payload of [`assets::IMAGE`] in it.
    pub fn payload(&self) -> PathBuf {
        self.catalogue.join("images").join(assets::IMAGE).join("payload")
    }

    /// Where machines get its .torrent.
    pub fn torrent_url(&self) -> String {
        format!("http://{}:{PORT}{}", Lab::SERVER, torrent_path())
    }

    /// The same .torrent, with its tracker in it, as a file.
    pub fn torrent_file(&self) -> Result<PathBuf> {
        let file = self.lab.dir().join("the.torrent");
        std::fs::write(&file, self.get(&torrent_path())?)?;
        Ok(file)
    }

    /// Wait until the tracker knows a seeder, ours (which may check first what it seeds) or another.
    pub fn seeding(&self) -> Result<()> {
        let start = Instant::now();
        while !self.get("/scrape")?.windows(12).any(|w| w == b"8:completei1") {
            ensure!(start.elapsed() < Duration::from_secs(30), "the tracker knows no seeder");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What the server says about every machine, as `/api/v1/clients` gives it.
    pub fn clients(&self) -> Result<Vec<Client>> {
        self.get_json("/api/v1/clients")
    }

    /// What it says about one machine.
    pub fn client(&self, mac: &str) -> Result<Client> {
        self.clients()?.into_iter().find(|c| c.id == mac).with_context(|| format!("{mac} is not known"))
    }

    /// What it says about an image.
    pub fn image(&self, name: &str) -> Result<Served> {
        let images: Vec<Served> = self.get_json("/api/v1/images")?;
        images.into_iter().find(|i| i.name.as_str() == name).with_context(|| format!("no image {name}"))
    }

    /// What dnsmasq has logged: DHCP, and each file that it sent.
    pub fn dnsmasq_log(&self) -> String {
        let now = self.dnsmasq.as_ref().map(Background::output).unwrap_or_default();
        format!("{}{}", self.logged, String::from_utf8_lossy(&now))
    }

    /// Start dnsmasq again with what `setup` wrote, as `change` changes each line (`None` takes it out).
    pub fn dnsmasq_with(&mut self, change: impl Fn(&str) -> Option<String>) -> Result<()> {
        self.logged = self.dnsmasq_log();
        self.dnsmasq = None;
        let (from, to) = (self.lab.dir().join("dnsmasq.d"), self.lab.dir().join("changed.d"));
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let text = std::fs::read_to_string(entry.path())?;
            let lines: Vec<String> = text.lines().filter_map(&change).collect();
            std::fs::write(to.join(entry.file_name()), lines.join("\n") + "\n")?;
        }
        self.dnsmasq = Some(run(self.lab.server(), "dnsmasq", &configured(&to))?);
        Ok(())
    }

    /// Wait until dnsmasq has sent a file.
    pub fn sent(&self, file: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.dnsmasq_log().lines().any(|l| l.contains(" sent ") && l.contains(file)) {
            ensure!(
                start.elapsed() < limit,
                "{file} was not fetched within {limit:?}:\n{}",
                self.dnsmasq_log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// An error when dnsmasq or the server does not run any more.
    pub fn check(&mut self) -> Result<()> {
        self.dnsmasq.as_mut().map_or(Ok(()), Background::check)?;
        self.serve.as_mut().map_or(Ok(()), Background::check)
    }

    /// GET a path and read the JSON in it.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(&self.get(path)?).with_context(|| format!("reading the JSON of {path}"))
    }

    /// GET a path over HTTP from the server's own host.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let path = path.to_owned();
        self.lab.server().netns().run(move || get(&path))
    }
}

fn torrent_path() -> String {
    format!("/images/{0}/{0}.torrent", assets::IMAGE)
}

/// HTTP/1.0, so that the body ends where the connection does.
fn get(path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Lab::SERVER, PORT)).context("connecting to the server")?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {}:{PORT}\r\n\r\n", Lab::SERVER)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("reading {path}"))?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without end of head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("GET {path}: {status}");
    }
    Ok(answer.split_off(end + 4))
}

/// A DHCP server that knows nothing of us, on a host of its own; `--dhcp-boot` may be in `more`.
pub fn dhcp_server(host: &Host, more: &[&str]) -> Result<Background> {
    let cmd = Cmd::new("dnsmasq")
        .args(["--conf-file=/dev/null", "--port=0", "--dhcp-range=10.77.0.100,10.77.0.200,12h"])
        .args(more);
    run(host, "dhcp", &cmd)
}

fn dnsmasq(lab: &Lab, catalogue: &Path, setup: &[&str]) -> Result<Background> {
    dhcp_and_tftp(lab.server(), lab.dir(), catalogue, setup)
}

/// Stock dnsmasq on a host: DHCP and TFTP, configured by `boottorrent setup` alone, with its files in `dir`.
pub fn dhcp_and_tftp(host: &Host, dir: &Path, catalogue: &Path, setup: &[&str]) -> Result<Background> {
    let (tftp, conf) = (dir.join("tftp"), dir.join("dnsmasq.d"));
    std::fs::create_dir_all(&conf)?;
    let setup = Cmd::new(server_binary()?)
        .args(["setup", "--write", "--interface", "eth0"])
        .args(["--subnet", &format!("{}/24", Lab::SERVER)])
        .args(setup)
        .arg("--tftp-root")
        .arg(&tftp)
        .arg("--dnsmasq-dir")
        .arg(&conf)
        // Its record of what it wrote: one for all labs would make each take back what the last one wrote.
        .arg("--dir")
        .arg(catalogue);
    host.run(&setup)?;
    run(host, "dnsmasq", &configured(&conf))
}

fn configured(dir: &Path) -> Cmd {
    Cmd::new("dnsmasq").arg(format!("--conf-dir={},*.conf", dir.display())).arg("--conf-file=/dev/null")
}

fn run(host: &Host, name: &str, cmd: &Cmd) -> Result<Background> {
    let cmd = cmd
        .clone()
        // One that drops its rights could outlive us: the kernel then forgets to kill it with us.
        .args(["--keep-in-foreground", "--user=root", "--group=root", "--log-facility=-", "--log-dhcp"])
        .arg(format!("--dhcp-leasefile={}", host.dir().join(format!("{name}.leases")).display()))
        .arg("--pid-file=");
    let mut dnsmasq = host.spawn(name, &cmd)?;
    std::thread::sleep(Duration::from_millis(300));
    dnsmasq.check()?;
    Ok(dnsmasq)
}
