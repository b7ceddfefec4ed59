// SPDX-License-Identifier: GPL-3.0-or-later
//! Brings what is written to a disk again and again: so little is lost with the power, and the end comes quickly.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often.
const EVERY: Duration = Duration::from_secs(2);

/// A thread that flushes a file until it is stopped, or dropped.
pub(super) struct Flusher {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flusher {
    /// Begin.
    pub fn start(file: &File) -> io::Result<Self> {
        let (file, over) = (file.try_clone()?, Arc::new(AtomicBool::new(false)));
        let stop = over.clone();
        let thread = thread::Builder::new().name("flush".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::park_timeout(EVERY);
                // The kernel tells of a failure once: to whoever asks first, which is us.
                file.sync_data()?;
            }
            Ok(())
        })?;
        Ok(Self { over, thread: Some(thread) })
    }

    /// End it. Errors: what could not be written in all that time.
    pub fn stop(mut self) -> io::Result<()> {
        self.end();
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the flushing thread died")))
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.end();
    }
}
