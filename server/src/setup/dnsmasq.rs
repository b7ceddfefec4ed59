// SPDX-License-Identifier: GPL-3.0-or-later
//! What dnsmasq is told. Rendering only.
//!
//! Two files. Some keywords (`port`, …) may appear only once over all of
//! dnsmasq's files: a second one and dnsmasq does not start. They go into
//! [`BASE`](super::survey::BASE), which is written only with those that nobody else sets.

use super::survey::Survey;
use crate::{firmware::Loaders, net::Subnet};
use std::{fmt::Write, net::Ipv4Addr, path::Path};

/// The first line of all that we write as text.
pub const MARK: &str = "# Written by `boottorrent setup`, removed by `boottorrent setup --remove`.";
/// How long an address is lent.
const LEASE_TIME: &str = "12h";

/// A network of machines, and our interface in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The interface, where it is known.
    pub interface: Option<String>,
    /// The network.
    pub subnet: Subnet,
}

/// Where machines get their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From another DHCP server, which stays as it is.
    Proxy,
    /// From this dnsmasq, in each network.
    Authoritative(Vec<Lease>),
}

/// What machines are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Their network.
    pub subnet: Subnet,
    /// The first address.
    pub from: Ipv4Addr,
    /// The last address.
    pub to: Ipv4Addr,
    /// Name servers; none: dnsmasq names itself if it answers DNS.
    pub dns: Vec<Ipv4Addr>,
    /// The router; none: dnsmasq names itself.
    pub router: Option<Ipv4Addr>,
}

/// The first iPXE script, below the TFTP root: the same for all machines.
pub const SCRIPT: &str = "boottorrent/boot.ipxe";
/// What the signed GRUB reads first; that it is there is built in.
pub const GRUB: &str = "grub/grub.cfg";

/// What [`MAIN`](super::survey::MAIN) is made of.
#[derive(Clone, Copy)]
pub struct Snippet<'a> {
    /// Who gives the addresses.
    pub mode: &'a Mode,
    /// The networks to serve.
    pub networks: &'a [Network],
    /// Whether dnsmasq is told the interfaces.
    pub named: bool,
    /// Whether it has no other work.
    pub alone: bool,
    /// What firmware is given.
    pub loaders: &'a Loaders,
}

impl Snippet<'_> {
    /// The whole file.
    pub fn render(self) -> String {
        let mut lines = Lines { text: format!("{MARK}\n"), given: self };
        let named = self.networks.iter().filter_map(|n| n.interface.as_ref()).filter(|_| self.named);
        named.for_each(|interface| lines.line(&format!("interface={interface}")));
        lines.line("enable-tftp");
        lines.addresses();
        lines.firmware();
        lines.http_boot();
        lines.ipxe();
        lines.loaders();
        lines.text
    }
}

/// The lines so far.
struct Lines<'a> {
    text: String,
    given: Snippet<'a>,
}

impl Lines<'_> {
    fn line(&mut self, text: &str) {
        writeln!(self.text, "{text}").expect("a String");
    }

    fn addresses(&mut self) {
        match self.given.mode {
            Mode::Proxy => {
                self.line("\n# Another DHCP server gives the addresses; this one adds what to boot.");
                for Network { subnet, .. } in self.given.networks {
                    self.line(&format!("dhcp-range={},proxy,{}", subnet.network, subnet.mask()));
                }
            }
            Mode::Authoritative(leases) => {
                self.line("\n# This is the only DHCP server of the network.");
                self.line("dhcp-authoritative");
                for (n, Lease { subnet, from, to, dns, router }) in leases.iter().enumerate() {
                    // The first one has the name that it always had.
                    let tag = if n == 0 { "bt-range".to_owned() } else { format!("bt-range-{}", n + 1) };
                    self.line(&format!("dhcp-range=set:{tag},{from},{to},{},{LEASE_TIME}", subnet.mask()));
                    if let Some(router) = router.filter(|r| subnet.has(*r)) {
                        self.line(&format!("dhcp-option=tag:{tag},option:router,{router}"));
                    }
                    if !dns.is_empty() {
                        let list: Vec<String> = dns.iter().map(Ipv4Addr::to_string).collect();
                        self.line(&format!("dhcp-option=tag:{tag},option:dns-server,{}", list.join(",")));
                    }
                }
            }
        }
    }

    fn firmware(&mut self) {
        self.line("\n# What the firmware is: BIOS, or 64-bit UEFI (7, and 9 by an erratum of RFC 4578).");
        for (tag, arch) in [("bt-bios", 0), ("bt-efi", 7), ("bt-efi", 9)] {
            self.line(&format!("dhcp-match=set:{tag},option:client-arch,{arch}"));
        }
        let arm64 = self.given.loaders.arm64.is_some();
        if arm64 {
            self.line("# UEFI of 64-bit ARM.");
            self.line("dhcp-match=set:bt-arm64,option:client-arch,11");
        }
        if *self.given.mode == Mode::Proxy && self.given.alone {
            let other = if arm64 { "32-bit UEFI" } else { "ARM, 32-bit UEFI" };
            self.line(&format!(
                "\n# Other firmware ({other}) is another server's: an answer without a file would be in its way."
            ));
            self.line("dhcp-vendorclass=set:bt-pxe,PXEClient");
            let more = if arm64 { ",tag:!bt-arm64" } else { "" };
            self.line(&format!("dhcp-ignore=tag:bt-pxe,tag:!bt-bios,tag:!bt-efi{more}"));
        }
    }

    fn http_boot(&mut self) {
        if let Some(url) = &self.given.loaders.http {
            self.line(
                "\n# UEFI HTTP boot (16): that firmware wants to hear its own class again (option 60).",
            );
            self.line("dhcp-match=set:bt-http,option:client-arch,16");
            self.line("dhcp-option-force=tag:bt-http,60,HTTPClient");
            self.line(&format!("dhcp-boot=tag:!bt-ipxe,tag:bt-http,{url}"));
        }
    }

    fn ipxe(&mut self) {
        self.line(
            "\n# Whether an iPXE that can do all we need runs already (option 175): HTTP and menus, and either PXE\n\
             # and bzImage, or EFI. An older one in a network card gets ours first.",
        );
        for (tag, feature) in [("http", 19), ("menu", 39), ("pxe", 33), ("bzimage", 24), ("uefi", 36)] {
            self.line(&format!("dhcp-match=set:bt-ipxe-{tag},175,{feature}"));
        }
        self.line("tag-if=set:bt-ipxe,tag:bt-ipxe-http,tag:bt-ipxe-menu,tag:bt-ipxe-pxe,tag:bt-ipxe-bzimage");
        self.line("tag-if=set:bt-ipxe,tag:bt-ipxe-http,tag:bt-ipxe-menu,tag:bt-ipxe-uefi");
    }

    /// What a machine is sent: first iPXE or shim, then the script.
    fn loaders(&mut self) {
        let first = match self.given.loaders.start_shim() {
            true => "\n# First iPXE, then the script; with UEFI shim and GRUB, which Secure Boot lets in.",
            false => "\n# First iPXE, then the script.",
        };
        self.line(first);
        let Loaders { bios, efi, arm64, .. } = *self.given.loaders;
        let x86 = [("bt-bios", &["X86PC"][..], bios), ("bt-efi", &["X86-64_EFI", "BC_EFI"], efi)];
        let arm64 = arm64.map(|loader| ("bt-arm64", &["ARM64_EFI"][..], Some(loader)));
        let all: Vec<_> = x86.into_iter().chain(arm64).collect();
        if *self.given.mode == Mode::Proxy {
            // Only here: some UEFI firmware fails when a full DHCP server sends PXE services. Not by a tag of the range,
            // which dnsmasq 2.91 (trixie) links to itself at its second request, and hangs; each interface is a tag too.
            for Network { interface, .. } in self.given.networks {
                // A name with a star is not a tag: dnsmasq's tag is the real name.
                let here = interface.as_ref().filter(|i| !i.contains('*')).map(|i| format!("tag:{i},"));
                let here = here.unwrap_or_default();
                for (_, types, loader) in &all {
                    for kind in *types {
                        if let Some(loader) = loader {
                            self.line(&format!(
                                "pxe-service={here}tag:!bt-ipxe,{kind},\"BootTorrent\",{loader}"
                            ));
                        }
                        self.line(&format!("pxe-service={here}tag:bt-ipxe,{kind},\"BootTorrent\",{SCRIPT}"));
                    }
                }
            }
        } else {
            for (tag, _, loader) in &all {
                if let Some(loader) = loader {
                    self.line(&format!("dhcp-boot=tag:!bt-ipxe,tag:{tag},{loader}"));
                }
            }
            self.line(&format!("dhcp-boot=tag:bt-ipxe,{SCRIPT}"));
        }
    }
}

/// [`BASE`](super::survey::BASE); `None` when all of it is settled elsewhere.
pub fn base(survey: &Survey, tftp_root: &Path) -> Option<String> {
    let mut lines = Vec::new();
    if survey.unused() {
        lines.push("# dnsmasq does nothing else here: it need not answer DNS.\nport=0".to_owned());
    }
    if !survey.sets("bind-interfaces") && !survey.sets("bind-dynamic") {
        lines.push(
            "# So that other dnsmasqs (libvirt, containers) can run on other interfaces.\nbind-dynamic"
                .to_owned(),
        );
    }
    if !survey.sets("tftp-root") {
        lines.push(format!("tftp-root={}", tftp_root.display()));
    }
    (!lines.is_empty()).then(|| format!("{MARK}\n{}\n", lines.join("\n")))
}

/// [`SCRIPT`]: finds the server, and fetches the real script from it. Where the menu has a password, no shell is given: the
/// server that checks it does not answer then.
pub fn script(port: u16, shell: bool) -> String {
    let text = include_str!("boot.ipxe").replace("@PORT@", &port.to_string());
    let text = match text.split_once("prompt ").filter(|_| !shell) {
        Some((before, _)) => {
            format!("{before}prompt --timeout 10000 Trying again in 10 seconds ||\ngoto start\n")
        }
        None => text,
    };
    format!("#!ipxe\n{MARK}\n{text}")
}

/// [`GRUB`]: finds the server, and fetches the real file from it.
pub fn grub(port: u16) -> String {
    format!("{MARK}\n{}", include_str!("grub.cfg").replace("@PORT@", &port.to_string()))
}

/// [`PXELINUX_CONFIG`](crate::firmware::PXELINUX_CONFIG): iPXE with [`script`] as its first image.
pub fn pxelinux() -> String {
    format!("{MARK}\n{}", include_str!("pxelinux.cfg"))
}
