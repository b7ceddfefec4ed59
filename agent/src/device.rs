// SPDX-License-Identifier: GPL-3.0-or-later
//! From a disk's name on the command line to its node in /dev, by the links
//! that udev makes (`/dev/disk/by-*`). Disks appear late: they are waited for a little.

use anyhow::{Context, bail};
use bootspec::DeviceName;
use nix::fcntl::OFlag;
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a disk may take to appear: slow controllers and USB take some seconds.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A name that fits more than one disk: none of them is chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} fits {count} disks: name one by a link of /dev/disk/by-id that only it has")]
pub struct Ambiguous {
    name: String,
    count: usize,
}

impl Ambiguous {
    /// `name` fits this many.
    pub fn new(name: &DeviceName, count: usize) -> Ambiguous {
        Ambiguous { name: name.to_string(), count }
    }
}

/// Wait for a device and return its node. `dev`: where devices are, /dev but in tests.
pub async fn find(dev: &Path, name: &DeviceName, patience: Duration) -> anyhow::Result<PathBuf> {
    let start = Instant::now();
    loop {
        if let Some(node) = look(dev, name)? {
            return Ok(node);
        }
        if start.elapsed() >= patience {
            bail!("{}", missing(dev, name));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The node of a device, if it is there now. Errors: the name fits several disks.
pub fn look(dev: &Path, name: &DeviceName) -> anyhow::Result<Option<PathBuf>> {
    let link = |kind: &str, value: &str| dev.join("disk").join(kind).join(encode(value));
    let path = match name {
        DeviceName::Label(v) => link("by-label", v),
        // udev writes UUIDs as the filesystem has them: lower case, but upper for FAT and NTFS.
        DeviceName::Uuid(v) => caseless(&link("by-uuid", v)),
        DeviceName::PartUuid(v) => caseless(&link("by-partuuid", v)),
        DeviceName::Serial(v) => return by_serial(dev, name, v),
        DeviceName::Path(v) => dev.join(v.strip_prefix("/dev/").unwrap_or(v)),
    };
    Ok(path.canonicalize().ok())
}

/// The whole disk whose link in by-id ends with `_SERIAL`, as udev builds them: BUS-MODEL_SERIAL, virtio-SERIAL.
fn by_serial(dev: &Path, name: &DeviceName, serial: &str) -> anyhow::Result<Option<PathBuf>> {
    let wanted = encode(&serial.replace(' ', "_"));
    let Ok(entries) = fs::read_dir(dev.join("disk/by-id")) else { return Ok(None) };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries.flatten() {
        let link = entry.file_name().to_string_lossy().into_owned();
        let fits = link.strip_suffix(&wanted).is_some_and(|front| front.ends_with(['_', '-']));
        if let Some(node) = fits.then(|| entry.path().canonicalize().ok()).flatten()
            && !found.contains(&node)
        {
            found.push(node);
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => bail!(Ambiguous::new(name, several.len())),
    }
}

/// The link of that name, or of that name in other letters.
fn caseless(link: &Path) -> PathBuf {
    let same = |e: &fs::DirEntry| {
        link.file_name()
            .is_some_and(|l| l.to_string_lossy().eq_ignore_ascii_case(&e.file_name().to_string_lossy()))
    };
    let found = link
        .parent()
        .and_then(|d| fs::read_dir(d).ok())
        .and_then(|mut d| d.find_map(|e| e.ok().filter(same)));
    found.map_or_else(|| link.to_owned(), |e| e.path())
}

/// As udev writes a name in a link (libblkid's blkid_encode_string).
pub(crate) fn encode(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        }
    }
    out
}

/// What was looked for, and what there is.
fn missing(dev: &Path, name: &DeviceName) -> String {
    let (folder, prefix) = match name {
        DeviceName::Label(_) => ("by-label", "LABEL="),
        DeviceName::Uuid(_) => ("by-uuid", "UUID="),
        DeviceName::PartUuid(_) => ("by-partuuid", "PARTUUID="),
        DeviceName::Serial(_) | DeviceName::Path(_) => ("by-id", "/dev/disk/by-id/"),
    };
    let entries = fs::read_dir(dev.join("disk").join(folder)).into_iter().flatten().flatten();
    let mut all: Vec<String> =
        entries.map(|e| format!("{prefix}{}", e.file_name().to_string_lossy())).take(20).collect();
    all.sort();
    match all.as_slice() {
        [] => format!(
            "there is no {name} on this machine (nothing in /dev/disk/{folder}): check the name, and that the initrd has the disk's driver"
        ),
        some => format!("there is no {name} on this machine: there are {}", some.join(" ")),
    }
}

/// Open a device, for reading at least.
pub fn open(node: &Path, write: bool) -> anyhow::Result<fs::File> {
    fs::File::options()
        .read(true)
        .write(write)
        .open(node)
        .with_context(|| format!("opening {}", node.display()))
}

/// Open a device for ourselves alone: the kernel gives a block device to one holder, and a mount is one.
pub fn open_alone(node: &Path) -> io::Result<fs::File> {
    fs::File::options().read(true).write(true).custom_flags(OFlag::O_EXCL.bits()).open(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn dev() -> tempfile::TempDir {
        let dev = tempfile::tempdir().unwrap();
        for disk in ["vda", "vda1", "sdb", "sdc"] {
            fs::write(dev.path().join(disk), "").unwrap();
        }
        for (link, to) in [
            ("by-label/my\\x20images", "vda1"),
            ("by-uuid/0AF3-11CC", "vda1"),
            ("by-id/virtio-S1", "vda"),
            ("by-id/virtio-S1-part1", "vda1"),
            ("by-id/ata-MODEL_X7", "sdb"),
            ("by-id/scsi-SATA_MODEL_X7", "sdb"),
            ("by-id/usb-A_TWO", "sdb"),
            ("by-id/usb-B_TWO", "sdc"),
        ] {
            let link = dev.path().join("disk").join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(format!("../../{to}"), link).unwrap();
        }
        dev
    }

    #[test]
    fn by_every_name() {
        let dev = dev();
        let at = |name: &str| {
            let node = look(dev.path(), &name.parse().unwrap()).map_err(|e| e.to_string())?;
            Ok::<_, String>(node.map(|n| n.file_name().unwrap().to_string_lossy().into_owned()))
        };
        for (name, node) in [
            ("LABEL=my images", Some("vda1")),
            ("LABEL=images", None),
            ("UUID=0af3-11cc", Some("vda1")),
            ("PARTUUID=1", None),
            ("SERIAL=S1", Some("vda")),
            ("SERIAL=X7", Some("sdb")),
            ("SERIAL=7", None),
            ("/dev/sdc", Some("sdc")),
            ("/dev/disk/by-id/virtio-S1-part1", Some("vda1")),
            ("/dev/sdd", None),
        ] {
            assert_eq!(at(name).unwrap().as_deref(), node, "{name}");
        }
        assert_eq!(
            at("SERIAL=TWO").unwrap_err(),
            "SERIAL=TWO fits 2 disks: name one by a link of /dev/disk/by-id that only it has"
        );
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let dev = dev();
        assert_eq!(
            missing(dev.path(), &DeviceName::Label("images".into())),
            "there is no LABEL=images on this machine: there are LABEL=my\\x20images"
        );
        assert!(
            missing(dev.path(), &DeviceName::PartUuid("1".into()))
                .contains("nothing in /dev/disk/by-partuuid")
        );
    }
}
