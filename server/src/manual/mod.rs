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
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use std::{fs, path::Path};

/// What it is called where shells find it.
const PROGRAM: &str = "boottorrent";

/// zsh loads the file when it completes for the first time, and expects an answer then.
const ZSH_FIRST: &str =
    "[ \"$funcstack[1]\" != _boottorrent ] || _clap_dynamic_completer_boottorrent \"$@\"\n";

/// Every page of this program.
pub fn pages(command: &Command) -> Vec<ManPage> {
    let mut pages = clap_pages(command, "1");
    pages.push(("boottorrent.toml.5".into(), settings()));
    pages.push(("boottorrent-kernel.7".into(), kernel()));
    pages
}

/// Write `man/` and `completions/` below a folder. `variable`: what is in the environment when a shell's script runs the
/// program, which then completes.
pub fn write(command: &Command, variable: &str, to: &Path) -> Result<()> {
    for (name, text) in pages(command) {
        put(&to.join("man").join(name), text.as_bytes())?;
    }
    let shells: [(&dyn EnvCompleter, &str); 3] =
        [(&Bash, "bash/boottorrent"), (&Zsh, "zsh/_boottorrent"), (&Fish, "fish/boottorrent.fish")];
    for (shell, name) in shells {
        let mut script = Vec::new();
        shell
            .write_registration(variable, PROGRAM, PROGRAM, PROGRAM, &mut script)
            .with_context(|| format!("writing the completion for {}", shell.name()))?;
        if shell.is("zsh") {
            script.extend_from_slice(ZSH_FIRST.as_bytes());
        }
        put(&to.join("completions").join(name), &script)?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
