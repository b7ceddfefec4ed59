// SPDX-License-Identifier: GPL-3.0-or-later
//! A disk image: the payload is the disk as it is. Which partition is the root is found here, and
//! kernel and initrd are taken from inside. Nothing is mounted, so it needs no root.

use super::{
    boot,
    fat::Fat,
    fstab, mountable,
    request::Request,
    taken::Boot,
    tree::{self, Tree},
    which::RootFacts,
    whole::whole,
};
use crate::catalogue::Staging;
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    manifest::{Format, MAGIC_BYTES},
    partition::{Partition, Superblock, Table},
    units::human_size,
};
use std::{cmp::Reverse, fs::File, os::unix::fs::FileExt, path::Path};

/// Filesystems that are looked into at most.
const MAX_TRIES: usize = 16;

/// What a disk image gave.
pub struct Installed {
    /// Kernel and initrd, in the staging folder.
    pub boot: Boot,
    /// The root partition.
    pub partition: u32,
    /// Bytes of its sectors, where they are not the usual 512.
    pub sector: Option<u32>,
    /// What the admin should hear.
    pub notes: Vec<String>,
}

/// A partition whose filesystem can be looked into.
#[derive(Clone)]
struct RootCandidate {
    partition: Partition,
    format: Format,
    head: Vec<u8>,
}

fn read(file: &File) -> impl FnMut(u64, usize) -> std::io::Result<Vec<u8>> + '_ {
    |at, len| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    }
}

/// Whether there are partitions; refused when the file ends before they do.
pub fn is_one(path: &Path, shown: &str) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("opening {shown}"))?;
    let len = file.metadata().with_context(|| format!("asking for the size of {shown}"))?.len();
    let table = match Table::read(&mut read(&file)) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            bail!("'{shown}' is truncated: its partition table ends behind the {len} bytes of the file")
        }
        table => table.with_context(|| format!("reading {shown}"))?,
    };
    match table.filter(|t| !t.partitions.is_empty()) {
        Some(t) if t.needs > len => {
            bail!("'{shown}' is truncated: its {} needs {} bytes, the file has {len}", t.scheme, t.needs)
        }
        table => Ok(table.is_some()),
    }
}

/// A disk image that was looked into.
pub struct Opened {
    root: RootCandidate,
    table: Table,
    /// What is in its root.
    pub tree: Joined,
    /// The root's filesystem; and those of other partitions, which may be mounted below it (/var, /home).
    pub formats: Vec<Format>,
}

/// Find the root of a disk image, which is `shown` in errors.
pub fn open(image: &Path, shown: &str, staging: &Staging) -> Result<Opened> {
    let file = File::open(image).with_context(|| format!("opening {shown}"))?;
    let table = Table::read(&mut read(&file))
        .with_context(|| format!("reading {shown}"))?
        .context("it has lost its partition table")?;
    let mut seen: Vec<RootCandidate> = table.partitions.iter().filter_map(|p| look(&file, p)).collect();
    seen.sort_by_key(|s| (!s.partition.is_marked_as_root(), Reverse(s.partition.size)));
    seen.truncate(MAX_TRIES);
    let (root, mut tree) =
        find_root(image, shown, &seen, staging)?.with_context(|| no_root(shown, &table, &seen))?;
    tree.efi =
        table.partitions.iter().find(|p| ESP.contains(&p.kind.as_str())).map(|p| Fat::at(image, p.start));
    let mut formats = vec![root.format];
    for RootCandidate { format, .. } in &seen {
        if !formats.contains(format) {
            formats.push(*format);
        }
    }
    Ok(Opened { root: root.clone(), table, tree, formats })
}

/// Find the root, take kernel and initrd, and see to it that machines can boot with them, or refuse.
pub fn extract(image: &Path, request: &Request, staging: &Staging) -> Result<Installed> {
    let shown = request.source.display().to_string();
    let Opened { root, table, tree, formats } = open(image, &shown, staging)?;
    let number = root.partition.number;
    whole(root.format, &root.head, root.partition.size)
        .map_err(|why| anyhow!("partition {number} of '{shown}' {why}"))?;
    let facts = RootFacts { tree: Some(&tree), formats: &formats, addon: true };
    let boot = boot::take(request, &facts, staging)?;
    mountable::check_head(&root.head, root.format, &boot, &format!("partition {number} of '{shown}'"))?;
    let mut notes = vec![format!("the root is partition {number} of the {}", table.scheme)];
    notes.extend(boot.notes.iter().cloned());
    let file = File::open(image).with_context(|| format!("opening {shown}"))?;
    let superblock = |p: &Partition| Superblock::read(&read(&file)(p.start, MAGIC_BYTES).ok()?);
    let partitions: Vec<_> = table.partitions.iter().map(|p| (p.clone(), superblock(p))).collect();
    notes.extend(fstab::of_disk(&tree, &partitions, staging, &shown)?);
    Ok(Installed { boot, partition: number, sector: Some(table.sector).filter(|s| *s != 512), notes })
}

/// The partition with the root, and what is in it, with a /boot of its own where there is one.
fn find_root<'a>(
    image: &Path,
    shown: &str,
    seen: &'a [RootCandidate],
    staging: &Staging,
) -> Result<Option<(&'a RootCandidate, Joined)>> {
    let mut trees = Vec::new();
    for s in seen {
        let slice = tree::Slice { start: s.partition.start, size: s.partition.size };
        let scratch = staging.path("tree").join(s.partition.number.to_string());
        let tree = tree::open_slice(image, slice, s.format, &scratch);
        trees.push((
            s,
            tree.with_context(|| format!("looking into partition {} of '{shown}'", s.partition.number))?,
        ));
    }
    let mut at = None;
    for (n, (_, tree)) in trees.iter().enumerate() {
        if is_root(tree.as_ref())? {
            at = Some(n);
            break;
        }
    }
    let Some(at) = at else { return Ok(None) };
    let (root, root_tree) = trees.swap_remove(at);
    let kernels = |names: &[String]| names.iter().any(|n| n.starts_with("vmlinuz-"));
    let mut tree = Joined { root: root_tree, boot: None, efi: None };
    if !kernels(&tree.root.names("boot")?) {
        for (_, other) in trees {
            if kernels(&other.names("")?) {
                tree.boot = Some(other);
                break;
            }
        }
    }
    Ok(Some((root, tree)))
}

fn look(file: &File, partition: &Partition) -> Option<RootCandidate> {
    let head = read(file)(partition.start, MAGIC_BYTES).ok()?;
    let format = Superblock::read(&head)?.format;
    Some(RootCandidate { partition: partition.clone(), format, head })
}

fn is_root(tree: &dyn Tree) -> Result<bool> {
    let names = tree.names("")?;
    Ok(["etc", "usr"].iter().all(|folder| names.iter().any(|n| n == folder)))
}

fn no_root(shown: &str, table: &Table, seen: &[RootCandidate]) -> String {
    let each = table.partitions.iter().map(|p| {
        let format = seen.iter().find(|s| s.partition.number == p.number).map(|s| s.format.as_str());
        format!("{} ({}, {})", p.number, human_size(p.size), format.unwrap_or("something else"))
    });
    format!(
        "'{shown}' has no partition with an operating system: it has {}; the root must be ext4, squashfs or erofs, and not encrypted or in a volume group",
        each.collect::<Vec<_>>().join(", ")
    )
}

/// A root, with the filesystem that is mounted on its /boot, and with the EFI system partition on /efi.
pub struct Joined {
    root: Box<dyn Tree>,
    boot: Option<Box<dyn Tree>>,
    efi: Option<Fat>,
}

/// The types of an EFI system partition, in a GPT and in an MBR.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef"];

impl Joined {
    fn of<'a>(&'a self, path: &'a str) -> (&'a dyn Tree, &'a str) {
        let below = |folder: &str| {
            let rest = path.strip_prefix(folder)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
        };
        if let (Some(boot), Some(rest)) = (&self.boot, below("boot")) {
            return (boot.as_ref(), rest);
        }
        if let (Some(efi), Some(rest)) = (&self.efi, below("efi")) {
            return (efi, rest);
        }
        (self.root.as_ref(), path)
    }
}

impl Tree for Joined {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let (tree, folder) = self.of(folder);
        tree.names(folder)
    }

    fn link(&self, path: &str) -> Result<Option<String>> {
        let (tree, path) = self.of(path);
        tree.link(path)
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        let (tree, path) = self.of(path);
        tree.read(path, to)
    }
}
