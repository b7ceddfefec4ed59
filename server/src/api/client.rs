// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking a running server, and telling it what to change.

use super::types::{EntryRow, Health, HostRow, ImageRow, Wake, Woken};
use crate::{
    body,
    catalogue::ImageChange,
    clients::Client,
    config::Config,
    fetch::request::{FetchRequest, FetchRow},
    hosts::{EntryKey, HostChange, HostChanges, Name, ScheduleEntry, waiting::WaitingKey},
    orders::{OrderRequest, OrderRow, ScheduleRow},
    power::{PowerRequest, PowerRow},
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{HTTP_PORT, ImageName, ImageRef};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use std::{net::Ipv4Addr, os::unix::net::UnixStream, path::Path, time::Duration};

/// A LAN answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Deleting or renaming a large image takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// A thousand BMCs, sixteen at a time, of which none answers.
const BMCS: Duration = Duration::from_secs(660);
const POWER: &str = "/api/v1/power";
/// 4096 machines with all that they may say.
const MAX_ANSWER: usize = 64 << 20;

/// The URL of a server: `HOST`, `HOST:PORT` or a whole URL; without it, the one on this machine.
pub fn url(server: Option<&str>, config: &Config) -> String {
    match server {
        Some(url) if url.starts_with("http://") => url.trim_end_matches('/').to_owned(),
        Some(host) => {
            let v6 = host.matches(':').count() > 1;
            match host {
                host if v6 && !host.starts_with('[') => format!("http://[{host}]:{HTTP_PORT}"),
                host if v6 && host.ends_with(']') => format!("http://{host}:{HTTP_PORT}"),
                host if host.contains(':') => format!("http://{host}"),
                host => format!("http://{host}:{HTTP_PORT}"),
            }
        }
        None => {
            let mut at = config.serve.listen;
            if at.ip().is_unspecified() {
                at.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            format!("http://{at}")
        }
    }
}

/// A server that can be asked.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    /// How it is called in errors.
    shown: String,
    local: bool,
}

impl Api {
    /// The server on this machine: over its socket, or over TCP where there is none; then it can only be asked.
    pub fn connect(config: &Config) -> Result<Api> {
        match Api::local(&config.serve.socket) {
            Ok(Some(api)) => Ok(api),
            // Somebody else's socket: reading is still possible.
            Ok(None) | Err(_) => Api::remote(&url(None, config)),
        }
    }

    /// The server behind a local socket. `None`: nobody listens there. Errors: this user may not write to it.
    pub fn local(socket: &Path) -> Result<Option<Api>> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        match UnixStream::connect(socket) {
            Err(e) if matches!(e.kind(), NotFound | ConnectionRefused) => return Ok(None),
            opened => opened.with_context(|| {
                format!("opening {} (run it as root, or as a member of the socket's group)", socket.display())
            })?,
        };
        let http = builder().unix_socket(socket).build().context("preparing HTTP")?;
        let shown = socket.display().to_string();
        // The name is for the header only.
        Ok(Some(Api { http, url: "http://localhost".into(), shown, local: true }))
    }

    /// The server at a URL as [`url`] gives it. It can only be asked.
    pub fn remote(url: &str) -> Result<Api> {
        let http = builder().build().context("preparing HTTP")?;
        Ok(Api { http, url: url.to_owned(), shown: url.to_owned(), local: false })
    }

    /// Whether things can be changed over it.
    pub fn can_change(&self) -> bool {
        self.local
    }

    /// How the server is.
    pub async fn health(&self) -> Result<Health> {
        self.get("/api/v1/health").await
    }

    /// The machines.
    pub async fn clients(&self) -> Result<Vec<Client>> {
        self.get("/api/v1/clients").await
    }

    /// One machine, by its id, with the end of its log.
    pub async fn client(&self, id: &str) -> Result<Client> {
        self.get(&format!("/api/v1/clients/{}", escaped(id))).await
    }

    /// The images.
    pub async fn images(&self) -> Result<Vec<ImageRow>> {
        self.get("/api/v1/images").await
    }

    /// Machines whose key should be accepted.
    pub async fn waiting(&self) -> Result<Vec<WaitingKey>> {
        self.get("/api/v1/waiting").await
    }

    /// What else machines can boot.
    pub async fn entries(&self) -> Result<Vec<EntryRow>> {
        self.get("/api/v1/entries").await
    }

    /// What is set for machines and groups.
    pub async fn hosts(&self) -> Result<Vec<HostRow>> {
        self.get("/api/v1/hosts").await
    }

    /// The fetches, those that have ended too.
    pub async fn fetches(&self) -> Result<Vec<FetchRow>> {
        self.get("/api/v1/fetches").await
    }

    /// Say something of a machine or a group.
    pub async fn set_host(&self, key: &EntryKey, change: &HostChange) -> Result<HostRow> {
        self.ask(Method::PUT, &format!("/api/v1/hosts/{}", escaped(&key.to_string())), Some(change)).await
    }

    /// Change many entries: all of them, or none.
    pub async fn change_hosts(&self, changes: &HostChanges) -> Result<Vec<HostRow>> {
        self.ask(Method::POST, "/api/v1/hosts", Some(changes)).await
    }

    /// Forget what is set for a machine or a group.
    pub async fn unset_host(&self, key: &EntryKey) -> Result<()> {
        self.delete(&format!("/api/v1/hosts/{}", escaped(&key.to_string()))).await
    }

    /// Change an image.
    pub async fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<ImageRow> {
        self.ask(Method::POST, &format!("/api/v1/images/{name}"), Some(change)).await
    }

    /// Remove an image, or one version of it. Errors without `force`: machines run it, and which.
    pub async fn remove_image(&self, image: &ImageRef, force: bool) -> Result<()> {
        self.delete(&format!("/api/v1/images/{image}?force={force}")).await
    }

    /// Have something fetched.
    pub async fn fetch(&self, request: &FetchRequest) -> Result<FetchRow> {
        self.ask(Method::POST, "/api/v1/fetches", Some(request)).await
    }

    /// Cancel a fetch, or forget one that has ended.
    pub async fn cancel_fetch(&self, id: u64) -> Result<()> {
        self.delete(&format!("/api/v1/fetches/{id}")).await
    }

    /// What machines that run are to do.
    pub async fn orders(&self) -> Result<Vec<OrderRow>> {
        self.get("/api/v1/orders").await
    }

    /// Give machines orders.
    pub async fn order(&self, request: &OrderRequest) -> Result<Vec<OrderRow>> {
        self.ask(Method::POST, "/api/v1/orders", Some(request)).await
    }

    /// Take the orders of a machine or a group back.
    pub async fn take_back_order(&self, who: &str) -> Result<Vec<OrderRow>> {
        self.ask(Method::DELETE, &format!("/api/v1/orders/{}", escaped(who)), None::<&()>).await
    }

    /// The calendar.
    pub async fn schedule(&self) -> Result<Vec<ScheduleRow>> {
        self.get("/api/v1/schedule").await
    }

    /// Set an entry of the calendar.
    pub async fn set_schedule(&self, name: &Name, entry: &ScheduleEntry) -> Result<ScheduleRow> {
        self.ask(Method::PUT, &format!("/api/v1/schedule/{name}"), Some(entry)).await
    }

    /// Remove an entry of the calendar.
    pub async fn unset_schedule(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/api/v1/schedule/{name}")).await
    }

    /// Wake a machine or a group.
    pub async fn wake(&self, target: &str) -> Result<Woken> {
        self.ask(Method::POST, "/api/v1/wake", Some(&Wake { target: target.to_owned() })).await
    }

    /// Switch machines on or off, or ask whether they are on.
    pub async fn power(&self, request: &PowerRequest) -> Result<Vec<PowerRow>> {
        self.ask(Method::POST, POWER, Some(request)).await
    }

    /// `GET`: any other part of the API.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.bytes(Method::DELETE, path, None::<&()>).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let bytes = self.bytes(method, path, body).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{}{path} is not a BootTorrent server of this version", self.shown))
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Vec<u8>> {
        let asking = || format!("asking {}{path}", self.shown);
        let patience = match (&method, path) {
            (&Method::GET, _) => TIMEOUT,
            (_, POWER) => BMCS,
            _ => PATIENCE,
        };
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(patience);
        if let Some(body) = body {
            let json = serde_json::to_vec(body).context("writing JSON")?;
            request = request.header("content-type", "application/json").body(json);
        }
        let answer = request.send().await.with_context(asking)?;
        let status = answer.status();
        let read = body::up_to(reqwest::Body::from(answer), MAX_ANSWER, 0);
        let Some(body) = read.await.with_context(asking)? else {
            bail!("{}{path} answers more than {MAX_ANSWER} bytes: is it a BootTorrent server?", self.shown);
        };
        if status.is_client_error() || status.is_server_error() {
            let sentence = bootspec::text::printable(&String::from_utf8_lossy(&body), 1000);
            return Err(match sentence.trim() {
                "" => anyhow!("{} answers {status}", self.shown),
                sentence => anyhow!("{sentence}"),
            });
        }
        Ok(body)
    }
}

fn builder() -> reqwest::ClientBuilder {
    // Plain HTTP: no certificates are needed, and a small system has none.
    reqwest::Client::builder().tls_certs_only([]).connect_timeout(TIMEOUT).no_proxy()
}

/// A path's segment: all but what needs no escaping.
fn escaped(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    segment.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = Config::default();
        for (given, want) in [
            (None, "http://127.0.0.1:6980"),
            (Some("boot"), "http://boot:6980"),
            (Some("10.0.0.1:80"), "http://10.0.0.1:80"),
            (Some("fd00::1"), "http://[fd00::1]:6980"),
            (Some("[fd00::1]"), "http://[fd00::1]:6980"),
            (Some("[fd00::1]:80"), "http://[fd00::1]:80"),
            (Some("http://x:1/"), "http://x:1"),
        ] {
            assert_eq!(url(given, &config), want);
        }
        assert_eq!(escaped("serial:AB 1/2"), "serial:AB%201%2F2");
    }
}
