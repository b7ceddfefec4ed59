// SPDX-License-Identifier: GPL-3.0-or-later
//! Catalogues with one image, as `boottorrent image add` makes them.

use super::{
    Image, Suite, cached,
    common::{APPEND, IMAGE},
    disk, image, key_of, root,
};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// A catalogue with one image, called [`IMAGE`], that real `boottorrent image
/// add` made of it. Read-only, and shared: [`copy_catalogue`] gives one's own.
pub fn catalogue(image: &Image) -> Result<PathBuf> {
    let server = server_binary()?;
    let key = key_of(&[&server], &[&image.dir.to_string_lossy(), APPEND])?;
    let made = image.dir.file_name().unwrap_or_default().to_string_lossy();
    let made = made.rsplit_once('-').map_or(&*made, |(name, _)| name);
    cached(&format!("catalogue-{made}"), &key, |dir| {
        let mut add = Cmd::new(&server).args(["image", "add"]).arg(image.payload());
        // Of the others, the server finds them inside.
        if made.starts_with("dracut") {
            add = add.arg("--kernel").arg(image.kernel()).arg("--initrd").arg(image.initrd());
        }
        add.args(["--name", IMAGE, "--append", APPEND, "--dir"]).arg(dir).run().map(drop)
    })
}

/// The same image, of which machines are sent an initrd that the server makes: the image's own is not used.
pub fn own_initrd_catalogue(image: &Image) -> Result<PathBuf> {
    let server = server_binary()?;
    let key = key_of(&[&server], &[&image.dir.to_string_lossy(), APPEND])?;
    cached(&format!("catalogue-own-{}", image.suite.as_str()), &key, |dir| {
        let add =
            Cmd::new(&server).args(["image", "add"]).arg(image.payload()).args(["--initrd-from", "own"]);
        add.args(["--name", IMAGE, "--append", APPEND, "--dir"]).arg(dir).run().map(drop)
    })
}

/// A root as mmdebstrap makes it, with nothing of ours and no initrd, added without any option.
pub fn bare_catalogue(suite: Suite) -> Result<PathBuf> {
    let (server, root) = (server_binary()?, root::base(suite)?);
    let key = key_of(&[&server], &[&root.to_string_lossy(), APPEND])?;
    cached(&format!("catalogue-bare-{}", suite.as_str()), &key, |dir| {
        let add = Cmd::new(&server).args(["image", "add"]).arg(&root);
        add.args(["--name", IMAGE, "--append", APPEND, "--dir"]).arg(dir).run().map(drop)
    })
}

/// A catalogue with [`disk()`], called [`IMAGE`] too, as real `boottorrent image add` imported it. Shared, like [`catalogue`].
pub fn disk_catalogue() -> Result<PathBuf> {
    let (server, disk) = (server_binary()?, disk()?);
    let key = key_of(&[&server], &[&disk.to_string_lossy(), APPEND])?;
    cached("catalogue-disk", &key, |dir| {
        let add = Cmd::new(&server).args(["image", "add"]).arg(&disk).args(["--name", IMAGE]);
        add.args(["--append", APPEND, "--dir"]).arg(dir).run().map(drop)
    })
}

/// A catalogue whose image, called [`IMAGE`] too, is that many MiB of noise with a real kernel and
/// initrd: for swarms, which do not care what they carry. Shared, like [`catalogue`].
pub fn random(mib: u32) -> Result<PathBuf> {
    let (server, image) = (server_binary()?, image(Suite::own()?)?);
    let key = key_of(&[&server], &[&image.dir.to_string_lossy()])?;
    cached(&format!("random-{mib}"), &key, |dir| {
        let (tree, packed) = (dir.join("tree"), dir.join("random.squashfs"));
        std::fs::create_dir(&tree)?;
        let noise = std::fs::File::open("/dev/urandom")?;
        std::io::copy(
            &mut noise.take(u64::from(mib) << 20),
            &mut std::fs::File::create(tree.join("noise"))?,
        )?;
        Cmd::new("mksquashfs")
            .arg(&tree)
            .arg(&packed)
            .args(["-noI", "-noD", "-noF", "-quiet", "-no-progress"])
            .run()?;
        let add = Cmd::new(&server).args(["image", "add"]).arg(&packed).args(["--name", IMAGE, "--dir"]);
        add.arg(dir).arg("--kernel").arg(image.kernel()).arg("--initrd").arg(image.initrd()).run()?;
        std::fs::remove_dir_all(tree)?;
        std::fs::remove_file(packed).context("tidying up")
    })
}

/// A catalogue of one's own, with what another has (hard links: files in it are only ever replaced).
pub fn copy_catalogue(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp").args(["-al", "--no-target-directory"]).arg(from).arg(to).run()?;
    // A lock is by file, and a linked one would be shared.
    Cmd::new("find").arg(to).args(["-name", ".lock", "-delete"]).run().map(drop)
}
