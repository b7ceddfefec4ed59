// SPDX-License-Identifier: GPL-3.0-or-later
//! IPMI 2.0 by `ipmitool`: the password by its environment, for words of a command are for everybody to read. What a
//! BMC sends is read by a program that may use no file and no TCP ([`crate::cage`]).

use super::{
    row::{PowerAction, PowerState},
    settings::Bmc,
};
use crate::tool::Tool;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::net::lookup_host;

/// How long one question may take, and all of them.
const EACH: Duration = Duration::from_secs(5);
const ALL: Duration = Duration::from_secs(9);
/// Bytes of an answer.
const MAX_ANSWER: usize = 4096;

/// Ask a BMC, or have it do something.
pub async fn ask(bmc: &Bmc, action: PowerAction) -> Result<Option<PowerState>, String> {
    // In its cage ipmitool finds no names.
    let unknown = || format!("the name of its BMC {} is not known", bmc.address);
    let found = lookup_host((bmc.address.host.as_str(), bmc.address.port)).await;
    let ip = found.ok().and_then(|mut all| all.next()).ok_or_else(unknown)?.ip();
    let bmc = bmc.clone();
    let asking = move || told(&bmc, ip, action);
    tokio::task::spawn_blocking(asking).await.unwrap_or_else(|e| Err(e.to_string()))
}

fn told(bmc: &Bmc, ip: IpAddr, action: PowerAction) -> Result<Option<PowerState>, String> {
    let end = Instant::now() + ALL;
    let call = |word: &str| call(bmc, ip, word, end);
    let word = match action {
        PowerAction::Status => return Ok(Some(state(&call("status")?, bmc)?)),
        PowerAction::On => "on",
        PowerAction::Off => "off",
        // A cycle of a machine that is off is an error for some BMCs.
        PowerAction::Cycle if state(&call("status")?, bmc)? == PowerState::Off => "on",
        PowerAction::Cycle => "cycle",
    };
    call(word)?;
    Ok(None)
}

fn call(bmc: &Bmc, ip: IpAddr, word: &str, end: Instant) -> Result<String, String> {
    let cipher = bmc.cipher.map(|c| ["-C".to_owned(), c.to_string()]);
    let tool = Tool::parser("ipmitool", "ipmitool")
        .bounds(|b| (b.seconds, b.memory, b.file) = (10, Some(256 << 20), 0))
        // One question in two seconds, asked twice. -v: why it has failed.
        .args(["-v", "-I", "lanplus", "-N", "2", "-R", "1"])
        .args(["-H", &ip.to_string(), "-p", &bmc.address.port.to_string(), "-U", &bmc.login.user, "-E"])
        .args(cipher.into_iter().flatten())
        .args(["chassis", "power", word])
        .env("IPMI_PASSWORD", bmc.login.password.reveal());
    let left = end.saturating_duration_since(Instant::now()).min(EACH);
    tool.output_within(MAX_ANSWER, left).map_err(|e| why(&format!("{e:#}"), bmc))
}

fn state(answer: &str, bmc: &Bmc) -> Result<PowerState, String> {
    match answer.lines().rev().find_map(|line| line.trim().strip_prefix("Chassis Power is ")) {
        Some("on") => Ok(PowerState::On),
        Some("off") => Ok(PowerState::Off),
        _ => Err(format!("its BMC {} does not say whether it is on", bmc.address)),
    }
}

/// What ipmitool's messages mean. Its last ones are the same whether a BMC is silent or refuses the password.
fn why(said: &str, bmc: &Bmc) -> String {
    if said.contains("RAKP") {
        return bmc.refused();
    }
    if said.contains("Get Auth Capabilities error") || said.contains("took more than") {
        return bmc.silent();
    }
    match said.contains("invalid authentication algorithm") {
        true => format!("its BMC {} does not take this cipher suite: set cipher = 3 or 17", bmc.address),
        false => said.to_owned(),
    }
}
