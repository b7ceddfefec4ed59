// SPDX-License-Identifier: GPL-3.0-or-later
//! What every command needs in order to run.

use anyhow::{Context, Result};
use bootspec::text;

/// JSON on stdout, for programs.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", text::json(&serde_json::to_string_pretty(value).context("writing JSON")?));
    Ok(())
}

/// One thread is enough to ask a server.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(work)
}
