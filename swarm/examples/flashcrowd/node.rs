// SPDX-License-Identifier: GPL-3.0-or-later
//! The server or a machine, with its connections: the decisions of [`swarm::plan`], and what
//! is on its way.

use std::{collections::VecDeque, time::Duration};
use swarm::plan::{Asker, Deal, Picker, Slots};

/// As in `swarm/src/peer.rs`: what is sent in one turn.
const TURN: u32 = 256 << 10;

/// One end of a connection: what its node sends on it. Its number is its node's `PeerKey` and `Ticket` for it.
pub struct End {
    /// The other node, and the number of the connection there.
    pub peer: (usize, usize),
    /// Blocks that were asked for.
    pub uploads: VecDeque<(u32, u32)>,
    /// Whether it may write.
    pub turn: Turn,
    /// What the kernel has taken and not sent, and how much that is.
    pub kernel: VecDeque<(u32, Blocks)>,
    /// Bytes in there.
    pub held: u32,
    /// When all that was said so far is heard: nothing overtakes it.
    pub heard: Duration,
    /// It is over.
    pub over: bool,
}

/// Where a connection stands in the queue of those who send, as in `swarm/src/peer.rs`.
#[derive(Clone, Copy, PartialEq)]
pub enum Turn {
    /// Nothing is to be sent.
    None,
    /// It waits.
    Queued,
    /// It may send so many bytes.
    Mine {
        /// Bytes.
        left: u32,
    },
}

/// Some blocks of one piece.
pub struct Blocks {
    /// Which.
    pub piece: u32,
    /// Which of it.
    pub blocks: Vec<u32>,
}

/// The server, or a machine.
pub struct Node {
    /// What to fetch from whom.
    pub picker: Picker,
    /// What is shown to whom, if not all.
    pub deal: Option<Deal>,
    /// How many are served.
    pub slots: Slots,
    /// Its connections.
    pub ends: Vec<End>,
    /// Those who may send, the next first.
    pub active: VecDeque<usize>,
    /// Connections of which the kernel holds something, the next first.
    pub flows: VecDeque<usize>,
    /// The link is busy.
    pub sending: bool,
    /// It is planned that it tries again.
    pub retrying: bool,
    /// When all that is on the way to us is here.
    pub full_until: Duration,
    /// Seconds that a byte takes on the link.
    pub byte: f64,
    /// Pieces to announce.
    pub fresh: Vec<u32>,
    /// Bytes.
    pub received: u64,
    /// Bytes of the payload.
    pub sent: u64,
    /// On which switch it is.
    pub switch: usize,
    /// When it came, and when it had everything.
    pub times: (Duration, Option<Duration>),
}

impl Node {
    /// Without connections.
    pub fn new(picker: Picker, deal: Option<Deal>, byte: f64) -> Self {
        Self {
            picker,
            deal,
            slots: Slots::default(),
            ends: Vec::new(),
            active: VecDeque::new(),
            flows: VecDeque::new(),
            sending: false,
            retrying: false,
            full_until: Duration::ZERO,
            byte,
            fresh: Vec::new(),
            received: 0,
            sent: 0,
            switch: 0,
            times: (Duration::ZERO, None),
        }
    }

    /// A connection to a node, the server perhaps, which has a number there.
    pub fn connect(&mut self, peer: (usize, usize), server: bool, now: Duration) {
        let key = self.ends.len() as u64;
        self.wire(peer);
        self.picker.join(key, server);
        self.picker.choke(key, false);
        if let Some(deal) = &mut self.deal {
            deal.join(key, std::net::Ipv4Addr::from(key as u32).into(), now);
        }
    }

    /// A connection of which no decision knows: HTTP.
    pub fn wire(&mut self, peer: (usize, usize)) {
        let (uploads, kernel) = (VecDeque::new(), VecDeque::new());
        let (turn, heard) = (Turn::None, Duration::ZERO);
        self.ends.push(End { peer, uploads, turn, kernel, held: 0, heard, over: false });
    }

    /// A connection is over. What is on its way still arrives.
    pub fn hang_up(&mut self, end: usize) {
        let e = &mut self.ends[end];
        (e.over, e.held) = (true, 0);
        e.uploads.clear();
        e.kernel.clear();
        match e.turn {
            Turn::None => {}
            Turn::Queued => self.slots.forget(end as u64),
            Turn::Mine { .. } => self.slots.free(end as u64),
        }
        self.ends[end].turn = Turn::None;
        self.active.retain(|e| *e != end);
        self.flows.retain(|e| *e != end);
        self.picker.leave(end as u64);
        if let Some(deal) = &mut self.deal {
            deal.leave(end as u64);
        }
    }

    /// A connection has something to send.
    pub fn queue(&mut self, end: usize) {
        let host = end as u128;
        self.slots.ask(end as u64, Asker { host, address: host, again: false }, 0, 1);
        self.ends[end].turn = Turn::Queued;
    }

    /// Let in whom there is room for.
    pub fn admit(&mut self, now: Duration) {
        while let Some(end) = self.slots.admit(now) {
            self.ends[end as usize].turn = Turn::Mine { left: TURN };
            self.active.push_back(end as usize);
        }
    }

    /// The turn of an active one is over; who has more to send queues again.
    pub fn end_turn(&mut self, at: usize) {
        let Some(end) = self.active.remove(at) else { return };
        self.slots.free(end as u64);
        self.ends[end].turn = Turn::None;
        if !self.ends[end].uploads.is_empty() {
            self.queue(end);
        }
    }
}
