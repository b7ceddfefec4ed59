// SPDX-License-Identifier: GPL-3.0-or-later
//! The last boots of a machine, as it has told them itself.

use bootspec::{Heartbeat, InfoHash, Phase};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Boots that are remembered of a machine.
pub const BOOTS: usize = 50;

/// One boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootRecord {
    /// When the machine was first heard in it, RFC 3339 in UTC.
    pub at: String,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infohash: Option<InfoHash>,
    /// How far it came.
    pub phase: Phase,
    /// Seconds from the agent's start until it was booted, or has failed.
    pub seconds: f64,
    /// Bytes that came from the server.
    pub from_server: u64,
    /// Bytes that came from other machines.
    pub from_peers: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl BootRecord {
    fn now(phase: Phase) -> BootRecord {
        let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        BootRecord { at, phase, ..BootRecord::default() }
    }
}

/// A boot loader has asked: a new boot begins. One that asks again, since there was nothing to boot, begins no other.
pub fn asked(boots: &mut Vec<BootRecord>, image: Option<&str>) {
    if boots.last().is_some_and(|b| b.phase == Phase::Loader) {
        boots.pop();
    }
    push(boots, BootRecord { image: image.map(str::to_owned), ..BootRecord::now(Phase::Loader) });
}

/// The machine has spoken. `before`: its last heartbeat, if there was one.
pub fn heard(boots: &mut Vec<BootRecord>, heartbeat: &Heartbeat, before: Option<&Heartbeat>) {
    let again = before.is_some_and(|b| b.phase != Phase::Loader && heartbeat.uptime < b.uptime);
    let other = |b: &Heartbeat| b.phase == Phase::Seed && b.infohash != heartbeat.infohash && !again;
    if heartbeat.phase == Phase::Seed && before.is_some_and(other) {
        // It was switched to another image without a boot.
        push(boots, BootRecord::now(Phase::Loader));
    }
    let goes_on = boots.last().is_some_and(|b| b.phase == Phase::Loader || !again);
    if !goes_on {
        push(boots, BootRecord::now(Phase::Loader));
    }
    let Some(boot) = boots.last_mut() else { return };
    let over = matches!(boot.phase, Phase::Seed | Phase::Failed);
    if over && boot.phase == heartbeat.phase {
        return;
    }
    let progress = &heartbeat.progress;
    boot.image = heartbeat.image.clone().or(boot.image.take());
    boot.infohash = heartbeat.infohash.or(boot.infohash);
    boot.phase = heartbeat.phase;
    boot.seconds = if heartbeat.uptime.is_finite() { heartbeat.uptime.max(0.0) } else { 0.0 };
    boot.from_server = progress.from_server.saturating_add(progress.from_http);
    boot.from_peers = progress.from_peers;
    boot.error = heartbeat.error.clone();
}

fn push(boots: &mut Vec<BootRecord>, boot: BootRecord) {
    if boots.len() >= BOOTS {
        boots.remove(0);
    }
    boots.push(boot);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_is_one_record_and_the_last_fifty_stay() {
        let mut boots = Vec::new();
        let mut before: Option<Heartbeat> = None;
        let mut say = |boots: &mut Vec<BootRecord>, phase, uptime| {
            let heartbeat = Heartbeat { phase, uptime, image: Some("lab".into()), ..Heartbeat::default() };
            heard(boots, &heartbeat, before.as_ref());
            before = Some(heartbeat);
        };
        asked(&mut boots, None);
        asked(&mut boots, Some("lab"));
        for (phase, uptime) in
            [(Phase::Network, 0.5), (Phase::Download, 3.0), (Phase::Seed, 9.0), (Phase::Seed, 99.0)]
        {
            say(&mut boots, phase, uptime);
        }
        assert_eq!(boots.len(), 1, "{boots:?}");
        assert_eq!((boots[0].phase, boots[0].seconds), (Phase::Seed, 9.0), "how long it ran does not matter");
        // The server was away when its boot loader asked.
        say(&mut boots, Phase::Download, 2.0);
        say(&mut boots, Phase::Failed, 4.0);
        assert_eq!(boots.iter().map(|b| b.phase).collect::<Vec<_>>(), [Phase::Seed, Phase::Failed]);
        for n in 0..BOOTS {
            asked(&mut boots, Some(&n.to_string()));
            say(&mut boots, Phase::Seed, 1.0);
        }
        assert_eq!((boots.len(), boots[0].image.as_deref()), (BOOTS, Some("lab")));
        assert!(boots.iter().all(|b| b.phase == Phase::Seed), "{boots:?}");
    }
    #[test]
    fn a_machine_that_was_switched_has_one_more_record() {
        let lesson = Heartbeat { phase: Phase::Seed, uptime: 90.0, ..Heartbeat::default() };
        let exam = Heartbeat { uptime: 100.0, infohash: Some(InfoHash([1; 20])), ..lesson.clone() };
        let mut boots = Vec::new();
        heard(&mut boots, &lesson, None);
        heard(&mut boots, &exam, Some(&lesson));
        heard(&mut boots, &exam, Some(&exam));
        assert_eq!((boots.len(), boots[1].phase, boots[1].infohash), (2, Phase::Seed, exam.infohash));
    }
}
