// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent relay promote`

use crate::{
    api::Api,
    cli::run::block_on,
    config::Config,
    menu_settings::MenuSettings,
    relay::{client::First, here, told::BootWords},
    trail,
};
use anyhow::{Context, Result, bail, ensure};
use bootspec::units::render_time;
use clap::Args;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
On the relay, with its server stopped. Nothing does this by itself: two first
servers would be changed apart from each other. So it is refused while the first
server answers.

The relay keeps its images, entries, machines and the menu's passwords. What it
prints goes into its server.toml, in place of [upstream]. What it never had is
not there: private files, secret keys, API tokens, orders, power.toml, and the
tokens of other relays.

Example:
  systemctl stop boottorrent-server
  boottorrent relay promote")]
pub struct Promote {
    /// Although the first server still answers
    #[arg(long)]
    force: bool,
}

/// What goes into server.toml.
#[derive(Serialize)]
struct Settings {
    boot: Boot,
    menu: MenuSettings,
}

#[derive(Serialize)]
struct Boot {
    #[serde(skip_serializing_if = "String::is_empty")]
    append: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    timeout: String,
}

impl Promote {
    pub fn run(self, config: &Config) -> Result<()> {
        let dir = &config.catalogue.dir;
        let Some(url) = here::relay_of(dir) else {
            bail!("{} is not the catalogue of a relay: there is nothing to promote", dir.display());
        };
        ensure!(
            !matches!(Api::local(&config.serve.socket), Ok(Some(_))),
            "the server runs, and goes on following {url}: stop it first (systemctl stop boottorrent-server)"
        );
        ensure!(
            self.force || !answers(config),
            "{url} answers: two first servers would be changed apart from each other. Stop that one first, or use --force"
        );
        let snapshot = here::promote(dir)?;
        trail::tell(&format!("this relay of {url} is promoted to a first server"));
        eprintln!(
            "this relay no longer follows {url}: replace [upstream] in server.toml with these lines, then start the server"
        );
        if let Some(snapshot) = snapshot {
            print!("{}", settings(snapshot.boot, snapshot.menu)?);
        }
        Ok(())
    }
}

/// Whether the first server answers this relay.
fn answers(config: &Config) -> bool {
    // Without a token or an address it cannot be asked.
    let Ok(Some(first)) = First::of(&config.upstream) else { return false };
    block_on(async move { first.snapshot(None).await.map(drop) }).is_ok()
}

fn settings(boot: BootWords, menu: MenuSettings) -> Result<String> {
    let boot = Boot {
        append: boot.append,
        default: boot.default.map(|name| name.to_string()),
        timeout: render_time(Duration::from_millis(boot.timeout)),
    };
    toml::to_string(&Settings { boot, menu }).context("writing settings as TOML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_are_the_same_settings() {
        let menu = MenuSettings { title: "Room 2".into(), shell: false, ..MenuSettings::default() };
        let boot =
            BootWords { append: "quiet".into(), default: Some("lab".parse().unwrap()), timeout: 90_500 };
        let read: Config = toml::from_str(&settings(boot, menu.clone()).unwrap()).unwrap();
        assert_eq!(read.menu, menu);
        let (append, default) = (read.boot.append.as_str(), read.boot.default.unwrap().to_string());
        assert_eq!((append, default.as_str()), ("quiet", "lab"));
        assert_eq!(read.boot.timeout, Duration::from_millis(90_500));
    }
}
