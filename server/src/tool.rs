// SPDX-License-Identifier: GPL-3.0-or-later
//! Other programs: how every one of them is run. An error names the whole
//! command and ends with what the program said last; a program that is not
//! there is asked for by its Debian package.

use crate::{
    cage::{Bounds, Cage},
    interrupt,
};
use anyhow::{Context, Result, bail};
use bootspec::units::human_size;
use signal_hook::consts::{SIGPIPE, SIGXCPU, SIGXFSZ};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How much of a program's stderr goes into the error.
const TAIL: usize = 1024;

/// One run of another program.
pub struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Stdio,
    stdout: Stdio,
    package: &'static str,
    /// What it may do, if that is not all that we may.
    cage: Option<Cage>,
    /// Names of files as it sees them, and as people know them.
    known: Vec<(String, String)>,
}

/// Where programs are: debugfs and mkfs.erofs live in sbin, which plain users do not have in PATH.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// A program's file.
fn find(program: &OsStr) -> Option<PathBuf> {
    let runs = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0);
    std::env::split_paths(&path()).map(|d| d.join(program)).find(runs)
}

/// Whether a program is installed.
pub fn is_there(program: &str) -> bool {
    find(program.as_ref()).is_some()
}

impl Tool {
    /// `program`, which the Debian package `package` has.
    pub fn new(program: &str, package: &'static str) -> Tool {
        let (stdin, stdout) = (Stdio::null(), Stdio::inherit());
        let env = vec![("PATH".into(), path()), ("LC_ALL".into(), "C".into())];
        Tool {
            program: program.into(),
            args: Vec::new(),
            env,
            stdin,
            stdout,
            package,
            cage: None,
            known: Vec::new(),
        }
    }

    /// A program that takes apart what others have made: it may use the files that it is given, and nothing else
    /// ([`crate::cage`]).
    pub fn parser(program: &str, package: &'static str) -> Tool {
        Tool { cage: Some(Cage::default()), ..Tool::new(program, package) }
    }

    /// The same with other bounds.
    pub fn bounds(mut self, change: impl FnOnce(&mut Bounds)) -> Tool {
        if let Some(cage) = &mut self.cage {
            change(&mut cage.bounds);
        }
        self
    }

    /// It stays root where we are, since what it makes belongs to many.
    pub fn as_root(mut self) -> Tool {
        if let Some(cage) = &mut self.cage {
            cage.root = true;
        }
        self
    }

    /// One more argument: a folder that it fills.
    pub fn into_folder(mut self, folder: &Path, word: impl FnOnce(&str) -> String) -> Result<Tool> {
        let name = match &mut self.cage {
            Some(cage) => cage.fill(folder)?,
            None => folder.to_owned(),
        };
        Ok(self.named(name, folder, word))
    }

    /// One more argument: a file that it reads.
    pub fn file(self, path: &Path) -> Result<Tool> {
        self.file_as(path, |name| name.into())
    }

    /// The same, in the way in which the program wants it: `word` is given the file's name.
    pub fn file_as(mut self, path: &Path, word: impl FnOnce(&str) -> String) -> Result<Tool> {
        let name = match &mut self.cage {
            Some(cage) => cage.read(path)?,
            None => path.to_owned(),
        };
        Ok(self.named(name, path, word))
    }

    /// One more argument: a file that it writes.
    pub fn to_file(mut self, path: &Path) -> Result<Tool> {
        let name = match &mut self.cage {
            Some(cage) => cage.write(path)?,
            None => path.to_owned(),
        };
        Ok(self.named(name, path, |name| name.into()))
    }

    fn named(mut self, name: PathBuf, path: &Path, word: impl FnOnce(&str) -> String) -> Tool {
        let name = name.to_string_lossy().into_owned();
        self.args.push(word(&name).into());
        self.known.push((name, path.to_string_lossy().into_owned()));
        self
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.args.push(arg.as_ref().into());
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Tool {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What the program reads.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Tool {
        self.stdin = from.into();
        self
    }

    /// Run it; what it prints goes nowhere. `watch` is called a few times a second.
    pub fn run(self, watch: &mut dyn FnMut()) -> Result<()> {
        self.run_watched(&mut || {
            watch();
            Ok(())
        })
    }

    /// The same; an error of `watch` ends the program.
    pub fn run_watched(mut self, watch: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.stdout = Stdio::null();
        self.spawn()?.wait_watched(watch)
    }

    /// The same; comes back with what it said on stderr, of which there may be something even when all went well.
    pub fn run_heard(mut self, watch: &mut dyn FnMut() -> Result<()>) -> Result<String> {
        self.stdout = Stdio::null();
        self.spawn()?.wait_heard(watch)
    }

    /// Run it; what it prints goes into `file`.
    pub fn run_into(mut self, file: &File) -> Result<()> {
        self.stdout = file.try_clone().context("duplicating a file handle")?.into();
        self.spawn()?.wait(&mut || ())
    }

    /// Run it; what it prints comes back, at most `limit` bytes of it.
    pub fn output(mut self, limit: usize) -> Result<String> {
        self.stdout = Stdio::piped();
        let mut running = self.spawn()?;
        let mut out = Vec::new();
        let stdout = running.stdout.take().context("taking stdout")?;
        stdout
            .take(limit as u64 + 1)
            .read_to_end(&mut out)
            .with_context(|| format!("reading from `{}`", running.line))?;
        if out.len() > limit {
            bail!("`{}` printed more than {limit} bytes", running.line);
        }
        running.wait(&mut || ())?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// What [`Tool::output`] gives, of a program that is killed when `time` is over.
    pub fn output_within(mut self, limit: usize, time: Duration) -> Result<String> {
        self.stdout = Stdio::piped();
        let mut running = self.spawn()?;
        let stdout = running.stdout.take().context("taking stdout")?;
        let line = running.line.clone();
        let reader = thread::spawn(move || {
            let mut out = Vec::new();
            stdout.take(limit as u64 + 1).read_to_end(&mut out).map(|_| out)
        });
        let end = Instant::now() + time;
        running.wait_watched(&mut || match Instant::now() < end {
            true => Ok(()),
            false => bail!("`{line}` took more than {} s: it was stopped", time.as_secs()),
        })?;
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("its reader died")));
        let out = read.with_context(|| format!("reading from `{line}`"))?;
        if out.len() > limit {
            bail!("`{line}` printed more than {limit} bytes");
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Start it; what it prints is read from what comes back.
    pub fn reader(mut self) -> Result<Running> {
        self.stdout = Stdio::piped();
        self.spawn()
    }

    fn spawn(self) -> Result<Running> {
        let words: Vec<OsString> = std::iter::once(&self.program).chain(&self.args).cloned().collect();
        let line = words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let line = as_known(&line, &self.known);
        let Some(program) = find(&self.program) else {
            let program = self.program.to_string_lossy();
            bail!("the program {program} is not installed: run `apt install {}`", self.package)
        };
        let dress = |command: &mut Command| {
            // squashfs-tools refuse -mkfs-time beside it.
            command.env_remove("SOURCE_DATE_EPOCH").envs(self.env);
            command.stdin(self.stdin).stdout(self.stdout).stderr(Stdio::piped());
        };
        let bounds = self.cage.as_ref().map(|c| c.bounds);
        let started = match &self.cage {
            Some(cage) => cage.spawn(&program, &words, dress),
            None => {
                let mut command = Command::new(&self.program);
                command.args(&self.args);
                dress(&mut command);
                command.spawn()
            }
        };
        let mut child = started.with_context(|| format!("starting `{line}`"))?;
        let stderr = child.stderr.take().map(|e| thread::spawn(move || tail(e)));
        let known = self.known;
        Ok(Running { stdout: child.stdout.take(), child, stderr, line, unread: false, known, bounds })
    }
}

/// With files as people know them.
fn as_known(text: &str, known: &[(String, String)]) -> String {
    known.iter().fold(text.to_owned(), |text, (name, path)| text.replace(name, path))
}

/// A program that runs. Dropped before its end, it is killed.
pub struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    line: String,
    unread: bool,
    known: Vec<(String, String)>,
    bounds: Option<Bounds>,
}

impl Running {
    /// The stream of what it prints, for another program's stdin.
    pub fn take_stdout(&mut self) -> Result<Stdio> {
        Ok(self.stdout.take().context("taking stdout")?.into())
    }

    /// Wait for its end; killed if the user wants us to end.
    pub fn wait(self, watch: &mut dyn FnMut()) -> Result<()> {
        self.wait_watched(&mut || {
            watch();
            Ok(())
        })
    }

    /// The same; an error of `watch` ends the program.
    pub fn wait_watched(self, watch: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.wait_heard(watch).map(drop)
    }

    /// The same; comes back with the last that it said on stderr.
    pub fn wait_heard(mut self, watch: &mut dyn FnMut() -> Result<()>) -> Result<String> {
        drop(self.stdout.take());
        let status = loop {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("waiting for `{}`", self.line))?
            {
                break status;
            }
            interrupt::check()?;
            watch()?;
            thread::sleep(Duration::from_millis(20));
        };
        // A ^C on the terminal ends the program as well as us: then that is what happened.
        interrupt::check()?;
        self.judge(status)
    }

    /// As [`Running::wait`], for a program whose reader has all it wanted: that
    /// the end of what it printed was not read is not an error.
    pub fn wait_unread(mut self) -> Result<()> {
        self.unread = true;
        self.wait(&mut || ())
    }

    fn judge(&mut self, status: ExitStatus) -> Result<String> {
        if let (Some(bounds), Some(signal)) = (self.bounds, status.signal()) {
            match signal {
                SIGXFSZ => {
                    bail!("`{}` wrote more than {}: it was stopped", self.line, human_size(bounds.file))
                }
                SIGXCPU => bail!(
                    "`{}` took more than {} s of processor time: it was stopped",
                    self.line,
                    bounds.seconds
                ),
                _ => {}
            }
        }
        let said = self.stderr.take().and_then(|t| t.join().ok()).unwrap_or_default();
        if status.success() || (self.unread && status.signal() == Some(SIGPIPE)) {
            return Ok(said);
        }
        let said = said.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ");
        let said = as_known(&said, &self.known);
        bail!(
            "`{}` failed ({status}): {}",
            self.line,
            if said.is_empty() { "it said nothing" } else { said.as_str() }
        )
    }
}

impl Read for Running {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stdout.as_mut().map_or(Ok(0), |s| s.read(buf))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Read to the end, keep the last [`TAIL`] bytes.
fn tail(mut stderr: ChildStderr) -> String {
    let (mut kept, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stderr.read(&mut buf) {
        kept.extend_from_slice(&buf[..n]);
        let extra = kept.len().saturating_sub(TAIL);
        kept.drain(..extra);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_command_and_reason() {
        let e = Tool::new("ls", "coreutils").arg("/nonexistent").run(&mut || ()).unwrap_err().to_string();
        assert!(e.starts_with("`ls /nonexistent` failed (exit status: 2): ls: cannot access"), "{e}");
        let e = Tool::new("no-such-program", "nice-package").run(&mut || ()).unwrap_err().to_string();
        assert_eq!(e, "the program no-such-program is not installed: run `apt install nice-package`");
    }

    #[test]
    fn a_reader_may_have_enough() {
        let run = |read: usize| {
            let mut running = Tool::new("yes", "coreutils").reader().unwrap();
            running.read_exact(&mut vec![0; read]).unwrap();
            running
        };
        assert!(run(9).wait_unread().is_ok());
        assert_eq!(
            run(9).wait(&mut || ()).unwrap_err().to_string(),
            "`yes` failed (signal: 13 (SIGPIPE)): it said nothing"
        );
    }

    #[test]
    fn output_is_bounded() {
        assert_eq!(Tool::new("echo", "coreutils").arg("hi").output(10).unwrap(), "hi\n");
        let e = Tool::new("cat", "coreutils").arg("/dev/zero").output(10).unwrap_err().to_string();
        assert_eq!(e, "`cat /dev/zero` printed more than 10 bytes");
        let within = |program: &str, word: &str, limit: usize, seconds: u64| {
            Tool::new(program, "coreutils").arg(word).output_within(limit, Duration::from_secs(seconds))
        };
        assert_eq!(within("echo", "hi", 10, 60).unwrap(), "hi\n");
        let slow = within("sleep", "60", 10, 1).unwrap_err().to_string();
        assert_eq!(slow, "`sleep 60` took more than 1 s: it was stopped");
        assert!(within("echo", "too much", 3, 60).is_err());
    }

    /// What a parser was not given, it cannot have.
    #[test]
    fn a_parser_is_kept_from_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["image", "secret", "out"] {
            std::fs::write(at(name), name).unwrap();
        }
        let shown = |name: &str| at(name).display().to_string();
        let sh = |script: &str| {
            let tool = Tool::parser("sh", "dash").args(["-c", script, "sh"]);
            tool.file(&at("image")).unwrap().to_file(&at("out")).unwrap()
        };
        assert_eq!(sh("cat \"$1\"").output(100).unwrap(), "image");
        sh("echo new >\"$2\"").run(&mut || ()).unwrap();
        assert_eq!(std::fs::read(at("out")).unwrap(), b"new\n");
        let secret = shown("secret");
        for script in [
            format!("cat {secret}"),
            format!("echo x >{secret}"),
            format!("echo x >{}", shown("new")),
            "echo x >\"$1\"".to_owned(),
            "cat /etc/shadow".to_owned(),
            "cat /etc/machine-id".to_owned(),
            "kill -0 $PPID".to_owned(),
        ] {
            let refused =
                sh(&format!("({script}) && exit 0; exit 7")).run(&mut || ()).unwrap_err().to_string();
            assert!(refused.contains("(exit status: 7)"), "{script}: {refused}");
        }
        assert_eq!(std::fs::read(at("secret")).unwrap(), b"secret");
        assert!(!at("new").exists());
        if nix::unistd::geteuid().is_root() {
            assert_eq!(sh("id -u; id -G").output(100).unwrap(), "65534\n65534\n");
        }
    }

    #[test]
    fn a_parser_has_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let sh = |script: &str| {
            let tool = Tool::parser("sh", "dash")
                .bounds(|b| (b.seconds, b.memory, b.file) = (1, Some(1 << 30), 1 << 20));
            tool.args(["-c", script, "sh"]).to_file(&out).unwrap()
        };
        let why = |script: &str| sh(script).run(&mut || ()).unwrap_err().to_string();
        let written = why("exec head -c 2000000 /dev/zero >\"$1\"");
        assert!(written.ends_with("wrote more than 1.00 MiB: it was stopped"), "{written}");
        let taken = why("while :; do :; done");
        assert!(taken.ends_with("took more than 1 s of processor time: it was stopped"), "{taken}");
        let memory = why("exec dd if=/dev/zero of=/dev/null bs=2G count=1");
        assert!(memory.contains("memory"), "{memory}");
    }
}
