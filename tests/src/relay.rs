// SPDX-License-Identifier: GPL-3.0-or-later
//! A second network, 10.78.0.0/24, behind a router whose relay passes DHCP on, as `ip helper-address` does (RFC 1542).

use crate::{Background, Cmd, Host, Lab};
use anyhow::Result;

/// The router. Its network ends with it.
pub struct Relay {
    _relay: Background,
    router: Host,
}

impl Relay {
    /// The bridge that its machines are plugged into.
    pub const BRIDGE: &str = "br1";
    /// The router's address there.
    pub const ROUTER: &str = "10.78.0.1";

    /// Between the lab's network and a new one. It passes DHCP on to each of these, and they know the way back.
    pub fn new(lab: &Lab, servers: &[&Host]) -> Result<Self> {
        let (switch, router) = (lab.switch(), lab.host("router")?);
        switch.ip(&format!("link add {} type bridge forward_delay 0 mcast_snooping 0", Self::BRIDGE))?;
        switch.ip(&format!("link set {} up", Self::BRIDGE))?;
        router.netns().ip(&format!("link add eth1 type veth peer name far netns {}", switch.path()))?;
        router.netns().ip(&format!("address add {}/24 brd + dev eth1", Self::ROUTER))?;
        router.netns().ip("link set eth1 up")?;
        switch.ip(&format!("link set dev far master {} up", Self::BRIDGE))?;
        router.run(&Cmd::new("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]))?;
        let mut relay = Cmd::new("dnsmasq").args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--pid-file=",
            "--log-dhcp",
            "--log-facility=-",
        ]);
        for server in servers {
            server.netns().ip(&format!("route add 10.78.0.0/24 via {}", router.address()))?;
            relay = relay.arg(format!("--dhcp-relay={},{}", Self::ROUTER, server.address()));
        }
        let relay = router.spawn("relay", &relay)?;
        Ok(Self { _relay: relay, router })
    }

    /// The router. Its `eth0` is in the lab's network.
    pub fn router(&self) -> &Host {
        &self.router
    }

    /// A host behind it: 10.78.0.N.
    pub fn host(&self, lab: &Lab, name: &str, n: u8) -> Result<Host> {
        let host = Host::plug(lab.switch(), Self::BRIDGE, (name, &format!("10.78.0.{n}")), lab.dir())?;
        host.netns().ip(&format!("route add default via {}", Self::ROUTER))?;
        Ok(host)
    }
}
