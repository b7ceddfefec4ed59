// SPDX-License-Identifier: GPL-3.0-or-later
//! Every target over its corpus, and over changes of it for BOOTTORRENT_FUZZ_SECONDS (20) in all; with
//! BOOTTORRENT_FUZZ_ONLY one target. With little memory, and no input takes long.
#![allow(missing_docs)]

use boottorrent_fuzz::{TARGETS, Target, mutate::mutate};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::{RngCore, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What the process may have in memory, all targets together.
const MEMORY: u64 = 512 << 20;
/// What one input may take, on a machine that does other things too, without optimisation.
const PATIENCE: Duration = Duration::from_secs(5);

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

/// Feed. False: it was too much; the input is left where it can be looked at.
fn feed(target: &Target, input: &[u8], what: &str) -> bool {
    let begun = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = begun.elapsed();
    if ended.is_ok() && took <= PATIENCE {
        return true;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-finding", target.name));
    fs::write(&file, input).unwrap();
    eprintln!("{}: {what} took {took:?}; the input is in {}", target.name, file.display());
    false
}

#[test]
fn every_target_over_its_corpus_and_changes_of_it() {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).unwrap();
    setrlimit(Resource::RLIMIT_DATA, MEMORY, hard).unwrap();
    let seconds = std::env::var("BOOTTORRENT_FUZZ_SECONDS").map_or(20.0, |s| s.parse().expect("a number"));
    let only = std::env::var("BOOTTORRENT_FUZZ_ONLY").ok();
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|t| only.as_ref().is_none_or(|name| name == t.name)).collect();
    let each = Duration::from_secs_f64(seconds / targets.len() as f64);
    let seed = rand::rng().next_u64();
    eprintln!("changes begin with {seed}");
    let mut failed = Vec::new();
    for target in targets {
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        let mut random = SmallRng::seed_from_u64(seed);
        for (path, bytes) in &corpus {
            assert!(bytes.len() <= target.max_len, "{}: longer than {}", path.display(), target.max_len);
            if !feed(target, bytes, &path.display().to_string()) {
                failed.push(target.name);
            }
        }
        let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < each {
            let input = inputs.choose(&mut random).unwrap();
            let changed = mutate(input, &inputs, target.max_len, &mut random);
            count += 1;
            if !feed(target, &changed, "a change") {
                failed.push(target.name);
                break;
            }
        }
        eprintln!("{:<10} {:>4} inputs, {count:>6} changes ({})", target.name, inputs.len(), target.reads);
    }
    assert!(failed.is_empty(), "findings of {failed:?}: see above");
}

/// Each target has its folder and its program, and nothing else has one.
#[test]
fn targets_are_where_they_are_looked_for() {
    let names: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, end) in [("corpus", ""), ("libfuzzer/fuzz_targets", ".rs")] {
        let entries =
            fs::read_dir(here.join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let found: BTreeSet<String> = entries.map(|e| e.strip_suffix(end).unwrap_or(&e).to_owned()).collect();
        assert_eq!(found, names, "{folder}");
    }
}
