// SPDX-License-Identifier: GPL-3.0-or-later
//! The card to boot over: its driver, its name, its cable. Other cards are left alone.

use super::{drivers::Drivers, names};
use crate::{link, net, report::Report};
use anyhow::{Context, bail};
use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a card may take to appear.
const CARD: Duration = Duration::from_secs(30);
/// How long its cable may: a switch with spanning tree takes 30 s, people longer.
const CABLE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);

/// Which cards are asked for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one with this MAC address.
    Mac(String),
    /// The one with this name, whichever of its names it is.
    Name(String),
    /// Every one with a cable.
    Any,
}

/// Load drivers until the wanted cards are there, and bring them up, under the names that udev will give them. Gives the
/// names of those that have a carrier.
pub fn bring_up(
    wanted: &Wanted,
    rename: bool,
    drivers: &mut Drivers,
    report: &Report,
) -> anyhow::Result<Vec<String>> {
    let sys = Path::new("/sys");
    let begun = Instant::now();
    let cards = loop {
        let more = drivers.load(sys);
        let cards: Vec<String> = all(sys).into_iter().filter(|c| fits(wanted, sys, c)).collect();
        // With any card, all drivers that fit have been loaded before the first one is believed.
        if !cards.is_empty() && !more {
            break cards;
        }
        if begun.elapsed() > CARD {
            bail!("{}", missing(wanted, &all(sys), drivers));
        }
        sleep(LOOK);
    };
    let mut up = Vec::new();
    for card in cards {
        let name = Some(&card)
            .filter(|_| rename)
            .and_then(|c| names::of(sys, c, &net::mac(c)))
            .unwrap_or(card.clone());
        if name != card
            && let Err(e) = link::rename(&card, &name)
        {
            report.warn(&format!("{e:#}"));
            up.push(card.clone());
        } else {
            up.push(name);
        }
        link::up(up.last().expect("just pushed"))?;
    }
    carrier(&up, report)
}

/// Wait until one of them has a carrier.
fn carrier(cards: &[String], report: &Report) -> anyhow::Result<Vec<String>> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let has = |card: &&String| {
            fs::read_to_string(format!("/sys/class/net/{card}/carrier")).is_ok_and(|c| c.trim() == "1")
        };
        let ready: Vec<String> = cards.iter().filter(has).cloned().collect();
        if !ready.is_empty() {
            return Ok(ready);
        }
        if begun.elapsed() > CABLE {
            bail!(
                "no carrier on {} for {} s: check the cable and the switch",
                cards.join(", "),
                CABLE.as_secs()
            );
        }
        if !told && begun.elapsed() > Duration::from_secs(5) {
            told = true;
            report.warn(&format!("no carrier on {}: check the cable; still waiting", cards.join(", ")));
        }
        sleep(LOOK);
    }
}

/// Network cards that are devices: not bridges, tunnels and the like.
fn all(sys: &Path) -> Vec<String> {
    let mut cards: Vec<String> = fs::read_dir(sys.join("class/net"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().join("device").exists() && !e.path().join("wireless").exists())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    cards.sort();
    cards
}

fn fits(wanted: &Wanted, sys: &Path, card: &str) -> bool {
    match wanted {
        Wanted::Any => true,
        Wanted::Mac(mac) => net::mac(card) == *mac,
        Wanted::Name(name) => card == name || names::of(sys, card, &net::mac(card)).as_deref() == Some(name),
    }
}

fn missing(wanted: &Wanted, there: &[String], drivers: &Drivers) -> String {
    let which = match wanted {
        Wanted::Mac(mac) => format!("no network card with the address {mac} (BOOTIF=)"),
        Wanted::Name(name) => format!("no network card {name} (ip=)"),
        Wanted::Any => "no network card".into(),
    };
    let there = if there.is_empty() { "none".into() } else { there.join(", ") };
    let drivers = Some(drivers.loaded()).filter(|d| !d.is_empty()).unwrap_or_else(|| "none".into());
    format!(
        "{which} for {} s: cards here: {there}; drivers of this initrd that fit this machine: {drivers}",
        CARD.as_secs()
    )
}

/// What keeps the name of a card in the booted system: a file for udev (systemd.link(5)), behind the admin's own.
pub fn keep_name(run: &Path, card: &str) -> anyhow::Result<()> {
    let folder = run.join("systemd/network");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let text = format!(
        "# The card that this machine has booted over; it is up, so its name stays.\n[Match]\nPermanentMACAddress={}\n\n\
         [Link]\nName={card}\nAlternativeNamesPolicy=database onboard slot path mac\nMACAddressPolicy=persistent\n",
        net::mac(card)
    );
    fs::write(folder.join("98-boottorrent.link"), text).context("writing 98-boottorrent.link")
}
