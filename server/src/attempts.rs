// SPDX-License-Identifier: GPL-3.0-or-later
//! Which initrd a machine is sent, where the server makes them: the one for its card, or the usual drivers if its boot loader
//! does not know the card; when its agent has not spoken before it asks again, the one for all cards; then the image's own. What has worked is kept. Pure: no I/O.

use crate::hosts::Mac;
use bootspec::InfoHash;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Machines that are remembered.
const MOST: usize = 4096;

/// An initrd that a machine can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// With the driver of its card, or the usual ones.
    #[default]
    Card,
    /// With all drivers.
    General,
    /// The image's own.
    Image,
}

impl Stage {
    /// What people are told of a machine that was sent another initrd than the one for its card.
    pub fn sentence(self) -> Option<&'static str> {
        match self {
            Stage::Card => None,
            Stage::General => Some("sent the drivers of all cards because it did not report with fewer"),
            Stage::Image => Some("sent the image's own initrd because it did not report with the server's"),
        }
    }
}

/// What machines were sent.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<Mac, Attempt>);

#[derive(Debug)]
struct Attempt {
    image: InfoHash,
    stage: Stage,
    /// Its agent has not spoken since.
    silent: bool,
}

/// A machine that boots an image with another initrd than the one for its card, for the next start of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherInitrd {
    /// The machine.
    pub mac: Mac,
    /// The image.
    pub image: InfoHash,
    /// What it was sent last.
    pub stage: Stage,
}

impl Attempts {
    /// Who was sent another initrd.
    pub fn others(&self) -> Vec<OtherInitrd> {
        let all = self.0.iter().filter(|(_, a)| a.stage != Stage::Card);
        all.map(|(mac, a)| OtherInitrd { mac: *mac, image: a.image, stage: a.stage }).collect()
    }

    /// They were, before this server has started. Whether they report is not known: they begin with what they were sent.
    pub fn restore(&mut self, others: &[OtherInitrd]) {
        for OtherInitrd { mac, image, stage } in others.iter().take(MOST) {
            self.0.insert(*mac, Attempt { image: *image, stage: *stage, silent: false });
        }
    }

    /// A machine asks for its boot script, and will boot this image. `last`: the last initrd that it can be sent.
    pub fn asked(&mut self, mac: Mac, image: InfoHash, last: Stage) -> Stage {
        if self.0.len() >= MOST && !self.0.contains_key(&mac) {
            return Stage::Card;
        }
        let attempt = self.0.entry(mac).or_insert(Attempt { image, stage: Stage::Card, silent: false });
        let next = match (attempt.image == image, attempt.silent, attempt.stage) {
            (false, ..) => Stage::Card,
            (true, false, stage) => stage,
            (true, true, Stage::Card) => Stage::General,
            (true, true, _) => Stage::Image,
        };
        *attempt = Attempt { image, stage: next.min(last), silent: true };
        attempt.stage
    }

    /// What a machine was sent last instead of the initrd for its card.
    pub fn fallback(&self, mac: &Mac) -> Option<Stage> {
        self.0.get(mac).map(|a| a.stage).filter(|stage| *stage != Stage::Card)
    }

    /// The agent of a machine has spoken: what it was sent works.
    pub fn spoke(&mut self, mac: &Mac) {
        if let Some(attempt) = self.0.get_mut(mac) {
            attempt.silent = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_not_tried_for_ever() {
        let (mut attempts, mac) = (Attempts::default(), "52:54:00:00:00:01".parse::<Mac>().unwrap());
        let (one, other) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let mut ask = |image, last| attempts.asked(mac, image, last);
        assert_eq!(ask(one, Stage::Image), Stage::Card);
        assert_eq!(ask(one, Stage::Image), Stage::General);
        assert_eq!(ask(one, Stage::Image), Stage::Image);
        assert_eq!(ask(one, Stage::Image), Stage::Image);
        assert_eq!(ask(other, Stage::General), Stage::Card, "another version may have the driver");
        assert_eq!(ask(other, Stage::General), Stage::General);
        assert_eq!(ask(other, Stage::General), Stage::General, "the image's initrd is not ours");
        attempts.spoke(&mac);
        assert_eq!(attempts.asked(mac, other, Stage::General), Stage::General, "it has worked");
        assert_eq!(attempts.fallback(&mac), Some(Stage::General));
        let mut after = Attempts::default();
        after.restore(&attempts.others());
        assert_eq!(after.fallback(&mac), Some(Stage::General));
        assert_eq!(
            after.asked(mac, other, Stage::General),
            Stage::General,
            "a restart makes nobody try again"
        );
    }

    #[test]
    fn machines_that_boot_stay_with_what_they_have() {
        let (mut attempts, mac) = (Attempts::default(), "52:54:00:00:00:01".parse::<Mac>().unwrap());
        for _ in 0..5 {
            assert_eq!(attempts.asked(mac, InfoHash([1; 20]), Stage::Image), Stage::Card);
            attempts.spoke(&mac);
        }
        assert_eq!(attempts.fallback(&mac), None);
    }

    #[test]
    fn a_crowd_is_not_remembered() {
        let mut attempts = Attempts::default();
        for n in 0..5000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            let mac = format!("52:54:00:{a:02x}:{b:02x}:{c:02x}").parse().unwrap();
            assert_eq!(attempts.asked(mac, InfoHash([1; 20]), Stage::Image), Stage::Card);
        }
        assert_eq!(attempts.0.len(), MOST);
    }
}
