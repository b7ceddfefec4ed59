// SPDX-License-Identifier: GPL-3.0-or-later
//! A .torrent, bounded and checked before anything believes it (BEP 3, BEP 12, BEP 27).

use crate::{
    files::{self, Entry},
    metainfo_error::{MAX_METAINFO, MetainfoError},
    plan::Layout,
};
use bootspec::InfoHash;
use bytes::Bytes;
use librqbit_core::torrent_metainfo::torrent_from_bytes;
use std::{ops::Range, sync::Arc};

/// The most pieces that a torrent may have: their bitfield must fit into one message of the engine's.
pub const MAX_PIECES: u64 = 8 * (16 << 10);
/// The piece lengths that are accepted, in bytes. BEP 3 has no bounds; these keep a piece in memory.
pub const PIECE_LENGTHS: std::ops::RangeInclusive<u32> = 16 << 10..=64 << 20;

/// Trackers that are taken from one.
const MAX_TRACKERS: usize = 16;

/// A parsed, checked .torrent, and which of its files is the payload. Cheap to clone.
#[derive(Clone)]
pub struct Metainfo {
    inner: Arc<Inner>,
    /// Where the payload lies in the torrent, in bytes. Of several files none may be chosen yet: then all of it.
    payload: Range<u64>,
}

struct Inner {
    bytes: Bytes,
    info: Bytes,
    infohash: InfoHash,
    name: String,
    /// Empty in a torrent of one file.
    files: Vec<Entry>,
    total: u64,
    piece_length: u32,
    hashes: Bytes,
    private: bool,
    trackers: Vec<String>,
}

/// Whether bytes that are no metainfo of version 1 are of version 2: by its keys, since nothing else reads them.
pub fn is_only_v2(bytes: &[u8]) -> bool {
    let has = |key: &[u8]| bytes.windows(key.len()).any(|w| w == key);
    has(b"12:meta versioni2e") && !has(b"6:pieces")
}

impl Metainfo {
    /// Parse and check. Nothing is trusted: see [`MetainfoError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, MetainfoError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_METAINFO {
            return Err(MetainfoError::TooLarge(bytes.len()));
        }
        let torrent = torrent_from_bytes(&bytes).map_err(|e| match is_only_v2(&bytes) {
            true => MetainfoError::OnlyV2,
            false => MetainfoError::Malformed(e.to_string()),
        })?;
        let info = &torrent.info.data;
        let (files, total) = match &info.files {
            Some(files) => files::lay(files)?,
            None => (Vec::new(), info.length.unwrap_or(0)),
        };
        let inconsistent = |what: String| Err(MetainfoError::Inconsistent(what));
        if total == 0 || total > 1 << 44 {
            return inconsistent(format!("it has {total} bytes"));
        }
        if !PIECE_LENGTHS.contains(&info.piece_length) {
            return inconsistent(format!("the piece length is {} bytes", info.piece_length));
        }
        let pieces = total.div_ceil(info.piece_length.into());
        if pieces > MAX_PIECES {
            return inconsistent(format!("{pieces} pieces are more than {MAX_PIECES}"));
        }
        let hashes = info.pieces.as_ref();
        if hashes.len() as u64 != pieces * 20 {
            return inconsistent(format!("{pieces} pieces, but {} bytes of hashes", hashes.len()));
        }
        let text = |b: &[u8]| -> String {
            String::from_utf8_lossy(b).chars().filter(|c| !c.is_control()).take(255).collect()
        };
        let mut trackers: Vec<String> = Vec::new();
        for url in torrent.iter_announce().map(|t| text(t.as_ref())) {
            if trackers.len() < MAX_TRACKERS && !trackers.contains(&url) {
                trackers.push(url);
            }
        }
        let inner = Inner {
            infohash: InfoHash(torrent.info_hash.0),
            name: info.name.as_ref().map(|n| text(n.as_ref())).unwrap_or_default(),
            files,
            total,
            piece_length: info.piece_length,
            hashes: Bytes::copy_from_slice(hashes),
            private: info.private,
            trackers,
            info: Bytes::copy_from_slice(torrent.info.raw_bytes.as_ref()),
            bytes: bytes.clone(),
        };
        Ok(Self { inner: Arc::new(inner), payload: 0..total })
    }

    /// The same torrent, with this of its files as the payload: a path in it, or a name. `None`: the only one, or the
    /// one that is nearly all of it.
    pub fn pick(self, file: Option<&str>) -> Result<Self, MetainfoError> {
        let Inner { files, name, total, .. } = &*self.inner;
        let payload = match (files.as_slice(), file) {
            ([], None) => 0..*total,
            ([], Some(file)) if file == name => 0..*total,
            ([], Some(file)) => {
                return Err(MetainfoError::NoSuchFile { wanted: file.into(), files: name.clone() });
            }
            (files, file) => files::choose(files, *total, file)?.range.clone(),
        };
        Ok(Self { payload, ..self })
    }

    /// The same torrent (same infohash) with one tracker: `url`.
    pub fn with_announce(&self, url: &str) -> Self {
        let same = Self::assemble(&self.inner.info, &[url.to_owned()])
            .expect("the info dictionary was parsed before");
        Self { payload: self.payload.clone(), ..same }
    }

    /// The info dictionary, bencoded: what the infohash is the hash of.
    pub(crate) fn info(&self) -> &Bytes {
        &self.inner.info
    }

    /// A .torrent around a bencoded info dictionary. Trackers beyond the first are in one tier of their own each (BEP 12).
    pub(crate) fn assemble(info: &[u8], trackers: &[String]) -> Result<Self, MetainfoError> {
        let mut out = Vec::with_capacity(info.len() + 128);
        out.push(b'd');
        if let Some(url) = trackers.first() {
            out.extend_from_slice(format!("8:announce{}:{url}", url.len()).as_bytes());
        }
        if trackers.len() > 1 {
            let tiers: String = trackers.iter().map(|url| format!("l{}:{url}e", url.len())).collect();
            out.extend_from_slice(format!("13:announce-listl{tiers}e").as_bytes());
        }
        out.extend_from_slice(b"10:created by11:boottorrent4:info");
        out.extend_from_slice(info);
        out.push(b'e');
        Self::parse(out)
    }

    /// SHA-1 of the info dictionary.
    pub fn infohash(&self) -> InfoHash {
        self.inner.infohash
    }

    /// The suggested file name, without control characters.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The suggested name of the payload's file: that of the torrent, or the file's own in a torrent of several.
    pub fn file_name(&self) -> &str {
        let picked = self.inner.files.iter().find(|f| f.range == self.payload);
        picked.and_then(|f| f.path.rsplit('/').next()).unwrap_or(self.name())
    }

    /// The payload's size in bytes.
    pub fn size(&self) -> u64 {
        self.payload.end - self.payload.start
    }

    /// Where the payload lies in the torrent, in bytes.
    pub(crate) fn payload(&self) -> Range<u64> {
        self.payload.clone()
    }

    /// Whether the payload is all of the torrent: then pieces begin where they begin in the file.
    pub fn is_whole(&self) -> bool {
        self.payload == (0..self.inner.total)
    }

    /// The pieces that the payload has part in.
    pub fn wanted(&self) -> Range<u32> {
        let length = u64::from(self.inner.piece_length);
        (self.payload.start / length) as u32..self.payload.end.div_ceil(length) as u32
    }

    /// How the torrent is cut.
    pub fn layout(&self) -> Layout {
        Layout::new(self.inner.total, self.inner.piece_length)
    }

    /// The length in bytes of every piece but the last.
    pub fn piece_length(&self) -> u32 {
        self.inner.piece_length
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        (self.inner.hashes.len() / 20) as u32
    }

    /// The SHA-1 of a piece.
    pub fn piece_hash(&self, piece: u32) -> &[u8] {
        &self.inner.hashes[piece as usize * 20..][..20]
    }

    /// Where a piece lies in the payload, in bytes. Of a piece that is partly in another file only what is in the payload.
    pub fn piece_range(&self, piece: u32) -> Range<u64> {
        let start = u64::from(piece) * u64::from(self.inner.piece_length);
        let end = start + u64::from(self.inner.piece_length);
        let at = |byte: u64| byte.clamp(self.payload.start, self.payload.end) - self.payload.start;
        at(start)..at(end)
    }

    /// Whether the private flag is set (BEP 27): no local discovery, no peer exchange.
    pub fn private(&self) -> bool {
        self.inner.private
    }

    /// Tracker URLs, in order.
    pub fn trackers(&self) -> &[String] {
        &self.inner.trackers
    }

    /// The .torrent as it is on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.inner.bytes
    }

    /// Whether `data` is this piece.
    pub fn verify(&self, piece: u32, data: &[u8]) -> bool {
        sha1(data) == self.piece_hash(piece)
    }
}

/// SHA-1, by the implementation that the engine uses too.
pub(crate) fn sha1(data: &[u8]) -> [u8; 20] {
    use librqbit_sha1_wrapper::{ISha1, Sha1};
    let mut hash = Sha1::new();
    hash.update(data);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::{CreateOptions, create};
    use proptest::prelude::*;

    fn small() -> Metainfo {
        let data = vec![7u8; 100_000];
        let options = CreateOptions { name: "lab".into(), private: false, piece_length: Some(32 << 10) };
        create(&mut &data[..], data.len() as u64, &options, &mut |_| ()).unwrap()
    }

    #[test]
    fn announce_changes_nothing_but_the_announce() {
        let m = small();
        let a = m.with_announce("http://10.0.0.1:6980/announce");
        assert_eq!(a.infohash(), m.infohash());
        assert_eq!(a.trackers(), ["http://10.0.0.1:6980/announce"]);
        assert_eq!((a.name(), a.size(), a.pieces()), ("lab", 100_000, 4));
        assert_eq!(a.piece_range(3), 98_304..100_000);
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let hashes = "x".repeat(20);
        let torrent = |length: u64, piece: u64| {
            format!("d4:infod6:lengthi{length}e4:name1:a12:piece lengthi{piece}e6:pieces20:{hashes}ee")
        };
        assert!(Metainfo::parse(torrent(16384, 16384)).is_ok());
        for (length, piece) in [(0, 16384), (16385, 16384), (5, 5), (1 << 50, 1 << 30)] {
            assert!(Metainfo::parse(torrent(length, piece)).is_err(), "{length} {piece}");
        }
        assert!(matches!(Metainfo::parse(vec![b'0'; MAX_METAINFO + 1]), Err(MetainfoError::TooLarge(_))));
    }

    /// Two pieces and a half: a file of 100 bytes, one of 40,000, one of 860.
    fn folder() -> Metainfo {
        let hashes = "x".repeat(60);
        let file = |size: u32, name: &str| format!("d6:lengthi{size}e4:pathl{}:{name}ee", name.len());
        let files = [file(100, "SUMS"), file(40_000, "a.iso"), file(860, "tail")].concat();
        let text = format!("d4:infod5:filesl{files}e4:name1:d12:piece lengthi16384e6:pieces60:{hashes}ee");
        Metainfo::parse(text).unwrap()
    }

    #[test]
    fn one_file_of_several() {
        let iso = folder().pick(None).unwrap();
        assert_eq!((iso.size(), iso.pieces(), iso.wanted()), (40_000, 3, 0..3));
        assert_eq!([0, 1, 2].map(|p| iso.piece_range(p)), [0..16_284, 16_284..32_668, 32_668..40_000]);
        assert!(!iso.is_whole());
        let tail = folder().pick(Some("tail")).unwrap();
        assert_eq!((tail.size(), tail.wanted(), tail.piece_range(2)), (860, 2..3, 0..860));
        assert_eq!(tail.with_announce("http://x/announce").size(), 860, "the tracker changes nothing");
        assert!(matches!(folder().pick(Some("b.iso")), Err(MetainfoError::NoSuchFile { .. })));
        assert_eq!(small().pick(Some("lab")).unwrap().size(), 100_000);
        assert!(small().pick(Some("other")).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..400, cut in 0usize..400) {
            let mut bytes = small().bytes().to_vec();
            let at = at % bytes.len();
            bytes.truncate(bytes.len() - cut % bytes.len());
            let end = (at + noise.len()).min(bytes.len());
            if at < end { bytes[at..end].copy_from_slice(&noise[..end - at]); }
            let _ = Metainfo::parse(bytes);
            let _ = Metainfo::parse(noise);
        }
    }
}
