// SPDX-License-Identifier: GPL-3.0-or-later
//! An initrd is unpacked as the kernel does it (init/initramfs.c).

use anyhow::{Context, Result, ensure};
use bootspec::live::LiveInitrd;
use initrd::{Member, Section, walk};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, lchown, symlink},
    },
    path::{Component, Path, PathBuf},
};

/// The kernel's own limit of paths.
const MAX_LINK: u64 = 4096;
/// Headers and padding of archives, beside what is in them.
const HEADERS: u64 = 64 << 20;

/// Unpack the initrd of a live ISO into a folder, which is `/` but in tests: links are followed. Gives its bytes.
pub fn initrd(iso: &File, live: &LiveInitrd, root: &Path) -> Result<u64> {
    let before = umask(Mode::empty());
    let unpacked = parts(iso, live, root);
    umask(before);
    let unpacked = unpacked?;
    ensure!(fs::symlink_metadata(root.join("init")).is_ok(), "there is no /init in it");
    Ok(unpacked)
}

fn parts(iso: &File, live: &LiveInitrd, root: &Path) -> Result<u64> {
    let mut unpacked = 0;
    for part in &live.parts {
        let mut names = Names::default();
        let from = Section::new(iso, part.at, part.size);
        walk(from, live.unpacked.saturating_add(HEADERS), &mut |member, bytes| {
            unpacked += member.size;
            ensure!(unpacked <= live.unpacked, "it unpacks to more than the server has told");
            put(&mut names, root, member, bytes)
                .with_context(|| format!("unpacking /{}", String::from_utf8_lossy(&member.name)))
        })?;
    }
    Ok(unpacked)
}

/// Files that have several names: by archive and number, the first of them.
type Names = HashMap<(usize, (u64, u64, u64)), PathBuf>;

fn put(names: &mut Names, root: &Path, member: &Member, bytes: &mut dyn Read) -> Result<()> {
    let path = root.join(OsStr::from_bytes(&member.name));
    ensure!(path.components().all(|c| c != Component::ParentDir), "its path leads out of its folder");
    let kind = SFlag::from_bits_truncate(member.mode) & SFlag::S_IFMT;
    let permissions = member.mode & 0o7777;
    if kind == SFlag::S_IFDIR {
        if !fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            // A link to a folder stands for it.
            if fs::metadata(&path).is_ok_and(|m| m.is_dir()) {
                return Ok(());
            }
            remove(&path)?;
            fs::create_dir(&path)?;
        }
        return owned(&path, member, Some(permissions));
    }
    if kind == SFlag::S_IFREG {
        return file(names, &path, member, bytes);
    }
    remove(&path)?;
    if kind == SFlag::S_IFLNK {
        let mut target = Vec::new();
        bytes.take(MAX_LINK).read_to_end(&mut target)?;
        symlink(OsStr::from_bytes(&target), &path)?;
        return owned(&path, member, None);
    }
    let device = makedev(member.device.0, member.device.1);
    mknod(&path, kind, Mode::from_bits_truncate(permissions), device)?;
    owned(&path, member, Some(permissions))
}

fn file(names: &mut Names, path: &Path, member: &Member, bytes: &mut dyn Read) -> Result<()> {
    let number = (member.archive, member.inode);
    let other = names.get(&number).filter(|_| member.links > 1);
    let mut to = match other {
        Some(first) => {
            remove(path)?;
            fs::hard_link(first, path)?;
            File::options().write(true).open(path)?
        }
        None => {
            if fs::symlink_metadata(path).is_ok_and(|m| !m.is_file()) {
                remove(path)?;
            }
            File::create(path)?
        }
    };
    if member.links > 1 {
        names.entry(number).or_insert_with(|| path.to_owned());
    }
    io::copy(bytes, &mut to)?;
    owned(path, member, Some(member.mode & 0o7777))
}

fn owned(path: &Path, member: &Member, permissions: Option<u32>) -> Result<()> {
    lchown(path, Some(member.uid), Some(member.gid))?;
    if let Some(permissions) = permissions {
        fs::set_permissions(path, Permissions::from_mode(permissions))?;
    }
    Ok(())
}

/// What an earlier archive has put there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::{live::IsoPart, manifest::Family};
    use std::{fmt::Write, io, process::Command};

    fn unpacked(archives: &[u8], most: u64) -> Result<tempfile::TempDir> {
        let (dir, mut iso) = (tempfile::tempdir()?, tempfile::tempfile()?);
        io::Write::write_all(&mut iso, &[&[7; 2048][..], archives].concat())?;
        let part = IsoPart { at: 2048, size: archives.len() as u64 };
        let live = LiveInitrd { family: Family::LiveBoot, unpacked: most, parts: vec![part] };
        initrd(&iso, &live, dir.path()).map(|_| dir)
    }

    fn sh(script: &str) -> Vec<u8> {
        let out = Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// Two archives by cpio(1): the second one replaces a file and a link of the first, and goes through a link to a folder.
    #[test]
    fn as_cpio_unpacks_it() {
        let archives = sh(
            "d=$(mktemp -d); trap 'rm -r $d' EXIT; cd $d; mkdir -p a/usr/lib a/etc b/lib b/etc; \
             pack() { (cd $1; find . -mindepth 1 | sort | cpio -o -H newc --quiet); }; \
             echo init >a/init; chmod 755 a/init; ln -s usr/lib a/lib; echo one >a/etc/f; ln a/etc/f a/etc/g; \
             ln -s f a/etc/l; mkfifo -m 600 a/etc/p; pack a | zstd -q; \
             echo two >b/lib/two; echo new >b/etc/l; chmod 4750 b/etc/l; pack b | gzip",
        );
        let dir = unpacked(&archives, 1 << 20).unwrap();
        let mut seen = String::new();
        for name in ["init", "lib", "usr/lib/two", "etc/f", "etc/g", "etc/l", "etc/p"] {
            let meta = fs::symlink_metadata(dir.path().join(name)).unwrap();
            let text =
                if meta.is_file() { fs::read_to_string(dir.path().join(name)).unwrap() } else { "\n".into() };
            let links = std::os::unix::fs::MetadataExt::nlink(&meta);
            write!(seen, "{name} {:o} {links} {text}", meta.permissions().mode()).unwrap();
        }
        assert_eq!(
            seen,
            "init 100755 1 init\nlib 120777 1 \nusr/lib/two 100644 1 two\netc/f 100644 2 one\netc/g 100644 2 one\n\
             etc/l 104750 1 new\netc/p 10600 1 \n"
        );
        let e = format!("{:#}", unpacked(&archives, 10).unwrap_err());
        assert!(e.contains("more than the server has told"), "{e}");
    }

    #[test]
    fn nothing_is_put_outside() {
        let member = |name: &str| {
            let fields = [1, 0o100_755, 0, 0, 1, 0, 1, 0, 0, 0, 0, name.len() + 1, 0];
            let mut out =
                format!("070701{}{name}\0", fields.map(|f| format!("{f:08X}")).concat()).into_bytes();
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend_from_slice(b"x\0\0\0");
            out
        };
        for name in ["../x", "a/../../x", "/../x"] {
            let e = format!("{:#}", unpacked(&member(name), 100).unwrap_err());
            assert!(e.contains("leads out of its folder"), "{name}: {e}");
        }
    }
}
