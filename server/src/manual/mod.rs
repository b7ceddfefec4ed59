// SPDX-License-Identifier: GPL-3.0-or-later
//! Man pages and shell completions, made by the program itself from what it says anyhow:
//! `--help`, the comments in server.toml, the table of kernel parameters. The packages call it.

mod kernel;
mod page;
mod settings;

pub use kernel::kernel;
pub use page::{ManPage, clap_pages};
pub use settings::settings;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use std::{fs, path::Path};

/// Every page of this program.
pub fn pages(command: &Command) -> Vec<ManPage> {
    let mut pages = clap_pages(command, "1");
    pages.push(("boottorrent.toml.5".into(), settings()));
    pages.push(("boottorrent-kernel.7".into(), kernel()));
    pages
}

/// Write `man/` and `completions/` below a folder.
pub fn write(command: &Command, to: &Path) -> Result<()> {
    for (name, text) in pages(command) {
        put(&to.join("man").join(name), text.as_bytes())?;
    }
    for (shell, name) in [
        (Shell::Bash, "bash/boottorrent"),
        (Shell::Zsh, "zsh/_boottorrent"),
        (Shell::Fish, "fish/boottorrent.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "boottorrent", &mut script);
        put(&to.join("completions").join(name), &script)?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
