// SPDX-License-Identifier: GPL-3.0-or-later
//! What a relay knows of the first server, and what it has for it. The last snapshot is on the disk, as are boots for one
//! time of which the first server does not know yet: after a restart without it everything goes on.

use super::{
    queue::Queue,
    told::{OnceDone, Snapshot, Word},
};
use crate::{
    catalogue::{Catalogue, entries::EntriesFolder},
    config::Upstream,
    files,
    hosts::{Hosts, HostsFile},
};
use anyhow::{Context, Result, ensure};
use bootspec::{InfoHash, order, text::count};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::told::MAX_SNAPSHOT;

/// The files, in the catalogue's folder.
const SNAPSHOT: &str = "relay.json";
const DONE: &str = "relay-done.json";
/// The mark for commands that change things: what is in this catalogue is another server's.
const MARK: &str = "relay-of";
const MAX_DONE: usize = 8 << 20;
/// So long the first server counts as there since it has last answered.
const THERE: Duration = Duration::from_secs(10);

/// How a relay and its first server are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamRow {
    /// The first server.
    pub url: String,
    /// Whether it answers.
    pub up: bool,
    /// Seconds since it has answered; none: not since the relay started.
    pub age: Option<f64>,
    /// What is wrong.
    pub trouble: Option<String>,
    /// Images that are not here yet, or for which there is no space.
    pub missing: Vec<String>,
}

/// See the module's text.
pub struct Here {
    /// The first server.
    pub url: Url,
    dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    snapshot: Option<Arc<Snapshot>>,
    queue: Queue,
    /// What the first server answered machines, and whether that was to one that was going.
    orders: HashMap<String, (order::Answer, bool)>,
    /// Boots for one time, and whether the first server knows.
    done: Vec<(OnceDone, bool)>,
    answered: Option<Instant>,
    trouble: BTreeMap<&'static str, String>,
    missing: Vec<String>,
    wanted: BTreeSet<InfoHash>,
}

impl Here {
    /// A relay, if the settings say so.
    pub fn of(upstream: &Upstream, catalogue: &Path) -> Result<Option<Here>> {
        let Some(text) = &upstream.url else { return Ok(None) };
        let url: Url = text.parse().ok().filter(|u: &Url| u.has_host()).with_context(|| {
            format!("'{text}' is not a valid address of a first server: write https://HOST:6982")
        })?;
        let dir = catalogue.to_owned();
        let mut inner = Inner::default();
        match load::<Snapshot>(&dir.join(SNAPSHOT), MAX_SNAPSHOT) {
            Ok(snapshot) => inner.snapshot = snapshot.map(Arc::new),
            Err(e) => tracing::warn!("what the first server said before is forgotten: {e:#}"),
        }
        match load::<Vec<OnceDone>>(&dir.join(DONE), MAX_DONE) {
            Ok(done) => inner.done = done.unwrap_or_default().into_iter().map(|d| (d, false)).collect(),
            Err(e) => tracing::warn!("boots for one time may happen again: {e:#}"),
        }
        if relay_of(&dir).is_none() {
            refuse_own(&dir)?;
        }
        Ok(Some(Here { url, dir, inner: Mutex::new(inner) }))
    }

    /// From now on what is in the catalogue is the first server's.
    pub fn mark(&self) -> Result<()> {
        files::make_dirs(&self.dir)?;
        files::replace(&self.dir.join(MARK), format!("{}\n", self.url).as_bytes(), 0o644)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the first server has said last.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.inner().snapshot.clone()
    }

    /// It has said this. Blocks.
    pub fn set_snapshot(&self, snapshot: Snapshot) -> Result<Arc<Snapshot>> {
        let bytes = serde_json::to_vec(&snapshot).context("writing JSON")?;
        // The menu's passwords are in it.
        files::replace(&self.dir.join(SNAPSHOT), &bytes, 0o600)?;
        let snapshot = Arc::new(snapshot);
        self.inner().snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// What is said of machines: by the first server, without the boots for one time that have happened since.
    pub fn hosts(&self, snapshot: &Snapshot) -> Hosts {
        let mut hosts = snapshot.hosts.clone();
        self.inner().done.iter().for_each(|(done, _)| done.apply(&mut hosts));
        hosts
    }

    /// Where machines ask the first server: `HOST:PORT`.
    pub fn first(&self) -> String {
        let port = self.snapshot().map_or(bootspec::HTTP_PORT, |s| s.http);
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// Whether the first server answers.
    pub fn is_up(&self) -> bool {
        self.inner().answered.is_some_and(|at| at.elapsed() < THERE)
    }

    /// It has answered.
    pub fn answered(&self) {
        self.inner().answered = Some(Instant::now());
    }

    /// What is wrong with a part of the work, or no longer. Whether that is new.
    pub fn trouble(&self, part: &'static str, what: Option<String>) -> bool {
        let mut inner = self.inner();
        let new = inner.trouble.get(part) != what.as_ref();
        match what {
            Some(what) => drop(inner.trouble.insert(part, what)),
            None => drop(inner.trouble.remove(part)),
        }
        new
    }

    /// Images that are not here.
    pub fn set_missing(&self, missing: Vec<String>) {
        self.inner().missing = missing;
    }

    /// A machine wants to boot an image that is not here.
    pub fn want(&self, infohash: InfoHash) {
        self.inner().wanted.insert(infohash);
    }

    /// Whether a machine wants it. It does so once.
    pub fn is_wanted(&self, infohash: InfoHash) -> bool {
        self.inner().wanted.contains(&infohash)
    }

    /// It is here.
    pub fn has(&self, infohash: InfoHash) {
        self.inner().wanted.remove(&infohash);
    }

    /// How it is, for people.
    pub fn row(&self) -> UpstreamRow {
        let inner = self.inner();
        let age = inner.answered.map(|at| at.elapsed());
        UpstreamRow {
            url: self.url.to_string(),
            up: age.is_some_and(|age| age < THERE),
            age: age.map(|age| age.as_secs_f64()),
            trouble: inner.trouble.values().next().cloned(),
            missing: inner.missing.clone(),
        }
    }

    /// A machine has said something that the first server should know.
    pub fn heard(&self, word: Word) {
        self.inner().queue.push(word);
    }

    /// What so many machines have said that it should know now, and the boots for one time.
    pub fn take(&self, machines: usize) -> (Vec<Word>, Vec<OnceDone>) {
        let mut inner = self.inner();
        let done = inner.done.iter().filter(|(_, known)| !known).map(|(d, _)| d.clone()).collect();
        (inner.queue.take(machines), done)
    }

    /// Whether there is more to tell.
    pub fn has_more(&self) -> bool {
        !self.inner().queue.is_empty()
    }

    /// It did not arrive.
    pub fn put_back(&self, words: Vec<Word>) {
        self.inner().queue.put_back(words);
    }

    /// What machines are to do that have reported, and which of them were going.
    pub fn set_orders(&self, going: &BTreeSet<String>, orders: BTreeMap<String, order::Answer>) {
        let orders = orders.into_iter().map(|(id, answer)| (id.clone(), (answer, going.contains(&id))));
        self.inner().orders.extend(orders);
    }

    /// What a machine is to do, if the first server has said so. One that is going needs its word for that.
    pub fn order(&self, id: &str, going: bool) -> Option<order::Answer> {
        let known = self.inner().orders.get(id).cloned();
        known.filter(|(_, to_going)| *to_going || !going).map(|(answer, _)| answer)
    }

    /// A boot for one time has happened here. Blocks.
    pub fn once(&self, done: OnceDone) -> Result<()> {
        self.inner().done.push((done, false));
        self.save_done()
    }

    /// The first server knows of these. They count here until its next snapshot.
    pub fn known(&self, done: &[OnceDone]) {
        self.inner().done.iter_mut().filter(|(d, _)| done.contains(d)).for_each(|(_, known)| *known = true);
    }

    /// How many boots for one time the first server knew when it was asked for a snapshot: that one is without them.
    pub fn forget_known(&self, many: usize) -> Result<()> {
        if many == 0 {
            return Ok(());
        }
        let mut left = many;
        self.inner().done.retain(|(_, known)| {
            let goes = *known && left > 0;
            left -= usize::from(goes);
            !goes
        });
        self.save_done()
    }

    /// See [`Here::forget_known`].
    pub fn known_count(&self) -> usize {
        self.inner().done.iter().filter(|(_, known)| *known).count()
    }

    fn save_done(&self) -> Result<()> {
        let done: Vec<OnceDone> = self.inner().done.iter().map(|(d, _)| d.clone()).collect();
        let bytes = serde_json::to_vec(&done).context("writing JSON")?;
        files::replace(&self.dir.join(DONE), &bytes, 0o600)
    }
}

fn load<T: serde::de::DeserializeOwned>(path: &Path, max: usize) -> Result<Option<T>> {
    let Some(bytes) = files::find(path, max, "list of a relay")? else { return Ok(None) };
    let read = serde_json::from_slice(&bytes);
    read.map(Some).with_context(|| format!("reading {} (it can be deleted)", path.display()))
}

/// A relay has what the first server has, and nothing else: what others made would be removed.
fn refuse_own(dir: &Path) -> Result<()> {
    let images = Catalogue::at(dir).names()?;
    let entries = EntriesFolder::at(dir).load().0;
    let hosts = HostsFile::at(dir).load()?.entries;
    ensure!(
        images.is_empty() && entries.is_empty() && hosts.is_empty(),
        "{} has {}, {} and {} machines and groups of its own, which a relay would remove: give it another folder with \
         dir = in [catalogue] of server.toml, or remove them first",
        dir.display(),
        count(images.len(), "image"),
        match entries.len() {
            1 => "1 entry".to_owned(),
            n => format!("{n} entries"),
        },
        hosts.len()
    );
    Ok(())
}

/// The first server whose relay has this catalogue, if it is a relay's.
pub fn relay_of(catalogue: &Path) -> Option<String> {
    let text = files::find_text(&catalogue.join(MARK), 4096, "address").ok()??;
    Some(text.trim().to_owned()).filter(|url| !url.is_empty())
}

/// This server is not a relay, or no longer.
pub fn unmark(catalogue: &Path) {
    let _ = files::remove(&catalogue.join(MARK));
}

/// Why nothing is changed here.
pub fn refusal(url: &str) -> String {
    format!("this is a relay of {url}, which takes no changes: make them on that server")
}
