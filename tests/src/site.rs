// SPDX-License-Identifier: GPL-3.0-or-later
//! A server with keys of its own: machines that have a public one boot only what it signed.

use crate::{Lab, Server, Vm};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The server, and the folder with its keys.
pub struct Site<'a> {
    /// It gives its public keys to the add-ons of live ISOs.
    pub server: Server<'a>,
    keys: PathBuf,
}

impl<'a> Site<'a> {
    /// With a copy of a catalogue, and no key yet. `flags` go to `boottorrent serve`.
    pub fn of(lab: &'a Lab, catalogue: &Path, flags: &[&str]) -> Result<Self> {
        let keys = lab.dir().join("keys");
        let server = Server::of(lab, catalogue, &[flags, &["--keys", &keys.to_string_lossy()]].concat())?;
        Ok(Self { server, keys })
    }

    /// Run `boottorrent` with these keys, and return what it says.
    pub fn boottorrent(&self, args: &[&str]) -> Result<String> {
        self.server.boottorrent(&[args, &["--keys", &self.keys.to_string_lossy()]].concat())
    }

    /// Make a key, and return its id.
    pub fn key(&self, name: &str) -> Result<String> {
        made(&self.boottorrent(&["key", "generate", "--no-password", "--name", name])?)
    }

    /// The secret half of a key.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.key"))
    }

    /// The public half.
    pub fn public(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.pub"))
    }

    /// An image's folder in the catalogue.
    pub fn dir(&self, image: &str) -> PathBuf {
        self.server.catalogue().join("images").join(image)
    }

    /// The statement that is signed of an image.
    pub fn statement(&self, image: &str) -> PathBuf {
        self.dir(image).join(format!("{image}.statement"))
    }

    /// The signature of it.
    pub fn signature(&self, image: &str) -> PathBuf {
        self.dir(image).join(format!("{image}.statement.minisig"))
    }

    /// Sign an image, and wait until machines are given the signature.
    pub fn sign(&self, image: &str, key: &str) -> Result<()> {
        self.boottorrent(&["image", "sign", image, "--key", &self.secret(key).to_string_lossy()])?;
        self.served(image)
    }

    /// Take an image's signature away, and wait until no machine is given one.
    pub fn unsign(&self, image: &str) -> Result<()> {
        fs::remove_file(self.signature(image)).context("removing a signature")?;
        self.served(image)
    }

    /// Wait until the server serves the signature of an image as it is on the disk.
    pub fn served(&self, image: &str) -> Result<()> {
        let (file, begun) = (fs::read(self.signature(image)).ok(), Instant::now());
        let path = format!("/images/{image}/{image}.statement.minisig");
        while self.server.get(&path).ok() != file {
            ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "the server does not see the signature of {image} as it is"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// The id of the key that `boottorrent key generate` says it has made.
pub fn made(said: &str) -> Result<String> {
    let id = said.lines().next().and_then(|l| l.strip_prefix("key "));
    id.map(str::to_owned).with_context(|| said.to_owned())
}

/// A booted machine's agent saw that its image is what the key signed. Its log tells, since `quiet` keeps that off the console.
pub fn found_signed(vm: &mut Vm, key: &str) -> Result<()> {
    let said =
        vm.sh("grep -o 'is signed by .*\\|the SHA-256 is what was signed' /run/boottorrent/agent.log")?;
    let want = format!("is signed by key {key}\nthe SHA-256 is what was signed");
    ensure!(said == want, "{}: {said}", vm.name());
    Ok(())
}
