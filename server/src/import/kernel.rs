// SPDX-License-Identifier: GPL-3.0-or-later
//! Which kernel and initrd of a tree are booted: those that Debian's links mean, else the newest usual version that
//! has both.

use super::tree::{Tree, resolve};
use anyhow::{Result, bail};
use bootspec::architecture::{Architecture, KERNEL_BYTES};
use flate2::read::GzDecoder;
use std::{
    cmp::Ordering,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

/// Where a file of the pair lies in the tree, and of which version it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBootFile {
    /// The path, without a leading slash.
    pub path: String,
    /// The kernel's version, where the name tells.
    pub version: Option<String>,
}

/// What is to be found inside; the rest was given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedBootFiles {
    /// The kernel.
    pub kernel: bool,
    /// The initrd.
    pub initrd: bool,
}

/// What is booted, and what else there was.
#[derive(Debug, Default)]
pub struct BootFileChoice {
    /// The kernel, if it was wanted.
    pub kernel: Option<FoundBootFile>,
    /// The initrd, if it was wanted.
    pub initrd: Option<FoundBootFile>,
    /// Versions that could have been taken as well.
    pub others: Vec<String>,
}

/// Find what is wanted: the version that Debian's own link means, else the highest that is usual. `shown` names the
/// source in errors.
pub fn find(tree: &dyn Tree, wanted: WantedBootFiles, shown: &str) -> Result<BootFileChoice> {
    let names = tree.names("boot")?;
    let versions =
        |prefix: &str| -> Vec<&str> { names.iter().filter_map(|n| n.strip_prefix(prefix)).collect() };
    let (kernels, initrds) = (versions("vmlinuz-"), versions("initrd.img-"));
    let mut pool: Vec<&str> = match wanted {
        WantedBootFiles { kernel: false, initrd: false } => return Ok(BootFileChoice::default()),
        WantedBootFiles { kernel: true, initrd: false } => kernels.clone(),
        WantedBootFiles { kernel: false, initrd: true } => initrds.clone(),
        _ => kernels.iter().copied().filter(|v| initrds.contains(v)).collect(),
    };
    pool.sort_by(|a, b| unusual(b).cmp(&unusual(a)).then(compare(a, b)));
    if let Some(highest) = pool.last().copied() {
        let link = if wanted.kernel { "vmlinuz" } else { "initrd.img" };
        let meant = meant(tree, link)?;
        let version = pool.iter().copied().find(|v| Some(*v) == meant.as_deref()).unwrap_or(highest);
        let found = |prefix: &str| -> Result<FoundBootFile> {
            let path = resolve(tree, &format!("boot/{prefix}{version}"))?;
            Ok(FoundBootFile { path, version: Some(version.to_owned()) })
        };
        return Ok(BootFileChoice {
            kernel: wanted.kernel.then(|| found("vmlinuz-")).transpose()?,
            initrd: wanted.initrd.then(|| found("initrd.img-")).transpose()?,
            others: pool.iter().filter(|v| **v != version).map(|v| (*v).to_owned()).collect(),
        });
    }
    // Debian's links, for kernels with names of their own.
    for folder in ["", "boot"] {
        let have = tree.names(folder)?;
        let has = |name: &str| have.iter().any(|n| n == name);
        if (!wanted.kernel || has("vmlinuz")) && (!wanted.initrd || has("initrd.img")) {
            let found = |name: &str| -> Result<FoundBootFile> {
                let path = resolve(tree, format!("{folder}/{name}").trim_start_matches('/'))?;
                let version =
                    path.rsplit('/').next().and_then(|n| n.strip_prefix("vmlinuz-")).map(str::to_owned);
                Ok(FoundBootFile { path, version })
            };
            return Ok(BootFileChoice {
                kernel: wanted.kernel.then(|| found("vmlinuz")).transpose()?,
                initrd: wanted.initrd.then(|| found("initrd.img")).transpose()?,
                others: Vec::new(),
            });
        }
    }
    if !wanted.initrd
        && let Some(found) = with_modules(tree)?
    {
        return Ok(found);
    }
    bail!(missing(&kernels, wanted, shown))
}

/// The newest kernel that lies beside its modules, as Fedora, Arch and mkosi have it.
fn with_modules(tree: &dyn Tree) -> Result<Option<BootFileChoice>> {
    for folder in ["usr/lib/modules", "lib/modules"] {
        let mut versions = Vec::new();
        for version in tree.names(folder)? {
            if tree.names(&format!("{folder}/{version}"))?.iter().any(|n| n == "vmlinuz") {
                versions.push(version);
            }
        }
        versions.sort_by(|a, b| unusual(b).cmp(&unusual(a)).then(compare(a, b)));
        if let Some(version) = versions.pop() {
            let path = resolve(tree, &format!("{folder}/{version}/vmlinuz"))?;
            let kernel = Some(FoundBootFile { path, version: Some(version) });
            return Ok(Some(BootFileChoice { kernel, initrd: None, others: versions }));
        }
    }
    Ok(None)
}

/// The version that Debian's link to the newest kernel (linux-version(1), /etc/kernel-img.conf) means.
fn meant(tree: &dyn Tree, link: &str) -> Result<Option<String>> {
    for at in [link.to_owned(), format!("boot/{link}")] {
        if let Some(target) = tree.link(&at)? {
            let name = target.rsplit('/').next().unwrap_or_default();
            return Ok(name.split_once('-').map(|(_, version)| version.to_owned()));
        }
    }
    Ok(None)
}

/// How unusual a version is: kernels for clouds have no drivers of real cards, real-time ones are for who asks for
/// them, and copies that somebody keeps are not meant to be booted.
fn unusual(version: &str) -> u8 {
    let copy = [".bak", ".old", ".orig", ".save", ".disabled", "~"].iter().any(|end| version.ends_with(end));
    let copy = copy || version.contains(".dpkg-");
    let flavour = ["-cloud-", "-rt-"].iter().any(|part| version.contains(part));
    2 * u8::from(copy) + u8::from(flavour)
}

fn missing(kernels: &[&str], wanted: WantedBootFiles, shown: &str) -> String {
    match kernels.iter().max_by(|a, b| compare(a, b)) {
        Some(version) if wanted.kernel => format!(
            "'{shown}' has a kernel without initrd: there is /boot/vmlinuz-{version} but no /boot/initrd.img-{version} \
             in it; run `update-initramfs -c -k {version}` in it, or give --initrd"
        ),
        _ if !wanted.kernel => {
            format!("'{shown}' has no initrd: there is no /boot/initrd.img-* in it; give --initrd")
        }
        _ => format!(
            "'{shown}' has no kernel: there is no /boot/vmlinuz-* in it; install linux-image-amd64 in it, \
             or give --kernel and --initrd"
        ),
    }
}

/// A kernel's version, from its own header (Documentation/arch/x86/boot.rst).
pub fn version(kernel: &Path) -> Option<String> {
    let file = File::open(kernel).ok()?;
    let mut head = [0; 0x210];
    file.read_exact_at(&mut head, 0).ok()?;
    if &head[0x202..0x206] != b"HdrS" {
        return None;
    }
    let at = 0x200 + u64::from(u16::from_le_bytes([head[0x20e], head[0x20f]]));
    let mut text = Vec::new();
    let mut file = file;
    file.seek(SeekFrom::Start(at)).ok()?;
    file.take(128).read_to_end(&mut text).ok()?;
    let text = text.split(|b| *b == 0 || *b == b' ').next()?;
    let version = String::from_utf8(text.to_vec()).ok()?;
    version.chars().all(|c| c.is_ascii_graphic()).then_some(version).filter(|v| !v.is_empty())
}

/// Which machines a kernel is for; `None`: it does not tell. Arm's may be packed with gzip, which its boot loaders unpack.
pub fn architecture(kernel: &Path) -> Option<Architecture> {
    let head = |from: &mut dyn Read| -> Option<Vec<u8>> {
        let mut head = Vec::new();
        from.take(KERNEL_BYTES as u64).read_to_end(&mut head).ok()?;
        Some(head)
    };
    let mut bytes = head(&mut File::open(kernel).ok()?)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = head(&mut GzDecoder::new(File::open(kernel).ok()?))?;
    }
    Architecture::of_kernel(&bytes)
}

/// A kernel's version, from where it lies: `/boot/vmlinuz-VERSION`, `/usr/lib/modules/VERSION/vmlinuz`.
pub fn version_of_path(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let beside_modules = || {
        let (folder, version) = folder.rsplit_once('/')?;
        (name == "vmlinuz" && folder.ends_with("lib/modules")).then_some(version)
    };
    name.strip_prefix("vmlinuz-").or_else(beside_modules)
}

/// Order versions as dpkg does: numbers by value, `~` before the end, letters before the rest.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        let weights = |s: &str| s.chars().map(weight).chain([0]).collect::<Vec<_>>();
        let (number_a, number_b) =
            (take(&mut a, |c| c.is_ascii_digit()), take(&mut b, |c| c.is_ascii_digit()));
        let number = |s: &str| s.trim_start_matches('0').to_owned();
        let (number_a, number_b) = (number(number_a), number(number_b));
        let order = weights(text_a)
            .cmp(&weights(text_b))
            .then(number_a.len().cmp(&number_b.len()))
            .then(number_a.cmp(&number_b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn weight(c: char) -> i32 {
    match c {
        '~' => -1,
        c if c.is_ascii_alphabetic() => c as i32,
        c => c as i32 + 256,
    }
}

fn take<'a>(s: &mut &'a str, is: impl Fn(char) -> bool) -> &'a str {
    let (head, rest) = s.split_at(s.find(|c| !is(c)).unwrap_or(s.len()));
    *s = rest;
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::tree::Folder;
    use std::{fs, os::unix::fs::symlink};

    fn found(
        files: &[&str],
        links: &[(&str, &str)],
        wanted: WantedBootFiles,
    ) -> Result<(Option<FoundBootFile>, Option<FoundBootFile>)> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        files.iter().for_each(|f| fs::write(dir.path().join(f), "x").unwrap());
        links.iter().for_each(|(at, to)| symlink(to, dir.path().join(at)).unwrap());
        find(&Folder(dir.path().into()), wanted, "X").map(|c| (c.kernel, c.initrd))
    }

    const BOTH: WantedBootFiles = WantedBootFiles { kernel: true, initrd: true };

    #[test]
    fn the_newest_version_that_has_both() {
        let files =
            ["boot/vmlinuz-6.1.0-9-amd64", "boot/initrd.img-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-30-amd64"];
        let (kernel, _) = found(&files, &[], BOTH).unwrap();
        assert_eq!(kernel.unwrap().path, "boot/vmlinuz-6.1.0-9-amd64");
        let more = [&files[..], &["boot/initrd.img-6.1.0-30-amd64"]].concat();
        let (kernel, initrd) = found(&more, &[], BOTH).unwrap();
        assert_eq!(kernel.unwrap().version.unwrap(), "6.1.0-30-amd64");
        assert_eq!(initrd.unwrap().path, "boot/initrd.img-6.1.0-30-amd64");
        let (kernel, initrd) = found(&files, &[], WantedBootFiles { kernel: true, initrd: false }).unwrap();
        assert_eq!((kernel.unwrap().path.as_str(), initrd), ("boot/vmlinuz-6.1.0-30-amd64", None));
    }

    #[test]
    fn links_when_names_do_not_tell() {
        let links = [("vmlinuz", "/boot/kernel"), ("initrd.img", "boot/ramdisk")];
        let (kernel, initrd) = found(&["boot/kernel", "boot/ramdisk"], &links, BOTH).unwrap();
        assert_eq!(
            (kernel.unwrap().path.as_str(), initrd.unwrap().path.as_str()),
            ("boot/kernel", "boot/ramdisk")
        );
    }

    /// cases/boot.md 8.
    #[test]
    fn which_of_several() {
        let chosen = |versions: &[&str], links: &[(&str, &str)]| {
            let files: Vec<String> = versions
                .iter()
                .flat_map(|v| [format!("boot/vmlinuz-{v}"), format!("boot/initrd.img-{v}")])
                .collect();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            found(&files, links, BOTH).unwrap().0.unwrap().version.unwrap()
        };
        let flavours = ["6.12.43+deb13-amd64", "6.12.43+deb13-cloud-amd64", "6.12.43+deb13-rt-amd64"];
        assert_eq!(chosen(&flavours, &[]), flavours[0]);
        assert_eq!(chosen(&flavours[1..2], &[]), flavours[1]);
        assert_eq!(chosen(&["6.1-1-amd64", "6.1-1-amd64.bak", "6.1-1-amd64.dpkg-bak"], &[]), "6.1-1-amd64");
        let two = ["6.1-1-amd64", "6.1-2-amd64"];
        assert_eq!(chosen(&two, &[("vmlinuz", "boot/vmlinuz-6.1-1-amd64")]), two[0], "Debian's link");
        assert_eq!(chosen(&two, &[("vmlinuz", "boot/vmlinuz-6.1-9-amd64")]), two[1], "a link to nothing");
        let rt = [("vmlinuz", "boot/vmlinuz-6.12.43+deb13-rt-amd64")];
        assert_eq!(chosen(&flavours, &rt), flavours[2], "who links it wants it");
    }

    #[test]
    fn says_what_is_missing() {
        for (files, wanted, sentence) in [
            (
                &[][..],
                BOTH,
                "'X' has no kernel: there is no /boot/vmlinuz-* in it; install linux-image-amd64 in it, or give --kernel and --initrd",
            ),
            (
                &["boot/vmlinuz-6"],
                BOTH,
                "'X' has a kernel without initrd: there is /boot/vmlinuz-6 but no /boot/initrd.img-6 in it; \
                 run `update-initramfs -c -k 6` in it, or give --initrd",
            ),
            (
                &["boot/vmlinuz-6"],
                WantedBootFiles { kernel: false, initrd: true },
                "'X' has no initrd: there is no /boot/initrd.img-* in it; give --initrd",
            ),
        ] {
            assert_eq!(found(files, &[], wanted).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn versions_in_paths() {
        let version = version_of_path;
        assert_eq!(version("/boot/vmlinuz-6.1.0-9-amd64"), Some("6.1.0-9-amd64"));
        assert_eq!(version("/usr/lib/modules/6.16.8-arch1-1/vmlinuz"), Some("6.16.8-arch1-1"));
        assert_eq!((version("/boot/vmlinuz"), version("kernel.efi")), (None, None));
    }

    #[test]
    fn versions_sort_as_dpkg_does() {
        let sorted = [
            "5.10.0-8-amd64",
            "6.1~rc1",
            "6.1",
            "6.1.0-9-amd64",
            "6.1.0-10-amd64",
            "6.12.0-1",
            "6.12.43+deb13-amd64",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("6.01", "6.1"), Ordering::Equal);
    }
}
