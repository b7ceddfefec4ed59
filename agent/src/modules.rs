// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel modules that an initrd made without our hook lacks. `image add` took them from the image and put
//! them in front of its initrd, decompressed, in the order in which they are to be loaded.

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};
use std::{
    fs::{self, File},
    path::Path,
};

/// Load them all. One that cannot be is told, and the mount that needs it says the rest.
pub fn load(folder: &Path) {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    for path in files {
        insert(&path);
    }
}

/// Load one file.
pub fn insert(path: &Path) {
    let loaded = File::open(path).map_err(|e| e.to_string()).and_then(|file| {
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // There already, or built in.
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(e) => Err(e.desc().to_owned()),
        }
    });
    if let Err(e) = loaded {
        eprintln!("boottorrent: loading the kernel module {}: {e}", path.display());
    }
}
