// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel modules of an initrd that the server makes: what a root from a network needs, and one archive for each driver
//! of a network card, so that a machine is sent that of its own card alone. The agent, which is its init, is put in front of
//! them when a machine asks (`crate::addon`).

use super::{initrd::module_name, kmod::Kernel, program, tree::Tree};
use crate::{
    addon,
    catalogue::{
        Staging,
        own::{ARCHIVES, CARDS, Card, Index, Slice},
    },
    parallel,
};
use anyhow::{Context, Result};
use bootspec::{DRIVERS_DIR, MODULES_DIR, manifest::Format};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    sync::Arc,
};

/// Drivers outside drivers/net/ethernet of cards that machines boot over: those of virtual machines.
const VIRTUAL: [&str; 4] = ["virtio_net", "vmxnet3", "hv_netvsc", "xen_netfront"];
/// Folders of drivers/net/ethernet with cards of servers, which are half of all drivers: a boot loader that cannot tell its
/// card asks for them when a machine did not boot without.
const RARE: [&str; 21] = [
    "brocade",
    "broadcom/bnx2x",
    "broadcom/bnxt",
    "cavium",
    "chelsio",
    "cisco",
    "emulex",
    "fungible",
    "huawei",
    "intel/i40e",
    "intel/iavf",
    "intel/ice",
    "intel/idpf",
    "mellanox",
    "myricom",
    "neterion",
    "netronome",
    "pensando",
    "qlogic",
    "sfc",
    "sun",
];
/// A card that is a device on a bus of its own: the driver of the bus, by which boot loaders know the card, and the card's.
const BUSES: [(&str, &str); 1] = [("virtio_pci", "virtio_net")];
/// The alias of virtio_pci, which no list has when it is built in.
const VIRTIO: [&str; 1] = ["pci:v00001AF4d*sv*sd*bc*sc*i*"];
/// Host controllers that a card on USB is behind.
const USB: [&str; 4] = ["xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd"];
/// For disks that keep images (`boottorrent.target=LABEL=…`) or overlays.
const DISKS: [&str; 11] = [
    "ext4",
    "xfs",
    "nvme",
    "ahci",
    "ata_piix",
    "sd_mod",
    "virtio_blk",
    "virtio_scsi",
    "mptspi",
    "megaraid_sas",
    "usb_storage",
];
/// What is written, in a compressed disk in RAM (`boottorrent.overlay=zram`). Older kernels compress by a module.
const ZRAM: [&str; 3] = ["zram", "lzo_rle", "ext4"];
/// Tagged networks (`vlan=`).
const TAGGED: [&str; 1] = ["8021q"];
/// A root that is in use before the image is complete (`boottorrent.target=stream`).
const STREAM: [&str; 1] = ["fuse"];
/// A machine's own key in its firmware (`boottorrent.key=efi`).
const FIRMWARE: [&str; 1] = ["efivarfs"];

/// Programs that a kernel command line may ask for.
const PROGRAMS: [(&str, program::Program); 2] = [("shell", program::BUSYBOX), ("mkfs", program::MKFS)];

/// What must be known of kernel and initrd.
#[derive(Clone, Copy, Debug)]
pub struct KernelFacts<'a> {
    /// Its version.
    pub version: Option<&'a str>,
    /// Whether it unpacks an initrd that xz has packed.
    pub unpacks_xz: bool,
    /// Whether machines can boot with the image's own initrd too.
    pub fallback: bool,
}

/// What every machine needs.
pub struct Contents {
    /// Kernel modules, which are loaded in this order.
    pub modules: Vec<&'static str>,
    /// Other files: path, content.
    pub files: Files,
}

impl Contents {
    /// For a root filesystem of these formats.
    pub fn root(formats: &[Format]) -> Contents {
        let mut modules = vec!["af_packet", "loop", "overlay"];
        modules.extend(formats.iter().map(|f| f.as_str()));
        if formats.contains(&Format::Ext4) {
            modules.extend(["crc32c_intel", "crc32c_generic"]);
        }
        Contents { modules, files: Files::new() }
    }
}

/// Make the archives for a kernel. The inner error says why this image cannot have any: its
/// modules are not in it.
pub fn make(
    tree: &dyn Tree,
    contents: &Contents,
    kernel: &KernelFacts,
    staging: &Staging,
) -> Result<Result<Index, String>> {
    let KernelFacts { version: Some(version), unpacks_xz, fallback } = *kernel else {
        return Ok(Err("the version of its kernel is not known".into()));
    };
    let Ok(kernel) = Kernel::read(tree, version, staging) else {
        return Ok(Err(format!("the image has no /lib/modules/{version}/modules.dep")));
    };
    let firmware = match tree.names("usr/lib/firmware")? {
        names if names.is_empty() => ("lib/firmware", tree.names("lib/firmware")?),
        names => ("usr/lib/firmware", names),
    };
    let firmware = (firmware.0, firmware.1.into_iter().collect());
    let mut own = Own { kernel: &kernel, tree, staging, unpacks_xz, read: BTreeMap::new(), firmware };
    let mut files = Vec::new();
    for module in contents.modules.iter().filter(|m| !kernel.has_built_in(m)) {
        match kernel.files(module) {
            Some(more) => more.into_iter().for_each(|f| {
                if !files.contains(&f) {
                    files.push(f)
                }
            }),
            // The checksums of ext4 are built in, or there under one of the two names.
            None if module.starts_with("crc32c") => {}
            None => return Ok(Err(format!("the image has no kernel module {module} for {version}"))),
        }
    }
    let drivers = wired(&kernel);
    if drivers.is_empty() {
        return Ok(Err(format!("the image has no drivers of network cards for {version}")));
    }
    own.write(Index { fallback, xz: unpacks_xz, ..Index::default() }, (&files, &contents.files), &drivers)
        .map(Ok)
}

/// One driver: the files to load, in their order, and the aliases of the devices that it is for.
struct Driver {
    name: String,
    files: Vec<String>,
    aliases: Vec<String>,
    /// Whether it is for one of the [`RARE`] cards.
    rare: bool,
}

impl Driver {
    fn of(kernel: &Kernel, module: &str) -> Option<Driver> {
        let files = kernel.files_soft(module)?;
        let own = files.last().map_or("", String::as_str);
        let rare = RARE.iter().any(|folder| own.contains(&format!("/drivers/net/ethernet/{folder}/")));
        Some(Driver { name: module.to_owned(), rare, files, aliases: kernel.aliases_of(module) })
    }

    /// As the agent reads it.
    fn text(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|f| format!("{}.ko", module_name(f))).collect();
        let mut text = files.join(" ") + "\n";
        self.aliases.iter().for_each(|a| text += &format!("{a}\n"));
        text
    }
}

/// Drivers of cards with a cable, and of their transceivers.
fn wired(kernel: &Kernel) -> Vec<Driver> {
    let is_wired = |module: &str, path: &str| {
        let place = |folder: &str| path.contains(&format!("/drivers/net/{folder}/"));
        place("ethernet") || place("phy") || place("usb") || VIRTUAL.contains(&module)
    };
    let own = kernel.named(is_wired);
    let more = BUSES.iter().map(|(bus, _)| *bus).chain(USB).map(str::to_owned);
    let all = own.into_iter().chain(more).filter_map(|m| Driver::of(kernel, &m));
    all.filter(|d| !d.aliases.is_empty()).collect()
}

struct Own<'a> {
    kernel: &'a Kernel,
    tree: &'a dyn Tree,
    staging: &'a Staging,
    unpacks_xz: bool,
    /// Modules by their paths: many drivers share some.
    read: BTreeMap<String, Arc<[u8]>>,
    /// The image's folder of firmware, and what is in it: drivers name much that no image has.
    firmware: (&'static str, BTreeSet<String>),
}

/// Files of an archive: path, content.
pub type Files = BTreeMap<String, Arc<[u8]>>;

impl Own<'_> {
    fn write(
        &mut self,
        mut index: Index,
        (base, more): (&[String], &Files),
        drivers: &[Driver],
    ) -> Result<Index> {
        let extra = [
            ("disk", &DISKS[..]),
            ("vlan", &TAGGED),
            ("stream", &STREAM),
            ("efi", &FIRMWARE),
            ("zram", &ZRAM),
        ];
        let extra = extra.map(|(name, modules)| {
            (name, modules.iter().filter_map(|m| Driver::of(self.kernel, m)).collect::<Vec<_>>())
        });
        self.read(
            base.iter().chain(extra.iter().flat_map(|(_, d)| d).chain(drivers).flat_map(|d| &d.files)),
        )?;
        let mut files = more.clone();
        for (n, path) in base.iter().enumerate() {
            let to = format!("{}/{n:02}-{}.ko", MODULES_DIR.trim_start_matches('/'), module_name(path));
            files.insert(to, self.module(path)?);
        }
        let usual = self.all(drivers.iter().filter(|d| !d.rare))?;
        let mut rare = self.all(drivers.iter().filter(|d| d.rare))?;
        rare.retain(|path, _| !usual.contains_key(path));
        let mut archives = vec![files, usual, rare];
        for (_, drivers) in &extra {
            archives.push(self.all(drivers)?);
        }
        let module = base.first().map(|path| self.module(path)).transpose()?;
        for (_, wanted) in &PROGRAMS {
            archives.push(program::find(wanted, self.tree, module.as_deref(), self.staging));
        }
        let cards = self.cards(drivers)?;
        let whole = archives.len();
        archives.extend(cards.iter().map(|(_, files)| files.clone()));
        let archives: Vec<_> = archives.iter().enumerate().collect();
        // One card's is small however it is packed, and all of them together are the drivers once more.
        let effort = |n: usize| if n < whole { addon::Xz::Small } else { addon::Xz::Fast };
        let mut packed = parallel::each(&archives, |(n, files)| self.pack(files, effort(*n)))?.into_iter();
        let mut out = Archives { file: self.staging.create(ARCHIVES)?, at: 0 };
        let mut put = || out.put(packed.next().context("an archive of drivers")?);
        (index.base, index.general, index.rare) = (put()?, put()?, put()?);
        for name in extra.iter().map(|(name, _)| *name).chain(PROGRAMS.map(|(name, _)| name)) {
            index.extra.insert(name.to_owned(), put()?);
        }
        for (card, _) in cards {
            index.cards.push(Card { archive: put()?, ..card });
        }
        let text = serde_json::to_string(&index).expect("an index is JSON");
        self.staging.create(CARDS)?.write_all(text.as_bytes()).context("writing the index of drivers")?;
        Ok(index)
    }

    /// What is in the archive of each card.
    fn cards(&self, drivers: &[Driver]) -> Result<Vec<(Card, Files)>> {
        let mut cards = Vec::new();
        let on_bus = |bus: &str| {
            let card = BUSES.iter().find(|(b, _)| *b == bus).map(|(_, card)| *card)?;
            drivers.iter().find(|d| d.name == card)
        };
        // A bus whose driver is in the kernel itself: the card's own driver stands for it.
        for (bus, _) in BUSES.iter().filter(|(bus, _)| self.kernel.has_built_in(bus)) {
            if let Some(card) = on_bus(bus) {
                let aliases = VIRTIO.map(str::to_owned).to_vec();
                let made = Card { driver: (*bus).to_owned(), aliases, ..Card::default() };
                cards.push((made, self.files(card)?));
            }
        }
        for driver in drivers {
            let aliases: Vec<String> =
                driver.aliases.iter().filter(|a| a.starts_with("pci:")).cloned().collect();
            if aliases.is_empty() {
                continue;
            }
            let mut files = self.files(driver)?;
            if let Some(card) = on_bus(&driver.name) {
                files.extend(self.files(card)?);
            }
            cards.push((Card { driver: driver.name.clone(), aliases, ..Card::default() }, files));
        }
        Ok(cards)
    }

    /// The files of several drivers together.
    fn all<'d>(&self, drivers: impl IntoIterator<Item = &'d Driver>) -> Result<Files> {
        let mut all = Files::new();
        for driver in drivers {
            all.extend(self.files(driver)?);
        }
        Ok(all)
    }

    /// A driver, its modules, and the firmware that they name and the image has.
    fn files(&self, driver: &Driver) -> Result<Files> {
        let folder = DRIVERS_DIR.trim_start_matches('/');
        let mut files =
            Files::from([(format!("{folder}/{}.driver", driver.name), driver.text().into_bytes().into())]);
        for path in &driver.files {
            let module = self.module(path)?;
            for name in firmware(&module) {
                files.extend(self.firmware(&name)?);
            }
            files.insert(format!("{folder}/{}.ko", module_name(path)), module);
        }
        Ok(files)
    }

    /// Read modules, each once: a program does that for each of them, which takes its time.
    fn read<'b>(&mut self, paths: impl Iterator<Item = &'b String>) -> Result<()> {
        let paths: Vec<&String> = paths.collect::<BTreeSet<_>>().into_iter().collect();
        let read = |path: &&String| self.kernel.module(self.tree, path, self.staging);
        let modules = parallel::each(&paths, read)?;
        self.read = paths.into_iter().cloned().zip(modules.into_iter().map(Arc::from)).collect();
        Ok(())
    }

    fn module(&self, path: &str) -> Result<Arc<[u8]>> {
        self.read.get(path).cloned().with_context(|| format!("the module {path} was not read"))
    }

    /// A file of /lib/firmware; none where the image has none: many a driver does without.
    fn firmware(&self, name: &str) -> Result<Option<(String, Arc<[u8]>)>> {
        let (folder, there) = &self.firmware;
        let first = name.split('/').next().unwrap_or(name);
        for suffix in ["", ".xz", ".zst"] {
            let top = if first == name { format!("{first}{suffix}") } else { first.to_owned() };
            if !there.contains(&top) {
                continue;
            }
            let bytes = super::kmod::small(self.tree, &format!("{folder}/{name}{suffix}"), self.staging)?;
            if !bytes.is_empty() {
                return Ok(Some((format!("lib/firmware/{name}{suffix}"), bytes.into())));
            }
        }
        Ok(None)
    }

    fn pack(&self, files: &Files, effort: addon::Xz) -> Result<Vec<u8>> {
        let files: Vec<(&str, u32, &[u8])> =
            files.iter().map(|(path, bytes)| (path.as_str(), mode(path), &bytes[..])).collect();
        if !self.unpacks_xz {
            return Ok(addon::pack(&files));
        }
        let temporary = || tempfile::tempfile_in(self.staging.path("")).context("creating a temporary file");
        addon::pack_xz(&files, effort, temporary()?, temporary()?)
    }
}

/// Programs and their libraries are to be run; nothing else is.
fn mode(path: &str) -> u32 {
    if path.starts_with("bin/") || path.contains(".so") { 0o755 } else { 0o644 }
}

/// Archives one after the other in one file.
struct Archives {
    file: File,
    at: u64,
}

impl Archives {
    fn put(&mut self, bytes: Vec<u8>) -> Result<Slice> {
        self.file.write_all(&bytes).context("writing the archives of drivers")?;
        let slice = Slice { at: self.at, size: bytes.len() as u64 };
        self.at += slice.size;
        Ok(slice)
    }
}

/// The firmware that a module names, by `MODULE_FIRMWARE`: `firmware=NAME` in its section .modinfo, ended by a zero byte.
fn firmware(module: &[u8]) -> BTreeSet<String> {
    const KEY: &[u8] = b"\0firmware=";
    let mut found = BTreeSet::new();
    let mut rest = module;
    while let Some(at) = rest.windows(KEY.len()).position(|w| w == KEY) {
        rest = &rest[at + KEY.len()..];
        let name: Vec<u8> = rest.iter().take(256).take_while(|b| **b != 0).copied().collect();
        found.extend(String::from_utf8(name).ok().filter(|n| super::tree::plain(n) && !n.starts_with('/')));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_that_a_module_names() {
        let module = b"\x7fELF..\0license=GPL\0firmware=tigon/tg3.bin\0firmware=../../etc/shadow\0firmware=tigon/tg3_tso.bin\0";
        assert_eq!(
            firmware(module),
            BTreeSet::from(["tigon/tg3.bin".to_owned(), "tigon/tg3_tso.bin".to_owned()])
        );
    }
}
