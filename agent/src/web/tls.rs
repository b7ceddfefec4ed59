// SPDX-License-Identifier: GPL-3.0-or-later
//! HTTPS: only certificates of the authorities in one folder count.

use crate::{
    files::{files, small},
    report::Report,
};
use anyhow::Context;
use bootspec::CA_DIR;
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{io, path::Path, sync::Arc, time::SystemTime};
use url::Url;

/// A file may have all authorities of a distribution.
const MAX_FILE: usize = 1 << 20;

/// What is agreed with servers: TLS 1.2 and 1.3, as rustls chooses.
pub fn config(authorities: &Path, report: &Report) -> anyhow::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("preparing TLS")?
        .with_root_certificates(roots(authorities, report))
        .with_no_client_auth();
    Ok(config)
}

/// The certificates in every `*.crt` (PEM). What is none is missed with a warning: then less is trusted.
fn roots(dir: &Path, report: &Report) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for file in files(dir, "crt").unwrap_or_default() {
        let before = roots.len();
        let text = small(&file, MAX_FILE).ok().flatten().filter(|t| t.len() <= MAX_FILE).unwrap_or_default();
        let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
        certificates.for_each(|c| drop(roots.add(c)));
        if roots.len() == before {
            report.warn(&format!("{} is ignored: there is no certificate in it (PEM)", file.display()));
        }
    }
    roots
}

/// What [`super::distrusted`] says.
pub fn distrusted(error: &anyhow::Error, url: &Url) -> Option<String> {
    let why = error.chain().find_map(tls_error)?;
    let host = url.authority();
    Some(match why {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate of {host} is by no authority that is known here: put the authority's own into {CA_DIR}/NAME.crt \
             where the initrd is made, and make it again"
        ),
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => format!(
            "the certificate of {host} is not valid at {}, by this machine's clock: set the clock, or give the server a new one",
            humantime::format_rfc3339_seconds(SystemTime::now())
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of {host} is for another name: ask for the server by the name that is in it"
        ),
        other => {
            format!("{host} does not prove to be the server ({other}): check its certificate, and the port")
        }
    })
}

/// An error of TLS comes inside those of reading or writing, which do not call it their source.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    error.downcast_ref().or_else(|| tls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}
