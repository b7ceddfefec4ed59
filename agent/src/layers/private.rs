// SPDX-License-Identifier: GPL-3.0-or-later
//! Private files: the server sends them over HTTPS to a machine whose key the admin has accepted (`boottorrent host accept`).

use super::{Asking, Layer, Place};
use crate::{ask::Answer, fail::Failure, machine_key::MachineKey};
use bootspec::{
    Exit,
    machine_key::{ASK_AGAIN, PATH, Verdict, shown},
    units::human_time,
};
use std::time::{Duration, Instant};

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 4096;
/// How often a line says that somebody is still waited for.
const SAY: Duration = Duration::from_secs(30);

impl Asking<'_> {
    /// Fetch the private files of this machine. The admin, who has to accept its key once, is waited for.
    /// `patience`: how long.
    pub async fn fetch_private(
        &self,
        key: &MachineKey,
        patience: Option<Duration>,
    ) -> Result<Vec<Layer>, Failure> {
        let (place, started) = (Place { path: PATH, key: Some(&key.digits) }, Instant::now());
        let (mac, fingerprint) = (self.mac, shown(&key.fingerprint));
        let mut said: Option<Instant> = None;
        loop {
            let text = match self.get(&place, &format!("?mac={mac}"), MAX_ANSWER, |_| Ok(())).await? {
                Answer::Got(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Answer::No(why) => {
                    let what = format!("the private files for this machine cannot be fetched: {why}");
                    return Err(Failure::new(Exit::Metainfo, what));
                }
            };
            let verdict = text.parse().map_err(|e| {
                Failure::new(
                    Exit::Metainfo,
                    format!("the private files for this machine cannot be fetched: {e}"),
                )
            })?;
            let accept = format!("boottorrent host accept {mac} --key {fingerprint}");
            let why = match verdict {
                Verdict::Accepted(sums) => {
                    if sums.is_empty() {
                        self.report.warn("the server has no private files for this machine any more");
                    }
                    return self.from(&place, &sums).await;
                }
                Verdict::Waits => format!(
                    "the server does not know this machine's key {fingerprint} yet: run `{accept}` there"
                ),
                Verdict::Another => format!(
                    "the server knows this machine by another key than {fingerprint}, which is kept {}: if nobody else says \
                     that it is this machine, run `{accept}` there",
                    key.place
                ),
            };
            if patience.is_some_and(|limit| started.elapsed() >= limit) {
                let waited = human_time(started.elapsed());
                return Err(Failure::new(Exit::Trust, format!("{why}; nobody has within {waited}")));
            }
            if said.is_none_or(|at| at.elapsed() >= SAY) {
                said = Some(Instant::now());
                self.report.warn(&why);
            }
            tokio::time::sleep(Duration::from_secs(ASK_AGAIN)).await;
        }
    }
}
