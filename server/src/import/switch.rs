// SPDX-License-Identifier: GPL-3.0-or-later
//! `image set --initrd-from`: machines are sent another initrd from now on. The torrent stays, and with it what was signed.

use super::{
    disk, initrd, iso, kernel,
    own::{self, Contents, KernelFacts},
    tree::{self, Tree, small_text},
};
use crate::catalogue::{
    Catalogue, INITRD, KERNEL, PAYLOAD, Staging,
    own::{ARCHIVES, CARDS, Index},
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName,
    manifest::{Format, InitrdFrom, Kind},
};
use std::fs;

/// Send machines that boot an image this initrd.
pub fn switch(catalogue: &Catalogue, name: &ImageName, to: InitrdFrom) -> Result<()> {
    let manifest = catalogue.manifest(name)?;
    let dir = catalogue.dir(name);
    let made = match to {
        InitrdFrom::Image => {
            usable(catalogue, &manifest)
                .with_context(|| format!("image '{name}' needs an initrd that the server makes"))?;
            None
        }
        InitrdFrom::Own if Index::read(&dir).is_ok() => None,
        InitrdFrom::Own => Some(make(catalogue, &manifest)?),
    };
    catalogue.set_initrd(&manifest, to, made)
}

/// Whether machines can boot with the image's own initrd.
fn usable(catalogue: &Catalogue, image: &ImageManifest) -> Result<()> {
    match (image.initrd.size, image.family) {
        (0, _) => bail!("it has none of its own with BootTorrent's hook in it"),
        (_, Some(_)) => Ok(()),
        (_, None) => initrd::check(&catalogue.dir(&image.name).join(INITRD), &image.initrd.from),
    }
}

/// Archives and index, made of the image's modules.
fn make(catalogue: &Catalogue, image: &ImageManifest) -> Result<(Vec<u8>, Vec<u8>)> {
    let (dir, name) = (catalogue.dir(&image.name), &image.name);
    let staging = catalogue.stage(name)?;
    let payload = dir.join(PAYLOAD);
    let shown = format!("image '{name}'");
    let fallback = usable(catalogue, image).is_ok();
    let header = kernel::version(&dir.join(KERNEL));
    let version = header.as_deref().or_else(|| kernel::version_of_path(&image.kernel.from));
    let made = match (image.kind, image.format) {
        (Kind::Filesystem, Some(format)) => {
            let tree = tree::open(&payload, format, &staging.path("tree"))?;
            archives(tree.as_ref(), &[format], version, fallback, &staging)?
        }
        (Kind::Disk, _) => {
            let disk = disk::open(&payload, &shown, &staging)?;
            archives(&disk.tree, &disk.formats, version, fallback, &staging)?
        }
        (Kind::Iso, _) => {
            let family = image.family.with_context(|| format!("{shown} has an initrd of nobody known"))?;
            iso::small_later(&payload, (family, &image.initrd.from), &dir.join(INITRD), version, &staging)?
        }
        _ => bail!("{shown} ({}) boots with its own initrd only", image.what()),
    };
    made.map_err(|why| anyhow!("this server cannot make an initrd for {shown}, because {why}"))?;
    let read = |file: &str| fs::read(staging.path(file)).with_context(|| format!("reading {file}"));
    Ok((read(ARCHIVES)?, read(CARDS)?))
}

fn archives(
    tree: &dyn Tree,
    formats: &[Format],
    version: Option<&str>,
    fallback: bool,
    staging: &Staging,
) -> Result<Result<Index, String>> {
    let config = match version {
        Some(version) => small_text(tree, &format!("boot/config-{version}"), staging)?,
        None => None,
    };
    let unpacks_xz = config.is_none_or(|c| c.lines().any(|l| l == "CONFIG_RD_XZ=y"));
    own::make(tree, &Contents::root(formats), &KernelFacts { version, unpacks_xz, fallback }, staging)
}
