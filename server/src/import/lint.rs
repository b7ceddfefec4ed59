// SPDX-License-Identifier: GPL-3.0-or-later
//! What is often wrong with a root filesystem that boots all the same: said when it is added.

use super::tree::Tree;
use anyhow::Result;

/// Who brings other cards up than the boot card, and what it keeps.
const MANAGERS: [(&str, &str); 4] = [
    ("usr/sbin", "NetworkManager"),
    ("usr/sbin", "ifup"),
    ("sbin", "ifup"),
    ("etc/systemd/system/multi-user.target.wants", "systemd-networkd.service"),
];

/// Notes on a root filesystem.
pub fn of_root(tree: &dyn Tree) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let keys = found(tree, "etc/ssh", |n| n.starts_with("ssh_host_") && n.ends_with("_key"))?;
    if !keys.is_empty() {
        notes.push(format!(
            "it contains SSH host keys ({}): all machines get the same ones, and anyone who downloads the image can read \
             them; --exclude 'etc/ssh/ssh_host_*' leaves them out of a directory or tarball",
            keys.join(", ")
        ));
    }
    let mut private = found(tree, "root/.ssh", |n| n.starts_with("id_") && !n.ends_with(".pub"))?;
    private.extend(found(tree, "root", |n| n.ends_with("_history") && n.starts_with('.'))?);
    if !private.is_empty() {
        notes.push(format!(
            "it contains {}, which anyone who downloads the image can read",
            private.join(", ")
        ));
    }
    let firmware = found(tree, "usr/lib/firmware", |_| true)?;
    if firmware.is_empty() && found(tree, "lib/firmware", |_| true)?.is_empty() {
        notes.push(
            "it contains no firmware: many network cards, graphics cards and Wi-Fi devices need some (in Debian: the \
             package firmware-linux)"
                .to_owned(),
        );
    }
    let managed = MANAGERS.iter().try_fold(false, |any, (folder, name)| {
        Ok::<_, anyhow::Error>(any || tree.names(folder)?.iter().any(|n| n == name))
    });
    if !managed? {
        notes.push(
            "nothing in it configures the network: the boot card keeps its address, and other cards stay down".to_owned(),
        );
    }
    Ok(notes)
}

/// The files of a folder that are meant, as paths from the root.
fn found(tree: &dyn Tree, folder: &str, is_meant: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut names = tree.names(folder)?;
    names.retain(|name| is_meant(name));
    names.sort();
    Ok(names.into_iter().map(|name| format!("/{folder}/{name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tree::Folder;
    use super::*;
    use std::fs;

    #[test]
    fn roots_of_all_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let notes = || of_root(&Folder(dir.path().to_owned())).unwrap();
        assert_eq!(notes().len(), 2, "{:?}", notes());
        put("lib/firmware/x.bin");
        put("usr/sbin/NetworkManager");
        put("root/.ssh/id_ed25519.pub");
        put("etc/ssh/ssh_host_rsa_key.pub");
        assert_eq!(notes(), Vec::<String>::new());
        put("etc/ssh/ssh_host_rsa_key");
        put("root/.bash_history");
        put("root/.ssh/id_ed25519");
        let notes = notes();
        assert!(notes[0].starts_with("it contains SSH host keys (/etc/ssh/ssh_host_rsa_key): "), "{notes:?}");
        assert_eq!(
            notes[1],
            "it contains /root/.ssh/id_ed25519, /root/.bash_history, which anyone who downloads the image can read"
        );
    }
}
