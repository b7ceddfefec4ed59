// SPDX-License-Identifier: GPL-3.0-or-later
//! An image is made from what others have that are here: whole pieces by their hash, then blocks wherever they lie, by the
//! sums that the server publishes (see [`swarm::sums`]). What is copied counts when its piece's hash is right.

use super::{order::SumsSource, payload::in_background};
use crate::{locate::beside, report::Report};
use anyhow::Context;
use bootspec::units::human_size;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};
use swarm::{
    Metainfo,
    plan::{BLOCK, Bits, Layout},
    sums::{MAX_SUMS, Sums},
};

/// No byte of the sums for this long: done without.
const IDLE: Duration = Duration::from_secs(10);
/// Images that are gone through byte by byte.
const SCANNED: usize = 2;

/// An image that is here.
pub(super) struct Old {
    pub file: File,
    pub metainfo: Metainfo,
    /// Whether most of it may be as in the wanted one: it is a version of it, or the machine is switched from it.
    pub akin: bool,
}

/// What is being put together.
pub(super) struct Wanted<'a> {
    pub file: &'a File,
    pub metainfo: &'a Metainfo,
    pub known: &'a Bits,
}

/// The server's sums of an image. Without them there are still whole pieces.
pub(super) async fn obtain(source: SumsSource<'_>, metainfo: &Metainfo) -> Option<Sums> {
    let url = beside(source.torrent, "sums")?;
    let request = source.client.get(url).send();
    let mut answer = tokio::time::timeout(IDLE, request).await.ok()?.ok()?.error_for_status().ok()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = tokio::time::timeout(IDLE, answer.chunk()).await.ok()?.ok()? {
        if bytes.len() + chunk.len() > MAX_SUMS {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Sums::parse(&bytes, metainfo.infohash(), metainfo.size())
}

/// Copy what others have. Returns the pieces that are here then, and blocks of others.
pub(super) async fn run(
    wanted: Wanted<'_>,
    others: Vec<Old>,
    sums: Option<Sums>,
    image: &str,
    report: &Report,
) -> anyhow::Result<(Bits, Vec<(u32, u32)>)> {
    let (metainfo, known) = (wanted.metainfo.clone(), wanted.known.clone());
    let file = wanted.file.try_clone().context("sharing the image's file")?;
    let (image, report, begun) = (image.to_owned(), report.clone(), Instant::now());
    let work = move || {
        let before = known.count();
        let mut work = Work { file, metainfo, known, image, report };
        work.pieces(&others)?;
        let same = work.known.count() - before;
        let blocks = match &sums {
            Some(sums) => work.blocks(sums, &others)?,
            None => Vec::new(),
        };
        let rebuilt = work.known.count() - before - same;
        work.report.info(&format!(
            "{}: from images that are here: {same} pieces as they are, {rebuilt} rebuilt, {} of others (in {:.1} s)",
            work.image,
            human_size(blocks.len() as u64 * u64::from(BLOCK)),
            begun.elapsed().as_secs_f64()
        ));
        Ok((work.known, blocks))
    };
    in_background(work).await.context("rebuilding from images that are here")
}

struct Work {
    file: File,
    metainfo: Metainfo,
    known: Bits,
    image: String,
    report: Report,
}

impl Work {
    /// Pieces that another image has, at whatever offset.
    fn pieces(&mut self, others: &[Old]) -> io::Result<()> {
        let m = self.metainfo.clone();
        let missing = (0..m.pieces()).filter(|p| !self.known.has(*p));
        let mut wanted: HashMap<&[u8], Vec<u32>> = HashMap::new();
        missing.for_each(|p| wanted.entry(m.piece_hash(p)).or_default().push(p));
        for old in others {
            for theirs in 0..old.metainfo.pieces() {
                let Some(ours) = wanted.get(old.metainfo.piece_hash(theirs)) else { continue };
                let range = old.metainfo.piece_range(theirs);
                let mut data = vec![0; (range.end - range.start) as usize];
                if old.file.read_exact_at(&mut data, range.start).is_err() || !m.verify(ours[0], &data) {
                    continue;
                }
                for piece in ours.iter().filter(|p| !self.known.has(**p)) {
                    self.file.write_all_at(&data, m.piece_range(*piece).start)?;
                }
                ours.iter().for_each(|p| _ = self.known.insert(*p));
            }
        }
        Ok(())
    }

    /// Blocks by their sums. Returns those of pieces that are not whole, in the engine's blocks.
    fn blocks(&mut self, sums: &Sums, others: &[Old]) -> io::Result<Vec<(u32, u32)>> {
        let (len, layout) = (u64::from(sums.block()), self.layout());
        let of = |block: u32| (u64::from(block) * len / u64::from(layout.piece_length())) as u32;
        let mut here = Bits::none(sums.len());
        let mut search = sums.search(|block| self.known.has(of(block)));
        for old in others.iter().filter(|o| o.akin).take(SCANNED) {
            let mut reader = Told { from: &old.file, done: 0, size: old.metainfo.size(), by: self };
            let scanned = search.scan(&mut reader, |block, bytes| {
                self.file.write_all_at(bytes, u64::from(block) * len)?;
                here.insert(block);
                Ok(())
            });
            // An old image that cannot be read to its end has helped as far as it could.
            if let Err(e) = scanned {
                self.report.warn(&format!("reading {}: {e}", old.metainfo.infohash()));
            }
        }
        self.settle(&here, len)
    }

    /// Which pieces are whole now, and which blocks of 16 KiB the others have.
    fn settle(&mut self, here: &Bits, len: u64) -> io::Result<Vec<(u32, u32)>> {
        let (layout, mut begun) = (self.layout(), Vec::new());
        let covered = |from: u64, to: u64| (from / len..to.div_ceil(len)).all(|b| here.has(b as u32));
        for piece in 0..layout.pieces() {
            if self.known.has(piece) {
                continue;
            }
            let start = layout.offset(piece);
            let blocks: Vec<u32> = (0..layout.blocks(piece))
                .filter(|b| {
                    let from = start + u64::from(*b) * u64::from(BLOCK);
                    covered(from, from + u64::from(layout.block_len(piece, *b)))
                })
                .collect();
            if blocks.len() as u32 == layout.blocks(piece) {
                let range = self.metainfo.piece_range(piece);
                let mut data = vec![0; (range.end - range.start) as usize];
                self.file.read_exact_at(&mut data, range.start)?;
                if self.metainfo.verify(piece, &data) {
                    self.known.insert(piece);
                }
            } else {
                begun.extend(blocks.into_iter().map(|b| (piece, b)));
            }
        }
        Ok(begun)
    }

    fn layout(&self) -> Layout {
        Layout::new(self.metainfo.size(), self.metainfo.piece_length())
    }
}

/// An old image's file, of which it is told how far it has been read.
struct Told<'a> {
    from: &'a File,
    done: u64,
    size: u64,
    by: &'a Work,
}

impl Read for Told<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The swarm reads from it, too: each by its own place.
        let n = self.from.read_at(buf, self.done)?;
        self.done += n as u64;
        self.by.report.checking(
            self.done.min(self.size),
            self.size,
            &format!("{} (what is here)", self.by.image),
        );
        Ok(n)
    }
}
