// SPDX-License-Identifier: GPL-3.0-or-later
//! What is between the server and machines: ports, interfaces, loaders.

use super::finding::{Finding, SystemPaths};
use crate::{
    api::Api,
    config::Config,
    setup::{survey::MAIN, write::Record},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

/// Whether the server runs; else whether it could.
pub fn server(config: &Config) -> Vec<Finding> {
    let health = Api::connect(config).and_then(|api| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(api.health())
    });
    match health {
        Ok(h) => {
            let mut found = vec![Finding::good(
                "server",
                format!("it runs ({}), and seeds {} of {} images", h.version, h.seeding, h.images),
            )];
            if let Err(e) = Api::local(&config.serve.socket) {
                found.push(Finding::skipped("socket", format!("{e:#}: you cannot change anything over it")));
            }
            found
        }
        Err(_) => {
            let mut found = vec![Finding::bad(
                "server",
                format!("nothing answers on port {}", config.serve.listen.port()),
                "machines get no boot script",
                "systemctl start boottorrent-server, or boottorrent serve; its log says why it ended: journalctl -u boottorrent-server",
            )];
            let mut at = config.serve.listen;
            for port in [config.serve.listen.port(), config.serve.peer_port] {
                at.set_port(port);
                found.extend(taken(at));
            }
            found
        }
    }
}

fn taken(at: SocketAddr) -> Option<Finding> {
    let e = TcpListener::bind(at).err()?;
    let port = at.port();
    let what = match e.kind() {
        ErrorKind::AddrInUse => format!("another program listens on TCP port {port}"),
        ErrorKind::PermissionDenied => format!("this user may not listen on port {port}"),
        _ => format!("listening on {at}: {e}"),
    };
    Some(Finding::bad(
        "ports",
        what,
        "the server cannot start",
        format!(
            "ss -ltnp 'sport = :{port}' shows which program it is: stop it, or choose another port in [serve] of server.toml"
        ),
    ))
}

/// The networks that machines are in.
pub fn interfaces() -> Vec<Finding> {
    let networks = crate::net::interfaces().unwrap_or_default();
    if networks.is_empty() {
        return vec![Finding::bad(
            "network",
            "no interface has an IPv4 address",
            "no machine can reach this server",
            "ip address add ADDRESS/PREFIX dev INTERFACE",
        )];
    }
    let list: Vec<String> = networks.iter().map(|n| format!("{} on {}", n.address, n.name)).collect();
    let mut found = vec![Finding::good("network", list.join(", "))];
    let flags: HashSet<String> = nix::ifaddrs::getifaddrs()
        .map(|all| {
            let multicast = nix::net::if_::InterfaceFlags::IFF_MULTICAST;
            all.filter(|i| i.flags.contains(multicast)).map(|i| i.interface_name).collect()
        })
        .unwrap_or_default();
    for n in networks.iter().filter(|n| !flags.contains(&n.name)) {
        found.push(Finding::warning(
            "multicast",
            format!("{} sends no multicast", n.name),
            "machines find each other by the tracker alone: nothing is lost while the server runs",
            format!("ip link set {} multicast on", n.name),
        ));
    }
    found
}

/// What firmware is given, and who gives it.
pub fn loaders(config: &Config, at: &SystemPaths) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, who) in [("undionly.kpxe", "a BIOS"), ("snponly.efi", "UEFI")] {
        let path = at.ipxe.join(file);
        if !path.is_file() {
            found.push(Finding::warning(
                "firmware",
                format!("{} is not there", path.display()),
                &format!("machines with {who} get no boot loader from here"),
                "apt install ipxe; then boottorrent setup --write",
            ));
        }
    }
    let record = match Record::read(&config.catalogue.dir) {
        Ok(record) => record,
        Err(e) => {
            found.push(Finding::skipped("setup", format!("{e:#}")));
            return found;
        }
    };
    if record.files.is_empty() {
        found.push(Finding::warning(
            "setup",
            "`boottorrent setup --write` has written nothing here",
            "nobody tells machines to come to this server, unless another DHCP server was told to",
            "boottorrent setup, and when you like what it shows: boottorrent setup --write",
        ));
        return found;
    }
    found.extend(written(&record));
    // Without a root's rights all sockets are seen too, but not whose they are.
    let open = udp_ports();
    let missing: Vec<&str> =
        [(67, "DHCP"), (69, "TFTP")].iter().filter(|(p, _)| !open.contains(p)).map(|(_, n)| *n).collect();
    if !missing.is_empty() {
        found.push(Finding::bad(
            "dnsmasq",
            format!("nobody on this machine answers {}", missing.join(" and ")),
            "machines are not sent here",
            "systemctl restart dnsmasq; journalctl -u dnsmasq says why it ended",
        ));
    }
    found.extend(moved(&std::fs::read_to_string(at.dnsmasq.join(MAIN)).unwrap_or_default()));
    if found.is_empty() {
        found.push(Finding::good(
            "setup",
            format!("{} files are as `setup` wrote them, and dnsmasq runs", record.files.len()),
        ));
    }
    found
}

/// Files of setup's that are not as it wrote them.
fn written(record: &Record) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, sum) in &record.files {
        let cure = "boottorrent setup --write";
        match fs::read(path) {
            Err(e) => found.push(Finding::bad(
                "setup",
                format!("{}, which `setup` wrote, cannot be read: {e}", path.display()),
                "machines are not sent here, or get no loader",
                cure,
            )),
            Ok(bytes) if hex(&bytes) != *sum => found.push(Finding::warning(
                "setup",
                format!("{} was changed since `setup` wrote it", path.display()),
                "it may no longer send machines here",
                format!("{cure} shows what it should be"),
            )),
            Ok(_) => {}
        }
    }
    found
}

/// What setup wrote for an address or a network that this machine no longer has.
fn moved(snippet: &str) -> Option<Finding> {
    let networks = crate::net::interfaces().unwrap_or_default();
    let loader = snippet
        .lines()
        .find_map(|l| l.strip_prefix("dhcp-boot=")?.split_once("http://"))
        .map(|(_, rest)| rest);
    let address = loader.and_then(|l| l.split([':', '/']).next()?.parse::<Ipv4Addr>().ok());
    let gone = address.filter(|a| !networks.iter().any(|n| n.address == *a))?;
    Some(Finding::bad(
        "setup",
        format!("it was written for {gone}, which this machine does not have any more"),
        "machines with UEFI HTTP boot are sent there",
        "boottorrent setup --write with the same options",
    ))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn udp_ports() -> HashSet<u16> {
    let tables =
        ["/proc/net/udp", "/proc/net/udp6"].map(|t| fs::read_to_string(Path::new(t)).unwrap_or_default());
    tables.iter().flat_map(|t| ports(t)).collect()
}

/// The local ports in a table of proc(5).
fn ports(table: &str) -> Vec<u16> {
    let port = |l: &str| u16::from_str_radix(l.split_whitespace().nth(1)?.rsplit_once(':')?.1, 16).ok();
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let table = "  sl  local_address rem_address\n  1: 00000000:0043 00000000:0000 07\n  2: 0100007F:0045 0 07\nx\n";
        assert_eq!(ports(table), [67, 69]);
    }
}
