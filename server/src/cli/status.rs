// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent status`

use super::run::block_on;
use crate::{
    api::{self, Api},
    clients::Client,
    config::Config,
    hosts::{
        EntryKey, Hosts, Name,
        select::{self, is_pattern},
    },
    sources::glob::fits,
    status,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageRef, manifest::FIRST, text, units::human_time};
use clap::Args;
use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boottorrent status
  boottorrent status --watch --server 10.0.0.1
  boottorrent status 52:54:00:12:34:56
  boottorrent status 'pc[01-30]' --phase failed
  boottorrent status --group room1 --watch
  boottorrent status --json | jq -r '.[] | select(.phase == \"failed\") | .error'")]
pub struct Status {
    /// Only these machines, by MAC address, name or host name; of a single one also its last boots and its log
    machine: Vec<String>,
    /// Only machines of this group and its subgroups
    #[arg(long)]
    group: Option<Name>,
    /// Only machines with this image; NAME@2 is one version of it
    #[arg(long)]
    image: Option<ImageRef>,
    /// Only machines in this phase: loader, download, booted, failed, gone or another
    #[arg(long)]
    phase: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Refresh every second until ^C, sorted by what needs attention
    #[arg(long, short)]
    watch: bool,
    /// The server to ask [default: the one on this machine]
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
}

impl Status {
    pub fn run(self, config: &Config) -> Result<()> {
        let api = match self.server.as_deref() {
            None => Api::connect(config)?,
            server => Api::remote(&api::url(server, config))?,
        };
        block_on(async {
            let single = !self.watch && self.group.is_none() && self.image.is_none() && self.phase.is_none();
            if let [machine] = &self.machine[..]
                && single
                && !is_pattern(machine)
            {
                return one(&api, machine, self.json).await;
            }
            let filter = self.filter(&api).await?;
            loop {
                let mut clients = api.clients().await;
                if let Ok(clients) = &mut clients {
                    clients.retain(|c| filter.fits(c));
                }
                let text = match clients {
                    // A server that is started again is waited for.
                    Err(e) if self.watch => text::clean(&format!("{e:#}\n"), &['\n']).into_owned(),
                    Ok(clients) if self.json => {
                        text::json(&serde_json::to_string(&clients).context("writing JSON")?) + "\n"
                    }
                    clients => match (terminal(), self.watch) {
                        (Some((columns, lines)), true) => status::screen(clients?, columns, lines),
                        (Some((columns, _)), false) => status::fitting(&clients?, columns),
                        (None, _) => status::render(&clients?),
                    },
                };
                let text = match self.json || self.watch {
                    true => text,
                    false => first_server(&api).await + &text,
                };
                let mut out = stdout();
                let clear = if self.watch && !self.json && out.is_terminal() { "\x1b[H\x1b[J" } else { "" };
                if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() || !self.watch {
                    // Nobody reads any more, or once was enough.
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }
}

/// Of a relay: how its first server is.
async fn first_server(api: &Api) -> String {
    let Some(first) = api.health().await.ok().and_then(|h| h.upstream) else { return String::new() };
    let since = first.age.map(|age| human_time(Duration::try_from_secs_f64(age).unwrap_or_default()));
    let state = match (first.up, since) {
        (true, _) => "which answers".to_owned(),
        (false, Some(since)) => {
            format!("which has not answered for {since}: machines boot what is known here")
        }
        (false, None) => "which has not answered yet: machines boot what is known here".to_owned(),
    };
    let trouble = first.trouble.map(|t| format!(" ({t})")).unwrap_or_default();
    let text = format!("this is a relay of {}, {state}{trouble}", first.url);
    text::clean(&text, &[]).into_owned() + "\n"
}

/// Columns and lines of the terminal that this goes to, if it goes to one.
pub fn terminal() -> Option<(usize, usize)> {
    let size = stdout().is_terminal().then(|| crossterm::terminal::size().ok())?;
    size.map(|(columns, lines)| (columns.into(), lines.into()))
}

/// Which machines are shown.
struct Filter {
    /// Names, and patterns of names.
    words: Vec<String>,
    /// The group, and those in it.
    groups: Option<BTreeSet<String>>,
    image: Option<ImageRef>,
    phase: Option<String>,
}

impl Status {
    async fn filter(&self, api: &Api) -> Result<Filter> {
        let mut words = Vec::new();
        for word in &self.machine {
            match word.contains('[') {
                true => words.extend(select::expand(word).map_err(|e| anyhow!(e))?),
                false => words.push(word.clone()),
            }
        }
        let groups = match &self.group {
            None => None,
            Some(group) => {
                let rows = api.hosts().await?;
                let entries = rows.into_iter().map(|r| (r.key, r.entry)).collect();
                let hosts = Hosts { entries, ..Hosts::default() };
                if !hosts.entries.contains_key(&EntryKey::Group(group.clone())) {
                    bail!("there is no group '{group}': `boottorrent host list 'group:*'` lists the groups");
                }
                let all = hosts.entries.keys().filter_map(|key| match key {
                    EntryKey::Group(name) if hosts.is_within(name, group) => Some(name.to_string()),
                    _ => None,
                });
                Some(all.collect())
            }
        };
        Ok(Filter { words, groups, image: self.image.clone(), phase: self.phase.clone() })
    }
}

impl Filter {
    fn fits(&self, c: &Client) -> bool {
        let names = [Some(&c.heartbeat.id), c.name.as_ref(), c.heartbeat.hostname.as_ref()];
        let named = |word: &String| names.into_iter().flatten().any(|name| fits(word, name));
        let image = |i: &ImageRef| {
            c.heartbeat.image.as_deref() == Some(i.name.as_str())
                && i.version.is_none_or(|v| c.image_version.unwrap_or(FIRST) == v)
        };
        (self.words.is_empty() || self.words.iter().any(named))
            && self.groups.as_ref().is_none_or(|all| c.group.as_ref().is_some_and(|g| all.contains(g)))
            && self.image.as_ref().is_none_or(image)
            && self.phase.as_ref().is_none_or(|p| p == c.phase())
    }
}

/// One machine, and the end of its log.
async fn one(api: &Api, machine: &str, json: bool) -> Result<()> {
    let named = |c: &Client| {
        [Some(&c.heartbeat.id), c.name.as_ref(), c.heartbeat.hostname.as_ref()]
            .contains(&Some(&machine.to_owned()))
    };
    let clients = api.clients().await?;
    let Some(found) = clients.iter().find(|c| named(c)) else {
        bail!("no machine '{machine}' has reported: `boottorrent status` shows those that have");
    };
    let client = api.client(&found.heartbeat.id).await?;
    let text = match json {
        true => text::json(&serde_json::to_string(&client).context("writing JSON")?) + "\n",
        false => {
            let log = client.heartbeat.log.iter().map(|line| format!("{}\n", text::clean(line, &[])));
            let boots = match client.boots.is_empty() {
                true => String::new(),
                false => format!("\n{}", status::boots(&client.boots)),
            };
            [status::render(std::slice::from_ref(&client)) + &boots, log.collect()].join("\n")
        }
    };
    // Nobody reads any more: nobody misses it.
    let _ = stdout().write_all(text.as_bytes());
    Ok(())
}
