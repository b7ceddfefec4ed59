// SPDX-License-Identifier: GPL-3.0-or-later
//! Orders that the server makes itself, for whoever asks over the API and for the calendar: signed where the server's user
//! can use the key.

use crate::{
    keys::{AskPassword, CatalogueSigner, Folder, Signer},
    library::Library,
    orders::{Orders, Placed},
    state::ServerState,
};
use bootspec::{
    ImageRef,
    order::{Order, OrderedImage},
};
use std::time::Instant;

/// Work with what making orders takes.
pub fn with_orders<T>(state: &ServerState, work: impl FnOnce(&Orders<'_>) -> T) -> T {
    let (hosts, clients, library) = (state.hosts(), state.clients().list(Instant::now()), state.library());
    let image = |wanted: &ImageRef| find(&library, wanted);
    work(&Orders { hosts: &hosts, clients: &clients, image: &image, now: chrono::Local::now() })
}

/// Sign orders, where the key can be used. Errors: one sentence.
pub fn signed(state: &ServerState, orders: Vec<Order>) -> Result<Vec<Placed>, String> {
    let signer = match Folder::of(&state.config()).hand(AskPassword::Nobody) {
        Ok(CatalogueSigner::Ready(signer)) => Some(signer),
        Ok(_) => None,
        Err(e) => return Err(format!("orders cannot be signed: {e:#}")),
    };
    orders.into_iter().map(|order| sign(order, signer.as_deref())).collect()
}

fn sign(order: Order, signer: Option<&Signer>) -> Result<Placed, String> {
    let sign = |s: &Signer| s.sign_order(&order).map_err(|e| format!("{e:#}"));
    let signature = signer.map(sign).transpose()?.unwrap_or_default();
    Ok(Placed { order, signature, report: None })
}

/// An image as it is served now.
pub fn find(library: &Library, wanted: &ImageRef) -> Option<OrderedImage> {
    let served = match wanted.version {
        None => library.get(&wanted.name),
        Some(version) => library.versions(&wanted.name).find(|i| i.manifest.version == version),
    };
    served.map(|i| OrderedImage { image: wanted.clone(), infohash: i.manifest.infohash })
}
