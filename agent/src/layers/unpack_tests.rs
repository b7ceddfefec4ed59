// SPDX-License-Identifier: GPL-3.0-or-later

use super::*;
use initrd::{append, end};
use proptest::{collection::vec, prelude::*};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const FILE: u32 = 0o100_644;
const FOLDER: u32 = 0o040_750;
const LINK: u32 = 0o120_777;

/// A member that belongs to whoever runs the test.
fn member(name: &str, mode: u32, inode: u64, links: u64) -> Member {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Member { name: name.into(), mode, uid, gid, inode: (inode, 0, 0), links, ..Member::default() }
}

/// An archive of members: name, mode, content.
fn archive(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, (name, mode, bytes)) in members.iter().enumerate() {
        append(&mut out, &member(name, *mode, n as u64, 1), bytes);
    }
    end(&mut out);
    out
}

fn values() -> Values {
    Values { name: "pc1".into(), mac: "52:54:00:00:00:01".into(), ..Values::default() }
}

/// A root, and a folder beside it that nothing may touch.
fn root() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    for folder in [root.join("etc/ssh"), root.join("usr/lib"), outside.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    symlink("usr/lib", root.join("lib")).unwrap();
    fs::write(outside.join("secret"), "outside").unwrap();
    (dir, root, outside)
}

fn why(members: &[(&str, u32, &[u8])], root: &Path) -> String {
    format!("{:#}", unpack(&archive(members), root, &values()).unwrap_err())
}

#[test]
fn what_is_put_filled_in_and_removed() {
    let (_dir, root, _) = root();
    fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(root.join("etc/motd"), "old").unwrap();
    fs::create_dir_all(root.join("etc/cron.d/deep")).unwrap();
    fs::write(root.join("etc/issue"), "old").unwrap();
    symlink("/nowhere", root.join("etc/resolv.conf")).unwrap();
    let layer = archive(&[
        ("etc/.wh.motd", FILE, b""),
        ("etc/.wh.absent", FILE, b""),
        ("absent/.wh.x", FILE, b""),
        ("etc/cron.d/.wh..wh..opq", FILE, b""),
        ("etc", FOLDER, b""),
        ("etc/new", FOLDER, b""),
        ("etc/new/key", 0o100_600, b"key"),
        ("lib/firmware/x", FILE, b"x"),
        ("etc/issue.bt-template", 0o104_755, b"{{name}} {{mac}}\n"),
        ("etc/resolv.conf", FILE, b"own"),
        ("etc/link", LINK, b"../../outside"),
    ]);
    assert_eq!(unpack(&layer, &root, &values()).unwrap(), Unpacked { put: 7, removed: 2 });
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let mode = |file: &str| fs::symlink_metadata(root.join(file)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (read("etc/new/key"), read("usr/lib/firmware/x"), read("etc/issue"), read("etc/resolv.conf")),
        ("key".into(), "x".into(), "pc1 52:54:00:00:00:01\n".into(), "own".into())
    );
    assert_eq!(
        (mode("etc/new"), mode("etc/new/key"), mode("etc/issue"), mode("etc")),
        (0o750, 0o600, 0o4755, 0o711)
    );
    assert!(
        !root.join("etc/motd").exists() && !root.join("absent").exists() && root.join("lib").is_symlink()
    );
    assert_eq!(fs::read_dir(root.join("etc/cron.d")).unwrap().count(), 0);
    assert_eq!(fs::read_link(root.join("etc/link")).unwrap(), Path::new("../../outside"));
    // At each boot the same again, over what is kept.
    let again = Unpacked { put: 7, removed: 0 };
    assert_eq!(unpack(&layer, &root, &values()).unwrap(), again);
}

#[test]
fn several_names_of_one_file() {
    let (_dir, root, _) = root();
    let mut out = Vec::new();
    append(&mut out, &member("a", FILE, 7, 2), b"one");
    append(&mut out, &member("etc/b", FILE, 7, 2), b"");
    end(&mut out);
    unpack(&out, &root, &values()).unwrap();
    let of = |file: &str| fs::metadata(root.join(file)).unwrap();
    assert_eq!((of("a").ino(), of("a").nlink()), (of("etc/b").ino(), 2));
}

#[test]
fn refusals_are_sentences() {
    let (_dir, root, _) = root();
    fs::write(root.join("file"), "").unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for (members, want) in [
        (
            ("dev/sda", FILE),
            "/dev/sda: dev/sda: nothing can be put into /dev, which is mounted when the system starts",
        ),
        (("etc/null", 0o020_666), "/etc/null: it is neither a file, a folder nor a link"),
        (("etc", FILE), "/etc: the image has a folder of this name: remove it first with .wh.NAME"),
        (("file/x", FILE), "/file/x: /file is not a folder"),
        (("dangling/x", FILE), "/dangling/x: /dangling is a link to nothing"),
    ] {
        assert_eq!(why(&[(members.0, members.1, b"")], &root), want);
    }
    let many: Vec<(&str, u32, &[u8])> = vec![("x", FILE, b""); MAX_MEMBERS + 1];
    assert!(why(&many, &root).contains("more than 20000 files"));
    // A bomb: a header that promises more than there may be, and zeros that are packed.
    let zeros = vec![0; 40 << 20];
    let bomb: [(&str, u32, &[u8]); 2] = [("x", FILE, &zeros), ("y", FILE, &zeros)];
    assert!(why(&bomb, &root).contains("it unpacks to more than"));
}

/// Links out of the root, by which others could be reached, lead to places inside it.
#[test]
fn links_lead_nowhere_else() {
    let (_dir, root, outside) = root();
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    for path in ["absolute/secret", "relative/secret", "magic/x", "absolute/.wh.secret"] {
        let _ = unpack(&archive(&[(path, FILE, b"changed")]), &root, &values());
    }
    let own = archive(&[
        ("a", LINK, b"/"),
        ("b", LINK, outside.as_os_str().as_bytes()),
        ("a/etc/through", FILE, b"x"),
        ("b", FILE, b"not through the link"),
    ]);
    unpack(&own, &root, &values()).unwrap();
    assert!(root.join("etc/through").exists() && !root.join("b").is_symlink());
    untouched(&outside);
}

fn untouched(outside: &Path) {
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1, "nothing came, nothing went");
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "outside");
}

/// A member that means harm: names of few words, links, several names of one file, removals.
fn hostile() -> impl Strategy<Value = (String, u32, String, u64)> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "etc",
        "lib",
        "..",
        ".",
        "",
        "outside",
        "secret",
        ".wh.a",
        ".wh.secret",
        ".wh..",
        ".wh...",
        ".wh..wh..opq",
        "a.bt-template",
        "proc",
    ]);
    let kind = prop::sample::select(vec![FILE, FOLDER, LINK, 0o010_600, 0o020_600, 0o104_777]);
    let target =
        prop::sample::select(vec!["../outside", "/", "..", "a", "../../outside/secret", "etc", "lib/../.."]);
    (vec(part, 1..5), kind, target, 0..3u64)
        .prop_map(|(parts, kind, target, inode)| (parts.join("/"), kind, target.to_owned(), inode))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_archive_reaches_outside(members in vec(hostile(), 1..12)) {
        let (_dir, root, outside) = root();
        let mut out = Vec::new();
        for (name, mode, target, inode) in members {
            let bytes = if inode == 2 { "" } else { &target };
            append(&mut out, &member(&name, mode, inode, 1 + u64::from(inode > 0)), bytes.as_bytes());
        }
        end(&mut out);
        let _ = unpack(&out, &root, &values());
        untouched(&outside);
        prop_assert_eq!(fs::read_dir(root.parent().unwrap()).unwrap().count(), 2);
    }
}
