// SPDX-License-Identifier: GPL-3.0-or-later
//! Which file of a torrent is the payload (BEP 3, "multiple file mode"; BEP 47, padding files). No I/O.

use crate::metainfo_error::MetainfoError;
use librqbit_core::torrent_metainfo::TorrentMetaV1File;
use std::ops::Range;

/// The most files that a torrent may have.
const MAX_FILES: usize = 100_000;
/// Of a torrent's bytes, the share that a file must have to be the payload without being named.
const OBVIOUS: f64 = 0.9;
/// Names that a sentence tells.
const TOLD: usize = 12;

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in the torrent's folder, with `/` between, without control characters.
    pub path: String,
    /// Where it lies in the torrent, in bytes.
    pub range: Range<u64>,
}

/// Lay the files end to end, as the pieces run over them. Padding is not a file.
pub(crate) fn lay<B: AsRef<[u8]>>(
    files: &[TorrentMetaV1File<B>],
) -> Result<(Vec<Entry>, u64), MetainfoError> {
    if files.len() > MAX_FILES {
        let what = format!("{} files are more than {MAX_FILES}", files.len());
        return Err(MetainfoError::Inconsistent(what));
    }
    let (mut all, mut at) = (Vec::new(), 0u64);
    for file in files {
        let end = at.checked_add(file.length).filter(|end| *end <= 1 << 44);
        let end =
            end.ok_or_else(|| MetainfoError::Inconsistent("its files are larger than any disk".into()))?;
        let padding = file.attr.as_ref().is_some_and(|a| a.as_ref().contains(&b'p'));
        if !padding && file.length > 0 {
            let parts: Vec<_> = file.path.iter().map(|p| String::from_utf8_lossy(p.as_ref())).collect();
            let path = parts.join("/").chars().filter(|c| !c.is_control()).take(1024).collect();
            all.push(Entry { path, range: at..end });
        }
        at = end;
    }
    Ok((all, at))
}

/// The payload: the file of that path, or of that name if only one has it; without a name the one that is nearly all of the torrent.
pub(crate) fn choose<'a>(
    files: &'a [Entry],
    total: u64,
    wanted: Option<&str>,
) -> Result<&'a Entry, MetainfoError> {
    let told = || {
        let mut largest: Vec<&Entry> = files.iter().collect();
        largest.sort_by_key(|f| std::cmp::Reverse(f.range.end - f.range.start));
        let more = largest.len().saturating_sub(TOLD);
        let names: Vec<&str> = largest.iter().take(TOLD).map(|f| f.path.as_str()).collect();
        let more = if more > 0 { format!(" and {more} smaller ones") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let Some(wanted) = wanted else {
        let most = |f: &&Entry| (f.range.end - f.range.start) as f64 >= total as f64 * OBVIOUS;
        return files.iter().find(most).ok_or_else(|| MetainfoError::WhichFile(told()));
    };
    if let Some(exact) = files.iter().find(|f| f.path == wanted) {
        return Ok(exact);
    }
    let mut same = files.iter().filter(|f| f.path.rsplit('/').next() == Some(wanted));
    match (same.next(), same.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(MetainfoError::NoSuchFile { wanted: wanted.into(), files: told() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sizes: &[(&str, u64)]) -> (Vec<Entry>, u64) {
        let mut at = 0;
        let all = sizes.iter().map(|(path, size)| {
            at += size;
            Entry { path: (*path).into(), range: at - size..at }
        });
        (all.collect(), sizes.iter().map(|s| s.1).sum())
    }

    fn chosen(sizes: &[(&str, u64)], wanted: Option<&str>) -> Result<String, String> {
        let (files, total) = entries(sizes);
        choose(&files, total, wanted).map(|f| f.path.clone()).map_err(|e| e.to_string())
    }

    #[test]
    fn by_path_by_name_or_obvious() {
        let iso = [("SHA256SUMS", 100), ("iso/lab.iso", 10_000), ("README", 200)];
        assert_eq!(chosen(&iso, None), Ok("iso/lab.iso".into()));
        assert_eq!(chosen(&iso, Some("README")), Ok("README".into()));
        assert_eq!(chosen(&iso, Some("lab.iso")), Ok("iso/lab.iso".into()));
        let two = [("a/disk.img", 1000), ("b/disk.img", 999)];
        assert_eq!(
            chosen(&two, None).unwrap_err(),
            "it is a torrent of several files: say which one by boottorrent.file=, there are a/disk.img, b/disk.img"
        );
        assert_eq!(chosen(&two, Some("b/disk.img")), Ok("b/disk.img".into()));
        assert_eq!(
            chosen(&two, Some("disk.img")).unwrap_err(),
            "no file of it, or more than one, is 'disk.img' (boottorrent.file=): there are a/disk.img, b/disk.img"
        );
    }

    #[test]
    fn many_names_are_not_all_told() {
        let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
        let sizes: Vec<(&str, u64)> =
            names.iter().enumerate().map(|(n, s)| (s.as_str(), 1000 - n as u64)).collect();
        let told = chosen(&sizes, None).unwrap_err();
        assert!(told.ends_with("f10, f11 and 28 smaller ones"), "{told}");
    }
}
