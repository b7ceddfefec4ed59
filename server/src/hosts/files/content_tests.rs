// SPDX-License-Identifier: GPL-3.0-or-later

use super::*;
use crate::hosts::{
    EntryKey,
    files::{LayersFolder, pack},
};
use std::{
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

/// A folder with files, links, names of one file, removals.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("etc/ssh")).unwrap();
    fs::write(at("etc/ssh/ssh_host_ed25519_key"), "key").unwrap();
    fs::set_permissions(at("etc/ssh/ssh_host_ed25519_key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("etc/zz"), "two names").unwrap();
    fs::hard_link(at("etc/zz"), at("etc/aa")).unwrap();
    symlink("../zz", at("etc/link")).unwrap();
    fs::write(at("etc/.wh.motd"), "").unwrap();
    fs::write(at("etc/issue.bt-template"), "{{name}}\n").unwrap();
    dir
}

fn tar(from: &Path, flags: &[&str]) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut tar = Command::new("tar");
    tar.arg("--create").args(flags).arg("--file").arg(&file).arg("--directory").arg(from).arg(".");
    assert!(tar.status().unwrap().success());
    file
}

#[test]
fn a_folder_and_its_tarballs_are_the_same_layer() {
    let dir = folder();
    let content = Content::read(dir.path()).unwrap();
    let who: EntryKey = "group:room1".parse().unwrap();
    let layer = pack::layer(&content, &who).unwrap();
    assert_eq!(pack::layer(&content, &who).unwrap(), layer, "the same bytes each time");
    assert_ne!(pack::layer(&content, &EntryKey::Default).unwrap(), layer, "and for others other ones");
    for flags in
        [&["--gzip"][..], &["--xz"], &["--zstd"], &["--format=pax"], &["--format=gnu"], &["--sort=name"]]
    {
        let file = tar(dir.path(), flags);
        let content = Content::read(&file).unwrap();
        assert!(pack::layer(&content, &who).unwrap() == layer, "{flags:?}: {}", pack::list(&layer).unwrap());
    }
    let list = pack::list(&layer).unwrap();
    let names: Vec<&str> = list.lines().map(|l| l.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(
        names,
        [
            "etc/.wh.motd",
            "etc",
            "etc/aa",
            "etc/issue.bt-template",
            "etc/link",
            "etc/ssh",
            "etc/ssh/ssh_host_ed25519_key",
            "etc/zz"
        ]
    );
    assert!(
        list.contains("-rw------- ")
            && list.contains("etc/link -> ../zz")
            && list.contains("        9 etc/aa\n")
    );
}

#[test]
fn what_no_machine_could_take_is_refused() {
    let refused = |make: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let why = format!("{:#}", Content::read(dir.path()).unwrap_err());
        why.replace(&format!("{}", dir.path().display()), "DIR")
    };
    let pipe = |dir: &Path| {
        nix::sys::stat::mknod(
            &dir.join("pipe"),
            nix::sys::stat::SFlag::S_IFIFO,
            nix::sys::stat::Mode::S_IRWXU,
            0,
        )
        .unwrap()
    };
    assert_eq!(refused(&pipe), "pipe is a socket or a pipe: only files, folders and links are supported");
    assert_eq!(refused(&|_| {}), "DIR: there are no files in it");
    assert_eq!(
        refused(&|dir| fs::create_dir(dir.join("run")).unwrap()),
        "run: nothing can be put into /run, which is mounted when the system starts"
    );
    let word = |dir: &Path| fs::write(dir.join("x.bt-template"), "{{hostname}}").unwrap();
    assert_eq!(
        refused(&word),
        "x.bt-template: {{hostname}} is not a valid placeholder: use {{name}}, {{mac}}, {{ip}}, {{group}} or {{serial}}"
    );
    let both = |dir: &Path| ["x.bt-template", "x"].iter().for_each(|f| fs::write(dir.join(f), "").unwrap());
    assert_eq!(refused(&both), "DIR: x.bt-template and x write the same file");
    let large = |dir: &Path| File::create(dir.join("x")).unwrap().set_len(65 << 20).unwrap();
    assert_eq!(
        refused(&large),
        "reading DIR/x: the files have more than 64 MiB: put large files into the image"
    );
    assert_eq!(
        refused(&|dir| fs::write(dir.join(".wh."), "").unwrap()),
        ".wh.: there is no valid name after .wh."
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let of = |bytes: &[u8]| {
        fs::write(file.path(), bytes).unwrap();
        format!("{:#}", Content::read(file.path()).unwrap_err())
            .replace(&file.path().display().to_string(), "TAR")
    };
    assert!(of(b"hello, this is text").starts_with("TAR: it is neither a folder nor a tarball"));
    assert_eq!(of(b""), "TAR: there are no files in it");
    let member = |name: &str, kind: EntryType, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    for (name, kind, link, why) in [
        ("../etc/x", EntryType::Regular, "", "TAR: ../etc/x: its path must be relative and without . and .."),
        ("/etc/x", EntryType::Regular, "", "TAR: /etc/x: its path must be relative and without . and .."),
        ("etc/x", EntryType::Char, "", "TAR: etc/x is a device: only files, folders and links are supported"),
        ("etc/x", EntryType::Link, "etc/y", "TAR: etc/x is another name of etc/y, which is not in it"),
    ] {
        assert_eq!(of(&member(name, kind, link)), why);
    }
    let below =
        [&member("a", EntryType::Symlink, "/")[..512], &member("a/x", EntryType::Regular, "")].concat();
    assert_eq!(of(&below), "TAR: a is not a folder, but a/x is in it");
}

#[test]
fn notes() {
    let dir = folder();
    let item = |mode, uid| Item { what: What::File(Vec::new()), mode, uid, gid: 0 };
    let mut content = Content::read(dir.path()).unwrap();
    content.items.values_mut().for_each(|i| i.uid = 0);
    assert_eq!(content.notes(), [""; 0]);
    content.items.insert(b"su".into(), item(0o4755, 0));
    content.items.insert(b"home/u".into(), item(0o644, 1000));
    let notes = content.notes();
    assert_eq!(notes[0], "these files are setuid or setgid: su");
    assert!(notes[1].starts_with("1 file not owned by root or a system user: home/u; "), "{notes:?}");
}

#[test]
fn kept_by_their_sum_and_for_one() {
    let (dir, from) = (tempfile::tempdir().unwrap(), folder());
    let store = LayersFolder::at(dir.path());
    let (pc, room): (EntryKey, EntryKey) =
        ("52:54:00:00:00:01".parse().unwrap(), "group:room1".parse().unwrap());
    let layer = pack::layer(&Content::read(from.path()).unwrap(), &pc).unwrap();
    let sum = store.keep(&layer, Some(b"signature")).unwrap();
    assert_eq!(
        (store.read(sum).unwrap(), store.signature(sum).unwrap()),
        (layer, Some(b"signature".to_vec()))
    );
    store.check(sum, &pc).unwrap();
    assert_eq!(
        store.check(sum, &room).unwrap_err().to_string(),
        format!(
            "the files {sum} are for {pc}, not for {room}: add them with `boottorrent host set {room} --files DIR`"
        )
    );
    for odd in ["", "..", "../hosts.toml", &format!("{sum}.key"), &format!("{sum}/x")] {
        assert!(store.open(odd).is_none(), "{odd}");
    }
    assert!(
        store.open(&sum.to_string()).unwrap().is_ok()
            && store.open(&format!("{sum}.minisig")).unwrap().is_ok()
    );
    // Nobody has it, and it was given a moment ago; then long ago.
    store.prune(&Default::default()).unwrap();
    assert!(store.path(sum).exists());
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    File::options().write(true).open(store.path(sum)).unwrap().set_modified(old).unwrap();
    store.prune(&[sum].into()).unwrap();
    assert!(store.path(sum).exists());
    store.prune(&Default::default()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("files")).unwrap().count(), 0);
    assert!(store.check(sum, &pc).unwrap_err().to_string().starts_with("there are no files "));
}
