// SPDX-License-Identifier: GPL-3.0-or-later
//! ^C and SIGTERM during long work: a flag that the work looks at, so that
//! what it has begun is taken back by the ordinary ways (`Drop`, `?`).

use anyhow::{Context, Result, bail};
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Default::default);

/// The exit code of an interrupted run, as shells have it (128 + SIGINT).
pub const EXIT: u8 = 130;

/// From now on the first SIGINT or SIGTERM sets the flag, and the second one ends the process at once.
pub fn catch() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the exit acts on the flag as the signal finds it.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT.into(), FLAG.clone())
            .and_then(|_| signal_hook::flag::register(signal, FLAG.clone()))
            .with_context(|| format!("catching signal {signal}"))?;
    }
    Ok(())
}

/// Whether the user wants this run to end.
pub fn wanted() -> bool {
    FLAG.load(Ordering::Relaxed)
}

/// An error if the user wants this run to end.
pub fn check() -> Result<()> {
    if wanted() {
        bail!("interrupted: nothing was changed");
    }
    Ok(())
}
