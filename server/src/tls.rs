// SPDX-License-Identifier: GPL-3.0-or-later
//! The same HTTP over TLS, on a port of its own, when the settings name a certificate and its key.

use crate::{config::Serve, files, net::Host};
use anyhow::{Context, Result, bail};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

/// A client has this long for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Of that, so long from its first byte on.
const SHAKING: Duration = Duration::from_secs(5);
/// Handshakes at a time: each costs processor time and memory before anything is known of the client. Who has not
/// begun has none.
const AT_ONCE: usize = 64;
/// Those of one host.
const EACH: usize = 8;
/// A certificate with those above it, and a key, are a few kilobytes.
const MAX_FILE: usize = 1 << 20;

/// TLS for one port. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    /// When our certificate ends, in seconds since 1970; nothing if it does not say so in a way that we can read.
    pub expires: Option<i64>,
    /// Our port for HTTP without it, which boot loaders and trackers' clients speak.
    pub plain: u16,
    room: Arc<Semaphore>,
    rooms: Arc<Mutex<HashMap<Host, Arc<Semaphore>>>>,
}

fn acceptor(serve: &Serve) -> Result<Option<(TlsAcceptor, Option<i64>)>> {
    let (cert, key) = match (&serve.tls_cert, &serve.tls_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => bail!("tls-cert and tls-key in [serve] of the settings go together: give both, or none"),
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&files::read_named(cert, MAX_FILE, "certificate")?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("reading the certificate {}", cert.display()))?;
    if chain.is_empty() {
        bail!("{} has no certificate in it: give a PEM file (-----BEGIN CERTIFICATE-----)", cert.display());
    }
    let expires = x509_parser::parse_x509_certificate(&chain[0]);
    let expires = expires.map(|(_, cert)| cert.validity().not_after.timestamp()).ok();
    let secret = PrivateKeyDer::from_pem_slice(&files::read_named(key, MAX_FILE, "private key")?)
        .with_context(|| format!("reading the private key {} (PEM, without a passphrase)", key.display()))?;
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .context("preparing TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("using {} with the key {}", cert.display(), key.display()))?;
    Ok(Some((Arc::new(config).into(), expires)))
}

impl Tls {
    /// What the settings say; `plain`: our port without it. `None`: they name no certificate.
    pub fn configured(serve: &Serve, plain: u16) -> Result<Option<Tls>> {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let tls = |(acceptor, expires)| Tls { acceptor, expires, plain, room, rooms: Arc::default() };
        Ok(acceptor(serve)?.map(tls))
    }

    /// A connection, once both sides have agreed. `None`: it came to nothing.
    pub async fn shake_hands(&self, stream: TcpStream, remote: IpAddr) -> Option<TlsStream<TcpStream>> {
        let shake = async {
            // Who says nothing waits in nobody's way.
            stream.peek(&mut [0]).await.ok()?;
            let own = self.room_of(remote.into());
            let _own = own.acquire().await.ok()?;
            let _room = self.room.acquire().await.ok()?;
            timeout(SHAKING, self.acceptor.accept(stream)).await.ok()?.ok()
        };
        timeout(HANDSHAKE, shake).await.ok()?
    }

    /// A host's share.
    fn room_of(&self, host: Host) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|_, room| Arc::strong_count(room) > 1);
        rooms.entry(host).or_insert_with(|| Arc::new(Semaphore::new(EACH))).clone()
    }
}
