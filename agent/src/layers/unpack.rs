// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive of files over a root. No path in it leads out of the root, whatever links the image or the archive has:
//! the kernel resolves every folder inside it (openat2, RESOLVE_IN_ROOT), and the last part of a path is never followed.

use anyhow::{Context, Result, bail, ensure};
use bootspec::layer::{MAX_LAYER, MAX_MEMBERS, Values, Wish, wish};
use initrd::{Member, walk};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat},
};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{Cursor, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

/// Headers and padding of an archive, beside what is in it.
const HEADERS: u64 = 32 << 20;
/// The kernel's own limit of paths.
const MAX_LINK: u64 = 4096;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, folders and links that were put.
    pub put: usize,
    /// Names that were removed.
    pub removed: usize,
}

/// Lay an archive (cpio, packed in any way that initrds are) over the filesystem at `root`. Errors: it is not such an
/// archive, too large, or asks for what is not allowed; then a part of it may be there.
pub fn unpack(archive: &[u8], root: &Path, values: &Values) -> Result<Unpacked> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, root, flags, Mode::empty())
        .with_context(|| format!("opening {}", root.display()))?;
    let mut tree = Tree { root, values, names: HashMap::new(), done: Unpacked::default() };
    let (mut members, mut bytes) = (0, 0);
    walk(Cursor::new(archive), MAX_LAYER as u64 + HEADERS, &mut |member, from| {
        members += 1;
        bytes += member.size;
        ensure!(members <= MAX_MEMBERS, "there are more than {MAX_MEMBERS} files in it");
        ensure!(bytes <= MAX_LAYER as u64, "it unpacks to more than {MAX_LAYER} bytes");
        tree.member(member, from).with_context(|| {
            format!("/{}", bootspec::text::printable(&String::from_utf8_lossy(&member.name), 200))
        })
    })?;
    Ok(tree.done)
}

/// The first of several names of a file: its folder's path and its name.
type Name = (PathBuf, OsString);

struct Tree<'a> {
    root: OwnedFd,
    values: &'a Values,
    names: HashMap<(u64, u64, u64), Name>,
    done: Unpacked,
}

/// A place in the root.
struct Spot<'a> {
    folder: OwnedFd,
    path: PathBuf,
    name: &'a OsStr,
}

impl Tree<'_> {
    fn member(&mut self, member: &Member, bytes: &mut dyn Read) -> Result<()> {
        let (folders, wish) = wish(&member.name).map_err(anyhow::Error::msg)?;
        let path: PathBuf = folders.iter().map(|part| OsStr::from_bytes(part)).collect();
        let (name, fill) = match wish {
            Wish::Remove(_) | Wish::Empty => {
                // Where there is no folder, there is nothing to remove in it.
                if let Some(folder) = self.folder(&path, false)? {
                    self.done.removed += remove(&folder, wish)?;
                }
                return Ok(());
            }
            Wish::Put(name) => (name, false),
            Wish::Fill(name) => (name, true),
        };
        let folder = self.folder(&path, true)?.context("its folder cannot be made")?;
        let spot = Spot { folder, path, name: OsStr::from_bytes(name) };
        self.done.put += 1;
        match SFlag::from_bits_truncate(member.mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => self.put_folder(&spot, member),
            SFlag::S_IFREG => self.put_file(&spot, member, bytes, fill),
            SFlag::S_IFLNK => {
                let mut target = Vec::new();
                bytes.take(MAX_LINK).read_to_end(&mut target)?;
                spot.clear()?;
                symlinkat(OsStr::from_bytes(&target), &spot.folder, spot.name).context("making a link")?;
                let (uid, gid) = owner(member);
                fchownat(&spot.folder, spot.name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .context("giving it its owner")
            }
            _ => bail!("it is neither a file, a folder nor a link"),
        }
    }

    /// A folder inside the root, through links that the root has. `None`: there is none, and none is to be made.
    fn folder(&self, path: &Path, make: bool) -> Result<Option<OwnedFd>> {
        let mut at = self.open(Path::new("."))?;
        let mut here = PathBuf::new();
        for part in path {
            here.push(part);
            at = match self.open(&here) {
                Ok(folder) => folder,
                Err(Errno::ENOENT) if !make => return Ok(None),
                Err(Errno::ENOENT) => {
                    match mkdirat(&at, part, Mode::from_bits_truncate(0o755)) {
                        Err(Errno::EEXIST) => bail!("/{} is a link to nothing", here.display()),
                        made => made.with_context(|| format!("creating /{}", here.display()))?,
                    }
                    self.open(&here).with_context(|| format!("opening /{}", here.display()))?
                }
                Err(Errno::ENOTDIR) => bail!("/{} is not a folder", here.display()),
                Err(e) => return Err(e).with_context(|| format!("opening /{}", here.display())),
            };
        }
        Ok(Some(at))
    }

    fn open(&self, folder: &Path) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, folder, how)
    }

    /// A folder that is there, or a link to one, stays as it is: its owner and mode are the image's.
    fn put_folder(&self, spot: &Spot, member: &Member) -> Result<()> {
        if self.open(&spot.path.join(spot.name)).is_ok() {
            return Ok(());
        }
        spot.clear()?;
        mkdirat(&spot.folder, spot.name, Mode::from_bits_truncate(0o700)).context("making a folder")?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(&spot.folder, spot.name, flags, Mode::empty()).context("opening it")?;
        owned(&File::from(made), member)
    }

    fn put_file(&mut self, spot: &Spot, member: &Member, bytes: &mut dyn Read, fill: bool) -> Result<()> {
        let several = member.links > 1;
        if let Some((path, name)) = self.names.get(&member.inode).filter(|_| several) {
            ensure!(member.size == 0, "it has bytes, although it is another name of a file that has some");
            let from = self.folder(path, false)?.context("the file whose other name it is is not there")?;
            spot.clear()?;
            return linkat(&from, name.as_os_str(), &spot.folder, spot.name, AtFlags::empty())
                .context("giving a file another name");
        }
        spot.clear()?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&spot.folder, spot.name, flags, Mode::from_bits_truncate(0o600));
        let mut file = File::from(file.context("creating a file")?);
        if fill {
            let mut template = Vec::new();
            bytes.read_to_end(&mut template)?;
            let filled = self.values.fill(&template);
            ensure!(filled.len() <= MAX_LAYER, "filled in, it is too large");
            file.write_all(&filled).context("writing")?;
        } else {
            std::io::copy(bytes, &mut file).context("writing")?;
        }
        if several {
            self.names
                .insert(member.inode, (spot.path.clone(), OsString::from_vec(spot.name.as_bytes().to_vec())));
        }
        owned(&file, member)
    }
}

impl Spot<'_> {
    /// Take away the file or link that is here. Errors: it is a folder.
    fn clear(&self) -> Result<()> {
        match look(&self.folder, self.name)? {
            None => Ok(()),
            Some(there) if is_folder(&there) => {
                bail!(
                    "the image has a folder of this name: remove it first with {}NAME",
                    bootspec::layer::WHITEOUT
                )
            }
            Some(_) => unlinkat(&self.folder, self.name, UnlinkatFlags::NoRemoveDir)
                .context("removing what is there"),
        }
    }
}

fn look(folder: &OwnedFd, name: &OsStr) -> Result<Option<FileStat>> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(None),
        found => found.map(Some).context("looking what is there"),
    }
}

fn is_folder(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Remove a name in a folder, or all names. How many there were.
fn remove(folder: &OwnedFd, wish: Wish) -> Result<usize> {
    // The way to an open folder that the standard library has no other name for. It follows no link below it.
    let at = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let names: Vec<OsString> = match wish {
        Wish::Remove(name) => vec![OsStr::from_bytes(name).to_owned()],
        _ => {
            let entries = fs::read_dir(&at).context("looking into a folder")?;
            entries
                .map(|e| e.map(|e| e.file_name()))
                .collect::<Result<_, _>>()
                .context("looking into a folder")?
        }
    };
    let mut gone = 0;
    for name in names {
        match look(folder, &name)? {
            None => continue,
            Some(there) if is_folder(&there) => {
                fs::remove_dir_all(at.join(&name)).context("removing a folder")?
            }
            Some(_) => {
                unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir).context("removing a file")?
            }
        }
        gone += 1;
    }
    Ok(gone)
}

fn owner(member: &Member) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
}

fn owned(file: &File, member: &Member) -> Result<()> {
    let (uid, gid) = owner(member);
    fchown(file, uid, gid).context("giving it its owner")?;
    // Afterwards: another owner takes setuid away.
    fchmod(file, Mode::from_bits_truncate(member.mode & 0o7777)).context("giving it its mode")
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
