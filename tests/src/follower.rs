// SPDX-License-Identifier: GPL-3.0-or-later
//! Relays: servers that serve what the lab's server has.

use crate::{Background, Cmd, Host, Lab, Server, agent_binary, server_binary, tls};
use anyhow::{Context, Result, ensure};
use std::{
    borrow::Borrow,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long things may take that are not boots.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What `boottorrent serve` needs so that relays can follow it: a certificate, and keys of its own.
pub fn leading(lab: &Lab) -> Result<[String; 4]> {
    let keys = lab.dir().join("keys").display().to_string();
    Ok(["--config".into(), tls::settings(lab)?, "--keys".into(), keys])
}

/// A server that serves what the lab's server has, on a host of its own.
pub struct Follower<H: Borrow<Host> = Host> {
    /// Its host.
    pub host: H,
    /// Its files.
    pub dir: PathBuf,
    /// `boottorrent serve`; none: it is down.
    pub running: Option<Background>,
}

impl Follower {
    /// Allow one, with these words for `relay add`, and start it.
    pub fn new(lab: &Lab, first: &Server, name: &str, words: &[&str]) -> Result<Follower> {
        Follower::on(lab.host(name)?, first, words)
    }
}

impl<H: Borrow<Host>> Follower<H> {
    /// The same on a host that is there, by whose name it is called.
    pub fn on(at: H, first: &Server, words: &[&str]) -> Result<Self> {
        let host = at.borrow();
        let (name, dir) = (host.name(), host.dir().join(host.name()));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("token"), first.boottorrent(&[&["relay", "add", name], words].concat())?)?;
        let shown = |file: &str| dir.join(file).display().to_string();
        let settings = format!(
            "[catalogue]\nsources = []\n[keys]\ndir = {:?}\n[upstream]\nurl = \"https://{}:6982\"\ntoken-file = {:?}\nca = {:?}\n",
            shown("keys"),
            Lab::SERVER,
            shown("token"),
            host.dir().join("ca.crt").display().to_string()
        );
        fs::write(dir.join("server.toml"), settings)?;
        let mut follower = Follower { host: at, dir, running: None };
        follower.start()?;
        Ok(follower)
    }

    /// Start it.
    pub fn start(&mut self) -> Result<()> {
        let cmd = Cmd::new(server_binary()?).arg("serve").arg("--config").arg(self.dir.join("server.toml"));
        let cmd = cmd.arg("--dir").arg(self.dir.join("catalogue")).args(["--listen", "0.0.0.0:6980"]);
        let host = self.host.borrow();
        let log = format!("{}-serve", host.name());
        self.running = Some(host.spawn(&log, &cmd.arg("--agent").arg(agent_binary()?))?);
        Ok(())
    }

    /// An error when it does not run.
    pub fn check(&mut self) -> Result<()> {
        self.running.as_mut().context("it does not run")?.check()
    }

    /// Wait until it serves the image.
    pub fn has(&mut self, image: &str) -> Result<()> {
        let url = format!("http://{}/images/{image}/{image}.torrent", self.at());
        let ask = Cmd::new("curl").args(["-sSf", "-o", "/dev/null", &url]);
        until(image, || self.check().map(|()| self.host.borrow().run(&ask).is_ok()))
    }

    /// Where machines find it.
    pub fn at(&self) -> String {
        format!("{}:6980", self.host.borrow().address())
    }
}

/// Wait for something.
pub fn until(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is()? {
        ensure!(begun.elapsed() < LIMIT, "not '{what}' after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
