// SPDX-License-Identifier: GPL-3.0-or-later
//! A torrent without a network, driven by hand: connections come and go, say what they like, and take what is sent to
//! them. For fuzzing and tests: all decisions are the ones of a [`crate::Session`], and each step can be looked at.

use crate::{
    conn::{Conn, MAX_CONTROL, MAX_REQUESTS},
    gate::Gate,
    heed::Heed,
    metainfo::Metainfo,
    peer,
    plan::Bits,
    store::Store,
    torrent::{Setup, Shared},
    wire::Frames,
};
use librqbit_core::hash_id::Id20;
use std::{
    fs::File,
    io,
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio_util::sync::CancellationToken;

/// Connections at most, as an agent has them.
const LIMIT: usize = 32;

struct Line {
    conn: Arc<Conn>,
    heed: Heed,
    frames: Frames,
}

/// See the module's text.
pub struct Driven {
    shared: Arc<Shared>,
    lines: Vec<Line>,
}

impl Driven {
    /// A torrent whose payload is in `file`, as far as `have` says. `deal`: it shows each piece to one machine first.
    pub fn new(metainfo: Metainfo, file: File, have: Bits, deal: bool) -> io::Result<Self> {
        let store = Store::new(file, None, metainfo.clone())?;
        let setup = Setup {
            metainfo,
            deal,
            gate: Gate::new(None, None),
            slow: None,
            servers: vec![[10, 0, 0, 1].into()],
            http: None,
            peer_id: Id20::new([b'm'; 20]),
            port: 6981,
            weight: AtomicU64::new(1),
            limit: LIMIT,
            end: CancellationToken::new(),
        };
        let nothing = Bits::none(have.len());
        let shared = Shared::new(setup, store, have, nothing);
        Ok(Self { shared, lines: Vec::new() })
    }

    /// Somebody has shaken hands. False: there is no place.
    pub fn connect(&mut self, address: SocketAddr, peer_id: [u8; 20], incoming: bool) -> bool {
        let Ok(conn) = self.shared.join(address, Id20::new(peer_id), incoming) else { return false };
        peer::greet(&self.shared, &conn);
        let frames = peer::frames(&self.shared);
        self.lines.push(Line { conn, heed: Heed::default(), frames });
        self.sweep();
        true
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lines.len()
    }

    /// A connection says something. What that costs it.
    pub async fn hear(&mut self, line: usize, mut bytes: &[u8]) -> u32 {
        let Some(line) = self.lines.get_mut(line) else { return 0 };
        let mut cost = 0;
        while !bytes.is_empty() && line.conn.lives() {
            if line.frames.fill(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
            loop {
                let heard = match line.frames.next() {
                    Ok(Some(message)) => line.heed.message(&self.shared, &line.conn, message),
                    Ok(None) => break,
                    Err(e) => Err(e),
                };
                match heard {
                    Ok(c) => cost += c,
                    Err(_) => {
                        line.conn.end.cancel();
                        break;
                    }
                }
            }
            self.shared.want_from(&line.conn);
        }
        self.sweep();
        cost
    }

    /// A connection takes what waits for it: messages, and some blocks. How many bytes these are.
    pub fn take(&mut self, line: usize, blocks: usize) -> usize {
        let Some(line) = self.lines.get(line) else { return 0 };
        let mut taken = 0;
        loop {
            let (out, look, _) = peer::take(&self.shared, &line.conn);
            if look {
                self.shared.want_from(&line.conn);
            }
            taken += out.len();
            if out.is_empty() {
                break;
            }
        }
        for _ in 0..blocks {
            let Some(request) = line.conn.next(&self.shared.queued) else { break };
            taken += request.length as usize;
            self.shared.sent(&line.conn, &request);
        }
        taken
    }

    /// A connection ends.
    pub fn close(&mut self, line: usize) {
        if let Some(line) = self.lines.get(line) {
            line.conn.end.cancel();
        }
        self.sweep();
    }

    /// What happens by the clock.
    pub fn tick(&mut self) {
        self.shared.flush();
        for line in &self.lines {
            self.shared.want_from(&line.conn);
            self.shared.show(&line.conn);
        }
        self.shared.dismiss(self.shared.now());
        self.sweep();
    }

    fn sweep(&mut self) {
        let (live, over) = std::mem::take(&mut self.lines).into_iter().partition(|l| l.conn.lives());
        self.lines = live;
        let over: Vec<Line> = over;
        over.iter().for_each(|l| self.shared.leave(&l.conn));
    }

    /// Pieces that are verified.
    pub fn have(&self) -> Bits {
        self.shared.state().picker.have().clone()
    }

    /// Panics when something is not as it must be: queues are within their bounds, and what is counted is there.
    pub fn check(&self) {
        let state = self.shared.state();
        let mut waiting = 0;
        assert!(self.lines.len() <= LIMIT, "{} connections", self.lines.len());
        assert_eq!(state.conns.len(), self.lines.len());
        for line in &self.lines {
            let outbox = line.conn.outbox();
            assert!(outbox.uploads.len() <= MAX_REQUESTS);
            assert!(outbox.control.len() <= MAX_CONTROL + (64 << 10));
            assert!(outbox.haves.len() <= state.picker.have().len() as usize * 2);
            waiting += outbox.uploads.len();
            for request in &outbox.uploads {
                let end = request.begin.checked_add(request.length).expect("within the piece");
                assert!(request.length > 0 && end <= self.shared.store.layout().len(request.index));
            }
        }
        assert_eq!(self.shared.queued.load(Ordering::Relaxed), waiting);
        assert!(self.shared.known.len() <= 2000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateOptions, create};
    use std::{io::Write, time::Duration};

    fn driven() -> Driven {
        let data = vec![7; 64 << 10];
        let options = CreateOptions { name: "x".into(), private: false, piece_length: Some(16 << 10) };
        let metainfo = create(&mut &data[..], data.len() as u64, &options, &mut |_| ()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&data).unwrap();
        Driven::new(metainfo, file, Bits::all(4), false).unwrap()
    }

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 50_000).into()
    }

    #[tokio::test]
    async fn whoever_has_nothing_and_wants_nothing_has_to_go() {
        let mut d = driven();
        assert!(d.connect(at(2), [2; 20], true) && d.connect(at(3), [3; 20], true));
        d.hear(0, &[0, 0, 0, 1, 2]).await; // interested
        d.shared.dismiss(Duration::from_secs(60));
        d.sweep();
        assert_eq!(d.connections(), 2);
        d.shared.dismiss(Duration::from_secs(200));
        d.sweep();
        assert_eq!(d.connections(), 1, "the one that wants something is left");
        assert_eq!(d.lines[0].conn.address, at(2));
    }

    #[tokio::test]
    async fn a_peer_is_an_address_and_an_id() {
        let mut d = driven();
        assert!(d.connect(at(2), [b'a'; 20], false));
        assert!(d.connect(at(9), [b'a'; 20], true), "somebody else, who has a place of its own");
        assert_eq!(d.connections(), 2);
        assert!(d.connect(at(2), [b'a'; 20], true), "calls crossed, and the smaller id's counts");
        assert_eq!(d.connections(), 2);
        assert!(!d.connect(at(2), [b'a'; 20], false));
        d.check();
    }
}
