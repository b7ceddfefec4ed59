// SPDX-License-Identifier: GPL-3.0-or-later
//! The network as the initramfs left it: `/run/net-IFACE.conf` of klibc's ipconfig, the leases of
//! systemd-networkd (which dracut starts), else any interface that has an address.

use anyhow::{Context, bail};
use bootspec::is_host_name;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

/// What the boot needs to know about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// The interface.
    pub interface: String,
    /// Its MAC address, lower case with colons; empty where it cannot be read.
    pub mac: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The DHCP next-server.
    pub server: Option<Ipv4Addr>,
    /// The name that DHCP gave this machine.
    pub hostname: Option<String>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers (NTP).
    pub ntp: Vec<Ipv4Addr>,
    /// The domain of this machine.
    pub domain: Option<String>,
    /// The domains that names without a dot are looked up in, if DHCP named some (option 119).
    pub searched: Vec<String>,
    /// Seconds for which the address was lent.
    pub lease: Option<u32>,
    /// The interface's number.
    pub index: Option<u32>,
}

impl Net {
    /// The domains that names without a dot are looked up in.
    pub fn search(&self) -> Vec<String> {
        if self.searched.is_empty() { self.domain.iter().cloned().collect() } else { self.searched.clone() }
    }
}

/// The interface that the initramfs configured. With several, the one that `BOOTIF=` names.
pub fn read(net_dir: &Path, bootif: Option<&str>) -> anyhow::Result<Net> {
    let mut found = Vec::new();
    for entry in fs::read_dir(net_dir).with_context(|| format!("reading {}", net_dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if name.starts_with("net-") && name.ends_with(".conf") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            found.extend(parse(&text));
        }
    }
    let seen = from_kernel();
    for lease in leases(&net_dir.join("systemd/netif/leases")) {
        // A lease does not say whose it is, but its address is on one interface only.
        if let Some(on) = seen.iter().find(|s| s.address == lease.address) {
            found.push(Net { interface: on.interface.clone(), ..lease });
        }
    }
    found.extend(seen);
    for net in &mut found {
        net.mac = mac(&net.interface);
        net.index = if_nametoindex(net.interface.as_str()).ok();
    }
    let tried: Vec<String> = found.iter().map(|n| n.interface.clone()).collect();
    found.retain(|n| n.address.is_some());
    let bootif = bootif.map(bootif_mac);
    // Stable, so that what DHCP said comes before what the kernel only knows an address of.
    found.sort_by_key(|n| bootif.as_ref() != Some(&n.mac));
    match found.into_iter().next() {
        Some(net) => Ok(net),
        None if tried.is_empty() => bail!(
            "no network: no interface was configured; check the cable, and that the initrd has this machine's network driver"
        ),
        None => bail!("no network: no address on {}; check the cable and the DHCP server", tried.join(", ")),
    }
}

/// The `BOOTIF=` of a kernel command line.
pub fn bootif(cmdline: &str) -> Option<String> {
    bootspec::cmdline::split(cmdline).into_iter().rev().find(|(n, _)| n == "BOOTIF")?.1
}

/// The address in it, lower case with colons: PXELINUX writes `01-`, the type of the hardware, in front.
pub fn bootif_mac(bootif: &str) -> String {
    bootif.trim_start_matches("01-").replace('-', ":").to_lowercase()
}

/// One net-*.conf: lines of `KEY='value'`, as ipconfig writes for the shell.
pub fn parse(text: &str) -> Option<Net> {
    let get = |key: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(|c| c == '\'' || c == '"')).filter(|v| !v.is_empty())
    };
    let address = |key| get(key)?.parse::<Ipv4Addr>().ok().filter(|a| !a.is_unspecified());
    Some(Net {
        interface: get("DEVICE")?.to_owned(),
        mac: String::new(),
        address: address("IPV4ADDR").map(IpAddr::V4),
        server: address("ROOTSERVER"),
        hostname: get("HOSTNAME").filter(|h| is_host_name(h)).map(str::to_owned),
        domain: get("DNSDOMAIN").filter(|d| is_host_name(d)).map(str::to_owned),
        dns: ["IPV4DNS0", "IPV4DNS1"].into_iter().filter_map(address).collect(),
        ntp: addresses(get("IPV4NTP")),
        searched: domains(get("DOMAINSEARCH")),
        lease: get("DHCPLEASETIME").and_then(|t| t.parse().ok()),
        index: None,
    })
}

/// What systemd-networkd keeps of the answers of DHCP.
fn leases(dir: &Path) -> Vec<Net> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|e| lease(&fs::read_to_string(e.path()).ok()?)).collect()
}

/// One lease of systemd-networkd: lines of `KEY=value`, without the interface.
pub fn lease(text: &str) -> Option<Net> {
    let get = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let address = |key| get(key)?.parse::<Ipv4Addr>().ok().filter(|a| !a.is_unspecified());
    Some(Net {
        address: Some(IpAddr::V4(address("ADDRESS")?)),
        server: address("NEXT_SERVER").or_else(|| address("SERVER_ADDRESS")),
        hostname: get("HOSTNAME").filter(|h| is_host_name(h)).map(str::to_owned),
        domain: get("DOMAINNAME").filter(|d| is_host_name(d)).map(str::to_owned),
        searched: domains(get("DOMAIN_SEARCH_LIST")),
        lease: get("LIFETIME").map(|t| t.trim_end_matches('s')).and_then(|t| t.parse().ok()),
        dns: addresses(get("DNS")),
        ntp: addresses(get("NTP")),
        ..Net::default()
    })
}

/// A list of addresses, without what is not one: networkd names IPv6 servers too.
fn addresses(list: Option<&str>) -> Vec<Ipv4Addr> {
    list.unwrap_or_default().split_whitespace().filter_map(|a| a.parse().ok()).collect()
}

/// A list of domains, without what is none.
fn domains(list: Option<&str>) -> Vec<String> {
    let words = list.unwrap_or_default().split_whitespace().map(|d| d.trim_end_matches('.'));
    words.filter(|d| is_host_name(d)).map(str::to_owned).collect()
}

fn from_kernel() -> Vec<Net> {
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter(|i| i.flags.contains(up) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|i| {
            let address = i.address?.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()))?;
            Some(Net { interface: i.interface_name, address: Some(address), ..Net::default() })
        })
        .collect()
}

/// The MAC address of an interface, lower case with colons; empty where it cannot be read.
pub fn mac(interface: &str) -> String {
    let path = format!("/sys/class/net/{interface}/address");
    fs::read_to_string(path).map(|s| s.trim().to_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.77.0.23'\nIPV4NETMASK='255.255.255.0'\n\
        IPV4DNS0='10.77.0.1'\nIPV4DNS1='0.0.0.0'\nHOSTNAME='pc-7'\nROOTSERVER='10.77.0.1'\nROOTPATH=''\nfilename='x'\n";

    #[test]
    fn reads_what_ipconfig_writes() {
        let net = parse(CONF).unwrap();
        assert_eq!(net.interface, "eth0");
        assert_eq!(net.address, Some("10.77.0.23".parse().unwrap()));
        assert_eq!(net.server, Some(Ipv4Addr::new(10, 77, 0, 1)));
        assert_eq!((net.hostname.as_deref(), net.dns.len()), (Some("pc-7"), 1));
        assert_eq!(parse("PROTO=none"), None);
        assert_eq!(parse(&CONF.replace("pc-7", "a'; rm -rf /")).unwrap().hostname, None);
    }

    #[test]
    fn reads_what_networkd_keeps() {
        let text = "# This is private data. Do not parse.\nADDRESS=10.77.0.23\nNETMASK=255.255.255.0\n\
            SERVER_ADDRESS=10.77.0.1\nNEXT_SERVER=10.77.0.2\nDNS=10.77.0.1 10.77.0.3\nDOMAINNAME=lab\nHOSTNAME=pc-7\n";
        let net = lease(text).unwrap();
        assert_eq!(net.address, Some("10.77.0.23".parse().unwrap()));
        assert_eq!(net.server, Some(Ipv4Addr::new(10, 77, 0, 2)));
        assert_eq!((net.hostname.as_deref(), net.domain.as_deref()), (Some("pc-7"), Some("lab")));
        assert_eq!(net.dns.len(), 2);
        let bare =
            lease("ADDRESS=10.0.0.2\nSERVER_ADDRESS=10.0.0.1\nNEXT_SERVER=0.0.0.0\nHOSTNAME=a/b").unwrap();
        assert_eq!((bare.server, bare.hostname), (Some(Ipv4Addr::new(10, 0, 0, 1)), None));
        assert_eq!(lease("HOSTNAME=x"), None);
    }

    #[test]
    fn an_interface_without_an_address_is_no_network() {
        let net = parse(&CONF.replace("10.77.0.23", "0.0.0.0")).unwrap();
        assert_eq!(net.address, None);
    }

    #[test]
    fn bootif_is_the_last_one() {
        assert_eq!(
            bootif("BOOTIF=01-aa BOOTIF=01-52-54-00-00-00-01 x").as_deref(),
            Some("01-52-54-00-00-00-01")
        );
        assert_eq!(bootif("quiet"), None);
    }
}
