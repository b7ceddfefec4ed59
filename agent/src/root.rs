// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload becomes the root filesystem: loop device, read-only mount,
//! overlay on the initramfs' root mount point.

use crate::{
    disk,
    mounts::{Loop, Mounted, Root, attach, mount_lower, overlay},
};
use anyhow::{Context, anyhow, bail};
use bootspec::{
    manifest::{CONTENT_BYTES, Content, Format, Kind, MAGIC_BYTES},
    params::KindParam,
};
use std::{fs::File, io::Read, path::Path};

/// What kind of image it is: as the parameters say, else by its content.
pub fn kind(asked: KindParam, payload: &Path) -> anyhow::Result<Kind> {
    Ok(match asked {
        KindParam::Filesystem => Kind::Filesystem,
        KindParam::Iso => Kind::Iso,
        KindParam::Disk => Kind::Disk,
        KindParam::Ltsp => Kind::Ltsp,
        // What nobody knows is told with its first bytes, as a filesystem that is none.
        KindParam::Auto => content(payload)?.map_or(Kind::Filesystem, Content::kind),
    })
}

/// What a payload is, by its first bytes.
pub fn content(payload: &Path) -> anyhow::Result<Option<Content>> {
    Ok(Content::recognise(&head(payload, CONTENT_BYTES)?))
}

/// Mount a payload.
pub fn mount(kind: Kind, root: &Root) -> anyhow::Result<Mounted> {
    match kind {
        Kind::Filesystem => mount_filesystem(root),
        Kind::Iso => bail!("a live ISO is not a root: its own scripts make one of it"),
        Kind::Ltsp => bail!("an image of LTSP is not a root: LTSP's own scripts make one of it"),
        Kind::Disk => disk::mount(root),
    }
}

fn head(payload: &Path, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    file.take(bytes as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("reading {}", payload.display()))?;
    Ok(head)
}

/// What filesystem a payload holds, by its first bytes.
pub fn recognise(payload: &Path) -> anyhow::Result<Format> {
    let head = head(payload, MAGIC_BYTES)?;
    let begin: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Format::recognise(&head).ok_or_else(|| {
        anyhow!(
            "the image is not a root filesystem: it is neither squashfs, erofs nor ext4 (its first bytes are {}); \
             add it again with `boottorrent image add`",
            begin.join(" ")
        )
    })
}

/// Mount a filesystem payload under an overlay on the root mount point.
fn mount_filesystem(root: &Root) -> anyhow::Result<Mounted> {
    let format = recognise(root.payload)?;
    // Held until the mount holds it: without a user it would be gone (autoclear).
    let device = attach(root.payload, Loop::Filesystem)?;
    let lower = mount_lower(&device.path().context("finding the loop device's path")?, format, root)?;
    overlay(&lower, root)?;
    Ok(Mounted { what: format!("{} {}", format.as_str(), root.writes.what()), also: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_no_filesystem_is_said_with_its_first_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hello, this is text").unwrap();
        let e = recognise(file.path()).unwrap_err().to_string();
        assert!(e.contains("68 65 6c 6c 6f 2c 20 74"), "{e}");
        fs::write(file.path(), "").unwrap();
        assert!(recognise(file.path()).is_err());
        fs::write(file.path(), "hsqs").unwrap();
        assert_eq!(recognise(file.path()).unwrap(), Format::Squashfs);
    }
}
