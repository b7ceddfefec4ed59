// SPDX-License-Identifier: GPL-3.0-or-later
//! The running server keeps the calendar: machines are given their orders ahead of the time.

use crate::{
    keys::Folder,
    ordering::{find, signed},
    orders::{
        Calendar, CalendarFile, OrderRequest, Orders, TakenBack,
        calendar::{Decision, Due, Look, due},
    },
    state::ServerState,
};
use bootspec::{ImageRef, trust::Version};
use chrono::Local;
use std::{
    collections::{BTreeSet, HashSet},
    time::Instant,
};

/// The calendar, and where it is written down.
pub struct Keeper {
    calendar: Calendar,
    file: CalendarFile,
    /// What was told in the log already.
    told: HashSet<String>,
}

impl Keeper {
    /// As it was when the server stopped.
    pub fn of(state: &ServerState) -> Keeper {
        let file = CalendarFile::at(&state.config().catalogue.dir);
        let calendar = file.load().unwrap_or_else(|e| {
            tracing::warn!("what the calendar has ordered already is forgotten: {e:#}");
            Calendar::default()
        });
        Keeper { calendar, file, told: HashSet::new() }
    }

    /// Give the orders that are to be given now. Blocks.
    pub fn look(&mut self, state: &ServerState) {
        let (hosts, now) = (state.hosts(), Local::now());
        if hosts.schedule.is_empty() && self.calendar.is_empty() {
            return;
        }
        let at = Version(now.timestamp().try_into().unwrap_or_default());
        let due = due(&hosts, &Local, at);
        let (clients, library) = (state.clients().list(Instant::now()), state.library());
        let image = |wanted: &ImageRef| find(&library, wanted);
        let orders = Orders { hosts: &hosts, clients: &clients, image: &image, now };
        let decision = {
            let board = state.orders();
            self.calendar.decide(&Look {
                due: &due,
                machines: &|who| orders.machines_there(who),
                infohash: &|entry| image(entry.image.as_ref()?).map(|i| i.infohash),
                clients: &clients,
                board: &board,
                now: at,
            })
        };
        self.carry_out(state, &orders, &due, decision);
        if let Err(e) = self.save(state) {
            self.tell_once(format!("calendar: what was ordered is not written down: {e:#}"));
        }
        self.told.retain(|_| !due.is_empty());
    }

    fn carry_out(&mut self, state: &ServerState, orders: &Orders<'_>, due: &[Due], decision: Decision) {
        decision.notes.iter().for_each(|note| tracing::warn!("{note}"));
        if !decision.take_back.is_empty()
            && let Ok(TakenBack { taken, .. }) = state.orders().take_back(&decision.take_back)
        {
            let machines = bootspec::text::count(taken.len(), "machine");
            tracing::info!("calendar: it has changed, and the orders of {machines} are taken back");
        }
        for (n, machines) in decision.give {
            let due = &due[n];
            let macs: BTreeSet<String> = machines.iter().map(ToString::to_string).collect();
            let request = OrderRequest {
                who: macs.iter().cloned().collect(),
                action: Some(due.entry.action),
                image: due.entry.image.clone(),
                wait_for_users: due.entry.wait_for_users,
                message: due.entry.message.clone(),
                ..OrderRequest::default()
            };
            let made = orders.make_for(&request, due.occurrence.at, due.expires);
            match made.and_then(|made| signed(state, made)) {
                Ok(placed) => self.place(state, due, placed),
                Err(why) => {
                    let (name, at) = (&due.occurrence.name, due.occurrence.at);
                    self.tell_once(format!("calendar: '{name}' at {at} cannot be ordered: {why}"));
                }
            }
        }
    }

    fn place(&mut self, state: &ServerState, due: &Due, placed: Vec<crate::orders::Placed>) {
        let what = due.entry.what();
        let machines = bootspec::text::count(placed.len(), "machine");
        tracing::info!(
            "calendar: '{}' orders: {what}, at {}, for {machines}",
            due.occurrence.name,
            due.occurrence.at
        );
        let is_keyed = Folder::of(&state.config()).public().is_ok_and(|keys| !keys.is_empty());
        if is_keyed && placed.iter().any(|p| p.signature.is_empty()) {
            self.tell_once(
                "calendar: its orders are not signed, because this server cannot use the secret key without a password: machines \
                 with a key in their initrd refuse them"
                    .into(),
            );
        }
        let mut board = state.orders();
        for p in &placed {
            let before = board.of(&p.order.machine).map(|p| p.order.id.clone());
            self.calendar.gave(due, &p.order, before.as_deref());
        }
        board.place(placed);
    }

    fn save(&mut self, state: &ServerState) -> anyhow::Result<()> {
        state.save_orders()?;
        self.calendar.to_save().map_or(Ok(()), |given| self.file.save(&given))
    }

    fn tell_once(&mut self, what: String) {
        if !self.told.contains(&what) {
            tracing::error!("{what}");
            self.told.insert(what);
        }
    }
}
