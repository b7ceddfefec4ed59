// SPDX-License-Identifier: GPL-3.0-or-later
//! What is on the disk: images, who boots them, room, and what time it is.

use super::finding::Finding;
use crate::{
    addon::Addons,
    api::Api,
    catalogue::{Catalogue, INITRD, free_space::FreeSpace},
    config::Config,
    hosts::HostsFile,
    import::initrd,
    library::{self, Library},
    operations::Disk,
    sources::Folders,
};
use bootspec::{
    ImageManifest, ImageRef,
    manifest::{InitrdFrom, Kind},
    units::human_size,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Free space below which the next image is unlikely to fit.
const LITTLE: u64 = 2 << 30;

/// The images, and whether machines can boot them.
pub fn images(config: &Config) -> Vec<Finding> {
    let dir = &config.catalogue.dir;
    let catalogue = Catalogue::at(dir);
    let loaded = match library::load(&catalogue, &Library::default()) {
        Ok(loaded) => loaded,
        Err(e) => {
            return vec![Finding::bad(
                "images",
                format!("{e:#}"),
                "the server serves nothing",
                format!("chown -R --reference={0} {0}/images; or run doctor as root", dir.display()),
            )];
        }
    };
    let mut found = Vec::new();
    for broken in &loaded.broken {
        found.push(Finding::bad(
            "images",
            broken.clone(),
            "machines cannot boot this image",
            "boottorrent image add --replace … (add it again), or boottorrent image remove --force NAME",
        ));
    }
    let manifests: Vec<&ImageManifest> = loaded.library.current().map(|i| &i.manifest).collect();
    if manifests.is_empty() && loaded.broken.is_empty() {
        found.push(Finding::bad(
            "images",
            format!("there is none in {}", dir.display()),
            "machines are told that there is nothing to boot",
            "boottorrent image add FILE, or boottorrent image fetch NAME (boottorrent source list has names)",
        ));
    }
    found.extend(initrds(&catalogue, &manifests));
    let addons = Addons::of(config);
    let agent = |m: &&ImageManifest| match (m.initrd_from, m.family) {
        (InitrdFrom::Own, _) => addons.init(m, false).err(),
        (InitrdFrom::Image, Some(family)) => addons.get(m.architecture, family).err(),
        (InitrdFrom::Image, None) => None,
    };
    if let Some(e) = manifests.iter().find_map(agent) {
        found.push(Finding::bad(
            "agent",
            format!("{e:#}"),
            "images whose initrd this server makes, live ISOs and disk images cannot boot: the agent goes with them",
            "apt install boottorrent-agent",
        ));
    }
    found.extend(unreadable(dir, &catalogue));
    if found.is_empty() {
        found.push(Finding::good("images", format!("{} can be served", manifests.len())));
    }
    found.extend(sources(config));
    found
}

/// Initrds with which a machine would start its kernel, and stop there.
fn initrds(catalogue: &Catalogue, manifests: &[&ImageManifest]) -> Vec<Finding> {
    let mut found = Vec::new();
    let sent = |m: &&&ImageManifest| {
        m.kind == Kind::Filesystem && m.family.is_none() && m.initrd_from == InitrdFrom::Image
    };
    for m in manifests.iter().filter(sent) {
        let path = catalogue.dir(&m.name).join(INITRD);
        if let Err(e) = initrd::check(&path, &m.initrd.from) {
            found.push(Finding::bad(
                "initrd",
                format!("image '{}': {e:#}", m.name),
                "machines start its kernel, and stop there",
                "in the image: apt install boottorrent-initramfs-tools && update-initramfs -u; then boottorrent image add --replace",
            ));
        }
    }
    found
}

/// Descriptions of sources that cannot be used.
fn sources(config: &Config) -> Vec<Finding> {
    let broken =
        Folders { dirs: config.catalogue.sources.clone() }.read().map(|s| s.broken).unwrap_or_default();
    let finding = |broken| {
        Finding::warning(
            "sources",
            broken,
            "`image fetch` does not know it",
            "correct the file; boottorrent source check looks again",
        )
    };
    broken.into_iter().map(finding).collect()
}

/// The daemon is another user than who adds images: it must be able to read them all.
fn unreadable(dir: &Path, catalogue: &Catalogue) -> Option<Finding> {
    let owner = fs::metadata(dir).ok()?.uid();
    let others_may =
        |path: &Path, bit: u32| fs::metadata(path).is_ok_and(|m| m.mode() & bit != 0 || m.uid() == owner);
    // Folders above are entered, files are read.
    let closed = dir.ancestors().filter(|d| d.is_dir()).find(|d| !others_may(d, 0o001)).map(Path::to_owned);
    let inside = || -> Option<PathBuf> {
        let names = catalogue.names().ok()?;
        let folders: Vec<PathBuf> = [catalogue.images_dir().to_owned()]
            .into_iter()
            .chain(names.iter().map(|n| catalogue.dir(n)))
            .collect();
        if let Some(folder) = folders.iter().find(|d| !others_may(d, 0o001)) {
            return Some(folder.clone());
        }
        let files = folders.iter().skip(1).filter_map(|d| fs::read_dir(d).ok()).flatten();
        files.filter_map(|e| Some(e.ok()?.path())).find(|f| !others_may(f, 0o004))
    };
    let path = closed.or_else(inside)?;
    Some(Finding::bad(
        "permissions",
        format!("{} cannot be read by the daemon, which runs as another user", path.display()),
        "the server cannot serve what is there",
        format!("chmod {} {}", if path.is_dir() { "a+rx" } else { "a+r" }, path.display()),
    ))
}

/// Who should boot what: the image must be there.
pub fn machines(config: &Config) -> Vec<Finding> {
    let store = HostsFile::at(&config.catalogue.dir);
    let hosts = match store.load() {
        Ok(hosts) => hosts,
        Err(e) => {
            return vec![Finding::bad(
                "machines",
                format!("{e:#}"),
                "what was changed since counts for nothing",
                format!("correct {}", store.path().display()),
            )];
        }
    };
    let there = Disk::of(config).bootable().unwrap_or_default();
    let is_there = |i: &ImageRef| {
        there.get(&i.name).is_some_and(|versions| i.version.is_none_or(|v| versions.contains(&v)))
    };
    let lost = hosts.entries.iter().filter_map(|(key, e)| {
        let image = e.once.iter().chain(&e.image).find(|i| !is_there(i))?;
        Some(Finding::bad(
            "machines",
            format!("{key} should boot '{image}', which is not there"),
            "it is told so, and tries again until the image is there",
            format!("boottorrent host set {key} --image NAME, or boottorrent host unset {key}"),
        ))
    });
    let Disk { layers, private, .. } = Disk::of(config);
    let given =
        hosts.entries.iter().flat_map(|(key, e)| [(key, &layers, e.files), (key, &private, e.private)]);
    let without_files = given.filter_map(|(key, folder, sum)| {
        let why = folder.check(sum?, key).err()?;
        Some(Finding::bad(
            "machines",
            format!("{key}: {why:#}"),
            "its machines do not boot: the agent does not get their files",
            format!("boottorrent host set {key} {0} DIR, or {0} none", folder.option),
        ))
    });
    let mut found: Vec<Finding> = lost.chain(without_files).collect();
    if found.is_empty() {
        found.push(Finding::good(
            "machines",
            match hosts.entries.len() {
                1 => "1 entry in hosts.toml".into(),
                n => format!("{n} entries in hosts.toml"),
            },
        ));
    }
    found
}

/// Machines that were sent another initrd than the one for their card: its driver does not do for them.
pub fn initrd_of_machines(config: &Config) -> Option<Finding> {
    let asked = Api::connect(config).and_then(|api| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(api.clients())
    });
    // That no server answers is another finding.
    let clients = asked.ok()?;
    let mut fallen = clients.iter().filter(|c| c.initrd.is_some()).map(|c| c.heartbeat.id.as_str());
    let first: Vec<&str> = fallen.by_ref().take(FEW).collect();
    let more = fallen.count();
    if first.is_empty() {
        return None;
    }
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(Finding::warning(
        "initrd",
        format!(
            "not sent the initrd for their card, because they did not report with it: {}{more}",
            first.join(", ")
        ),
        "they load more before the swarm can help; the driver of their card did not load, or got no address in time",
        "boottorrent status MACHINE, and the machine's console; a kernel with their driver, or boottorrent image set NAME --initrd-from image",
    ))
}

/// So many machines are named.
const FEW: usize = 5;

/// Room for the next image.
pub fn disk(config: &Config) -> Option<Finding> {
    let dir = config.catalogue.dir.ancestors().find(|d| d.exists())?;
    let name = "next".parse().ok()?;
    let free = FreeSpace { dir, name: &name }.free().ok()?;
    let what = format!("{} are free for images in {}", human_size(free), config.catalogue.dir.display());
    Some(match free < LITTLE {
        true => Finding::warning(
            "disk",
            what,
            "the next image may not fit, nor the next version beside the old one",
            "boottorrent image remove NAME, or [catalogue] dir = on a larger disk",
        ),
        false => Finding::good("disk", what),
    })
}

/// A clock that is wrong makes certificates invalid, and logs useless.
pub fn clock(config: &Config) -> Finding {
    let now = SystemTime::now();
    let catalogue = Catalogue::at(&config.catalogue.dir);
    let added = |n: &_| humantime::parse_rfc3339(&catalogue.manifest(n).ok()?.added).ok();
    let last = catalogue.names().unwrap_or_default().iter().filter_map(added).max();
    let shown = humantime::format_rfc3339_seconds(now);
    let (means, cure) = (
        "downloads over HTTPS and signatures look invalid, and boot times in logs are wrong",
        "timedatectl set-ntp true (apt install systemd-timesyncd)",
    );
    // The year of the first version: no clock that runs is before it.
    let first = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    match last {
        _ if now < first => {
            Finding::warning("clock", format!("it says {shown}, which is long ago"), means, cure)
        }
        Some(last) if last > now + Duration::from_secs(120) => Finding::warning(
            "clock",
            format!("it says {shown}, and an image was added at {}", humantime::format_rfc3339_seconds(last)),
            means,
            cure,
        ),
        _ => Finding::good("clock", format!("it says {shown}")),
    }
}
