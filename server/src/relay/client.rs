// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions of a relay to the first server: over HTTPS, with the relay's token. Whoever cannot prove to be the first
//! server is told nothing, and believed nothing.

use crate::{
    body,
    config::Upstream,
    files,
    relay::told::{CLOCK, MAX_REPORT, MAX_SNAPSHOT, Reply, Report, Snapshot},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bootspec::{text::printable, units::human_time};
use reqwest::{
    Certificate, Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use std::{
    io,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_rustls::rustls::{CertificateError, Error as TlsError};

const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(20);
/// A certificate with those above it; a token with what an editor adds.
const MAX_CERTIFICATE: usize = 1 << 20;
const MAX_TOKEN: usize = 1024;
/// So far clocks may be apart: which word of a machine is the newer one depends on them.
const APART: Duration = Duration::from_secs(30);

/// The first server.
pub struct First {
    http: Client,
    url: Url,
    token: String,
}

/// What it answers who asks for changes.
pub enum Told {
    /// There are none.
    Same,
    /// Everything, and the tag of it.
    New {
        /// Everything.
        snapshot: Box<Snapshot>,
        /// Its tag.
        tag: String,
    },
}

/// Refuse what anybody on the way could read and change.
fn check_url(text: &str, url: &Url) -> Result<()> {
    let here = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the address of the first server has a user name in it: the token of [upstream] is enough"
    );
    match url.scheme() {
        "https" => Ok(()),
        "http" if url.host_str().is_some_and(here) => Ok(()),
        "http" => bail!(
            "{text} is plain HTTP, where everybody on the way can change what machines boot: use https://HOST:6982 \
             (tls-cert and tls-key in [serve] of the first server's server.toml)"
        ),
        _ => bail!("'{text}' is not a valid address of a first server: write https://HOST:6982"),
    }
}

fn authorities(ca: &Path) -> Result<Vec<Certificate>> {
    let pem = files::read_named(ca, MAX_CERTIFICATE, "certificate")?;
    let all = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    ensure!(
        !all.is_empty(),
        "{} has no certificate in it: give a PEM file (-----BEGIN CERTIFICATE-----)",
        ca.display()
    );
    Ok(all)
}

impl First {
    /// As the settings say. `None`: this server is the first one. Errors: it cannot be asked in this way.
    pub fn of(upstream: &Upstream) -> Result<Option<First>> {
        let Some(text) = &upstream.url else { return Ok(None) };
        let url: Url = text.parse().ok().filter(|u: &Url| u.has_host()).with_context(|| {
            format!("'{text}' is not a valid address of a first server: write https://HOST:6982")
        })?;
        check_url(text, &url)?;
        let file = &upstream.token_file;
        let token = files::read_named(file, MAX_TOKEN, "token").with_context(|| {
            "a relay needs a token: run `boottorrent relay add NAME` on the first server, and put what it prints into \
             token-file of [upstream]"
        })?;
        let token = String::from_utf8(token).unwrap_or_default().trim().to_owned();
        let digits = token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(digits, "{} has no token in it: a token is 64 digits and letters", file.display());
        let mut builder = Client::builder()
            .user_agent(concat!("boottorrent-relay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // Who redirects us elsewhere is not asked there: the token is for the first server.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(ca) = &upstream.ca {
            builder = builder.tls_certs_only(authorities(ca)?);
        } else if url.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().context("preparing HTTP")?;
        Ok(Some(First { http, url, token }))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// Whether a snapshot is one that this program can use.
    pub fn check(&self, snapshot: &Snapshot) -> Result<()> {
        let own = env!("CARGO_PKG_VERSION");
        ensure!(
            snapshot.version == own,
            "the first server has version {} of BootTorrent and this relay has {own}: install the same version on both",
            printable(&snapshot.version, 40)
        );
        Ok(())
    }

    /// Everything, if it is not what had this tag.
    pub async fn snapshot(&self, tag: Option<&str>) -> Result<Told> {
        let mut request = self.http.get(self.at("/api/v1/relay/snapshot"));
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let answer = self.sent(request).await?;
        check_clock(&answer)?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(Told::Same);
        }
        let tag = answer.headers().get(ETAG).and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = self.whole(answer, MAX_SNAPSHOT).await?;
        // Another version may say other things: it is named before they are looked at.
        #[derive(serde::Deserialize)]
        struct Version {
            version: String,
        }
        let own = env!("CARGO_PKG_VERSION");
        if let Ok(Version { version }) = serde_json::from_slice(&bytes)
            && version != own
        {
            bail!(
                "the first server has version {} of BootTorrent and this relay has {own}: install the same version on both",
                printable(&version, 40)
            );
        }
        let read = serde_json::from_slice(&bytes);
        let snapshot =
            read.with_context(|| format!("{} does not answer as a first server does", self.url))?;
        Ok(Told::New { snapshot, tag })
    }

    /// Tell it what machines have said.
    pub async fn report(&self, report: &Report) -> Result<Reply> {
        let json = serde_json::to_vec(report).context("writing JSON")?;
        let request = self.http.post(self.at("/api/v1/relay/report"));
        let request = request.header(CONTENT_TYPE, "application/json").body(json);
        let answer = self.sent(request).await?;
        let bytes = self.whole(answer, MAX_REPORT).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not answer as a first server does", self.url))
    }

    /// A small file.
    pub async fn small(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let answer = self.sent(self.http.get(self.at(path))).await?;
        self.whole(answer, limit).await
    }

    /// A file of so many bytes, into another one.
    pub async fn file(&self, path: &str, size: u64, to: &Path) -> Result<()> {
        let mut answer = self.sent(self.http.get(self.at(path))).await?;
        let writing = || format!("writing {}", to.display());
        let mut file = File::create(to).await.with_context(writing)?;
        let mut left = size;
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.why(e))? {
            left = left.checked_sub(chunk.len() as u64).with_context(|| {
                format!("the first server sends more of {path} than the {size} bytes that it has")
            })?;
            file.write_all(&chunk).await.with_context(writing)?;
        }
        ensure!(left == 0, "{path} came in part only: {left} of {size} bytes are missing");
        file.flush().await.with_context(writing)?;
        file.sync_all().await.with_context(writing)
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        let answer = request.send().await.map_err(|e| self.why(e))?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let body = self.whole(answer, 4096).await.unwrap_or_default();
        let said = printable(&String::from_utf8_lossy(&body), 500);
        match said.trim() {
            "" => bail!("{} answers {status}: is it a BootTorrent server?", self.url),
            said => bail!("{said}"),
        }
    }

    async fn whole(&self, answer: Response, limit: usize) -> Result<Vec<u8>> {
        let read = body::up_to(reqwest::Body::from(answer), limit, 0).await;
        let read = read.with_context(|| format!("asking {}", self.url))?;
        read.with_context(|| {
            format!("{} answers more than {limit} bytes: is it a BootTorrent server?", self.url)
        })
    }

    /// Why it was not reached, in a sentence.
    fn why(&self, error: reqwest::Error) -> anyhow::Error {
        let error = anyhow!(error);
        let host = format!(
            "{}:{}",
            self.url.host_str().unwrap_or_default(),
            self.url.port_or_known_default().unwrap_or_default()
        );
        match error.chain().find_map(tls_error) {
            Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => anyhow!(
                "the certificate of {host} is by no authority that is known here: give that authority's own with ca = in \
                 [upstream] of server.toml"
            ),
            Some(TlsError::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => anyhow!(
                "the certificate of {host} is not valid at {}, by this machine's clock: set the clock, or give the first \
                 server a new one",
                humantime::format_rfc3339_seconds(SystemTime::now())
            ),
            Some(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => anyhow!("the certificate of {host} is for another name: use the name that is in it"),
            Some(other) => anyhow!("{host} does not prove to be the first server ({other})"),
            None => {
                let last = error.chain().last().map(ToString::to_string).unwrap_or_default();
                anyhow!("{host} does not answer ({last})")
            }
        }
    }
}

/// An error of TLS comes inside those of reading or writing, which do not call it their source.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a TlsError> {
    error.downcast_ref().or_else(|| tls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}

fn check_clock(answer: &Response) -> Result<()> {
    let there = answer.headers().get(CLOCK).and_then(|t| t.to_str().ok()).and_then(|t| t.parse().ok());
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    there.map(Duration::from_millis).map_or(Ok(()), |there| check_clocks(there, here))
}

/// Refuse clocks that are apart.
fn check_clocks(there: Duration, here: Duration) -> Result<()> {
    let apart = there.abs_diff(here);
    ensure!(
        apart <= APART,
        "this machine's clock is {} {} that of the first server: set both clocks, by NTP for one",
        human_time(apart),
        if here < there { "behind" } else { "ahead of" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart() {
        let (there, minutes) = (Duration::from_secs(1_800_000_000), Duration::from_secs(300));
        check_clocks(there, there + APART).unwrap();
        let said = |here| check_clocks(there, here).unwrap_err().to_string();
        let end = "that of the first server: set both clocks, by NTP for one";
        assert_eq!(said(there - minutes), format!("this machine's clock is 5 min 00 s behind {end}"));
        assert_eq!(said(there + minutes), format!("this machine's clock is 5 min 00 s ahead of {end}"));
    }

    #[test]
    fn only_https_unless_it_is_this_machine() {
        let check = |text: &str| check_url(text, &text.parse().unwrap()).is_ok();
        for good in
            ["https://10.0.0.1:6982", "https://x", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
        {
            assert!(check(good), "{good}");
        }
        for bad in
            ["http://10.0.0.1:6980", "http://localhost.evil.example", "http://127.0.0.1.nip.io", "ftp://x"]
        {
            assert!(!check(bad), "{bad}");
        }
    }
}
