// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls that have not told yet what they want. Saying that takes an honest peer milliseconds, so where many call at
//! once, those who have said nothing for longest are not waited for any longer: nobody shuts others out by calling.

use crate::places::host;
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// In all, and from one address other than our own.
const ALL: usize = 256;
const EACH: usize = 32;

struct Caller {
    number: u64,
    ip: IpAddr,
    end: CancellationToken,
}

/// Those who are greeting us, the first to come first.
#[derive(Default)]
pub(crate) struct Greetings(Mutex<(VecDeque<Caller>, u64)>);

/// Somebody who is greeting us; over when dropped.
pub(crate) struct Greeting {
    of: Arc<Greetings>,
    number: u64,
    /// Others have come meanwhile.
    pub end: CancellationToken,
}

impl Greetings {
    /// Somebody calls.
    pub(crate) fn begin(self: &Arc<Self>, ip: IpAddr) -> Greeting {
        let mut guard = self.lock();
        let (callers, number) = &mut *guard;
        if !ip.is_loopback() && callers.iter().filter(|c| c.ip == ip).count() >= EACH {
            dismiss(callers, |c| c.ip == ip);
        } else if callers.len() >= ALL {
            let most = most(callers);
            dismiss(callers, |c| Some(host(c.ip)) == most);
        }
        *number += 1;
        let (number, end) = (*number, CancellationToken::new());
        callers.push_back(Caller { number, ip, end: end.clone() });
        Greeting { of: self.clone(), number, end }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<Caller>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that most of them are from.
fn most(callers: &VecDeque<Caller>) -> Option<IpAddr> {
    let mut count: HashMap<IpAddr, usize> = HashMap::new();
    callers.iter().for_each(|c| *count.entry(host(c.ip)).or_default() += 1);
    count.into_iter().max_by_key(|(_, n)| *n).map(|(host, _)| host)
}

/// Do not wait for the first of these any longer.
fn dismiss(callers: &mut VecDeque<Caller>, which: impl Fn(&Caller) -> bool) {
    if let Some(caller) = callers.iter().position(which).and_then(|n| callers.remove(n)) {
        caller.end.cancel();
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.of.lock().0.retain(|c| c.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_are_not_waited_for_when_others_come() {
        let greetings = Arc::new(Greetings::default());
        let ip = |n: usize| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let mine: Vec<_> = (0..EACH + 2).map(|_| greetings.begin(ip(1))).collect();
        let ended = |g: &[Greeting]| g.iter().filter(|g| g.end.is_cancelled()).count();
        assert_eq!(ended(&mine), 2);
        assert!(mine[0].end.is_cancelled() && mine[1].end.is_cancelled(), "the oldest");
        // One host with many addresses, and then somebody else.
        let six = |n: usize| format!("fd00::{n:x}").parse::<IpAddr>().unwrap();
        let many: Vec<_> = (0..ALL).map(|n| greetings.begin(six(n))).collect();
        assert!(greetings.lock().0.len() <= ALL);
        let honest = greetings.begin(ip(9));
        assert!(!honest.end.is_cancelled() && ended(&mine) == 2, "its own make room");
        drop((mine, many, honest));
        assert_eq!(greetings.lock().0.len(), 0);
    }
}
