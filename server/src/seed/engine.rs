// SPDX-License-Identifier: GPL-3.0-or-later
//! The two seeders behind one face: ours, which deals, and librqbit's, which shows everything to everybody.

use super::librqbit_seeder::LibrqbitSeeder;
use crate::config::{SeederKind, Serve};
use anyhow::{Context, Result};
use bootspec::InfoHash;
use std::{fs::File, sync::Arc};
use swarm::{Metainfo, Seeding, Session, SessionConfig, Torrent};

/// Machines that the seeder talks to at once.
const MACHINES: usize = 4000;

/// Listens for peers.
pub enum Engine {
    /// See [`swarm::plan::Deal`].
    Dealing(Session),
    /// For comparison, and for a site where dealing turns out to be wrong.
    Librqbit(LibrqbitSeeder),
}

/// A payload that is seeded.
pub enum Seeded {
    /// By our own seeder.
    Dealt(Arc<Torrent>),
    /// By librqbit's.
    Open,
}

impl Engine {
    /// Listen as the configuration says. Errors: the port is taken.
    pub async fn start(config: &Serve) -> Result<Engine> {
        let (port, up) = (config.peer_port, config.up);
        let started = match config.seeder {
            SeederKind::Dealing => {
                // No local discovery: the tracker names this seeder to everybody.
                let settings = SessionConfig { port, up, lsd: false, peers: MACHINES, ..Default::default() };
                Session::start(settings).await.map(Engine::Dealing)
            }
            SeederKind::Librqbit => LibrqbitSeeder::start(port, up, MACHINES).await.map(Engine::Librqbit),
        };
        started.with_context(|| format!("starting the seeder on port {port}"))
    }

    /// The port for peers.
    pub fn port(&self) -> u16 {
        match self {
            Engine::Dealing(session) => session.port(),
            Engine::Librqbit(seeder) => seeder.port(),
        }
    }

    /// Seed a payload. Errors: it does not match its torrent, as far as that is known at once.
    pub async fn seed(&self, metainfo: &Metainfo, file: File, weight: u8) -> Result<Seeded> {
        match self {
            Engine::Dealing(session) => {
                let seeding = Seeding { deal: true, weight };
                session.seed(metainfo, file, seeding).await.map(|t| Seeded::Dealt(Arc::new(t)))
            }
            Engine::Librqbit(seeder) => seeder.seed(metainfo, file).await.map(|()| Seeded::Open),
        }
    }

    /// Seed no longer.
    pub async fn remove(&self, infohash: InfoHash) -> Result<()> {
        match self {
            Engine::Dealing(session) => session.remove(infohash),
            Engine::Librqbit(seeder) => seeder.remove(infohash).await?,
        }
        Ok(())
    }

    /// Leave all swarms.
    pub async fn stop(&self) {
        match self {
            Engine::Dealing(session) => session.stop(),
            Engine::Librqbit(seeder) => seeder.stop().await,
        }
    }
}

impl Seeded {
    /// Why nothing more is sent, if so: the payload is wrong, or cannot be read.
    pub fn error(&self) -> Option<String> {
        match self {
            Seeded::Dealt(torrent) => torrent.error(),
            Seeded::Open => None,
        }
    }

    /// The share of this torrent when several are wanted at once. librqbit has no such thing.
    pub fn set_weight(&self, weight: u8) {
        match self {
            Seeded::Dealt(torrent) => torrent.set_weight(weight),
            Seeded::Open => {}
        }
    }
}
