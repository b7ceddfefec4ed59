// SPDX-License-Identifier: GPL-3.0-or-later
//! What is small: settings, what is said of machines, the menu's users, entries, files for machines.

use crate::{
    catalogue::entries::{EntriesFolder, EntryFiles},
    keys::Folder,
    menu_users,
    relay::{
        Here,
        client::First,
        told::{EntryCopy, Snapshot},
    },
    state::ServerState,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bootspec::{Sha256Sum, cmdline::check_append, layer::MAX_LAYER, text::count};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// In an entry's folder: what the copy was made of.
const NOTE: &str = "copy.json";
const MAX_NOTE: u64 = 256 << 10;

/// Where files are on their way into the catalogue.
pub fn work_dir(state: &ServerState) -> PathBuf {
    state.config().catalogue.dir.join("relay")
}

/// Refuse what would make machines believe less here than at the first server, or could become a command of their boot
/// loaders.
pub fn check(state: &ServerState, snapshot: &Snapshot) -> Result<()> {
    check_append(&snapshot.boot.append)
        .map_err(|why| anyhow!("the first server's kernel parameters: {why}"))?;
    let folder = Folder::of(&state.config());
    let own: Vec<String> = folder.public()?.iter().map(|k| k.id.to_string()).collect();
    let lacking: Vec<&str> = snapshot.keys.iter().filter(|k| !own.contains(k)).map(String::as_str).collect();
    ensure!(
        lacking.is_empty(),
        "machines that boot from the first server believe {} that this relay does not have ({}): copy /etc/boottorrent/keys/*.pub \
         from there into {}",
        count(lacking.len(), "key"),
        lacking.join(", "),
        folder.dir.display()
    );
    Ok(())
}

/// Write down what is said of machines, and who may start what the menu locks. Blocks.
pub fn take_over(state: &ServerState, here: &Here, snapshot: &Snapshot) -> Result<()> {
    state.store.change(|now| {
        // With the lock: a boot for one time that happens now is taken out before, or by whoever has the lock next.
        *now = here.hosts(snapshot);
        Ok(())
    })?;
    menu_users::take_over(&state.config().catalogue.dir, &snapshot.users)
}

/// Fetch files for machines, and entries. One that cannot be had does not keep the others away. Errors: the first of them.
pub async fn fetch(first: &First, state: &ServerState, snapshot: &Snapshot) -> Result<()> {
    let mut trouble = None;
    for (sum, signature) in &snapshot.layers {
        let signed = Some(signature.as_bytes()).filter(|s| !s.is_empty());
        if let Err(e) = fetch_layer(first, state, *sum, signed).await {
            trouble.get_or_insert(e);
        }
    }
    let folder = EntriesFolder::at(&state.config().catalogue.dir);
    for (name, _) in folder.load().0.iter().filter(|(n, _)| snapshot.entries.iter().all(|e| e.name != *n)) {
        folder.remove(name)?;
        tracing::info!("entry {name} is removed, as on the first server");
    }
    for entry in &snapshot.entries {
        if note(&folder, entry).as_ref() != Some(entry)
            && let Err(e) = fetch_entry(first, &folder, entry, &work_dir(state)).await
        {
            trouble.get_or_insert(e.context(format!("entry '{}' is not here", entry.name)));
        }
    }
    trouble.map_or(Ok(()), Err)
}

async fn fetch_layer(
    first: &First,
    state: &ServerState,
    sum: Sha256Sum,
    signed: Option<&[u8]>,
) -> Result<()> {
    let layers = state.disk().layers;
    if layers.path(sum).exists() && layers.signature(sum)?.as_deref() == signed {
        return Ok(());
    }
    let bytes = first.small(&format!("/files/{sum}"), MAX_LAYER).await?;
    ensure!(sum_of(&bytes) == sum, "the first server has sent other files than {sum}: they are not served");
    layers.keep(&bytes, signed).map(drop)
}

fn sum_of(bytes: &[u8]) -> Sha256Sum {
    use sha2::{Digest, Sha256};
    Sha256Sum(Sha256::digest(bytes).into())
}

/// What the copy of an entry was made of that is here.
fn note(folder: &EntriesFolder, entry: &EntryCopy) -> Option<EntryCopy> {
    let mut bytes = Vec::new();
    folder.open(&entry.name, NOTE).ok()?.take(MAX_NOTE).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

async fn fetch_entry(first: &First, folder: &EntriesFolder, copy: &EntryCopy, work: &Path) -> Result<()> {
    let (name, mut files) = (&copy.name, EntryFiles::new());
    copy.entry.check().with_context(|| format!("entry '{name}' of the first server"))?;
    fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
    let at = |file: &str| work.join(format!("{name}.{file}"));
    for file in copy.entry.files() {
        let Some(tag) = copy.files.get(&file) else {
            bail!("entry '{name}' of the first server lacks {file}")
        };
        let to = at(&file);
        first.file(&format!("/entries/{name}/{file}"), tag.size, &to).await?;
        files.push((file, to));
    }
    let to = at(NOTE);
    let json = serde_json::to_vec(copy).context("writing JSON")?;
    fs::write(&to, json).with_context(|| format!("writing {}", to.display()))?;
    files.push((NOTE.to_owned(), to));
    let added = folder.add(name, &copy.entry, &files, true);
    files.iter().for_each(|(_, path)| drop(fs::remove_file(path)));
    added?;
    tracing::info!("entry {name} is here");
    Ok(())
}
