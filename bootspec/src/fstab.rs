// SPDX-License-Identifier: GPL-3.0-or-later
//! What of an image's fstab(5) holds on a machine that has none of its disks: the agent writes it, and the server says
//! beforehand what is left out. Reading only, no I/O.

/// A line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What is mounted: a device, a share, or a word.
    pub what: &'a str,
    /// Where.
    pub at: &'a str,
    /// The filesystem.
    pub kind: &'a str,
    text: &'a str,
}

/// What becomes of fstab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The new file.
    pub text: String,
    /// Mount points whose lines were left out, except for those that a network boot never has.
    pub dropped: Vec<String>,
}

/// The lines, without comments.
pub fn lines(fstab: &str) -> impl Iterator<Item = Line<'_>> {
    fstab.lines().filter_map(|text| {
        let mut words = text.split_whitespace();
        let (what, at, kind) = (words.next()?, words.next()?, words.next()?);
        (!what.starts_with('#')).then_some(Line { what, at, kind, text })
    })
}

impl Line<'_> {
    /// Whether it is for a place that a network boot needs no disk for: the root, swap, boot loaders and drives.
    pub fn is_usual(&self) -> bool {
        // d-i writes a line for the drive that it was started from.
        let removable = self.what.starts_with("/dev/sr") || self.at.starts_with("/media/");
        self.is_root() || removable || ["/boot", "/boot/efi", "/efi"].contains(&self.at)
    }

    fn is_root(&self) -> bool {
        self.at == "/" || self.kind == "swap"
    }

    /// Whether it names a disk, which only the machine has that the image was made on.
    pub fn is_disk(&self) -> bool {
        let tags = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
        let what = self.what.trim_start_matches('"');
        tags.iter().any(|t| what.starts_with(t)) || what.starts_with("/dev/")
    }
}

/// The fstab of the booted system: shares, tmpfs and the like stay; disks, which systemd would wait for, do not.
/// `mounted`: mount points that the agent has mounted already.
pub fn kept(fstab: &str, mounted: &[String]) -> Kept {
    let mut kept = Kept {
        text: "# Written by boottorrent-agent: the root is an overlay, and lines for disks are left out.\n\
               overlay / overlay rw 0 0\n"
            .into(),
        dropped: Vec::new(),
    };
    for line in lines(fstab) {
        let ours = mounted.iter().any(|m| m == line.at);
        // Bind mounts of files and folders of the image itself stay.
        if ours || line.is_root() || line.is_disk() {
            if !ours && !line.is_usual() {
                kept.dropped.push(line.at.to_owned());
            }
        } else {
            kept.text.push_str(line.text.trim());
            kept.text.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_disk_stays() {
        // As d-i writes it with "separate /home, /var and /tmp", and what admins add.
        let fstab = "# /etc/fstab: static file system information.\n\
            UUID=1-2 /               ext4    errors=remount-ro 0       1\n\
            UUID=1-3 /boot/efi       vfat    umask=0077      0       1\n\
            UUID=1-4 /home           ext4    defaults        0       2\n\
            LABEL=VAR /var ext4 defaults 0 2\n\
            UUID=1-5 none            swap    sw              0       0\n\
            /dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0\n\
            nas:/home /srv/home nfs4 _netdev,sec=krb5 0 0\n\
            //nas/pool /srv/pool cifs credentials=/root/c 0 0\n\
            tmpfs /tmp tmpfs size=1G 0 0\n\
            /srv/a /srv/b none bind 0 0\n";
        let Kept { text, dropped } = kept(fstab, &["/var".into()]);
        assert_eq!(dropped, ["/home"]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "overlay / overlay rw 0 0",
                "nas:/home /srv/home nfs4 _netdev,sec=krb5 0 0",
                "//nas/pool /srv/pool cifs credentials=/root/c 0 0",
                "tmpfs /tmp tmpfs size=1G 0 0",
                "/srv/a /srv/b none bind 0 0",
            ]
        );
    }

    #[test]
    fn nothing_that_is_no_line_is_one() {
        for text in ["", "\n\n", "a b", "#x / ext4", "\0"] {
            assert_eq!(lines(text).count(), 0, "{text:?}");
        }
    }
}
