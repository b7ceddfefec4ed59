// SPDX-License-Identifier: GPL-3.0-or-later
//! Writing what was planned, and taking back exactly what was written: a
//! record in the state folder says which files are ours and what was in them.

use super::plan::{Content, PlannedFile, SetupPlan};
use crate::{
    files::{self, Put, Whose},
    tool::Tool,
};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The record's file name, in the state folder.
pub const RECORD: &str = "setup.toml";
/// A line for each file.
const MAX_RECORD: u64 = 1 << 20;

/// What we have written: the SHA-256 of each file, and the folders that we made.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// By path.
    pub files: BTreeMap<PathBuf, String>,
    /// In the order in which they were made.
    pub folders: Vec<PathBuf>,
    /// Folders that belong to us with all that is in them.
    #[serde(default)]
    pub filled: Vec<PathBuf>,
}

impl Record {
    /// Read the record; empty when nothing was written.
    pub fn read(state: &Path) -> Result<Record> {
        let path = state.join(RECORD);
        // A link could lead to a file that is root's and says something else.
        let how = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        match fs::OpenOptions::new().read(true).custom_flags(how).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            file => {
                let reading = || format!("reading {}", path.display());
                let file = file.with_context(reading)?;
                let owner = file.metadata().with_context(reading)?.uid();
                let mut text = String::new();
                file.take(MAX_RECORD).read_to_string(&mut text).with_context(reading)?;
                // The folder may be the daemon's, which talks to the network: it must not choose what root deletes.
                if owner != nix::unistd::geteuid().as_raw() {
                    bail!(
                        "{} is another user's: run this as the user who ran `boottorrent setup --write` (root)",
                        path.display()
                    );
                }
                toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
            }
        }
    }

    fn write(&self, state: &Path) -> Result<()> {
        let path = state.join(RECORD);
        if *self == Record::default() {
            return gone(fs::remove_file(&path)).with_context(|| format!("deleting {}", path.display()));
        }
        let text = toml::to_string(self).context("writing the record as TOML")?;
        put(&path, &Content::Text(String::new()), text.as_bytes(), &mut Vec::new())
    }
}

/// Refuse a plan with which dnsmasq would not start: our files alone, and with all that is there.
pub fn check(plan: &SetupPlan, dnsmasq_dir: &Path, others: &[PathBuf]) -> Result<()> {
    let scratch = tempfile::tempdir().context("creating a temporary folder")?;
    let (alone, all) = (scratch.path().join("alone"), scratch.path().join("all"));
    for dir in [&alone, &all] {
        fs::create_dir(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let mut confs = Vec::new();
    for item in plan.items.iter().filter(|i| i.path.parent() == Some(dnsmasq_dir)) {
        let name = item.path.file_name().context("a conf without a name")?;
        let bytes = item.bytes().with_context(|| format!("reading for {}", item.path.display()))?;
        for dir in [&alone, &all] {
            fs::write(dir.join(name), &bytes).context("writing into the temporary folder")?;
        }
        confs.push(alone.join(name));
    }
    for conf in &confs {
        test(&[format!("--conf-file={}", conf.display())])?;
    }
    for other in others {
        let name = other.file_name().context("a conf without a name")?;
        // dnsmasq.conf stands beside the folder, and is read like the others.
        fs::copy(other, all.join(name)).with_context(|| format!("copying {}", other.display()))?;
    }
    test(&["--conf-file=/dev/null".into(), format!("--conf-dir={}", all.display())])
        .context("dnsmasq would not start with this beside what is there already")
}

fn test(args: &[String]) -> Result<()> {
    Tool::new("dnsmasq", "dnsmasq").arg("--test").args(args).run(&mut || ())
}

/// Write the plan. Files of ours that are no longer in it go away; files of others are not touched.
pub fn write(plan: &SetupPlan, state: &Path) -> Result<()> {
    let mut record = Record::read(state)?;
    let bytes =
        |item: &PlannedFile| item.bytes().with_context(|| format!("reading for {}", item.path.display()));
    let plain = || plan.items.iter().filter(|i| i.content != Content::Folder);
    for item in plain() {
        let Ok(there) = read(&item.path) else { continue };
        match record.files.get(&item.path) {
            _ if there == bytes(item)? => {}
            None => bail!("{} is there and is not ours: move it away first", item.path.display()),
            Some(hash) if *hash != sha256(&there) => {
                bail!("{} was changed since `setup` wrote it: move it away first", item.path.display())
            }
            Some(_) => {}
        }
    }
    fs::create_dir_all(state).with_context(|| format!("creating {}", state.display()))?;
    for item in plain() {
        let bytes = bytes(item)?;
        // The record first: whatever happens, `--remove` knows the file.
        let before = record.files.insert(item.path.clone(), sha256(&bytes));
        if before.is_none() {
            record.write(state)?;
        }
        put(&item.path, &item.content, &bytes, &mut record.folders)?;
        record.write(state)?;
    }
    let planned = |p: &Path| plan.items.iter().any(|i| i.path == p);
    for item in plan.items.iter().filter(|i| i.content == Content::Folder && !i.path.is_dir()) {
        record.filled.push(item.path.clone());
        record.write(state)?;
        // The daemon's, as the folder is that it is in.
        files::make_dirs(&item.path)?;
    }
    let (kept, left) = std::mem::take(&mut record.filled).into_iter().partition(|p| planned(p));
    record.filled = kept;
    empty(left)?;
    let stale: Vec<_> = record.files.keys().filter(|p| !planned(p)).cloned().collect();
    for path in stale {
        gone(fs::remove_file(&path)).with_context(|| format!("deleting {}", path.display()))?;
        record.files.remove(&path);
    }
    record.write(state)
}

/// What [`remove`] did with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone(PathBuf),
    /// Somebody has changed it since: it stays.
    Changed(PathBuf),
}

/// Take back what [`write()`] has written.
pub fn remove(state: &Path) -> Result<Vec<Removed>> {
    let mut record = Record::read(state)?;
    let mut done = Vec::new();
    for (path, hash) in std::mem::take(&mut record.files) {
        match read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(bytes) if sha256(&bytes) != hash => done.push(Removed::Changed(path)),
            read => {
                read.with_context(|| format!("reading {}", path.display()))?;
                fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
                done.push(Removed::Gone(path));
            }
        }
    }
    empty(record.filled.drain(..).collect())?;
    for folder in record.folders.drain(..).rev() {
        // Not empty: somebody else uses it now.
        let _ = fs::remove_dir(folder);
    }
    record.write(state)?;
    Ok(done)
}

/// What is in a file; of a link, where it leads.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read_link(path) {
        Ok(to) => Ok(to.into_os_string().into_encoded_bytes()),
        Err(_) => fs::read(path),
    }
}

/// Folders of the daemon are emptied as the daemon.
fn empty(folders: Vec<PathBuf>) -> Result<()> {
    folders.iter().try_for_each(|f| {
        let _acting = files::acting(f)?;
        gone(fs::remove_dir_all(f)).with_context(|| format!("deleting {}", f.display()))
    })
}

/// Write beside, sync, rename; world-readable, as dnsmasq drops its rights. New folders are added to `made`.
fn put(path: &Path, content: &Content, bytes: &[u8], made: &mut Vec<PathBuf>) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    let missing: Vec<_> = folder.ancestors().take_while(|a| !a.exists()).map(Path::to_owned).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))
            .with_context(|| format!("chmod {}", folder.display()))?;
        made.push(folder);
    }
    if let Content::Link(to) = content {
        let scratch =
            tempfile::tempdir_in(folder).with_context(|| format!("writing to {}", folder.display()))?;
        let link = scratch.path().join("link");
        let linked = std::os::unix::fs::symlink(to, &link).and_then(|()| fs::rename(&link, path));
        return linked.with_context(|| format!("linking {}", path.display()));
    }
    // dnsmasq does not read names that begin with a dot.
    files::put(path, bytes, &Put { mode: 0o644, beside: None, replace: true, whose: Whose::Ours })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn gone(deleted: io::Result<()>) -> io::Result<()> {
    match deleted {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    }
}
