// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent vlan`: the interface that `vlan=` on the kernel command line asks for, before anybody asks
//! for an address.

use crate::{args::VlanArgs, link, net};
use anyhow::{Context, anyhow, bail};
use bootspec::{
    Exit,
    vlan::{Card, Vlan},
};
use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// Drivers may still be loading.
const PATIENCE: Duration = Duration::from_secs(30);

/// Make it and print its name; nothing where there is no `vlan=`.
pub fn run(args: &VlanArgs) -> Exit {
    match make(&args.cmdline_file) {
        Ok(Some(name)) => {
            println!("{name}");
            Exit::Ok
        }
        Ok(None) => Exit::Ok,
        Err(e) => {
            eprintln!("boottorrent: {e:#}");
            Exit::Network
        }
    }
}

/// Make it, once its card is there. `None`: none is asked for.
pub fn make(cmdline: &Path) -> anyhow::Result<Option<String>> {
    let line = fs::read_to_string(cmdline).with_context(|| format!("reading {}", cmdline.display()))?;
    let Some(vlan) = Vlan::of(&line).map_err(|e| anyhow!(e))? else { return Ok(None) };
    let card = card(&vlan.card)?;
    // After a failure, and an `exit` from the rescue shell, it is there.
    if !Path::new("/sys/class/net").join(&vlan.name).exists() {
        // Built in, or missing: the kernel says so below.
        let _ = Command::new("modprobe").args(["-b", "-q", "8021q"]).status();
        link::add_vlan(&vlan.name, vlan.id, &card).with_context(|| {
            format!("making {} on {card} (is the kernel module 8021q in the initrd?)", vlan.name)
        })?;
    }
    link::up(&card)?;
    link::up(&vlan.name)?;
    Ok(Some(vlan.name))
}

/// The name of the card, once it is there.
fn card(wanted: &Card) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        let mut names: Vec<String> = fs::read_dir("/sys/class/net")
            .context("reading /sys/class/net")?
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        let found = |name: &&String| match wanted {
            Card::Name(wanted) => *name == wanted,
            Card::Mac(wanted) => net::mac(name) == *wanted,
        };
        if let Some(name) = names.iter().find(found) {
            return Ok(name.clone());
        }
        if began.elapsed() > PATIENCE {
            let wanted = match wanted {
                Card::Name(name) | Card::Mac(name) => name,
            };
            bail!("vlan=: there is no network card {wanted} on this machine: there are {}", names.join(", "));
        }
        sleep(Duration::from_millis(250));
    }
}
