// SPDX-License-Identifier: GPL-3.0-or-later
//! The same HTTP over TLS, on a port of its own, when the settings name a certificate and its key.

use crate::{config::Serve, http::Ends};
use anyhow::{Context, Result, bail};
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
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
/// Handshakes at a time: each costs processor time and memory before anything is known of the client.
const AT_ONCE: usize = 64;
/// A certificate with those above it, and a key, are a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// What the certificate is shown with. `None`: the settings name none.
pub fn acceptor(serve: &Serve) -> Result<Option<TlsAcceptor>> {
    let (cert, key) = match (&serve.tls_cert, &serve.tls_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => bail!("tls-cert and tls-key in [serve] of the settings go together: give both, or none"),
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("reading the certificate {}", cert.display()))?;
    if chain.is_empty() {
        bail!("{} has no certificate in it: give a PEM file (-----BEGIN CERTIFICATE-----)", cert.display());
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("reading the private key {} (PEM, without a passphrase)", key.display()))?;
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .context("preparing TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("using {} with the key {}", cert.display(), key.display()))?;
    Ok(Some(Arc::new(config).into()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(MAX_FILE).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

/// Connections that have shaken hands.
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Ends)>,
    local: Ends,
}

impl TlsListener {
    /// Shake hands with whoever connects. `plain`: our port for HTTP without TLS.
    pub fn new(listener: TcpListener, acceptor: TlsAcceptor, plain: u16) -> io::Result<TlsListener> {
        let at = listener.local_addr()?;
        let (tell, ready) = mpsc::channel(AT_ONCE);
        tokio::spawn(accept(listener, acceptor, plain, tell));
        Ok(TlsListener { ready, local: Ends { remote: at, local: at, plain: Some(plain) } })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    plain: u16,
    tell: mpsc::Sender<(TlsStream<TcpStream>, Ends)>,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while !tell.is_closed() {
        let Ok(slot) = room.clone().acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No more files, mostly: others will close theirs.
            Err(_) => {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let ends = Ends::of(&stream, remote, Some(plain));
            // Who does not speak TLS is not answered: it would not understand.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                let _ = tell.send((stream, ends)).await;
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Ends;

    async fn accept(&mut self) -> (Self::Io, Ends) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Ends> {
        Ok(self.local)
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Ends {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Ends {
        *stream.remote_addr()
    }
}
