// SPDX-License-Identifier: GPL-3.0-or-later
//! The orders that machines have yet to carry out, one for each machine, and what they report of them. On the disk as well:
//! a server that starts again has forgotten none.

use super::MANY;
use crate::{clients::Client, files};
use anyhow::{Context, Result};
use bootspec::{
    InfoHash, Phase,
    order::{Action, Answer, MAX_ORDER, Order, OrderReport, SentOrder, Stage, SwitchBy},
    trust::{MAX_SIGNATURE, Version},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The file's name, in the catalogue's folder.
const FILE: &str = "orders.json";
/// Bytes of it at most: as many orders as there may be machines.
const MAX: usize = MANY * 2 * (MAX_ORDER + MAX_SIGNATURE);
/// How long an order is shown after it has expired, in seconds.
const SHOWN: u64 = 3600;

/// An order, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// What it says.
    pub order: Order,
    /// minisign's signature, or nothing.
    pub signature: String,
    /// What the machine reported last.
    pub report: Option<OrderReport>,
}

/// An order on the disk.
#[derive(Serialize, Deserialize)]
struct SavedOrder {
    order: String,
    #[serde(default)]
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<OrderReport>,
}

/// What came of taking orders back.
#[derive(Debug, Default, PartialEq)]
pub struct TakenBack {
    /// These are not in force any more.
    pub taken: Vec<Placed>,
    /// These are being carried out, or have been.
    pub late: Vec<Placed>,
}

/// An order, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderRow {
    /// 16 hex digits.
    pub id: String,
    /// The machine, by its MAC address.
    pub machine: String,
    /// What the admin calls it, or it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `switch`, `reboot` or `poweroff`.
    pub action: String,
    /// The image to switch to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When it was made, RFC 3339 in UTC.
    pub made: String,
    /// When it is to be done.
    pub at: String,
    /// From when on it is not done any more.
    pub expires: String,
    /// Whether logged-in people are waited for.
    pub wait_for_users: bool,
    /// What they are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it carries a signature.
    pub signed: bool,
    /// `fetching`, `ready`, `waiting`, `going`, `done` or `refused`; none: the machine has not taken it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Percent of the image that the machine has.
    pub percent: u8,
    /// `soft-reboot` or `reboot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<SwitchBy>,
    /// All of it for people.
    pub state: String,
}

impl Placed {
    /// An order as it came. Errors: it is none.
    pub fn read(sent: &SentOrder) -> Result<Placed, String> {
        if sent.signature.len() > MAX_SIGNATURE {
            return Err(format!("a signature has at most {MAX_SIGNATURE} bytes"));
        }
        let order = Order::parse(&sent.order).map_err(|why| format!("this is not an order: {why}"))?;
        Ok(Placed { order, signature: sent.signature.clone(), report: None })
    }

    fn sent(&self) -> SentOrder {
        SentOrder { order: self.order.to_string(), signature: self.signature.clone() }
    }

    /// Whether the machine needs it no more.
    pub(super) fn is_over(&self) -> bool {
        let Some(report) = &self.report else { return false };
        match report.stage {
            Stage::Done => true,
            // It is about to vanish, and must not find the order again when it comes back.
            Stage::Going => self.order.action != Action::Switch || report.by == Some(SwitchBy::Reboot),
            _ => false,
        }
    }

    /// What is shown. `client`: the machine, if it is known.
    pub fn row(&self, client: Option<&Client>, now: Version) -> OrderRow {
        let Placed { order, signature, report } = self;
        let mut row = OrderRow {
            id: order.id.clone(),
            machine: order.machine.clone(),
            name: client.and_then(|c| c.name.clone().or(c.heartbeat.hostname.clone())),
            action: order.action.to_string(),
            image: order.image.as_ref().map(|i| i.image.to_string()),
            made: order.made.to_string(),
            at: order.at.to_string(),
            expires: order.expires.to_string(),
            wait_for_users: order.wait_for_users,
            message: order.message.clone(),
            signed: !signature.is_empty(),
            ..OrderRow::default()
        };
        let report = report.clone().map(|r| self.at_last(r, client));
        let over = now >= order.expires;
        row.state = match (&report, client) {
            (Some(report), _)
                if over && matches!(report.stage, Stage::Fetching | Stage::Ready | Stage::Waiting) =>
            {
                format!("not done in time: {}", report.state())
            }
            (Some(report), _) => report.state(),
            (None, _) if over => "not done: the machine did not take the order in time".into(),
            (None, None) => "the machine has not reported yet".into(),
            (None, Some(c)) if c.gone => "the machine is off, or does not report".into(),
            (None, Some(c)) if c.heartbeat.phase == Phase::Seed && c.heartbeat.orders.is_none() => {
                "the machine's agent does not know orders: it is older than this server".into()
            }
            (None, Some(_)) => "sent".into(),
        };
        if let Some(report) = report {
            (row.stage, row.percent, row.by) = (Some(report.stage), report.percent, report.by);
        }
        row
    }

    /// A machine that has rebooted reports no more of it: what it runs shows that it was done.
    fn at_last(&self, mut report: OrderReport, client: Option<&Client>) -> OrderReport {
        let Some(client) = client.filter(|_| report.stage == Stage::Going) else { return report };
        let runs = |o: &Order| o.image.as_ref().is_some_and(|i| client.runs(i.infohash));
        let done = match self.order.action {
            Action::Switch => runs(&self.order) && client.heartbeat.phase == Phase::Seed,
            Action::Poweroff => client.gone,
            Action::Reboot => false,
        };
        if done {
            report.stage = Stage::Done;
        }
        report
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Board {
    placed: BTreeMap<String, Placed>,
    changed: bool,
}

impl Board {
    /// Give each machine its order; the one that it had before is taken back.
    pub fn place(&mut self, orders: Vec<Placed>) {
        self.changed |= !orders.is_empty();
        self.placed.extend(orders.into_iter().map(|p| (p.order.machine.clone(), p)));
        // Those that will be over first.
        while self.placed.len() > MANY {
            let first = self.placed.iter().min_by_key(|(_, p)| p.order.expires).map(|(mac, _)| mac.clone());
            self.placed.remove(&first.unwrap_or_default());
        }
    }

    /// Take back the orders of these machines. Errors: there is none, or it is too late for all of them.
    pub fn take_back(&mut self, machines: &BTreeSet<String>) -> Result<TakenBack, String> {
        let mut came = TakenBack::default();
        for mac in machines {
            match self.placed.get(mac) {
                Some(p)
                    if p.report.as_ref().is_some_and(|r| matches!(r.stage, Stage::Going | Stage::Done)) =>
                {
                    came.late.push(p.clone());
                }
                Some(_) => came.taken.extend(self.placed.remove(mac)),
                None => {}
            }
        }
        self.changed |= !came.taken.is_empty();
        match (came.taken.is_empty(), came.late.is_empty()) {
            (false, _) => Ok(came),
            (true, true) => Err("these machines have no order that could be taken back".into()),
            (true, false) => Err("it is too late: the order is being carried out, or it has been".into()),
        }
    }

    /// A machine reports, and is answered. `report`: what became of its order. `runs`: what it has booted, if it is the machine
    /// that says so; without a word of an order that it was about to carry out, it has carried it out.
    pub fn hear(
        &mut self,
        machine: &str,
        report: Option<&OrderReport>,
        runs: Option<InfoHash>,
        now: Version,
    ) -> Answer {
        let Some(placed) = self.placed.get_mut(machine) else { return Answer::default() };
        let report = report.filter(|r| r.id == placed.order.id);
        let wanted = placed.order.image.as_ref().map(|image| image.infohash);
        let is_back = report.is_none() && runs.is_some() && (wanted.is_none() || wanted == runs);
        if let Some(before) = placed.report.as_mut().filter(|r| is_back && r.stage == Stage::Going) {
            (before.stage, self.changed) = (Stage::Done, true);
        }
        if let Some(report) = report.filter(|r| placed.report.as_ref() != Some(r)) {
            self.changed |= placed.report.as_ref().is_none_or(|before| before.stage != report.stage);
            placed.report = Some(report.clone());
        }
        let asks = report.is_some_and(|r| r.stage == Stage::Going);
        let current = now < placed.order.expires && (asks || !placed.is_over());
        Answer { order: current.then(|| placed.sent()), stop: None }
    }

    /// The order of a machine.
    pub fn of(&self, machine: &str) -> Option<&Placed> {
        self.placed.get(machine)
    }

    /// All of them, by machine; those that nobody asks for any more are forgotten.
    pub fn list(&mut self, now: Version) -> Vec<Placed> {
        let before = self.placed.len();
        self.placed.retain(|_, p| now.0 < p.order.expires.0.saturating_add(SHOWN));
        self.changed |= self.placed.len() != before;
        self.placed.values().cloned().collect()
    }

    /// What [`Board::to_save`] gave could not be written: it is tried again.
    pub fn not_saved(&mut self) {
        self.changed = true;
    }

    /// All of them, if they are to be written down.
    pub fn to_save(&mut self) -> Option<Vec<Placed>> {
        std::mem::take(&mut self.changed).then(|| self.placed.values().cloned().collect())
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct OrdersFile {
    path: PathBuf,
}

impl OrdersFile {
    /// In the catalogue's folder, whether it is there or not.
    pub fn at(catalogue: &Path) -> OrdersFile {
        OrdersFile { path: catalogue.join(FILE) }
    }

    /// Read it. Without it there are no orders.
    pub fn load(&self) -> Result<Board> {
        let Some(bytes) = files::find(&self.path, MAX, "list of orders")? else {
            return Ok(Board::default());
        };
        let reading = || format!("reading {} (it can be deleted)", self.path.display());
        let saved: Vec<SavedOrder> = serde_json::from_slice(&bytes).with_context(reading)?;
        let placed = saved.into_iter().filter_map(|SavedOrder { order, signature, report }| {
            let sent = SentOrder { order, signature };
            Some(Placed { report, ..Placed::read(&sent).ok()? })
        });
        let mut board = Board::default();
        board.place(placed.collect());
        board.changed = false;
        Ok(board)
    }

    /// Write it.
    pub fn save(&self, placed: &[Placed]) -> Result<()> {
        let saved = |p: &Placed| {
            let SentOrder { order, signature } = p.sent();
            SavedOrder { order, signature, report: p.report.clone() }
        };
        let saved: Vec<SavedOrder> = placed.iter().map(saved).collect();
        files::replace(&self.path, &serde_json::to_vec(&saved).context("writing JSON")?, 0o600)
    }
}
