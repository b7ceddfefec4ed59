// SPDX-License-Identifier: GPL-3.0-or-later
//! What programs may do that take apart what others have made: images, archives, compressed files. A fault in one of
//! them should cost an error, and not the server. Such a program
//!
//! * is nobody (65534) where we are root, with no privilege but that of reading, which the next line takes back;
//! * reads the files that it was given, its own libraries and little more, writes the ones that it was given, and
//!   opens no TCP connection: Landlock (landlock(7)), which is in Debian's kernels. Without it in the kernel the rest holds;
//! * has bounds on processor time, memory, and the size of files.
//!
//! Files are given as open descriptors: names lead nowhere else while it runs. `setpriv` and `prlimit` are of util-linux,
//! which every Debian has.

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::geteuid,
};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Once,
};

/// The user that has no files.
const NOBODY: u32 = 65_534;
/// The newest rules that we know of; a kernel that knows fewer applies those.
const KNOWN: ABI = ABI::V6;
/// What every program may read, and run.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/gnu"];
/// What every program may read besides.
const READ: [&str; 11] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/dev/zero",
    "/dev/urandom",
    "/proc",
    "/sys/devices/system/cpu",
];

/// A program's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds of processor time.
    pub seconds: u64,
    /// Bytes of memory, where that is bounded from here.
    pub memory: Option<u64>,
    /// Bytes of a file that it writes.
    pub file: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { seconds: 900, memory: Some(4 << 30), file: 4 << 30 }
    }
}

/// What one program may use.
#[derive(Debug, Default)]
pub struct Cage {
    /// Bounds.
    pub bounds: Bounds,
    /// Whether it stays root, where we are: it makes files of all owners.
    pub root: bool,
    files: Vec<(File, bool)>,
    folders: Vec<File>,
}

impl Cage {
    /// A file that it may read; gives the name by which it finds it.
    pub fn read(&mut self, path: &Path) -> Result<PathBuf> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        self.give(file, false).with_context(|| format!("opening {}", path.display()))
    }

    /// A file that it may write, and that is made if it is not there; likewise.
    pub fn write(&mut self, path: &Path) -> Result<PathBuf> {
        let opening = || format!("opening {}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(opening)?;
        if geteuid().is_root() && !self.root {
            // Nobody opens it by the descriptor only: the folder is ours.
            file.set_permissions(Permissions::from_mode(0o666)).with_context(opening)?;
        }
        self.give(file, true).with_context(opening)
    }

    /// A folder that it may fill; likewise.
    pub fn fill(&mut self, path: &Path) -> Result<PathBuf> {
        let opening = || format!("opening {}", path.display());
        let folder = File::open(path).with_context(opening)?;
        let name = inherited(&folder).with_context(opening)?;
        self.folders.push(folder);
        Ok(name)
    }

    fn give(&mut self, file: File, write: bool) -> io::Result<PathBuf> {
        let name = inherited(&file)?;
        self.files.push((file, write));
        Ok(name)
    }

    /// Start `program` with these words, its name among them; `dress` gives the command its streams and its environment.
    pub fn spawn(
        &self,
        program: &Path,
        words: &[OsString],
        dress: impl FnOnce(&mut Command) + Send,
    ) -> io::Result<Child> {
        // Landlock is for a thread and what it starts.
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                let locked = self.lock(program).unwrap_or(false);
                if !locked {
                    say_once();
                }
                let mut command = self.wrapped(words, locked);
                dress(&mut command);
                command.spawn()
            });
            starting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts programs died")))
        })
    }

    /// The command behind those that take privileges away and set bounds.
    fn wrapped(&self, program: &[OsString], locked: bool) -> Command {
        let Bounds { seconds, memory, file } = self.bounds;
        let mut words: Vec<OsString> = Vec::new();
        if geteuid().is_root() && !self.root {
            let unreadable =
                |(file, write): &(File, bool)| !write && file.metadata().is_ok_and(|m| m.mode() & 0o004 == 0);
            // The image may be root's alone. That it is the only file Landlock sees to.
            let caps = match locked || self.files.iter().any(unreadable) {
                true => "-all,+dac_read_search",
                false => "-all",
            };
            words.extend(
                [
                    "setpriv".to_owned(),
                    format!("--reuid={NOBODY}"),
                    format!("--regid={NOBODY}"),
                    "--clear-groups".to_owned(),
                    "--no-new-privs".to_owned(),
                    format!("--inh-caps={caps}"),
                    format!("--ambient-caps={caps}"),
                    format!("--bounding-set={caps}"),
                    "--".to_owned(),
                ]
                .map(OsString::from),
            );
        }
        words.extend(["prlimit", "--core=0"].map(OsString::from));
        words.extend(
            [format!("--cpu={seconds}:{}", seconds.saturating_add(5)), format!("--fsize={file}")]
                .map(OsString::from),
        );
        words.extend(memory.map(|m| OsString::from(format!("--as={m}"))));
        words.push("--".into());
        words.extend(program.iter().cloned());
        let mut wrapped = Command::new(&words[0]);
        wrapped.args(&words[1..]);
        wrapped
    }

    /// Bind this thread, and what it starts, to the files. `false`: this kernel cannot.
    fn lock(&self, program: &Path) -> Result<bool> {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let run = AccessFs::from_read(KNOWN);
        let read = run & !AccessFs::Execute;
        let mut rules = allowed(rules, SYSTEM.iter().map(Path::new), run)?;
        rules = allowed(rules, [program].into_iter(), run & AccessFs::from_file(KNOWN))?;
        rules = allowed(rules, READ.iter().map(Path::new), read)?;
        rules = allowed(
            rules,
            [Path::new("/dev/null")].into_iter(),
            AccessFs::from_file(KNOWN) & !AccessFs::Execute,
        )?;
        for folder in &self.folders {
            rules =
                rules.add_rule(PathBeneath::new(folder, AccessFs::from_all(KNOWN) & !AccessFs::Execute))?;
        }
        for (file, write) in &self.files {
            let may = match write {
                true => AccessFs::from_file(KNOWN) & !AccessFs::Execute,
                false => AccessFs::ReadFile.into(),
            };
            rules = rules.add_rule(PathBeneath::new(file, may))?;
        }
        Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
    }
}

/// Programs that are started get it too; the name by which they find it.
fn inherited(file: &File) -> io::Result<PathBuf> {
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}

/// What is not there needs no rule.
fn allowed<'a>(
    mut rules: RulesetCreated,
    paths: impl Iterator<Item = &'a Path>,
    may: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated> {
    for path in paths {
        let Ok(opened) = PathFd::new(path) else { continue };
        let may = match path.is_dir() {
            true => may,
            false => may & AccessFs::from_file(KNOWN),
        };
        rules = rules.add_rule(PathBeneath::new(opened, may))?;
    }
    Ok(rules)
}

fn say_once() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        eprintln!(
            "boottorrent: note: this kernel has no Landlock, or does not let us use it: programs that read images are kept from \
             other files by their user only"
        );
    });
}
