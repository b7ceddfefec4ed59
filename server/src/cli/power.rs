// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host power …`

use super::{backend::Backend, complete, run::block_on};
use crate::{
    cli::run::print_json,
    config::Config,
    power::{PowerAction, PowerRequest, PowerRow, PowerState, Way, power},
    trail,
};
use anyhow::{Result, bail};
use bootspec::text::{clean, count};
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
`on` goes to a machine's BMC, or is a wake-on-LAN packet if it has none; the
other actions need a BMC (IPMI or Redfish). `off` and `cycle` do not wait for
the system: what is not saved is lost.

BMCs and their passwords are in /etc/boottorrent/power.toml:
  [default]
  user = \"admin\"
  password = \"secret\"
  [pc1]
  bmc = \"ipmi://10.0.9.1\"
  [pc2]
  bmc = \"redfish://10.0.9.2\"

WHO is as in `boottorrent host set --help`, but not `default`.

Examples:
  boottorrent host power status room1
  boottorrent host power on 'pc[01-30]'
  boottorrent host power cycle pc7")]
pub struct Power {
    /// What to do
    #[arg(value_enum)]
    action: PowerAction,
    /// The machines or groups
    #[arg(required = true, add = complete::hosts())]
    who: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Power {
    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        let request = PowerRequest { who: self.who, action: self.action };
        let rows = match backend {
            Backend::Server(api) => block_on(api.power(&request))?,
            Backend::Disk(disk) => {
                let (hosts, clients) = (disk.hosts.load()?, disk.machines()?);
                let rows = block_on(power(&request, &hosts, &clients, &config.power.file))?;
                trail::tell(&format!("power: {}", serde_json::to_string(&request).unwrap_or_default()));
                rows
            }
        };
        match self.json {
            true => print_json(&rows)?,
            false => rows.iter().for_each(|row| println!("{}", clean(&sentence(row, self.action), &[]))),
        }
        match rows.iter().filter(|row| row.error.is_some()).count() {
            0 => Ok(()),
            failed => bail!("{} of {} failed", failed, count(rows.len(), "machine")),
        }
    }
}

/// What came of it for one machine.
fn sentence(row: &PowerRow, action: PowerAction) -> String {
    let who = row.name.as_ref().map_or_else(|| row.key.to_string(), ToString::to_string);
    let by = match row.by {
        Some(Way::Ipmi) => " (ipmi)",
        Some(Way::Redfish) => " (redfish)",
        Some(Way::WakeOnLan) | None => "",
    };
    let what = match (&row.error, row.state, action) {
        (Some(why), ..) => return format!("{who}: {why}"),
        (None, Some(PowerState::On), _) => "on",
        (None, Some(PowerState::Off), _) => "off",
        (None, None, _) if row.by == Some(Way::WakeOnLan) => "wake-on-LAN packet sent",
        (None, None, PowerAction::On) => "switched on",
        (None, None, PowerAction::Off) => "switched off",
        (None, None, PowerAction::Cycle) => "switched off and on",
        (None, None, PowerAction::Status) => "it does not say",
    };
    format!("{who}: {what}{by}")
}
