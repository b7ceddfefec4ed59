// SPDX-License-Identifier: GPL-3.0-or-later
//! An image of LTSP: published as it is. Kernel and initrd go LTSP's own way, over TFTP.

use super::{
    pack, payload,
    request::Request,
    source::{ImportSource, SourceKind},
};
use crate::{
    catalogue::{Catalogue, INITRD, KERNEL, PAYLOAD, Sealed, Staging, free_space::FreeSpace},
    interrupt,
};
use anyhow::{Context, Result, bail};
use bootspec::{
    ImageManifest, ImageName,
    manifest::{self, BootFile},
};
use std::{
    fs::{File, FileTimes},
    path::Path,
    time::SystemTime,
};

/// Publish `file` as `name`, in the place of an earlier version, whose priority it takes over.
pub fn add(catalogue: &Catalogue, name: &ImageName, file: &Path) -> Result<(ImageManifest, Sealed)> {
    let before = match catalogue.dir(name).exists() {
        true => Some(catalogue.manifest(name)?),
        false => None,
    };
    if before.as_ref().is_some_and(|m| m.kind != manifest::Kind::Ltsp) {
        bail!(
            "there is an image '{name}' already, and it is not of LTSP: remove it with `boottorrent image remove {name}`, \
             or give LTSP's another name"
        );
    }
    let made = make(catalogue, name, file, before.as_ref());
    if interrupt::wanted() {
        return made.or_else(|_| interrupt::check().and_then(|()| bail!("interrupted")));
    }
    made.map_err(|e| FreeSpace { dir: catalogue.images_dir(), name }.or_full(e))
}

fn make(
    catalogue: &Catalogue,
    name: &ImageName,
    file: &Path,
    before: Option<&ImageManifest>,
) -> Result<(ImageManifest, Sealed)> {
    let shown = file.display().to_string();
    let (format, size) = match ImportSource::look(file, &shown)?.kind {
        SourceKind::Image(format, size) => (Some(format), size),
        // LTSP mounts the parts of these by itself.
        SourceKind::Iso(_, size) | SourceKind::Disk(size) => (None, size),
        _ => bail!("'{shown}' is nothing that LTSP mounts: make it again with `ltsp image {name}`"),
    };
    let staging = catalogue.stage(name)?;
    take(file, size, &staging)?;
    for theirs in [KERNEL, INITRD] {
        staging.create(theirs)?;
    }
    let request =
        Request { private: before.is_some_and(|m| m.private), piece_length: None, ..Request::default() };
    let payload = staging.path(PAYLOAD);
    let (torrent, sha256) = payload::hash(&payload, size, name, &request)?;
    payload::sums(&payload, &torrent, &staging)?;
    let tftp = |file: &str| BootFile { size: 0, from: format!("LTSP's TFTP folder: ltsp/{name}/{file}") };
    let manifest = ImageManifest {
        name: name.clone(),
        version: 1,
        kind: manifest::Kind::Ltsp,
        architecture: Default::default(),
        format,
        family: None,
        partition: None,
        sector: None,
        infohash: torrent.infohash(),
        size,
        sha256: Some(sha256),
        piece_length: torrent.piece_length(),
        private: request.private,
        kernel: tftp("vmlinuz"),
        initrd: tftp("initrd.img"),
        initrd_from: Default::default(),
        append: before.map(|m| m.append.clone()).unwrap_or_default(),
        extra: before.map(|m| m.extra.clone()).unwrap_or_default(),
        unified: false,
        priority: before.map(|m| m.priority).unwrap_or_default(),
        added: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        source: shown,
    };
    let sealed = staging.publish(&manifest, torrent.bytes(), true)?;
    Ok((manifest, sealed))
}

/// The payload is LTSP's own file under another name where that can be: images are large, and LTSP never
/// writes into one, but makes a new one beside it. On another disk it is a copy.
fn take(file: &Path, size: u64, staging: &Staging) -> Result<()> {
    let payload = staging.path(PAYLOAD);
    // Of a link to a file somewhere else: the file.
    let real = file.canonicalize().with_context(|| format!("opening {}", file.display()))?;
    if staging.link(&real, PAYLOAD) {
        return Ok(());
    }
    staging.room().refuse_without(size)?;
    pack::copy(&real, size, staging)?;
    // By its time it is known again.
    let time = real.metadata().and_then(|m| m.modified()).context("asking for the image's time")?;
    File::options()
        .write(true)
        .open(&payload)
        .and_then(|f| f.set_times(FileTimes::new().set_modified(time)))
        .context("setting the copy's time")
}
