// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines behind a relay have said, until the first server has it. Of a machine that goes on in the same phase only
//! the last word counts; each new phase is kept.

use super::told::{Said, Word};
use std::collections::{HashMap, VecDeque};

/// Words of one machine, and machines, at most.
const WORDS: usize = 16;
const MACHINES: usize = 4096;

/// The words, by machine; whose are the oldest comes first.
#[derive(Debug, Default)]
pub struct Queue {
    words: HashMap<String, VecDeque<Word>>,
    turns: VecDeque<String>,
}

/// Whether `new` says all that `old` has said.
fn replaces(new: &Word, old: &Word) -> bool {
    match (&new.said, &old.said) {
        (Said::Beat(new), Said::Beat(old)) => new.phase == old.phase && new.infohash == old.infohash,
        (Said::Loader(_), Said::Loader(_)) => true,
        _ => false,
    }
}

impl Queue {
    /// A machine has said something.
    pub fn push(&mut self, word: Word) {
        let id = word.id().to_owned();
        if !self.words.contains_key(&id) {
            if self.words.len() >= MACHINES {
                return;
            }
            self.turns.push_back(id.clone());
        }
        let words = self.words.entry(id).or_default();
        if words.back().is_some_and(|last| replaces(&word, last)) {
            words.pop_back();
        }
        // Of what is over, the phase counts: the log comes with the last word.
        if let Some(Word { said: Said::Beat(last), .. }) = words.back_mut() {
            last.log.clear();
        }
        words.push_back(word);
        if words.len() > WORDS {
            words.pop_front();
        }
    }

    /// What so many machines have said.
    pub fn take(&mut self, machines: usize) -> Vec<Word> {
        let ids: Vec<String> = self.turns.drain(..machines.min(self.turns.len())).collect();
        ids.iter().filter_map(|id| self.words.remove(id)).flatten().collect()
    }

    /// It did not arrive: it comes before what was said since.
    pub fn put_back(&mut self, words: Vec<Word>) {
        let mut before = Queue::default();
        words.into_iter().for_each(|word| before.push(word));
        let since = std::mem::replace(self, before);
        let mut words = since.words;
        for id in since.turns {
            words.remove(&id).into_iter().flatten().for_each(|word| self.push(word));
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::MachineProof;
    use bootspec::{Heartbeat, Phase};

    fn beat(id: &str, phase: Phase, uptime: f64) -> Word {
        let heartbeat = Heartbeat { id: id.into(), phase, uptime, ..Heartbeat::default() };
        Word {
            remote: [10, 0, 0, 1].into(),
            proof: MachineProof::Link,
            said: Said::Beat(Box::new(heartbeat)),
        }
    }

    fn shown(words: &[Word]) -> Vec<(String, Phase, f64)> {
        let one = |w: &Word| match &w.said {
            Said::Beat(b) => (b.id.clone(), b.phase, b.uptime),
            Said::Loader(_) => unreachable!(),
        };
        words.iter().map(one).collect()
    }

    #[test]
    fn no_phase_is_lost_and_nothing_comes_twice() {
        let mut queue = Queue::default();
        for (phase, at) in [(Phase::Network, 1.0), (Phase::Download, 2.0), (Phase::Download, 3.0)] {
            queue.push(beat("a", phase, at));
        }
        queue.push(beat("b", Phase::Seed, 1.0));
        let taken = queue.take(1);
        let expected = [("a".to_owned(), Phase::Network, 1.0), ("a".to_owned(), Phase::Download, 3.0)];
        assert_eq!(shown(&taken), expected);
        queue.push(beat("a", Phase::Download, 4.0));
        queue.push(beat("a", Phase::Seed, 5.0));
        queue.put_back(taken);
        let all = queue.take(10);
        let expected = [
            ("a".to_owned(), Phase::Network, 1.0),
            ("a".to_owned(), Phase::Download, 4.0),
            ("a".to_owned(), Phase::Seed, 5.0),
            ("b".to_owned(), Phase::Seed, 1.0),
        ];
        assert_eq!(shown(&all), expected);
        assert!(queue.is_empty() && queue.take(10).is_empty());
        (0..100).for_each(|n| {
            queue.push(beat("a", if n % 2 == 0 { Phase::Network } else { Phase::Failed }, f64::from(n)));
        });
        assert_eq!(queue.take(10).len(), WORDS);
    }
}
