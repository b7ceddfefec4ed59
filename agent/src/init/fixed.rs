// SPDX-License-Identifier: GPL-3.0-or-later
//! `ip=` on the kernel command line (Documentation/admin-guide/nfs/nfsroot.rst), as initramfs-tools and the kernel have it.

use super::lease::Lease;
use anyhow::{bail, ensure};
use bootspec::cmdline;
use std::net::Ipv4Addr;

/// What `ip=` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An address by DHCP, on a card of this name if one is given.
    Dhcp(Option<String>),
    /// This address, on a card of this name if one is given.
    Fixed(Option<String>, Box<Lease>),
}

/// The last `ip=` of a command line; without any, DHCP. Errors: it cannot be understood, or asks for no network.
pub fn asked(line: &str) -> anyhow::Result<Asked> {
    let words = cmdline::split(line);
    let value = words.iter().rev().find(|(name, _)| name == "ip").and_then(|(_, value)| value.as_deref());
    match value.unwrap_or("dhcp") {
        "" | "dhcp" | "on" | "any" | "both" | "bootp" | "rarp" => Ok(Asked::Dhcp(None)),
        "off" | "none" => {
            bail!("ip=off: this machine needs a network to fetch its image; remove it, or use ip=dhcp")
        }
        value => parse(value),
    }
}

/// `CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:HOW:DNS0:DNS1:NTP0`, and `DEVICE:dhcp` as dracut has it.
fn parse(value: &str) -> anyhow::Result<Asked> {
    let fields: Vec<&str> = value.split(':').collect();
    let field = |n: usize| fields.get(n).copied().filter(|f| !f.is_empty());
    if let [device, "dhcp" | "on" | "any"] = fields[..] {
        return Ok(Asked::Dhcp(Some(device.into())));
    }
    ensure!(fields.len() <= 10, "'ip={value}' has more than ten fields: see docs/kernel-parameters.md");
    let address = |n: usize| match field(n).map(str::parse::<Ipv4Addr>) {
        None => Ok(None),
        Some(Ok(address)) => Ok(Some(address).filter(|a| !a.is_unspecified())),
        Some(Err(_)) => bail!("'ip={value}': '{}' is not a valid IPv4 address", fields[n]),
    };
    let device = field(5).map(str::to_owned);
    let Some(own) = address(0)? else { return Ok(Asked::Dhcp(device)) };
    let mask = match address(3)? {
        Some(mask) => u32::from(mask),
        None => bail!("'ip={value}' has no netmask: write ip=ADDRESS::GATEWAY:NETMASK::DEVICE:off"),
    };
    ensure!(mask.leading_ones() == mask.count_ones(), "'ip={value}': '{}' is not a valid netmask", fields[3]);
    let router = address(2)?;
    Ok(Asked::Fixed(
        device,
        Box::new(Lease {
            address: own,
            prefix: mask.leading_ones() as u8,
            routes: router.map(|r| (Ipv4Addr::UNSPECIFIED, 0, Some(r))).into_iter().collect(),
            server: address(1)?.unwrap_or(Ipv4Addr::UNSPECIFIED),
            dns: [address(7)?, address(8)?].into_iter().flatten().collect(),
            ntp: address(9)?.into_iter().collect(),
            hostname: field(4).map(str::to_owned),
            domain: None,
            search: Vec::new(),
            mtu: None,
            seconds: None,
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_admins_write_it() {
        for line in ["quiet", "ip=dhcp", "ip=any", "ip", "ip=::::::dhcp"] {
            assert_eq!(asked(line).unwrap(), Asked::Dhcp(None), "{line}");
        }
        assert_eq!(asked("ip=eth1:dhcp").unwrap(), Asked::Dhcp(Some("eth1".into())));
        assert_eq!(asked("ip=:::::eth1:dhcp").unwrap(), Asked::Dhcp(Some("eth1".into())));
        let Asked::Fixed(device, lease) =
            asked("ip=dhcp ip=10.0.0.9:10.0.0.2:10.0.0.1:255.255.255.0:pc9:eth0:off:10.0.0.3::10.0.0.4")
                .unwrap()
        else {
            panic!("fixed")
        };
        assert_eq!((device.as_deref(), lease.prefix), (Some("eth0"), 24));
        assert_eq!((lease.server, lease.hostname.as_deref()), (Ipv4Addr::new(10, 0, 0, 2), Some("pc9")));
        assert_eq!((lease.dns.len(), lease.ntp.len(), lease.seconds), (1, 1, None));
        for (line, why) in [
            ("ip=off", "needs a network"),
            ("ip=10.0.0.9", "no netmask"),
            ("ip=10.0.0.9:::255.0.255.0", "'255.0.255.0' is not a valid netmask"),
            ("ip=10.0.0.x:::255.255.255.0", "'10.0.0.x' is not a valid IPv4 address"),
            ("ip=1:2:3:4:5:6:7:8:9:10:11", "more than ten"),
        ] {
            let e = asked(line).unwrap_err().to_string();
            assert!(e.contains(why), "{line}: {e}");
        }
    }
}
