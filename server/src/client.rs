// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking a running server: for `status`, and for `image remove`.

use crate::{clients::Client, config::Config};
use anyhow::{Context, Result, bail};
use bootspec::HTTP_PORT;
use std::{net::Ipv4Addr, time::Duration};

/// A LAN answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);
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

/// The machines that the server at `url` knows.
pub async fn clients(url: &str) -> Result<Vec<Client>> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().context("preparing HTTP")?;
    let url = format!("{url}/api/v1/clients");
    let asking = || format!("asking {url}");
    let mut answer =
        http.get(&url).send().await.with_context(asking)?.error_for_status().with_context(asking)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(asking)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            bail!("{url} answers more than {MAX_ANSWER} bytes: is it a BootTorrent server?");
        }
    }
    serde_json::from_slice(&body).with_context(|| format!("{url} is no BootTorrent server of this version"))
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
    }
}
