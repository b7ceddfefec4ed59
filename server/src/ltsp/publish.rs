// SPDX-License-Identifier: GPL-3.0-or-later
//! Publishing LTSP's images, and telling its menu.

use super::{Site, menu, wishes::Wish};
use crate::{files::replace_text, import};
use anyhow::{Context, Result, bail};
use bootspec::{ImageManifest, ImageName, InfoHash, manifest::Kind};
use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What of an image is published.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// The file as it is.
    Current(ImageManifest),
    /// An earlier version of it.
    Older(ImageManifest),
    /// Nothing.
    Not,
}

impl Published {
    /// The manifest, if there is one.
    pub fn manifest(&self) -> Option<&ImageManifest> {
        match self {
            Published::Current(m) | Published::Older(m) => Some(m),
            Published::Not => None,
        }
    }
}

/// LTSP's images by name, and files whose name cannot be taken.
pub fn images(site: &Site) -> Result<(BTreeMap<ImageName, PathBuf>, Vec<String>)> {
    let folder = site.base.join("images");
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries.with_context(|| format!("reading {}", folder.display()))?,
    };
    let (mut images, mut odd) = (BTreeMap::new(), Vec::new());
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = file.strip_suffix(".img").filter(|_| path.is_file()) else { continue };
        match name.parse() {
            Ok(name) => drop(images.insert(name, path)),
            Err(e) => odd.push(format!("{}: {e}", path.display())),
        }
    }
    Ok((images, odd))
}

/// What of an image is published.
pub fn published(site: &Site, name: &ImageName, file: &Path) -> Result<Published> {
    if !site.catalogue.dir(name).exists() {
        return Ok(Published::Not);
    }
    let manifest = site.catalogue.manifest(name)?;
    if manifest.kind != Kind::Ltsp {
        return Ok(Published::Not);
    }
    let meta = |path: &Path| fs::metadata(path).with_context(|| format!("asking for {}", path.display()));
    let payload = meta(&site.catalogue.dir(name).join(crate::catalogue::PAYLOAD))?;
    let added = humantime::parse_rfc3339(&manifest.added).unwrap_or(UNIX_EPOCH);
    match is_current(&meta(file)?, &payload, added) {
        true => Ok(Published::Current(manifest)),
        false => Ok(Published::Older(manifest)),
    }
}

/// Whether a published payload is what is in the file now.
fn is_current(file: &Metadata, payload: &Metadata, added: SystemTime) -> bool {
    if (file.dev(), file.ino()) == (payload.dev(), payload.ino()) {
        // One file under two names: somebody may have written into it.
        let added = added.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        return u64::try_from(file.mtime()).is_ok_and(|t| t <= added);
    }
    (file.len(), file.mtime(), file.mtime_nsec()) == (payload.len(), payload.mtime(), payload.mtime_nsec())
}

/// Publish those of `wanted` that are not, or not as they are now. Says what it does.
pub fn publish(site: &Site, wanted: &BTreeMap<ImageName, PathBuf>) -> Result<()> {
    for (name, file) in wanted {
        let before = published(site, name, file)?;
        if let Published::Current(m) = &before {
            println!("Published already: {} ({})", file.display(), m.infohash);
            continue;
        }
        let (manifest, sealed) = import::ltsp::add(&site.catalogue, name, file)?;
        println!("Published {} for the swarm ({})", file.display(), manifest.infohash);
        sealed.told().into_iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Of the sources that an applet of LTSP was called with, those that are images; all of them without any.
pub fn of_sources(site: &Site, sources: &[String]) -> Result<BTreeMap<ImageName, PathBuf>> {
    let (all, odd) = images(site)?;
    let wishes = site.wishes()?;
    let named = |name: &ImageName, file: &PathBuf| {
        sources.is_empty() || sources.iter().any(|s| is_source(s, name, file, &site.base))
    };
    for why in odd.iter().filter(|o| sources.is_empty() || sources.iter().any(|s| o.contains(s.as_str()))) {
        eprintln!("BootTorrent cannot publish {why}");
    }
    Ok(all.into_iter().filter(|(n, f)| named(n, f) && wishes.publishes(n)).collect())
}

/// Whether an img_src of LTSP (55-images.sh) means this image: a path, or a name that is not a chroot's.
fn is_source(source: &str, name: &ImageName, file: &Path, base: &Path) -> bool {
    let source = source.split(',').next().unwrap_or_default();
    if source.starts_with(['/', '.']) {
        let real = |p: &Path| p.canonicalize().ok();
        return real(Path::new(source)).is_some_and(|s| Some(s) == real(file));
    }
    let hidden = base.join(source).join("proc").is_dir() || base.join(format!("{source}.img")).is_file();
    source == name.as_str() && !hidden
}

/// The images that were named, or all there are.
pub fn choose(site: &Site, names: &[ImageName]) -> Result<BTreeMap<ImageName, PathBuf>> {
    let (mut all, odd) = images(site)?;
    let folder = site.base.join("images");
    if names.is_empty() {
        odd.iter().for_each(|why| eprintln!("BootTorrent cannot publish {why}"));
        if all.is_empty() {
            bail!("there are no images in {}: make one with `ltsp image`", folder.display());
        }
        return Ok(all);
    }
    let mut chosen = BTreeMap::new();
    for name in names {
        let Some(file) = all.remove(name) else {
            bail!("there is no {}/{name}.img: make it with `ltsp image {name}`", folder.display());
        };
        chosen.insert(name.clone(), file);
    }
    Ok(chosen)
}

/// Withdraw an image. Machines that run it have all of it; those that load it have it for a while yet.
pub fn withdraw(site: &Site, name: &ImageName) -> Result<()> {
    let ours = site.catalogue.dir(name).exists() && site.catalogue.manifest(name)?.kind == Kind::Ltsp;
    if ours { site.catalogue.remove(name) } else { Ok(()) }
}

/// All images of LTSP that are published, whether their files are still there or not.
pub fn all_published(site: &Site) -> Result<BTreeMap<ImageName, InfoHash>> {
    let mut all = BTreeMap::new();
    for name in site.catalogue.names()? {
        let manifest = site.catalogue.manifest(&name)?;
        if manifest.kind == Kind::Ltsp {
            all.insert(name, manifest.infohash);
        }
    }
    Ok(all)
}

/// Bring LTSP's menu in line with what is wanted and published. Returns whether there is a menu.
pub fn tell_menu(site: &Site) -> Result<bool> {
    let wishes = site.wishes()?;
    let (path, pins) = (site.menu(), site.pins());
    let menu = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        text => Some(text.with_context(|| format!("reading {}", path.display()))?),
    };
    let wired = match &menu {
        Some(text) if wishes.in_menu() => Some(menu::wire(text)?),
        Some(text) => Some(menu::unwire(text)),
        None => None,
    };
    // The script first: a menu that asks for it finds it.
    if wishes.in_menu() {
        replace_text(&pins, &menu::pins(&wishes, &all_published(site)?))?;
    }
    if let Some(text) = wired.filter(|w| Some(w) != menu.as_ref()) {
        replace_text(&path, &text)?;
    }
    if !wishes.in_menu() {
        match fs::remove_file(&pins) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            gone => gone.with_context(|| format!("deleting {}", pins.display()))?,
        }
    }
    Ok(menu.is_some())
}

/// `ltsp boottorrent enable`.
pub fn enable(site: &Site, names: &[ImageName], wish: Wish) -> Result<()> {
    let chosen = choose(site, names)?;
    publish(site, &chosen)?;
    let mut wishes = site.wishes()?;
    wishes.set(&chosen.keys().cloned().collect::<Vec<_>>(), wish);
    wishes.write(&site.state)?;
    let shown = site.menu().display().to_string();
    match tell_menu(site)? {
        true => println!("Added BootTorrent to {shown}"),
        false => println!("There is no {shown} yet: run `ltsp ipxe`, which adds BootTorrent to it"),
    }
    Ok(())
}

/// `ltsp boottorrent disable`.
pub fn disable(site: &Site, names: &[ImageName]) -> Result<()> {
    let mut wishes = site.wishes()?;
    let published = all_published(site)?;
    match names {
        [] => wishes.all_off(),
        names => {
            let known = |n: &ImageName| published.contains_key(n) || wishes.images.contains_key(n);
            if let Some(unknown) = names.iter().find(|n| !known(n)) {
                bail!("image '{unknown}' is not published: see `ltsp boottorrent status`");
            }
            wishes.set(names, Wish::Off);
        }
    }
    wishes.write(&site.state)?;
    // The menu first: whoever is not told to boot over the swarm does not miss it.
    if tell_menu(site)? && !wishes.in_menu() {
        println!("Removed BootTorrent from {}", site.menu().display());
    }
    for name in published.keys().filter(|n| !wishes.publishes(n)) {
        withdraw(site, name)?;
        println!("Withdrew {name} from the swarm");
    }
    Ok(())
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
