// SPDX-License-Identifier: GPL-3.0-or-later
//! The initrd of an image that many tests share, with some files of one test's own.

use super::Image;
use crate::{Cmd, Lab};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// With `files` (path in the initrd, file) as a second archive behind it: they win, and nothing has to be built anew.
pub fn initrd_with(lab: &Lab, image: &Image, files: &[(&str, &Path)]) -> Result<PathBuf> {
    let (tree, archive) = (lab.dir().join("tree"), lab.dir().join("files.cpio"));
    for (path, file) in files {
        let to = tree.join(path);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(file, &to).with_context(|| format!("copying {}", file.display()))?;
    }
    let pack = format!(
        "cd '{}' && find . -mindepth 1 -printf '%P\\n' | cpio -o -H newc --quiet >'{}'",
        tree.display(),
        archive.display()
    );
    Cmd::new("sh").args(["-c", &pack]).run()?;
    let mut bytes = fs::read(image.initrd())?;
    // The kernel looks for the next archive at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(archive)?);
    let initrd = lab.dir().join("initrd.img");
    fs::write(&initrd, bytes)?;
    Ok(initrd)
}
