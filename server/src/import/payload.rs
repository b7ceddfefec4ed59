// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload as it is published: its size, its torrent, and the checksums of its blocks.

use super::request::Request;
use crate::{
    catalogue::{SUMS, Staging},
    interrupt,
    meter::Meter,
};
use anyhow::{Context, Result, bail};
use bootspec::{
    ImageName, Sha256Sum,
    manifest::{Format, MAGIC_BYTES},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};
use swarm::sums::Sums;

/// The payload's size, when it is what it should be.
pub fn size(payload: &Path, format: Option<Format>) -> Result<u64> {
    let mut head = Vec::new();
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let size =
        file.metadata().with_context(|| format!("asking for the size of {}", payload.display()))?.len();
    file.take(MAGIC_BYTES as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("reading {}", payload.display()))?;
    if let Some(format) = format.filter(|f| Format::recognise(&head) != Some(*f)) {
        bail!("{} is not {} after packing", payload.display(), format.as_str());
    }
    Ok(size)
}

/// The torrent and the payload's SHA-256; it is read once for both.
pub fn hash(
    payload: &Path,
    size: u64,
    name: &ImageName,
    request: &Request,
) -> Result<(swarm::Metainfo, Sha256Sum)> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let options = swarm::CreateOptions {
        name: name.to_string(),
        private: request.private,
        piece_length: request.piece_length,
    };
    let meter = Meter::new("hashing", Some(size));
    let mut summing = swarm::Summing::new(Interruptible(file));
    let torrent = swarm::create(&mut summing, size, &options, &mut |done| meter.update(done))
        .with_context(|| format!("hashing {}", payload.display()))?;
    Ok((torrent, summing.finish()))
}

/// Sums of the payload's blocks, by which a machine that has an older version finds them there.
pub fn sums(payload: &Path, torrent: &swarm::Metainfo, staging: &Staging) -> Result<()> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let made = Sums::make(&mut Interruptible(io::BufReader::new(file)), torrent.infohash(), torrent.size());
    let made = made.with_context(|| format!("summing {}", payload.display()))?;
    staging.create(SUMS)?.write_all(&made.to_bytes()).context("writing the sums")
}

/// A reader that fails when the user wants us to end.
struct Interruptible<R>(R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Not ErrorKind::Interrupted: that one means "try again".
        interrupt::check().map_err(io::Error::other)?;
        self.0.read(buf)
    }
}
