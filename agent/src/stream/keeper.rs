// SPDX-License-Identifier: GPL-3.0-or-later
//! Two processes that start each other again, as long as the root depends on them: the agent, which does all the work, and its
//! keeper, which only holds open what cannot be opened twice. They hear of each other's death by a socket between them; one
//! byte from the agent says that the root depends on nobody any more.
//!
//! After switch_root this program has no paths but those below its working directory, which is /run/boottorrent.

use super::{guard, kernel::inherited};
use crate::{args::HeldArgs, report::Report};
use anyhow::Context;
use bootspec::Exit;
use nix::unistd::{dup, setsid};
use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

/// This program, from its working directory.
pub const PROGRAM: &str = "./boottorrent-agent";
/// The root depends on nobody any more.
const COMPLETE: u8 = 1;
/// Between two tries; and who lived for less does not start the other again at once.
const AGAIN: Duration = Duration::from_secs(1);

/// What both hold open.
pub struct Held {
    /// /dev/fuse.
    pub device: File,
    /// The kernel log, if there is one.
    pub kmsg: Option<File>,
    /// Loop devices on the file that is served.
    pub loops: Vec<File>,
    /// /dev/null, which has no path later. None: it is this process's standard input and output already.
    pub null: Option<File>,
}

impl Held {
    /// What the other process has given this one, and the socket to it.
    pub fn inherited(args: &HeldArgs) -> (Self, UnixStream) {
        let file = |n: &i32| File::from(inherited(*n));
        let (kmsg, loops) = (args.kmsg.as_ref().map(file), args.loops.iter().map(file).collect());
        (Self { device: file(&args.device), kmsg, loops, null: None }, inherited(args.other).into())
    }

    /// Start the other one: `command` of this program, as process `name`.
    fn start(&self, name: &str, command: &str) -> anyhow::Result<(UnixStream, Child)> {
        let (ours, theirs) = UnixStream::pair().context("making a socket")?;
        let mut words = vec![command.to_owned()];
        // Duplicates stay open in whoever is started; here they are closed at the end of this function.
        let mut given: Vec<OwnedFd> = Vec::new();
        let mut give = |option: &str, what: &dyn AsFd| -> anyhow::Result<()> {
            let number = dup(what.as_fd()).context("duplicating a file descriptor")?;
            words.push(format!("--{option}={}", number.as_raw_fd()));
            given.push(number);
            Ok(())
        };
        give("other", &theirs)?;
        give("device", &self.device)?;
        self.kmsg.iter().try_for_each(|f| give("kmsg", f))?;
        self.loops.iter().try_for_each(|f| give("loops", f))?;
        let mut program = Command::new(PROGRAM);
        program.arg0(name).args(&words);
        if let Some(null) = &self.null {
            let share = || null.try_clone().map(Stdio::from).context("sharing /dev/null");
            program.stdin(share()?).stdout(share()?).stderr(share()?);
        }
        Ok((ours, program.spawn().with_context(|| format!("starting {name}"))?))
    }

    fn say(&self, text: &str) {
        let line = format!("<4>boottorrent: {text}\n");
        let _ = self.kmsg.as_ref().map(|mut f| f.write_all(line.as_bytes()));
    }
}

/// The keeper process: start the agent again whenever it dies. Returns when the root depends on nobody any more.
pub fn keep(args: &HeldArgs) -> Exit {
    let (held, mut agent) = Held::inherited(args);
    let _ = setsid();
    guard::lock(|_| {});
    let (mut child, mut since): (Option<Child>, _) = (None, Instant::now());
    while !is_complete(&mut agent) {
        held.say("the agent has died before the image is complete: starting it again");
        let _ = child.take().map(|mut c| c.wait());
        if since.elapsed() < AGAIN * 10 {
            sleep(AGAIN);
        }
        (agent, child) = until_started(|| held.start("@boottorrent-agent", "resume"), |e| held.say(e));
        since = Instant::now();
    }
    Exit::Ok
}

/// Returns when the other side is gone, or has said that all is well.
fn is_complete(agent: &mut UnixStream) -> bool {
    let mut said = [0];
    agent.read_exact(&mut said).is_ok() && said == [COMPLETE]
}

fn until_started(
    start: impl Fn() -> anyhow::Result<(UnixStream, Child)>,
    say: impl Fn(&str),
) -> (UnixStream, Option<Child>) {
    loop {
        match start() {
            Ok((socket, child)) => return (socket, Some(child)),
            Err(e) => say(&format!("{e:#}")),
        }
        sleep(AGAIN);
    }
}

/// The agent's side: a keeper that is started again when it dies.
pub struct Keeper {
    state: Arc<State>,
    thread: JoinHandle<()>,
}

struct State {
    held: Held,
    /// The socket to the keeper. None: it is to end.
    socket: Mutex<Option<UnixStream>>,
    report: Report,
}

impl State {
    fn socket(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Start one. From now on the working directory is `run`.
    pub fn start(held: Held, run: &Path, report: &Report) -> anyhow::Result<Self> {
        std::env::set_current_dir(run).with_context(|| format!("entering {}", run.display()))?;
        let (socket, child) = held.start("@boottorrent-keeper", "keep")?;
        Self::watch(held, socket, Some(child), report)
    }

    /// It is the keeper that has started this process.
    pub fn adopt(held: Held, socket: UnixStream, report: &Report) -> anyhow::Result<Self> {
        Self::watch(held, socket, None, report)
    }

    fn watch(
        held: Held,
        socket: UnixStream,
        mut child: Option<Child>,
        report: &Report,
    ) -> anyhow::Result<Self> {
        let mut hear = socket.try_clone().context("sharing a socket")?;
        let state = Arc::new(State { held, socket: Mutex::new(Some(socket)), report: report.clone() });
        let this = state.clone();
        let watch = move || {
            loop {
                // It never says anything: this returns when it is gone.
                let _ = hear.read(&mut [0]);
                let _ = child.take().map(|mut c| c.wait());
                let Some(socket) = this.again(&mut child) else { return };
                hear = socket;
            }
        };
        let thread =
            std::thread::Builder::new().name("keeper".into()).spawn(watch).context("starting a thread")?;
        Ok(Self { state, thread })
    }

    /// The root depends on nobody any more: neither does it need a keeper.
    pub fn dismiss(self) {
        let socket = self.state.socket().take();
        let _ = socket.map(|mut s| s.write_all(&[COMPLETE]));
        let _ = self.thread.join();
    }
}

impl State {
    /// The keeper is gone: start another, unless it was dismissed.
    fn again(&self, child: &mut Option<Child>) -> Option<UnixStream> {
        let mut socket = self.socket();
        socket.as_ref()?;
        self.report.warn("the agent's keeper has died before the image is complete: starting another");
        let start = || self.held.start("@boottorrent-keeper", "keep");
        let (new, started) = until_started(start, |e| self.report.warn(e));
        *child = started;
        *socket = new.try_clone().ok();
        Some(new)
    }
}
