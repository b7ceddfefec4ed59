// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a BMC is: `ipmi://HOST[:PORT]`, `redfish://HOST[:PORT][/SYSTEM]`.

use reqwest::Url;
use serde::Deserialize;
use std::{fmt, str::FromStr};

/// How a BMC is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IPMI 2.0 over the LAN.
    Ipmi,
    /// Redfish, over HTTPS.
    Redfish,
}

/// Where a BMC is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its name or address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Redfish: which of its systems, by its name there or its whole path. None: its only one.
    pub system: Option<String>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let bad = || {
            let shown = bootspec::text::printable(text.rsplit('@').next().unwrap_or_default(), 80);
            format!(
                "'{shown}' is not the address of a BMC: write it as in ipmi://10.0.0.7 or redfish://10.0.0.7, without user and password"
            )
        };
        let (protocol, port) = match text.split_once("://") {
            Some(("ipmi", _)) => (Protocol::Ipmi, 623),
            Some(("redfish", _)) => (Protocol::Redfish, 443),
            _ => return Err(bad()),
        };
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        // As a URL that is known to have a host and a path.
        let url: Url = format!("https://{rest}").parse().map_err(|_| bad())?;
        let path = url.path().trim_matches('/');
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && (path.is_empty() || protocol == Protocol::Redfish);
        let host = url.host_str().filter(|h| !h.is_empty() && plain).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        // The URL leaves out the port that is usual for https.
        let written = rest.split('/').next().is_some_and(|authority| authority.ends_with(":443"));
        let port = url.port().or(written.then_some(443)).unwrap_or(port);
        let system = Some(path).filter(|p| !p.is_empty()).map(|path| match path.contains('/') {
            true => format!("/{path}"),
            false => path.to_owned(),
        });
        Ok(Address { protocol, host, port, system })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        text.parse()
    }
}

impl fmt::Display for Address {
    /// As people name it: without what is usual.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = match self.protocol {
            Protocol::Ipmi => 623,
            Protocol::Redfish => 443,
        };
        match (self.port == usual, self.host.contains(':')) {
            (true, _) => f.write_str(&self.host),
            (false, false) => write!(f, "{}:{}", self.host, self.port),
            (false, true) => write!(f, "[{}]:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown, port, system) in [
            ("ipmi://10.0.0.7", "10.0.0.7", 623, None),
            ("ipmi://bmc7.lab:9001", "bmc7.lab:9001", 9001, None),
            ("ipmi://[fd00::7]:443", "[fd00::7]:443", 443, None),
            ("redfish://10.0.0.7", "10.0.0.7", 443, None),
            ("redfish://[fd00::7]/", "fd00::7", 443, None),
            ("redfish://bmc:8443/1", "bmc:8443", 8443, Some("1")),
            ("redfish://bmc/redfish/v1/Systems/Self/", "bmc", 443, Some("/redfish/v1/Systems/Self")),
        ] {
            let address: Address = text.parse().unwrap();
            let got = (address.to_string(), address.port, address.system.clone());
            assert_eq!(got, (shown.to_owned(), port, system.map(str::to_owned)), "{text}");
        }
        for bad in [
            "",
            "10.0.0.7",
            "http://10.0.0.7",
            "ipmi://",
            "ipmi://a b",
            "ipmi://10.0.0.7/1",
            "ipmi://10.0.0.7:99999",
            "redfish://bmc?x",
            "redfish://bmc#x",
            "redfish://:443",
        ] {
            let why = bad.parse::<Address>().unwrap_err();
            assert!(why.starts_with(&format!("'{bad}' is not the address of a BMC: ")), "{why}");
        }
        let why = "ipmi://admin:secret@10.0.0.7".parse::<Address>().unwrap_err();
        assert!(!why.contains("secret") && why.contains("without user and password"), "{why}");
    }
}
