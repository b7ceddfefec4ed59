// SPDX-License-Identifier: GPL-3.0-or-later
//! Roots in which somebody looks after the network, as Debian's packages set it up: ifupdown with a DHCP client,
//! NetworkManager, systemd-networkd, or nobody; with systemd-resolved or without.

use super::{APPEND, IMAGE, Suite, cached, common::hook_files, key_of, root};
use crate::{Cmd, agent_binary, server_binary};
use anyhow::Result;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Who looks after the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// ifupdown, as d-i sets it up.
    Ifupdown,
    /// NetworkManager, as a desktop has it.
    NetworkManager,
    /// systemd-networkd, with a file of the image's own.
    Networkd,
    /// Nobody.
    Nobody,
}

impl Manager {
    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::Ifupdown => "ifupdown",
            Manager::NetworkManager => "networkmanager",
            Manager::Networkd => "networkd",
            Manager::Nobody => "nobody",
        }
    }
}

/// A catalogue with such an image, called [`IMAGE`].
pub fn managed(manager: Manager, resolved: bool) -> Result<PathBuf> {
    let suite = Suite::own()?;
    let client = if suite == Suite::Bookworm { "isc-dhcp-client" } else { "dhcpcd-base" };
    let packages = format!("{},ifupdown,{client},network-manager,systemd-resolved", root::PACKAGES);
    let base = root::bootstrap("managers", suite, &packages)?;
    let mut files = hook_files("initramfs-tools")?;
    files.extend([agent_binary()?, server_binary()?]);
    let variant = format!("{}-{}", manager.as_str(), if resolved { "resolved" } else { "plain" });
    let texts = [&base.to_string_lossy(), include_str!("managed.rs"), include_str!("root.rs"), APPEND];
    cached(&format!("managed-{variant}"), &key_of(&files, &texts)?, move |dir| {
        root::over(&base, dir, move |root, dir| {
            set_up(root, manager, resolved)?;
            root::finish(root, dir)
        })?;
        let add = Cmd::new(server_binary()?).args(["image", "add"]).arg(dir.join("payload.squashfs"));
        add.args(["--name", IMAGE, "--append", APPEND, "--dir"]).arg(dir).run()?;
        for file in ["payload.squashfs", "vmlinuz", "initrd.img", "initrd.list", "modules.builtin"] {
            fs::remove_file(dir.join(file))?;
        }
        Ok(())
    })
}

/// As an admin would choose among what is installed.
fn set_up(root: &Path, manager: Manager, resolved: bool) -> Result<()> {
    let unit = |switch: bool, name: &str| {
        let verb = if switch { "enable" } else { "disable" };
        Cmd::new("systemctl")
            .arg(format!("--root={}", root.display()))
            .args(["--quiet", verb, name])
            .run()
            .map(drop)
    };
    unit(manager == Manager::NetworkManager, "NetworkManager.service")?;
    unit(manager == Manager::Networkd, "systemd-networkd.service")?;
    unit(resolved, "systemd-resolved.service")?;
    let resolv = root.join("etc/resolv.conf");
    if resolv.symlink_metadata().is_ok() {
        fs::remove_file(&resolv)?;
    }
    match resolved {
        true => symlink("../run/systemd/resolve/stub-resolv.conf", &resolv)?,
        false => fs::write(&resolv, "nameserver 192.0.2.1\n")?,
    }
    let mut interfaces = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n".to_owned();
    if manager == Manager::Ifupdown {
        interfaces += "\nallow-hotplug ens3\niface ens3 inet dhcp\n";
    }
    fs::write(root.join("etc/network/interfaces"), interfaces)?;
    if manager == Manager::Networkd {
        let file = root.join("etc/systemd/network/20-wired.network");
        fs::write(file, "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n")?;
    }
    Ok(())
}
