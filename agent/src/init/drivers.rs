// SPDX-License-Identifier: GPL-3.0-or-later
//! Drivers of network cards: those in the initrd whose aliases fit a device of this machine are loaded, with what they need
//! (modprobe(8) and udev(7), for one kind of device).
//!
//! The server writes [`DRIVERS_DIR`]: for each driver a file `NAME.driver`, which has in its first line the files to load, in
//! their order, and in each further one an alias, as modules.alias of the kernel has it.

use crate::modules;
use bootspec::{DRIVERS_DIR, modalias};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The drivers of an initrd.
pub struct Drivers {
    folder: PathBuf,
    all: Vec<Driver>,
    loaded: BTreeSet<String>,
    /// What devices were compared with the drivers: each is once.
    seen: BTreeSet<String>,
}

/// One driver.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Driver {
    name: String,
    files: Vec<String>,
    aliases: Vec<String>,
}

impl Drivers {
    /// The drivers in a folder; none if there is no folder.
    pub fn read(folder: &Path) -> Drivers {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let (Some(name), true) =
                (path.file_stem().and_then(|n| n.to_str()), path.extension().is_some_and(|e| e == "driver"))
            else {
                continue;
            };
            all.extend(fs::read_to_string(&path).ok().and_then(|text| Driver::parse(name, &text)));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Drivers { folder: folder.into(), all, loaded: BTreeSet::new(), seen: BTreeSet::new() }
    }

    /// Load what fits a device and is not loaded. Whether anything was: then there may be more devices.
    pub fn load(&mut self, sys: &Path) -> bool {
        let devices: Vec<String> = aliases(sys).difference(&self.seen).cloned().collect();
        let fits = |d: &&Driver| {
            !self.loaded.contains(&d.name)
                && d.aliases.iter().any(|a| devices.iter().any(|m| modalias::matches(a, m)))
        };
        let wanted: Vec<Driver> = self.all.iter().filter(fits).cloned().collect();
        wanted.iter().for_each(|driver| self.insert(driver));
        self.seen.extend(devices);
        !wanted.is_empty()
    }

    /// Load what somebody asks for: a driver by its name, or those that have an alias.
    pub fn load_named(&mut self, asked: &str) {
        let name = asked.replace('-', "_");
        let fits = |d: &&Driver| d.name == name || d.aliases.iter().any(|a| modalias::matches(a, asked));
        let wanted: Vec<Driver> = self.all.iter().filter(fits).cloned().collect();
        wanted.iter().for_each(|driver| self.insert(driver));
    }

    fn insert(&mut self, driver: &Driver) {
        for file in &driver.files {
            modules::insert(&self.folder.join(file));
        }
        self.loaded.insert(driver.name.clone());
    }

    /// The names of those that were loaded.
    pub fn loaded(&self) -> String {
        self.loaded.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Where they are, in an initrd that the server made.
pub fn folder() -> &'static Path {
    Path::new(DRIVERS_DIR)
}

impl Driver {
    fn parse(name: &str, text: &str) -> Option<Driver> {
        let mut lines = text.lines();
        let files: Vec<String> = lines.next()?.split_whitespace().map(str::to_owned).collect();
        let aliases = lines.filter(|l| !l.is_empty()).map(str::to_owned).collect();
        (!files.is_empty()).then(|| Driver { name: name.into(), files, aliases })
    }
}

/// What the devices of this machine say they are.
fn aliases(sys: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for bus in fs::read_dir(sys.join("bus")).into_iter().flatten().flatten() {
        for device in fs::read_dir(bus.path().join("devices")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(device.path().join("modalias")).unwrap_or_default();
            found.extend(Some(text.trim().to_owned()).filter(|t| !t.is_empty()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes() {
        let text = "mii.ko e1000.ko\npci:v00008086d0000100Esv*sd*bc*sc*i*\n";
        let driver = Driver::parse("e1000", text).unwrap();
        assert_eq!((driver.files.len(), driver.aliases.len()), (2, 1));
        assert_eq!(Driver::parse("x", "\npci:*\n"), None);
        assert_eq!(Driver::parse("x", ""), None);
    }

    #[test]
    fn only_what_fits_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("sys/bus/pci/devices/0000:00:03.0");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("modalias"), "pci:v00008086d0000100Esv0sd0bc02sc00i00\n").unwrap();
        let folder = dir.path().join("drivers");
        fs::create_dir(&folder).unwrap();
        // The files are not there: that is told, and nothing else comes of it.
        fs::write(folder.join("e1000.driver"), "e1000.ko\npci:v00008086d0000100Esv*\n").unwrap();
        fs::write(folder.join("tg3.driver"), "tg3.ko\npci:v000014E4d*\n").unwrap();
        let mut drivers = Drivers::read(&folder);
        assert!(drivers.load(&dir.path().join("sys")));
        assert_eq!(drivers.loaded(), "e1000");
        assert!(!drivers.load(&dir.path().join("sys")), "once");
        drivers.load_named("pci:v000014E4d00001600sv0");
        assert_eq!(drivers.loaded(), "e1000, tg3");
        drivers.load_named("no-such-module");
    }
}
