// SPDX-License-Identifier: GPL-3.0-or-later
//! What dnsmasq is told already, by others.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The snippet with what may not.
pub const BASE: &str = "boottorrent-base.conf";
/// The snippet with what may stand in several files.
pub const MAIN: &str = "boottorrent.conf";

/// Where dnsmasq's snippets are, in Debian.
pub const DNSMASQ_DIR: &str = "/etc/dnsmasq.d";

/// The active lines of dnsmasq's other files.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The files that dnsmasq reads, without ours.
    pub files: Vec<PathBuf>,
    lines: Vec<(PathBuf, String)>,
}

impl Survey {
    /// Read Debian's layout: `DIR/*` as /etc/default/dnsmasq has it, and `dnsmasq.conf` beside DIR.
    pub fn read(dir: &Path) -> Result<Survey> {
        let mut survey = Survey::default();
        let mut files = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries
                .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>())
                .with_context(|| format!("reading {}", dir.display()))?,
        };
        files
            .retain(|f| f.is_file() && read_by_dnsmasq(&f.file_name().unwrap_or_default().to_string_lossy()));
        files.sort();
        files.extend(dir.parent().map(|p| p.join("dnsmasq.conf")).filter(|p| p.is_file()));
        for file in files {
            let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            survey.add(&file, &String::from_utf8_lossy(&text));
        }
        Ok(survey)
    }

    fn add(&mut self, file: &Path, text: &str) {
        self.files.push(file.to_owned());
        let active = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        self.lines.extend(active.map(|l| (file.to_owned(), l.to_owned())));
    }

    /// Whether dnsmasq has no other work here.
    pub fn unused(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a keyword stands somewhere.
    pub fn sets(&self, keyword: &str) -> bool {
        self.find(keyword).is_some()
    }

    /// Every value of a keyword, and the files that set it.
    pub fn all(&self, keyword: &str) -> impl Iterator<Item = (&Path, &str)> {
        self.lines.iter().filter_map(move |(file, line)| {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            (name.trim() == keyword).then_some((file.as_path(), value.trim()))
        })
    }

    /// The value of a keyword, and the file that sets it.
    pub fn find(&self, keyword: &str) -> Option<(&Path, &str)> {
        self.all(keyword).next()
    }
}

/// Debian's CONFIG_DIR leaves out what dpkg keeps; dnsmasq itself leaves out `~`, `.` and `#…#`.
fn read_by_dnsmasq(name: &str) -> bool {
    let ours = name == MAIN || name == BASE;
    let dpkg = [".dpkg-dist", ".dpkg-old", ".dpkg-new"].iter().any(|end| name.ends_with(end));
    let hidden =
        name.starts_with('.') || name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
    !(ours || dpkg || hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_dnsmasq_reads() {
        let etc = tempfile::tempdir().unwrap();
        let dir = etc.path().join("dnsmasq.d");
        assert!(Survey::read(&dir).unwrap().unused());
        fs::create_dir(&dir).unwrap();
        for (file, text) in [
            ("dnsmasq.d/README", "# nothing\n"),
            ("dnsmasq.d/boottorrent-base.conf", "port=0\n"),
            ("dnsmasq.d/old.conf.dpkg-old", "port=0\n"),
            ("dnsmasq.conf", "#port=5353\n"),
        ] {
            fs::write(etc.path().join(file), text).unwrap();
        }
        assert!(Survey::read(&dir).unwrap().unused());
        fs::write(dir.join("ltsp.conf"), "port=0\n tftp-root = /srv/ltsp\nbind-dynamic\n").unwrap();
        let survey = Survey::read(&dir).unwrap();
        assert!(!survey.unused() && survey.sets("bind-dynamic") && !survey.sets("bind"));
        assert_eq!(survey.find("tftp-root"), Some((dir.join("ltsp.conf").as_path(), "/srv/ltsp")));
        assert_eq!(survey.files.len(), 3);
    }
}
