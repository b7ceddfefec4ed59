// SPDX-License-Identifier: GPL-3.0-or-later
//! What will happen, in the order in which it will.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// A simulated clock.
pub struct Clock<E> {
    /// Since the beginning.
    pub now: Duration,
    planned: u64,
    events: BinaryHeap<Reverse<At<E>>>,
}

impl<E> Clock<E> {
    /// At the beginning.
    pub fn new() -> Self {
        Self { now: Duration::ZERO, planned: 0, events: BinaryHeap::new() }
    }

    /// Let something happen. Of what happens at the same time, the first planned is first.
    pub fn plan(&mut self, at: Duration, event: E) {
        self.planned += 1;
        self.events.push(Reverse(At { at: at.max(self.now), order: self.planned, event }));
    }

    /// Go to what happens next, and say what it is.
    pub fn advance(&mut self) -> Option<E> {
        let Reverse(next) = self.events.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

struct At<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> Ord for At<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> PartialOrd for At<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for At<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for At<E> {}
