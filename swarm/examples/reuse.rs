// SPDX-License-Identifier: GPL-3.0-or-later
//! How much of a new payload a machine that has an old one must fetch: `reuse OLD NEW`. The figures of docs/disk.md.

use bootspec::InfoHash;
use std::{collections::HashSet, env, fs::File, io::BufReader, time::Instant};
use swarm::{CreateOptions, Metainfo, create, plan::BLOCK, sums::Sums};

fn torrent(path: &str) -> anyhow::Result<Metainfo> {
    let file = File::open(path)?;
    let (size, options) = (file.metadata()?.len(), CreateOptions { name: "x".into(), ..Default::default() });
    create(&mut BufReader::new(file), size, &options, &mut |_| {})
}

fn main() -> anyhow::Result<()> {
    let [_, old, new] = &env::args().collect::<Vec<_>>()[..] else { anyhow::bail!("reuse OLD NEW") };
    let (before, after) = (torrent(old)?, torrent(new)?);
    let size = after.size();
    let had: HashSet<&[u8]> = (0..before.pieces()).map(|p| before.piece_hash(p)).collect();
    let whole = (0..after.pieces()).filter(|p| !had.contains(after.piece_hash(*p)));
    let by_piece: u64 = whole.map(|p| after.piece_range(p).end - after.piece_range(p).start).sum();

    let sums = Sums::make(&mut BufReader::new(File::open(new)?), InfoHash([0; 20]), size)?;
    let (begun, block) = (Instant::now(), u64::from(sums.block()));
    let mut here = vec![false; size.div_ceil(block) as usize];
    sums.search(|_| false).scan(&mut File::open(old)?, |b, _| {
        here[b as usize] = true;
        Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    let missing = |length: u64| -> u64 {
        let all = (0..size).step_by(length as usize).map(|at| (at, (at + length).min(size)));
        let gaps = all.filter(|(from, to)| (from / block..to.div_ceil(block)).any(|b| !here[b as usize]));
        gaps.map(|(from, to)| to - from).sum()
    };
    let percent = |bytes: u64| bytes as f64 * 100.0 / size as f64;
    println!(
        "{:.0} MiB: whole pieces as they were {:.1} %, pieces rebuilt {:.1} %, blocks of 16 KiB {:.1} %, blocks of the sums {:.1} %; \
         sums {:.2} %, scanned in {took:.1} s",
        size as f64 / 1048576.0,
        percent(by_piece),
        percent(missing(after.piece_length().into())),
        percent(missing(BLOCK.into())),
        percent(missing(block)),
        percent(sums.to_bytes().len() as u64)
    );
    Ok(())
}
