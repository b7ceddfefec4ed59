// SPDX-License-Identifier: GPL-3.0-or-later
//! Several machines in one word, as people type them: `pc[01-30]`, `pc-*`.

use super::{
    entry::Hosts,
    key::{EntryKey, Name},
};
use crate::sources::glob::fits;
use std::collections::BTreeSet;

/// Names that one word may stand for.
const MANY: usize = 10_000;
/// Names that a sentence lists.
const SHOWN: usize = 5;

/// Whether a word is a pattern and not a name.
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '['])
}

/// Whom words mean: keys and names as [`Hosts::find`] reads them, ranges of names, and patterns of names. Each once, in
/// the order of the words. Errors: one of them means nobody.
pub fn select(hosts: &Hosts, words: &[String]) -> Result<Vec<EntryKey>, String> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for word in words {
        let keys = if word.contains('*') { matching(hosts, word)? } else { of_range(hosts, word)? };
        all.extend(keys.into_iter().filter(|key| seen.insert(key.clone())));
    }
    Ok(all)
}

fn of_range(hosts: &Hosts, word: &str) -> Result<Vec<EntryKey>, String> {
    if !word.contains('[') {
        return hosts.find(word).map(|key| vec![key]);
    }
    let names = expand(word)?;
    let found: Vec<Option<EntryKey>> = names.iter().map(|name| hosts.find(name).ok()).collect();
    let lost: Vec<&str> =
        names.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(n, _)| n.as_str()).collect();
    if lost.is_empty() {
        return Ok(found.into_iter().flatten().collect());
    }
    let more = if lost.len() > SHOWN { format!(" and {} more", lost.len() - SHOWN) } else { String::new() };
    Err(format!(
        "{word} stands for names that no machine and no group has: {}{more}",
        lost[..lost.len().min(SHOWN)].join(", ")
    ))
}

/// Those whose name, or whose key as it is written, fits a pattern.
fn matching(hosts: &Hosts, pattern: &str) -> Result<Vec<EntryKey>, String> {
    let named = |name: &Option<Name>| name.as_ref().is_some_and(|n| fits(pattern, n.as_str()));
    let found: Vec<EntryKey> = hosts
        .entries
        .iter()
        .filter(|(key, e)| named(&e.name) || fits(pattern, &key.to_string()))
        .map(|(key, _)| key.clone())
        .collect();
    match found.is_empty() {
        true => Err(format!("no machine and no group has a name like '{}'", shown(pattern))),
        false => Ok(found),
    }
}

/// The names that a range stands for: `pc[01-03,10]` is pc01, pc02, pc03 and pc10.
pub fn expand(word: &str) -> Result<Vec<String>, String> {
    let bad =
        || format!("'{}' is not a valid range of names: write it as in pc[01-30] or pc[1-4,7]", shown(word));
    let mut names = vec![String::new()];
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').ok_or_else(bad)?;
        let mut numbers = Vec::new();
        for item in inside.split(',') {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| {
                let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
                text.parse::<usize>().ok().filter(|_| digits).ok_or_else(bad)
            };
            let (first, last) = (number(from)?, number(to)?);
            if first > last || (last - first).saturating_add(numbers.len()) >= MANY {
                return Err(if first > last { bad() } else { too_many(word) });
            }
            numbers.extend((first..=last).map(|n| format!("{n:0width$}", width = from.len())));
        }
        if names.len().saturating_mul(numbers.len()) > MANY {
            return Err(too_many(word));
        }
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(move |number| format!("{name}{before}{number}")))
            .collect();
        rest = after;
    }
    if rest.contains(']') {
        return Err(bad());
    }
    Ok(names.into_iter().map(|name| name + rest).collect())
}

fn too_many(word: &str) -> String {
    format!("'{}' stands for more than {MANY} names", shown(word))
}

fn shown(word: &str) -> String {
    bootspec::text::printable(word, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_patterns() {
        assert_eq!(expand("pc[08-10,3].a").unwrap(), ["pc08.a", "pc09.a", "pc10.a", "pc3.a"]);
        assert_eq!(expand("r[1-2]c[1-2]").unwrap(), ["r1c1", "r1c2", "r2c1", "r2c2"]);
        for (bad, why) in [
            ("pc[", "is not a valid range"),
            ("pc[]", "is not a valid range"),
            ("pc]", "is not a valid range"),
            ("pc[3-1]", "is not a valid range"),
            ("pc[a-b]", "is not a valid range"),
            ("pc[-1]", "is not a valid range"),
            ("pc[1-999999999]", "stands for more than 10000 names"),
            ("a[1-9999]b[1-9999]", "stands for more than 10000 names"),
            ("pc[99999999999999999999]", "is not a valid range"),
        ] {
            assert!(expand(bad).unwrap_err().contains(why), "{bad}");
        }
        let hosts: Hosts = toml::from_str(
            "[\"group:room1\"]\n[\"52:54:00:00:00:01\"]\nname=\"pc01\"\n[\"52:54:00:00:00:02\"]\nname=\"pc02\"\n[\"serial:A\"]\n",
        )
        .unwrap();
        let keys = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            select(&hosts, &words).map(|keys| keys.iter().map(EntryKey::to_string).collect::<Vec<_>>())
        };
        let (one, two) = ("52:54:00:00:00:01", "52:54:00:00:00:02");
        assert_eq!(keys(&["pc[01-02]", "pc02", "room1"]).unwrap(), [one, two, "group:room1"]);
        assert_eq!(keys(&["pc*"]).unwrap(), [one, two]);
        assert_eq!(keys(&["*:02", "group:*"]).unwrap(), [two, "group:room1"]);
        assert_eq!(
            keys(&["pc[01-09]"]),
            Err("pc[01-09] stands for names that no machine and no group has: pc03, pc04, pc05, pc06, pc07 and 2 more"
                .into())
        );
        assert_eq!(keys(&["x*"]), Err("no machine and no group has a name like 'x*'".into()));
    }
}
