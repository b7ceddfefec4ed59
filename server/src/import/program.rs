// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs of initrds that the server makes, from the image or from this machine, with the libraries that they need: busybox,
//! which machines are sent where `break=` asks for a shell, and mke2fs, for `boottorrent.mkfs=`.

use super::{
    kmod::small,
    tree::{Folder, Tree, plain},
};
use crate::catalogue::Staging;
use anyhow::{Context, Result, ensure};
use elf::{ElfBytes, abi, endian::AnyEndian};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

/// A program.
pub struct Program {
    /// Where it is.
    from: [&'static str; 2],
    /// Where it is in the initrd.
    to: &'static str,
}

/// The shell.
pub const BUSYBOX: Program = Program { from: ["usr/bin/busybox", "bin/busybox"], to: "bin/busybox" };
/// What makes filesystems, by the name that makes it ext4. Process 1 looks for programs in /bin.
pub const MKFS: Program = Program { from: ["usr/sbin/mke2fs", "sbin/mke2fs"], to: "bin/mkfs.ext4" };

/// Where libraries are.
const LIBRARIES: [&str; 8] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib64",
    "lib64",
    "usr/lib",
    "lib",
];
/// Busybox needs two files, mke2fs eight; what needs more than these is neither.
const MOST: usize = 16;

/// Path and content.
type Files = BTreeMap<String, Arc<[u8]>>;

/// What a program needs of others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// The loader's path (PT_INTERP).
    loader: Option<String>,
    /// Names of libraries (DT_NEEDED).
    libraries: BTreeSet<String>,
}

/// The files of a program, for the kernel that `module` is a module of: the image's, or else this machine's. None where
/// neither has all of it.
pub fn find(wanted: &Program, tree: &dyn Tree, module: Option<&[u8]>, staging: &Staging) -> Files {
    let machine = module.and_then(machine);
    let of = |tree: &dyn Tree| {
        let read = |path: &str| small(tree, path, staging).ok().filter(|bytes| !bytes.is_empty());
        let program = wanted.from.iter().find_map(|path| read(path))?;
        with_libraries(wanted.to, program, machine?, &read).ok()
    };
    of(tree).or_else(|| of(&Folder(PathBuf::from("/")))).unwrap_or_default()
}

/// A program under this name, and what it needs. `read`: a file of the tree, if it is there.
fn with_libraries(
    name: &str,
    program: Vec<u8>,
    for_machine: u16,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Files> {
    let mut files = BTreeMap::from([(name.to_owned(), program)]);
    let mut todo = vec![name.to_owned()];
    while let Some(path) = todo.pop() {
        let bytes = &files[&path];
        ensure!(machine(bytes) == Some(for_machine), "{path} is for other machines");
        let Needs { loader, libraries } = needs(bytes)?;
        let places = libraries.iter().map(|name| format!("lib/{name}")).chain(loader);
        for to in places.collect::<Vec<_>>() {
            let to = to.trim_start_matches('/').to_owned();
            if files.contains_key(&to) {
                continue;
            }
            let name = to.rsplit('/').next().unwrap_or(&to);
            ensure!(plain(&to) && files.len() < MOST, "{path} asks for {to}");
            let found = LIBRARIES.iter().find_map(|folder| read(&format!("{folder}/{name}")));
            files.insert(to.clone(), found.with_context(|| format!("{name} is missing"))?);
            todo.push(to);
        }
    }
    Ok(files.into_iter().map(|(path, bytes)| (path, bytes.into())).collect())
}

/// Which machines a program is for (`e_machine`).
fn machine(bytes: &[u8]) -> Option<u16> {
    ElfBytes::<AnyEndian>::minimal_parse(bytes).ok().map(|file| file.ehdr.e_machine)
}

fn needs(bytes: &[u8]) -> Result<Needs> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).context("reading an ELF file")?;
    let mut needs = Needs::default();
    for part in file.segments().into_iter().flatten().filter(|p| p.p_type == abi::PT_INTERP) {
        let path = file.segment_data(&part)?.split(|b| *b == 0).next().unwrap_or_default();
        needs.loader = Some(std::str::from_utf8(path)?.to_owned());
    }
    let common = file.find_common_data().context("reading an ELF file")?;
    if let (Some(entries), Some(names)) = (common.dynamic, common.dynsyms_strs) {
        for entry in entries.iter().filter(|e| e.d_tag == abi::DT_NEEDED) {
            needs.libraries.insert(names.get(usize::try_from(entry.d_val())?)?.to_owned());
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs, process::Command};

    /// This machine's shell and its libraries, in a folder of their own: the loader runs it there.
    #[test]
    fn a_program_runs_with_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let program = fs::read("/bin/sh").unwrap();
        let read = |path: &str| fs::read(PathBuf::from("/").join(path)).ok();
        let files = with_libraries(BUSYBOX.to, program.clone(), machine(&program).unwrap(), &read).unwrap();
        let needs = needs(&program).unwrap();
        let loader = needs.loader.clone().expect("Debian's shell is linked dynamically");
        assert!(needs.libraries.contains("libc.so.6") && files.contains_key("lib/libc.so.6"), "{needs:?}");
        let root = dir.path().join("root");
        for (path, bytes) in &files {
            let to = root.join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, bytes).unwrap();
            fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let said = Command::new(root.join(loader.trim_start_matches('/')))
            .arg("--library-path")
            .arg(root.join("lib"))
            .arg(root.join("bin/busybox"))
            .args(["-c", "while read -r line; do echo \"$line\"; done < /proc/$$/maps"])
            .output()
            .unwrap();
        let maps = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(maps.contains(&format!("{}/lib/libc.so.6", root.display())), "{maps} {said:?}");
        // Another machine's.
        let e = with_libraries(BUSYBOX.to, program, abi::EM_AARCH64, &read).unwrap_err();
        assert_eq!(e.to_string(), "bin/busybox is for other machines");
    }

    proptest! {
        #[test]
        fn hostile_programs_are_errors(at in 0usize..4096, byte: u8, cut in 0usize..200_000) {
            let mut program = fs::read("/bin/sh").unwrap();
            program.truncate(cut.max(64));
            let at = at % program.len();
            program[at] = byte;
            let _ = (needs(&program), machine(&program));
        }
    }
}
