// SPDX-License-Identifier: GPL-3.0-or-later
//! Archives as [`walk`](crate::walk()) reads them.

use super::Member;

/// Append a member and its bytes to an archive (cpio(5), newc). The archive and the time of a member are not written.
///
/// # Panics
/// If there are 4 GiB or more of bytes.
pub fn append(to: &mut Vec<u8>, member: &Member, bytes: &[u8]) {
    let size = u32::try_from(bytes.len()).expect("a member of an archive has less than 4 GiB");
    let ((ino, major, minor), (of, unit)) = (member.inode, member.device);
    let (mode, uid, gid) = (member.mode.into(), member.uid.into(), member.gid.into());
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    let name = member.name.len() as u64 + 1;
    let fields = [ino, mode, uid, gid, member.links, 0, size.into(), major, minor, of, unit, name, 0];
    to.extend_from_slice(b"070701");
    fields.iter().for_each(|f| to.extend_from_slice(format!("{:08x}", *f as u32).as_bytes()));
    for part in [[member.name.as_slice(), b"\0"].concat().as_slice(), bytes] {
        to.extend_from_slice(part);
        to.resize(to.len().next_multiple_of(4), 0);
    }
}

/// Append what ends an archive.
pub fn end(to: &mut Vec<u8>) {
    append(to, &Member { name: b"TRAILER!!!".into(), links: 1, ..Member::default() }, b"");
}
