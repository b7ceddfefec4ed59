// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking into a FAT, which EFI system partitions are, by mtools.

use super::tree::{MAX_LISTING, Tree, plain};
use crate::tool::Tool;
use anyhow::{Result, bail};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A FAT in a disk image.
pub struct Fat {
    image: PathBuf,
    /// Where in it the filesystem begins.
    at: u64,
}

impl Fat {
    /// The one that begins at this byte of a disk image.
    pub fn at(image: &Path, at: u64) -> Fat {
        Fat { image: image.to_owned(), at }
    }

    fn tool(&self, program: &str, args: &[&str], path: &str) -> Result<Tool> {
        if !plain(path) {
            bail!("/{path} on the EFI system partition is not a name that can be read");
        }
        // What some formatting tools write is wrong only for floppy disks.
        let tool = Tool::parser(program, "mtools").env("MTOOLS_SKIP_CHECK", "1").args(args).arg("-i");
        Ok(tool.file_as(&self.image, |name| format!("{name}@@{}", self.at))?.arg(format!("::{path}")))
    }
}

impl Tree for Fat {
    /// Asked only of folders that are there.
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        // `::/EFI/Linux/debian.efi`, a line each; folders end with a slash.
        let shown = self.tool("mdir", &["-b"], folder)?.output(MAX_LISTING)?;
        let name = |line: &str| line.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
        Ok(shown.lines().filter_map(name).filter(|n| !n.is_empty()).collect())
    }

    fn link(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        self.tool("mtype", &[], path)?.run_into(to)
    }
}
