// SPDX-License-Identifier: GPL-3.0-or-later
//! Which kernel and initrd of a tree are booted: the newest version that has both.

use super::tree::{Tree, resolve};
use anyhow::{Result, bail};
use std::cmp::Ordering;

/// Where a file of the pair lies in the tree, and of which version it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path, without a leading slash.
    pub path: String,
    /// The kernel's version, where the name tells.
    pub version: Option<String>,
}

/// What is to be found inside; the rest was given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The kernel.
    pub kernel: bool,
    /// The initrd.
    pub initrd: bool,
}

/// Find what is wanted. `shown` names the source in errors.
pub fn find(tree: &dyn Tree, wanted: Wanted, shown: &str) -> Result<(Option<Found>, Option<Found>)> {
    let names = tree.names("boot")?;
    let versions =
        |prefix: &str| -> Vec<&str> { names.iter().filter_map(|n| n.strip_prefix(prefix)).collect() };
    let (kernels, initrds) = (versions("vmlinuz-"), versions("initrd.img-"));
    let pool: Vec<&str> = match wanted {
        Wanted { kernel: false, initrd: false } => return Ok((None, None)),
        Wanted { kernel: true, initrd: false } => kernels.clone(),
        Wanted { kernel: false, initrd: true } => initrds.clone(),
        _ => kernels.iter().copied().filter(|v| initrds.contains(v)).collect(),
    };
    let found = |path: String, version: Option<&str>| Found { path, version: version.map(str::to_owned) };
    if let Some(version) = pool.into_iter().max_by(|a, b| compare(a, b)) {
        let at =
            |prefix: &str| resolve(tree, &format!("boot/{prefix}{version}")).map(|p| found(p, Some(version)));
        return Ok((
            wanted.kernel.then(|| at("vmlinuz-")).transpose()?,
            wanted.initrd.then(|| at("initrd.img-")).transpose()?,
        ));
    }
    // Debian's links, for kernels with names of their own.
    for folder in ["", "boot"] {
        let have = tree.names(folder)?;
        let has = |name: &str| have.iter().any(|n| n == name);
        if (!wanted.kernel || has("vmlinuz")) && (!wanted.initrd || has("initrd.img")) {
            let at = |name: &str| {
                let path = resolve(tree, format!("{folder}/{name}").trim_start_matches('/'))?;
                anyhow::Ok(found(
                    path.clone(),
                    path.rsplit('/').next().and_then(|n| n.strip_prefix("vmlinuz-")),
                ))
            };
            return Ok((
                wanted.kernel.then(|| at("vmlinuz")).transpose()?,
                wanted.initrd.then(|| at("initrd.img")).transpose()?,
            ));
        }
    }
    match kernels.into_iter().max_by(|a, b| compare(a, b)) {
        Some(version) if wanted.kernel => bail!(
            "'{shown}' has a kernel without initrd: there is /boot/vmlinuz-{version} but no /boot/initrd.img-{version} \
             in it; run `update-initramfs -c -k {version}` in it, or give --initrd"
        ),
        _ if !wanted.kernel => {
            bail!("'{shown}' has no initrd: there is no /boot/initrd.img-* in it; give --initrd")
        }
        _ => bail!(
            "'{shown}' has no kernel: there is no /boot/vmlinuz-* in it; install linux-image-amd64 in it, \
             or give --kernel and --initrd"
        ),
    }
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
        wanted: Wanted,
    ) -> Result<(Option<Found>, Option<Found>)> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        files.iter().for_each(|f| fs::write(dir.path().join(f), "x").unwrap());
        links.iter().for_each(|(at, to)| symlink(to, dir.path().join(at)).unwrap());
        find(&Folder(dir.path().into()), wanted, "X")
    }

    const BOTH: Wanted = Wanted { kernel: true, initrd: true };

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
        let (kernel, initrd) = found(&files, &[], Wanted { kernel: true, initrd: false }).unwrap();
        assert_eq!((kernel.unwrap().path.as_str(), initrd), ("boot/vmlinuz-6.1.0-30-amd64", None));
    }

    #[test]
    fn links_when_names_do_not_tell() {
        let links = [("vmlinuz", "/boot/kernel"), ("initrd.img", "boot/ramdisk")];
        let (kernel, initrd) = found(&["boot/kernel", "boot/ramdisk"], &links, BOTH).unwrap();
        assert_eq!((kernel.unwrap().path.as_str(), initrd.unwrap().path.as_str()), ("vmlinuz", "initrd.img"));
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
                Wanted { kernel: false, initrd: true },
                "'X' has no initrd: there is no /boot/initrd.img-* in it; give --initrd",
            ),
        ] {
            assert_eq!(found(files, &[], wanted).unwrap_err().to_string(), sentence);
        }
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
