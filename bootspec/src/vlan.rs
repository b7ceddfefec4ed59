// SPDX-License-Identifier: GPL-3.0-or-later
//! `vlan=NAME:CARD`, as dracut has it (dracut.cmdline(7)): a tagged network (IEEE 802.1Q) to boot over.
//! initramfs-tools has no such word; there the agent makes the interface.

use crate::cmdline;

/// What the word looks like.
pub const VALUE: &str = "vlan=NAME:CARD, as in vlan=vlan20:eth0 or vlan=eth0.20:eth0";

/// The card below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Card {
    /// An interface's name.
    Name(String),
    /// The address of one, lower case with colons.
    Mac(String),
}

/// One interface to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its name.
    pub name: String,
    /// The tag, 1 to 4094.
    pub id: u16,
    /// What it is on.
    pub card: Card,
}

impl Vlan {
    /// The last `vlan=` of a kernel command line. Errors: one sentence.
    pub fn of(line: &str) -> Result<Option<Vlan>, String> {
        let words = cmdline::split(line);
        let last = |name: &str| words.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_deref());
        match last("vlan") {
            None => Ok(None),
            Some(value) => Vlan::parse(value.unwrap_or_default(), last("BOOTIF").flatten()).map(Some),
        }
    }

    /// One value. `bootif`: what the card BOOTIF stands for.
    fn parse(value: &str, bootif: Option<&str>) -> Result<Vlan, String> {
        let bad = |why: &str| format!("'vlan={}' {why}: write {VALUE}", value.escape_debug());
        let (name, card) = value.split_once(':').ok_or_else(|| bad("names no card"))?;
        let digits = name.strip_prefix("vlan").or_else(|| Some(name.rsplit_once('.')?.1));
        let id = digits.and_then(|d| d.parse().ok()).filter(|id| (1..=4094).contains(id));
        let id = id.ok_or_else(|| bad("has no tag from 1 to 4094 at the end of its name"))?;
        for interface in [name, card] {
            // The kernel's IFNAMSIZ, and what ip(8) takes without quoting; a MAC address is longer.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
            if interface.is_empty() || !interface.bytes().all(plain) || interface.starts_with('.') {
                return Err(bad("has a name that no interface can have"));
            }
        }
        if name.len() > 15 {
            return Err(bad("has a name of more than 15 characters"));
        }
        let card = match card {
            "BOOTIF" => {
                let mac = bootif.ok_or_else(|| bad("names BOOTIF, but there is no BOOTIF="))?;
                Card::Mac(mac.trim_start_matches("01-").replace('-', ":").to_lowercase())
            }
            mac if mac.contains(':') => Card::Mac(mac.to_lowercase()),
            name if name.len() <= 15 => Card::Name(name.into()),
            _ => return Err(bad("has a card of more than 15 characters")),
        };
        Ok(Vlan { name: name.into(), id, card })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_dracut_writes_it() {
        let eth0 = || Card::Name("eth0".into());
        let mac = || Card::Mac("52:54:00:aa:00:01".into());
        for (line, name, id, card) in [
            ("vlan=vlan20:eth0", "vlan20", 20, eth0()),
            ("quiet vlan=x vlan=vlan0005:eth0 ro", "vlan0005", 5, eth0()),
            ("vlan=eth0.4094:eth0", "eth0.4094", 4094, eth0()),
            ("vlan=vlan7:52:54:00:AA:00:01", "vlan7", 7, mac()),
            ("BOOTIF=01-52-54-00-aa-00-01 vlan=vlan7:BOOTIF", "vlan7", 7, mac()),
        ] {
            assert_eq!(Vlan::of(line), Ok(Some(Vlan { name: name.into(), id, card })), "{line}");
        }
        assert_eq!(Vlan::of("quiet ip=dhcp"), Ok(None));
    }

    #[test]
    fn one_sentence_for_the_rest() {
        for (line, why) in [
            ("vlan=", "'vlan=' names no card"),
            ("vlan", "'vlan=' names no card"),
            ("vlan=vlan5", "'vlan=vlan5' names no card: write vlan=NAME:CARD"),
            ("vlan=blue:eth0", "has no tag from 1 to 4094"),
            ("vlan=vlan0:eth0", "has no tag"),
            ("vlan=vlan4095:eth0", "has no tag"),
            ("vlan=vlan99999999:eth0", "has no tag"),
            ("vlan=vlan5:", "no interface can have"),
            ("vlan=/x.5:eth0", "no interface can have"),
            ("vlan=averylongname.5:eth0", ""),
            ("vlan=averyverylongname.5:eth0", "more than 15"),
            ("vlan=vlan5:averyverylongname", "card of more than 15"),
            ("vlan=vlan5:BOOTIF", "there is no BOOTIF="),
        ] {
            match Vlan::of(line) {
                Ok(_) => assert_eq!(why, "", "{line}"),
                Err(e) => assert!(!why.is_empty() && e.contains(why), "{line}: {e}"),
            }
        }
    }
}
