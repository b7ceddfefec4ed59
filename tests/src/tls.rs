// SPDX-License-Identifier: GPL-3.0-or-later
//! A server with a certificate, and machines that know its authority.

use crate::{
    Cmd, Lab, agent_binary,
    assets::{Image, initrd_with},
};
use anyhow::Result;
use std::{fs, path::PathBuf};

/// An authority, and the certificate of the server by it, as docs/security.md makes them.
fn certificates(lab: &Lab) -> Result<()> {
    let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650";
    let script = format!(
        "cd '{}' && {new} -subj '/CN=our lab' -keyout ca.key -out ca.crt && {new} -CA ca.crt -CAkey ca.key -subj /CN=server \
         -addext basicConstraints=CA:FALSE -addext subjectAltName=IP:{} -keyout server.key -out server.pem",
        lab.dir().display(),
        Lab::SERVER
    );
    Cmd::new("sh").args(["-c", &script]).run().map(drop)
}

/// Settings of a server with TLS, whose authority is `ca.crt` in the lab's folder.
pub fn settings(lab: &Lab) -> Result<String> {
    certificates(lab)?;
    let file = |name: &str| lab.dir().join(name).display().to_string();
    let tls = format!("[serve]\ntls-cert = {:?}\ntls-key = {:?}\n", file("server.pem"), file("server.key"));
    fs::write(file("server.toml"), tls)?;
    Ok(file("server.toml"))
}

/// The image's initrd with the authority and the agent that speaks HTTPS; the smaller one is `/plain` in it.
pub fn initrd(lab: &Lab, image: &Image) -> Result<PathBuf> {
    let agent = agent_binary()?;
    let tls = PathBuf::from(format!("{}-tls", agent.display()));
    let files = [
        ("etc/boottorrent/ca/site.crt", lab.dir().join("ca.crt")),
        ("usr/bin/boottorrent-agent", tls),
        ("plain", agent),
    ];
    initrd_with(lab, image, &files.each_ref().map(|(path, file)| (*path, file.as_path())))
}
