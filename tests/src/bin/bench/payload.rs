// SPDX-License-Identifier: GPL-3.0-or-later
//! What is sent: random bytes in a squashfs, in a catalogue that the real
//! `boottorrent image add` made. All in memory, so that no disk is measured.

use crate::setup::PhaseOne;
use anyhow::{Context, Result, ensure};
use boottorrent_tests::{Cmd, server_binary};
use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

/// The image's name, and its file's in the torrent.
pub const NAME: &str = "payload";

/// A folder in memory that is gone when dropped.
pub struct Memory(PathBuf);

impl Memory {
    /// A new one, and those away that interrupted runs left.
    pub fn new() -> Result<Self> {
        for entry in fs::read_dir("/dev/shm")?.flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|n| n.strip_prefix("boottorrent-bench-"));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let dir = PathBuf::from(format!("/dev/shm/boottorrent-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A payload of an exact size.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Bytes.
    pub size: u64,
    /// The catalogue with nothing but this.
    pub catalogue: PathBuf,
}

impl Payload {
    /// Make it in `memory`, or take what is there.
    pub fn new(memory: &Path, size: u64) -> Result<Self> {
        let dir = memory.join(format!("size-{size}"));
        let payload = Self { size, catalogue: dir.join("catalogue") };
        if !dir.exists() {
            fs::create_dir(&dir)?;
            payload.make(&dir).with_context(|| format!("making a payload of {size} bytes"))?;
        }
        Ok(payload)
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.catalogue.join("images").join(NAME).join("payload")
    }

    fn make(&self, dir: &Path) -> Result<()> {
        let (content, image) = (dir.join("content"), dir.join("payload.squashfs"));
        fs::create_dir(&content)?;
        // What the file system itself takes; the rest is filled up with zeros.
        let overhead = 16_384 + self.size / 4096;
        let mut random = File::open("/dev/urandom")?.take(self.size - overhead);
        std::io::copy(&mut random, &mut File::create(content.join("random"))?)?;
        Cmd::new("mksquashfs")
            .args([&content, &image])
            .args(["-noappend", "-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX"])
            .run()?;
        fs::remove_dir_all(&content)?;
        let made = fs::metadata(&image)?.len();
        ensure!(made <= self.size, "the squashfs has {made} bytes");
        File::options().write(true).open(&image)?.set_len(self.size)?;
        let (kernel, initrd) = (dir.join("vmlinuz"), dir.join("initrd"));
        fs::write(&kernel, kernel_head())?;
        archive(dir, &initrd)?;
        Cmd::new(server_binary()?)
            .args(["image", "add", "--name", NAME, "--dir"])
            .arg(&self.catalogue)
            .arg("--kernel")
            .arg(&kernel)
            .arg("--initrd")
            .arg(&initrd)
            .arg(&image)
            .run()?;
        fs::remove_file(&image).context("removing the squashfs")
    }

    /// Make its kernel and initrd as large as those of a real image; what is in them does not matter here.
    pub fn set_phase_one(&self, to: PhaseOne) -> Result<()> {
        let folder = self.catalogue.join("images").join(NAME);
        for (file, size) in [("vmlinuz", to.kernel), ("initrd", to.initrd)] {
            let path = folder.join(file);
            let file = File::options().write(true).open(&path);
            file.and_then(|f| f.set_len(size)).with_context(|| format!("resizing {}", path.display()))?;
        }
        Ok(())
    }

    /// An error unless the file is the payload, byte for byte.
    pub fn compare(&self, with: &Path) -> Result<()> {
        let open = |path: &Path| -> Result<_> {
            let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            Ok(BufReader::with_capacity(1 << 20, file))
        };
        let (mut ours, mut theirs) = (open(&self.file())?, open(with)?);
        let mut pair = (vec![0; 1 << 20], vec![0; 1 << 20]);
        let mut at = 0;
        while at < self.size {
            let n = (self.size - at).min(1 << 20) as usize;
            ours.read_exact(&mut pair.0[..n])?;
            theirs.read_exact(&mut pair.1[..n]).with_context(|| format!("{} is short", with.display()))?;
            ensure!(pair.0[..n] == pair.1[..n], "{} differs near byte {at}", with.display());
            at += n as u64;
        }
        ensure!(theirs.read(&mut [0])? == 0, "{} is too long", with.display());
        Ok(())
    }
}

/// As much of a kernel as is looked at: nothing here is booted.
fn kernel_head() -> Vec<u8> {
    let mut head = vec![0; 4096];
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    head[514..518].copy_from_slice(b"HdrS");
    head
}

/// As much of an initrd: an archive that names our boot script and our agent.
fn archive(dir: &Path, to: &Path) -> Result<()> {
    let names = ["scripts/boottorrent", "usr/bin/boottorrent-agent"];
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, "")?;
    }
    let mut cpio = std::process::Command::new("cpio")
        .args(["-o", "-H", "newc", "--quiet"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(File::create(to)?)
        .spawn()
        .context("starting cpio")?;
    cpio.stdin.take().context("cpio's input")?.write_all(names.join("\n").as_bytes())?;
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found() {
        let dir = std::env::temp_dir().join(format!("boottorrent-bench-test-{}", std::process::id()));
        let payload = Payload { size: 5, catalogue: dir.clone() };
        fs::create_dir_all(payload.file().parent().unwrap()).unwrap();
        fs::write(payload.file(), "right").unwrap();
        let verdict = |content: &str| {
            let copy = dir.join("copy");
            fs::write(&copy, content).unwrap();
            payload.compare(&copy)
        };
        assert!(verdict("right").is_ok());
        assert!(verdict("wrong").is_err());
        assert!(verdict("righ").is_err());
        assert!(verdict("rights").is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
