// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent identify`: the root that a live ISO's own scripts have mounted keeps the machine's DHCP lease.
//! Its DHCP client would ask with a client id that is new at each boot, and be lent one more address each time.

use crate::{args::IdentifyArgs, identity, net, report::Report};
use anyhow::Context;
use bootspec::{Exit, Params};
use std::fs;

/// Write it, and report who looks after the network. A live system that could not be changed boots all the same.
pub fn run(args: &IdentifyArgs) -> Exit {
    let report = Report::new(Some(&args.kmsg), None);
    match identify(args, &report) {
        Ok(()) => Exit::Ok,
        Err(e) => {
            report.warn(&format!("this machine may get another address at each boot: {e:#}"));
            Exit::Root
        }
    }
}

fn identify(args: &IdentifyArgs, report: &Report) -> anyhow::Result<()> {
    let line = fs::read_to_string(&args.cmdline_file)
        .with_context(|| format!("reading {}", args.cmdline_file.display()))?;
    report.set_level(Params::parse(&line).0.log);
    let net = net::read(&args.run, net::bootif(&line).as_deref())?;
    let networkd = identity::asks_for_networkd(&line);
    let manager = identity::write_live(&args.root, &net, &args.run, networkd)?;
    report.info(&format!("network: {} is configured by the image's {}", net.interface, manager.as_str()));
    Ok(())
}
