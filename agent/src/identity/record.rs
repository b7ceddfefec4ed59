// SPDX-License-Identifier: GPL-3.0-or-later
//! In an overlay that is kept: what the agent wrote there. What differs from that now, somebody has changed.

use super::tree::Tree;
use anyhow::Context;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use swarm::Summing;

/// Beside the folder of the overlay's files, where the booted system does not see it.
const FILE: &str = "written-by-boottorrent";

/// A machine's own: never written twice.
const ONCE: &str = "etc/machine-id";

/// The SHA-256 of each file as it was written, by its path.
pub struct Record {
    path: Option<PathBuf>,
    files: Option<BTreeMap<String, String>>,
}

impl Record {
    /// Of the overlay that is kept in `folder`, if one is.
    pub fn open(folder: Option<&Path>) -> Record {
        let path = folder.map(|f| f.join(FILE));
        let text = path.as_ref().and_then(|p| fs::read_to_string(p).ok());
        let line = |l: &str| l.split_once(' ').map(|(sum, file)| (file.to_owned(), sum.to_owned()));
        Record { path, files: text.map(|t| t.lines().filter_map(line).collect()) }
    }

    /// Whether nothing was written before.
    pub fn is_new(&self) -> bool {
        self.files.is_none()
    }

    /// The files that are not as they were written.
    pub fn changed(&self, tree: &Tree) -> Vec<String> {
        let differs = |(file, sum): &(&String, &String)| {
            file.as_str() == ONCE || tree.read(file).is_none_or(|t| sum_of(&t) != **sum)
        };
        self.files.iter().flatten().filter(differs).map(|(file, _)| file.clone()).collect()
    }

    /// Remember what was written now. What was left alone is remembered as it was.
    pub fn keep(&self, tree: &Tree) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut files = self.files.clone().unwrap_or_default();
        for file in tree.written() {
            if let Some(text) = tree.read(&file) {
                files.insert(file, sum_of(&text));
            }
        }
        let lines: String = files.iter().map(|(file, sum)| format!("{sum} {file}\n")).collect();
        fs::write(path, lines).with_context(|| format!("writing {}", path.display()))
    }
}

fn sum_of(text: &str) -> String {
    let mut sum = Summing::new(io::Cursor::new(text));
    io::copy(&mut sum, &mut io::sink()).expect("a cursor can be read");
    sum.finish().to_string()
}
