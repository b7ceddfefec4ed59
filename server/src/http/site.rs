// SPDX-License-Identifier: GPL-3.0-or-later
//! What the routes work on: the running server, and the long answers that many ask for.

use super::{ends::Ends, relay_snapshot::KeptSnapshot, shared};
use crate::state::ServerState;
use axum::extract::{ConnectInfo, FromRef};
use std::sync::Arc;

/// The running server, as a handler asks for it.
pub type SharedState = axum::extract::State<Arc<ServerState>>;
/// The answers that are shared, as a handler asks for them.
pub type SharedAnswers = axum::extract::State<Arc<Answers>>;
/// Who asks.
pub type Caller = ConnectInfo<Ends>;

/// What [`SharedState`] and [`SharedAnswers`] are taken from.
#[derive(Clone)]
pub struct Site {
    state: Arc<ServerState>,
    answers: Arc<Answers>,
    snapshot: Arc<KeptSnapshot>,
}

impl Site {
    /// The routes over one door to this server.
    pub fn of(state: Arc<ServerState>) -> Site {
        Site { state, answers: Arc::default(), snapshot: Arc::default() }
    }
}

impl FromRef<Site> for Arc<ServerState> {
    fn from_ref(site: &Site) -> Arc<ServerState> {
        site.state.clone()
    }
}

impl FromRef<Site> for Arc<Answers> {
    fn from_ref(site: &Site) -> Arc<Answers> {
        site.answers.clone()
    }
}

impl FromRef<Site> for Arc<KeptSnapshot> {
    fn from_ref(site: &Site) -> Arc<KeptSnapshot> {
        site.snapshot.clone()
    }
}

/// The API's description, as it is sent.
#[derive(Clone)]
pub struct ApiDocument(pub bytes::Bytes);

/// The answers that many ask for.
#[derive(Default)]
pub struct Answers {
    pub clients: shared::SharedAnswer,
    pub images: shared::SharedAnswer,
    pub stats: shared::SharedAnswer,
    pub metrics: shared::SharedAnswer,
    pub hosts: shared::SharedAnswer,
}

/// Whether a connection may change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Over TCP anybody may come: it answers questions, and does what who has the token wants.
    Tcp,
    /// Who may write to the local socket may change things.
    Socket,
}
