// SPDX-License-Identifier: GPL-3.0-or-later
//! Root's work in folders of others. The catalogue belongs to the server's user, and whoever has taken over the
//! server can put links wherever root is going to write, read or chmod. So root works there as that user: a link
//! leads to nothing that its maker could not reach without root.
//!
//! Linux has an identity for files alone, for each thread (setfsuid(2)): root's power over files
//! (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN…) goes with it, and comes back with it. A program that is started
//! meanwhile is root again.

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, fstat, mkdirat},
    unistd::{Gid, Uid, geteuid, setfsgid, setfsuid, setgroups},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    marker::PhantomData,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
    sync::Once,
};

/// Links followed on the way to a folder.
const MAX_LINKS: usize = 40;

/// Who owns files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
}

const ROOT: Owner = Owner { uid: Uid::from_raw(0), gid: Gid::from_raw(0) };

impl Owner {
    /// As whom root should work at `path`: the owner of the first folder on the way that is not root's, since that
    /// owner can make everything below it mean something else. Not root: as ourselves.
    pub fn of(path: &Path) -> io::Result<Owner> {
        let ours = Owner { uid: geteuid(), gid: nix::unistd::getegid() };
        if !ours.uid.is_root() {
            return Ok(ours);
        }
        Ok(first_other(&std::path::absolute(path)?)?.unwrap_or(ROOT))
    }

    /// Whether root works for somebody else here.
    pub fn is_other(self) -> bool {
        geteuid().is_root() && self != ROOT && !self.uid.is_root()
    }
}

fn first_other(path: &Path) -> io::Result<Option<Owner>> {
    let parts = |p: &Path| -> VecDeque<OsString> {
        p.components().map(|c: Component| c.as_os_str().to_owned()).collect()
    };
    let held = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let (mut here, mut todo, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = todo.pop_front() {
        match part.to_str() {
            Some("/") => here = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => drop(here.pop()),
            _ => here.push(&part),
        }
        let meta = match fs::symlink_metadata(&here) {
            // The rest is made by us.
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            meta => meta?,
        };
        if meta.uid() != 0 {
            return Ok(Some(Owner { uid: meta.uid().into(), gid: meta.gid().into() }));
        }
        if meta.is_symlink() && here.parent() == Some(&held) {
            // A folder that is held: it is what it is, wherever its name leads.
            let meta = fs::metadata(&here)?;
            if meta.uid() != 0 {
                return Ok(Some(Owner { uid: meta.uid().into(), gid: meta.gid().into() }));
            }
        } else if meta.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(nix::errno::Errno::ELOOP.into());
            }
            let mut to = parts(&fs::read_link(&here)?);
            here.pop();
            to.append(&mut todo);
            todo = to;
        }
    }
    Ok(None)
}

/// While it lives, this thread's work on files is somebody else's. It must not leave the thread, so never hold it across `await`.
pub struct Acting {
    before: Option<Owner>,
    _not_send: PhantomData<*const ()>,
}

/// Work on files as `owner` from now on. Where we are not root, nothing changes.
pub fn act_as(owner: Owner) -> Acting {
    if !geteuid().is_root() {
        return Acting { before: None, _not_send: PhantomData };
    }
    // Root's groups would still open what is readable for them. Root needs none of them.
    static GROUPS: Once = Once::new();
    // Refused only where groups cannot be dropped at all: in some user namespaces.
    GROUPS.call_once(|| {
        let _ = setgroups(&[]);
    });
    let gid = setfsgid(owner.gid);
    let uid = setfsuid(owner.uid);
    Acting { before: Some(Owner { uid, gid }), _not_send: PhantomData }
}

/// Work on files as whoever owns `path`, or the first folder above it that is not root's.
pub fn act_for(path: &Path) -> io::Result<Acting> {
    Owner::of(path).map(act_as)
}

/// Work on files as root again, for a moment.
pub fn act_as_root() -> Acting {
    act_as(ROOT)
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            setfsuid(before.uid);
            setfsgid(before.gid);
        }
    }
}

/// A folder that nobody can exchange for another any more. Errors: its owner has put something else in its place.
pub fn hold(path: &Path) -> Result<OwnedFd> {
    let opening = || format!("opening {}", path.display());
    let owner = Owner::of(path).with_context(opening)?;
    let _acting = act_as(owner);
    let how = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::open(path, how, Mode::empty()).with_context(opening)?;
    if owner.is_other() && fstat(&folder).with_context(opening)?.st_uid != owner.uid.as_raw() {
        bail!("{} is not its owner's any more: something else was put in its place", path.display());
    }
    Ok(folder)
}

/// A folder in `above` that is ours alone, and a path to it that leads nowhere else as long as it is held.
pub fn private(above: &Path, name: &str) -> Result<(OwnedFd, PathBuf)> {
    let shown = above.join(name);
    let above = hold(above)?;
    match mkdirat(&above, name, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => {}
        made => made.with_context(|| format!("creating {}", shown.display()))?,
    }
    let how = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder =
        openat(&above, name, how, Mode::empty()).with_context(|| format!("opening {}", shown.display()))?;
    let is = fstat(&folder).with_context(|| format!("opening {}", shown.display()))?;
    if is.st_uid != geteuid().as_raw() || is.st_mode & 0o077 != 0 {
        bail!("{} is not ours alone: delete it", shown.display());
    }
    let path = by_descriptor(&folder);
    Ok((folder, path))
}

/// A path to an open folder, also for programs that we start.
pub fn by_descriptor(folder: &impl AsRawFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), folder.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn the_first_other_owner_counts_and_its_power_is_all_there_is() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(theirs.join("below")).unwrap();
        chown(&theirs, Some(4711), Some(4712)).unwrap();
        fs::write(&ours, "secret").unwrap();
        fs::set_permissions(&ours, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        symlink(&theirs, dir.path().join("link")).unwrap();
        symlink(&ours, theirs.join("trap")).unwrap();
        let other = Owner { uid: Uid::from_raw(4711), gid: Gid::from_raw(4712) };
        for path in ["theirs", "theirs/below/x/y", "link/below", "link/../theirs/new", "theirs/trap"] {
            assert_eq!(Owner::of(&dir.path().join(path)).unwrap(), other, "{path}");
        }
        assert_eq!(Owner::of(&dir.path().join("new/x")).unwrap(), ROOT);
        {
            let _acting = act_for(&theirs).unwrap();
            assert!(fs::read(theirs.join("trap")).is_err() && fs::write(theirs.join("trap"), "x").is_err());
            fs::write(theirs.join("new"), "x").unwrap();
            {
                let _root = act_as_root();
                assert_eq!(fs::read(&ours).unwrap(), b"secret");
            }
            assert!(fs::read(&ours).is_err());
        }
        assert_eq!(fs::read(&ours).unwrap(), b"secret");
        let made = fs::metadata(theirs.join("new")).unwrap();
        assert_eq!((made.uid(), made.gid()), (4711, 4712));
    }
}
