// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host import|export`

use super::backend::Backend;
use crate::{
    files,
    hosts::{
        EntryKey, HostChanges,
        lists::{ListFormat, MAX_LIST},
    },
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::text::{clean, count};
use clap::{Args, builder::PossibleValuesParser};
use std::{
    io::{IsTerminal, Read, Write, stdin, stdout},
    path::PathBuf,
};

#[derive(Debug, Args)]
#[command(after_help = "\
FORMAT is recognised by content:
  csv       a table whose first line names its columns: who, name, group, image,
            once, menu, params, prefix, subnet; who is what `host set` takes.
            As spreadsheets save it: commas, semicolons or tabs
  ethers    52:54:00:12:34:56 pc1
  dnsmasq   dhcp-host=52:54:00:12:34:56,set:room1,pc1,10.0.1.5; the first tag is
            the group. Without `dhcp-host=` as well (dhcp-hostsfile)

All entries are added, or none. What an entry says already and the list does not
stays. Groups that are not there yet are made.

Examples:
  boottorrent host import room2.csv
  boottorrent host import /etc/ethers
  boottorrent host import /etc/dnsmasq.d/hosts.conf --dry-run")]
pub struct Import {
    /// The list to read; - reads standard input
    file: PathBuf,
    /// The format [default: detected]
    #[arg(long, value_parser = PossibleValuesParser::new(ListFormat::NAMES))]
    format: Option<String>,
    /// Print what would change, without changing it
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
csv has everything that is set for machines, groups and default; `host import`
reads it. ethers and dnsmasq have machines with MAC addresses and names.

Examples:
  boottorrent host export > machines.csv
  boottorrent host export --format dnsmasq > /etc/dnsmasq.d/names.conf")]
pub struct Export {
    /// The format
    #[arg(long, default_value = "csv", value_parser = PossibleValuesParser::new(ListFormat::NAMES))]
    format: String,
}

impl Import {
    pub fn run(self, backend: &Backend) -> Result<()> {
        let shown = clean(&self.file.display().to_string(), &[]).into_owned();
        let bytes = match self.file.to_str() {
            Some("-") => standard_input()?,
            _ => files::read_named(&self.file, MAX_LIST, "list of machines")?,
        };
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{shown}: it is not UTF-8 text"))?;
        let format =
            self.format.as_deref().and_then(ListFormat::named).unwrap_or_else(|| ListFormat::guess(&text));
        let listed = format.read(&text).map_err(|why| anyhow!("{shown}: {why}"))?;
        listed.notes.iter().for_each(|note| eprintln!("note: {}", clean(note, &[])));
        if listed.entries.is_empty() {
            bail!("{shown}: there is no machine and no group in it");
        }
        let machines = listed.entries.iter().filter(|(key, _)| key.is_machine()).count();
        let changes = HostChanges::set(listed.entries);
        let before = backend.hosts()?;
        let groups = changes
            .keys()
            .filter(|key| matches!(key, EntryKey::Group(_)) && !before.entries.contains_key(key))
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        let said = format!("{}, {} new", count(machines, "machine"), count(groups, "group"));
        if self.dry_run {
            let applied = changes.apply(&mut before.clone(), &backend.bootable()?);
            applied.map_err(|why| anyhow!("{shown}: {why}"))?;
            let changed = changes.keys().filter(|key| before.entries.contains_key(key)).count();
            println!("{shown}: {said}, {changed} of the entries exist already; nothing was changed");
            return Ok(());
        }
        backend.change_hosts(&changes).with_context(|| shown.clone())?;
        println!("{shown}: {said}");
        Ok(())
    }
}

fn standard_input() -> Result<Vec<u8>> {
    if stdin().is_terminal() {
        eprintln!("reading standard input; end it with ^D");
    }
    let mut bytes = Vec::new();
    stdin().lock().take(MAX_LIST as u64 + 1).read_to_end(&mut bytes).context("reading standard input")?;
    if bytes.len() > MAX_LIST {
        bail!("standard input has more than {MAX_LIST} bytes: it is not a list of machines");
    }
    Ok(bytes)
}

impl Export {
    pub fn run(self, backend: &Backend) -> Result<()> {
        let format = ListFormat::named(&self.format).context("clap knows the formats")?;
        let (text, notes) = format.write(&backend.hosts()?);
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        // Nobody reads any more: nobody misses it.
        let _ = stdout().write_all(text.as_bytes());
        Ok(())
    }
}
