// SPDX-License-Identifier: GPL-3.0-or-later
//! What `image add` was asked for.

use super::exclude::Exclude;
use crate::catalogue::Place;
use bootspec::{
    ImageName, Priority,
    manifest::{self, Format, InitrdFrom},
};
use std::path::PathBuf;

/// The filesystem that directories and tarballs are packed into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// squashfs with zstd: the smallest.
    #[default]
    Squashfs,
    /// erofs with lz4hc: larger, and faster to read.
    Erofs,
}

impl Compress {
    /// The payload's format.
    pub fn format(self) -> Format {
        match self {
            Compress::Squashfs => Format::Squashfs,
            Compress::Erofs => Format::Erofs,
        }
    }
}

/// What `image add` was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The image, root directory or root tarball.
    pub source: PathBuf,
    /// The image's name; from the source's if not given.
    pub name: Option<ImageName>,
    /// A kernel that is not in the source.
    pub kernel: Option<PathBuf>,
    /// An initrd that is not in the source.
    pub initrd: Option<PathBuf>,
    /// Which initrd machines are sent; the image's if our hook is in it, if not given.
    pub initrd_from: Option<InitrdFrom>,
    /// Kernel parameters for this image; those of the version that it replaces if not given.
    pub append: Option<String>,
    /// Its share of the server's link; likewise.
    pub priority: Option<Priority>,
    /// Whether to set the private flag.
    pub private: bool,
    /// The piece length; by size if not given.
    pub piece_length: Option<u32>,
    /// Whether an image of this name may be replaced.
    pub replace: bool,
    /// Whether it becomes a version of an image that is there, and that one stays the current one.
    pub candidate: bool,
    /// What directories and tarballs are packed into.
    pub compress: Compress,
    /// What is left out of directories and tarballs.
    pub exclude: Vec<Exclude>,
    /// What the source must be; whatever it is if not given.
    pub kind: Option<manifest::Kind>,
    /// The source is nobody's: on the catalogue's own disk it need not be copied.
    pub take: bool,
    /// Where it came from, if that is not its path.
    pub origin: Option<String>,
}

impl Request {
    /// Where the image goes.
    pub fn place(&self) -> Place {
        match (self.candidate, self.replace) {
            (true, _) => Place::Candidate,
            (_, true) => Place::Current,
            _ => Place::New,
        }
    }

    /// The kernel parameters that the admin gave.
    pub fn extra(&self) -> String {
        self.append.as_deref().unwrap_or_default().trim().to_owned()
    }
}
