// SPDX-License-Identifier: GPL-3.0-or-later
//! A live ISO becomes an image: the payload is the ISO as it is, kernel and initrd are its own, and
//! so are the kernel parameters, as its boot loader has them.

pub mod config;
pub mod files;
mod own;
pub mod shell;
mod volume;

use super::{
    boot,
    initrd::{self, Foreign},
    request::Request,
    taken::Boot,
};
use crate::{
    catalogue::{INITRD, KERNEL, Staging, own::Index},
    family::{FAMILIES, Usual, spec},
};
use anyhow::{Context, Result, bail};
use bootspec::manifest::{BootFile, Family, InitrdFrom};
use config::{Language, MenuEntry};
use files::Files;
use own::LiveBoot;
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};
pub use volume::Volume;

/// A boot loader's configuration is a few kilobytes.
const MAX_CONFIG: usize = 256 << 10;
/// So many configurations, and so many initrds, are looked at.
const MAX_CONFIGS: usize = 64;
const MAX_TRIES: usize = 12;
/// Neither is as large anywhere.
const MAX_KERNEL: u64 = 256 << 20;
const MAX_INITRD: u64 = 2 << 30;

/// What an ISO gave.
pub struct Live {
    /// Its kernel and initrd, in the staging folder.
    pub boot: Boot,
    /// Whose initrd it is.
    pub family: Family,
    /// Kernel parameters: its own, then those of the request.
    pub append: String,
    /// What the admin should hear.
    pub notes: Vec<String>,
}

/// Take kernel, initrd and parameters from an ISO, or refuse it.
pub fn extract(iso: &Path, volume: &Volume, request: &Request, staging: &Staging) -> Result<Live> {
    let shown = request.source.display().to_string();
    let files = Files::open(iso).with_context(|| format!("looking into '{shown}'"))?;
    let Candidates { found, menus, usual } = candidates(&files);
    let Chosen { entry, family, from, sizes } = match &request.initrd {
        Some(path) => {
            let mut initrd = staging.create(INITRD)?;
            super::tree::copy_file(path, &mut initrd)?;
            let from = path.display().to_string();
            let foreign = initrd::family(&staging.path(INITRD), &from)?;
            let family = live(foreign, &from, &shown)?;
            Chosen { entry: found.into_iter().next().unwrap_or_default(), family, from, sizes: Vec::new() }
        }
        None => choose(&files, found, staging, &shown, request.kernel.is_some())?,
    };
    pad(&staging.path(INITRD))?;
    let kernel_from = match &request.kernel {
        Some(path) => {
            super::tree::copy_file(path, &mut staging.create(KERNEL)?)?;
            path.display().to_string()
        }
        None => {
            let Some(kernel) = files.find(&entry.kernel) else { bail!(no_kernel(&shown)) };
            files.copy(&kernel, MAX_KERNEL, &mut staging.create(KERNEL)?)?;
            format!("/{kernel}")
        }
    };
    let (used, mut left) = config::usable(&entry.words);
    let spec = spec(family);
    let mut words = spec.missing(&used, &volume.label);
    left.retain(|word| !spec.rewrites(word));
    words.extend(used);
    // Behind the ISO's own: of a parameter that is there twice, the last one counts.
    words.extend(Some(request.extra()).filter(|a| !a.is_empty()));
    let mut notes = Vec::new();
    if usual.contains(&entry) && !menus.is_empty() {
        notes.push(format!(
            "none of the entries in its boot menus ({}) could be used, so the kernel parameters are the usual ones of {}: \
             check them, and add what is missing with --append",
            menus.join(", "),
            family.as_str()
        ));
    }
    if !left.is_empty() {
        notes.push(format!("of its boot loader's kernel parameters these are left out: {}", left.join(" ")));
    }
    let mut boot = Boot {
        kernel: boot_file(&staging.path(KERNEL), kernel_from)?,
        initrd: boot_file(&staging.path(INITRD), from)?,
        ..Boot::default()
    };
    boot::fit(&mut boot, staging, None)?;
    notes.append(&mut boot.notes);
    notes.extend(small(&mut boot, iso, (family, &sizes), request, staging)?);
    Ok(Live { boot, family, append: words.join(" "), notes })
}

/// If it can be, machines are sent an initrd that this server makes. What the admin should hear.
fn small(
    boot: &mut Boot,
    iso: &Path,
    (family, sizes): (Family, &[u64]),
    request: &Request,
    staging: &Staging,
) -> Result<Option<String>> {
    if request.initrd_from == Some(InitrdFrom::Image) {
        return Ok(None);
    }
    let from = boot.initrd.from.clone();
    let made = match request.initrd {
        Some(_) => Err(not_on_it(&from)),
        None => {
            let live = LiveBoot { family, from: &from, sizes, version: boot.version.as_deref() };
            own::make(iso, &live, staging)?
        }
    };
    match made {
        Ok(index) => {
            boot.own = Some(index);
            Ok(Some(format!(
                "machines are sent a small initrd that this server makes, and take {from} out of the ISO themselves \
                 (--initrd-from image sends it to each machine)"
            )))
        }
        Err(why) if request.initrd_from == Some(InitrdFrom::Own) => {
            bail!("this server cannot make an initrd, because {why}; use --initrd-from image")
        }
        Err(why) => Ok(Some(format!(
            "machines are sent the initrd {from}, because this server cannot make a smaller one: {why}"
        ))),
    }
}

/// For an ISO that is in the catalogue already, machines are to be sent an initrd that this server makes. `stored`: the ISO's
/// initrd, as it was taken then; the inner error says why it cannot be.
pub fn small_later(
    iso: &Path,
    (family, from): (Family, &str),
    stored: &Path,
    version: Option<&str>,
    staging: &Staging,
) -> Result<Result<Index, String>> {
    let files = Files::open(iso)?;
    let parts: Option<Vec<String>> =
        from.split(AND).map(|part| files.find(part.strip_prefix('/')?)).collect();
    let Some(parts) = parts else { return Ok(Err(not_on_it(from))) };
    let sizes = take(&files, &parts, staging)?;
    pad(&staging.path(INITRD))?;
    let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    if !own::is_same(open(stored)?, open(&staging.path(INITRD))?)? {
        return Ok(Err(format!("{from} on the ISO is another one than the one that was given")));
    }
    own::make(iso, &LiveBoot { family, from, sizes: &sizes, version }, staging)
}

fn not_on_it(initrd: &str) -> String {
    format!("{initrd} is not on the ISO")
}

fn boot_file(path: &Path, from: String) -> Result<BootFile> {
    let size = fs::metadata(path).with_context(|| format!("asking for the size of {from}"))?.len();
    if size == 0 {
        bail!("the file {from} is empty: a machine could not boot with it");
    }
    Ok(BootFile { size, from })
}

/// What could be booted.
struct Candidates {
    /// In the order of the boot loaders' menus; then what lies in the usual places.
    found: Vec<MenuEntry>,
    /// The configurations that have entries.
    menus: Vec<String>,
    /// Those of `found` that no menu has.
    usual: Vec<MenuEntry>,
}

fn candidates(files: &Files) -> Candidates {
    let mut configs: Vec<(usize, &str)> = files.paths().filter_map(|p| Some((rank(p)?, p))).collect();
    configs.sort_unstable();
    let (mut found, mut menus, mut usual): (Vec<MenuEntry>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    let known = |found: &[MenuEntry], e: &MenuEntry| {
        found.iter().any(|f| f.kernel == e.kernel && f.initrds == e.initrds)
    };
    for (rank, path) in configs.into_iter().take(MAX_CONFIGS) {
        let Some(file) = files.find(path) else { continue };
        let Ok(text) = files.read(&file, MAX_CONFIG) else { continue };
        let language = if rank < LINES { Language::Grub } else { Language::Lines };
        let entries = config::parse(&String::from_utf8_lossy(&text), language);
        if !entries.is_empty() || String::from_utf8_lossy(&text).contains("menuentry") {
            menus.push(path.to_owned());
        }
        for entry in entries.into_iter().filter_map(|e| found_in(files, e, path)) {
            if !known(&found, &entry) {
                found.push(entry);
            }
        }
    }
    for Usual { folder, kernel, initrd } in usual_places() {
        let first = |begin: &str| {
            let fits = |p: &&str| {
                p.strip_prefix(*folder).and_then(|r| r.strip_prefix('/')).is_some_and(|name| {
                    name.starts_with(begin) && !name.contains('/') && !name.ends_with(".cfg")
                })
            };
            files.find(files.paths().find(fits)?)
        };
        if let (Some(kernel), Some(initrd)) = (first(kernel), first(initrd)) {
            let entry = MenuEntry { kernel, initrds: vec![initrd], words: Vec::new() };
            if !known(&found, &entry) {
                found.push(entry.clone());
                usual.push(entry);
            }
        }
    }
    Candidates { found, menus, usual }
}

/// From this rank on, configurations are lines of keys and values.
const LINES: usize = 3;

/// Configurations in the order in which they are believed; `None`: it is none.
fn rank(path: &str) -> Option<usize> {
    let path = path.to_ascii_lowercase();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    if folder.ends_with("loader/entries") && name.ends_with(".conf") {
        return Some(LINES + 1);
    }
    if !name.ends_with(".cfg") {
        return None;
    }
    match folder {
        "boot/grub" | "boot/grub2" => Some(if name == "grub.cfg" { 0 } else { 1 }),
        "efi/boot" | "efi/debian" | "boot/grub/x86_64-efi" => Some(2),
        "isolinux" | "syslinux" | "boot/isolinux" | "boot/syslinux" | "boot/x86_64/loader" => Some(LINES),
        _ => None,
    }
}

/// The entry with paths that are on the ISO. isolinux writes them relative to its own folder.
fn found_in(files: &Files, entry: MenuEntry, config: &str) -> Option<MenuEntry> {
    let folder = config.rsplit_once('/').map_or("", |(folder, _)| folder);
    let find = |path: &String| files.find(path).or_else(|| files.find(&format!("{folder}/{path}")));
    let initrds: Vec<String> = entry.initrds.iter().filter_map(find).collect();
    // All of them, or it would not be what the ISO boots.
    let all = !initrds.is_empty() && initrds.len() == entry.initrds.len();
    Some(MenuEntry { kernel: find(&entry.kernel)?, initrds, words: entry.words }).filter(|_| all)
}

/// What an ISO boots.
struct Chosen {
    entry: MenuEntry,
    family: Family,
    /// Where its initrd was taken from.
    from: String,
    /// Of the files on the ISO that the initrd consists of.
    sizes: Vec<u64>,
}

/// The first candidate whose initrd is of a live system; its initrd is in the staging folder then.
fn choose(
    files: &Files,
    found: Vec<MenuEntry>,
    staging: &Staging,
    shown: &str,
    kernel_given: bool,
) -> Result<Chosen> {
    if found.is_empty() && !kernel_given {
        bail!(no_kernel(shown));
    }
    if found.is_empty() {
        bail!("'{shown}' has no initrd that could be found: give --initrd too");
    }
    let mut first = None;
    let mut looked: Vec<Vec<String>> = Vec::new();
    for entry in found {
        if looked.contains(&entry.initrds) || looked.len() == MAX_TRIES {
            continue;
        }
        let sizes = take(files, &entry.initrds, staging)?;
        let from = entry.initrds.iter().map(|i| format!("/{i}")).collect::<Vec<_>>().join(AND);
        // What is not an initrd is another system's business, unless there is nothing better.
        let judged = initrd::family(&staging.path(INITRD), &from).and_then(|f| live(f, &from, shown));
        match judged {
            Ok(family) => return Ok(Chosen { entry, family, from, sizes }),
            Err(e) => drop(first.get_or_insert(e)),
        }
        looked.push(entry.initrds);
        fs::remove_file(staging.path(INITRD)).context("deleting an initrd of another system")?;
    }
    Err(first.expect("one at least was looked at"))
}

/// Between the paths of files that an initrd consists of.
const AND: &str = " and ";

/// The files that an initrd consists of, as one in the staging folder. Their sizes.
fn take(files: &Files, parts: &[String], staging: &Staging) -> Result<Vec<u64>> {
    let (mut initrd, mut sizes) = (staging.create(INITRD)?, Vec::new());
    for part in parts {
        let begin = own::length(&mut initrd)?;
        files.copy(part, MAX_INITRD, &mut initrd)?;
        sizes.push(own::length(&mut initrd)? - begin);
        align(&mut initrd)?;
    }
    Ok(sizes)
}

/// The family of an initrd that can boot its ISO with our add-on.
fn live(foreign: Foreign, initrd: &str, shown: &str) -> Result<Family> {
    match foreign {
        Foreign { family, .. } if !family.is_some_and(|f| spec(f).live) => bail!(
            "'{shown}' is not a live system that BootTorrent knows: its initrd {initrd} has neither live-boot, casper, \
             dracut's dmsquash-live nor archiso in it"
        ),
        Foreign { lacks: Some(what), .. } => {
            bail!("'{shown}' cannot be booted over the network: its initrd {initrd} lacks {what}")
        }
        Foreign { family, lacks: None } => Ok(family.expect("it is a live one")),
    }
}

fn usual_places() -> impl Iterator<Item = &'static Usual> {
    FAMILIES.iter().flat_map(|spec| spec.usual)
}

fn no_kernel(shown: &str) -> String {
    let mut folders: Vec<String> = usual_places().map(|usual| format!("{}/", usual.folder)).collect();
    let last = folders.pop().unwrap_or_default();
    format!(
        "'{shown}' has no kernel that could be found: no boot loader's configuration on it names one, and none is in \
         {} or {last}; give --kernel and --initrd",
        folders.join(", ")
    )
}

/// Archives that follow one another begin at multiples of four.
fn align(file: &mut File) -> Result<()> {
    let at = file.seek(SeekFrom::End(0)).context("seeking in the initrd")?;
    let fill = (at.next_multiple_of(4) - at) as usize;
    file.write_all(&[0; 4][..fill]).context("writing the initrd")
}

fn pad(initrd: &Path) -> Result<()> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(initrd)
        .with_context(|| format!("opening {}", initrd.display()))?;
    align(&mut file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_boot_loaders() {
        for (path, want) in [
            ("boot/grub/grub.cfg", Some(0)),
            ("boot/grub2/grub.cfg", Some(0)),
            ("boot/grub/loopback.cfg", Some(1)),
            ("EFI/BOOT/grub.cfg", Some(2)),
            ("isolinux/live.cfg", Some(3)),
            ("loader/entries/01-archiso-x86_64-linux.conf", Some(4)),
            ("preseed/x.cfg", None),
            ("boot/grub/font.pf2", None),
            ("grub.cfg", None),
        ] {
            assert_eq!(rank(path), want, "{path}");
        }
    }
}
