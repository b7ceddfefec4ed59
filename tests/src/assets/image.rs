// SPDX-License-Identifier: GPL-3.0-or-later
//! A Debian root as an image.

use super::{Suite, dracut, root};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// A Debian root with systemd, its stock kernel, our hook and our agent.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) suite: Suite,
    pub(super) dir: PathBuf,
}

impl Image {
    /// The release.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The root as a squashfs.
    pub fn payload(&self) -> PathBuf {
        self.dir.join("payload.squashfs")
    }

    /// The kernel in it.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The initrd in it.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd.img")
    }

    /// What `update-initramfs` said.
    pub fn build_log(&self) -> PathBuf {
        self.dir.join("update-initramfs.log")
    }

    /// The files in the initrd, as `lsinitramfs` of the suite lists them.
    pub fn initrd_files(&self) -> Result<Vec<String>> {
        self.lines("initrd.list")
    }

    /// Whether a module is in the initrd, or built into the kernel.
    pub fn has_module(&self, module: &str) -> Result<bool> {
        let all = [self.initrd_files()?, self.lines("modules.builtin")?].concat();
        let name = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file.split_once(".ko").map(|(name, _)| name.replace('-', "_"))
        };
        Ok(all.iter().any(|path| name(path).as_deref() == Some(module)))
    }

    fn lines(&self, file: &str) -> Result<Vec<String>> {
        let path = self.dir.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// The image of a suite, from the cache or made now: about a minute for the
/// packages, and some twenty seconds when only the agent or the hook changed.
pub fn image(suite: Suite) -> Result<Image> {
    let base = root::base(suite)?;
    let dir = root::finished(suite, &base)?;
    Ok(Image { suite, dir })
}

/// The same root with an initramfs that dracut made with our module, and [`Image::initrd_files`] as `lsinitrd` lists them.
pub fn dracut_image(suite: Suite) -> Result<Image> {
    Ok(Image { suite, dir: dracut::finished(suite)? })
}

/// A root with systemd and no more than that: a server's, before anybody has installed anything.
pub fn clean(suite: Suite) -> Result<PathBuf> {
    root::bootstrap("clean", suite, "systemd-sysv,dbus,iproute2")
}
