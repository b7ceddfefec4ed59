// SPDX-License-Identifier: GPL-3.0-or-later
//! The file that is served, and the loop devices on it.

use super::{
    keeper::{Held, PROGRAM},
    kernel,
    reads::Kept,
    serve::Serve,
    wire::{MAX_READ, MODE},
};
use crate::mounts;
use anyhow::{Context, bail};
use bootspec::Exit;
use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};
use swarm::Demand;
use sys_mount::{FilesystemType, Mount, MountFlags};

const DEVICE: &str = "/dev/fuse";
/// Below the agent's folder: reads that wait.
const READS: &str = "stream.reads";

/// A payload that can be read before it is complete.
pub struct Stream {
    pub(super) serve: Arc<Serve>,
    /// The file that is served.
    path: PathBuf,
    /// The payload's own file, for reading.
    plain: File,
    /// Loop devices on the served file.
    loops: Vec<File>,
}

impl Stream {
    /// Serve the payload at `plain`, as another file below `run`.
    pub fn open(run: &Path, plain: &Path, demand: Demand) -> anyhow::Result<Self> {
        let path = run.join("stream");
        mounts::detach(&path);
        File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let device = device(&path)?;
        mount(&device, &path)?;
        Self::serve(path, plain, device, Kept::new(&run.join(READS))?, demand)
    }

    /// Go on where an earlier process has died, which had the payload at `plain`, below `run`.
    pub fn again(run: &Path, plain: &Path, held: &Held, demand: Demand) -> anyhow::Result<Self> {
        let copy = |f: &File| f.try_clone().context("sharing a file");
        let loops = held.loops.iter().map(copy).collect::<Result<_, _>>()?;
        let (path, kept) = (run.join("stream"), Kept::left(&run.join(READS))?);
        Ok(Self { loops, ..Self::serve(path, plain, copy(&held.device)?, kept, demand)? })
    }

    fn serve(path: PathBuf, plain: &Path, device: File, kept: Kept, demand: Demand) -> anyhow::Result<Self> {
        let open = || File::open(plain).with_context(|| format!("opening {}", plain.display()));
        let serve =
            Serve::new(device, open()?, kept.table, demand).context("reading the payload's length")?;
        let (serve, slot) = (Arc::new(serve), kept.slot);
        let this = serve.clone();
        std::thread::Builder::new()
            .name("stream".into())
            .spawn(move || {
                if let Err(e) = this.run(slot) {
                    this.give_up(format!("reading {DEVICE}: {e}"));
                }
            })
            .context("starting a thread")?;
        Ok(Self { serve, path, plain: open()?, loops: Vec::new() })
    }

    /// The file that is served.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing more will come, if so.
    pub fn end(&self) -> Option<String> {
        self.serve.end()
    }

    /// Everybody who reads it has it open, by loop devices: nobody else needs to see it, and no mount namespace to keep it.
    pub fn hide(&mut self) -> anyhow::Result<()> {
        self.loops = loops_on(&self.path)?;
        if self.loops.is_empty() {
            bail!("no loop device is on {}", self.path.display());
        }
        mounts::detach(&self.path);
        Ok(())
    }

    /// Serve it no longer, before anybody uses it.
    pub fn close(self) {
        mounts::detach(&self.path);
    }

    /// What a keeper holds, once it is hidden.
    pub fn held(&self, kmsg: &Path) -> io::Result<Held> {
        let loops = self.loops.iter().map(File::try_clone).collect::<Result<_, _>>()?;
        let kmsg = File::options().write(true).open(kmsg).ok();
        let null = Some(File::options().read(true).write(true).open("/dev/null")?);
        Ok(Held { device: self.serve.device()?, kmsg, loops, null })
    }

    /// All is here: its users read the plain file from now on. Waits for reads that are under way, which others answer.
    ///
    /// In a process of its own, since that wait cannot be killed: if this process dies meanwhile, nothing of it may stay, or
    /// nobody takes its place and answers those reads.
    pub fn change(&self) -> anyhow::Result<()> {
        self.loops.iter().try_for_each(|device| self.change_one(device))
    }

    fn change_one(&self, device: &File) -> anyhow::Result<()> {
        let share = |f: &File| f.try_clone().map(Stdio::from).context("sharing a file");
        loop {
            let mut program = Command::new(PROGRAM);
            program.arg("change").stdin(share(device)?).stdout(share(&self.plain)?).stderr(Stdio::piped());
            let ended = program.output().with_context(|| format!("starting {PROGRAM}"))?;
            match ended.status.code() {
                Some(0) => return Ok(()),
                Some(_) => bail!(
                    "changing the file below the loop device: {}",
                    String::from_utf8_lossy(&ended.stderr).trim_end()
                ),
                // Somebody has killed it.
                None => {}
            }
        }
    }
}

/// That process: a loop device is its standard input, and the file that it gets its standard output.
pub fn change() -> Exit {
    match kernel::change(&io::stdin(), &io::stdout()) {
        Ok(()) => Exit::Ok,
        Err(e) => {
            eprintln!("{}", e.desc());
            Exit::Storage
        }
    }
}

/// The kernel's side of it. Its module is loaded when somebody wants to mount such a filesystem, and only then.
fn device(at: &Path) -> anyhow::Result<File> {
    let open = || File::options().read(true).write(true).open(DEVICE);
    open()
        .or_else(|_| {
            let _ = Mount::builder().fstype(FilesystemType::Manual("fuse")).mount("boottorrent", at);
            open()
        })
        .with_context(|| format!("opening {DEVICE} (is the kernel module fuse in the initrd?)"))
}

/// Mount it: the root of this filesystem is a file.
fn mount(device: &File, at: &Path) -> anyhow::Result<()> {
    let (fd, mode, max) = (device.as_raw_fd(), MODE, MAX_READ);
    Mount::builder()
        .fstype(FilesystemType::Manual("fuse"))
        .flags(MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV)
        .data(&format!("fd={fd},rootmode={mode:o},user_id=0,group_id=0,max_read={max}"))
        .mount("boottorrent", at)
        .map(drop)
        .with_context(|| format!("mounting a FUSE file on {}", at.display()))
}

/// The loop devices below which a file lies, open.
fn loops_on(path: &Path) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").context("reading /sys/block")?.flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim_end_matches('\n')) == path {
            let node = Path::new("/dev").join(entry.file_name());
            found.push(File::open(&node).with_context(|| format!("opening {}", node.display()))?);
        }
    }
    Ok(found)
}
