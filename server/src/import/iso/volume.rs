// SPDX-License-Identifier: GPL-3.0-or-later
//! The volume descriptor of an ISO 9660 filesystem (ECMA-119 §8.4): its name, and how long it says that it is.

use std::io::{self, Read, Seek, SeekFrom};

const SECTOR: usize = 2048;
/// Descriptors begin here, and end with one of type 255.
const FIRST: u64 = 16;
/// There are three or four; more than these are not looked at.
const MOST: usize = 32;

/// What the primary volume descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The volume's name: what `CDLABEL=` and /dev/disk/by-label mean.
    pub label: String,
    /// Bytes that the filesystem takes from the file's start.
    pub size: u64,
}

impl Volume {
    /// Read it; `None` where there is none.
    pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Volume>> {
        file.seek(SeekFrom::Start(FIRST * SECTOR as u64))?;
        let mut bytes = Vec::new();
        file.take((MOST * SECTOR) as u64).read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(SECTOR).take_while(|d| &d[1..6] == b"CD001" && d[0] != 255).find_map(primary))
    }
}

fn primary(d: &[u8]) -> Option<Volume> {
    if d[0] != 1 {
        return None;
    }
    let blocks = u32::from_le_bytes(d[80..84].try_into().ok()?);
    let block = u16::from_le_bytes(d[128..130].try_into().ok()?);
    let label: String = String::from_utf8_lossy(&d[40..72]).trim_end_matches([' ', '\0']).into();
    Some(Volume { label, size: u64::from(blocks) * u64::from(block) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn descriptor(kind: u8, label: &str, blocks: u32) -> Vec<u8> {
        let mut d = vec![0; SECTOR];
        d[0] = kind;
        d[1..6].copy_from_slice(b"CD001");
        d[40..72].fill(b' ');
        d[40..40 + label.len()].copy_from_slice(label.as_bytes());
        d[80..84].copy_from_slice(&blocks.to_le_bytes());
        d[128..130].copy_from_slice(&2048u16.to_le_bytes());
        d
    }

    #[test]
    fn the_primary_one_wherever_it_stands() {
        let iso = |parts: &[Vec<u8>]| [vec![0; 0x8000], parts.concat()].concat();
        let read = |bytes: Vec<u8>| Volume::read(&mut Cursor::new(bytes)).unwrap();
        let (boot, primary, end) =
            (descriptor(0, "", 0), descriptor(1, "Debian 13", 100), descriptor(255, "", 0));
        let want = Some(Volume { label: "Debian 13".into(), size: 204_800 });
        assert_eq!(read(iso(&[primary.clone(), end.clone()])), want);
        assert_eq!(read(iso(&[boot, primary.clone()])), want);
        assert_eq!(read(iso(&[end, primary.clone()])), None);
        assert_eq!(read(iso(&[primary[..100].to_vec()])), None);
        assert_eq!(read(Vec::new()), None);
    }
}
