// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel modules in a root, by the lists that depmod(8) makes: which file is which, what must be loaded before it, and
//! which devices it is for.

use super::{initrd::module_name, tree::Tree};
use crate::{catalogue::Staging, tool::Tool};
use anyhow::{Context, Result, bail};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek},
};

/// modules.dep of a full kernel is half a megabyte.
const MAX_LIST: u64 = 16 << 20;
const MAX_MODULE: u64 = 64 << 20;

/// What helps where modules are missing.
pub const MEND: &str = "install the package boottorrent-initramfs-tools in the image";

/// What modules a kernel has.
#[derive(Default)]
pub struct Kernel {
    folder: String,
    built_in: HashSet<String>,
    network: bool,
    /// By name: its file, and those that must be loaded before, the last one first.
    modules: HashMap<String, (String, Vec<String>)>,
    /// What devices and others call a module: the pattern, the module's name.
    aliases: Vec<(String, String)>,
    /// What a module wishes for besides: names and aliases.
    soft: HashMap<String, Vec<String>>,
}

impl Kernel {
    /// Read the lists that depmod(8) makes.
    pub fn read(tree: &dyn Tree, version: &str, staging: &Staging) -> Result<Kernel> {
        // /lib is a link in newer images, which not every tree follows.
        for folder in ["usr/lib/modules", "lib/modules"].map(|f| format!("{f}/{version}")) {
            let dep = text(tree, &format!("{folder}/modules.dep"), staging)?;
            if dep.is_empty() {
                continue;
            }
            let built_in = text(tree, &format!("{folder}/modules.builtin"), staging)?;
            let network = built_in.contains("/drivers/net/");
            let built_in = built_in.lines().map(module_name).collect();
            let aliases = parse_aliases(&text(tree, &format!("{folder}/modules.alias"), staging)?);
            let soft = parse_soft(&text(tree, &format!("{folder}/modules.softdep"), staging)?);
            return Ok(Kernel { folder, built_in, network, modules: parse(&dep), aliases, soft });
        }
        bail!("the image has no /lib/modules/{version}/modules.dep: its kernel has no modules; {MEND}")
    }

    /// Whether a driver of some network card is in the kernel itself.
    pub fn has_network(&self) -> bool {
        self.network
    }

    /// Whether a module is in the kernel itself.
    pub fn has_built_in(&self, module: &str) -> bool {
        self.built_in.contains(module)
    }

    /// The names of the modules that are wanted, by their names and paths, in order.
    pub fn named(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let all = self.modules.iter().filter(|(name, (path, _))| wanted(name, path));
        let mut names: Vec<String> = all.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// The aliases of a module.
    pub fn aliases_of(&self, module: &str) -> Vec<String> {
        self.aliases.iter().filter(|(_, name)| name == module).map(|(alias, _)| alias.clone()).collect()
    }

    /// The files to load for a module, in their order, with those that it and what it needs wish for (modprobe.d(5), softdep).
    pub fn files_soft(&self, module: &str) -> Option<Vec<String>> {
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        self.collect(module, &mut seen, &mut files)?;
        Some(files)
    }

    fn collect(&self, module: &str, seen: &mut HashSet<String>, files: &mut Vec<String>) -> Option<()> {
        if !seen.insert(module.to_owned()) {
            return Some(());
        }
        let own = self.files(module)?;
        let wished: Vec<String> = own
            .iter()
            .filter_map(|file| self.soft.get(&module_name(file)))
            .flatten()
            .flat_map(|word| self.meant(word))
            .collect();
        for module in wished {
            self.collect(&module, seen, files);
        }
        for file in own {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Some(())
    }

    /// The modules that a name or an alias means: of those that do the same, a machine may not be able to use each.
    fn meant(&self, word: &str) -> Vec<String> {
        let name = word.replace('-', "_");
        if self.modules.contains_key(&name) {
            return vec![name];
        }
        let mut all: Vec<String> =
            self.aliases.iter().filter(|(alias, _)| alias == word).map(|(_, name)| name.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// A module's bytes, as the kernel loads them. `path` as in [`Kernel::files`].
    pub fn module(&self, tree: &dyn Tree, path: &str, staging: &Staging) -> Result<Vec<u8>> {
        module(tree, &format!("{}/{path}", self.folder), staging)
    }

    /// The files to load for a module, in their order.
    pub fn files(&self, module: &str) -> Option<Vec<String>> {
        let (file, before) = self.modules.get(module)?;
        Some(before.iter().rev().chain([file]).cloned().collect())
    }
}

/// modules.dep(5): `kernel/a.ko: kernel/b.ko kernel/c.ko`.
fn parse(dep: &str) -> HashMap<String, (String, Vec<String>)> {
    let fine = |path: &str| path.split('/').all(|p| !p.is_empty() && p != "..") && path.contains(".ko");
    let line = |line: &str| {
        let (file, before) = line.split_once(':')?;
        let before: Vec<String> = before.split_whitespace().map(str::to_owned).collect();
        (fine(file) && before.iter().all(|b| fine(b))).then(|| (module_name(file), (file.to_owned(), before)))
    };
    dep.lines().filter_map(line).collect()
}

/// modules.alias: `alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000`.
fn parse_aliases(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (alias, module) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
        Some((alias.to_owned(), module.replace('-', "_")))
    };
    text.lines().filter_map(line).collect()
}

/// modules.softdep: `softdep r8169 pre: realtek`.
fn parse_soft(text: &str) -> HashMap<String, Vec<String>> {
    let mut soft: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let Some((module, rest)) = line.strip_prefix("softdep ").and_then(|l| l.split_once(' ')) else {
            continue;
        };
        let words = rest.split_whitespace().filter(|w| !matches!(*w, "pre:" | "post:")).map(str::to_owned);
        soft.entry(module.replace('-', "_")).or_default().extend(words);
    }
    soft
}

/// A file of the tree, if there is one; else nothing.
pub fn small(tree: &dyn Tree, path: &str, staging: &Staging) -> Result<Vec<u8>> {
    whole(fetch(tree, path, staging, MAX_MODULE)?)
}

/// All bytes of a file.
pub fn whole(mut file: File) -> Result<Vec<u8>> {
    file.rewind().context("rewinding")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("reading a temporary file")?;
    Ok(bytes)
}

/// A file of the tree, in a file without a name.
fn fetch(tree: &dyn Tree, path: &str, staging: &Staging, limit: u64) -> Result<File> {
    let mut file = tempfile::tempfile_in(staging.path("")).context("creating a temporary file")?;
    // A file that is not there is an empty one, or an error, as the tree has it.
    let _ = tree.read(path, &mut file);
    if file.metadata().context("asking for a size")?.len() > limit {
        bail!("/{path} in the image has more than {limit} bytes");
    }
    file.rewind().context("rewinding")?;
    Ok(file)
}

fn text(tree: &dyn Tree, path: &str, staging: &Staging) -> Result<String> {
    let mut bytes = Vec::new();
    fetch(tree, path, staging, MAX_LIST)?
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading /{path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A module's bytes, as the kernel loads them.
fn module(tree: &dyn Tree, path: &str, staging: &Staging) -> Result<Vec<u8>> {
    let file = fetch(tree, path, staging, MAX_MODULE)?;
    let tool = match path.rsplit('.').next() {
        Some("xz") => Some(("xz", "xz-utils")),
        Some("zst") => Some(("zstd", "zstd")),
        Some("gz") => Some(("gzip", "gzip")),
        _ => None,
    };
    let mut bytes = Vec::new();
    match tool {
        None => drop({ file }.read_to_end(&mut bytes).with_context(|| format!("reading /{path}"))?),
        Some((program, package)) => {
            let mut running = Tool::parser(program, package).arg("-dc").stdin(file).reader()?;
            running
                .by_ref()
                .take(MAX_MODULE)
                .read_to_end(&mut bytes)
                .with_context(|| format!("unpacking /{path}"))?;
            running.wait(&mut || ())?;
        }
    }
    if !bytes.starts_with(b"\x7fELF") {
        bail!("/{path} in the image is not a kernel module: {MEND}");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_loaded_comes_first() {
        let modules = parse(
            "kernel/fs/overlayfs/overlay.ko.xz:\n\
             kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc-32.ko\n\
             ../../../etc/shadow.ko:\n\
             kernel/x.ko: ../y.ko\n\
             nonsense\n",
        );
        let kernel = Kernel { modules, ..Kernel::default() };
        assert_eq!(kernel.files("overlay").unwrap(), ["kernel/fs/overlayfs/overlay.ko.xz"]);
        assert_eq!(
            kernel.files("ext4").unwrap(),
            ["kernel/lib/crc-32.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"]
        );
        assert_eq!(module_name("kernel/lib/crc-32.ko.zst"), "crc_32");
        assert!(kernel.files("shadow").is_none() && kernel.files("x").is_none());
    }

    #[test]
    fn aliases_and_wishes() {
        let kernel = Kernel {
            modules: parse(
                "kernel/net/r8169.ko: kernel/mii.ko\nkernel/mii.ko:\nkernel/net/realtek.ko:\nkernel/crc32c_generic.ko:\n",
            ),
            aliases: parse_aliases(
                "# Aliases\nalias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nalias crypto-crc32c crc32c_generic\n",
            ),
            soft: parse_soft("softdep r8169 pre: realtek post: crypto-crc32c nowhere\n"),
            ..Kernel::default()
        };
        assert_eq!(kernel.aliases_of("r8169"), ["pci:v000010ECd00008168sv*sd*bc*sc*i*"]);
        let files =
            ["kernel/net/realtek.ko", "kernel/crc32c_generic.ko", "kernel/mii.ko", "kernel/net/r8169.ko"];
        assert_eq!(kernel.files_soft("r8169").unwrap(), files);
        // What it needs wishes too, and each that does it comes: this machine may be able to use another only.
        let xfs = Kernel {
            modules: parse(
                "kernel/xfs.ko: kernel/libcrc32c.ko\nkernel/libcrc32c.ko:\nkernel/crc32c_intel.ko:\nkernel/crc32c_generic.ko:\n",
            ),
            aliases: parse_aliases("alias crc32c crc32c_intel\nalias crc32c crc32c_generic\n"),
            soft: parse_soft("softdep libcrc32c pre: crc32c\nsoftdep crc32c_intel pre: xfs\n"),
            ..Kernel::default()
        };
        let files =
            ["kernel/crc32c_generic.ko", "kernel/crc32c_intel.ko", "kernel/libcrc32c.ko", "kernel/xfs.ko"];
        assert_eq!(xfs.files_soft("xfs").unwrap(), files);
        assert_eq!(kernel.named(|_, path| path.contains("/net/")), ["r8169", "realtek"]);
    }
}
