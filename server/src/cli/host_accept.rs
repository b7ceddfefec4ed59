// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host accept`

use super::{backend::Backend, complete};
use crate::{
    hosts::{EntryKey, HostChange, HostChanges, HostEntry, waiting::WaitingKey},
    table::{Align, layout},
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    machine_key::{is_shown, shown},
    units::human_time,
};
use clap::Args;
use std::{
    io::{IsTerminal, Write, stdin, stdout},
    time::Duration,
};

#[derive(Debug, Args)]
#[command(after_help = "\
A machine with private files (`host set --private`) makes a key of its own at
its first boot, shows the key's fingerprint on its console, and waits. Anybody
on the network can ask in a machine's name: compare the fingerprint with the
one on the machine's screen. After that, the server knows it by that key.

Examples:
  boottorrent host accept                         list the machines that wait
  boottorrent host accept pc1                     ask, and accept
  boottorrent host accept pc1 --key 3f2a-91bc-07de-5a11-9c3b
  boottorrent host set pc1 --clear fingerprint    no longer")]
pub struct Accept {
    /// The machine
    #[arg(add = complete::hosts())]
    who: Option<String>,
    /// The fingerprint that the machine shows
    #[arg(long, value_name = "FINGERPRINT", requires = "who")]
    key: Option<String>,
    /// Print the machines that wait as JSON
    #[arg(long, conflicts_with = "who")]
    json: bool,
}

impl Accept {
    pub fn run(self, backend: &Backend) -> Result<()> {
        let waiting = backend.waiting()?;
        let Some(who) = &self.who else {
            match self.json {
                true => super::run::print_json(&waiting)?,
                false if waiting.is_empty() => println!("no machine waits for its key to be accepted"),
                false => print!("{}", table(&waiting)),
            }
            return Ok(());
        };
        let key = backend.hosts()?.find(who).map_err(|e| anyhow!(e))?;
        let theirs = of_machine(&key, backend, &waiting)?;
        let one = match &self.key {
            Some(text) => {
                theirs.iter().find(|w| is_shown(text, &w.fingerprint)).copied().ok_or_else(|| {
                    anyhow!(
                        "no machine waits that says it is {key} and has the key '{text}': {}",
                        seen(&theirs)
                    )
                })?
            }
            None => match theirs[..] {
                [] => bail!(
                    "no machine waits that says it is {key}: {}",
                    seen(&waiting.iter().collect::<Vec<_>>())
                ),
                [one] => one,
                _ => bail!(
                    "several machines say that they are {key}: give --key with what its screen shows: {}",
                    seen(&theirs)
                ),
            },
        };
        if self.key.is_none() && !asked(&key, one)? {
            bail!("nothing was accepted");
        }
        let set = HostEntry { fingerprint: Some(one.fingerprint), ..HostEntry::default() };
        backend.change_hosts(&HostChanges::same(
            std::slice::from_ref(&key),
            &HostChange { set, unset: Vec::new() },
        ))?;
        println!("{key}: the key {} is accepted", shown(&one.fingerprint));
        Ok(())
    }
}

/// Those that say to be the machine of an entry.
fn of_machine<'a>(
    key: &EntryKey,
    backend: &Backend,
    waiting: &'a [WaitingKey],
) -> Result<Vec<&'a WaitingKey>> {
    if !key.is_machine() {
        bail!("'{key}' is not a machine: each machine has a key of its own");
    }
    let clients = backend.clients()?;
    let is_it = |mac: &str| match key {
        EntryKey::Mac(own) => own.to_string() == mac,
        key => clients.iter().any(|c| c.heartbeat.id == mac && super::host_list::heard_as(key, c)),
    };
    Ok(waiting.iter().filter(|w| is_it(&w.mac)).collect())
}

/// Ask whoever sits there whether it is that machine.
fn asked(key: &EntryKey, one: &WaitingKey) -> Result<bool> {
    if !stdin().is_terminal() {
        bail!(
            "nobody can be asked here: give --key {} if the screen of {key} shows that",
            shown(&one.fingerprint)
        );
    }
    print!("does the screen of {key} ({}) show the key {}? [y/N] ", one.address, shown(&one.fingerprint));
    stdout().flush().context("writing to the terminal")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn seen(waiting: &[&WaitingKey]) -> String {
    let one = |w: &&WaitingKey| format!("{} ({}) with {}", w.mac, w.address, shown(&w.fingerprint));
    match waiting {
        [] => "no machine waits with another one; it must be at this point of its boot".into(),
        all => all.iter().take(5).map(one).collect::<Vec<_>>().join(", "),
    }
}

fn table(waiting: &[WaitingKey]) -> String {
    let head = ["MACHINE", "ADDRESS", "KEY", "WAITS FOR"].map(|h| (h, Align::Left));
    let row = |w: &WaitingKey| {
        let waits = human_time(Duration::from_secs(w.seconds));
        vec![w.mac.clone(), w.address.to_string(), shown(&w.fingerprint), waits]
    };
    layout(&head, &waiting.iter().map(row).collect::<Vec<_>>())
}
