// SPDX-License-Identifier: GPL-3.0-or-later
//! What would be written, from what was asked for and what is there.

use super::{
    dnsmasq::{self, GRUB, Lease, Mode, Network, SCRIPT, Snippet},
    narrow,
    survey::Survey,
};
use crate::{
    firmware::{self, Loaders, OVER_HTTP, PXELINUX_CONFIG},
    grub,
    net::{Interface, Subnet},
    setup::survey::{BASE, MAIN},
};
use anyhow::{Result, bail};
use bootspec::text::is_odd;
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Where TFTP serves from when nobody says otherwise (FHS, and LTSP's choice).
pub const TFTP_ROOT: &str = "/srv/tftp";

/// What the admin asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupOptions {
    /// The interfaces to serve.
    pub interfaces: Vec<String>,
    /// The network to serve, of the one interface that is named, or of none.
    pub subnet: Option<Subnet>,
    /// Whether this dnsmasq gives the addresses.
    pub authoritative: bool,
    /// The addresses that it gives, in each network.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The name servers that machines are told, with the addresses.
    pub dns: Vec<Ipv4Addr>,
    /// The router that they are told.
    pub router: Option<Ipv4Addr>,
    /// The folder that TFTP serves.
    pub tftp_root: Option<PathBuf>,
    /// Whether UEFI machines get what Secure Boot lets in.
    pub secure_boot: bool,
}

impl SetupOptions {
    /// As `boottorrent setup` takes them.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        let list =
            |addresses: &[Ipv4Addr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        self.interfaces.iter().for_each(|name| flag("--interface", name.clone()));
        self.subnet.iter().for_each(|subnet| flag("--subnet", subnet.to_string()));
        if self.authoritative {
            flag("--mode", "authoritative".into());
        }
        self.ranges.iter().for_each(|(from, to)| flag("--range", format!("{from},{to}")));
        if !self.dns.is_empty() {
            flag("--dns", list(&self.dns));
        }
        self.router.iter().for_each(|router| flag("--router", router.to_string()));
        self.tftp_root.iter().for_each(|dir| flag("--tftp-root", dir.display().to_string()));
        flags.extend(self.secure_boot.then(|| "--secure-boot".to_owned()));
        flags
    }
}

/// A range of addresses: `FROM,TO`.
pub fn parse_range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let bad = || format!("'{text}' is not a valid range: write FROM,TO, as in 10.0.0.100,10.0.0.200");
    let (from, to) = text.split_once(',').ok_or_else(bad)?;
    Ok((from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?))
}

/// Where things are, and how we are reached.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// dnsmasq's snippets.
    pub dnsmasq_dir: &'a Path,
    /// Below which Debian's packages have their loaders: `/usr/lib`.
    pub lib: &'a Path,
    /// The catalogue's folder.
    pub state: &'a Path,
    /// Our port for HTTP.
    pub port: u16,
    /// Whether iPXE gives whoever sits there a shell, when no server answers.
    pub shell: bool,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub content: Content,
}

/// What a file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text of ours.
    Text(String),
    /// A copy of another file.
    Copy(PathBuf),
    /// A link to a folder.
    Link(PathBuf),
    /// A folder that the daemon fills.
    Folder,
}

/// All that would be done.
#[derive(Clone, Debug, Default)]
pub struct SetupPlan {
    /// The files.
    pub items: Vec<PlannedFile>,
    /// What the admin should know.
    pub notes: Vec<String>,
}

impl SetupPlan {
    /// For people.
    pub fn shown(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            let path = item.path.display();
            match &item.content {
                Content::Text(text) => out.push_str(&format!("==> {path} <==\n{text}\n")),
                Content::Copy(from) => {
                    out.push_str(&format!("==> {path} <== a copy of {}\n\n", from.display()))
                }
                Content::Link(to) => out.push_str(&format!("==> {path} <== a link to {}\n\n", to.display())),
                Content::Folder => out.push_str(&format!("==> {path} <== a folder of boottorrent serve\n\n")),
            }
        }
        self.notes.iter().for_each(|n| out.push_str(&format!("note: {n}\n")));
        out
    }
}

impl SetupPlan {
    /// Whether all of it is on the disk, as it would be written.
    pub fn is_written(&self) -> bool {
        self.items.iter().all(PlannedFile::is_written)
    }
}

impl PlannedFile {
    fn is_written(&self) -> bool {
        match &self.content {
            Content::Folder => self.path.is_dir(),
            Content::Link(to) => fs::read_link(&self.path).is_ok_and(|there| there == *to),
            Content::Text(_) | Content::Copy(_) => {
                self.bytes().is_ok_and(|bytes| fs::read(&self.path).is_ok_and(|there| there == bytes))
            }
        }
    }

    /// The file's bytes; of a link, where it leads.
    pub fn bytes(&self) -> std::io::Result<Vec<u8>> {
        match &self.content {
            Content::Text(text) => Ok(text.clone().into_bytes()),
            Content::Copy(from) => fs::read(from),
            Content::Link(to) => Ok(to.as_os_str().as_encoded_bytes().to_vec()),
            Content::Folder => Ok(Vec::new()),
        }
    }
}

/// Decide.
pub fn plan(
    options: &SetupOptions,
    survey: &Survey,
    interfaces: &[Interface],
    here: Here,
) -> Result<SetupPlan> {
    let networks = networks(options, interfaces)?;
    let mode = mode(options, &networks, interfaces)?;
    let tftp_root = tftp_root(options, survey)?;
    let found = firmware::find(here.lib, options.secure_boot, here.shell)?;
    let (mut loaders, mut notes) = (found.loaders, found.notes);
    // Beside another DHCP server dnsmasq answers no HTTP boot, and bookworm's signed GRUB has no HTTP.
    if mode != Mode::Proxy && !options.secure_boot && loaders.efi.is_some() {
        match own_address(&networks, interfaces) {
            Ok(own) => loaders.http = Some(format!("http://{own}:{}/{OVER_HTTP}", here.port)),
            Err(note) => notes.push(note),
        }
    }
    for name in networks.iter().filter_map(|n| n.interface.as_deref()) {
        if !names_interface(name) {
            bail!("'{}' is not an interface name: see `ip link`", name.escape_debug());
        }
        notes.extend(narrow::look(survey, name)?);
    }
    // `interface=` narrows all of dnsmasq: where it has other work, only the admin may say so, unless it is narrow
    // already: then a line more widens it.
    let named = !options.interfaces.is_empty() || survey.unused() || narrow::listens_on_some(survey);
    let alone = survey.unused();
    let main = Snippet { mode: &mode, networks: &networks, named, alone, loaders: &loaders }.render();
    let text = |path: PathBuf, text: String| PlannedFile { path, content: Content::Text(text) };
    let mut items = vec![text(here.dnsmasq_dir.join(MAIN), main)];
    items.extend(dnsmasq::base(survey, &tftp_root).map(|base| text(here.dnsmasq_dir.join(BASE), base)));
    items.push(text(tftp_root.join(SCRIPT), dnsmasq::script(here.port, here.shell)));
    let copy = |(from, to)| PlannedFile { path: tftp_root.join(to), content: Content::Copy(from) };
    items.extend(found.copies.into_iter().map(copy));
    if loaders.start_pxelinux() {
        items.push(text(tftp_root.join(PXELINUX_CONFIG), dnsmasq::pxelinux()));
    }
    if loaders.of_grub().is_some() {
        items.push(text(tftp_root.join(GRUB), dnsmasq::grub(here.port)));
        items.extend(for_grub(&tftp_root, here.state));
    }
    notes.extend(warnings(&loaders, survey, &mode));
    Ok(SetupPlan { items, notes })
}

/// Our address in one of the networks, or the note that there is none.
fn own_address(networks: &[Network], interfaces: &[Interface]) -> Result<Ipv4Addr, String> {
    let own = interfaces.iter().find(|i| networks.iter().any(|n| n.subnet == i.subnet)).map(|i| i.address);
    own.ok_or_else(|| {
        let shown: Vec<String> = networks.iter().map(|n| n.subnet.to_string()).collect();
        format!("UEFI HTTP boot is left out: this machine has no address in {}", shown.join(" and "))
    })
}

/// What a GRUB without HTTP is given: the daemon writes it, and dnsmasq's TFTP follows the links.
fn for_grub(tftp_root: &Path, state: &Path) -> Vec<PlannedFile> {
    let mut items = vec![PlannedFile { path: state.join(grub::IN_CATALOGUE), content: Content::Folder }];
    for name in ["images", grub::IN_CATALOGUE] {
        let (path, to) = (tftp_root.join("boottorrent").join(name), state.join(name));
        items.push(PlannedFile { path, content: Content::Link(to) });
    }
    items
}

/// What the admin should know of what is there already.
fn warnings(loaders: &Loaders, survey: &Survey, mode: &Mode) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(machines), Mode::Proxy) = (loaders.of_grub(), mode) {
        notes.push(format!(
            "GRUB takes its server's address from the DHCP server's own answer: let that one name this \
             machine as next-server, or machines with {machines} will not boot"
        ));
    }
    for keyword in ["dhcp-boot", "pxe-service"] {
        if let Some((file, _)) = survey.find(keyword) {
            notes.push(format!(
                "{} has {keyword} too: machines may get what it names instead",
                file.display()
            ));
        }
    }
    if let Mode::Authoritative(leases) = mode {
        if let Some((file, _)) = survey.find("dhcp-range") {
            notes.push(format!("{} has a dhcp-range too: mind that they do not overlap", file.display()));
        }
        if leases.iter().all(|l| l.dns.is_empty()) && survey.unused() {
            notes.push("machines are told no name server: give --dns for one".into());
        }
    }
    notes
}

/// As the kernel names them, and dnsmasq's `eth*`. Nothing that could end a line of its file, or add to it.
fn names_interface(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "._:@*-".contains(c))
}

/// Whether a path is the same in a line of dnsmasq's file, which knows quotes, comments and lists.
fn fits_a_line(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.trim() == p && !p.contains(|c| is_odd(c) || ",\"\\#".contains(c)))
}

fn networks(wishes: &SetupOptions, interfaces: &[Interface]) -> Result<Vec<Network>> {
    // Point-to-point links have no room for machines.
    let usable: Vec<&Interface> = interfaces.iter().filter(|i| i.subnet.prefix <= 30).collect();
    let shown = |all: &[&Interface]| {
        let mut all: Vec<String> = all.iter().map(|i| format!("{} ({})", i.name, i.subnet)).collect();
        all.sort();
        all.dedup();
        all.join(", ")
    };
    let network =
        |interface: Option<&str>, subnet| Network { interface: interface.map(str::to_owned), subnet };
    if let Some(subnet) = wishes.subnet {
        return match &wishes.interfaces[..] {
            [] => {
                let own = interfaces.iter().find(|i| i.subnet == subnet).map(|i| i.name.as_str());
                Ok(vec![network(own, subnet)])
            }
            [one] => Ok(vec![network(Some(one), subnet)]),
            _ => bail!(
                "--subnet is for one interface: leave it out, and each interface serves its own network"
            ),
        };
    }
    if wishes.interfaces.is_empty() {
        return match &usable[..] {
            [one] => Ok(vec![network(Some(&one.name), one.subnet)]),
            [] => {
                bail!("no interface here has an IPv4 address: give --subnet, as in --subnet 192.168.1.0/24")
            }
            _ => bail!("there are several networks here: give --interface with one of: {}", shown(&usable)),
        };
    }
    let one = |name: &String| {
        let own: Vec<&Interface> = usable.iter().copied().filter(|i| i.name == *name).collect();
        let subnets: BTreeSet<String> = own.iter().map(|i| i.subnet.to_string()).collect();
        match (&own[..], subnets.len()) {
            ([first, ..], 1) => Ok(network(Some(name), first.subnet)),
            ([], _) => match interfaces.iter().find(|i| i.name == *name) {
                Some(i) => bail!(
                    "the interface {name} has the address {}/{}, whose network has no room for machines: give --subnet",
                    i.address,
                    i.subnet.prefix
                ),
                None => {
                    bail!(
                        "the interface {name} has no IPv4 address: give --subnet, or one of: {}",
                        shown(&usable)
                    )
                }
            },
            _ => {
                bail!("the interface {name} has several networks: choose one with --subnet: {}", shown(&own))
            }
        }
    };
    wishes.interfaces.iter().map(one).collect()
}

fn mode(wishes: &SetupOptions, networks: &[Network], interfaces: &[Interface]) -> Result<Mode> {
    if !wishes.authoritative {
        if !wishes.ranges.is_empty() {
            bail!("--range is for --mode authoritative: in proxy mode another server gives the addresses")
        }
        if !wishes.dns.is_empty() || wishes.router.is_some() {
            bail!("--dns and --router are for --mode authoritative: in proxy mode another server tells them")
        }
        return Ok(Mode::Proxy);
    }
    let shown = networks.iter().map(|n| n.subnet.to_string()).collect::<Vec<_>>().join(" and ");
    for (from, to) in &wishes.ranges {
        if from > to || !networks.iter().any(|n| n.subnet.has(*from) && n.subnet.has(*to)) {
            bail!(
                "the range {from},{to} is not within {shown}: give --range FROM,TO with two addresses of it"
            );
        }
        if let Some(own) = interfaces.iter().find(|i| (*from..=*to).contains(&i.address)) {
            bail!("the range {from},{to} has this machine's own address {} in it: leave it out", own.address);
        }
    }
    let lease = |network: &Network| {
        let mut of = wishes.ranges.iter().filter(|(from, _)| network.subnet.has(*from));
        match (of.next(), of.next()) {
            (Some((from, to)), None) => Ok(Lease {
                from: *from,
                to: *to,
                dns: wishes.dns.clone(),
                router: wishes.router,
                subnet: network.subnet,
            }),
            (None, _) => bail!(
                "authoritative mode needs the addresses to give: --range FROM,TO within {}",
                network.subnet
            ),
            _ => bail!("there are several ranges within {}: give one", network.subnet),
        }
    };
    Ok(Mode::Authoritative(networks.iter().map(lease).collect::<Result<_>>()?))
}

fn tftp_root(wishes: &SetupOptions, survey: &Survey) -> Result<PathBuf> {
    let set = survey.find("tftp-root").map(|(file, value)| {
        // `tftp-root=DIR,INTERFACE` is possible.
        (file, PathBuf::from(value.split(',').next().unwrap_or(value)))
    });
    match (&wishes.tftp_root, set) {
        (Some(wish), Some((file, root))) if *wish != root => {
            bail!("{} sets tftp-root={}: take that one, or change it there", file.display(), root.display())
        }
        (Some(wish), _) if !wish.is_absolute() => {
            bail!("'{}' is not an absolute path: TFTP needs one", wish.display())
        }
        (Some(wish), _) if !fits_a_line(wish) => {
            bail!(
                "'{}' cannot be written into dnsmasq's files: take a folder without , \" \\ # in its path",
                wish.display().to_string().escape_debug()
            )
        }
        (Some(wish), _) => Ok(wish.clone()),
        (None, Some((_, root))) => Ok(root),
        (None, None) => Ok(TFTP_ROOT.into()),
    }
}
