// SPDX-License-Identifier: GPL-3.0-or-later
//! What the next root starts with, read into the page cache while the machine is still in use: unpacking it is a good part
//! of a switch.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// systemd, its units, and what they start. All of it is small.
const FOLDERS: [&str; 5] =
    ["usr/lib/systemd", "usr/lib/udev", "usr/lib/tmpfiles.d", "usr/lib/sysusers.d", "etc"];
/// What units start in other folders.
const PROGRAMS: [&str; 9] = [
    "bash",
    "dash",
    "kmod",
    "mount",
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "udevadm",
    "umount",
];
/// Folders in folders.
const DEPTH: usize = 6;
/// Bytes that are read at most. They are page cache: who needs the memory gets it.
const MOST: u64 = 128 << 20;

/// Read them. `root`: the next one, from the one that runs.
pub fn warm(root: &Path) {
    let mut left = MOST;
    for path in running(Path::new("/proc")) {
        read(&root.join(path.strip_prefix("/").unwrap_or(&path)), &mut left);
    }
    for program in PROGRAMS {
        read(&root.join("usr/bin").join(program), &mut left);
    }
    for folder in FOLDERS {
        read_all(&root.join(folder), DEPTH, &mut left);
    }
}

/// Programs and libraries that processes run here: an image like this one runs them again.
fn running(proc: &Path) -> BTreeSet<PathBuf> {
    let maps = fs::read_dir(proc).into_iter().flatten().flatten().map(|e| e.path().join("maps"));
    let text = maps.filter_map(|file| fs::read_to_string(file).ok());
    text.flat_map(|t| t.lines().filter_map(mapped).collect::<Vec<_>>()).collect()
}

/// The file of a line of proc_pid_maps(5).
fn mapped(line: &str) -> Option<PathBuf> {
    let at = line.find('/')?;
    let path = &line[at..];
    (!path.ends_with(" (deleted)")).then(|| path.into())
}

fn read_all(folder: &Path, depth: usize, left: &mut u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => read_all(&entry.path(), depth - 1, left),
            Ok(kind) if kind.is_file() => read(&entry.path(), left),
            _ => {}
        }
    }
}

/// What cannot be read is read when it is needed. Only files: to open a device may do something, and a pipe would wait.
fn read(file: &Path, left: &mut u64) {
    if !fs::symlink_metadata(file).is_ok_and(|m| m.is_file()) {
        return;
    }
    let copied = File::open(file).and_then(|f| io::copy(&mut f.take(*left), &mut io::sink()));
    *left -= copied.unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_known_by_the_kernels_maps() {
        assert!(running(Path::new("/proc")).contains(&std::env::current_exe().unwrap()));
        assert_eq!(mapped("7f00-7f01 r-xp 00000000 fe:00 12   /usr/bin/ls (deleted)"), None);
        assert_eq!(mapped("7f00-7f01 rw-p 00000000 00:00 0   [heap]"), None);
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_the_bound_holds() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("etc");
        fs::create_dir(&at).unwrap();
        nix::unistd::mkfifo(&at.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(at.join("file"), [0; 1000]).unwrap();
        for (most, left) in [(1500, 500), (600, 0)] {
            let mut bytes = most;
            read_all(&at, DEPTH, &mut bytes);
            assert_eq!(bytes, left);
        }
    }
}
