// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use proptest::prelude::*;
use std::io::Write;

/// A newc archive of small files.
fn cpio(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, text) in files.iter().chain([&("TRAILER!!!", "")]) {
        let fields = [1, 0o100755, 0, 0, 1, 0, text.len(), 0, 0, 0, 0, name.len() + 1, 0];
        write!(out, "070701{}", fields.map(|f| format!("{f:08X}")).concat()).unwrap();
        write!(out, "{name}\0").unwrap();
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(text.as_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn good() -> Vec<u8> {
    cpio(&[("init", "#!/bin/sh"), ("./scripts/boottorrent", "x"), ("usr/bin/boottorrent-agent", "agent")])
}

fn packed(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    let mut running = Tool::new(program, program.to_owned().leak())
        .args(args)
        .stdin(File::open(path).unwrap())
        .reader()
        .unwrap();
    let mut out = Vec::new();
    running.read_to_end(&mut out).unwrap();
    out
}

fn verdict(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("initrd");
    std::fs::write(&path, bytes).unwrap();
    check(&path, "X").map_err(|e| format!("{e:#}"))
}

#[test]
fn an_initrd_of_dracut_has_our_module() {
    let lib = ("usr/lib/dracut-lib.sh", "x");
    let agent = ("usr/bin/boottorrent-agent", "agent");
    for folder in ["usr/lib", "var/lib"] {
        let hook = format!("{folder}/dracut/hooks/mount/50-mount-boottorrent.sh");
        assert_eq!(verdict(&cpio(&[lib, agent, (&hook, "x")])), Ok(()), "{folder}");
    }
    let mend = "install the package boottorrent-dracut in the image";
    for files in [&[lib, agent][..], &[lib]] {
        let said = format!("the initrd X lacks BootTorrent's dracut module: {mend}");
        assert_eq!(verdict(&cpio(files)), Err(said));
    }
}

#[test]
fn finds_ours_however_it_is_packed() {
    let early = cpio(&[("kernel/x86/microcode/GenuineIntel.bin", "microcode")]);
    assert_eq!(verdict(&good()), Ok(()));
    let programs =
        [("gzip", &["-c"][..]), ("zstd", &["-c"]), ("xz", &["-c", "--check=crc32"]), ("lzma", &["-c"])];
    for (program, args) in programs {
        let main = packed(program, args, &good());
        assert_eq!(verdict(&main), Ok(()), "{program}");
        let padded = [&early[..], &[0; 512], &main].concat();
        assert_eq!(verdict(&padded), Ok(()), "microcode, padding, {program}");
    }
    // Trixie: an uncompressed archive of modules between microcode and the main one.
    let parts =
        [early, cpio(&[("usr/bin/boottorrent-agent", "x")]), packed("zstd", &["-c"], &good())].concat();
    assert_eq!(verdict(&parts), Ok(()));
}

/// Initrds as mkosi, dracut with an add-on, and boot loaders put them together: cases/boot.md 12.
// Tried: initrds of several archives: gzip, zstd, xz, lz4, bzip2 and plain, in any order | cpio and
// the packer of each
#[test]
fn archives_behind_compressed_ones_are_seen() {
    let first = cpio(&[("init", "x"), ("usr/bin/boottorrent-agent", "agent")]);
    let second = cpio(&[("scripts/boottorrent", "x")]);
    let aligned = |mut bytes: Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let programs: [(&str, &[&str]); 5] = [
        ("gzip", &["-c"]),
        ("zstd", &["-c"]),
        ("xz", &["-c", "--check=crc32"]),
        ("lz4", &["-l", "-c"]),
        ("bzip2", &["-c"]),
    ];
    for (program, args) in programs {
        let whole = packed(program, args, &[&first[..], &second].concat());
        assert_eq!(verdict(&whole), Ok(()), "{program}: two archives in one");
        let head = aligned(packed(program, args, &first));
        assert_eq!(verdict(&[&head[..], &second].concat()), Ok(()), "{program}, plain");
        for (other, args) in programs {
            let parts = [&head[..], &packed(other, args, &second), &[0; 64]].concat();
            assert_eq!(verdict(&parts), Ok(()), "{program}, {other}");
        }
        if !packed(program, args, &first).len().is_multiple_of(4) {
            let misaligned = [&packed(program, args, &first)[..], &second].concat();
            assert!(verdict(&misaligned).is_err(), "{program}: the kernel does not see it either");
        }
        let three = [&second[..], &head, &aligned(packed("zstd", &["-c"], &second)), &first].concat();
        assert_eq!(verdict(&three), Ok(()), "plain, {program}, zstd, plain");
    }
}

#[test]
fn says_what_is_missing() {
    let mend = "install the package boottorrent-initramfs-tools in the image";
    for (bytes, sentence) in [
        (
            cpio(&[("init", "x")]),
            format!("the initrd X lacks BootTorrent's boot script (scripts/boottorrent): {mend}"),
        ),
        (
            cpio(&[("scripts/boottorrent", "x")]),
            format!("the initrd X lacks BootTorrent's agent (usr/bin/boottorrent-agent): {mend}"),
        ),
        (b"just text".to_vec(), "X is not an initrd: there is no cpio archive in it".into()),
        (Vec::new(), "X is not an initrd: there is no cpio archive in it".into()),
        (good()[..300].to_vec(), "reading the initrd X: the archive ends too early".into()),
    ] {
        let verdict = verdict(&bytes).unwrap_err();
        assert!(verdict.starts_with(&sentence), "{verdict}");
    }
    let damaged = verdict(&[&packed("gzip", &["-c"], &good())[..20], b"oops"].concat()).unwrap_err();
    assert!(damaged.starts_with("reading the initrd X: "), "{damaged}");
}

#[test]
fn tells_families_apart() {
    let of = |files: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("initrd");
        let files: Vec<_> = files.iter().map(|f| (*f, "x")).collect();
        std::fs::write(&path, packed("zstd", &["-c"], &cpio(&files))).unwrap();
        family(&path, "X").map(|f| (f.family, f.lacks.is_some())).map_err(|e| format!("{e:#}"))
    };
    for (files, want) in [
        (&["init", "scripts/local", "scripts/live"][..], (Some(Family::LiveBoot), false)),
        (&["scripts/local", "scripts/casper"], (Some(Family::Casper), false)),
        (&["usr/sbin/dmsquash-live-root", "usr/sbin/ifup"], (Some(Family::Dracut), false)),
        (&["usr/bin/dmsquash-live-root"], (Some(Family::Dracut), true)),
        (&["hooks/archiso", "hooks/archiso_pxe_http"], (Some(Family::Archiso), false)),
        (&["hooks/archiso"], (Some(Family::Archiso), true)),
        (&["scripts/local", "scripts/nfs"], (Some(Family::InitramfsTools), false)),
        (&["init", "sbin/anaconda"], (None, false)),
    ] {
        assert_eq!(of(files), Ok(want), "{files:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(cut in 0usize..600, flips in proptest::collection::vec((0usize..600, any::<u8>()), 0..8)) {
        let mut bytes = good();
        bytes.truncate(cut);
        for (at, to) in flips {
            if let Some(b) = bytes.get_mut(at) {
                *b = to;
            }
        }
        let _ = verdict(&bytes);
    }
}
