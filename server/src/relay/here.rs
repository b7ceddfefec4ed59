// SPDX-License-Identifier: GPL-3.0-or-later
//! What a relay knows of the first server, and what it has for it. The last snapshot is on the disk, as are boots for one
//! time of which the first server does not know yet: after a restart without it everything goes on.

use super::{
    queue::Queue,
    told::{OnceDone, Snapshot, Word},
};
use crate::{
    catalogue::{Catalogue, entries::EntriesFolder},
    config::{Config, Upstream},
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

impl UpstreamRow {
    /// What everybody may know: not where the first server is, nor what is wrong in which folder.
    pub fn for_everybody(self) -> UpstreamRow {
        UpstreamRow { url: String::new(), trouble: None, ..self }
    }
}

/// See the module's text.
pub struct Here {
    /// The first server.
    pub url: Url,
    dir: PathBuf,
    inner: Mutex<Inner>,
    /// One writes after the other, so that the last list is on the disk.
    saving: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    snapshot: Option<Arc<Snapshot>>,
    queue: Queue,
    /// What the first server answered machines, and whether that was to one that was going.
    orders: HashMap<String, (order::Answer, bool)>,
    done: Vec<Done>,
    /// Of the next one.
    number: u64,
    answered: Option<Instant>,
    trouble: BTreeMap<&'static str, String>,
    missing: Vec<String>,
    wanted: BTreeSet<InfoHash>,
}

/// A boot for one time that has happened here.
struct Done {
    /// The same may happen twice.
    number: u64,
    done: OnceDone,
    /// Whether the first server knows.
    known: bool,
}

impl Inner {
    fn happened(&mut self, done: OnceDone) {
        self.number += 1;
        self.done.push(Done { number: self.number, done, known: false });
    }
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
            Ok(done) => done.unwrap_or_default().into_iter().for_each(|done| inner.happened(done)),
            Err(e) => tracing::warn!("boots for one time may happen again: {e:#}"),
        }
        if relay_of(&dir).is_none() {
            refuse_own(&dir)?;
        }
        Ok(Some(Here { url, dir, inner: Mutex::new(inner), saving: Mutex::default() }))
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
        self.inner().done.iter().for_each(|d| d.done.apply(&mut hosts));
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

    /// What so many machines have said that it should know now, and the boots for one time, by number.
    pub fn take(&self, machines: usize) -> (Vec<Word>, Vec<(u64, OnceDone)>) {
        let mut inner = self.inner();
        let done = inner.done.iter().filter(|d| !d.known).map(|d| (d.number, d.done.clone())).collect();
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
        self.inner().happened(done);
        self.save_done()
    }

    /// The first server knows of these. They count here until its next snapshot.
    pub fn known(&self, numbers: &[u64]) {
        self.inner().done.iter_mut().filter(|d| numbers.contains(&d.number)).for_each(|d| d.known = true);
    }

    /// Those that it knows of by now.
    pub fn known_so_far(&self) -> Vec<u64> {
        self.inner().done.iter().filter(|d| d.known).map(|d| d.number).collect()
    }

    /// A snapshot has come that was asked for when the first server knew of these: it is without them.
    pub fn forget(&self, numbers: &[u64]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.inner().done.retain(|d| !numbers.contains(&d.number));
        self.save_done()
    }

    fn save_done(&self) -> Result<()> {
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let done: Vec<OnceDone> = self.inner().done.iter().map(|d| d.done.clone()).collect();
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

/// The same, or the one that the settings name.
pub fn relay_of_config(config: &Config) -> Option<String> {
    config.upstream.url.clone().or_else(|| relay_of(&config.catalogue.dir))
}

/// This server is not a relay, or no longer.
pub fn unmark(catalogue: &Path) {
    let _ = files::remove(&catalogue.join(MARK));
}

/// Why a list is not shown here.
pub fn listed_elsewhere(url: &str) -> String {
    format!("this is a relay of {url}, which does not have this list: see it on that server")
}

/// From now on this catalogue is a first server's: what it has stays, and what was known of the other server is deleted. The
/// last snapshot of that one.
pub fn promote(catalogue: &Path) -> Result<Option<Snapshot>> {
    let snapshot = load::<Snapshot>(&catalogue.join(SNAPSHOT), MAX_SNAPSHOT)?;
    // The mark last: if this is cut off, the same command ends it.
    for path in [SNAPSHOT, DONE, MARK].map(|file| catalogue.join(file)) {
        if path.exists() {
            files::remove(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(snapshot)
}

/// Why nothing is changed here.
pub fn refusal(url: &str) -> String {
    format!("this is a relay of {url}, which takes no changes: make them on that server")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_boot_for_one_time_counts_until_a_snapshot_is_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Upstream { url: Some("https://10.0.0.1:6982".into()), ..Upstream::default() };
        let here = Here::of(&upstream, dir.path()).unwrap().unwrap();
        let done = |mac: &str| OnceDone { key: mac.parse().unwrap(), image: "exam".parse().unwrap() };
        let (a, b) = (done("52:54:00:00:00:01"), done("52:54:00:00:00:02"));
        here.once(a.clone()).unwrap();
        here.once(b.clone()).unwrap();
        let left = |here: &Here| here.take(1).1.into_iter().map(|(_, d)| d).collect::<Vec<_>>();
        let numbers: Vec<u64> = here.take(1).1.into_iter().map(|(n, _)| n).collect();
        // The first server knows of b; while it is asked for a snapshot, it hears of a.
        here.known(&numbers[1..]);
        let known = here.known_so_far();
        here.known(&numbers[..1]);
        here.forget(&known).unwrap();
        // That snapshot may still have a.
        let saved: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join(DONE)).unwrap()).unwrap();
        assert_eq!(saved, json!([a]));
        assert!(left(&here).is_empty(), "the first server knows of both");
        // After a restart it is told once more.
        here.mark().unwrap();
        assert_eq!(left(&Here::of(&upstream, dir.path()).unwrap().unwrap()), [a]);
    }
}
