// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/kernel-parameters.md, from the table. `make docs` writes it; a test compares.

use crate::{
    exit::Exit,
    params::{PREFIX, TABLE},
};
use std::fmt::Write;

/// The page, in Markdown.
pub fn kernel_parameters() -> String {
    let mut out = format!("{HEAD}{INTRO}\n| parameter | default | meaning |\n|---|---|---|\n");
    for s in TABLE {
        let value = s.value.replace('|', "\\|");
        writeln!(out, "| `{PREFIX}{}=`{value} | {} | {} |", s.name, s.default, s.help).expect("a String");
    }
    out.push_str(
        "\n## Parameters of Debian's initramfs that keep their meaning\n\n| parameter | meaning |\n|---|---|\n",
    );
    for (names, meaning) in GENERIC {
        writeln!(out, "| {names} | {meaning} |").expect("a String");
    }
    out.push_str("\n## Exit codes of `boottorrent-agent boot`\n\n| code | meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::ALL {
        writeln!(out, "| {} | {meaning} |", exit.code()).expect("a String");
    }
    out
}

const HEAD: &str = "\
# Kernel parameters

<!-- Made by `make docs` from bootspec/src/params.rs. Do not edit. -->

";

/// What there is to know before the table; boottorrent-kernel(7) begins with it too.
pub const INTRO: &str = "\
`boot=boottorrent` hands the boot to the agent. Everything below is optional but one thing: which image, by
`boottorrent.torrent=`, or by `boottorrent.image=` (and `boottorrent.server=` where the DHCP server is not the
BootTorrent server). `boottorrent serve` writes these for you into `/boot.ipxe`.

In names `-` and `_` are the same, of two the last one counts, and values with spaces stand in double quotes.
A parameter that does not exist is ignored with a warning that guesses what was meant; a value that cannot be
understood stops the boot with exit code 2.

Sizes: `512M`, `1.5G` (powers of 1024), `100MB` (powers of 1000). Rates: bytes (not bits) a second, written as a
size, `/s` optional. Times: `30s`, `10m`, `2h`.
Never write a secret here: every process of the booted machine can read the kernel command line.
";

/// What Debian's initramfs understands besides, in Markdown: parameters, and what they mean.
pub const GENERIC: [(&str, &str); 10] = [
    (
        "`ip=dhcp`, `ip=ADDRESS::GATEWAY:NETMASK:HOSTNAME:DEVICE:off`",
        "how the network comes up; DHCP on any interface when it is not given",
    ),
    (
        "`BOOTIF=01-aa-bb-cc-dd-ee-ff`",
        "use the interface with this MAC address (iPXE: `BOOTIF=01-${mac:hexhyp}`)",
    ),
    (
        "`vlan=NAME:CARD`, as in `vlan=vlan20:eth0`",
        "boot over a tagged network, whose number is at NAME's end; CARD: an interface, a MAC address, or `BOOTIF`",
    ),
    ("`ro`, `rw`", "no effect: the image is always read-only, and the overlay above it writable"),
    (
        "`root=boottorrent:URL`",
        "with dracut the same as `boot=boottorrent boottorrent.torrent=URL`; for its live systems `root=live:torrent://HOST/PATH`",
    ),
    ("`rootflags=`", "mount options for the image's filesystem"),
    ("`init=`", "the program that is started in the booted system"),
    ("`quiet`, `debug`", "the default of `boottorrent.log=` becomes warn, or debug"),
    ("`panic=N`", "on failure reboot after N seconds, no shell; without it, a rescue shell"),
    (
        "`break=premount`, `break=bottom`",
        "stop in a shell before, or after, the image is fetched; initrds that the server makes have a shell only with this parameter",
    ),
];

#[cfg(test)]
mod tests {
    #[test]
    fn committed_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernel-parameters.md");
        let on_disk = std::fs::read_to_string(path).expect("reading docs/kernel-parameters.md");
        assert!(on_disk == super::kernel_parameters(), "docs/kernel-parameters.md is stale: run `make docs`");
    }
}
