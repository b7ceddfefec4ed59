// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel modules for an initrd that was made without our hook: Debian's has loop devices, filesystems and network
//! cards, but no overlay. What it lacks is taken from the image, and stands in front of it.

use super::{
    initrd::{self, module_name},
    kmod::{Kernel, MEND},
    taken::Boot,
    tree::Tree,
};
use crate::{
    addon,
    catalogue::{INITRD, Staging},
};
use anyhow::{Context, Result, bail};
use bootspec::{MODULES_DIR, manifest::Format};
use std::{
    fs::{self, File},
    io::{self, Write},
};

/// Put what is missing in front of the initrd in the staging folder; the names of what was.
pub fn complete(tree: &dyn Tree, root: Format, boot: &Boot, staging: &Staging) -> Result<Vec<String>> {
    let from = &boot.initrd.from;
    let Some(version) = boot.version.as_deref() else {
        bail!(
            "which version the kernel {} has is not known, so modules that the initrd {from} lacks cannot be found: {MEND}",
            boot.kernel.from
        );
    };
    let names = initrd::names(&staging.path(INITRD), from)?;
    let kernel = Kernel::read(tree, version, staging)?;
    let has = |module: &str| names.contains(module) || kernel.has_built_in(module);
    if !initrd::has_network(&staging.path(INITRD), from)? && !kernel.has_network() {
        bail!(
            "the initrd {from} has no driver for any network card: set MODULES=most in /etc/initramfs-tools/initramfs.conf \
             of the image, run `update-initramfs -u` in it, and add it again"
        );
    }
    let mut wanted = Vec::new();
    for module in ["loop", "overlay", root.as_str()].into_iter().filter(|m| !has(m)) {
        let Some(files) = kernel.files(module) else {
            bail!(
                "neither the initrd {from} nor the image has the kernel module {module} for {version}: {MEND}"
            );
        };
        for file in files {
            if !wanted.contains(&file) {
                wanted.push(file);
            }
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for (n, path) in wanted.iter().enumerate() {
        let to = format!("{}/{n:02}-{}.ko", MODULES_DIR.trim_start_matches('/'), module_name(path));
        files.push((to, kernel.module(tree, path, staging)?));
    }
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), 0o644, bytes.as_slice())).collect();
    prepend(&addon::pack(&files), staging)?;
    Ok(wanted.iter().map(|p| module_name(p)).collect())
}

fn prepend(archive: &[u8], staging: &Staging) -> Result<()> {
    let (initrd, bare) = (staging.path(INITRD), staging.path("initrd-bare"));
    fs::rename(&initrd, &bare).context("moving the initrd")?;
    let mut to = staging.create(INITRD)?;
    to.write_all(archive).context("writing the initrd")?;
    let mut from = File::open(&bare).context("opening the initrd")?;
    io::copy(&mut from, &mut to).context("writing the initrd")?;
    fs::remove_file(&bare).context("deleting a copy of the initrd")
}
