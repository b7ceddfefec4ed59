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
    graph::{Degree, Graph},
    node::{Blocks, Node, Turn},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::time::Duration;
use swarm::plan::{Bits, Deal, Landed, Layout, Picker};

/// As in `swarm/src/session.rs`: how often all look for more to ask for, or to show.
const LOOK: Duration = Duration::from_millis(100);
/// What may wait before a receiver's link.
const BACKLOG: Duration = Duration::from_millis(50);
/// Sent together over HTTP.
const HTTP_CHUNK: u32 = 16 << 10;
/// Stands for a piece where the bytes are of no piece.
const HTTP: u32 = u32::MAX;
/// Nobody waits for longer.
const END: Duration = Duration::from_secs(3600);

/// Who sends what to how many, over which links.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The payload.
    pub layout: Layout,
    /// How many machines.
    pub machines: usize,
    /// Mbit/s of the server's link.
    pub server: f64,
    /// Mbit/s of each machine's link, both ways.
    pub machine: f64,
    /// The server deals; else it shows everything to everybody.
    pub dealing: bool,
    /// From one machine to another.
    pub latency: Duration,
    /// Bytes of a connection that the kernel takes before they are sent; what is said waits behind them.
    pub kernel: u32,
    /// How often HAVEs go out.
    pub flush: Duration,
    /// All machines start within this time...
    pub spread: Duration,
    /// ...one after another, with the same time between them, rather than at random.
    pub even: bool,
    /// Heads of packets, as a part of what they carry.
    pub overhead: f64,
    /// Connections of a machine.
    pub degree: Degree,
    /// Blocks that are sent together: more are faster to compute, and less exact.
    pub grain: usize,
    /// Mbit/s between two switches; the second half of the machines is on the second one.
    pub trunk: Option<f64>,
    /// What a machine loads from the server over HTTP before it joins.
    pub phase_one: u64,
    /// How long a machine stays when it has everything, if not for ever.
    pub stay: Option<Duration>,
    /// Of everything that is by chance.
    pub seed: u64,
}

impl Params {
    /// 64 MiB, every link 50 Mbit/s both ways.
    pub fn b(machines: usize) -> Self {
        Self {
            // Pieces as `swarm::create` chooses them.
            layout: Layout::new(64 << 20, 64 << 10),
            machines,
            server: 50.0,
            machine: 50.0,
            dealing: true,
            latency: Duration::from_micros(500),
            kernel: 64 << 10,
            flush: Duration::from_millis(25),
            spread: Duration::from_millis(200),
            even: false,
            overhead: 0.04,
            degree: Degree { first: 6, wanted: 18, most: 32, call: Duration::from_millis(3) },
            grain: if machines > 2000 { 4 } else { 1 },
            trunk: None,
            phase_one: 0,
            stay: None,
            seed: 1,
        }
    }

    /// 256 MiB, the server sends 200 Mbit/s, machines are hardly limited.
    pub fn a(machines: usize) -> Self {
        let layout = Layout::new(256 << 20, 256 << 10);
        Self { layout, server: 200.0, machine: 5000.0, ..Self::b(machines) }
    }

    /// 64 MiB to two switches with 50 Mbit/s between them, 200 Mbit/s everywhere else.
    pub fn c(machines: usize) -> Self {
        Self { server: 200.0, machine: 200.0, trunk: Some(50.0), ..Self::b(machines) }
    }

    /// 97 MiB, every link 1 Gbit/s, and machines come over 30 s.
    pub fn s(machines: usize) -> Self {
        let (layout, spread) = (Layout::new(97 << 20, 64 << 10), Duration::from_secs(30));
        Self { layout, server: 1000.0, machine: 1000.0, spread, ..Self::b(machines) }
    }

    /// Seconds that the payload takes over a machine's link.
    pub fn link(&self) -> f64 {
        self.layout.size() as f64 * 8.0 / (self.machine.min(self.server) * 1e6)
    }
}

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
type To = (usize, usize);

enum Event {
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

struct World {
    params: Params,
    clock: Clock<Event>,
    /// The server, then the machines.
    nodes: Vec<Node>,
    graph: Graph,
    /// Away from the server's switch, and towards it.
    trunk: [Trunk; 2],
    done: usize,
    rng: SmallRng,
}

/// One direction of the link between two switches.
#[derive(Default)]
struct Trunk {
    /// When all that waits for it is through.
    full_until: Duration,
    /// Seconds that a byte takes.
    byte: f64,
    /// Bytes.
    carried: u64,
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

    fn plan(&mut self, after: Duration, event: Event) {
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
    fn show(&mut self, node: usize, end: usize) {
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

    /// Let those whose turn it is write into the kernel, as `peer::write`, then use the link.
    fn send(&mut self, node: usize) {
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
    fn transmit(&mut self, node: usize) {
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
