// SPDX-License-Identifier: GPL-3.0-or-later
//! Sequences: connections that come, say things one after the other, take what they are sent or do not, and go. The
//! torrent that they meet decides as it would on a network.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::fs::FileExt,
    sync::{LazyLock, Mutex},
};
use swarm::{CreateOptions, Metainfo, create, drive::Driven, plan::Bits};

const PIECES: u32 = 9;
const PIECE: u32 = 64 << 10;
const BLOCK: u32 = 16 << 10;
/// The last piece is short.
const SIZE: u32 = PIECES * PIECE - 9000;

struct Payload {
    data: Vec<u8>,
    metainfo: Metainfo,
    /// What is fetched lands here, one input after the other.
    file: Mutex<File>,
}

static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| {
    let data: Vec<u8> = (0..SIZE).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let options = CreateOptions { name: "fuzz".into(), private: false, piece_length: Some(PIECE) };
    let metainfo = create(&mut &data[..], SIZE.into(), &options, &mut |_| ()).expect("a torrent");
    let file = Mutex::new(tempfile::tempfile_in("/dev/shm").expect("a file in RAM: written to at once"));
    Payload { data, metainfo, file }
});

/// Reads an input; zeros when it is over.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn some(&mut self, len: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(len.min(self.0.len()));
        self.0 = later;
        now.to_vec()
    }

    /// A piece, mostly one that there is.
    fn piece(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            n => u32::from(n) % (PIECES + 1),
        }
    }

    /// A place or a length, mostly a sensible one.
    fn place(&mut self) -> u32 {
        const PLACES: [u32; 12] = [
            0,
            1,
            BLOCK,
            2 * BLOCK,
            PIECE - 2 * BLOCK,
            PIECE,
            PIECE - 1,
            128 << 10,
            1 << 31,
            u32::MAX,
            u32::MAX - BLOCK + 1,
            16,
        ];
        PLACES[usize::from(self.byte()) % PLACES.len()]
    }
}

fn message(id: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[id], body].concat()
}

fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    message(id, &numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>())
}

/// Something that a peer may say.
fn said(input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() % 16 {
        n @ 0..=3 => message(n, &[]),
        4 => numbers(4, &[input.piece()]),
        5 => message(5, &[input.byte(), input.byte() & 0x80]),
        n @ (6 | 8) => numbers(n, &[input.piece(), input.place(), input.place()]),
        7 | 9 => block(input),
        10 => extended(0, b"d1:md11:ut_metadatai3e6:ut_pexi1ee1:pi6981e1:v11:boottorrente"),
        11 => {
            let body = input.byte();
            let addresses: Vec<u8> = (0..body).flat_map(|i| [10, 0, input.byte(), i, 40, i]).collect();
            extended(1, &[format!("d5:added{}:", addresses.len()).as_bytes(), &addresses, b"e"].concat())
        }
        12 => extended(3, format!("d8:msg_typei0e5:piecei{}ee", input.piece()).as_bytes()),
        13 => {
            let len = input.byte().into();
            extended(input.byte() % 4, &input.some(len))
        }
        14 => {
            let len = input.byte().into();
            message(input.byte(), &input.some(len))
        }
        _ => {
            let len = input.byte().into();
            input.some(len)
        }
    }
}

/// A block, right or wrong, where it belongs or elsewhere.
fn block(input: &mut Input<'_>) -> Vec<u8> {
    let (piece, block, lie) = (input.piece(), u32::from(input.byte()) % 4 * BLOCK, input.byte());
    let at = u64::from(piece) * u64::from(PIECE) + u64::from(block);
    let end =
        (at + u64::from(BLOCK)).min(u64::from(piece.saturating_add(1)) * u64::from(PIECE)).min(SIZE.into());
    let mut data = match at < end {
        true => PAYLOAD.data[at as usize..end as usize].to_vec(),
        false => vec![0; 9],
    };
    if lie % 8 == 1 {
        data[0] ^= 1;
    }
    message(7, &[&piece.to_be_bytes()[..], &block.to_be_bytes(), &data].concat())
}

fn extended(id: u8, dict: &[u8]) -> Vec<u8> {
    message(20, &[&[id][..], dict].concat())
}

/// Somebody: few hosts, so that they meet; and few ids, so that they are taken for each other.
fn address(input: &mut Input<'_>) -> (SocketAddr, [u8; 20]) {
    let (who, id) = (input.byte(), input.byte());
    let address = match who % 5 {
        4 => format!("[fd00::{who:x}]:6981").parse().expect("an address"),
        _ => SocketAddr::from(([10, 0, 0, who % 32], 6981)),
    };
    (address, [b'a' + id % 26; 20])
}

/// A sequence.
pub fn sequence(data: &[u8]) {
    run(data);
}

/// How many pieces are verified after it.
fn run(data: &[u8]) -> u32 {
    let mut input = Input(data);
    let how = input.byte();
    let (deal, seeds) = (how & 1 != 0, how & 2 != 0);
    let file = PAYLOAD.file.lock().unwrap_or_else(|e| e.into_inner());
    let here = if seeds { PAYLOAD.data.clone() } else { vec![0; SIZE as usize] };
    file.write_all_at(&here, 0).expect("room for the payload");
    let have = if seeds { Bits::all(PIECES) } else { Bits::none(PIECES) };
    let handle = file.try_clone().expect("a handle");
    let mut torrent =
        Driven::new(PAYLOAD.metainfo.clone(), handle, have, deal && seeds).expect("memory does not fail");
    while !input.0.is_empty() {
        let line = |input: &mut Input<'_>, t: &Driven| usize::from(input.byte()) % t.connections().max(1);
        match input.byte() % 16 {
            0..=2 => {
                let (address, id) = address(&mut input);
                torrent.connect(address, id, input.byte() & 1 != 0);
            }
            3 => {
                let n = line(&mut input, &torrent);
                torrent.close(n);
            }
            4 => torrent.tick(),
            5..=7 => {
                let n = line(&mut input, &torrent);
                torrent.take(n, (input.byte() % 8).into());
            }
            times => {
                let n = line(&mut input, &torrent);
                let times = if times == 15 { usize::from(input.byte()) } else { 1 };
                let bytes = said(&mut input).repeat(times);
                futures::executor::block_on(torrent.hear(n, &bytes));
            }
        }
        torrent.check();
    }
    for piece in torrent.have().iter() {
        let at = u64::from(piece) * u64::from(PIECE);
        let mut bytes = vec![0; PIECE.min(SIZE - at as u32) as usize];
        file.read_exact_at(&mut bytes, at).expect("it is there");
        assert!(
            bytes[..] == PAYLOAD.data[at as usize..][..bytes.len()],
            "piece {piece} is verified, and wrong"
        );
    }
    torrent.have().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_can_be_a_whole_fetch() {
        assert!(run(include_bytes!("../corpus/peer/fetch")) > PIECES / 2);
    }
}
