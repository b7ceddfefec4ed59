// SPDX-License-Identifier: GPL-3.0-or-later

use super::*;
use crate::import::tree::Folder;

/// An EFI program with these sections, padded to 512 bytes in the file as linkers do.
fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut head = vec![0; 0x40];
    head[..2].copy_from_slice(b"MZ");
    head[60] = 0x40;
    head.extend_from_slice(b"PE\0\0\x64\x86");
    head.extend_from_slice(&(sections.len() as u16).to_le_bytes());
    head.extend_from_slice(&[0; 12]);
    head.extend_from_slice(&16u16.to_le_bytes());
    head.extend_from_slice(&[0; 2 + 16]);
    let (mut data, mut at) = (Vec::new(), 4096);
    for (name, bytes) in sections {
        let padded = bytes.len().next_multiple_of(512);
        let mut entry = [0; SECTION as usize];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        for (n, field) in [(8, bytes.len()), (16, padded), (20, at)] {
            entry[n..n + 4].copy_from_slice(&(field as u32).to_le_bytes());
        }
        head.extend_from_slice(&entry);
        data.extend_from_slice(bytes);
        data.resize(data.len().next_multiple_of(512), 0);
        at += padded;
    }
    head.resize(4096, 0);
    [head, data].concat()
}

fn read(bytes: &[u8]) -> Result<Option<Unified>> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let unified = Unified::read(&file)?;
    if let Some(unified) = &unified {
        let mut to = tempfile::tempfile().unwrap();
        unified.copy_kernel(&file, &mut to)?;
        unified.copy_initrd(&file, &mut to)?;
    }
    Ok(unified)
}

const WORDS: &[u8] = b"root=LABEL=x rw console=ttyS0 rd.shell=0 quiet roothash=00\n\0";

fn whole() -> Vec<u8> {
    program(&[
        (".text", b"code"),
        (".osrel", b"ID=debian"),
        (".cmdline", WORDS),
        (".uname", b"6.1.0-9-amd64"),
        (".linux", &[7; 700]),
        (".initrd", &[9; 900]),
    ])
}

#[test]
fn kernel_initrd_and_parameters() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&whole()).unwrap();
    let unified = Unified::read(&file).unwrap().unwrap();
    assert_eq!(unified.version.as_deref(), Some("6.1.0-9-amd64"));
    assert_eq!(unified.parameters(), "console=ttyS0 quiet", "the root is another one");
    let mut to = tempfile::tempfile().unwrap();
    unified.copy_kernel(&file, &mut to).unwrap();
    assert!(unified.copy_initrd(&file, &mut to).unwrap());
    to.rewind().unwrap();
    let mut bytes = Vec::new();
    to.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [vec![7; 700], vec![9; 900]].concat(), "without what fills the file up");
}

#[test]
fn other_programs_are_none() {
    assert_eq!(read(b"").unwrap(), None);
    assert_eq!(read(&[0; 5000]).unwrap(), None);
    // A kernel is an EFI program too.
    assert_eq!(read(&program(&[(".setup", b"x"), (".text", b"x")])).unwrap(), None);
    let alone = read(&program(&[(".linux", b"kernel")])).unwrap().unwrap();
    assert_eq!((alone.initrd, alone.cmdline.as_str()), (None, ""));
    let long = read(&program(&[(".linux", b"kernel"), (".cmdline", &[b'x'; 5000])])).unwrap_err();
    assert_eq!(long.to_string(), "its section .cmdline has 5000 bytes");
}

/// Whatever is in it: an answer or a sentence, never a panic, and never more bytes than the file has.
#[test]
fn hostile_ones() {
    let whole = whole();
    for end in 0..whole.len() {
        let _ = read(&whole[..end]);
    }
    let table = 0x40 + 24 + 16;
    for at in (0..0x60).chain(table..table + 6 * SECTION as usize) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = read(&bytes);
        }
    }
    let mut behind = whole.clone();
    behind[table + 4 * SECTION as usize + 20..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read(&behind).unwrap_err().to_string(), "its section .linux ends behind the file");
}

#[test]
fn the_newest_one_is_found_whatever_the_case_of_its_folder() {
    let (dir, catalogue) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalogue = crate::catalogue::Catalogue::at(catalogue.path());
    let staging = catalogue.stage(&"x".parse().unwrap()).unwrap();
    let folder = dir.path().join("boot/efi/efi/linux");
    std::fs::create_dir_all(&folder).unwrap();
    let found = || find(&Folder(dir.path().into()), &staging).unwrap();
    assert_eq!(found(), None);
    let default = dir.path().join("boot/efi/efi/boot");
    std::fs::create_dir_all(&default).unwrap();
    std::fs::write(default.join("bootx64.efi"), program(&[(".text", b"GRUB")])).unwrap();
    assert_eq!(found(), None, "a boot loader");
    std::fs::write(default.join("bootx64.efi"), whole()).unwrap();
    assert_eq!(found().as_deref(), Some("boot/efi/efi/boot/bootx64.efi"));
    for name in ["debian-6.1.0-9.efi", "debian-6.1.0-10.efi", "readme"] {
        std::fs::write(folder.join(name), whole()).unwrap();
    }
    assert_eq!(found().as_deref(), Some("boot/efi/efi/linux/debian-6.1.0-10.efi"));
}
