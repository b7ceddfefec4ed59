// SPDX-License-Identifier: GPL-3.0-or-later
//! `image fetch`: from a name, a URL, a magnet link or a .torrent to an image that is served.
//!
//! | step | module |
//! |---|---|
//! | decide what, from where, and what will say that it is genuine | [`plan`](mod@plan) |
//! | the list of checksums, and who signed it | [`sums`], [`signature`] |
//! | the image, gone on with where it was interrupted | [`http`], [`torrent`] |
//! | it is what was promised, or it goes | here |
//! | it becomes an image | [`crate::import`] |
//! | in the daemon, many of them | [`jobs`] |
//! | how it is doing | [`watch`] |

pub mod http;
pub mod jobs;
mod part;
pub mod plan;
pub mod request;
pub mod signature;
pub mod sums;
pub mod torrent;
pub mod watch;

pub use watch::Watch;

use crate::{
    catalogue::{Catalogue, room::Room},
    config::Config,
    fetch::request::{FetchRequest, FetchState},
    files::{self, make_dirs},
    import::{self, Added, Request},
    keys::{Folder, Hand},
    owner::{self, Owner},
    sources::{Folders, glob, parse::Signed},
};
use anyhow::{Context, Result, anyhow, bail};
use http::Http;
use nix::fcntl::{Flock, FlockArg};
use plan::{From, Plan};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use sums::Sum;

/// A list of checksums, a signature, a .torrent: at most so many bytes.
const MAX_LIST: usize = 1 << 20;
const MAX_TORRENT: usize = 16 << 20;
/// How often in a row a server may fail, if nobody says.
const TRIES: u32 = 8;

/// Where images are and what sources there are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The images.
    pub catalogue: Catalogue,
    /// The sources.
    pub sources: Folders,
    /// Where parts of images are until they are whole: on the catalogue's disk.
    pub parts: PathBuf,
}

impl Place {
    /// As the settings say.
    pub fn of(config: &Config) -> Place {
        let dir = &config.catalogue.dir;
        Place {
            catalogue: Catalogue::at(dir).signed_by(Hand::Later(Folder::of(config))),
            sources: Folders { dirs: config.catalogue.sources.clone() },
            parts: dir.join("fetch"),
        }
    }
}

impl Place {
    /// Where root fetches into another's catalogue, it does so in a folder of its own: what was verified stays what it
    /// is. As long as what comes back is held.
    pub fn for_root(&mut self) -> Result<Option<OwnedFd>> {
        make_dirs(&self.parts)?;
        let owner = Owner::of(&self.parts).with_context(|| format!("looking at {}", self.parts.display()))?;
        if !owner.is_other() {
            return Ok(None);
        }
        let (held, path) = owner::private(&self.parts, "root")?;
        self.parts = path;
        Ok(Some(held))
    }
}

/// Fetch, verify and add. Ends early when the watch is cancelled.
pub async fn fetch(place: &Place, request: &FetchRequest, watch: &Arc<Watch>) -> Result<Added> {
    tokio::select! {
        // First what is asked for: a cancelled one begins nothing.
        biased;
        () = watch.cancelled() => bail!("cancelled; what is here is gone on with when it is fetched again"),
        done = story(place, request, watch) => done,
    }
}

/// What is known of the image before it comes.
struct Promise {
    /// Its file's name, where a list told.
    file: Option<String>,
    /// Its sum.
    sum: Option<Sum>,
    /// Where the sum is from, for the sentence.
    by: String,
    /// Who vouches for it.
    signed: Option<String>,
}

async fn story(place: &Place, request: &FetchRequest, watch: &Arc<Watch>) -> Result<Added> {
    watch.state(FetchState::Fetching);
    let plan = plan::plan(request, &place.sources)?;
    watch.image(&plan.name);
    if !request.replace {
        place.catalogue.refuse_taken(&plan.name)?;
    }
    make_dirs(&place.parts)?;
    let key = key(&plan);
    let held = hold(&place.parts, &key, &plan)?;
    let http = Http::new(request.tries.unwrap_or(TRIES))?.verified(!request.no_verify);
    let room = Room { dir: &place.parts, name: &plan.name };
    let promise = promise(&plan, &http, request.no_verify, watch).await?;
    refuse_unverifiable(&plan, &promise, request, watch)?;
    let (path, mut by) = image(place, &plan, &promise, &key, request, &http, &room, watch).await?;
    watch.state(FetchState::Verifying);
    let verified = verify(&plan, &promise, &path, &http, request.no_verify, watch).await;
    let verified = match verified {
        Ok(verified) => verified,
        Err(e) => {
            // Gone on with, it would only be wrong again.
            if !plan.is_local() {
                forget(&place.parts, &key);
            }
            return Err(e);
        }
    };
    by.extend(verified);
    if !by.is_empty() {
        watch.verified(by.join("; "));
    }
    watch.state(FetchState::Importing);
    let added = add(place, &plan, request, &path).await?;
    if !plan.is_local() {
        forget(&place.parts, &key);
    }
    drop(held);
    Ok(added)
}

/// The checksums, and who signed them. Small files come first: what is wrong with them is said at once.
async fn promise(plan: &Plan, http: &Http, no_verify: bool, watch: &Watch) -> Result<Promise> {
    if let Some(signer) = plan.signer.as_ref().filter(|_| !no_verify) {
        signer.ready()?;
    }
    let mut promise = Promise { file: None, sum: plan.sum.clone(), by: String::new(), signed: None };
    if promise.sum.is_some() {
        promise.by = "as it was given".into();
    }
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
    let pattern = match (&plan.pattern, plan.from.iter().find_map(From::file_name)) {
        (Some(pattern), _) => pattern.clone(),
        (None, Some(name)) => name,
        (None, None) => {
            bail!("{list} is a list of checksums, and nobody says which one is the image's: give --file")
        }
    };
    let path = plan.from.first().map(From::path).unwrap_or_default();
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
    promise.by = format!("as in {list}");
    promise.sum = Some(sum);
    if promise.signed.is_none() && plan.signature.is_none() {
        watch.note(format!(
            "{list} is signed by nobody: it guards against damage, and not against who can change both it and the image"
        ));
    }
    Ok(promise)
}

/// Loud: an image runs as root on every machine.
fn refuse_unverifiable(plan: &Plan, promise: &Promise, request: &FetchRequest, watch: &Watch) -> Result<()> {
    let known = promise.sum.is_some() || plan.signature.is_some();
    // What is on this machine is the admin's own; a torrent is looked at piece by piece.
    let pinned = plan.from.iter().all(|f| matches!(f, From::Local(_) | From::Torrent(_)));
    if request.no_verify {
        watch.note("NOT VERIFIED, as --no-verify says: nobody knows whether this image is genuine, and machines run it as root".into());
        return Ok(());
    }
    if known || pinned {
        return Ok(());
    }
    bail!(
        "nothing says that {} is genuine, and machines will run it as root: give --sum, --checksums, or --signature with --key; \
         or --no-verify to take it as it is",
        request.what
    )
}

/// The image's bytes, and what is known of them by the way that they came.
#[allow(clippy::too_many_arguments)]
async fn image(
    place: &Place,
    plan: &Plan,
    promise: &Promise,
    key: &str,
    request: &FetchRequest,
    http: &Http,
    room: &Room<'_>,
    watch: &Watch,
) -> Result<(PathBuf, Vec<String>)> {
    let mut last = None;
    for from in &plan.from {
        let got = match from {
            From::Local(path) => local(path, plan, promise).map(|p| (p, Vec::new())),
            From::Url(url) => {
                let to = place.parts.join(format!("{key}.part"));
                http.download(url, &to, room, watch).await.map(|()| (to, Vec::new()))
            }
            From::Folder(url) => match &promise.file {
                Some(file) => {
                    let to = place.parts.join(format!("{key}.part"));
                    http.download(&joined(url, file)?, &to, room, watch).await.map(|()| (to, Vec::new()))
                }
                None => Err(anyhow!(
                    "{url} is a folder, and no list of checksums tells the file's name: give --checksums"
                )),
            },
            From::Torrent(what) => {
                let pattern = promise.file.as_deref().or(plan.pattern.as_deref());
                by_torrent(&place.parts.join(key), what, pattern, request.dht, http, room, watch).await
            }
        };
        match got {
            Ok(got) => return Ok(got),
            Err(e) if plan.from.len() > 1 && last.is_none() => {
                watch.note(format!("{e:#}; trying its other address"))
            }
            Err(e) => return Err(e),
        }
        last = Some(());
    }
    bail!("'{}' has no address", request.what)
}

async fn by_torrent(
    dir: &Path,
    what: &str,
    pattern: Option<&str>,
    dht: bool,
    http: &Http,
    room: &Room<'_>,
    watch: &Watch,
) -> Result<(PathBuf, Vec<String>)> {
    let torrent = match what.starts_with("magnet:?") {
        true => torrent::What::Magnet(what.to_owned()),
        false => torrent::What::File(small(http, what, MAX_TORRENT, ".torrent").await?),
    };
    make_dirs(dir)?;
    let got = torrent::download(torrent, pattern, dir, dht, room, watch).await?;
    Ok((got.path, vec![format!("piece by piece as in the torrent {}", got.infohash)]))
}

/// A file of this machine: in a folder the one that the list names, or the latest that fits.
fn local(path: &Path, plan: &Plan, promise: &Promise) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(file) = &promise.file {
        return Ok(path.join(file));
    }
    let pattern = plan.pattern.as_deref().unwrap_or("*.iso");
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let latest = names.filter(|n| glob::fits(pattern, n)).max_by(|a, b| glob::by_version(a, b));
    latest
        .map(|n| path.join(n))
        .with_context(|| format!("no file in {} is called '{pattern}'", path.display()))
}

/// Whether it is what was promised. What that rests on.
async fn verify(
    plan: &Plan,
    promise: &Promise,
    path: &Path,
    http: &Http,
    no_verify: bool,
    watch: &Arc<Watch>,
) -> Result<Vec<String>> {
    let mut by = Vec::new();
    if no_verify {
        return Ok(vec!["not verified".into()]);
    }
    if let Some(promised) = promise.sum.clone() {
        let (file, watch, kind) = (path.to_owned(), watch.clone(), promised.kind);
        let total = fs::metadata(path).map(|m| m.len()).ok();
        let summed = tokio::task::spawn_blocking(move || -> Result<Sum> {
            let mut from = File::open(&file).with_context(|| format!("opening {}", file.display()))?;
            let mut seen = |done| watch.have(done, total);
            Sum::of(kind, &mut from, &mut seen).with_context(|| format!("reading {}", file.display()))
        });
        let sum = summed.await.context("summing")??;
        if sum != promised {
            let gone = if plan.is_local() { "" } else { "; it was deleted" };
            bail!(
                "what came is not the image: its {} is {}, and {} {}{gone}",
                sum.kind.as_str(),
                sum.hex,
                promised.hex,
                if promise.by.starts_with("as in ") {
                    promise.by.replacen("as in ", "is in ", 1)
                } else {
                    "was given".into()
                },
            );
        }
        let signed = promise.signed.as_ref().map(|w| format!(", which {w} has signed")).unwrap_or_default();
        by.push(format!("{} {}{signed}", sum.kind.as_str(), promise.by));
    }
    if let (Some((address, Signed::Image)), Some(signer)) = (&plan.signature, &plan.signer) {
        let signature = temporary(&small(http, address, MAX_LIST, "signature").await?)?;
        let (signer, path, shown) = (signer.clone(), path.to_owned(), plan.shown());
        let checked = tokio::task::spawn_blocking(move || signer.check(&path, signature.path(), &shown));
        by.push(format!("signed by {}", checked.await.context("looking at the signature")??));
    }
    Ok(by)
}

async fn add(place: &Place, plan: &Plan, request: &FetchRequest, path: &Path) -> Result<Added> {
    let ask = Request {
        source: path.to_owned(),
        name: Some(plan.name.clone()),
        // Nothing was given anew: what was set of the version before stays.
        append: Some(plan.append.clone()).filter(|a| !a.is_empty()),
        replace: request.replace,
        take: !plan.is_local(),
        origin: Some(request.what.clone()),
        ..Request::default()
    };
    let (catalogue, shown) = (place.catalogue.clone(), plan.shown());
    let added = tokio::task::spawn_blocking(move || import::add(&catalogue, &ask));
    let path = path.display().to_string();
    added.await.context("adding the image")?.map_err(|e| {
        // Nobody knows the file by the name that it has here.
        let text = format!("{e:#}");
        if text.contains(&path) { anyhow!("{}", text.replace(&path, &shown)) } else { e }
    })
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

impl Plan {
    fn is_local(&self) -> bool {
        matches!(self.from.as_slice(), [From::Local(_)])
    }

    /// The image as the admin knows it.
    fn shown(&self) -> String {
        match self.from.last() {
            Some(From::Url(at) | From::Folder(at) | From::Torrent(at)) => at.clone(),
            Some(From::Local(path)) => path.display().to_string(),
            None => self.name.to_string(),
        }
    }
}

impl From {
    fn file_name(&self) -> Option<String> {
        let name = match self {
            From::Url(url) => http::file_name(url),
            From::Local(path) if !path.is_dir() => path.file_name()?.to_string_lossy().into_owned(),
            _ => return None,
        };
        Some(name).filter(|n| !n.is_empty())
    }

    /// The path at the end of its address, by which a list of checksums may name it.
    fn path(&self) -> String {
        match self {
            From::Url(url) => http::decoded(url.split(['?', '#']).next().unwrap_or_default()),
            From::Local(path) => path.display().to_string(),
            From::Folder(_) | From::Torrent(_) => String::new(),
        }
    }
}

/// A small file, from wherever it is.
async fn small(http: &Http, address: &str, limit: usize, what: &str) -> Result<Vec<u8>> {
    match address.starts_with('/') {
        true => crate::files::read_named(Path::new(address), limit, what),
        false => http.small(address, limit, what).await,
    }
}

fn temporary(bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().context("making a temporary file")?;
    file.write_all(bytes).context("writing a temporary file")?;
    Ok(file)
}

/// What a part is called: the image's name, and where it comes from.
fn key(plan: &Plan) -> String {
    let from: String = plan.from.iter().map(|f| format!("{f:?}\n")).collect();
    let hash: String = Sha256::digest(from).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hash}", plan.name)
}

/// A fetch that goes on. Dropped, nothing is left of it but what can be gone on with.
struct Held {
    _lock: Flock<File>,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Only an empty one goes.
        let _ = fs::remove_dir(self.path.with_extension(""));
    }
}

/// One at a time fetches the same.
fn hold(parts: &Path, key: &str, plan: &Plan) -> Result<Held> {
    clean(parts);
    let path = parts.join(format!("{key}.lock"));
    let lock = Flock::lock(files::lock_file(&path)?, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow!("'{}' is being fetched from there already: see `boottorrent image fetch --list`", plan.name)
    })?;
    Ok(Held { _lock: lock, path })
}

/// What was begun a month ago is of a version that is gone. Parts of torrents are in folders, whose time is that of the last
/// file in them.
fn clean(parts: &Path) {
    const OLD: Duration = Duration::from_secs(30 * 24 * 3600);
    let newest = |path: &Path| -> Option<SystemTime> {
        let own = path.symlink_metadata().and_then(|m| m.modified()).ok()?;
        let inside = fs::read_dir(path).into_iter().flatten();
        let times = inside.filter_map(|e| e.ok()?.metadata().ok()?.modified().ok());
        times.chain([own]).max()
    };
    for path in fs::read_dir(parts).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())) {
        let old = newest(&path).is_some_and(|t| t.elapsed().is_ok_and(|age| age > OLD));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of = name.strip_suffix(".part").unwrap_or(&name);
        let key = is_key(&name);
        // One at a time fetches the same, and holds its lock.
        if !old || held(&parts.join(format!("{of}.lock"))) {
            continue;
        }
        if path.extension().is_some_and(|e| e == "part") {
            let _ = fs::remove_file(part::beside(&path));
            let _ = fs::remove_file(path);
        } else if key && path.is_dir() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Whether a name is one that [`key`] makes.
fn is_key(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(_, sum)| sum.len() == 16 && sum.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether somebody holds this lock.
fn held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
}

fn forget(parts: &Path, key: &str) {
    let part = parts.join(format!("{key}.part"));
    // What is not there need not go.
    let _ = fs::remove_file(part::beside(&part));
    let _ = fs::remove_file(part);
    let _ = fs::remove_dir_all(parts.join(key));
}

#[cfg(test)]
mod cleaning {
    use super::*;
    use std::fs::FileTimes;

    #[test]
    fn what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let age = |path: &Path, days: u64| {
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        for (name, days) in [
            ("old-0123456789abcdef", 40),
            ("new-0123456789abcdef", 1),
            ("held-1.2-0123456789abcdef", 40),
            ("mine", 40),
        ] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("x.iso"), "").unwrap();
            age(&at(name).join("x.iso"), days);
            age(&at(name), days);
            fs::write(at(&format!("{name}.part")), "").unwrap();
            age(&at(&format!("{name}.part")), days);
        }
        let lock = File::create(at("held-1.2-0123456789abcdef.lock")).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
        clean(dir.path());
        let left = |name: &str| (at(name).exists(), at(&format!("{name}.part")).exists());
        assert_eq!(left("old-0123456789abcdef"), (false, false));
        assert_eq!(
            (left("new-0123456789abcdef"), left("held-1.2-0123456789abcdef")),
            ((true, true), (true, true))
        );
        assert_eq!(left("mine"), (true, false), "a folder of somebody else's");
    }
}
