// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent` as `/init` of an initrd that has nothing else: the kernel's file systems, the card's driver, an
//! address, the boot story of [`crate::story`], and the step into the root. No udev, and a shell only where it is asked for.
//!
//! What a boot script leaves for the story (`/run/net-IFACE.conf`, resolv.conf) is left here too, in the same form.

mod card;
pub mod dhcp;
mod drivers;
mod fixed;
pub mod lease;
mod links;
mod live;
mod mounts;
mod names;
mod rescue;
mod unpack;

use crate::{
    args::{Cli, Command},
    launch, link, modules, net,
    report::Report,
    second, vlan,
};
use anyhow::{Context, anyhow, bail};
use bootspec::{Exit, MODULES_DIR, Params, cmdline};
use card::Wanted;
use clap::Parser;
use drivers::Drivers;
use fixed::Asked;
use lease::Lease;
use nix::sys::reboot::{RebootMode, reboot};
use rescue::Stage;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread::{self, sleep},
    time::Duration,
};

/// How long servers of DHCP may take: as initramfs-tools asks, all rounds together.
const DHCP: Duration = Duration::from_secs(265);

/// What this process is to be, other than the program that its command line makes of it.
pub enum Role {
    /// The init of an initramfs.
    Init,
    /// modprobe(8): the kernel asks for a module, as a driver does for that of its transceiver.
    Modprobe(String),
}

/// Who we are, by the process number and the name that we were called by.
pub fn role() -> Option<Role> {
    let mut words = std::env::args();
    let modprobe = words.next().is_some_and(|w| w.rsplit('/').next() == Some("modprobe"));
    match std::process::id() {
        1 => Some(Role::Init),
        _ if modprobe => words.next_back().map(Role::Modprobe),
        _ => None,
    }
}

/// Load the modules that have this name or alias.
pub fn modprobe(asked: &str) {
    Drivers::read(drivers::folder()).load_named(asked);
}

/// Boot. Never returns: PID 1 must not.
pub fn main() -> ! {
    let (error, patience) = match mounts::kernel() {
        Ok(()) => boot(),
        Err(e) => (e, None),
    };
    give_up(&error, patience)
}

/// How long a sentence stands on the console before a machine without a network tries again: the server then sends it other
/// drivers, see docs/images.md.
const AGAIN: Duration = Duration::from_secs(30);

/// The way from here to the image's init. What it returns is why it did not come to that, and after how long a reboot may help.
fn boot() -> (anyhow::Error, Option<Duration>) {
    modules::load(Path::new(MODULES_DIR));
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let report = Report::new(Some(Path::new("/dev/kmsg")), None);
    report.set_level(Params::parse(&line).0.log);
    rescue::stop(Stage::Top, &line);
    let online = network(&line, &report);
    if let Err(e) = &online {
        // The story says it once more to the server, where there is a way to it; a kept image boots without a network.
        report.warn(&format!("{e:#}"));
    }
    let Command::Boot(args) = Cli::parse_from(["boottorrent-agent", "boot"]).command else {
        unreachable!("it was asked for")
    };
    drop(report);
    rescue::stop(Stage::Premount, &line);
    match launch::boot(&args, &["boot".into()]) {
        Exit::Ok => {
            rescue::stop(Stage::Bottom, &line);
            match second::told() {
                Ok(None) => {}
                Ok(Some(live)) => return (live::enter(&live), None),
                Err(e) => return (e, None),
            }
            let init = crate::mounts::Asked::read(&line, &Params::parse(&line).0).init;
            (mounts::switch_root(&args.root_mnt, init.as_deref(), true), None)
        }
        exit => {
            let error = anyhow!(
                "BootTorrent could not boot this machine (exit code {}): the line above says why",
                exit.code()
            );
            (error, online.err().map(|_| AGAIN))
        }
    }
}

/// An address for the card that the machine boots over.
fn network(line: &str, report: &Report) -> anyhow::Result<()> {
    let asked = fixed::asked(line)?;
    link::loopback_up()?;
    let words = cmdline::split(line);
    let says = |name: &str, value: &str| {
        words.iter().rev().find(|(n, _)| n == name).is_some_and(|(_, v)| v.as_deref() == Some(value))
    };
    let rename = !says("net.ifnames", "0");
    let device = match &asked {
        Asked::Dhcp(device) | Asked::Fixed(device, _) => device.clone(),
    };
    let bootif = net::bootif(line).map(|b| net::bootif_mac(&b));
    let wanted = match (device, bootif) {
        (Some(name), _) => Wanted::Name(name),
        (None, Some(mac)) => Wanted::Mac(mac),
        (None, None) => Wanted::Any,
    };
    let mut drivers = Drivers::read(drivers::folder());
    let mut cards = card::bring_up(&wanted, rename, &mut drivers, report)?;
    thread::spawn(move || late(drivers));
    if rename {
        cards.iter().try_for_each(|c| card::keep_name(Path::new("/run"), c))?;
    }
    if let Some(tagged) = vlan::make(Path::new("/proc/cmdline"))? {
        cards = vec![tagged];
    }
    let (card, lease) = match asked {
        Asked::Fixed(_, lease) => (cards.swap_remove(0), *lease),
        Asked::Dhcp(_) => ask(&cards, report)?,
    };
    configure(&card, &lease)?;
    report.info(&format!("network: {card} has {}/{}", lease.address, lease.prefix));
    Ok(())
}

/// Disks appear when their controllers have looked for them. This ends with the step into the root.
fn late(mut drivers: Drivers) {
    let mut seen = BTreeSet::new();
    loop {
        drivers.load(Path::new("/sys"));
        links::make(Path::new("/sys"), Path::new("/dev"), &mut seen);
        sleep(Duration::from_millis(100));
    }
}

fn ask(cards: &[String], report: &Report) -> anyhow::Result<(String, Lease)> {
    let with_mac = |name: &String| {
        let mac = net::mac(name);
        let bytes: Vec<u8> = mac.split(':').filter_map(|b| u8::from_str_radix(b, 16).ok()).collect();
        match bytes.try_into() {
            Ok(bytes) => Ok((name.clone(), bytes)),
            Err(_) => bail!("the card {name} has no Ethernet address ('{mac}')"),
        }
    };
    let cards = cards.iter().map(with_mac).collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<&str> = cards.iter().map(|(name, _)| name.as_str()).collect();
    let mut told = false;
    dhcp::ask(&cards, DHCP, |since| {
        if !told && since > Duration::from_secs(5) {
            told = true;
            report.warn(&format!("no answer from any DHCP server on {}; still asking", names.join(", ")));
        }
    })
}

/// Give a card what was lent, and leave it for others to read.
fn configure(card: &str, lease: &Lease) -> anyhow::Result<()> {
    if let Some(mtu) = lease.mtu {
        link::set_mtu(card, mtu.into())?;
    }
    link::add_address(card, lease.address, lease.prefix)?;
    // Routers may be behind other routes (RFC 3442), so links come first.
    let mut routes = lease.routes.clone();
    routes.sort_by_key(|(_, prefix, router)| (router.is_some(), std::cmp::Reverse(*prefix)));
    for (to, prefix, router) in routes {
        link::add_route(card, to, prefix, router)?;
    }
    let conf = format!("/run/net-{card}.conf");
    fs::write(&conf, lease.conf(card)).with_context(|| format!("writing {conf}"))?;
    let search =
        if lease.search.is_empty() { lease.domain.iter().cloned().collect() } else { lease.search.clone() };
    let mut text: String = lease.dns.iter().map(|a| format!("nameserver {a}\n")).collect();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    fs::create_dir_all("/etc")
        .and_then(|()| fs::write("/etc/resolv.conf", text))
        .context("writing /etc/resolv.conf")
}

/// `panic=` as initramfs-tools has it: seconds until a reboot, at once if negative; without it, a shell if `break=` asks for
/// one, or wait for people, or as long as `patience`.
fn give_up(error: &anyhow::Error, patience: Option<Duration>) -> ! {
    eprintln!("boottorrent: {error:#}");
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let words = cmdline::split(&line);
    let panic = words.iter().rev().find(|(name, _)| name == "panic");
    let panic = panic.and_then(|(_, value)| value.as_ref()?.parse::<i64>().ok()).filter(|s| *s != 0);
    let wait = panic.map(|s| Duration::from_secs(s.clamp(0, 3600) as u64));
    let shell =
        wait.is_none() && rescue::asked(&line).is_some() && rescue::shell("this machine did not boot");
    let wait = if shell { Some(Duration::ZERO) } else { wait.or(patience) };
    if let Some(wait) = wait {
        eprintln!("boottorrent: rebooting in {} s", wait.as_secs());
        sleep(wait);
        nix::unistd::sync();
        let Err(e) = reboot(RebootMode::RB_AUTOBOOT);
        eprintln!("boottorrent: rebooting failed: {}", e.desc());
    }
    eprintln!("boottorrent: press Ctrl-Alt-Del to reboot");
    loop {
        sleep(Duration::from_secs(3600));
    }
}
