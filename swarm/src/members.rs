// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is connected to a torrent: who may come, who makes room, and who has to go.

use crate::{
    conn::Conn,
    plan::{Seat, displaced},
    torrent::{Shared, State},
};
use anyhow::bail;
use librqbit_core::hash_id::Id20;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long somebody may stay who has nothing that we lack, and does not say that he wants anything.
const USELESS: Duration = Duration::from_secs(120);

impl Shared {
    /// A connection has shaken hands. Errors: it is not wanted, with the reason.
    pub(crate) fn join(
        &self,
        address: SocketAddr,
        peer_id: Id20,
        incoming: bool,
    ) -> anyhow::Result<Arc<Conn>> {
        if peer_id == self.setup.peer_id {
            bail!("this is ourselves");
        }
        let (now, mut state) = (self.now(), self.state());
        if state.record.is_banned(address.ip(), now) {
            bail!("it has sent wrong pieces before");
        }
        // A peer is an address and an id. Whoever has this id at another address is somebody else: a machine that moved,
        // or one that calls itself like that, and neither ends the other's connection.
        let same = |c: &&Arc<Conn>| c.peer_id == peer_id.0 && c.ip() == address.ip() && c.lives();
        if let Some(other) = state.conns.values().find(same) {
            // Who calls again has lost the old connection, a cable was pulled perhaps. Of two that crossed,
            // both ends keep the one that the smaller id began.
            let again = other.incoming && incoming;
            let crossed = other.incoming != incoming && (self.setup.peer_id.0 < peer_id.0) != incoming;
            if !again && !crossed {
                bail!("there is a connection already");
            }
            other.end.cancel();
        } else {
            self.make_room(&state, address.ip(), incoming)?;
        }
        let key = state.next_key;
        state.next_key += 1;
        let conn = Arc::new(Conn::new(key, address, peer_id.0, incoming));
        conn.heard.store(now.as_millis() as u64, Ordering::Relaxed);
        conn.active.store(now.as_millis() as u64, Ordering::Relaxed);
        state.picker.join(key, self.setup.servers.contains(&address.ip()));
        if state.blame.suspects(address.ip()) {
            state.picker.suspect([key]);
        }
        if let Some(deal) = &mut state.deal {
            deal.join(key, crate::host(address.ip()), now);
        }
        state.conns.insert(key, conn.clone());
        self.joined.notify_one();
        Ok(conn)
    }

    /// A place for one more. Error: there is none.
    fn make_room(&self, state: &State, ip: IpAddr, incoming: bool) -> anyhow::Result<()> {
        let here = state.conns.values().filter(|c| c.lives());
        let crowded = incoming && here.clone().filter(|c| c.ip() == ip).count() >= self.each(ip);
        if !crowded && here.count() < self.setup.limit {
            return Ok(());
        }
        // The server's connection is worth more than anybody's.
        let mut may_go = self.seats(state);
        may_go.retain(|s| (!crowded || s.ip == ip) && !self.setup.servers.contains(&s.ip));
        let Some(gone) = displaced(&may_go, ip).and_then(|key| state.conns.get(&key)) else {
            bail!(
                "there are {} connections already, and {} to {ip} at most",
                self.setup.limit,
                self.each(ip)
            );
        };
        tracing::debug!("{} makes room for {ip}", gone.address);
        gone.end.cancel();
        Ok(())
    }

    fn seats(&self, state: &State) -> Vec<Seat> {
        let now = self.now();
        state.conns.values().filter(|c| c.lives()).map(|c| c.seat(now)).collect()
    }

    /// End connections to those who have nothing and want nothing.
    pub(crate) fn dismiss(&self, now: Duration) {
        let state = self.state();
        let idle = |c: &&Arc<Conn>| {
            let seat = c.seat(now);
            !seat.waits && seat.quiet >= USELESS && !c.wants.load(Ordering::Relaxed)
        };
        let useless = |c: &&Arc<Conn>| !self.stays(&state, c) && !state.picker.interesting(c.key);
        for conn in state.conns.values().filter(idle).filter(useless) {
            tracing::debug!("{} has nothing and wants nothing", conn.address);
            conn.end.cancel();
        }
    }

    /// Whether a connection stays although neither side wants anything: a server that deals must know what others hold.
    pub(crate) fn stays(&self, state: &State, conn: &Conn) -> bool {
        let holds = state.deal.as_ref().is_some_and(|d| d.holds_something(conn.key));
        holds || self.setup.servers.contains(&conn.ip())
    }

    /// Connections but those of others who have called us and are silent.
    pub(crate) fn working(&self) -> usize {
        let now = self.now();
        let counts = |c: &&Arc<Conn>| c.lives() && !(c.incoming && c.seat(now).is_silent());
        self.state().conns.values().filter(counts).count()
    }

    /// Connections from one address at most: several machines may be behind one address.
    fn each(&self, ip: IpAddr) -> usize {
        if ip.is_loopback() { self.setup.limit } else { (self.setup.limit / 8).max(4) }
    }

    /// A connection is over.
    pub(crate) fn leave(&self, conn: &Conn) {
        conn.forget(&self.queued);
        let mut state = self.state();
        state.conns.remove(&conn.key);
        state.remember(conn.key, conn.ip());
        let freed = state.picker.leave(conn.key);
        if let Some(deal) = &mut state.deal {
            deal.leave(conn.key);
        }
        if freed {
            state.conns.values().for_each(|c| c.look());
        }
    }
}
