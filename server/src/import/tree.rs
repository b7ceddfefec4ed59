// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking into a root filesystem, whatever it is stored in: only what is
//! needed to find a kernel and an initrd. Nothing is mounted, so it needs no root.

use crate::{
    catalogue::{Staging, free_space::keep},
    tool::Tool,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::manifest::Format;
use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat},
    sys::stat::Mode,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// What programs may print about a tree: a long /boot is a few kilobytes.
pub const MAX_LISTING: usize = 64 << 20;

/// A root filesystem that can be looked into. Paths are relative, without a leading slash.
pub trait Tree: Sync {
    /// The names in a folder; none where there is no such folder.
    fn names(&self, folder: &str) -> Result<Vec<String>>;
    /// Where a symlink points; `None` for anything else.
    fn link(&self, path: &str) -> Result<Option<String>>;
    /// Copy a file's bytes.
    fn read(&self, path: &str, to: &mut File) -> Result<()>;
}

/// Open the tree in a filesystem image. `scratch`: a folder that does not exist
/// yet, for what must be unpacked to be seen.
pub fn open(image: &Path, format: Format, scratch: &Path) -> Result<Box<dyn Tree>> {
    Ok(match format {
        Format::Squashfs => Box::new(Squashfs::open(image)?),
        Format::Ext4 => Box::new(Ext4 { image: image.to_owned(), at: 0 }),
        Format::Erofs if Erofs::can_cat() => Box::new(Erofs(image.to_owned())),
        // erofs-utils before 1.8 (Debian bookworm has 1.5) cannot print one file.
        Format::Erofs => {
            std::fs::create_dir_all(scratch).with_context(|| format!("creating {}", scratch.display()))?;
            let tool = Tool::parser("fsck.erofs", "erofs-utils").as_root().arg("--force");
            let tool = tool.into_folder(scratch, |name| format!("--extract={name}/."))?;
            tool.file(image)?.run_watched(&mut || keep(scratch))?;
            Box::new(Folder(scratch.to_owned()))
        }
    })
}

/// A part of a file.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// Open the tree in a partition of a disk image.
pub fn open_slice(image: &Path, slice: Slice, format: Format, scratch: &Path) -> Result<Box<dyn Tree>> {
    let shown = image.display().to_string();
    if format == Format::Ext4 {
        return Ok(Box::new(Ext4 { image: image.to_owned(), at: slice.start }));
    }
    std::fs::create_dir_all(scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let part = scratch.join("partition");
    let mut from = File::open(image).with_context(|| format!("opening {shown}"))?;
    from.seek(SeekFrom::Start(slice.start)).with_context(|| format!("reading {shown}"))?;
    let mut to = File::create(&part).with_context(|| format!("creating {}", part.display()))?;
    io::copy(&mut from.take(slice.size), &mut to)
        .with_context(|| format!("copying a partition of {shown}"))?;
    open(&part, format, &scratch.join("tree"))
}

/// A path that may stand in another program's little language (debugfs requests, unsquashfs patterns).
pub fn plain(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || "/._+~-".contains(c))
        && !path.split('/').any(|p| p == "..")
}

/// A root directory.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Open as if the folder were `/`: absolute links and `..` stay inside.
    fn open(&self, path: &str, flags: OFlag) -> nix::Result<File> {
        let root = openat2(AT_FDCWD, &self.0, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC))?;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(root, if path.is_empty() { "." } else { path }, how).map(File::from)
    }
}

impl Tree for Folder {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let Ok(opened) = self.open(folder, OFlag::O_DIRECTORY | OFlag::O_RDONLY) else {
            return Ok(Vec::new());
        };
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()))
            .with_context(|| format!("reading /{folder} in {}", self.0.display()))?;
        Ok(entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
    }

    fn link(&self, path: &str) -> Result<Option<String>> {
        let Ok(file) = self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) else { return Ok(None) };
        let target = readlinkat(&file, "").ok().and_then(|t| t.into_string().ok());
        Ok(target.filter(|t| !t.is_empty()))
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        let mut from = self
            .open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
            .with_context(|| format!("opening /{path} in {}", self.0.display()))?;
        if !from.metadata().is_ok_and(|m| m.is_file()) {
            bail!("/{path} in {} is not a file", self.0.display());
        }
        io::copy(&mut from, to)
            .map(drop)
            .with_context(|| format!("copying /{path} from {}", self.0.display()))
    }
}

/// A squashfs, by unsquashfs. Its first two levels are listed once.
struct Squashfs {
    image: PathBuf,
    entries: BTreeMap<String, Option<String>>,
}

impl Squashfs {
    fn open(image: &Path) -> Result<Squashfs> {
        let tool = Tool::parser("unsquashfs", "squashfs-tools").args(["-max-depth", "2", "-lln"]);
        let entries = parse_squashfs(&tool.file(image)?.output(MAX_LISTING)?);
        Ok(Squashfs { image: image.to_owned(), entries })
    }
}

/// `lrwxrwxrwx 0/0  16 2026-11-22 18:25 squashfs-root/vmlinuz -> boot/vmlinuz-6.1`
fn parse_squashfs(listing: &str) -> BTreeMap<String, Option<String>> {
    let entry = |line: &str| {
        let (_, path) = line.split_once(" squashfs-root/")?;
        match path.split_once(" -> ") {
            Some((path, link)) if line.starts_with('l') => Some((path.to_owned(), Some(link.to_owned()))),
            _ => Some((path.to_owned(), None)),
        }
    };
    listing.lines().filter_map(entry).collect()
}

impl Tree for Squashfs {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let in_folder = |path: &String| {
            let rest = if folder.is_empty() { path } else { path.strip_prefix(folder)?.strip_prefix('/')? };
            (!rest.contains('/')).then(|| rest.to_owned())
        };
        if !folder.contains('/') {
            return Ok(self.entries.keys().filter_map(in_folder).collect());
        }
        // Deeper than what was listed.
        let depth = folder.split('/').count() + 1;
        let tool =
            Tool::parser("unsquashfs", "squashfs-tools").args(["-max-depth", &depth.to_string(), "-lln"]);
        let entries = parse_squashfs(&tool.file(&self.image)?.arg(folder).output(MAX_LISTING)?);
        Ok(entries.keys().filter_map(in_folder).collect())
    }

    fn link(&self, path: &str) -> Result<Option<String>> {
        Ok(self.entries.get(path).cloned().flatten())
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        Tool::parser("unsquashfs", "squashfs-tools").arg("-cat").file(&self.image)?.arg(path).run_into(to)
    }
}

/// An ext2, ext3 or ext4, by debugfs.
struct Ext4 {
    image: PathBuf,
    /// Where in it the filesystem begins.
    at: u64,
}

impl Ext4 {
    fn tool(&self, request: &str) -> Result<Tool> {
        let tool = Tool::parser("debugfs", "e2fsprogs").args(["-R", request]);
        // e2fsprogs takes an offset behind the file's name.
        tool.file_as(&self.image, |name| match self.at {
            0 => name.into(),
            at => format!("{name}?offset={at}"),
        })
    }

    fn ask(&self, request: &str) -> Result<String> {
        self.tool(request)?.output(MAX_LISTING)
    }
}

impl Tree for Ext4 {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        // `/14/100644/0/0/vmlinuz-6.1/2/`
        let name =
            |line: &str| line.split('/').nth(5).filter(|n| plain(n) && !n.is_empty()).map(str::to_owned);
        Ok(self.ask(&format!("ls -p /{folder}"))?.lines().filter_map(name).collect())
    }

    fn link(&self, path: &str) -> Result<Option<String>> {
        // `Fast link dest: "boot/vmlinuz-6.1"`
        let shown = self.ask(&format!("stat /{path}"))?;
        let dest = shown.lines().find_map(|l| l.strip_prefix("Fast link dest: \"")?.strip_suffix('"'));
        Ok(dest.map(str::to_owned))
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        // debugfs ends with 0 even when there is no such file: an empty result is caught by the caller.
        self.tool(&format!("cat /{path}"))?.run_into(to)
    }
}

/// An erofs, by dump.erofs 1.8 or newer.
struct Erofs(PathBuf);

impl Erofs {
    fn can_cat() -> bool {
        Tool::parser("dump.erofs", "erofs-utils")
            .arg("--help")
            .output(1 << 16)
            .is_ok_and(|help| help.contains("--cat"))
    }
}

impl Tree for Erofs {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let path = format!("--path=/{folder}");
        let tool = Tool::parser("dump.erofs", "erofs-utils").args(["--ls", &path]);
        let Ok(shown) = tool.file(&self.0).and_then(|t| t.output(MAX_LISTING)) else {
            return Ok(Vec::new());
        };
        // `        49    1  vmlinuz-6.1`, below the head line.
        let rows = shown.lines().skip_while(|l| !l.contains("FILENAME")).skip(1);
        Ok(rows.filter_map(|l| l.split_whitespace().nth(2)).map(str::to_owned).collect())
    }

    fn link(&self, _: &str) -> Result<Option<String>> {
        // dump.erofs does not tell where links point.
        Ok(None)
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        let path = format!("--path=/{path}");
        Tool::parser("dump.erofs", "erofs-utils").args(["--cat", &path]).file(&self.0)?.run_into(to)
    }
}

/// Follow symlinks from `path` to what is not a symlink, inside the tree.
pub fn resolve(tree: &dyn Tree, path: &str) -> Result<String> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        if !plain(&path) {
            bail!("/{path} is not a valid name for a kernel or an initrd: use letters, digits and . _ + ~ -");
        }
        let Some(link) = tree.link(&path)? else { return Ok(path) };
        let base = if link.starts_with('/') { "" } else { path.rsplit_once('/').map_or("", |(dir, _)| dir) };
        let mut parts: Vec<&str> = base.split('/').filter(|p| !p.is_empty()).collect();
        for part in link.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        path = parts.join("/");
    }
    Err(anyhow!("too many symlinks at /{path}"))
}

/// A file given on the command line instead of one in the image.
pub fn copy_file(from: &Path, to: &mut File) -> Result<()> {
    let mut file = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    io::copy(&mut file, to).map(drop).with_context(|| format!("copying {}", from.display()))
}

/// A kernel's own configuration is a quarter of a megabyte.
const MAX_TEXT: u64 = 4 << 20;

/// A small text file of the tree; `None` where there is none.
pub fn small_text(tree: &dyn Tree, path: &str, staging: &Staging) -> Result<Option<String>> {
    let (folder, name) = path.split_once('/').unwrap_or(("", path));
    if !plain(path) || !tree.names(folder)?.iter().any(|n| n == name) {
        return Ok(None);
    }
    let mut file = tempfile::tempfile_in(staging.path("")).context("creating a temporary file")?;
    tree.read(path, &mut file)?;
    file.rewind().context("rewinding")?;
    let mut bytes = Vec::new();
    File::take(file, MAX_TEXT).read_to_end(&mut bytes).with_context(|| format!("reading /{path}"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_unsquashfs_listings() {
        let entries = parse_squashfs(
            "drwxr-xr-x 0/0  53 2026-11-22 18:25 squashfs-root\n\
             drwxr-xr-x 0/0  56 2026-11-22 18:25 squashfs-root/boot\n\
             -rw-r--r-- 12/13 2 2026-11-22 18:25 squashfs-root/boot/vmlinuz-6.1\n\
             crw-r--r-- 0/0 1,  3 2026-11-22 18:25 squashfs-root/null\n\
             lrwxrwxrwx 0/0  16 2026-11-22 18:25 squashfs-root/vmlinuz -> boot/vmlinuz-6.1\n",
        );
        let tree = Squashfs { image: PathBuf::new(), entries };
        assert_eq!(tree.names("").unwrap(), ["boot", "null", "vmlinuz"]);
        assert_eq!(tree.names("boot").unwrap(), ["vmlinuz-6.1"]);
        assert_eq!(resolve(&tree, "vmlinuz").unwrap(), "boot/vmlinuz-6.1");
    }

    #[test]
    fn a_folder_is_its_own_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("boot")).unwrap();
        std::fs::write(dir.path().join("boot/k"), "kernel").unwrap();
        std::os::unix::fs::symlink("/boot/k", dir.path().join("vmlinuz")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/passwd", dir.path().join("out")).unwrap();
        let tree = Folder(dir.path().to_owned());
        let mut to = tempfile::tempfile().unwrap();
        tree.read("vmlinuz", &mut to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 6);
        assert!(tree.read("out", &mut to).is_err(), "the host's /etc/passwd is out of reach");
        assert_eq!(tree.names("boot").unwrap(), ["k"]);
        assert_eq!(tree.names("nowhere").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn links_stay_inside() {
        struct Links(&'static [(&'static str, &'static str)]);
        impl Tree for Links {
            fn names(&self, _: &str) -> Result<Vec<String>> {
                Ok(Vec::new())
            }
            fn link(&self, path: &str) -> Result<Option<String>> {
                Ok(self.0.iter().find(|(from, _)| *from == path).map(|(_, to)| to.to_string()))
            }
            fn read(&self, _: &str, _: &mut File) -> Result<()> {
                Ok(())
            }
        }
        let tree = Links(&[("a", "/b/c"), ("b/c", "../../../d"), ("x", "y"), ("y", "x")]);
        assert_eq!(resolve(&tree, "a").unwrap(), "d");
        assert_eq!(resolve(&tree, "x").unwrap_err().to_string(), "too many symlinks at /x");
    }
}
