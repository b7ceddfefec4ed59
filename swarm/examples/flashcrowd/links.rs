// SPDX-License-Identifier: GPL-3.0-or-later
//! Links of the simulated crowd: blocks that are sent go into kernel buffers, and from there over the links.

use super::{
    node::{Blocks, Turn},
    sim::{Event, To, World},
    trunk::Trunk,
};
use rand::Rng;
use std::time::Duration;

/// What may wait before a receiver's link.
const BACKLOG: Duration = Duration::from_millis(50);
impl World {
    /// Let those whose turn it is write into the kernel, as `peer::write`, then use the link.
    pub fn send(&mut self, node: usize) {
        self.nodes[node].admit(self.clock.now);
        let mut at = 0;
        while let Some(&end) = self.nodes[node].active.get(at) {
            let e = &self.nodes[node].ends[end];
            let over = e.uploads.is_empty() || e.turn == Turn::Mine { left: 0 };
            if over {
                self.nodes[node].end_turn(at);
                self.nodes[node].admit(self.clock.now);
            } else if e.held < self.params.kernel {
                self.write((node, end));
            } else {
                at += 1;
            }
        }
        self.transmit(node);
    }

    fn write(&mut self, (node, end): To) {
        let (layout, now) = (self.params.layout, self.clock.now);
        let n = &mut self.nodes[node];
        let e = &mut n.ends[end];
        let piece = e.uploads[0].0;
        let same = e.uploads.iter().take(self.params.grain).take_while(|u| u.0 == piece).count();
        let blocks: Vec<u32> = e.uploads.drain(..same).map(|u| u.1).collect();
        let bytes: u32 = blocks.iter().map(|b| layout.block_len(piece, *b)).sum();
        if let Turn::Mine { left } = &mut e.turn {
            *left = left.saturating_sub(bytes);
        }
        e.held += bytes;
        if e.kernel.is_empty() {
            n.flows.push_back(end);
        }
        e.kernel.push_back((bytes, Blocks { piece, blocks }));
        n.sent += u64::from(bytes);
        n.slots.sent(0, bytes.into(), now);
        if let Some(deal) = &mut n.deal {
            deal.sent(end as u64, piece, bytes, layout.len(piece), now);
        }
        self.show(node, end);
    }

    /// Put the next chunk on the link, if it is free: of each connection in turn.
    pub fn transmit(&mut self, node: usize) {
        if self.nodes[node].sending {
            return;
        }
        let mut earliest = Duration::MAX;
        for _ in 0..self.nodes[node].flows.len() {
            let n = &mut self.nodes[node];
            let Some(end) = n.flows.pop_front() else { break };
            let to = n.ends[end].peer;
            let over = self.over_trunk(node, to.0).map_or(Duration::ZERO, |t| t.full_until);
            let full = self.nodes[to.0].full_until.max(over);
            // The more waits there, the more likely a sender is to back off, as TCP does: so senders share a link.
            let patience = BACKLOG.mul_f64(self.rng.random_range(0.5..1.0));
            let free = full.saturating_sub(patience);
            if free > self.clock.now {
                self.nodes[node].flows.push_back(end);
                earliest = earliest.min(free);
                continue;
            }
            return self.put(node, end, to);
        }
        if earliest < Duration::MAX && !self.nodes[node].retrying {
            self.nodes[node].retrying = true;
            self.plan(earliest - self.clock.now, Event::Retry(node));
        }
    }

    fn put(&mut self, node: usize, end: usize, to: To) {
        let now = self.clock.now;
        let n = &mut self.nodes[node];
        let e = &mut n.ends[end];
        let Some((bytes, blocks)) = e.kernel.pop_front() else { return };
        e.held -= bytes;
        if !e.kernel.is_empty() {
            n.flows.push_back(end);
        }
        n.sending = true;
        let sent = Duration::from_secs_f64(n.byte * f64::from(bytes));
        let mut through = now + sent;
        if let Some(trunk) = self.over_trunk(node, to.0) {
            trunk.full_until =
                trunk.full_until.max(now) + Duration::from_secs_f64(trunk.byte * f64::from(bytes));
            trunk.carried += u64::from(bytes);
            through = through.max(trunk.full_until);
        }
        let peer = &mut self.nodes[to.0];
        peer.full_until = peer.full_until.max(now) + Duration::from_secs_f64(peer.byte * f64::from(bytes));
        let here = peer.full_until.max(through) - now + self.params.latency;
        self.plan(sent, Event::Left(node));
        self.plan(here, Event::Arrive(to, blocks));
    }

    /// The link between the switches, if it is on the way.
    fn over_trunk(&mut self, from: usize, to: usize) -> Option<&mut Trunk> {
        let [from, to] = [from, to].map(|n| self.nodes[n].switch);
        (from != to).then(|| &mut self.trunk[from])
    }
}
