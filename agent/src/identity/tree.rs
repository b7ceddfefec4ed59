// SPDX-License-Identifier: GPL-3.0-or-later
//! Files of a mounted root. A link in the image must not lead out of it, for we are not in a chroot.

use anyhow::{Context, bail};
use std::{
    cell::RefCell,
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// A folder with a root filesystem. Paths are relative, without a leading slash.
pub struct Tree<'a> {
    root: &'a Path,
    /// Files that somebody has changed since the agent wrote them; they are left alone.
    changed: Vec<String>,
    written: RefCell<Vec<String>>,
}

impl<'a> Tree<'a> {
    /// At `root`.
    pub fn new(root: &'a Path) -> Tree<'a> {
        Tree { root, changed: Vec::new(), written: RefCell::default() }
    }

    /// The same, in which these files are not written.
    pub fn without(self, changed: Vec<String>) -> Tree<'a> {
        Tree { changed, ..self }
    }

    /// The files that were written.
    pub fn written(&self) -> Vec<String> {
        self.written.borrow().clone()
    }

    /// What a file says; not a link, which would be followed outside of the root, nor a device.
    pub fn read(&self, file: &str) -> Option<String> {
        let path = self.resolve(file).ok()?;
        let is_file = path.symlink_metadata().is_ok_and(|m| m.is_file());
        is_file.then(|| fs::read(path).ok())?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where a link points.
    pub fn link(&self, file: &str) -> Option<String> {
        Some(fs::read_link(self.resolve(file).ok()?).ok()?.to_string_lossy().into_owned())
    }

    /// Whether there is something of that name, be it a link to nothing.
    pub fn exists(&self, file: &str) -> bool {
        self.resolve(file).is_ok_and(|path| path.symlink_metadata().is_ok())
    }

    /// A folder, made where there is none.
    pub fn folder(&self, folder: &str) -> anyhow::Result<PathBuf> {
        let path = self.resolve(folder)?;
        if path.is_symlink() {
            bail!("{} is a link, which boottorrent does not follow", path.display());
        }
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(path) = self.resolve(folder) else { return Vec::new() };
        if path.is_symlink() {
            return Vec::new();
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Replace a file, or a link of that name.
    pub fn put(&self, file: &str, text: &str) -> anyhow::Result<()> {
        self.write(file, text, 0o644)
    }

    /// The same, for root's eyes only.
    pub fn put_private(&self, file: &str, text: &str) -> anyhow::Result<()> {
        self.write(file, text, 0o600)
    }

    fn write(&self, file: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        if self.changed.iter().any(|c| c == file) {
            return Ok(());
        }
        let path = self.resolve(file)?;
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(self.root))?;
            if path.is_symlink() {
                fs::remove_file(&path)?;
            }
            let mut f =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path)?;
            f.set_permissions(fs::Permissions::from_mode(mode))?;
            f.write_all(text.as_bytes())
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        self.written.borrow_mut().push(file.to_owned());
        Ok(())
    }

    /// A path inside the root.
    fn resolve(&self, file: &str) -> anyhow::Result<PathBuf> {
        let mut at = self.root.to_owned();
        for part in Path::new(file).components() {
            let Component::Normal(part) = part else { bail!("{file} is not a relative path without ..") };
            at.push(part);
            if at.is_symlink() && at != self.root.join(file) {
                bail!("{} is a link, which boottorrent does not follow", at.display());
            }
        }
        Ok(at)
    }
}
