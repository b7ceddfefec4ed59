// SPDX-License-Identifier: GPL-3.0-or-later
//! power.toml: whether it can be used.

use super::finding::Finding;
use crate::{config::Config, power::PowerSettings, tool};
use bootspec::text::count;

/// Nothing is found without the file.
pub fn bmcs(config: &Config) -> Option<Finding> {
    let cannot = "machines cannot be switched on and off (boottorrent host power)";
    let file = &config.power.file;
    let settings = match PowerSettings::load(file) {
        Ok(settings) => settings,
        Err(e) => {
            let cure = format!("correct {} (docs/admin.md)", file.display());
            return Some(Finding::warning("power", format!("{e:#}"), cannot, cure));
        }
    };
    if settings.is_empty() {
        return None;
    }
    if settings.needs_ipmitool() && !tool::is_there("ipmitool") {
        let what = "BMCs are spoken to by IPMI, and ipmitool is not installed";
        return Some(Finding::warning("power", what, cannot, "apt install ipmitool"));
    }
    Some(Finding::good("power", format!("{} in {}", count(settings.len(), "BMC"), file.display())))
}
