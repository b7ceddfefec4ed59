// SPDX-License-Identifier: GPL-3.0-or-later
//! Entries of the menu that are no images: a kernel with its initrds, an EFI program, another server's script, the local
//! disk. Each is a folder `entries/NAME` of the catalogue with `entry.toml` and its files, made beside the others and
//! renamed. Machines take them as they are: nothing of them is signed, and the agent has no part in them.

use super::{
    names::{ENTRIES, MANIFEST},
    staging::sync_dir,
    torito::{self, FirmwareKind},
};
use crate::{files, menu_settings::check_title};
use anyhow::{Context, Result, bail, ensure};
use bootspec::{ImageName, cmdline::check_append, units::human_size};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

/// What describes an entry, in its folder.
const FILE: &str = "entry.toml";
/// Its files.
pub const KERNEL: &str = "kernel";
/// See [`KERNEL`].
pub const EFI: &str = "efi";
/// See [`KERNEL`].
pub const ISO: &str = "iso";
/// What starts an ISO in a BIOS machine's memory. See [`KERNEL`].
pub const MEMDISK: &str = "memdisk";
/// Bytes of an ISO at most: a BIOS machine has all of it in its memory, beside what it starts.
const MAX_ISO: u64 = 512 << 20;
/// Entries and initrds of one, at most; bytes of a description.
const MANY: usize = 100;
const MAX_INITRDS: usize = 16;
const MAX_FILE: usize = 16 << 10;

/// See the module's text. Of `kernel`, `efi`, `iso`, `chain` and `local` it has one, or kernel and EFI program, for either
/// firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootEntry {
    /// What the menu shows; none: its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Whether menus leave it out: it boots where it was assigned.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// A kernel, or what boots as one (Documentation/arch/x86/boot.rst).
    pub kernel: bool,
    /// How many initrds the kernel has.
    pub initrds: usize,
    /// A program for UEFI.
    pub efi: bool,
    /// The command line of kernel and program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub append: String,
    /// An ISO that firmware starts as if it were a CD, and which firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<FirmwareKind>,
    /// Another script for iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// What the machine's own disk, or its firmware, has next.
    pub local: bool,
}

/// An entry and its name.
pub type NamedEntry = (ImageName, BootEntry);

impl BootEntry {
    /// The name of one of its initrds.
    pub fn initrd(n: usize) -> String {
        format!("initrd{n}")
    }

    /// Its files.
    pub fn files(&self) -> Vec<String> {
        let one = |has: bool, name: &str| has.then(|| name.to_owned());
        let bios = self.iso.is_some_and(FirmwareKind::bios);
        let programs =
            [one(self.kernel, KERNEL), one(self.efi, EFI), one(self.iso.is_some(), ISO), one(bios, MEMDISK)];
        let programs = programs.into_iter().flatten();
        programs.chain((0..self.initrds).map(Self::initrd)).collect()
    }

    /// What it is, for people.
    pub fn what(&self) -> String {
        match self {
            Self { local: true, .. } => "local disk".into(),
            Self { chain: Some(url), .. } => format!("script {url}"),
            Self { iso: Some(FirmwareKind::Both), .. } => "ISO".into(),
            Self { iso: Some(FirmwareKind::Bios), .. } => "ISO (BIOS only)".into(),
            Self { iso: Some(FirmwareKind::Uefi), .. } => "ISO (UEFI only)".into(),
            Self { kernel: true, efi: true, .. } => "kernel and EFI program".into(),
            Self { efi: true, .. } => "EFI program (UEFI only)".into(),
            Self { initrds: 0, .. } => "kernel".into(),
            Self { initrds, .. } => format!("kernel and {}", bootspec::text::count(*initrds, "initrd")),
        }
    }

    /// Errors: what does not go together, or could become another command of a boot loader.
    pub fn check(&self) -> Result<()> {
        let kinds = [self.kernel || self.efi, self.iso.is_some(), self.chain.is_some(), self.local];
        match kinds.iter().filter(|k| **k).count() {
            1 => {}
            0 => bail!("an entry boots something: give --kernel, --efi, --iso, --chain or --local"),
            _ => bail!("an entry boots one thing: --iso, --chain and --local stand alone"),
        }
        ensure!(self.kernel || self.initrds == 0, "an initrd is a kernel's: give --kernel too");
        ensure!(
            self.initrds <= MAX_INITRDS,
            "{} initrds are too many: use at most {MAX_INITRDS}",
            self.initrds
        );
        ensure!(self.kernel || self.efi || self.append.is_empty(), "--append is for --kernel and --efi");
        check_append(&self.append).map_err(anyhow::Error::msg)?;
        check_title(&self.title).map_err(anyhow::Error::msg)?;
        if let Some(url) = &self.chain {
            let known = ["http://", "https://", "tftp://"].iter().any(|scheme| url.starts_with(scheme));
            let plain = url.bytes().all(|b| b.is_ascii_graphic() && !b"$|\\'\"`#".contains(&b));
            ensure!(
                known && plain && url.len() <= 1000,
                "'{}' is not a valid address of an iPXE script: use an http://, https:// or tftp:// URL",
                bootspec::text::printable(url, 80)
            );
        }
        Ok(())
    }
}

/// The folder of all entries.
#[derive(Clone, Debug)]
pub struct EntriesFolder {
    dir: PathBuf,
    images: PathBuf,
}

/// What is put into an entry: its files, by name.
pub type EntryFiles = Vec<(String, PathBuf)>;

impl EntriesFolder {
    /// In this catalogue's folder.
    pub fn at(catalogue: &Path) -> Self {
        Self { dir: catalogue.join(ENTRIES), images: catalogue.join("images") }
    }

    /// When an entry was added or removed last.
    pub fn version(&self) -> Option<std::time::SystemTime> {
        fs::metadata(&self.dir).and_then(|m| m.modified()).ok()
    }

    /// All entries, by name. What is damaged is left out, with the reason.
    pub fn load(&self) -> (Vec<NamedEntry>, Vec<String>) {
        let (mut all, mut broken) = (Vec::new(), Vec::new());
        let mut names: Vec<ImageName> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        names.sort();
        for name in names.into_iter().take(MANY) {
            match self.read(&name) {
                Ok(Some(entry)) => all.push((name, entry)),
                Ok(None) => {}
                Err(e) => broken.push(format!("entry '{name}' is left out: {e:#}")),
            }
        }
        (all, broken)
    }

    /// One entry, if there is one of that name.
    pub fn read(&self, name: &ImageName) -> Result<Option<BootEntry>> {
        let path = self.dir.join(name.as_str()).join(FILE);
        let Some(text) = files::find_text(&path, MAX_FILE, "description of an entry")? else {
            return Ok(None);
        };
        let entry: BootEntry =
            toml::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {}", path.display(), e.message()))?;
        entry.check()?;
        Ok(Some(entry))
    }

    /// Open one of its files.
    pub fn open(&self, name: &ImageName, file: &str) -> Result<File> {
        files::open_in_folder(&self.dir.join(name.as_str()).join(file))
    }

    /// Add an entry, or put it in the place of one. Its files are read before a byte is written.
    pub fn add(&self, name: &ImageName, entry: &BootEntry, from: &EntryFiles, replace: bool) -> Result<()> {
        entry.check()?;
        if self.images.join(name.as_str()).join(MANIFEST).exists() {
            bail!("there is an image '{name}': give the entry another name");
        }
        let there = self.dir.join(name.as_str()).exists();
        if there && !replace {
            bail!("there is an entry '{name}' already: give --replace, or another name");
        }
        let mut sources = Vec::new();
        for (to, path) in from {
            let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            check_program(to, &mut file).with_context(|| path.display().to_string())?;
            sources.push((to, path, file));
        }
        files::make_dirs(&self.dir)?;
        let _acting = files::acting(&self.dir.join("x"))?;
        let number = OsRng.try_next_u64().context("asking the kernel for random bytes")?;
        let staging = self.dir.join(format!(".staging-{name}-{number:016x}"));
        fs::create_dir(&staging).with_context(|| format!("creating {}", staging.display()))?;
        let made = (|| -> Result<()> {
            for (to, path, mut file) in sources {
                let to = staging.join(to);
                let mut new = File::create_new(&to).with_context(|| format!("creating {}", to.display()))?;
                io::copy(&mut file, &mut new)
                    .and_then(|_| new.sync_all())
                    .with_context(|| format!("copying {} to {}", path.display(), to.display()))?;
            }
            let text = toml::to_string(entry).context("writing TOML")?;
            fs::write(staging.join(FILE), text).with_context(|| format!("writing {FILE}"))?;
            sync_dir(&staging)?;
            let how = if there { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
            renameat2(AT_FDCWD, &staging, AT_FDCWD, &self.dir.join(name.as_str()), how)
                .with_context(|| format!("renaming {}", staging.display()))?;
            sync_dir(&self.dir)
        })();
        if made.is_err() || there {
            let _ = fs::remove_dir_all(&staging);
        }
        made
    }

    /// Remove an entry.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        let folder = self.dir.join(name.as_str());
        if !folder.join(FILE).exists() {
            let names: Vec<String> = self.load().0.iter().map(|(n, _)| n.to_string()).collect();
            let have = if names.is_empty() { "there are none".into() } else { names.join(", ") };
            bail!("there is no entry '{name}': {have}");
        }
        let _acting = files::acting(&folder)?;
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        sync_dir(&self.dir)
    }
}

/// Look at an ISO that is to be an entry: which firmware starts it. Errors: none does, or it is too large.
pub fn look_at_iso(path: &Path) -> Result<FirmwareKind> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let size = file.metadata().with_context(|| path.display().to_string())?.len();
    if size > MAX_ISO {
        bail!(
            "{} is {}: machines hold such an ISO in memory, so it may have at most {}; `boottorrent image add` takes live ISOs of any size",
            path.display(),
            human_size(size),
            human_size(MAX_ISO)
        );
    }
    torito::firmware(&file).with_context(|| path.display().to_string())
}

/// Refuse what no machine can start: by a program's first bytes.
fn check_program(name: &str, file: &mut File) -> Result<()> {
    let mut head = Vec::new();
    file.by_ref().take(1024).read_to_end(&mut head).context("reading")?;
    file.rewind().context("reading")?;
    match name {
        KERNEL | MEMDISK if head.get(0x202..0x206) != Some(b"HdrS") => {
            bail!("it is not an x86 kernel: the signature HdrS is missing")
        }
        EFI if !head.starts_with(b"MZ") => bail!("it is not an EFI program: it does not begin with MZ"),
        _ if head.is_empty() => bail!("it is empty"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes
    }

    #[test]
    fn added_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, name) = (EntriesFolder::at(dir.path()), "memtest".parse().unwrap());
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let entry = BootEntry { kernel: true, initrds: 1, append: "quiet".into(), ..BootEntry::default() };
        let from =
            vec![("kernel".to_owned(), file("k", &linux())), ("initrd0".to_owned(), file("i", b"anything"))];
        folder.add(&name, &entry, &from, false).unwrap();
        assert_eq!(folder.load(), (vec![(name.clone(), entry.clone())], vec![]));
        let again = folder.add(&name, &entry, &from, false).unwrap_err().to_string();
        assert_eq!(again, "there is an entry 'memtest' already: give --replace, or another name");
        let local = BootEntry { local: true, ..BootEntry::default() };
        folder.add(&name, &local, &vec![], true).unwrap();
        assert_eq!(folder.read(&name).unwrap(), Some(local));
        assert_eq!(fs::read_dir(dir.path().join("entries")).unwrap().count(), 1, "nothing is left beside");
        folder.remove(&name).unwrap();
        assert_eq!(folder.load(), (vec![], vec![]));
        let gone = folder.remove(&name).unwrap_err().to_string();
        assert_eq!(gone, "there is no entry 'memtest': there are none");

        let wrong = vec![("kernel".to_owned(), file("t", b"text"))];
        let kernel = BootEntry { kernel: true, ..BootEntry::default() };
        let why = folder.add(&name, &kernel, &wrong, false).unwrap_err();
        assert!(
            format!("{why:#}").ends_with("/t: it is not an x86 kernel: the signature HdrS is missing"),
            "{why:#}"
        );
        assert_eq!(folder.load(), (vec![], vec![]), "nothing is half added");
    }

    #[test]
    fn what_does_not_go_together() {
        let none = BootEntry::default();
        let url = |url: &str| BootEntry { chain: Some(url.into()), ..BootEntry::default() };
        for (entry, why) in [
            (none.clone(), "boots something"),
            (BootEntry { local: true, kernel: true, ..none.clone() }, "boots one thing"),
            (BootEntry { efi: true, initrds: 1, ..none.clone() }, "an initrd is a kernel's"),
            (BootEntry { local: true, append: "x".into(), ..none.clone() }, "--append is for"),
            (BootEntry { local: true, title: "a\nshell".into(), ..none.clone() }, "not a valid title"),
            (BootEntry { local: true, title: "${net0/mac}".into(), ..none.clone() }, "not a valid title"),
            (BootEntry { kernel: true, append: "a || shell".into(), ..none.clone() }, "kernel parameters"),
            (url("file:///etc/passwd"), "not a valid address"),
            (url("http://x/y || shell"), "not a valid address"),
            (url("http://x/${y}"), "not a valid address"),
        ] {
            let said = entry.check().unwrap_err().to_string();
            assert!(said.contains(why), "{entry:?}: {said}");
        }
        url("http://boot.lan/menu.ipxe?a=1&b=2").check().unwrap();
        BootEntry { kernel: true, efi: true, ..none }.check().unwrap();
    }
}
