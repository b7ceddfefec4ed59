// SPDX-License-Identifier: GPL-3.0-or-later
//! What our hooks put into an initrd where there is a key, and the certificate of an authority.

use super::{
    Suite, cached,
    common::hook_files,
    key_of, live,
    root::{base, chroot, install, over},
};
use crate::agent_binary;
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// A public key, of which nobody has the secret one any more.
const KEY: &str = "untrusted comment: minisign public key E7620F1842B4E81F\n\
                   RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

/// Run initramfs-tools' hook alone, as mkinitramfs does, with a key and what is not a public one in the folder.
const INITRAMFS_TOOLS: &str = "\
export DESTDIR=/made MODULES=most verbose=n CONFDIR=/etc/initramfs-tools
version=$(ls /usr/lib/modules | head -n 1) && export version __MODULES_TO_ADD=/modules
mkdir -p /made && sh -e /usr/share/initramfs-tools/hooks/boottorrent >&2 && find /made/etc/boottorrent -type f | sort
cmp /made/usr/bin/boottorrent-agent /usr/libexec/boottorrent/boottorrent-agent-tls && echo https";

/// dracut with no more than our module needs.
const DRACUT: &str = "\
version=$(ls /usr/lib/modules | head -n 1)
dracut --quiet --no-kernel --no-hostonly --no-early-microcode --compress cat --tmpdir /tmp -m 'base network boottorrent' \
    --kver \"$version\" /made.img >&2 && lsinitrd /made.img | grep -o 'etc/boottorrent/.*/.*' | sort
lsinitrd -f usr/bin/boottorrent-agent /made.img | cmp - /usr/libexec/boottorrent/boottorrent-agent-tls && echo https";

/// The files below /etc/boottorrent in an initrd, by initramfs-tools of a suite.
pub fn baked(suite: Suite) -> Result<String> {
    let key = key_of(&hook_files("initramfs-tools")?, &[KEY, INITRAMFS_TOOLS])?;
    let base = base(suite)?;
    let dir = cached(&format!("baked-{}", suite.as_str()), &key, |dir| {
        over(&base, dir, |root, dir| make(root, dir, "install-initramfs-tools", INITRAMFS_TOOLS))
    })?;
    fs::read_to_string(dir.join("list")).context("reading the list")
}

/// The same by dracut, of this machine's suite.
pub fn baked_by_dracut() -> Result<String> {
    let key = key_of(&hook_files("dracut")?, &[KEY, DRACUT])?;
    let base = live::base()?;
    let dir = cached("baked-dracut", &key, |dir| {
        over(&base, dir, |root, dir| make(root, dir, "install-dracut", DRACUT))
    })?;
    fs::read_to_string(dir.join("list")).context("reading the list")
}

fn make(root: &Path, dir: &Path, hook: &str, script: &str) -> Result<()> {
    install(root, &["install-agent", hook]).with_context(|| format!("with {:?}", agent_binary()))?;
    let keys = root.join("etc/boottorrent/keys");
    fs::create_dir_all(&keys)?;
    fs::write(keys.join("site.pub"), KEY)?;
    fs::write(keys.join("site.key"), "secret")?;
    let authorities = root.join("etc/boottorrent/ca");
    fs::create_dir_all(&authorities)?;
    fs::write(authorities.join("site.crt"), "a certificate")?;
    fs::write(authorities.join("site.key"), "secret")?;
    let list = chroot(root, &["sh", "-c", script]).run()?;
    fs::write(dir.join("list"), list).context("writing the list")
}
