// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known of an image before it comes: its checksum, and who stands for it.

use super::{
    http::Http,
    plan::{FetchPlan, ImageAddress},
    sums::{self, Sum},
    watch::Watch,
};
use crate::{files, sources::parse::Signed};
use anyhow::{Context, Result, anyhow, bail};
use std::{fmt, io::Write, path::Path};

/// A list of checksums, or a signature: at most so many bytes.
pub const MAX_LIST: usize = 1 << 20;

/// What is known of the image before it comes.
pub struct Promise {
    /// Its file's name, where a list told.
    pub file: Option<String>,
    /// Its checksum, and where that is from.
    pub sum: Option<(Sum, Basis)>,
    /// Who vouches for it.
    pub signed: Option<String>,
}

/// Where a checksum is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The admin or the source gave it.
    Given,
    /// A list, at this address.
    List(String),
}

impl Basis {
    /// How it goes on behind another checksum.
    pub fn against(&self) -> String {
        match self {
            Basis::Given => "was given".into(),
            Basis::List(list) => format!("is in {list}"),
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Basis::Given => f.write_str("as it was given"),
            Basis::List(list) => write!(f, "as in {list}"),
        }
    }
}

/// The checksums, and who signed them. Small files come first: what is wrong with them is said at once.
pub async fn promise(plan: &FetchPlan, http: &Http, no_verify: bool, watch: &Watch) -> Result<Promise> {
    if let Some(signer) = plan.signer.as_ref().filter(|_| !no_verify) {
        signer.ready()?;
    }
    let given = plan.sum.clone().map(|sum| (sum, Basis::Given));
    let mut promise = Promise { file: None, sum: given, signed: None };
    let Some(list) = plan.checksums.as_ref().filter(|_| promise.sum.is_none()) else { return Ok(promise) };
    let bytes = small(http, list, MAX_LIST, "list of checksums").await?;
    let mut text = sums::text(&bytes);
    if let (Some((address, signed)), Some(signer), false) = (&plan.signature, &plan.signer, no_verify) {
        let file = temporary(&bytes)?;
        promise.signed = match signed {
            Signed::Image => None,
            Signed::Checksums => {
                let signature = temporary(&small(http, address, MAX_LIST, "signature").await?)?;
                Some(signer.check(file.path(), signature.path(), list)?)
            }
            Signed::Inline => {
                let (who, inside) = signer.check_inline(file.path(), list)?;
                text = inside;
                Some(who)
            }
        };
    }
    let pattern = match (&plan.pattern, plan.from.iter().find_map(ImageAddress::file_name)) {
        (Some(pattern), _) => pattern.clone(),
        (None, Some(name)) => name,
        (None, None) => {
            bail!("{list} is a list of checksums, and nobody says which one is the image's: give --file")
        }
    };
    let path = plan.from.first().map(ImageAddress::path).unwrap_or_default();
    let found = sums::find(&text, &pattern, &path).map_err(|e| anyhow!("{list} {e}"))?;
    let Some((sum, name)) = found else {
        match sums::entries(&text).len() {
            0 => bail!(
                "{list} has no SHA-256 or SHA-512 sum that can be read: sha256sum writes such lists; or give --sum"
            ),
            count => bail!(
                "{list} has no checksum for '{pattern}' (it has {count} SHA-256 and SHA-512 sums): it is of another version, or --file is wrong"
            ),
        }
    };
    promise.file = Some(name.to_owned()).filter(|n| !n.is_empty());
    promise.sum = Some((sum, Basis::List(list.clone())));
    if promise.signed.is_none() && plan.signature.is_none() {
        watch.note(format!(
            "{list} is not signed: it protects against damage, but not against anyone who can change both the list and the image"
        ));
    }
    Ok(promise)
}

/// A small file, from wherever it is.
pub async fn small(http: &Http, address: &str, limit: usize, what: &str) -> Result<Vec<u8>> {
    match address.starts_with('/') {
        true => files::read_named(Path::new(address), limit, what),
        false => http.small(address, limit, what).await,
    }
}

/// A file for a program to read.
pub fn temporary(bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().context("making a temporary file")?;
    file.write_all(bytes).context("writing a temporary file")?;
    Ok(file)
}
