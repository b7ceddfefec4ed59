// SPDX-License-Identifier: GPL-3.0-or-later
//! Real Debian images, made once and shared by every test, the demo and the
//! benchmarks: see [`image`] and [`catalogue`].

mod apt;
mod cache;
mod disk;
mod dracut;
mod initrd;
mod keys;
pub mod live;
pub mod livebuild;
mod ltsp;
pub mod managed;
mod netboot;
mod root;
mod tiny;

pub use apt::mirror_host;
pub use cache::{cached, key_of};
pub use disk::{ROOT_PARTITION, disk};
pub use initrd::initrd_with;
pub use keys::{baked, baked_by_dracut};
pub use ltsp::{LTSP_IMAGE, LTSP_SERVER, LtspRoot, NFS, ltsp, shell};
pub use netboot::{PhaseOne, phase_one};
pub use tiny::{TINY, tiny, tiny_with};

use crate::{Cmd, server_binary, workspace};
use anyhow::{Context, Result, bail};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// A Debian release that images are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Suite {
    /// Every suite that is supported.
    pub const ALL: [Suite; 2] = [Suite::Bookworm, Suite::Trixie];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
        }
    }

    /// The suite of this machine.
    pub fn own() -> Result<Suite> {
        let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
        let own = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).unwrap_or("unknown");
        match Self::ALL.into_iter().find(|s| s.as_str() == own) {
            Some(suite) => Ok(suite),
            None => bail!("this machine runs {own}: images can be made on Debian bookworm and trixie"),
        }
    }
}

/// A Debian root with systemd, its stock kernel, our hook and our agent.
#[derive(Clone, Debug)]
pub struct Image {
    suite: Suite,
    dir: PathBuf,
}

/// The image's name in a catalogue.
pub const IMAGE: &str = "debian";

/// What the kernel command line of our images needs besides what the server writes. A kernel
/// without mitigations is a third faster under emulation, and `panic=-1` makes a failure an end.
/// norandmaps: QEMU translates a program anew at each address that it is loaded to. A systemd initrd runs
/// hundreds, and when their pages are used again after it, every write to one goes through thousands of
/// translations: half of all time in page_collection_lock, and soft lockups in the guest.
/// no_timer_check: a kernel measures its timer for some ticks, and panics where this machine is too busy to give them.
pub const APPEND: &str = "console=ttyS0 mitigations=off norandmaps no_timer_check panic=-1";

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

/// A catalogue with [`disk`], called [`IMAGE`] too, as real `boottorrent image add` imported it. Shared, like [`catalogue`].
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

/// The hook files of the workspace, which images are made with.
fn hook_files(of: &str) -> Result<Vec<PathBuf>> {
    let found =
        Cmd::new("find").arg(workspace().join("initramfs-hooks").join(of)).args(["-type", "f"]).run()?;
    let mut files: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    files.sort();
    files.push(workspace().join("Makefile"));
    Ok(files)
}
