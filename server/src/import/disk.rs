// SPDX-License-Identifier: GPL-3.0-or-later
//! A disk image: the payload is the disk as it is. Which partition is the root is found here, and
//! kernel and initrd are taken from inside. Nothing is mounted, so it needs no root.

use super::{
    boot::{self, Boot},
    fstab,
    initrd::{self, Foreign},
    modules, mountable,
    request::Request,
    tree::{self, Tree},
};
use crate::{
    catalogue::{INITRD, Staging},
    family::spec,
    import::whole::whole,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    manifest::{Family, Format, MAGIC_BYTES},
    partition::{Partition, ROOT_X86_64, Superblock, Table},
    units::human_size,
};
use std::{cmp::Reverse, fs::File, os::unix::fs::FileExt, path::Path};

/// Filesystems that are looked into at most.
const MAX_TRIES: usize = 16;

/// What a disk image gave.
pub struct Installed {
    /// Kernel and initrd, in the staging folder.
    pub boot: Boot,
    /// Whose initrd it is, where our hook is not in it.
    pub family: Option<Family>,
    /// The root partition.
    pub partition: u32,
    /// Bytes of its sectors, where they are not the usual 512.
    pub sector: Option<u32>,
    /// What the admin should hear.
    pub notes: Vec<String>,
}

/// A partition whose filesystem can be looked into.
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

/// Find the root, take kernel and initrd, and see to it that machines can boot with them, or refuse.
pub fn extract(image: &Path, request: &Request, staging: &Staging) -> Result<Installed> {
    let shown = request.source.display().to_string();
    let file = File::open(image).with_context(|| format!("opening {shown}"))?;
    let table = Table::read(&mut read(&file))
        .with_context(|| format!("reading {shown}"))?
        .context("it has lost its partition table")?;
    let mut seen: Vec<RootCandidate> = table.partitions.iter().filter_map(|p| look(&file, p)).collect();
    seen.sort_by_key(|s| (s.partition.kind != ROOT_X86_64, Reverse(s.partition.size)));
    seen.truncate(MAX_TRIES);
    let (root, tree) =
        find_root(image, &shown, &seen, staging)?.with_context(|| no_root(&shown, &table, &seen))?;
    let number = root.partition.number;
    whole(root.format, &root.head, root.partition.size)
        .map_err(|why| anyhow!("partition {number} of '{shown}' {why}"))?;
    let boot = boot::take(request, staging, Some(&tree))?;
    mountable::check_head(&root.head, root.format, &boot, &format!("partition {number} of '{shown}'"))?;
    let mut notes = vec![format!("the root is partition {number} of the {}", table.scheme)];
    notes.extend(boot.notes.iter().cloned());
    let superblock = |p: &Partition| Superblock::read(&read(&file)(p.start, MAGIC_BYTES).ok()?);
    let partitions: Vec<_> = table.partitions.iter().map(|p| (p.clone(), superblock(p))).collect();
    notes.extend(fstab::of_disk(&tree, &partitions, staging, &shown)?);
    let family = helped(&staging.path(INITRD), &boot.initrd.from)?;
    let boot = match family {
        None => boot,
        Some(_) => {
            let added = modules::complete(&tree, root.format, &boot, staging)?;
            if !added.is_empty() {
                notes.push(format!("added to its initrd, from the image: {}", added.join(", ")));
            }
            boot.measured(staging)?
        }
    };
    Ok(Installed { boot, family, partition: number, sector: Some(table.sector).filter(|s| *s != 512), notes })
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
    let mut tree = Joined { root: root_tree, boot: None };
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

/// Whose initrd it is, where our hook is not in it and the add-on can help; else it is refused.
fn helped(initrd: &Path, from: &str) -> Result<Option<Family>> {
    let Err(lacking) = initrd::check(initrd, from) else { return Ok(None) };
    let Foreign { family, .. } = initrd::family(initrd, from)?;
    match family.filter(|f| !spec(*f).live) {
        Some(family) => Ok(Some(family)),
        None => Err(lacking.context(format!(
            "the initrd {from} was not made by initramfs-tools: the add-on for disk images cannot help it"
        ))),
    }
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

/// A root, with the filesystem that is mounted on its /boot.
struct Joined {
    root: Box<dyn Tree>,
    boot: Option<Box<dyn Tree>>,
}

impl Joined {
    fn of<'a>(&'a self, path: &'a str) -> (&'a dyn Tree, &'a str) {
        match (&self.boot, path.strip_prefix("boot")) {
            (Some(boot), Some(rest)) if rest.is_empty() || rest.starts_with('/') => {
                (boot.as_ref(), rest.trim_start_matches('/'))
            }
            _ => (self.root.as_ref(), path),
        }
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
