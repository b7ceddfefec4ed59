// SPDX-License-Identifier: GPL-3.0-or-later
//! The name that udev will give to a network card (systemd.net-naming-scheme(7)), given to it before it is up: older kernels
//! rename no card that is, and what is configured here by name is found by that name later.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of an interface, as the policy `onboard slot path` of Debian has it; for USB, by its address. `None`: udev
/// leaves it as it is.
pub fn of(sys: &Path, interface: &str, mac: &str) -> Option<String> {
    let net = sys.join("class/net").join(interface);
    let device = fs::canonicalize(net.join("device")).ok()?;
    let (card, pci) = pci(&device)?;
    if card.components().any(|c| c.as_os_str().to_string_lossy().starts_with("usb")) {
        // 73-usb-net-by-mac.link
        return Some(format!("enx{}", mac.replace(':', "")));
    }
    let port = port(&net);
    if let Some(n) = number(&pci.join("acpi_index"))
        .or_else(|| number(&pci.join("index")))
        .filter(|n| (1..=16383).contains(n))
    {
        return Some(format!("eno{n}{port}"));
    }
    let address = Address::of(&pci)?;
    let domain = if address.domain > 0 { format!("P{}", address.domain) } else { String::new() };
    let function = if address.function > 0 || multifunction(&pci) {
        format!("f{}", address.function)
    } else {
        String::new()
    };
    let place = match slot(sys, &pci) {
        Some(slot) => format!("s{slot}"),
        None => format!("p{}s{}", address.bus, address.slot),
    };
    let name = format!("en{domain}{place}{function}{port}");
    // The kernel's IFNAMSIZ.
    (name.len() <= 15).then_some(name)
}

/// The device itself, and the PCI device that it is or is on.
fn pci(device: &Path) -> Option<(PathBuf, PathBuf)> {
    let on_pci = |d: &&Path| fs::canonicalize(d.join("subsystem")).is_ok_and(|s| s.ends_with("bus/pci"));
    let pci = device.ancestors().find(on_pci)?;
    Some((device.to_owned(), pci.to_owned()))
}

/// `0000:00:03.0`, as sysfs has it.
struct Address {
    domain: u32,
    bus: u32,
    slot: u32,
    function: u32,
}

impl Address {
    fn of(pci: &Path) -> Option<Address> {
        let name = pci.file_name()?.to_str()?;
        let (rest, function) = name.rsplit_once('.')?;
        let parts: Vec<u32> =
            rest.split(':').map(|p| u32::from_str_radix(p, 16).ok()).collect::<Option<_>>()?;
        let &[domain, bus, slot] = &parts[..] else { return None };
        Some(Address { domain, bus, slot, function: function.parse().ok()? })
    }
}

/// The hotplug slot that a card is in, or that a bridge above it is in.
fn slot(sys: &Path, pci: &Path) -> Option<u32> {
    let slots: Vec<(u32, String)> = fs::read_dir(sys.join("bus/pci/slots"))
        .ok()?
        .flatten()
        .filter_map(|e| {
            let n = e.file_name().to_str()?.parse().ok().filter(|n| *n > 0)?;
            Some((n, fs::read_to_string(e.path().join("address")).ok()?.trim().to_owned()))
        })
        .collect();
    for device in pci.ancestors() {
        let name = device.file_name()?.to_str()?;
        let Some((n, _)) =
            slots.iter().find(|(_, at)| name.strip_prefix(at.as_str()).is_some_and(|r| r.starts_with('.')))
        else {
            Address::of(device)?;
            continue;
        };
        // Behind a bridge in a slot, several cards would have one name.
        let bridge = fs::read_to_string(device.join("class")).unwrap_or_default().starts_with("0x0604");
        return (!bridge).then_some(*n);
    }
    None
}

/// Bit 7 of the header type (PCI Local Bus Specification 3.0, 6.2.1).
fn multifunction(pci: &Path) -> bool {
    fs::read(pci.join("config")).is_ok_and(|c| c.get(0x0e).is_some_and(|b| b & 0x80 != 0))
}

/// Which of the ports of one card it is.
fn port(net: &Path) -> String {
    let name = fs::read_to_string(net.join("phys_port_name")).unwrap_or_default();
    match (name.trim(), number(&net.join("dev_port")).unwrap_or(0)) {
        ("", 0) => String::new(),
        ("", n) => format!("d{n}"),
        (name, _) => format!("n{name}"),
    }
}

fn number(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with one card; `more` are files below its PCI device.
    fn name(pci: &str, more: &[(&str, &str)], slots: &[(&str, &str)], virtio: bool) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path();
        let device = sys.join("devices/pci0000:00").join(pci);
        let card = if virtio { device.join("virtio0") } else { device.clone() };
        let net = card.join("net/eth0");
        for folder in ["bus/pci", "bus/virtio", "bus/pci/slots", "class/net"] {
            fs::create_dir_all(sys.join(folder)).unwrap();
        }
        fs::create_dir_all(&net).unwrap();
        symlink(sys.join("bus/pci"), device.join("subsystem")).unwrap();
        if virtio {
            symlink(sys.join("bus/virtio"), card.join("subsystem")).unwrap();
        }
        symlink(&card, net.join("device")).unwrap();
        symlink(&net, sys.join("class/net/eth0")).unwrap();
        for (file, text) in more {
            fs::write(device.join(file), text).unwrap();
        }
        for (slot, address) in slots {
            fs::create_dir_all(sys.join("bus/pci/slots").join(slot)).unwrap();
            fs::write(sys.join("bus/pci/slots").join(slot).join("address"), address).unwrap();
        }
        of(sys, "eth0", "52:54:00:00:00:01")
    }

    #[test]
    fn as_udev_names_them() {
        let says = |n: &str| Some(n.to_owned());
        assert_eq!(name("0000:00:03.0", &[], &[], false), says("enp0s3"));
        assert_eq!(name("0000:00:03.0", &[], &[("3", "0000:00:03")], true), says("ens3"));
        assert_eq!(name("0000:1a:00.1", &[], &[], false), says("enp26s0f1"));
        assert_eq!(name("0001:02:00.0", &[], &[], false), says("enP1p2s0"));
        assert_eq!(name("0000:02:00.0", &[("acpi_index", "1\n")], &[], false), says("eno1"));
        assert_eq!(name("0000:00:1c.0/0000:02:00.0", &[], &[("5", "0000:02:00")], false), says("ens5"));
        let bridge = |class| {
            let dir = "0000:00:1c.0/0000:02:00.0";
            name(dir, &[("../class", class)], &[("7", "0000:00:1c")], false)
        };
        assert_eq!(bridge("0x060400\n"), says("enp2s0"), "a bridge in a slot names nobody");
        assert_eq!(bridge("0x020000\n"), says("ens7"));
        let header = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\u{1}";
        assert_eq!(name("0000:00:03.0", &[("config", header)], &[], false), says("enp0s3"));
    }
}
