// SPDX-License-Identifier: GPL-3.0-or-later
//! The same work on many things, on all processors.

use anyhow::Result;
use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// Do `work` for each item. The results are in the order of the items; after an error nothing new is begun.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let (n, Some(item)) = take(&next, items) {
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> (usize, Option<&'a T>) {
    let n = next.fetch_add(1, Relaxed);
    (n, items.get(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn results_are_in_order() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(each(&items, |n| Ok(n * 2)).unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(each(&[], |n: &u32| Ok(*n)).unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn an_error_ends_it() {
        let items: Vec<u32> = (0..100).collect();
        let failed = each(&items, |n| if *n == 3 { bail!("three") } else { Ok(()) });
        assert_eq!(failed.unwrap_err().to_string(), "three");
    }
}
