// SPDX-License-Identifier: GPL-3.0-or-later
//! Disks as admins name them on the kernel command line, and what an image
//! may be put on. Nothing here guesses: a disk is written only by its name.

use crate::units::parse_size;
use std::{fmt, str::FromStr};

/// A disk, partition or filesystem by a name that is good on every boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The label of the filesystem on it.
    Label(String),
    /// The UUID of the filesystem on it.
    Uuid(String),
    /// The UUID of the partition (GPT; on MBR disks `SIGNATURE-NN`).
    PartUuid(String),
    /// The disk's own serial number.
    Serial(String),
    /// A path below /dev, `/dev/disk/by-id/…` and the like included.
    Path(String),
}

/// How a [`DeviceName`] is written.
pub const DEVICE: &str = "LABEL=…|UUID=…|PARTUUID=…|SERIAL=…|/dev/…";

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' names no disk: write {DEVICE}");
        // What udev makes links of: no slash, nothing that a terminal would obey.
        let plain =
            |v: &str| !v.is_empty() && v.len() <= 200 && !v.chars().any(|c| c == '/' || c.is_control());
        if let Some(path) = s.strip_prefix("/dev/") {
            let parts = || path.split('/');
            let ok = parts().all(|p| plain(p) && p != "." && p != "..");
            return if ok { Ok(DeviceName::Path(s.to_owned())) } else { Err(bad()) };
        }
        let (key, value) =
            s.split_once('=').filter(|(_, v)| plain(v) && *v != "." && *v != "..").ok_or_else(bad)?;
        let value = value.to_owned();
        match key {
            "LABEL" => Ok(DeviceName::Label(value)),
            "UUID" => Ok(DeviceName::Uuid(value)),
            "PARTUUID" => Ok(DeviceName::PartUuid(value)),
            "SERIAL" => Ok(DeviceName::Serial(value)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Label(v) => write!(f, "LABEL={v}"),
            DeviceName::Uuid(v) => write!(f, "UUID={v}"),
            DeviceName::PartUuid(v) => write!(f, "PARTUUID={v}"),
            DeviceName::Serial(v) => write!(f, "SERIAL={v}"),
            DeviceName::Path(v) => f.write_str(v),
        }
    }
}

/// Where a payload is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tmpfs of our own.
    Ram,
    /// The same, and the root is in use before the image is complete.
    Stream,
    /// A file on a filesystem that keeps images between boots.
    Cache(DeviceName),
    /// A whole disk, which is overwritten.
    Device(DeviceName),
}

/// How a [`Target`] is written.
pub const TARGET: &str = "ram|stream|LABEL=…|UUID=…|PARTUUID=…|/dev/…|device:DISK";

impl FromStr for Target {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "ram" {
            return Ok(Target::Ram);
        }
        if s == "stream" {
            return Ok(Target::Stream);
        }
        if let Some(disk) = s.strip_prefix("device:") {
            return disk.parse().map(Target::Device);
        }
        match s.parse() {
            // A serial number is that of a whole disk, and nobody keeps images on one without partitions by its serial.
            Ok(DeviceName::Serial(_)) | Err(_) => Err(format!("'{s}' is not a valid target: write {TARGET}")),
            Ok(name) => Ok(Target::Cache(name)),
        }
    }
}

impl Target {
    /// Whether the image lies in RAM.
    pub fn in_ram(&self) -> bool {
        matches!(self, Target::Ram | Target::Stream)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Ram => f.write_str("ram"),
            Target::Stream => f.write_str("stream"),
            Target::Cache(name) => write!(f, "{name}"),
            Target::Device(name) => write!(f, "device:{name}"),
        }
    }
}

/// Where what the booted system writes is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    /// In RAM, half of what is left.
    #[default]
    Ram,
    /// In RAM, this many bytes at most.
    Sized(u64),
    /// In RAM, compressed: this many bytes at most, before they are compressed.
    Zram(Option<u64>),
    /// On a filesystem, where the next boot finds it.
    Kept(DeviceName),
    /// Nowhere: the root is read-only.
    None,
}

/// How an [`Overlay`] is written.
pub const OVERLAY: &str = "[z]ram[:SIZE]|LABEL=…|UUID=…|PARTUUID=…|/dev/…|none";

impl FromStr for Overlay {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match (s, s.split_once(':')) {
            ("ram", _) => Ok(Overlay::Ram),
            ("zram", _) => Ok(Overlay::Zram(None)),
            ("none", _) => Ok(Overlay::None),
            (_, Some(("ram", size))) => parse_size(size).map(Overlay::Sized),
            (_, Some(("zram", size))) => parse_size(size).map(|s| Overlay::Zram(Some(s))),
            _ => match s.parse() {
                Ok(DeviceName::Serial(_)) | Err(_) => {
                    Err(format!("'{s}' is not a valid overlay: write {OVERLAY}"))
                }
                Ok(name) => Ok(Overlay::Kept(name)),
            },
        }
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Overlay::Ram => f.write_str("ram"),
            Overlay::Sized(bytes) => write!(f, "ram:{bytes}"),
            Overlay::Zram(None) => f.write_str("zram"),
            Overlay::Zram(Some(bytes)) => write!(f, "zram:{bytes}"),
            Overlay::Kept(name) => write!(f, "{name}"),
            Overlay::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_they_are_written() {
        for text in [
            "ram",
            "stream",
            "LABEL=images",
            "UUID=0b1f-22",
            "PARTUUID=6d1f4c0e-01",
            "/dev/vda2",
            "/dev/disk/by-id/ata-X_Y",
            "device:/dev/vdb",
            "device:SERIAL=S3Z9NB0K",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "disk",
            "RAM",
            "LABEL=",
            "LABEL=a/b",
            "SERIAL=x",
            "/dev/",
            "/dev/../etc",
            "/tmp/x",
            "device:",
            "device:ram",
            "UUID=\u{1b}[2J",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn overlays_as_they_are_written() {
        for text in
            ["ram", "ram:4096", "zram", "zram:8192", "LABEL=home", "UUID=0b1f-22", "/dev/vda2", "none"]
        {
            assert_eq!(text.parse::<Overlay>().unwrap().to_string(), text);
        }
        assert_eq!("ram:1M".parse(), Ok(Overlay::Sized(1 << 20)));
        for bad in ["", "ram:", "ram:big", "zram:", "disk", "SERIAL=x", "device:/dev/vda", "LABEL="] {
            assert!(bad.parse::<Overlay>().is_err(), "{bad:?}");
        }
    }
}
