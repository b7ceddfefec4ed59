// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue of sources: where well-known images come from, and what says that they are genuine.
//!
//! One TOML file a source, named after it. A file in a later folder (`/etc`) takes the place of one with
//! the same name in an earlier folder (`/usr/share`); an empty one hides it.

pub mod glob;
pub mod parse;

pub use parse::ImageSource;

use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use bootspec::ImageName;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A source file is a few lines.
const MAX_FILE: usize = 64 * 1024;

/// A source as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct FoundSource {
    /// Its name: that of its file.
    pub name: ImageName,
    /// Its file.
    pub path: PathBuf,
    /// Whether the admin wrote it, or replaced a shipped one.
    pub own: bool,
    /// What it says.
    #[serde(flatten)]
    pub source: ImageSource,
}

/// What is in the folders.
#[derive(Debug, Default)]
pub struct All {
    /// The sources that can be used, by name.
    pub sources: BTreeMap<ImageName, FoundSource>,
    /// Why others cannot: file, line, and what was expected.
    pub broken: Vec<String>,
}

/// The folders with the sources.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The later one counts. The last one is the admin's.
    pub dirs: Vec<PathBuf>,
}

impl Folders {
    /// All sources. A file that cannot be understood hides no other.
    pub fn read(&self) -> Result<All> {
        let mut files: BTreeMap<String, (PathBuf, bool)> = BTreeMap::new();
        for (n, dir) in self.dirs.iter().enumerate() {
            let entries = match fs::read_dir(dir) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                entries => entries.with_context(|| format!("reading {}", dir.display()))?,
            };
            for entry in entries {
                let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
                if let Some(name) =
                    path.file_name().and_then(|f| f.to_str()).and_then(|f| f.strip_suffix(".toml"))
                {
                    files.insert(name.to_owned(), (path.clone(), n + 1 == self.dirs.len()));
                }
            }
        }
        let mut all = All::default();
        for (name, (path, own)) in files {
            match read(&name, &path) {
                Ok(None) => {}
                Ok(Some((name, source))) => {
                    drop(all.sources.insert(name.clone(), FoundSource { name, path, own, source }))
                }
                Err(e) => all.broken.push(format!("{e:#}")),
            }
        }
        Ok(all)
    }

    /// One source. Errors: there is none, and which there are; or what is wrong with its file.
    pub fn find(&self, name: &str) -> Result<FoundSource> {
        let mut all = self.read()?;
        if let Some(found) = name.parse().ok().and_then(|n: ImageName| all.sources.remove(&n)) {
            return Ok(found);
        }
        if let Some(why) = all.broken.into_iter().find(|b| b.contains(&format!("/{name}.toml: "))) {
            bail!("{why}");
        }
        let shown = bootspec::text::printable(name, 80);
        let near = all.sources.keys().min_by_key(|n| strsim::levenshtein(n.as_str(), name));
        let guess = near.filter(|n| strsim::levenshtein(n.as_str(), name) <= 3);
        let guess = guess.map(|g| format!("; did you mean {g}?")).unwrap_or_default();
        bail!(
            "there is no source '{shown}': see `boottorrent source list`, or give a URL, a magnet link or a .torrent{guess}"
        )
    }

    /// The folder that the admin's sources are in.
    pub fn own(&self) -> Result<&Path> {
        self.dirs.last().map(PathBuf::as_path).context("the settings name no folder for sources")
    }

    /// Write a source of the admin's. Errors: there is one already, and `replace` was not said.
    pub fn add(&self, name: &ImageName, text: &str, replace: bool) -> Result<PathBuf> {
        let dir = self.own()?;
        let path = dir.join(format!("{name}.toml"));
        parse::parse(text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
        if path.exists() && !replace {
            bail!("there is a source '{name}' in {} already: give --replace, or another name", dir.display());
        }
        files::make_dirs(dir)?;
        files::replace(&path, text.as_bytes(), 0o644)?;
        Ok(path)
    }

    /// Take a source away: the admin's is deleted, a shipped one is hidden. What was done, in one sentence.
    pub fn remove(&self, name: &ImageName) -> Result<String> {
        let own = self.own()?.join(format!("{name}.toml"));
        let shipped = self.dirs[..self.dirs.len() - 1]
            .iter()
            .rev()
            .map(|d| d.join(format!("{name}.toml")))
            .find(|p| p.exists());
        match (own.exists(), shipped) {
            (false, None) => {
                self.find(name.as_str())?;
                bail!("the source '{name}' is in no file")
            }
            (true, shipped) => {
                let hidden = fs::metadata(&own).is_ok_and(|m| m.len() == 0);
                fs::remove_file(&own).with_context(|| format!("deleting {}", own.display()))?;
                let back = if hidden { "is no longer hidden" } else { "is as it was shipped again" };
                Ok(match shipped {
                    Some(_) => format!("deleted {}: '{name}' {back}", own.display()),
                    None => format!("deleted {}", own.display()),
                })
            }
            (false, Some(shipped)) => {
                files::make_dirs(self.own()?)?;
                files::replace(&own, b"", 0o644)?;
                Ok(format!("wrote the empty {}: it hides {}", own.display(), shipped.display()))
            }
        }
    }
}

/// A file's source; `None`: it is empty, and hides another.
fn read(name: &str, path: &Path) -> Result<Option<(ImageName, ImageSource)>> {
    let text = files::find_text(path, MAX_FILE, "source, which is a few lines")?;
    let text = text.with_context(|| format!("{} is not there any more", path.display()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let name = name.parse().map_err(|e| anyhow!("{}: its name is the source's name: {e}", path.display()))?;
    let source = parse::parse(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
    Ok(Some((name, source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_used() {
        let shipped = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/sources.d"));
        let all = Folders { dirs: vec![shipped] }.read().unwrap();
        assert_eq!(all.broken, Vec::<String>::new());
        assert!(all.sources.len() >= 15, "{}", all.sources.len());
        for (name, found) in &all.sources {
            let s = &found.source;
            assert!(s.description.len() > 10 && !s.architecture.is_empty() && s.size.is_some(), "{name}");
            assert!(s.url.as_deref().is_some_and(|u| u.starts_with("https://")), "{name}");
            // What is shipped is signed, or says why not.
            assert!(s.signature.is_some() && s.key.is_some() && s.fingerprint.is_some(), "{name}");
        }
    }

    #[test]
    fn later_folders_count() {
        let dir = tempfile::tempdir().unwrap();
        let (usr, etc) = (dir.path().join("usr"), dir.path().join("etc"));
        fs::create_dir(&usr).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(
                usr.join(format!("{name}.toml")),
                "description = \"shipped\"\nurl = \"http://x/x.iso\"\n",
            )
            .unwrap();
        }
        let folders = Folders { dirs: vec![usr.clone(), etc.clone()] };
        assert_eq!(folders.read().unwrap().sources.len(), 3);
        let name = |n: &str| n.parse::<ImageName>().unwrap();
        assert!(folders.remove(&name("b")).unwrap().starts_with("wrote the empty "));
        folders
            .add(&name("c"), "description = \"own\"\nurl = \"/srv/iso/\"\nfile = \"c-*.iso\"\n", false)
            .unwrap();
        let all = folders.read().unwrap();
        assert_eq!(all.sources.keys().map(|k| k.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert!(all.sources[&name("c")].own && all.sources[&name("c")].source.description == "own");
        assert_eq!(
            folders.add(&name("c"), "url = \"http://x/y.iso\"", false).unwrap_err().to_string(),
            format!("there is a source 'c' in {} already: give --replace, or another name", etc.display())
        );
        assert!(folders.remove(&name("c")).unwrap().ends_with("'c' is as it was shipped again"));
        assert!(folders.remove(&name("b")).unwrap().ends_with("'b' is no longer hidden"));
        assert_eq!(
            folders.remove(&name("aa")).unwrap_err().to_string(),
            "there is no source 'aa': see `boottorrent source list`, or give a URL, a magnet link or a .torrent; did you mean a?"
        );
        // A damaged file is told, and hides no other.
        fs::write(etc.join("bad.toml"), "url = \"http://x/x.iso\"\nsize = \"big\"\n").unwrap();
        let all = folders.read().unwrap();
        assert_eq!((all.sources.len(), all.broken.len()), (3, 1));
        assert_eq!(
            folders.find("bad").unwrap_err().to_string(),
            format!(
                "{}/bad.toml: line 2: 'big' is not a valid size: write a number with K, M, G (or KB, MB, GB), as in 512M",
                etc.display()
            )
        );
    }
}
