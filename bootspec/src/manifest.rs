// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server knows about an image: `manifest.toml` beside its files.

use crate::{Architecture, ImageName, InfoHash, Priority, Sha256Sum};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What a payload is, and so what the agent does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A root filesystem (squashfs, erofs, ext4): mounted read-only under an overlay.
    Filesystem,
    /// A live ISO: its own initrd finds it on a loop device.
    Iso,
    /// A disk image with partitions.
    Disk,
    /// An image of LTSP: kernel and initrd come LTSP's own way, and LTSP's own scripts mount it.
    Ltsp,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 4] = [Kind::Filesystem, Kind::Iso, Kind::Disk, Kind::Ltsp];

    /// Its name, as in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Filesystem => "filesystem",
            Kind::Iso => "iso",
            Kind::Disk => "disk",
            Kind::Ltsp => "ltsp",
        }
    }
}

/// The filesystem inside a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// squashfs, version 4.
    Squashfs,
    /// erofs.
    Erofs,
    /// ext2, ext3 or ext4.
    Ext4,
}

/// Which initrd machines are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitrdFrom {
    /// The image's, with the agent in it or beside it.
    #[default]
    Image,
    /// One that the server makes: the agent as init, and the drivers of the machine's card.
    Own,
}

impl InitrdFrom {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            InitrdFrom::Image => "image",
            InitrdFrom::Own => "own",
        }
    }
}

impl FromStr for InitrdFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "image" => Ok(InitrdFrom::Image),
            "own" => Ok(InitrdFrom::Own),
            other => Err(format!("'{}' is not a valid initrd: use own or image", other.escape_debug())),
        }
    }
}

/// Whose scripts are in an initrd that is not made with our hook: they say where our add-on hooks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Debian's live-boot.
    LiveBoot,
    /// Ubuntu's casper.
    Casper,
    /// dracut, with dmsquash-live.
    Dracut,
    /// Arch's mkinitcpio with archiso.
    Archiso,
    /// initramfs-tools without a live system: an installed Debian.
    InitramfsTools,
}

impl Family {
    /// Its name, as in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::LiveBoot => "live-boot",
            Family::Casper => "casper",
            Family::Dracut => "dracut",
            Family::Archiso => "archiso",
            Family::InitramfsTools => "initramfs-tools",
        }
    }
}

/// Bytes from the start of a payload that [`Format::recognise`] needs.
pub const MAGIC_BYTES: usize = 2048;

impl Format {
    /// Recognise a filesystem by content. `head`: the first [`MAGIC_BYTES`]
    /// bytes, or fewer if there are no more.
    pub fn recognise(head: &[u8]) -> Option<Format> {
        // squashfs: "hsqs" at 0. erofs: 0xE0F5E1E2 at 1024. ext: 0xEF53 at 1024 + 56.
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
        match () {
            () if at(0, b"hsqs") => Some(Format::Squashfs),
            () if at(1024, &0xE0F5_E1E2u32.to_le_bytes()) => Some(Format::Erofs),
            () if at(1080, &0xEF53u16.to_le_bytes()) => Some(Format::Ext4),
            () => None,
        }
    }

    /// The name that mount(2) takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Squashfs => "squashfs",
            Format::Erofs => "erofs",
            Format::Ext4 => "ext4",
        }
    }
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A filesystem that can be a root.
    Filesystem(Format),
    /// ISO 9660, hybrid (with a partition table in front) or not.
    Iso,
    /// A partition table, GPT or MBR.
    Disk,
}

/// Bytes from the start of a file that [`Content::recognise`] needs: the magic of ISO 9660 is the farthest.
pub const CONTENT_BYTES: usize = 0x8006;

impl Content {
    /// Recognise what a file is. `head`: the first [`CONTENT_BYTES`] bytes, or fewer if there are no more.
    pub fn recognise(head: &[u8]) -> Option<Content> {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
        match () {
            () if at(0x8001, b"CD001") => Some(Content::Iso),
            () => match Format::recognise(head) {
                Some(format) => Some(Content::Filesystem(format)),
                None => at(510, &[0x55, 0xAA]).then_some(Content::Disk),
            },
        }
    }

    /// The kind of image that it makes.
    pub fn kind(self) -> Kind {
        match self {
            Content::Filesystem(_) => Kind::Filesystem,
            Content::Iso => Kind::Iso,
            Content::Disk => Kind::Disk,
        }
    }
}

/// A file that firmware or iPXE loads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// Bytes.
    pub size: u64,
    /// Where it was taken from: a path inside the image, or on the server.
    pub from: String,
}

/// One published image. Its folder holds `manifest.toml`, `payload`,
/// `vmlinuz`, `initrd` and `NAME.torrent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// The image's name.
    pub name: ImageName,
    /// Which of the image's versions this is. The first one is not written, so that manifests stay as they were.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// What it is.
    pub kind: Kind,
    /// Which machines its kernel is for. The usual one is not written, so that manifests stay as they were.
    #[serde(default, skip_serializing_if = "Architecture::is_default")]
    pub architecture: Architecture,
    /// The filesystem that it is; ISOs and disk images have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The family of an initrd that was not made with our hook, and which the add-on therefore comes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The root partition of a disk image, which the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Bytes of the sectors in which its partition table counts, where they are not the usual 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector: Option<u32>,
    /// The torrent's identity.
    pub infohash: InfoHash,
    /// The payload's size in bytes.
    pub size: u64,
    /// The payload's SHA-256; images of older servers have none until they are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Sum>,
    /// The piece length in bytes.
    pub piece_length: u32,
    /// Whether the torrent has the private flag (BEP 27).
    #[serde(default)]
    pub private: bool,
    /// The kernel.
    pub kernel: BootFile,
    /// The initrd.
    pub initrd: BootFile,
    /// Which initrd machines are sent.
    #[serde(default, skip_serializing_if = "InitrdFrom::is_default")]
    pub initrd_from: InitrdFrom,
    /// Kernel parameters for this image: those of its own boot menu, then `extra`.
    #[serde(default)]
    pub append: String,
    /// The end of `append` that the admin set, which outlives a replacement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra: String,
    /// Whether its kernel came out of a unified kernel image, with parameters of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unified: bool,
    /// Its share of the server's link. The usual one is not written, so that manifests stay as they were.
    #[serde(default, skip_serializing_if = "Priority::is_default")]
    pub priority: Priority,
    /// When it was added, RFC 3339 in UTC.
    pub added: String,
    /// The file or folder it was made from.
    pub source: String,
}

/// The number of an image's first version.
pub const FIRST: u32 = 1;

fn first() -> u32 {
    FIRST
}

fn is_first(version: &u32) -> bool {
    *version == FIRST
}

impl ImageManifest {
    /// The kernel parameters that the admin set. Older manifests have no `extra`: all of a root's or a disk's are the admin's.
    pub fn admins(&self) -> &str {
        if self.family.is_none() && !self.unified { &self.append } else { &self.extra }
    }

    /// What it is, in a few words: `squashfs`, `iso live-boot`, `disk arm64`.
    pub fn what(&self) -> String {
        let kind = match (self.kind, self.format) {
            (Kind::Filesystem, Some(format)) => format.as_str(),
            (Kind::Filesystem, None) => "filesystem",
            (Kind::Iso, _) => "iso",
            (Kind::Disk, _) => "disk",
            (Kind::Ltsp, Some(format)) => return format!("ltsp {}", format.as_str()),
            (Kind::Ltsp, None) => "ltsp",
        };
        let family = self.family.map(Family::as_str);
        let architecture = Some(self.architecture).filter(|a| !a.is_default()).map(Architecture::as_str);
        [Some(kind), family, architecture].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_by_content() {
        let mut head = vec![0u8; MAGIC_BYTES];
        assert_eq!(Format::recognise(&head), None);
        assert_eq!(Format::recognise(b"hsqs"), Some(Format::Squashfs));
        assert_eq!(Format::recognise(b""), None);
        head[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        assert_eq!(Format::recognise(&head), Some(Format::Ext4));
        head[1024..1028].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
        assert_eq!(Format::recognise(&head), Some(Format::Erofs));
    }

    #[test]
    fn an_iso_with_a_partition_table_is_an_iso() {
        let mut head = vec![0u8; CONTENT_BYTES];
        assert_eq!(Content::recognise(&head), None);
        head[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(Content::recognise(&head), Some(Content::Disk));
        head[0x8001..].copy_from_slice(b"CD001");
        assert_eq!(Content::recognise(&head), Some(Content::Iso));
        assert_eq!(Content::recognise(b"hsqs"), Some(Content::Filesystem(Format::Squashfs)));
    }

    #[test]
    fn survives_toml() {
        let m = ImageManifest {
            name: "lab".parse().unwrap(),
            version: 1,
            kind: Kind::Filesystem,
            architecture: Default::default(),
            format: Some(Format::Squashfs),
            family: None,
            partition: None,
            sector: None,
            infohash: InfoHash([7; 20]),
            size: 5 << 30,
            sha256: Some(Sha256Sum([9; 32])),
            piece_length: 1 << 20,
            private: false,
            kernel: BootFile { size: 1, from: "/boot/vmlinuz-6.1".into() },
            initrd: BootFile { size: 2, from: "/boot/initrd.img-6.1".into() },
            initrd_from: Default::default(),
            append: "quiet".into(),
            extra: String::new(),
            unified: false,
            priority: Priority::default(),
            added: "2026-11-22T18:00:00Z".into(),
            source: "/srv/lab.squashfs".into(),
        };
        let text = toml::to_string(&m).unwrap();
        assert_eq!(toml::from_str::<ImageManifest>(&text).unwrap(), m);
        assert!(!text.contains("priority"), "what is usual is not written: {text}");
        let urgent = ImageManifest { priority: "9".parse().unwrap(), ..m };
        let text = toml::to_string(&urgent).unwrap();
        assert_eq!(toml::from_str::<ImageManifest>(&text).unwrap(), urgent);
        let e = toml::from_str::<ImageManifest>(&text.replace("priority = 9", "priority = 0")).unwrap_err();
        assert!(e.message().starts_with("'0' is not a valid priority: "), "{e}");
    }
}
