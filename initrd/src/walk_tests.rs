// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::Section;
use std::{
    fs::File,
    io::Write,
    process::{Command, Stdio},
};

fn sh(script: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-ec", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || to.write_all(&input));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "{script}");
    out.stdout
}

/// As cpio(1) makes it: folder, file, hard link, symbolic link, fifo.
fn archive() -> Vec<u8> {
    sh(
        "d=$(mktemp -d); cd $d; mkdir -p etc; echo hello >etc/a; ln etc/a etc/b; ln -s a etc/c; mkfifo etc/p; \
         find . -mindepth 1 | sort | cpio -o -H newc --quiet; cd /; rm -r $d",
        b"",
    )
}

/// Name, kind, content.
type Seen = (String, u32, Vec<u8>);

fn walked(bytes: &[u8], most: u64) -> Result<(Walked, Vec<Seen>)> {
    let mut file = tempfile();
    file.write_all(b"in front").unwrap();
    file.write_all(bytes).unwrap();
    file.write_all(b"070701 behind").unwrap();
    let mut all = Vec::new();
    let walked = walk(Section::new(&file, 8, bytes.len() as u64), most, &mut |member, bytes| {
        let mut content = Vec::new();
        bytes.read_to_end(&mut content)?;
        all.push((String::from_utf8(member.name.clone())?, member.mode & 0o170_000, content));
        Ok(())
    })?;
    Ok((walked, all))
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("initrd-{:?}", std::thread::current().id()));
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Chains, each part as its own program packs it.
#[test]
fn what_other_programs_have_packed() {
    let plain = archive();
    let names = ["etc", "etc/a", "etc/b", "etc/c", "etc/p"];
    for (program, compression) in [
        ("gzip", Compression::Gzip),
        ("xz --check=crc32", Compression::Xz),
        ("zstd -q", Compression::Zstd),
        ("lz4 -l -q", Compression::Lz4),
    ] {
        let packed = sh(program, &plain);
        for (bytes, times) in [
            (packed.clone(), 1),
            ([&plain[..], &packed].concat(), 2),
            (sh(program, &[&plain[..], &plain].concat()), 2),
        ] {
            let (walked, all) = walked(&bytes, 1 << 20).unwrap();
            assert_eq!((walked.archives, &walked.packed[..]), (times, &[compression][..]), "{program}");
            let seen: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(seen, names.repeat(times), "{program}");
            let contents: Vec<&[u8]> =
                all.iter().map(|(.., c)| c.as_slice()).filter(|c| !c.is_empty()).collect();
            assert_eq!(
                contents,
                [&b"hello\n"[..], b"a"].repeat(times),
                "the last name of a file has its bytes"
            );
        }
    }
}

#[test]
fn what_is_cut_or_too_large_is_an_error() {
    let plain = archive();
    let packed = sh("zstd -q", &plain);
    assert!(format!("{:#}", walked(&plain, 100).unwrap_err()).contains("more than 100 bytes"));
    assert!(walked(&packed, 100).is_err());
    for bytes in [&plain, &packed] {
        for cut in (7..bytes.len() - 8).step_by(5) {
            // What ends within its padding or behind its trailer is whole.
            let whole = walked(bytes, 1 << 20).unwrap().1;
            match walked(&bytes[..cut], 1 << 20) {
                Ok((_, all)) => assert!(all.len() <= whole.len()),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
    let damaged: Vec<u8> = plain.iter().map(|b| if *b == b'0' { b'x' } else { *b }).collect();
    assert_eq!(walked(&damaged, 1 << 20).unwrap().0.archives, 0);
    let huge = [b"070701", "F".repeat(104).as_bytes()].concat();
    assert!(walked(&huge, 1 << 20).unwrap_err().to_string().contains("name of 4294967295 bytes"));
}
