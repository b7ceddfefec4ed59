// SPDX-License-Identifier: GPL-3.0-or-later
//! Many machines are switched at once, within bounds.

use super::{
    address::Protocol,
    ipmi,
    machines::{Machine, machines},
    redfish,
    row::{PowerAction, PowerRequest, PowerRow, PowerState, Way},
    settings::{Bmc, PowerSettings},
};
use crate::{clients::Client, hosts::Hosts, wake};
use anyhow::{Result, anyhow};
use futures::{StreamExt, stream};
use std::{path::Path, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// BMCs that are asked at once, whoever wants it.
const AT_ONCE: usize = 16;
/// How long one BMC may take.
const EACH: Duration = Duration::from_secs(10);
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Do it for all of them, some at a time. One row a machine, in the order of the words. `file`: power.toml. Errors: one
/// of the words means nobody, or the file cannot be used; then nothing was done.
pub async fn power(
    request: &PowerRequest,
    hosts: &Hosts,
    clients: &[Client],
    file: &Path,
) -> Result<Vec<PowerRow>> {
    let machines = machines(&request.who, hosts, clients).map_err(|why| anyhow!(why))?;
    let settings = PowerSettings::load(file)?;
    let each = stream::iter(machines).map(|machine| one(machine, &settings, request.action));
    Ok(each.buffered(AT_ONCE).collect().await)
}

async fn one(machine: Machine, settings: &PowerSettings, action: PowerAction) -> PowerRow {
    let (by, done) = match settings.bmc(&machine) {
        Ok(Some(bmc)) => {
            let by = match bmc.address.protocol {
                Protocol::Ipmi => Way::Ipmi,
                Protocol::Redfish => Way::Redfish,
            };
            (Some(by), ask(&bmc, action).await)
        }
        Ok(None) if action == PowerAction::On => (Some(Way::WakeOnLan), awake(&machine).await),
        Ok(None) => {
            let why = format!("its BMC is not known: add it to {}", settings.path.display());
            (None, Err(why))
        }
        Err(why) => (None, Err(why)),
    };
    let (state, error) = match done {
        Ok(state) => (state, None),
        Err(why) => (None, Some(why)),
    };
    PowerRow { key: machine.key, name: machine.name, by, state, error }
}

/// Wake-on-LAN. Whether it works nobody tells.
async fn awake(machine: &Machine) -> Result<Option<PowerState>, String> {
    let Some(mac) = machine.mac else {
        return Err(
            "neither its BMC nor its MAC address is known: it can be woken when it has booted from here \
                    once"
                .into(),
        );
    };
    let sent = tokio::task::spawn_blocking(move || wake::send(&[mac])).await;
    sent.map_err(anyhow::Error::from).and_then(|s| s).map_err(|e| format!("{e:#}"))?;
    Ok(None)
}

async fn ask(bmc: &Bmc, action: PowerAction) -> Result<Option<PowerState>, String> {
    // Never closed.
    let _place = PLACES.acquire().await;
    let asking = async {
        match bmc.address.protocol {
            Protocol::Ipmi => ipmi::ask(bmc, action).await,
            Protocol::Redfish => redfish::ask(bmc, action).await,
        }
    };
    match timeout(EACH, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(bmc.silent()),
    }
}
