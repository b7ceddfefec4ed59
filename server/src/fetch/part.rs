// SPDX-License-Identifier: GPL-3.0-or-later
//! What is noted of a download that was interrupted, so that the rest is of the same file (RFC 9110 §8.8, §13.1.5, §14.4).

use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What tells the file that a part is of from later ones of the same address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub url: String,
    /// Where it came from: a redirector sends each request to another mirror, with other ETags.
    pub at: Option<String>,
    /// That mirror failed: the first address is asked again, and may name another one.
    pub leave: bool,
    /// A strong ETag.
    pub etag: Option<String>,
    /// Last-Modified.
    pub date: Option<String>,
    pub total: Option<u64>,
}

impl Part {
    /// What the rest must be asked for with (RFC 9110 §13.1.5), at the address it came from or at the first one again,
    /// where only the date is the same. `None`: the rest cannot be asked for.
    pub fn condition(&self, moved: bool, verified: bool) -> Option<&str> {
        match moved {
            false => self.etag.as_deref().or(self.date.as_deref()),
            true => self.date.as_deref().filter(|_| verified && self.total.is_some()),
        }
    }

    /// Whether an answer is of the same file: its validators and its length, as far as it has them. Servers answer 206
    /// although their file is another one now.
    pub fn is_same(&self, answer: &Part, moved: bool) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        let validated = (!moved && same(&self.etag, &answer.etag)) || (moved && answer.date.is_some());
        let lengths = self.total.is_none() || answer.total.is_none() || self.total == answer.total;
        let some = answer.etag.is_some() || answer.date.is_some() || answer.total.is_some();
        validated && same(&self.date, &answer.date) && lengths && some
    }
}

/// A weak ETag is the same for files that differ.
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    word(headers, ETAG).filter(|e| !e.starts_with("W/"))
}

pub(super) fn date(headers: &HeaderMap) -> Option<String> {
    word(headers, LAST_MODIFIED)
}

fn word(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// Where it is written down what a part is of.
pub fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_206_may_be() {
        let some = |t: &str| Some(t.to_owned());
        let noted = Part {
            url: "u".into(),
            at: None,
            leave: false,
            etag: some("a"),
            date: some("d"),
            total: Some(9),
        };
        let answer = |etag: Option<&str>, date: Option<&str>, total| Part {
            etag: etag.map(str::to_owned),
            date: date.map(str::to_owned),
            total,
            ..Part::default()
        };
        for (etag, date, total, same) in [
            (Some("a"), Some("d"), Some(9), true),
            (Some("a"), None, None, true),
            (None, None, Some(9), true),
            (Some("b"), Some("d"), Some(9), false),
            (Some("a"), Some("e"), Some(9), false),
            (Some("a"), Some("d"), Some(8), false),
            (None, None, None, false),
        ] {
            assert_eq!(noted.is_same(&answer(etag, date, total), false), same, "{etag:?} {date:?} {total:?}");
        }
        // At another mirror only the date counts, and only where a checksum follows.
        assert!(noted.is_same(&answer(Some("b"), Some("d"), Some(9)), true));
        assert!(!noted.is_same(&answer(Some("b"), None, Some(9)), true));
        assert_eq!((noted.condition(true, true), noted.condition(true, false)), (Some("d"), None));
        assert_eq!(noted.condition(false, false), Some("a"));
    }

    #[test]
    fn a_weak_etag_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, "W/\"a\"".parse().unwrap());
        headers.insert(LAST_MODIFIED, "d".parse().unwrap());
        assert_eq!((etag(&headers), date(&headers).as_deref()), (None, Some("d")));
        headers.insert(ETAG, "\"a\"".parse().unwrap());
        assert_eq!(etag(&headers).as_deref(), Some("\"a\""));
    }
}
