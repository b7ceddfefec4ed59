// SPDX-License-Identifier: GPL-3.0-or-later
//! Other programs: how every one of them is run. An error names the whole
//! command and ends with what the program said last; a program that is not
//! there is asked for by its Debian package.

use crate::interrupt;
use anyhow::{Context, Result, anyhow, bail};
use signal_hook::consts::SIGPIPE;
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How much of a program's stderr goes into the error.
const TAIL: usize = 1024;

/// One run of another program.
pub struct Tool {
    command: Command,
    package: &'static str,
}

/// Where programs are: debugfs and mkfs.erofs live in sbin, which plain users do not have in PATH.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

impl Tool {
    /// `program`, which the Debian package `package` has.
    pub fn new(program: &str, package: &'static str) -> Tool {
        let mut command = Command::new(program);
        command.env("PATH", path()).env("LC_ALL", "C");
        // squashfs-tools refuse -mkfs-time beside it.
        command.env_remove("SOURCE_DATE_EPOCH");
        command.stdin(Stdio::null());
        Tool { command, package }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Tool {
        self.command.env(name, value);
        self
    }

    /// What the program reads.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Tool {
        self.command.stdin(from);
        self
    }

    /// Run it; what it prints goes nowhere. `watch` is called a few times a second.
    pub fn run(mut self, watch: &mut dyn FnMut()) -> Result<()> {
        self.command.stdout(Stdio::null());
        self.spawn()?.wait(watch)
    }

    /// As [`Tool::run`]; comes back with what it said on stderr, of which there may be something even when all went well.
    pub fn run_heard(mut self, watch: &mut dyn FnMut()) -> Result<String> {
        self.command.stdout(Stdio::null());
        self.spawn()?.wait_heard(watch)
    }

    /// Run it; what it prints goes into `file`.
    pub fn run_into(mut self, file: &File) -> Result<()> {
        self.command.stdout(file.try_clone().context("duplicating a file handle")?);
        self.spawn()?.wait(&mut || ())
    }

    /// Run it; what it prints comes back, at most `limit` bytes of it.
    pub fn output(mut self, limit: usize) -> Result<String> {
        self.command.stdout(Stdio::piped());
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

    /// Start it; what it prints is read from what comes back.
    pub fn reader(mut self) -> Result<Running> {
        self.command.stdout(Stdio::piped());
        self.spawn()
    }

    fn spawn(mut self) -> Result<Running> {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let line = words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
        self.command.stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                let program = self.command.get_program().to_string_lossy();
                anyhow!("the program {program} is not installed: run `apt install {}`", self.package)
            }
            _ => anyhow!(e).context(format!("starting `{line}`")),
        })?;
        let stderr = child.stderr.take().map(|e| thread::spawn(move || tail(e)));
        Ok(Running { stdout: child.stdout.take(), child, stderr, line, unread: false })
    }
}

/// A program that runs. Dropped before its end, it is killed.
pub struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    line: String,
    unread: bool,
}

impl Running {
    /// The stream of what it prints, for another program's stdin.
    pub fn take_stdout(&mut self) -> Result<Stdio> {
        Ok(self.stdout.take().context("taking stdout")?.into())
    }

    /// Wait for its end; killed if the user wants us to end.
    pub fn wait(self, watch: &mut dyn FnMut()) -> Result<()> {
        self.wait_heard(watch).map(drop)
    }

    /// As [`Running::wait`]; comes back with the last that it said on stderr.
    pub fn wait_heard(mut self, watch: &mut dyn FnMut()) -> Result<String> {
        drop(self.stdout.take());
        let status = loop {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("waiting for `{}`", self.line))?
            {
                break status;
            }
            interrupt::check()?;
            watch();
            thread::sleep(Duration::from_millis(20));
        };
        // A ^C on the terminal ends the program as well as us: then that is what happened.
        interrupt::check()?;
        self.judge(status)
    }

    /// As [`Running::wait`], for a program whose reader has all it wanted: that
    /// the end of what it printed was not read is no error.
    pub fn wait_unread(mut self) -> Result<()> {
        self.unread = true;
        self.wait(&mut || ())
    }

    fn judge(&mut self, status: ExitStatus) -> Result<String> {
        let said = self.stderr.take().and_then(|t| t.join().ok()).unwrap_or_default();
        if status.success() || (self.unread && status.signal() == Some(SIGPIPE)) {
            return Ok(said);
        }
        let said = said.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ");
        bail!(
            "`{}` failed ({status}): {}",
            self.line,
            if said.is_empty() { "it said nothing" } else { &said }
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
    }
}
