// SPDX-License-Identifier: GPL-3.0-or-later
//! What is to be fetched, from where, and what will say that it is genuine: decided before anything is.

use super::{
    http::{decoded, file_name},
    signature::OpenPgpSigner,
    sums::Sum,
    torrent,
};
use crate::{
    fetch::request::FetchRequest,
    import::source::name_of,
    sources::{
        Folders, ImageSource,
        parse::{Signed, address},
    },
};
use anyhow::{Result, anyhow, bail};
use bootspec::ImageName;
use std::path::PathBuf;

/// A decision.
#[derive(Clone, Debug)]
pub struct FetchPlan {
    /// The image that it becomes.
    pub name: ImageName,
    /// Where it comes from: the first one that works.
    pub from: Vec<ImageAddress>,
    /// What its name is in a list of checksums, `*` for the version.
    pub pattern: Option<String>,
    /// Its sum, where that was said.
    pub sum: Option<Sum>,
    /// Where its checksums are.
    pub checksums: Option<String>,
    /// Where the signature is, and of what.
    pub signature: Option<(String, Signed)>,
    /// Who must have signed.
    pub signer: Option<OpenPgpSigner>,
    /// Kernel parameters.
    pub append: String,
}

/// An address of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageAddress {
    /// A file, over HTTP(S).
    Url(String),
    /// A file in a folder, over HTTP(S): the checksums tell which.
    Folder(String),
    /// A file or a folder on this machine.
    Local(PathBuf),
    /// A magnet link, or the URL or path of a .torrent.
    Torrent(String),
}

impl FetchPlan {
    /// Whether it is a file of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.from.as_slice(), [ImageAddress::Local(_)])
    }

    /// The image as the admin knows it.
    pub fn shown(&self) -> String {
        match self.from.last() {
            Some(ImageAddress::Url(at) | ImageAddress::Folder(at) | ImageAddress::Torrent(at)) => at.clone(),
            Some(ImageAddress::Local(path)) => path.display().to_string(),
            None => self.name.to_string(),
        }
    }
}

impl ImageAddress {
    /// The name of its file.
    pub fn file_name(&self) -> Option<String> {
        let name = match self {
            ImageAddress::Url(url) => file_name(url),
            ImageAddress::Local(path) if !path.is_dir() => path.file_name()?.to_string_lossy().into_owned(),
            _ => return None,
        };
        Some(name).filter(|n| !n.is_empty())
    }

    /// The path at the end of its address, by which a list of checksums may name it.
    pub fn path(&self) -> String {
        match self {
            ImageAddress::Url(url) => decoded(url.split(['?', '#']).next().unwrap_or_default()),
            ImageAddress::Local(path) => path.display().to_string(),
            ImageAddress::Folder(_) | ImageAddress::Torrent(_) => String::new(),
        }
    }
}

/// Decide.
pub fn plan(request: &FetchRequest, folders: &Folders) -> Result<FetchPlan> {
    let what = request.what.trim();
    let (name, mut source) = match kind(what) {
        Some(direct) => (default_name(what, &direct), direct),
        None => {
            let found = folders.find(what)?;
            (found.name.to_string(), found.source)
        }
    };
    for (value, key) in [(&request.checksums, "checksums"), (&request.signature, "signature")] {
        if let Some(value) = value {
            address(value, false).map_err(|why| anyhow!("{key}: {why}"))?;
        }
    }
    if request.sum.is_some() || request.checksums.is_some() || request.signature.is_some() {
        // Not a mixture: what was typed is what is looked at.
        (source.sha256, source.sha512, source.checksums) = (None, None, request.checksums.clone());
        (source.signature, source.key) = (request.signature.clone(), request.key.clone().or(source.key));
        source.signed = if request.checksums.is_some() { Signed::Checksums } else { Signed::Image };
    }
    let sum = request.sum.as_ref().or(source.sha512.as_ref()).or(source.sha256.as_ref());
    let sum = match sum {
        Some(hex) => Some(Sum::parse(hex).ok_or_else(|| {
            anyhow!(
                "'{}' is not a valid checksum: write the 64 digits of a SHA-256 or the 128 of a SHA-512",
                bootspec::text::printable(hex, 140)
            )
        })?),
        None => None,
    };
    let signer = match (&source.signature, &source.key) {
        (Some(_), Some(key)) => Some(OpenPgpSigner {
            key: key.clone(),
            package: source.key_package.clone(),
            fingerprint: source.fingerprint.clone(),
            note: source.note.clone(),
        }),
        (Some(_), None) => {
            bail!("a signature cannot be checked without a key: give the signer's key with --key FILE")
        }
        _ => None,
    };
    let name = match &request.name {
        Some(name) => name.clone(),
        None => name.parse().map_err(|e| anyhow!("{e}; give one with --name"))?,
    };
    let append = [source.append.trim(), request.append.trim()].join(" ").trim().to_owned();
    bootspec::cmdline::check_append(&append).map_err(|e| anyhow!(e))?;
    Ok(FetchPlan {
        name,
        from: places(&source),
        pattern: request.file.clone().or(source.file.clone()),
        sum,
        checksums: source.checksums.clone(),
        signature: source.signature.clone().map(|s| (s, source.signed)),
        signer,
        append,
    })
}

fn places(source: &ImageSource) -> Vec<ImageAddress> {
    let torrent = source.torrent.clone().map(ImageAddress::Torrent);
    let url = source.url.clone().map(|url| match url {
        path if path.starts_with('/') => ImageAddress::Local(path.into()),
        url if url.ends_with('/') => ImageAddress::Folder(url),
        url => ImageAddress::Url(url),
    });
    torrent.into_iter().chain(url).collect()
}

/// A source that was typed, and not named. `None`: it is a name.
fn kind(what: &str) -> Option<ImageSource> {
    let is_torrent = || what.split(['?', '#']).next().is_some_and(|w| w.ends_with(".torrent"));
    let url = what.starts_with("http://") || what.starts_with("https://");
    let some = || Some(what.to_owned());
    match what {
        _ if what.starts_with("magnet:?") || is_torrent() => {
            Some(ImageSource { torrent: some(), ..ImageSource::default() })
        }
        _ if url || what.starts_with('/') => Some(ImageSource { url: some(), ..ImageSource::default() }),
        _ => None,
    }
}

/// The image's name when nobody gives one.
fn default_name(what: &str, source: &ImageSource) -> String {
    if what.starts_with("magnet:?") {
        let named = what.split(['?', '&']).find_map(|p| p.strip_prefix("dn="));
        return match named {
            Some(name) => name_of(&name.replace('+', " ")).to_owned(),
            None => torrent::magnet_hash(what).unwrap_or_default(),
        };
    }
    let file = &super::http::file_name(what)[..];
    let file = if source.torrent.is_some() { file.strip_suffix(".torrent").unwrap_or(file) } else { file };
    name_of(file).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(request: FetchRequest) -> Result<FetchPlan, String> {
        plan(&request, &Folders { dirs: vec!["/nonexistent".into()] }).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn what_is_typed() {
        let torrent = |t: &str| vec![ImageAddress::Torrent(t.into())];
        for (what, name, from) in [
            (
                "https://x.org/a/live-13.iso?x=1",
                "live-13",
                vec![ImageAddress::Url("https://x.org/a/live-13.iso?x=1".into())],
            ),
            ("/srv/x.iso.xz", "x", vec![ImageAddress::Local("/srv/x.iso.xz".into())]),
            ("https://x.org/live.iso.torrent", "live", torrent("https://x.org/live.iso.torrent")),
            ("/srv/live.torrent", "live", torrent("/srv/live.torrent")),
            (
                "magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&dn=live.iso",
                "live",
                torrent("magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&dn=live.iso"),
            ),
        ] {
            let plan = planned(FetchRequest { what: what.into(), ..FetchRequest::default() }).unwrap();
            assert_eq!((plan.name.as_str(), plan.from), (name, from), "{what}");
        }
    }

    #[test]
    fn refusals() {
        let url = "https://x.org/live.iso";
        let r = |what: &str| FetchRequest { what: what.into(), ..FetchRequest::default() };
        for (request, why) in [
            (
                r("live"),
                "there is no source 'live': see `boottorrent source list`, or give a URL, a magnet link or a .torrent",
            ),
            (
                r("https://x.org/a b.iso"),
                "'a b' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit; give one with --name",
            ),
            (
                FetchRequest { sum: Some("12".into()), ..r(url) },
                "'12' is not a valid checksum: write the 64 digits of a SHA-256 or the 128 of a SHA-512",
            ),
            (
                FetchRequest { signature: Some("http://x/y.sig".into()), ..r(url) },
                "a signature cannot be checked without a key: give the signer's key with --key FILE",
            ),
            (
                FetchRequest { checksums: Some("file:x".into()), ..r(url) },
                "checksums: 'file:x' is not a valid address: write an http:// or https:// URL, or a path that begins with /",
            ),
        ] {
            assert_eq!(planned(request).unwrap_err(), why);
        }
    }
}
