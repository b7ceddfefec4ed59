// SPDX-License-Identifier: GPL-3.0-or-later
//! Which orders a machine obeys.

use super::text::{Action, Order, SentOrder, shown};
use crate::trust::{Distrust, KeyId, Keys, Version};
use std::fmt;

/// How much a machine's clock may be behind that of whoever makes orders, in seconds.
const BEHIND: u64 = 300;

/// What a machine knows, against which it judges orders.
#[derive(Clone, Copy, Debug)]
pub struct Obeyed<'a> {
    /// The MAC address that it boots with.
    pub machine: &'a str,
    /// What its kernel command line allows.
    pub allows: &'a [Action],
    /// Whose signature counts; none: no signature is needed.
    pub keys: Option<&'a Keys>,
    /// When its kernel started.
    pub booted: Version,
    /// When the order was made that it carried out last.
    pub last: Option<Version>,
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The signature does not count.
    Distrust(Distrust),
    /// It is not an order.
    Nonsense(String),
    /// It is for another machine.
    OtherMachine(String),
    /// The command line does not allow it.
    NotAllowed(Action),
    /// It was made before the machine booted.
    BeforeBoot(Version),
    /// It is not newer than the last one.
    Replayed(Version),
    /// It was made in the future.
    Future(Version),
    /// It is too late.
    Expired(Version),
}

impl Obeyed<'_> {
    /// Decide whether an order counts. `now`: by the machine's own clock, since nobody else's can be trusted.
    pub fn judge(&self, sent: &SentOrder, now: Version) -> Result<Order, Refusal> {
        if let Some(keys) = self.keys {
            let signed = keys.signed_by(sent.order.as_bytes(), sent.signature.as_bytes());
            signed.map_err(Refusal::Distrust)?;
        }
        let order = Order::parse(&sent.order).map_err(Refusal::Nonsense)?;
        if order.machine != self.machine {
            return Err(Refusal::OtherMachine(order.machine));
        }
        if !self.allows.contains(&order.action) {
            return Err(Refusal::NotAllowed(order.action));
        }
        if now >= order.expires {
            return Err(Refusal::Expired(order.expires));
        }
        if order.made.0 > now.0.saturating_add(BEHIND) {
            return Err(Refusal::Future(order.made));
        }
        if order.made < self.booted {
            return Err(Refusal::BeforeBoot(order.made));
        }
        match self.last {
            Some(last) if order.made <= last => Err(Refusal::Replayed(order.made)),
            _ => Ok(order),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Distrust(Distrust::Unsigned) => f.write_str(
                "the order is not signed, and this machine has a key in its initrd: give it with `boottorrent host`, by \
                 a user who can use the secret key",
            ),
            Refusal::Distrust(Distrust::Damaged(why)) => {
                write!(f, "the order's signature is damaged ({why})")
            }
            Refusal::Distrust(Distrust::Stranger(key)) => stranger(f, *key),
            Refusal::Distrust(Distrust::Forged(key)) => {
                write!(f, "the order's signature is wrong: key {key} did not sign it")
            }
            Refusal::Distrust(_) => f.write_str("the order's signature does not count"),
            Refusal::Nonsense(why) => write!(f, "the order cannot be understood: {why}"),
            Refusal::OtherMachine(other) => write!(f, "the order is for the machine {}", shown(other)),
            Refusal::NotAllowed(action) => write!(
                f,
                "boottorrent.remote= on this machine's kernel command line does not allow {action}: add it with \
                 `boottorrent host set`, and boot the machine again"
            ),
            Refusal::BeforeBoot(made) => {
                write!(f, "the order of {made} was made before this machine booted: give it again")
            }
            Refusal::Replayed(made) => write!(
                f,
                "the order of {made} is not newer than the last one that this machine carried out"
            ),
            Refusal::Future(made) => write!(
                f,
                "the order was made at {made}, which is in the future by this machine's clock: set its clock"
            ),
            Refusal::Expired(at) => write!(f, "the order has expired at {at}, by this machine's clock"),
        }
    }
}

fn stranger(f: &mut fmt::Formatter<'_>, key: KeyId) -> fmt::Result {
    write!(f, "the order is signed by key {key}, which is not in this machine's initrd")
}
