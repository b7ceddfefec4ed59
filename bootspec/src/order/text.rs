// SPDX-License-Identifier: GPL-3.0-or-later
//! The text of an order, written in one way only.

use crate::{ImageRef, InfoHash, text::is_odd, trust::Version};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Bytes of an order at most.
pub const MAX_ORDER: usize = 2048;
/// Bytes of the message to the people at the machine.
pub const MAX_MESSAGE: usize = 400;
/// How long an order may be carried out after its time, in seconds, where nothing else is said.
pub const USUAL_WINDOW: u64 = 3600;
/// The longest that may be said.
pub const LONGEST_WINDOW: u64 = 24 * 3600;
/// How long before its time an order may be made, in seconds.
pub const EARLIEST: u64 = 7 * 24 * 3600;

/// The first line. Another number would be another language.
const HEAD: &str = "boottorrent order 1";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Run another image.
    Switch,
    /// Start again.
    Reboot,
    /// Switch off.
    Poweroff,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 3] = [Action::Switch, Action::Reboot, Action::Poweroff];

    /// The name as in texts and on the kernel command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Switch => "switch",
            Action::Reboot => "reboot",
            Action::Poweroff => "poweroff",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let known = Action::ALL.into_iter().find(|a| a.as_str() == s);
        known.ok_or_else(|| format!("'{}' is not a valid action: use switch, reboot or poweroff", shown(s)))
    }
}

/// The image of a switch: its name with its version, and its infohash, so that what is ordered is exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedImage {
    /// Its name.
    pub image: ImageRef,
    /// Its torrent.
    pub infohash: InfoHash,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// 16 hex digits that no other order has.
    pub id: String,
    /// The machine, by the MAC address that it boots with.
    pub machine: String,
    /// What it is to do.
    pub action: Action,
    /// The image, for a switch only.
    pub image: Option<OrderedImage>,
    /// When it was made.
    pub made: Version,
    /// When it is to be carried out.
    pub at: Version,
    /// From this moment on it is not carried out any more.
    pub expires: Version,
    /// Whether logged-in people are waited for.
    pub wait_for_users: bool,
    /// What they are told besides.
    pub message: String,
}

impl Order {
    /// Read an order. Only the one way in which it is written is read: no two texts mean the same.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_ORDER {
            return Err(format!("it has {} bytes, more than {MAX_ORDER}", text.len()));
        }
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("it does not begin with '{HEAD}'"));
        }
        let mut next = |key: &str| {
            let line = lines.next().ok_or_else(|| format!("it ends before its line '{key}'"))?;
            let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
            value.ok_or_else(|| format!("where its line '{key}' should be, there is '{}'", shown(line)))
        };
        let (id, machine) = (next("id")?.to_owned(), next("machine")?.to_owned());
        let action: Action = next("action")?.parse()?;
        let image = match (next("image")?, next("infohash")?) {
            ("-", "-") => None,
            (image, infohash) => Some(OrderedImage {
                image: image.parse()?,
                infohash: infohash.parse().map_err(|e| format!("{e}"))?,
            }),
        };
        let order = Order {
            id,
            machine,
            action,
            image,
            made: next("made")?.parse()?,
            at: next("at")?.parse()?,
            expires: next("expires")?.parse()?,
            wait_for_users: match next("users")? {
                "wait" => true,
                "warn" => false,
                other => return Err(format!("'{}' is neither warn nor wait", shown(other))),
            },
            message: next("message")?.to_owned(),
        };
        order.check()?;
        match order.to_string() == text {
            true => Ok(order),
            false => Err("it is not written as BootTorrent writes it".into()),
        }
    }

    /// Whether its parts fit together. Errors: one sentence.
    pub fn check(&self) -> Result<(), String> {
        let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if self.id.len() != 16 || !hex(&self.id) {
            return Err(format!("'{}' is not the id of an order", shown(&self.id)));
        }
        let pairs: Vec<&str> = self.machine.split(':').collect();
        if !(6..=20).contains(&pairs.len()) || !pairs.iter().all(|p| p.len() == 2 && hex(p)) {
            return Err(format!("'{}' is not the MAC address of a machine", shown(&self.machine)));
        }
        match (self.action, &self.image) {
            (Action::Switch, None) => return Err("an order to switch names an image".into()),
            (Action::Reboot | Action::Poweroff, Some(_)) => {
                return Err(format!("an order to {} names no image", self.action));
            }
            _ => {}
        }
        if self.message.len() > MAX_MESSAGE || self.message.chars().any(is_odd) {
            return Err(format!("its message must be one line of at most {MAX_MESSAGE} bytes"));
        }
        let (made, at, expires) = (self.made.0, self.at.0, self.expires.0);
        if at.saturating_sub(made) > EARLIEST {
            return Err("its time is more than seven days after it was made".into());
        }
        match expires <= at.max(made) || expires - at.max(made) > LONGEST_WINDOW {
            true => Err("it must expire within 24 hours after its time".into()),
            false => Ok(()),
        }
    }

    /// What it asks for, for people: `switch to exam`.
    pub fn what(&self) -> String {
        match &self.image {
            Some(ordered) => format!("{} to {}", self.action, ordered.image),
            None => self.action.to_string(),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { id, machine, action, image, made, at, expires, wait_for_users, message } = self;
        writeln!(f, "{HEAD}\nid: {id}\nmachine: {machine}\naction: {action}")?;
        match image {
            Some(OrderedImage { image, infohash }) => writeln!(f, "image: {image}\ninfohash: {infohash}")?,
            None => writeln!(f, "image: -\ninfohash: -")?,
        }
        writeln!(f, "made: {made}\nat: {at}\nexpires: {expires}")?;
        writeln!(f, "users: {}\nmessage: {message}", if *wait_for_users { "wait" } else { "warn" })
    }
}

/// An order as it crosses the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentOrder {
    /// What [`Order`] writes.
    pub order: String,
    /// minisign's four lines over exactly this text; empty: nobody signed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

/// A part of a hostile text, for a sentence.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if is_odd(c) { '?' } else { c }).collect()
}
