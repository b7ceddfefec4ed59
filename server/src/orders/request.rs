// SPDX-License-Identifier: GPL-3.0-or-later
//! From what the admin says to an order for each machine.

use super::time;
use crate::{
    clients::Client,
    hosts::{
        Hosts, Mac, ScheduleEntry,
        select::{is_pattern, select},
    },
    wake,
};
use bootspec::{
    ImageRef,
    order::{Action, LONGEST_WINDOW, MAX_MESSAGE, Order, OrderedImage, SentOrder, USUAL_WINDOW},
    text::is_odd,
    trust::Version,
};
use chrono::{DateTime, Local};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Machines that are given an order at once, at most.
pub const MANY: usize = 4096;

/// What machines are to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderRequest {
    /// Machines and groups, as `host set` takes them: keys, names, patterns of names.
    pub who: Vec<String>,
    /// What they are to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The image to switch to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// When: `now`, `09:55` or RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// For how many minutes after that it may still be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<u32>,
    /// Whether logged-in people are waited for; they are warned in any case.
    pub wait_for_users: bool,
    /// What they are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Instead of all else: orders that were made and signed by whoever asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<SentOrder>,
}

/// What making orders takes.
pub struct Orders<'a> {
    /// What is set for machines and groups.
    pub hosts: &'a Hosts,
    /// The machines.
    pub clients: &'a [Client],
    /// Finds an image, as it is now.
    pub image: &'a dyn Fn(&ImageRef) -> Option<OrderedImage>,
    /// Now.
    pub now: DateTime<Local>,
}

impl Orders<'_> {
    /// An order for each machine. Errors: one sentence.
    pub fn make(&self, request: &OrderRequest) -> Result<Vec<Order>, String> {
        let at = time::parse(&request.at, self.now)?;
        self.make_for(request, at, Version(at.0 + window(request.within)?))
    }

    /// The same, for a time that may have begun.
    pub fn make_for(
        &self,
        request: &OrderRequest,
        at: Version,
        expires: Version,
    ) -> Result<Vec<Order>, String> {
        let OrderRequest { action, wait_for_users, message, .. } = request;
        let action = action.ok_or("nothing is ordered: give the action switch, reboot or poweroff")?;
        if message.len() > MAX_MESSAGE || message.chars().any(is_odd) {
            return Err(format!("the message must be one line of at most {MAX_MESSAGE} bytes"));
        }
        let image = self.ordered(action, request.image.as_ref())?;
        let made = Version(self.now.timestamp().try_into().unwrap_or_default());
        let order = |mac: Mac| Order {
            id: format!("{:016x}", rand::random::<u64>()),
            machine: mac.to_string(),
            action,
            image: image.clone(),
            made,
            at,
            expires,
            wait_for_users: *wait_for_users,
            message: message.clone(),
        };
        let orders: Vec<Order> = self.machines(&request.who)?.into_iter().map(order).collect();
        orders.iter().try_for_each(Order::check)?;
        Ok(orders)
    }

    /// The machines that words mean.
    pub fn machines(&self, who: &[String]) -> Result<BTreeSet<Mac>, String> {
        let mut all = BTreeSet::new();
        for word in who {
            let keys = match is_pattern(word) {
                true => {
                    select(self.hosts, std::slice::from_ref(word))?.iter().map(|k| k.to_string()).collect()
                }
                // A machine's own name counts as well.
                false => vec![word.clone()],
            };
            for key in keys {
                all.extend(wake::resolve(&key, self.hosts, self.clients)?);
            }
        }
        match all.len() {
            0 => Err("no machine is named".into()),
            1..=MANY => Ok(all),
            many => Err(format!("{many} machines are too many at once: at most {MANY}")),
        }
    }

    /// Those of them that are known: words that mean nobody yet are left out.
    pub fn machines_there(&self, who: &[String]) -> BTreeSet<Mac> {
        let each = who.iter().filter_map(|word| self.machines(std::slice::from_ref(word)).ok());
        each.flatten().take(MANY).collect()
    }

    /// Whether an entry of the calendar could be done now. Errors: one sentence.
    pub fn can_be_done(&self, entry: &ScheduleEntry) -> Result<(), String> {
        self.ordered(entry.action, entry.image.as_ref())?;
        match self.machines_there(&entry.who).is_empty() {
            true => Err(format!("no machine is known for {}", entry.who.join(", "))),
            false => Ok(()),
        }
    }

    fn ordered(&self, action: Action, image: Option<&ImageRef>) -> Result<Option<OrderedImage>, String> {
        match (action, image) {
            (Action::Switch, None) => Err("name the image to switch to".into()),
            (Action::Switch, Some(image)) => (self.image)(image).map(Some).ok_or_else(|| {
                format!(
                    "there is no image '{image}' to switch to: `boottorrent image list` lists the images (machines boot menu \
                     entries by `host set --once` and `host reboot` instead)"
                )
            }),
            (_, Some(image)) => Err(format!("an order to {action} names no image, and '{image}' was given")),
            (_, None) => Ok(None),
        }
    }
}

fn window(minutes: Option<u32>) -> Result<u64, String> {
    match minutes.map(|m| u64::from(m) * 60) {
        None => Ok(USUAL_WINDOW),
        Some(seconds) if (60..=LONGEST_WINDOW).contains(&seconds) => Ok(seconds),
        Some(seconds) => {
            Err(format!("{} minutes are not allowed: use 1 to {}", seconds / 60, LONGEST_WINDOW / 60))
        }
    }
}
