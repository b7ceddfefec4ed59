// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that give kernels and initrds to the others of their group, out of their RAM (`host set --relay`). An admin's
//! entry says which they are; where they are, only their own proven word. No I/O.

use crate::{
    clients::Clients,
    hosts::{Asker, Hosts, Mac, Name, choose},
};
use bootspec::Params;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// A machine that has booted reports every ten seconds. Others are not sent to one that has missed two reports.
const SILENCE: Duration = Duration::from_secs(25);

/// A machine that gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The address of its card.
    pub mac: Mac,
    /// Where it gives.
    pub at: SocketAddr,
}

/// Those that say they give, and have shown who they are.
pub fn there(clients: &Clients, now: Instant) -> Vec<Node> {
    let node = |(id, port, remote): (String, u16, IpAddr)| {
        Some(Node { mac: id.parse().ok()?, at: SocketAddr::new(remote.to_canonical(), port) })
    };
    clients.giving(now, SILENCE).filter_map(node).collect()
}

/// Where a machine in these groups, the nearest first, is sent for its kernel and initrd. Several share its groups' machines.
pub fn for_machine(
    hosts: &Hosts,
    groups: &[&Name],
    mac: Option<Mac>,
    mut there: Vec<Node>,
) -> Option<SocketAddr> {
    there.retain(|node| Some(node.mac) != mac);
    there.sort_by_key(|node| node.mac.0);
    let of = |node: &Node| {
        let asker = Asker { mac: Some(node.mac), ip: Some(node.at.ip()), ..Asker::default() };
        let choice = choose(hosts, &asker);
        Params::parse(&choice.params.join(" ")).0.relay.and(choice.group)
    };
    let given: Vec<(Name, SocketAddr)> = there.iter().filter_map(|n| Some((of(n)?, n.at))).collect();
    let share = mac.map_or(0, Mac::share);
    groups.iter().find_map(|group| {
        let near: Vec<SocketAddr> = given.iter().filter(|(g, _)| g == *group).map(|(_, at)| *at).collect();
        (!near.is_empty()).then(|| near[share % near.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::EntryKey;

    #[test]
    fn those_that_an_admin_has_named_for_their_group_and_no_other() {
        let mut hosts = Hosts::default();
        let mut set = |key: &str, group: Option<&str>, param: &str| {
            let entry = hosts.entries.entry(key.parse::<EntryKey>().unwrap()).or_default();
            entry.group = group.map(|g| g.parse().unwrap());
            entry.params = param.split_whitespace().map(str::to_owned).collect();
        };
        let mac = |last: u8| Mac([2, 0, 0, 0, 0, last]);
        set("group:row", None, "");
        set("group:rack1", Some("row"), "");
        set("group:rack2", Some("row"), "");
        set("02:00:00:00:00:01", Some("rack1"), "boottorrent.relay=64M");
        set("02:00:00:00:00:02", Some("rack1"), "");
        set("02:00:00:00:00:03", Some("row"), "boottorrent.relay=64M");
        set("02:00:00:00:00:05", None, "boottorrent.relay=64M");
        set("02:00:00:00:00:07", Some("row"), "boottorrent.relay=64M");
        let node = |last: u8| Node { mac: mac(last), at: format!("10.0.0.{last}:6980").parse().unwrap() };
        let groups = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<Name>>();
        let ask = |names: &[&str], last: u8, there: &[u8]| {
            let (groups, there) = (groups(names), there.iter().map(|n| node(*n)).collect());
            let at = for_machine(&hosts, &groups.iter().collect::<Vec<_>>(), Some(mac(last)), there);
            at.map(|at| at.to_string().replace(":6980", ""))
        };
        let at = |last: u8| Some(format!("10.0.0.{last}"));
        assert_eq!(ask(&["rack1", "row"], 9, &[1, 2, 3]), at(1), "the nearest");
        assert_eq!(ask(&["rack2", "row"], 9, &[1, 2, 3]), at(3), "that of the group above");
        assert_eq!(ask(&["rack1", "row"], 9, &[2]), None, "it says so, and no admin does");
        assert_eq!(ask(&["rack1"], 1, &[1]), None, "not itself");
        assert_eq!(ask(&["rack1"], 9, &[3, 5]), None, "of no group, or of one above only");
        assert_eq!(ask(&[], 9, &[1, 3, 5]), None);
        assert_eq!((ask(&["row"], 8, &[7, 3]), ask(&["row"], 9, &[3, 7])), (at(3), at(7)), "in turn");
    }
}
