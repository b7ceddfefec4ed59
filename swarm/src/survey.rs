// SPDX-License-Identifier: GPL-3.0-or-later
//! What of a payload is in a file already: found by hashing, and by nothing else.

use crate::{
    metainfo::{Metainfo, sha1},
    plan::Bits,
    store::{Head, Store},
};
use bootspec::Sha256Sum;
use librqbit_sha1_wrapper::{ISha256, Sha256};
use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
};

/// Hash every piece in the file, and return those that are right. Holes are not read: a piece in one is
/// right when it is all zeros. `tell` hears how many bytes have been looked at. The file may be shorter than the payload.
pub fn survey(file: &File, metainfo: &Metainfo, mut tell: impl FnMut(u64)) -> io::Result<Bits> {
    look(file, None, metainfo, None, &mut tell)
}

/// The same, and the SHA-256 of the payload if all of it is there: it is read only once.
pub fn survey_summing(
    file: &File,
    metainfo: &Metainfo,
    mut tell: impl FnMut(u64),
) -> io::Result<(Bits, Option<Sha256Sum>)> {
    let mut sum = Sha256::new();
    let have = look(file, None, metainfo, Some(&mut sum), &mut tell)?;
    let all = have.is_full() && metainfo.is_whole();
    Ok((have, all.then(|| Sha256Sum(sum.finish()))))
}

/// The same where the payload's beginning lies in a file of its own.
pub fn survey_apart(
    file: &File,
    head: &Head,
    metainfo: &Metainfo,
    mut tell: impl FnMut(u64),
) -> io::Result<Bits> {
    look(file, Some(head.try_clone()?), metainfo, None, &mut tell)
}

/// Whether one of about `tries` pieces from all over the file is right: a disk that has nothing of the
/// payload need not be read from end to end.
pub fn sample(file: &File, metainfo: &Metainfo, tries: u32) -> io::Result<bool> {
    let store = Store::new(file.try_clone()?, None, metainfo.clone())?;
    let step = (metainfo.wanted().len() as u32 / tries.max(1)).max(1);
    let mut pieces = metainfo.wanted().skip(step as usize / 2).step_by(step as usize);
    Ok(pieces.any(|p| store.verify(p).unwrap_or(false)))
}

/// `sum` gets all bytes from the first on, and makes sense when all pieces are right.
fn look(
    file: &File,
    head: Option<Head>,
    metainfo: &Metainfo,
    mut sum: Option<&mut Sha256>,
    tell: &mut dyn FnMut(u64),
) -> io::Result<Bits> {
    let mut hear = |part: &[u8]| sum.iter_mut().for_each(|s| s.update(part));
    // Not the metadata's: a disk has no length there.
    let len = (&*file).seek(SeekFrom::End(0))?;
    let apart = head.as_ref().map_or(0, |h| h.len);
    let store = Store::new(file.try_clone()?, head, metainfo.clone())?;
    let (mut have, mut zeros) = (Bits::none(metainfo.pieces()), Zeros::default());
    // The next stretch of data at or behind what was looked at.
    let mut data = (0, 0);
    for piece in metainfo.wanted() {
        let range = metainfo.piece_range(piece);
        if data.1 <= range.start {
            data = next_data(file, range.start, len)?;
        }
        // What a piece has of other files is nowhere.
        let apart_from_us = range.end - range.start < u64::from(store.layout().len(piece));
        let right = if apart_from_us {
            false
        } else if data.0 >= range.end && range.start >= apart {
            let right = zeros.are(metainfo, piece);
            if right {
                hole(range.end - range.start, &mut hear);
            }
            right
        } else {
            // A disk that cannot read a sector has not this piece; what else it has still counts.
            range.end <= len && store.verify_hearing(piece, &mut hear).unwrap_or(false)
        };
        if right && range.end <= len {
            have.insert(piece);
        }
        tell(range.end);
    }
    Ok(have)
}

/// The bytes of a hole, which nobody reads.
fn hole(mut len: u64, hear: &mut dyn FnMut(&[u8])) {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while len > 0 {
        let part = &ZEROS[..len.min(ZEROS.len() as u64) as usize];
        hear(part);
        len -= part.len() as u64;
    }
}

/// Where data begins and ends, from `at` on. On a filesystem without holes: everything.
fn next_data(file: &File, at: u64, len: u64) -> io::Result<(u64, u64)> {
    let seek = |whence| lseek64(file, at as i64, whence);
    match seek(Whence::SeekData) {
        Ok(start) => {
            let end = lseek64(file, start, Whence::SeekHole).unwrap_or(len as i64);
            Ok((start as u64, end as u64))
        }
        Err(Errno::ENXIO) => Ok((u64::MAX, u64::MAX)),
        Err(_) => Ok((at, len.max(at))),
    }
}

/// Whether a piece is nothing but zeros. At most two lengths occur: the last piece is shorter.
#[derive(Default)]
struct Zeros(Vec<(u64, [u8; 20])>);

impl Zeros {
    fn are(&mut self, metainfo: &Metainfo, piece: u32) -> bool {
        let range = metainfo.piece_range(piece);
        let len = range.end - range.start;
        if !self.0.iter().any(|z| z.0 == len) {
            self.0.push((len, sha1(&vec![0; len as usize])));
        }
        self.0.iter().any(|z| z.0 == len && z.1 == metainfo.piece_hash(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::{CreateOptions, create};
    use std::os::unix::fs::FileExt;

    const PIECE: usize = 16 << 10;

    /// Four pieces and a half: noise, zeros, noise, zeros, noise; the last is short.
    fn payload() -> Vec<u8> {
        let mut all: Vec<u8> =
            (0..9 * PIECE as u32 / 8).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        all[PIECE..2 * PIECE].fill(0);
        all[3 * PIECE..4 * PIECE].fill(0);
        all
    }

    fn metainfo(payload: &[u8]) -> Metainfo {
        let options = CreateOptions { name: "x".into(), private: false, piece_length: Some(PIECE as u32) };
        create(&mut &payload[..], payload.len() as u64, &options, &mut |_| {}).unwrap()
    }

    fn found(file: &File, metainfo: &Metainfo) -> Vec<u32> {
        let mut told = Vec::new();
        let have = survey(file, metainfo, |at| told.push(at)).unwrap();
        assert_eq!((told.len() as u32, told.last()), (metainfo.pieces(), Some(&metainfo.size())));
        have.iter().collect()
    }

    #[test]
    fn what_is_right_counts_and_nothing_else() {
        let (payload, file) = (payload(), tempfile::tempfile().unwrap());
        let metainfo = metainfo(&payload);
        assert_eq!(found(&file, &metainfo), Vec::<u32>::new(), "an empty file");
        file.set_len(payload.len() as u64).unwrap();
        assert_eq!(found(&file, &metainfo), [1, 3], "holes are zeros");
        file.write_all_at(&payload[2 * PIECE..3 * PIECE], 2 * PIECE as u64).unwrap();
        assert_eq!(found(&file, &metainfo), [1, 2, 3]);
        file.write_all_at(&payload, 0).unwrap();
        assert_eq!(found(&file, &metainfo), [0, 1, 2, 3, 4]);
        let sum = crate::sha256(&file, None, payload.len() as u64, |_| {}).unwrap();
        assert_eq!(survey_summing(&file, &metainfo, |_| {}).unwrap().1, Some(sum));
        let holes = tempfile::tempfile().unwrap();
        holes.set_len(payload.len() as u64).unwrap();
        for piece in [0, 2, 4] {
            let range = metainfo.piece_range(piece);
            holes.write_all_at(&payload[range.start as usize..range.end as usize], range.start).unwrap();
        }
        assert_eq!(
            survey_summing(&holes, &metainfo, |_| {}).unwrap().1,
            Some(sum),
            "holes are zeros there too"
        );
        file.write_all_at(&[payload[9] ^ 1], 9).unwrap();
        assert_eq!(survey_summing(&file, &metainfo, |_| {}).unwrap().1, None);
        assert_eq!(found(&file, &metainfo), [1, 2, 3, 4], "one bit");
        file.set_len(payload.len() as u64 - 1).unwrap();
        assert_eq!(found(&file, &metainfo), [1, 2, 3], "cut");
    }
}
