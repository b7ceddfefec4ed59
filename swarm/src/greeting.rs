// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls that have not told yet what they want. Saying that takes an honest peer milliseconds, so where many call at
//! once, those who have said nothing for longest are not waited for any longer: nobody shuts others out by calling.

use crate::{places::host, plan::Effort};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
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

/// What a call costs an address: 200 at once, and 50 in a second.
const CALL: u32 = 10;
/// Addresses of which it is known how often they call.
const REMEMBERED: usize = 1024;

/// See the module's text.
pub(crate) struct Greetings {
    inner: Mutex<Inner>,
    began: Instant,
}

#[derive(Default)]
struct Inner {
    /// The first to come first.
    callers: VecDeque<Caller>,
    number: u64,
    efforts: HashMap<IpAddr, Effort>,
}

/// Somebody who is greeting us; over when dropped.
pub(crate) struct Greeting {
    of: Arc<Greetings>,
    number: u64,
    /// Others have come meanwhile.
    pub end: CancellationToken,
}

impl Greetings {
    /// Nobody calls yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), began: Instant::now() })
    }

    /// Somebody calls. None: too often.
    pub(crate) fn begin(self: &Arc<Self>, ip: IpAddr) -> Option<Greeting> {
        self.begin_at(ip, self.began.elapsed())
    }

    fn begin_at(self: &Arc<Self>, ip: IpAddr, now: Duration) -> Option<Greeting> {
        let mut guard = self.lock();
        let Inner { callers, number, efforts } = &mut *guard;
        if efforts.len() >= REMEMBERED && !efforts.contains_key(&ip) {
            efforts.clear();
        }
        // A call that is refused costs nothing more: else whoever goes on calling is never heard again.
        if !ip.is_loopback() {
            let effort = efforts.entry(ip).or_default();
            if effort.spend(0, now).is_some() || effort.spend(CALL, now).is_some() {
                return None;
            }
        }
        if !ip.is_loopback() && callers.iter().filter(|c| c.ip == ip).count() >= EACH {
            dismiss(callers, |c| c.ip == ip);
        } else if callers.len() >= ALL {
            let most = most(callers);
            dismiss(callers, |c| Some(host(c.ip)) == most);
        }
        *number += 1;
        let (number, end) = (*number, CancellationToken::new());
        callers.push_back(Caller { number, ip, end: end.clone() });
        Some(Greeting { of: self.clone(), number, end })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.of.lock().callers.retain(|c| c.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_are_not_waited_for_when_others_come() {
        let greetings = Greetings::new();
        let ip = |n: usize| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let mine: Vec<_> = (0..EACH + 2).map(|_| greetings.begin(ip(1)).unwrap()).collect();
        let ended = |g: &[Greeting]| g.iter().filter(|g| g.end.is_cancelled()).count();
        assert_eq!(ended(&mine), 2);
        assert!(mine[0].end.is_cancelled() && mine[1].end.is_cancelled(), "the oldest");
        // One host with many addresses, and then somebody else.
        let six = |n: usize| format!("fd00::{n:x}").parse::<IpAddr>().unwrap();
        let many: Vec<_> = (0..ALL).map(|n| greetings.begin(six(n)).unwrap()).collect();
        assert!(greetings.lock().callers.len() <= ALL);
        let honest = greetings.begin(ip(9)).unwrap();
        assert!(!honest.end.is_cancelled() && ended(&mine) == 2, "its own make room");
        drop((mine, many, honest));
        assert_eq!(greetings.lock().callers.len(), 0);
    }

    #[test]
    fn whoever_calls_all_the_time_is_heard_now_and_then() {
        let (greetings, ip) = (Greetings::new(), IpAddr::from([10, 0, 0, 1]));
        let calls = |at: u64| {
            let now = Duration::from_millis(at);
            (0..1000).filter(|_| greetings.begin_at(ip, now).is_some()).count()
        };
        assert_eq!(calls(0), 200);
        assert!((4..=5).contains(&calls(100)));
        assert!(greetings.begin_at([10, 0, 0, 2].into(), Duration::from_millis(100)).is_some());
    }
}
