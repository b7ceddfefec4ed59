// SPDX-License-Identifier: GPL-3.0-or-later
//! A flash crowd on a simulated clock: the real decisions of [`swarm::plan`], links that
//! are computed.
//!
//! Whom [`Slots`] lets in writes blocks into its connection's kernel buffer; the link takes
//! a chunk from each buffer in turn. A chunk passes the receiver's link while it is sent, or
//! waits there for what came before it; where much waits already, none is sent, as TCP does it.
//! What is said (requests, HAVEs) takes the network's latency, and stands behind what the
//! buffer holds. Machines may be on two switches, with a link between them that all share. A machine that comes may
//! load kernel and initrd first, over HTTP from the server, and may leave some time after it has everything.
//! Processors are infinitely fast, nothing is lost, everybody is well.

use super::{
    clock::Clock,
    graph::Graph,
    node::{Blocks, Node, Turn},
    params::Params,
    trunk::Trunk,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::time::Duration;
use swarm::plan::{Bits, Deal, Landed, Picker};

/// As in `swarm/src/session.rs`: how often all look for more to ask for, or to show.
const LOOK: Duration = Duration::from_millis(100);
/// Sent together over HTTP.
const HTTP_CHUNK: u32 = 16 << 10;
/// Stands for a piece where the bytes are of no piece.
const HTTP: u32 = u32::MAX;
/// Nobody waits for longer.
const END: Duration = Duration::from_secs(3600);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From the first start to the last end, in seconds.
    pub seconds: f64,
    /// What the server sent, over the payload's size.
    pub copies: f64,
    /// What a machine received, over the payload's size: above 1, some came twice.
    pub received: f64,
    /// A machine's own time, from when it joined until it had everything: the median, and the longest.
    pub own: (f64, f64),
    /// What went from the first switch to the second, over the payload's size.
    pub crossed: f64,
}

/// Let a crowd fetch the payload.
pub fn run(params: Params) -> Outcome {
    let mut world = World::new(params);
    while world.done < params.machines && world.clock.now < END {
        let Some(event) = world.clock.advance() else { break };
        world.happen(event);
    }
    let size = params.layout.size() as f64;
    let received: u64 = world.nodes.iter().map(|n| n.received).sum();
    let own = |n: &Node| n.times.1.map_or(f64::INFINITY, |end| (end - n.times.0).as_secs_f64());
    let mut own: Vec<f64> = world.nodes[1..].iter().map(own).collect();
    own.sort_by(f64::total_cmp);
    Outcome {
        seconds: if world.done == params.machines { world.clock.now.as_secs_f64() } else { f64::INFINITY },
        copies: world.nodes[SERVER].sent as f64 / size,
        received: received as f64 / size / params.machines as f64,
        own: (own[own.len() / 2], own[own.len() - 1]),
        crossed: world.trunk[0].carried as f64 / size,
    }
}

const SERVER: usize = 0;

/// To a node, and which of its connections.
pub type To = (usize, usize);

pub enum Event {
    /// A machine is switched on.
    Boot(usize),
    /// It calls another.
    Call(usize),
    /// It is switched off.
    Leave(usize),
    Ask(To, Blocks),
    Cancel(To, Blocks),
    Arrive(To, Blocks),
    /// Pieces that the other end has.
    Told(To, Vec<u32>),
    /// A node's HAVEs go to everybody: one event, as there are so many.
    Haves(usize, Vec<u32>),
    /// A chunk has left.
    Left(usize),
    Retry(usize),
    Flush(usize),
    Look(usize),
}

pub struct World {
    pub params: Params,
    pub clock: Clock<Event>,
    /// The server, then the machines.
    pub nodes: Vec<Node>,
    graph: Graph,
    /// Away from the server's switch, and towards it.
    pub trunk: [Trunk; 2],
    done: usize,
    pub rng: SmallRng,
}

impl World {
    fn new(params: Params) -> Self {
        let mut rng = SmallRng::seed_from_u64(params.seed);
        let pieces = params.layout.pieces();
        let byte = |mbit: f64| 8.0 * (1.0 + params.overhead) / (mbit * 1e6);
        let deal = params.dealing.then(|| Deal::new(pieces, rng.random()));
        let mut nodes = vec![Node::new(
            Picker::new(params.layout, Bits::all(pieces), rng.random()),
            deal,
            byte(params.server),
        )];
        for _ in 0..params.machines {
            let picker = Picker::new(params.layout, Bits::none(pieces), rng.random());
            nodes.push(Node::new(picker, None, byte(params.machine)));
        }
        for node in &mut nodes[1 + params.machines / 2..] {
            node.switch = usize::from(params.trunk.is_some());
        }
        let n = params.machines;
        let at = |i: usize, by_chance: f64| match params.even {
            true => i as f64 / (n - 1).max(1) as f64,
            false => by_chance,
        };
        let mut starts: Vec<_> = (0..n).map(|i| params.spread.mul_f64(at(i, rng.random()))).collect();
        starts.sort();
        let first = starts.first().copied().unwrap_or_default();
        // Those of both switches come mixed.
        let half = params.machines / 2;
        let order: Vec<usize> = match params.trunk {
            Some(_) => (0..half).flat_map(|n| [n, half + n]).chain(2 * half..params.machines).collect(),
            None => (0..params.machines).collect(),
        };
        let trunk = || Trunk { byte: params.trunk.map_or(0.0, byte), ..Trunk::default() };
        let graph = Graph::new(params.degree, params.machines);
        let trunk = [trunk(), trunk()];
        let mut world = Self { params, clock: Clock::new(), nodes, graph, trunk, done: 0, rng };
        for (machine, start) in order.into_iter().zip(starts) {
            world.plan(start - first, Event::Boot(machine + 1));
        }
        world.plan(LOOK, Event::Look(SERVER));
        world
    }

    pub fn plan(&mut self, after: Duration, event: Event) {
        self.clock.plan(self.clock.now + after, event);
    }

    /// Say something to the other end of a connection: it stands behind what the kernel holds.
    fn say(&mut self, (node, end): To, message: impl FnOnce(To) -> Event) {
        let n = &mut self.nodes[node];
        let bytes = f64::from(n.ends[end].held) * n.flows.len() as f64;
        let e = &mut n.ends[end];
        if e.over {
            return;
        }
        let at = self.clock.now + self.params.latency + Duration::from_secs_f64(bytes * n.byte);
        e.heard = e.heard.max(at);
        self.clock.plan(e.heard, message(e.peer));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Boot(node) if self.params.phase_one == 0 => self.join(node),
            Event::Boot(node) => self.boot(node),
            Event::Call(node) => self.call(node),
            Event::Leave(node) => self.leave(node),
            Event::Ask((node, end), Blocks { piece, blocks }) => {
                let n = &mut self.nodes[node];
                if n.ends[end].over {
                    return;
                }
                n.ends[end].uploads.extend(blocks.into_iter().map(|b| (piece, b)));
                if n.ends[end].turn == Turn::None {
                    n.queue(end);
                }
                self.send(node);
            }
            Event::Cancel((node, end), Blocks { piece, blocks }) => {
                let cancelled = |(p, b): &(u32, u32)| *p == piece && blocks.contains(b);
                self.nodes[node].ends[end].uploads.retain(|u| !cancelled(u));
            }
            Event::Arrive(to, blocks) => self.arrive(to, blocks),
            Event::Told(to, pieces) => self.told(to, &pieces),
            Event::Haves(node, pieces) => {
                for end in 0..self.nodes[node].ends.len() {
                    let e = &self.nodes[node].ends[end];
                    match e.held {
                        0 => self.told(e.peer, &pieces),
                        _ => self.say((node, end), |to| Event::Told(to, pieces.clone())),
                    }
                }
            }
            Event::Left(node) => {
                self.nodes[node].sending = false;
                self.send(node);
            }
            Event::Retry(node) => {
                self.nodes[node].retrying = false;
                self.send(node);
            }
            Event::Flush(node) => {
                let fresh = std::mem::take(&mut self.nodes[node].fresh);
                self.plan(self.params.latency, Event::Haves(node, fresh));
            }
            Event::Look(node) => self.look(node),
        }
    }

    /// A machine loads kernel and initrd.
    fn boot(&mut self, node: usize) {
        let ends = [SERVER, node].map(|n| self.nodes[n].ends.len());
        self.nodes[SERVER].wire((node, ends[1]));
        self.nodes[node].wire((SERVER, ends[0]));
        let mut left = self.params.phase_one;
        let server = &mut self.nodes[SERVER];
        while left > 0 {
            let bytes = left.min(HTTP_CHUNK.into()) as u32;
            left -= u64::from(bytes);
            let blocks = if left == 0 { vec![0] } else { vec![] };
            let end = &mut server.ends[ends[0]];
            end.held += bytes;
            end.kernel.push_back((bytes, Blocks { piece: HTTP, blocks }));
        }
        server.flows.push_back(ends[0]);
        self.transmit(SERVER);
    }

    fn join(&mut self, node: usize) {
        self.nodes[node].times.0 = self.clock.now;
        self.graph.arrive(node - 1);
        self.connect(node, SERVER);
        self.plan(LOOK, Event::Look(node));
        self.plan(Duration::ZERO, Event::Call(node));
    }

    /// A machine calls another, until it has enough connections or the whole payload.
    fn call(&mut self, node: usize) {
        let (start, end) = self.nodes[node].times;
        if end.is_some() {
            return;
        }
        let (other, again) = self.graph.call(node - 1, self.clock.now - start, &mut self.rng);
        if let Some(other) = other {
            self.connect(node, other + 1);
        }
        if again {
            self.plan(self.params.degree.call, Event::Call(node));
        }
    }

    fn leave(&mut self, node: usize) {
        self.graph.leave(node - 1);
        for end in 0..self.nodes[node].ends.len() {
            let (peer, theirs) = self.nodes[node].ends[end].peer;
            self.nodes[node].hang_up(end);
            self.nodes[peer].hang_up(theirs);
            self.look_once(peer);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let ends = [(a, self.nodes[a].ends.len()), (b, self.nodes[b].ends.len())];
        let now = self.clock.now;
        self.nodes[a].connect(ends[1], b == SERVER, now);
        self.nodes[b].connect(ends[0], a == SERVER, now);
        for (node, end) in ends {
            self.show(node, end);
            let n = &self.nodes[node];
            if n.deal.is_none() && !n.picker.have().is_empty() {
                let have = n.picker.have().iter().collect();
                self.say((node, end), |to| Event::Told(to, have));
            }
        }
    }

    fn look(&mut self, node: usize) {
        if node != SERVER && self.nodes[node].picker.have().is_full() {
            return;
        }
        self.look_once(node);
        self.plan(LOOK, Event::Look(node));
    }

    fn look_once(&mut self, node: usize) {
        for end in 0..self.nodes[node].ends.len() {
            if !self.nodes[node].ends[end].over {
                self.want(node, end);
                self.show(node, end);
            }
        }
    }

    /// As `Shared::show`.
    pub fn show(&mut self, node: usize, end: usize) {
        let n = &mut self.nodes[node];
        let Some(deal) = &mut n.deal else { return };
        let pieces = deal.show(end as u64, self.clock.now);
        if !pieces.is_empty() {
            self.say((node, end), |to| Event::Told(to, pieces));
        }
    }

    /// As `Shared::want_from`.
    fn want(&mut self, node: usize, end: usize) {
        let mut victims = Vec::new();
        while !self.nodes[node].picker.have().is_full() {
            let Some(order) = self.nodes[node].picker.pick(end as u64, self.clock.now) else { break };
            let piece = order.piece;
            if let Some(victim) = order.instead_of {
                let blocks = order.blocks.clone();
                self.say((node, victim as usize), |to| Event::Cancel(to, Blocks { piece, blocks }));
                victims.push(victim as usize);
            }
            self.say((node, end), |to| Event::Ask(to, Blocks { piece, blocks: order.blocks }));
        }
        victims.into_iter().for_each(|v| self.want(node, v));
    }

    /// As `Shared::peer_has`.
    fn told(&mut self, (node, end): To, pieces: &[u32]) {
        let now = self.clock.now;
        let n = &mut self.nodes[node];
        if n.ends[end].over {
            return;
        }
        if let Some(deal) = &mut n.deal {
            pieces.iter().for_each(|p| deal.has(end as u64, *p, now));
            self.show(node, end);
        } else if !n.picker.have().is_full() {
            pieces.iter().for_each(|p| _ = n.picker.has(end as u64, *p));
            self.want(node, end);
        }
    }

    /// As `Shared::received` and `Shared::have`.
    fn arrive(&mut self, (node, end): To, Blocks { piece, blocks }: Blocks) {
        let (now, layout) = (self.clock.now, self.params.layout);
        if piece == HTTP {
            if !blocks.is_empty() {
                self.join(node);
            }
            return;
        }
        let mut cancelled: Vec<(usize, u32)> = Vec::new();
        let n = &mut self.nodes[node];
        let (was, waiting) = (n.picker.have().is_full(), !n.fresh.is_empty());
        for block in blocks {
            n.received += u64::from(layout.block_len(piece, block));
            let Some(asked) = n.picker.claim(end as u64, piece, block, now) else { continue };
            cancelled.extend(asked.into_iter().map(|k| (k as usize, block)));
            if n.picker.landed(piece, block) == Landed::Whole {
                n.picker.verified(piece, now);
                n.fresh.push(piece);
            }
        }
        let (full, fresh) = (n.picker.have().is_full(), !n.fresh.is_empty());
        for (other, block) in cancelled {
            self.say((node, other), |to| Event::Cancel(to, Blocks { piece, blocks: vec![block] }));
        }
        if full && !was {
            self.done += 1;
            self.nodes[node].times.1 = Some(now);
            if let Some(stay) = self.params.stay {
                self.plan(stay, Event::Leave(node));
            }
            self.plan(Duration::ZERO, Event::Flush(node));
        } else if fresh && !waiting {
            let period = self.params.flush.as_nanos() as u64;
            let phase = node as u64 * 7919 * 1000 % period;
            let wait = period - (now.as_nanos() as u64 + phase) % period;
            self.plan(Duration::from_nanos(wait), Event::Flush(node));
        }
        self.want(node, end);
    }
}
