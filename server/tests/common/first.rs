// SPDX-License-Identifier: GPL-3.0-or-later
//! A first server with a certificate of its own, and relays of it.

#![allow(dead_code)]

use crate::{
    certificate::certificate,
    common::{Server, World, free_port, local, until},
};
use serde_json::Value;
use std::fs;

pub const MAC: &str = "52:54:00:00:00:01";

/// The first server's world: HTTP and HTTPS on ports that stay.
pub struct First {
    pub w: World,
    pub http: u16,
    pub https: u16,
}

impl First {
    pub fn new() -> First {
        let first = First { w: World::new(), http: free_port(), https: free_port() };
        certificate(&first.w, "ours", "IP:127.0.0.1");
        let w = &first.w;
        let (cert, key, keys) = (w.shown("ours.pem"), w.shown("ours.key"), w.shown("keys"));
        let tls = format!(
            "tls-cert = {cert:?}\ntls-key = {key:?}\ntls-listen = \"127.0.0.1:{}\"\npayload = false\n",
            first.https
        );
        w.write("server.toml", format!("[catalogue]\nsources = []\n[keys]\ndir = {keys:?}\n[serve]\n{tls}"));
        first
    }

    pub fn add(&self, image: &str) {
        self.w.squashfs(image);
        self.w.run(&["image", "add", &format!("{image}.squashfs"), "--name", image]).good();
    }

    pub fn start(&self) -> Server {
        Server::start_on(&self.w, &format!("127.0.0.1:{}", self.http), &[])
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }

    pub fn run(&self, words: &[&str]) -> String {
        self.w.run(words).good()
    }

    /// A relay of it, which has not been started. `more`: of its settings.
    pub fn relay(&self, name: &str, more: &str) -> World {
        let token = self.run(&["relay", "add", name]);
        self.world(&token, &self.url(), "ours", more)
    }

    pub fn world(&self, token: &str, url: &str, ca: &str, more: &str) -> World {
        let w = World::new();
        let token = w.write("token", token).display().to_string();
        let (ca, keys) = (self.w.shown(&format!("{ca}.ca.crt")), w.shown("keys"));
        let upstream = format!("[upstream]\nurl = {url:?}\ntoken-file = {token:?}\nca = {ca:?}\n{more}");
        w.write("server.toml", format!("[catalogue]\nsources = []\n[keys]\ndir = {keys:?}\n{upstream}"));
        w
    }
}

pub fn get(server: &Server, path: &str) -> Value {
    serde_json::from_slice(&server.get(path).body).unwrap_or_default()
}

/// What the machine is told to boot.
pub fn script(server: &Server) -> String {
    server.get(&format!("/boot.ipxe?mac={MAC}&relay=none")).text()
}

/// What the relay says on its own machine.
pub fn upstream(w: &World) -> Value {
    let health: Value = serde_json::from_str(&local(w, "GET", "/api/v1/health", "").1).unwrap_or_default();
    health["upstream"].clone()
}

pub fn trouble(w: &World) -> String {
    upstream(w)["trouble"].as_str().unwrap_or_default().to_owned()
}

/// Wait until the relay says so.
#[track_caller]
pub fn says(w: &World, sentence: &str) {
    let mut last = String::new();
    let start = std::time::Instant::now();
    while last != sentence {
        assert!(start.elapsed().as_secs() < 20, "'{last}' instead of '{sentence}'");
        std::thread::sleep(std::time::Duration::from_millis(50));
        last = trouble(w);
    }
}

#[track_caller]
pub fn has(relay: &Server, image: &str) {
    until(image, || (relay.get(&format!("/images/{image}/vmlinuz")).status == 200).then_some(()));
}

pub fn once(first: &First) -> bool {
    let hosts = fs::read_to_string(first.w.path("cat/hosts.toml")).unwrap_or_default();
    hosts.contains("once")
}
