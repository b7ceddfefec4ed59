// SPDX-License-Identifier: GPL-3.0-or-later
//! Lines of dnsmasq's other files that keep it from answering machines (dnsmasq(8)).

use super::survey::Survey;
use anyhow::{Result, bail};

/// Whether dnsmasq answers only where it is told: then `interface=` adds a place. Both words are additive.
pub fn listens_on_some(survey: &Survey) -> bool {
    survey.sets("interface") || survey.sets("listen-address")
}

/// Refuse an interface that dnsmasq is kept away from; come back with what the admin should know.
pub fn look(survey: &Survey, interface: &str) -> Result<Vec<String>> {
    for keyword in ["except-interface", "no-dhcp-interface", "no-dhcpv4-interface"] {
        for (file, value) in survey.all(keyword) {
            if value.split(',').any(|name| is(name.trim(), interface)) {
                bail!(
                    "{} has {keyword}={value}: dnsmasq answers no machine on {interface}; take that line out, or choose \
                     another --interface",
                    file.display()
                );
            }
        }
    }
    let mut notes = Vec::new();
    for (file, value) in survey.all("interface").chain(survey.all("listen-address")) {
        notes.push(format!(
            "{} limits dnsmasq to {value}: interface={interface} is added, and DNS is answered there too if dnsmasq does DNS",
            file.display()
        ));
    }
    for (file, value) in survey.all("dhcp-ignore") {
        notes.push(format!(
            "{} has dhcp-ignore={value}: dnsmasq does not answer machines with these tags, so they will not boot",
            file.display()
        ));
    }
    if let Some((file, _)) = survey.find("tftp-secure") {
        notes.push(format!(
            "{} has tftp-secure: dnsmasq sends only files that its own user owns, so chown them after --write",
            file.display()
        ));
    }
    Ok(notes)
}

/// dnsmasq's names may end with a star.
fn is(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => interface.starts_with(begin),
        None => pattern == interface,
    }
}
