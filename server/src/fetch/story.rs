// SPDX-License-Identifier: GPL-3.0-or-later
//! One fetch, from its beginning to the image in the catalogue.

use super::{
    dirs::FetchDirs,
    download::Download,
    http::Http,
    parts::{self, forget, hold},
    plan::{FetchPlan, ImageAddress, plan},
    promise::{MAX_LIST, Promise, promise, small, temporary},
    request::{FetchRequest, FetchState},
    sums::Sum,
    torrent::{self, What},
    watch::Watch,
};
use crate::{
    catalogue::free_space::FreeSpace,
    files::make_dirs,
    import::{self, Added, Request},
    sources::{glob, parse::Signed},
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A .torrent has at most so many bytes.
const MAX_TORRENT: usize = 16 << 20;
/// How often in a row a server may fail, if nobody says.
const TRIES: u32 = 8;

/// Fetch, verify and add. Ends early when the watch is cancelled.
pub async fn fetch(dirs: &FetchDirs, request: &FetchRequest, watch: &Arc<Watch>) -> Result<Added> {
    tokio::select! {
        // First what is asked for: a cancelled one begins nothing.
        biased;
        () = watch.cancelled() => bail!("cancelled; fetch it again to resume"),
        done = story(dirs, request, watch) => done,
    }
}

async fn story(dirs: &FetchDirs, request: &FetchRequest, watch: &Arc<Watch>) -> Result<Added> {
    watch.state(FetchState::Fetching);
    let fetching = Fetching::begin(dirs, request, watch)?;
    let _held = hold(&dirs.parts, &fetching.key, &fetching.plan.name)?;
    let promise = promise(&fetching.plan, &fetching.http, request.no_verify, watch).await?;
    fetching.refuse_unverifiable(&promise)?;
    let (path, mut by) = fetching.image(&promise).await?;
    watch.state(FetchState::Verifying);
    // What is not what it should be would only be so again, if it were gone on with.
    by.extend(fetching.verify(&promise, &path).await.inspect_err(|_| fetching.forget())?);
    if !by.is_empty() {
        watch.verified(by.join("; "));
    }
    watch.state(FetchState::Importing);
    let added = fetching.add(&path).await?;
    fetching.forget();
    Ok(added)
}

/// A fetch on its way.
struct Fetching<'a> {
    dirs: &'a FetchDirs,
    request: &'a FetchRequest,
    watch: &'a Arc<Watch>,
    plan: FetchPlan,
    /// What its parts are called.
    key: String,
    http: Http,
}

impl<'a> Fetching<'a> {
    /// Decide what is fetched, or refuse it.
    fn begin(dirs: &'a FetchDirs, request: &'a FetchRequest, watch: &'a Arc<Watch>) -> Result<Fetching<'a>> {
        let plan = plan(request, &dirs.sources)?;
        watch.image(&plan.name);
        if !request.replace {
            dirs.catalogue.refuse_taken(&plan.name)?;
        }
        make_dirs(&dirs.parts)?;
        let http = Http::new(request.tries.unwrap_or(TRIES))?.verified(!request.no_verify);
        Ok(Fetching { dirs, request, watch, key: parts::key(&plan), plan, http })
    }

    /// Loud: an image runs as root on every machine.
    fn refuse_unverifiable(&self, promise: &Promise) -> Result<()> {
        let known = promise.sum.is_some() || self.plan.signature.is_some();
        // What is on this machine is the admin's own; a torrent is looked at piece by piece.
        let pinned =
            self.plan.from.iter().all(|f| matches!(f, ImageAddress::Local(_) | ImageAddress::Torrent(_)));
        if self.request.no_verify {
            self.watch.note("NOT VERIFIED, as --no-verify says: nobody knows whether this image is genuine, and machines run it as root".into());
            return Ok(());
        }
        if known || pinned {
            return Ok(());
        }
        bail!(
            "nothing says that {} is genuine, and machines will run it as root: give --sum, --checksums, or --signature with --key; \
             or --no-verify to take it as it is",
            self.request.what
        )
    }

    /// The image's bytes, and what is known of them by the way that they came.
    async fn image(&self, promise: &Promise) -> Result<(PathBuf, Vec<String>)> {
        let mut last = None;
        for from in &self.plan.from {
            match self.image_from(from, promise).await {
                Ok(got) => return Ok(got),
                Err(e) if self.plan.from.len() > 1 && last.is_none() => {
                    self.watch.note(format!("{e:#}; trying its other address"))
                }
                Err(e) => return Err(e),
            }
            last = Some(());
        }
        bail!("'{}' has no address", self.request.what)
    }

    async fn image_from(&self, from: &ImageAddress, promise: &Promise) -> Result<(PathBuf, Vec<String>)> {
        match from {
            ImageAddress::Local(path) => Ok((self.local(path, promise)?, Vec::new())),
            ImageAddress::Url(url) => self.download(url).await,
            ImageAddress::Folder(url) => match &promise.file {
                Some(file) => self.download(&joined(url, file)?).await,
                None => Err(anyhow!(
                    "{url} is a folder, and no list of checksums tells the file's name: give --checksums"
                )),
            },
            ImageAddress::Torrent(what) => {
                let pattern = promise.file.as_deref().or(self.plan.pattern.as_deref());
                self.by_torrent(what, pattern).await
            }
        }
    }

    async fn download(&self, url: &str) -> Result<(PathBuf, Vec<String>)> {
        let to = self.dirs.parts.join(format!("{}.part", self.key));
        let download = Download { http: &self.http, url, to: &to, room: self.room(), watch: self.watch };
        download.run().await?;
        Ok((to, Vec::new()))
    }

    async fn by_torrent(&self, what: &str, pattern: Option<&str>) -> Result<(PathBuf, Vec<String>)> {
        let torrent = match what.starts_with("magnet:?") {
            true => What::Magnet(what.to_owned()),
            false => What::File(small(&self.http, what, MAX_TORRENT, ".torrent").await?),
        };
        let dir = self.dirs.parts.join(&self.key);
        make_dirs(&dir)?;
        let wanted = torrent::TorrentRequest { torrent, pattern, dht: self.request.dht };
        let got = torrent::download(&wanted, &dir, self.room(), self.watch).await?;
        Ok((got.path, vec![format!("piece by piece as in the torrent {}", got.infohash)]))
    }

    /// A file of this machine: in a folder the one that the list names, or the latest that fits.
    fn local(&self, path: &Path, promise: &Promise) -> Result<PathBuf> {
        if !path.is_dir() {
            return Ok(path.to_owned());
        }
        if let Some(file) = &promise.file {
            return Ok(path.join(file));
        }
        let pattern = self.plan.pattern.as_deref().unwrap_or("*.iso");
        let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let latest = names.filter(|n| glob::fits(pattern, n)).max_by(|a, b| glob::by_version(a, b));
        latest
            .map(|n| path.join(n))
            .with_context(|| format!("no file in {} is called '{pattern}'", path.display()))
    }

    /// Whether it is what was promised. What that rests on.
    async fn verify(&self, promise: &Promise, path: &Path) -> Result<Vec<String>> {
        if self.request.no_verify {
            return Ok(vec!["not verified".into()]);
        }
        let mut by = Vec::new();
        if let Some((promised, basis)) = &promise.sum {
            let sum = self.sum(promised, path).await?;
            if sum != *promised {
                let gone = if self.plan.is_local() { "" } else { "; it was deleted" };
                bail!(
                    "what came is not the image: its {} is {}, and {} {}{gone}",
                    sum.kind.as_str(),
                    sum.hex,
                    promised.hex,
                    basis.against()
                );
            }
            let signed =
                promise.signed.as_ref().map(|w| format!(", which {w} has signed")).unwrap_or_default();
            by.push(format!("{} {basis}{signed}", sum.kind.as_str()));
        }
        if let (Some((address, Signed::Image)), Some(signer)) = (&self.plan.signature, &self.plan.signer) {
            let signature = temporary(&small(&self.http, address, MAX_LIST, "signature").await?)?;
            let (signer, path, shown) = (signer.clone(), path.to_owned(), self.plan.shown());
            let checked = tokio::task::spawn_blocking(move || signer.check(&path, signature.path(), &shown));
            by.push(format!("signed by {}", checked.await.context("looking at the signature")??));
        }
        Ok(by)
    }

    /// The checksum of what came, of the same kind as the promised one.
    async fn sum(&self, promised: &Sum, path: &Path) -> Result<Sum> {
        let (file, watch, kind) = (path.to_owned(), self.watch.clone(), promised.kind);
        let total = fs::metadata(path).map(|m| m.len()).ok();
        let summed = tokio::task::spawn_blocking(move || -> Result<Sum> {
            let mut from = File::open(&file).with_context(|| format!("opening {}", file.display()))?;
            let mut seen = |done| watch.have(done, total);
            Sum::of(kind, &mut from, &mut seen).with_context(|| format!("reading {}", file.display()))
        });
        summed.await.context("summing")?
    }

    async fn add(&self, path: &Path) -> Result<Added> {
        let ask = Request {
            source: path.to_owned(),
            name: Some(self.plan.name.clone()),
            // Nothing was given anew: what was set of the version before stays.
            append: Some(self.plan.append.clone()).filter(|a| !a.is_empty()),
            replace: self.request.replace,
            take: !self.plan.is_local(),
            origin: Some(self.request.what.clone()),
            ..Request::default()
        };
        let (catalogue, shown) = (self.dirs.catalogue.clone(), self.plan.shown());
        let added = tokio::task::spawn_blocking(move || import::add(&catalogue, &ask));
        let path = path.display().to_string();
        added.await.context("adding the image")?.map_err(|e| {
            // Nobody knows the file by the name that it has here.
            let text = format!("{e:#}");
            if text.contains(&path) { anyhow!("{}", text.replace(&path, &shown)) } else { e }
        })
    }

    fn room(&self) -> FreeSpace<'_> {
        FreeSpace { dir: &self.dirs.parts, name: &self.plan.name }
    }

    /// Delete what came; what is the admin's own stays.
    fn forget(&self) {
        if !self.plan.is_local() {
            forget(&self.dirs.parts, &self.key);
        }
    }
}

/// A file of a folder, by its path in a list. The list may be of a folder above: then its own part of the path is not
/// there twice.
fn joined(folder: &str, file: &str) -> Result<String> {
    if file.split('/').any(|part| part == ".." || part.is_empty()) {
        bail!("the list of checksums names '{}', which is not a path in {folder}", file.escape_debug());
    }
    let parts: Vec<&str> = file.split('/').collect();
    let overlap = (1..parts.len()).rev().find(|n| folder.ends_with(&format!("/{}/", parts[..*n].join("/"))));
    let encoded =
        |part: &&str| part.replace('%', "%25").replace(' ', "%20").replace('?', "%3F").replace('#', "%23");
    let rest: Vec<String> = parts[overlap.unwrap_or(0)..].iter().map(encoded).collect();
    Ok(format!("{folder}{}", rest.join("/")))
}
