// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace with no name: a thread that lives in it and runs what
//! it is given. When the process ends, by whatever end, the kernel removes the
//! namespace with its interfaces, and what was started in it is killed
//! (see [`crate::Cmd::spawn`]).

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. See the module's text.
pub struct Netns {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: String,
}

impl Netns {
    /// A new, empty one: only a loopback interface, which is up.
    pub fn new() -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel();
        let thread = std::thread::Builder::new().name("netns".into()).spawn(move || live(&ready, &inbox))?;
        let path = is_ready.recv().context("starting the thread of a namespace")??;
        let ns = Self { jobs: Some(jobs), thread: Some(thread), path };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// The namespace as a path, for `nsenter --net=` and `ip link set … netns`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Run a closure inside: what it connects, binds and spawns belongs to the namespace.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            // The receiver waits below; it cannot be gone.
            let _ = done.send(job());
        });
        self.jobs.as_ref().expect("taken only by drop").send(job).expect("the thread lives as long as we do");
        result.recv().expect("a job in a namespace panicked")
    }

    /// Run `ip ARGS…` inside.
    pub fn ip(&self, args: &str) -> Result<()> {
        let cmd = crate::Cmd::new("ip").args(args.split(' '));
        self.run(move || cmd.run()).map(drop)
    }
}

fn live(ready: &Sender<Result<String>>, inbox: &Receiver<Job>) {
    let path = unshare(CloneFlags::CLONE_NEWNET)
        .context("making a network namespace (this needs root)")
        .map(|()| format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()));
    let failed = path.is_err();
    if ready.send(path).is_err() || failed {
        return;
    }
    while let Ok(job) = inbox.recv() {
        job();
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told where it happened.
            let _ = thread.join();
        }
    }
}
