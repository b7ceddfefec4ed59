// SPDX-License-Identifier: GPL-3.0-or-later
//! Completion of names in a shell: images, machines, sources, kernel parameters. The shells' scripts run this program,
//! which looks on the disk; what it may not read is not offered.

use super::common::Common;
use crate::{
    catalogue::{Catalogue, entries::EntriesFolder},
    config::Config,
    hosts::HostsFile,
    sources::Folders,
};
use anyhow::{Result, anyhow};
use bootspec::params::{PREFIX, TABLE};
use clap::{Args, Command, FromArgMatches};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use std::{ffi::OsString, iter::once};

/// The environment variable that names the shell, in the shells' scripts.
pub const VARIABLE: &str = "BOOTTORRENT_COMPLETE";

/// Images.
pub fn images() -> ArgValueCandidates {
    candidates(|config| {
        let names = Catalogue::at(&config.catalogue.dir).names()?;
        Ok(names.iter().map(named).collect())
    })
}

/// Images, and menu entries that are not images.
pub fn bootable() -> ArgValueCandidates {
    candidates(|config| {
        let dir = &config.catalogue.dir;
        let images = Catalogue::at(dir).names()?;
        let entries = EntriesFolder::at(dir).load().0.into_iter().map(|(name, _)| name);
        Ok(images.into_iter().chain(entries).map(named).collect())
    })
}

/// Menu entries that are not images.
pub fn entries() -> ArgValueCandidates {
    candidates(|config| {
        let (entries, _) = EntriesFolder::at(&config.catalogue.dir).load();
        Ok(entries.iter().map(|(name, _)| named(name)).collect())
    })
}

/// Machines by their names, groups, and `default`. Not addresses: shells take the words apart at colons.
pub fn hosts() -> ArgValueCandidates {
    candidates(|config| {
        let hosts = HostsFile::at(&config.catalogue.dir).load()?;
        let machines = hosts.entries.values().filter_map(|e| e.name.as_ref()).map(named);
        let groups = hosts.groups().map(named);
        Ok(machines.chain(groups).chain(once(CompletionCandidate::new("default"))).collect())
    })
}

/// Entries of the calendar.
pub fn schedule() -> ArgValueCandidates {
    candidates(|config| {
        let hosts = HostsFile::at(&config.catalogue.dir).load()?;
        Ok(hosts.schedule.keys().map(named).collect())
    })
}

/// Groups.
pub fn groups() -> ArgValueCandidates {
    candidates(|config| {
        let hosts = HostsFile::at(&config.catalogue.dir).load()?;
        Ok(hosts.groups().map(named).collect())
    })
}

/// Sources, with their descriptions.
pub fn sources() -> ArgValueCandidates {
    candidates(|config| {
        let all = Folders { dirs: config.catalogue.sources.clone() }.read()?;
        let one = |(name, found): (_, crate::sources::FoundSource)| {
            named(name).help(Some(found.source.description.into()))
        };
        Ok(all.sources.into_iter().map(one).collect())
    })
}

/// Kernel parameters of the agent, up to the `=`.
pub fn parameters() -> ArgValueCandidates {
    let one = |name: &str, help: &str| {
        CompletionCandidate::new(format!("{PREFIX}{name}=")).help(Some(help.to_owned().into()))
    };
    ArgValueCandidates::new(move || TABLE.iter().map(|spec| one(spec.name, spec.help)).collect::<Vec<_>>())
}

fn named(name: impl ToString) -> CompletionCandidate {
    CompletionCandidate::new(name.to_string())
}

type Find = fn(&Config) -> Result<Vec<CompletionCandidate>>;

fn candidates(find: Find) -> ArgValueCandidates {
    ArgValueCandidates::new(move || config().and_then(|config| find(&config)).unwrap_or_default())
}

/// The settings that the half-typed command would use: its words come after `--`.
fn config() -> Result<Config> {
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    common(&words)?.config()
}

/// The global options among words of which the others are not known yet.
fn common(words: &[OsString]) -> Result<Common> {
    let options = ["--config", "--dir", "--keys", "--socket"];
    let mut kept = vec![OsString::from("boottorrent")];
    for (n, word) in words.iter().enumerate() {
        let text = word.to_string_lossy();
        match text.split_once('=') {
            Some((name, _)) if options.contains(&name) => kept.push(word.clone()),
            None if options.contains(&&*text) && n + 1 < words.len() => {
                kept.extend([word.clone(), words[n + 1].clone()])
            }
            _ => {}
        }
    }
    let matches = Common::augment_args(Command::new("boottorrent")).try_get_matches_from(kept);
    matches.and_then(|m| Common::from_arg_matches(&m)).map_err(|e| anyhow!(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_options_of_a_half_typed_command() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            common(&words).unwrap()
        };
        assert_eq!(
            of("boottorrent image show --dir /srv/a --json").dir.as_deref(),
            Some(Path::new("/srv/a"))
        );
        assert_eq!(of("boottorrent --dir=/srv/a image show").dir.as_deref(), Some(Path::new("/srv/a")));
        assert_eq!(of("boottorrent image show --dir").dir, None, "not typed yet");
        assert_eq!(of("boottorrent --nonsense image").dir, None);
    }
}
