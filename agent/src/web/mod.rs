// SPDX-License-Identifier: GPL-3.0-or-later
//! The client for everything over HTTP; over HTTPS as well in `boottorrent-agent-tls`, which the hook takes where there
//! is an authority's certificate: TLS is a third of a program that one server sends to every machine.

#[cfg(feature = "tls")]
mod tls;

use crate::report::Report;
use anyhow::Context;
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};
use url::Url;

/// Make it. `authorities`: the folder with their certificates; `names`: hosts whose address is known, also when nobody can
/// be asked any more.
pub fn client(
    authorities: &Path,
    names: &[(String, IpAddr)],
    report: &Report,
) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("boottorrent-agent/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(15))
        .no_proxy();
    for (name, address) in names {
        // Port 0: the URL's.
        builder = builder.resolve(name, SocketAddr::new(*address, 0));
    }
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(tls::config(authorities, report)?);
    #[cfg(not(feature = "tls"))]
    let _ = (authorities, report);
    builder.build().context("starting the HTTP client")
}

/// Copy the certificates to where they can be read when the initramfs is gone.
pub fn keep(authorities: &Path, to: &Path) -> std::io::Result<()> {
    if cfg!(feature = "tls") && authorities.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(authorities)?.flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Why nothing at `url` can be asked for by this program, in a sentence.
pub fn unspoken(url: &Url) -> Option<String> {
    let https = url.scheme() == "https" && cfg!(not(feature = "tls"));
    https.then(|| {
        format!(
            "{url} is HTTPS, which this agent does not speak: put the certificate of its authority into {}/NAME.crt where \
             the initrd is made, and make it again (elsewhere: boottorrent-agent-tls)",
            bootspec::CA_DIR
        )
    })
}

/// If a try failed because who answers cannot prove to be the server: that, in a sentence. It will not heal.
pub fn distrusted(error: &anyhow::Error, url: &Url) -> Option<String> {
    #[cfg(feature = "tls")]
    return tls::distrusted(error, url);
    #[cfg(not(feature = "tls"))]
    {
        let _ = (error, url);
        None
    }
}
