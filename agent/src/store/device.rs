// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload straight onto a disk that was named.
//!
//! Everything that could be wrong is looked at before the first byte is
//! written. Then the disk's first MiB is made zeros, so that nothing boots from a disk
//! that is half written; what belongs there waits in RAM until all the rest is
//! verified and on the disk.

use super::{
    flush::Flusher,
    order::Order,
    payload::{Keep, Payload, in_background},
    remnants,
};
use crate::{
    device::{self, Ambiguous},
    disks::{self, Disk},
    fail::{Failure, Step},
    files::create,
    mounts,
    report::Report,
    target::Writes,
};
use anyhow::{Context, anyhow, bail};
use bootspec::{DeviceName, Exit, Params, params::KindParam, units::human_size};
use gptman::linux::{BlockError, reread_partition_table};
use nix::errno::Errno;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use swarm::{Head, Metainfo, plan::Bits, sample, survey_apart};

/// What is held back: partition tables, and the boot loaders behind them.
const HEAD: u64 = 1 << 20;

/// Pieces that tell whether a disk has anything of the payload.
const SAMPLE: u32 = 64;

const SYS: &str = "/sys";

/// Find the disk, refuse what must not be overwritten, open it.
pub(super) async fn prepare(
    name: &DeviceName,
    order: &Order<'_>,
    report: &Report,
) -> Result<Payload, Failure> {
    let Order { args, params, metainfo, image, .. } = *order;
    let disk = find(name).await.step(Exit::Room)?;
    check(&disk, image, metainfo.size()).step(Exit::Room)?;
    check_sectors(&disk, image, params).step(Exit::Room)?;
    let claim = claim(&disk).step(Exit::Room)?;
    let node = disk.node();
    let file = device::open(&node, true).step(Exit::Storage)?;
    let store = args.run_dir.join("store");
    mounts::detach(&store);
    mounts::tmpfs(&store, HEAD * 2, 0o700).step(Exit::Storage)?;
    let head = held_back(&file, &store, metainfo.size()).step(Exit::Storage)?;
    report.info(&format!("writing to {}", disk.shown()));
    for remnant in remnants::behind(&file, disk.size, disk.sector, metainfo.size()) {
        report.warn(&format!(
            "the disk {} carries {remnant} behind the end of image {image}; a system that starts from the disk may take it \
             for a member of that RAID: mdadm --zero-superblock {}",
            disk.shown(),
            node.display()
        ));
    }
    let known = survey(&file, &head, metainfo, image, report)
        .await
        .with_context(|| format!("reading {}", node.display()))
        .step(Exit::Storage)?;
    file.write_all_at(&vec![0; head.len as usize], 0)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing to {}", node.display()))
        .step(Exit::Storage)?;
    let flusher = Flusher::start(&file).context("starting a thread").step(Exit::Storage)?;
    let keep = Box::new(Writing { disk, claim: Some(claim), flusher: Some(flusher) });
    Ok(Payload { file, path: node, head: Some(head), known, begun: Vec::new(), sum: None, keep })
}

/// What of the payload is on the disk already. A disk that seems to have nothing of it is not read to its end.
async fn survey(
    file: &File,
    head: &Head,
    metainfo: &Metainfo,
    image: &str,
    report: &Report,
) -> anyhow::Result<Bits> {
    let (file, head, metainfo) = (file.try_clone()?, head.try_clone()?, metainfo.clone());
    let (image, report, size) = (image.to_owned(), report.clone(), metainfo.size());
    // Hashing takes seconds, or minutes: heartbeats go on.
    let work = move || -> io::Result<Bits> {
        if !sample(&file, &metainfo, SAMPLE)? {
            return Ok(Bits::none(metainfo.pieces()));
        }
        let known = survey_apart(&file, &head, &metainfo, |done| report.checking(done, size, &image))?;
        let bytes: u64 = known.iter().map(|p| metainfo.piece_range(p)).map(|r| r.end - r.start).sum();
        report.info(&format!("{} of {} are on the disk already", human_size(bytes), human_size(size)));
        Ok(known)
    };
    in_background(work).await
}

/// The disk of that name. It is waited for a little. Of a link there is only one, whatever it could mean as well: so
/// it is looked for in /sys, too, which has all disks.
async fn find(name: &DeviceName) -> anyhow::Result<Disk> {
    let disk = named(name).await?;
    let all = disks::all(Path::new(SYS));
    match namesakes(&disk, name, &all) {
        1 => Ok(disk),
        several => bail!("boottorrent.target=device:{}; nothing was written", Ambiguous::new(name, several)),
    }
}

/// How many disks a name may mean, of which it was found to be `disk`. Namespaces of one NVMe device, and LUNs of
/// some arrays, share its serial number; udev's link with that number alone moves from one to the other.
fn namesakes(disk: &Disk, name: &DeviceName, all: &[Disk]) -> usize {
    let same = all.iter().filter(|d| !disk.serial.is_empty() && d.serial == disk.serial).count().max(1);
    let udev = |serial: &str| serial.replace(' ', "_");
    match name {
        DeviceName::Serial(_) => same,
        DeviceName::Path(p) if p.contains("/by-id/") && p.ends_with(&udev(&disk.serial)) => same,
        _ => 1,
    }
}

async fn named(name: &DeviceName) -> anyhow::Result<Disk> {
    let missing = |why: &str| {
        let all = disks::all(Path::new(SYS));
        anyhow!("boottorrent.target=device:{name}: {why}: {}", disks::told(&all))
    };
    let node = match device::find(Path::new("/dev"), name, device::PATIENCE).await {
        Ok(node) => node,
        Err(e) if e.is::<Ambiguous>() => return Err(e.context(format!("boottorrent.target=device:{name}"))),
        Err(_) => match name {
            // Without udev's links there is still /sys.
            DeviceName::Serial(serial) => {
                let fits: Vec<Disk> =
                    disks::all(Path::new(SYS)).into_iter().filter(|d| d.serial == *serial).collect();
                // Several: the caller counts them.
                return fits.into_iter().next().ok_or_else(|| missing("there is no such disk"));
            }
            _ => return Err(missing("there is no such disk")),
        },
    };
    let short = node.file_name().unwrap_or_default().to_string_lossy();
    disks::disk(Path::new(SYS), &short).ok_or_else(|| missing("that is not a disk"))
}

/// Refuse what cannot, or must not, be written. No I/O on the disk itself.
fn check(disk: &Disk, image: &str, size: u64) -> anyhow::Result<()> {
    if let Some(whole) = &disk.part_of {
        bail!(
            "/dev/{} is a partition: boottorrent.target=device: overwrites whole disks only; name the disk, /dev/{whole}",
            disk.name
        );
    }
    if disk.read_only {
        bail!("the disk {} is read-only: nothing was written", disk.shown());
    }
    if disk.size < size {
        bail!(
            "the disk {} is too small: image {image} has {} ({size} bytes), the disk {} ({} bytes); nothing was written",
            disk.shown(),
            human_size(size),
            human_size(disk.size),
            disk.size
        );
    }
    Ok(())
}

/// Partition tables count in sectors: on a disk with others than they were made for, no partition is found.
fn check_sectors(disk: &Disk, image: &str, params: &Params) -> anyhow::Result<()> {
    let sector = params.sector;
    let has_no_table = matches!(params.kind, KindParam::Filesystem | KindParam::Iso);
    if disk.sector == sector || has_no_table {
        return Ok(());
    }
    bail!(
        "the disk {} has sectors of {} bytes, but the partition table of image {image} was made for {sector}: no partition \
         would be found on it; nothing was written (boottorrent.sector= says what the image was made for)",
        disk.shown(),
        disk.sector
    )
}

/// Have the disk for ourselves, partitions included: as long as this is open, nobody can mount them.
fn claim(disk: &Disk) -> anyhow::Result<File> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let used = || disks::used(disk, &read("/proc/self/mounts"), &read("/proc/swaps"));
    let refuse = |why: &str| anyhow!("the disk {} is in use: {why}; nothing was written", disk.shown());
    if let Some(why) = used() {
        return Err(refuse(&why));
    }
    let node = disk.node();
    match device::open_alone(&node) {
        Ok(file) => Ok(file),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            Err(refuse("a volume group, a RAID or another program has it"))
        }
        Err(e) => Err(e).with_context(|| format!("opening {}", node.display())),
    }
}

/// A file for the payload's beginning, with what is in that place on the disk.
fn held_back(disk: &File, store: &Path, size: u64) -> anyhow::Result<Head> {
    let path = store.join("head");
    let mut file = create(&path, 0)?;
    let len = HEAD.min(size);
    io::copy(&mut disk.take(len), &mut file).with_context(|| format!("filling {}", path.display()))?;
    file.flush()?;
    Ok(Head { file, len })
}

/// A disk that is being written.
struct Writing {
    disk: Disk,
    claim: Option<File>,
    flusher: Option<Flusher>,
}

impl Keep for Writing {
    /// All is verified: bring it to the disk, then its beginning, then let the kernel see the partitions.
    fn finish(&mut self, file: &File, head: Option<&Head>, _: &Writes) -> anyhow::Result<Option<PathBuf>> {
        let shown = self.disk.shown();
        let failed = || format!("writing to {shown}");
        self.flusher.take().map_or(Ok(()), Flusher::stop).with_context(failed)?;
        file.sync_all().with_context(failed)?;
        if let Some(head) = head {
            let mut bytes = vec![0; head.len as usize];
            head.file.read_exact_at(&mut bytes, 0).context("reading the image's first MiB")?;
            file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()).with_context(failed)?;
        }
        // Partitions can be mounted only when the disk is not claimed.
        drop(self.claim.take());
        // udev, who looks at what was just closed, may be in the way for a moment.
        let mut disk = file.try_clone().context("sharing the disk")?;
        for _ in 0..50 {
            match reread_partition_table(&mut disk) {
                Ok(()) => return Ok(None),
                Err(BlockError::RereadTable(Errno::EBUSY)) => thread::sleep(Duration::from_millis(100)),
                Err(e) => {
                    return Err(e).with_context(|| format!("reading the partition table of {shown} again"));
                }
            }
        }
        bail!("the partition table of {shown} cannot be read again: something uses the disk");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(disk: &Disk) -> String {
        check(disk, "lab", 2 << 30).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_the_disk_and_both_sizes() {
        let disk = Disk { name: "vda".into(), size: 1 << 30, serial: "S1".into(), ..Disk::default() };
        assert_eq!(
            refused(&disk),
            "the disk /dev/vda (1.00 GiB, serial S1) is too small: image lab has 2.00 GiB (2147483648 bytes), \
             the disk 1.00 GiB (1073741824 bytes); nothing was written"
        );
        assert_eq!(
            refused(&Disk { read_only: true, ..disk.clone() }),
            "the disk /dev/vda (1.00 GiB, serial S1) is read-only: nothing was written"
        );
        assert_eq!(
            refused(&Disk { part_of: Some("sda".into()), name: "sda2".into(), ..disk.clone() }),
            "/dev/sda2 is a partition: boottorrent.target=device: overwrites whole disks only; name the disk, /dev/sda"
        );
        check(&Disk { size: 2 << 30, ..disk }, "lab", 2 << 30).unwrap();
    }

    #[test]
    fn the_beginning_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3u32 << 20).map(|n| (n % 249) as u8 + 1).collect();
        let path = dir.path().join("disk");
        fs::write(&path, &bytes).unwrap();
        let file = device::open(&path, true).unwrap();
        let head = held_back(&file, dir.path(), 3 << 20).unwrap();
        assert_eq!(head.len, HEAD);
        file.write_all_at(&vec![0; HEAD as usize], 0).unwrap();
        let flusher = Flusher::start(&file).unwrap();
        let mut writing = Writing { disk: Disk::default(), claim: None, flusher: Some(flusher) };
        // Everything but the partition table, which a file has not.
        let e = writing.finish(&file, Some(&head), &Writes::None).unwrap_err();
        assert!(format!("{e:#}").contains("reading the partition table"), "{e:#}");
        assert!(fs::read(&path).unwrap() == bytes);
    }
}
