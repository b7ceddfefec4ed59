// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel command line of an image, rendered from its manifest: the same for every boot loader. No I/O.

use crate::family::{OWN_NETWORK, spec};
use bootspec::{
    HTTP_PORT, ImageManifest, Params,
    cmdline::harmless,
    manifest::{InitrdFrom, Kind},
    params::KindParam,
    partition::PartitionName,
};
use std::fmt::Write;

/// The kernel's parameters for an image; `mac` is the boot interface's address
/// in the form that BOOTIF takes (iPXE fills in its own).
pub fn cmdline(image: &ImageManifest, host: &str, mac: Option<&str>, append: &str) -> String {
    let params = Params {
        server: Some(short_host(host).to_owned()),
        image: Some(image.name.clone()),
        infohash: Some(image.infohash),
        kind: match image.kind {
            // Recognised by content as ever.
            Kind::Filesystem => KindParam::Auto,
            Kind::Iso => KindParam::Iso,
            Kind::Disk => KindParam::Disk,
            Kind::Ltsp => KindParam::Ltsp,
        },
        sector: image.sector.unwrap_or(Params::default().sector),
        // What the admin says of the root, in either way, counts more than what was found.
        partition: image.partition.filter(|_| !says_root(&image.append, append)).map(PartitionName::Number),
        ..Params::default()
    };
    // The network first.
    let network = match (image.kind, image.initrd_from) {
        // Our init needs no word for DHCP, and the ISO's own initrd finds the network up.
        (Kind::Iso, InitrdFrom::Own) => "",
        _ => image.family.map_or(OWN_NETWORK, |family| spec(family).network),
    };
    let bootif = mac.map(|mac| format!("BOOTIF=01-{mac}")).unwrap_or_default();
    let words = [network, &bootif, &params.render()].map(str::to_owned);
    let mut out = words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    for more in [harmless(&image.append), harmless(append)] {
        if !more.is_empty() {
            write!(out, " {more}").expect("a String");
        }
    }
    out
}

/// What a kernel for x86 takes of a command line (COMMAND_LINE_SIZE is 2048, with the zero at its end). iPXE cuts the
/// rest away without a word.
pub const MAX_CMDLINE: usize = 2047;

/// Refuse an image whose command line would be cut, whatever the server's address.
pub fn check_length(image: &ImageManifest) -> Result<(), TooLong> {
    let with_most = ImageManifest { initrd_from: InitrdFrom::Image, ..image.clone() };
    let line = cmdline(&with_most, "255.255.255.255:65535", Some("00-00-00-00-00-00"), "");
    too_long(&line).map_or(Ok(()), Err)
}

/// A command line that a kernel would not take whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel command line has {0} bytes, but a kernel reads at most {MAX_CMDLINE}: use fewer or shorter kernel parameters"
)]
pub struct TooLong(usize);

/// Whether a command line would be cut.
pub fn too_long(line: &str) -> Option<TooLong> {
    // iPXE puts the address in the place of a setting that is as long.
    (line.len() > MAX_CMDLINE).then_some(TooLong(line.len()))
}

fn says_root(image: &str, every: &str) -> bool {
    image.split_whitespace().chain(every.split_whitespace()).any(|word| word.starts_with("root="))
}

/// The host as an admin would type it: without the port when it is ours by default.
pub fn short_host(host: &str) -> &str {
    host.strip_suffix(&format!(":{HTTP_PORT}")).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_port_goes_without_saying() {
        assert_eq!((short_host("10.0.0.1:6980"), short_host("10.0.0.1:80")), ("10.0.0.1", "10.0.0.1:80"));
    }
}
