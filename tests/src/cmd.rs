// SPDX-License-Identifier: GPL-3.0-or-later
//! Running programs: a failure names the whole command and the end of what it said.

use anyhow::{Context, Result, bail};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct Cmd {
    words: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl Cmd {
    /// Start with the program.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { words: vec![program.as_ref().to_owned()], envs: Vec::new() }
    }

    /// Add one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    /// Add arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Set an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Run to the end and give standard output; anything but exit code 0 is an error.
    pub fn run(&self) -> Result<String> {
        let out = self.output()?;
        if !out.status.success() {
            bail!("{self}: {}\n{}", out.status, tail(&out.stderr));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Run to the end whatever the exit code is.
    pub fn output(&self) -> Result<std::process::Output> {
        self.command().stdin(Stdio::null()).output().with_context(|| format!("running {self}"))
    }

    /// Run to the end with standard input from a file and all output to `log`;
    /// a failure shows the log's end.
    pub fn run_logged(&self, stdin: Stdio, log: &Path) -> Result<()> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let status = self
            .command()
            .stdin(stdin)
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| format!("running {self}"))?;
        if !status.success() {
            let said = std::fs::read(log).unwrap_or_default();
            bail!("{self}: {status}\n{}\n(all of it in {})", tail(&said), log.display());
        }
        Ok(())
    }

    /// Start in the background, output to `log`. It is killed when the value is
    /// dropped, and by the kernel when the calling thread ends: call it inside
    /// [`crate::Netns::run`], or from a thread that lives long enough.
    pub fn spawn(&self, log: &Path) -> Result<Background> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let guarded = Cmd {
            words: ["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from).into(),
            envs: self.envs.clone(),
        };
        let child = guarded
            .args(&self.words)
            .command()
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {self}"))?;
        Ok(Background { child, name: self.to_string(), log: log.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.envs.iter().map(|(k, v)| (k, v)));
        command
    }
}

impl std::fmt::Display for Cmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.words.iter().map(|w| w.to_string_lossy()).collect();
        f.write_str(&words.join(" "))
    }
}

/// The last lines of some output.
fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A program that runs beside us.
pub struct Background {
    child: Child,
    name: String,
    log: std::path::PathBuf,
}

impl Background {
    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Wait for its end, no longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {limit:?}\n{}", self.name, tail(&self.output()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that it said so far.
    pub fn output(&self) -> Vec<u8> {
        std::fs::read(&self.log).unwrap_or_default()
    }

    /// An error when it is not running, with what it said last.
    pub fn check(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, tail(&self.output())),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
