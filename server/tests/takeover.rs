// SPDX-License-Identifier: GPL-3.0-or-later
//! Somebody has taken over the server's user, who owns the catalogue, and root runs the documented commands. Nothing
//! outside the catalogue is written, read, or given other permissions.
#![allow(missing_docs)]

mod common;

use common::{Said, World, tool, until};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Stdio},
};

/// The server's user in these tests; nobody has this number.
const USER: u32 = 47_110;

/// A file as others see it: content, mode, owner, inode.
type Seen = BTreeMap<PathBuf, (Vec<u8>, u32, u32, u64)>;

/// A catalogue of [`USER`] with the image `lab`, and an outside that is root's.
struct Taken(World);

impl Taken {
    fn new() -> Option<Taken> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: it needs root");
            return None;
        }
        let w = World::new();
        // The user can reach it all.
        fs::set_permissions(w.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(w.path("cat")).unwrap();
        w.squashfs("lab");
        w.write("outside/secret", "[default]\nimage = \"the-secret\"\n");
        fs::set_permissions(w.path("outside/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        w.write("outside/public", "public");
        std::os::unix::fs::chown(w.path("cat"), Some(USER), Some(USER)).unwrap();
        let t = Taken(w);
        t.run(&["image", "add", "lab.squashfs"]).good();
        t.run(&["key", "generate", "--no-password"]).good();
        Some(t)
    }

    fn run(&self, args: &[&str]) -> Said {
        self.0.run(args)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// What is outside the catalogue and not the program's own.
    fn outside(&self) -> Seen {
        let (mut todo, mut seen) = (vec![self.path("outside")], Seen::new());
        while let Some(path) = todo.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            seen.insert(path, (bytes, meta.mode(), meta.uid(), meta.ino()));
        }
        seen
    }

    /// A shell command of the server's user in the catalogue.
    #[track_caller]
    fn as_user(&self, script: &str) {
        let out = user().args(["sh", "-c", script]).current_dir(self.path("cat")).output().unwrap();
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

fn user() -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--"]);
    command
}

#[test]
fn links_lead_root_nowhere() {
    let Some(t) = Taken::new() else { return };
    let secret = t.0.shown("outside/secret");
    let image = t.0.shown("lab.squashfs");
    // Every name that root's commands write, here and in earlier versions, and some that they read.
    let traps = [
        "images/.manifest",
        "images/.lock",
        "images/lab/.lab.statement.new",
        "images/lab/lab.statement",
        "images/lab/lab.statement.minisig",
        "images/lab/sums",
        ".token.new",
        "token",
        ".hosts.toml.new",
        ".hosts.lock",
        "hosts.toml",
        ".setup.toml.new",
        "setup.toml",
        "ltsp.toml",
        "fetch",
        "grub",
        "machines.json",
        ".token.lock",
        "images/lab@7",
        "images/lab@7/manifest.toml",
        "images/lab@7/lab.statement",
    ];
    let commands: [&[&str]; 22] = [
        &["image", "sign", "lab"],
        &["image", "sign", "--all"],
        &["image", "verify", "lab"],
        &["image", "show", "lab"],
        &["image", "list"],
        &["image", "set", "lab", "--priority", "9"],
        &["image", "set", "lab", "--default"],
        &["image", "add", "lab.squashfs", "--replace"],
        &["image", "add", "lab.squashfs", "--name", "other"],
        &["image", "fetch", &image, "--name", "third"],
        &["host", "set", "52:54:00:00:00:01", "--image", "lab"],
        &["host", "list"],
        &["host", "unset", "52:54:00:00:00:01"],
        &["token", "new"],
        &["token", "list"],
        &["token", "remove"],
        &["image", "history", "lab"],
        &["image", "rollback", "lab", "--to", "7"],
        &["image", "remove", "lab@7", "--force"],
        &["host", "import", "list.csv"],
        &["host", "export"],
        &["image", "remove", "other", "--force"],
    ];
    let before = t.outside();
    for to in
        [secret.as_str(), &t.0.shown("outside/public"), &t.0.shown("outside/new"), &t.0.shown("outside")]
    {
        for trap in traps {
            // An earlier version, whose files may lead outside as well.
            t.as_user(
                "rm -rf images/lab@7; cp -r images/lab images/lab@7 && sed -i '1i version = 7' images/lab@7/manifest.toml \
                 || true",
            );
            t.as_user(&format!("rm -rf {trap}; ln -s {to} {trap}"));
            for command in commands {
                let said = t.run(command);
                let all = format!("{}{}", said.out, said.err);
                assert!(!all.contains("the-secret"), "{trap} -> {to}: {command:?}: {all}");
                assert!(t.outside() == before, "{trap} -> {to}: {command:?} wrote outside: {all}");
            }
            t.as_user(&format!("rm -rf {trap}"));
        }
    }
    // And it works again, for its owner.
    t.run(&["image", "add", "lab.squashfs", "--replace"]).good();
    t.run(&["image", "sign", "lab"]).good();
    t.run(&["image", "verify", "lab"]).good();
    for file in ["", "/payload", "/manifest.toml", "/lab.statement", "/lab.statement.minisig"] {
        let meta = fs::metadata(t.path(&format!("cat/images/lab{file}"))).unwrap();
        let mode = if file.is_empty() { 0o755 } else { 0o644 };
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (USER, USER, mode), "{file}");
    }
}

/// Whole folders that are somebody else's.
#[test]
fn folders_that_lead_outside() {
    let Some(t) = Taken::new() else { return };
    t.0.write("outside/lab/payload", "payload");
    t.0.write("outside/lab/manifest.toml", fs::read(t.path("cat/images/lab/manifest.toml")).unwrap());
    t.0.write("outside/.staging-x-1/file", "of root");
    fs::create_dir(t.path("outside/empty")).unwrap();
    let before = t.outside();
    for (folder, to) in [("images", "outside"), ("images/lab", "outside/lab"), ("images", "outside/empty")] {
        let to = t.0.shown(to);
        t.as_user(&format!("mv {folder} away; ln -s {to} {folder}"));
        for command in [
            &["image", "sign", "lab"][..],
            &["image", "set", "lab", "--priority", "3"],
            &["image", "set", "lab", "--name", "renamed"],
            &["image", "add", "lab.squashfs", "--replace"],
            &["image", "add", "lab.squashfs", "--name", "new"],
            &["image", "remove", "lab", "--force"],
        ] {
            let said = t.run(command);
            assert!(t.outside() == before, "{folder} -> {to}: {command:?}: {}{}", said.out, said.err);
        }
        t.as_user(&format!("rm -rf {folder}; mv away {folder}"));
    }
}

/// While root makes an image, its folder is renamed, and another one put in its place.
#[test]
fn what_is_being_made_cannot_be_exchanged() {
    let Some(t) = Taken::new() else { return };
    t.0.root("slow");
    let real =
        String::from_utf8(Command::new("sh").args(["-c", "command -v mksquashfs"]).output().unwrap().stdout);
    let script = format!(
        "#!/bin/sh\nfor i in $(seq 200); do [ ! -e '{0}' ] || break; sleep 0.1; done\nexec {1} \"$@\"\n",
        t.0.shown("bin/go"),
        real.unwrap().trim()
    );
    let slow = t.0.write("bin/mksquashfs", script);
    fs::set_permissions(slow, fs::Permissions::from_mode(0o755)).unwrap();
    let secret = t.0.shown("outside/secret");
    let before = t.outside();
    for exchange in [
        format!(
            "mv $s away; mkdir $s; for f in payload sums vmlinuz initrd manifest.toml; do ln -s {secret} $s/$f; done"
        ),
        format!("mv $s away; ln -s {} $s", t.0.shown("outside")),
        "mv $s away".to_owned(),
    ] {
        let path = format!("{}:{}", t.0.shown("bin"), std::env::var("PATH").unwrap());
        let mut adding = t.0.command(&["image", "add", "slow"]);
        let child = adding.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let staged = || {
            let all = fs::read_dir(t.path("cat/images")).unwrap().map(|e| e.unwrap().path());
            { all }.find(|p| p.file_name().unwrap().to_string_lossy().starts_with(".staging-slow-"))
        };
        // Kernel and initrd are there: it packs now.
        let staged = until("packing", || staged().filter(|s| s.join("initrd").exists()));
        let inside = user().args(["ls"]).arg(&staged).stderr(Stdio::null()).output().unwrap();
        assert!(!inside.status.success(), "what is being made is root's alone");
        t.as_user(&format!("cd images; s=$(echo .staging-slow-*); {exchange}"));
        t.0.write("bin/go", "");
        let said: Said = child.wait_with_output().unwrap().into();
        fs::remove_file(t.path("bin/go")).unwrap();
        assert_eq!(said.code, Some(1), "{exchange}: {}{}", said.out, said.err);
        assert!(t.outside() == before, "{exchange}: {}{}", said.out, said.err);
        assert!(!t.path("cat/images/slow").exists());
        let _ = fs::remove_dir_all(t.path("cat/images/away"));
        t.as_user("rm -rf images/.staging-slow-* || true");
    }
}

/// The key is root's, and so is the word on what was verified.
#[test]
fn fetches_of_root_are_roots_until_they_are_whole() {
    let Some(t) = Taken::new() else { return };
    let image = t.0.shown("lab.squashfs");
    let said = t.run(&["image", "fetch", &image, "--name", "local"]);
    assert!(said.code == Some(0), "{}{}", said.out, said.err);
    let parts = fs::metadata(t.path("cat/fetch/root")).unwrap();
    assert_eq!((parts.uid(), parts.mode() & 0o777), (0, 0o700));
    t.as_user("mv fetch/root fetch/away; mkdir -m 700 fetch/root");
    let said = t.run(&["image", "fetch", &image, "--name", "again"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains("is not ours alone"), "{}", said.err);
}

/// `image sign` signs what is there, not what the server's user says.
#[test]
fn nothing_unverified_is_signed() {
    let Some(t) = Taken::new() else { return };
    t.run(&["image", "sign", "lab"]).good();
    let statement = || fs::read(t.path("cat/images/lab/lab.statement")).unwrap();
    let signed = statement();
    let manifest = fs::read_to_string(t.path("cat/images/lab/manifest.toml")).unwrap();
    let sum = manifest.lines().find_map(|l| l.strip_prefix("sha256 = \"")).unwrap().trim_end_matches('"');
    // Another payload, and a manifest that says so, or says anything.
    let lie = format!("sed -i s/{sum}/{}/ images/lab/manifest.toml", "ab".repeat(32));
    let no_sum = "sed -i '/^sha256/d' images/lab/manifest.toml";
    let change = "printf X | dd of=images/lab/payload bs=1 seek=5000 conv=notrunc 2>/dev/null";
    for (what, script, why) in [
        ("the manifest lies", lie.clone(), "its manifest.toml says abab"),
        ("the payload was changed", change.to_owned(), "piece 0 of its payload is not what its torrent says"),
        ("both", format!("{lie}; {change}"), "piece 0 of its payload is not what its torrent says"),
        ("no sum", format!("{no_sum}; {change}"), "piece 0 of its payload is not what its torrent says"),
        ("cut", "truncate -s 4096 images/lab/payload".to_owned(), "its payload has 4096 bytes"),
        (
            "parameters",
            "sed -i 's/^added/append = \"quiet \\&\\& sh\"\\nadded/; /^append = \"\"/d' images/lab/manifest.toml".to_owned(),
            "its kernel parameters were changed by hand",
        ),
    ] {
        t.as_user(&format!("cp -a images/lab spare; {script}"));
        for command in [&["image", "sign", "lab"][..], &["image", "sign", "--all"]] {
            let said = t.run(command);
            assert_eq!(said.code, Some(1), "{what}: {}{}", said.out, said.err);
            assert!(said.err.starts_with("boottorrent: image 'lab' is not signed: ") && said.err.contains(why), "{what}: {}", said.err);
            assert_eq!(statement(), signed, "{what}");
        }
        t.as_user("rm -rf images/lab; mv spare images/lab");
    }
    let said = t.run(&["image", "sign", "lab"]).good();
    assert!(said.contains(&format!("SHA-256 {sum}\n  as it was signed before\n")), "{said}");
    // Payload, torrent and manifest that agree are another image: root is told what is new.
    t.0.write("lab-root/etc/new", "new");
    tool("mksquashfs", &[&t.0.shown("lab-root"), &t.0.shown("new.squashfs"), "-quiet", "-no-progress"]);
    t.run(&["image", "add", "new.squashfs"]).good();
    t.as_user(
        "cp images/lab/lab.statement* .; rm -rf images/lab; mv images/new images/lab; cd images/lab; \
         rm new.statement*; mv new.torrent lab.torrent; cp ../../lab.statement* .; sed -i 's/^name = \"new\"/name = \"lab\"/' manifest.toml",
    );
    let said = t.run(&["image", "sign", "lab"]).good();
    assert!(
        said.contains("CHANGED since it was signed last: ") && said.contains(&format!("SHA-256 {sum} -> ")),
        "{said}"
    );
    t.run(&["image", "sign", "lab"]).good();
    // Without the earlier signature it says that there is none.
    t.as_user("rm images/lab/lab.statement.minisig");
    let said = t.run(&["image", "sign", "lab"]).good();
    assert!(said.contains("no key here has signed it before: compare its SHA-256 with"), "{said}");
}
