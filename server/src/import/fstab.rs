// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines do with the lines of an image's fstab, said when it is added: whoever separated /var or /home would
//! find them empty otherwise, on all machines at once.

use super::tree::{Tree, small_text};
use crate::catalogue::Staging;
use anyhow::{Result, bail};
use bootspec::{
    fstab::{kept, lines},
    partition::{Partition, PartitionName, Superblock},
};

/// Notes on a root filesystem's fstab.
pub fn of_root(tree: &dyn Tree, staging: &Staging) -> Result<Vec<String>> {
    let fstab = small_text(tree, "etc/fstab", staging)?.unwrap_or_default();
    Ok(kept(&fstab, &[]).dropped.iter().map(|at| left_out(at, "the image has no other disk")).collect())
}

/// Notes on a disk image's fstab. `seen`: its partitions, and the filesystems of those that machines can mount.
pub fn of_disk(
    tree: &dyn Tree,
    seen: &[(Partition, Option<Superblock>)],
    staging: &Staging,
    shown: &str,
) -> Result<Vec<String>> {
    let fstab = small_text(tree, "etc/fstab", staging)?.unwrap_or_default();
    let mut notes = Vec::new();
    for line in lines(&fstab).filter(|l| l.is_disk() && !l.is_usual()) {
        let found = PartitionName::from_root(line.what.trim_matches('"')).and_then(|name| {
            let is = |(p, s): &&(Partition, Option<Superblock>)| {
                let (label, uuid) = s.as_ref().map_or(("", ""), |s| (&s.label, &s.uuid));
                name.is(p, label, uuid)
            };
            seen.iter().find(is)
        });
        if line.at == "/usr" {
            bail!(
                "'{shown}' has /usr on a partition of its own ({}): machines cannot boot that; put it on the root partition",
                line.what
            );
        }
        notes.push(match found {
            Some((partition, Some(_))) => {
                format!(
                    "partition {} is mounted on {}, below what the machine writes",
                    partition.number, line.at
                )
            }
            Some((partition, None)) => left_out(
                line.at,
                &format!("partition {} is none of ext4, squashfs and erofs", partition.number),
            ),
            None => left_out(line.at, &format!("{} is not in the image", line.what)),
        });
    }
    Ok(notes)
}

fn left_out(at: &str, why: &str) -> String {
    format!("its fstab mounts a disk on {at}, which machines leave out: {why}")
}
