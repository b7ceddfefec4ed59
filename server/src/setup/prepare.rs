// SPDX-License-Identifier: GPL-3.0-or-later
//! From what was asked for to a plan for this machine, checked by dnsmasq itself. Nothing is written.

use super::{
    plan::{Content, Here, SetupOptions, SetupPlan, plan},
    survey::{DNSMASQ_DIR, MAIN, Survey},
    write,
};
use crate::{config::Config, firmware, menu_users, net::interfaces};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub struct SetupPaths {
    /// dnsmasq's snippets.
    pub dnsmasq: PathBuf,
    /// Below which Debian's packages have their loaders.
    pub lib: PathBuf,
}

impl Default for SetupPaths {
    fn default() -> SetupPaths {
        SetupPaths { dnsmasq: DNSMASQ_DIR.into(), lib: firmware::LIB.into() }
    }
}

/// What would be written here.
pub struct Prepared {
    /// The files.
    pub plan: SetupPlan,
    dnsmasq: PathBuf,
    /// dnsmasq's other files.
    others: Vec<PathBuf>,
}

/// Look at this machine, and decide.
pub fn prepare(options: &SetupOptions, config: &Config, paths: SetupPaths) -> Result<Prepared> {
    let secure_boot = options.secure_boot || config.boot.secure_boot;
    let options = SetupOptions { secure_boot, ..options.clone() };
    let survey = Survey::read(&paths.dnsmasq)?;
    let here = Here {
        dnsmasq_dir: &paths.dnsmasq,
        lib: &paths.lib,
        state: &config.catalogue.dir,
        port: config.serve.listen.port(),
        shell: gives_shell(config),
    };
    let mut plan = plan(&options, &survey, &interfaces()?, here)?;
    plan.notes.extend(replaced(&paths.dnsmasq.join(MAIN), &plan));
    Ok(Prepared { plan, dnsmasq: paths.dnsmasq, others: survey.files })
}

/// Whether whoever sits at a machine may have iPXE's shell without a password.
pub fn gives_shell(config: &Config) -> bool {
    config.menu.shell && config.menu.locked.is_empty() && !menu_users::any(&config.catalogue.dir)
}

impl Prepared {
    /// Refuse a plan with which dnsmasq would not start.
    pub fn check(&self) -> Result<()> {
        write::check(&self.plan, &self.dnsmasq, &self.others)
    }
}

/// What an earlier `--write` serves and this one would not.
fn replaced(main: &Path, plan: &SetupPlan) -> Option<String> {
    let ranges = |text: &str| -> Vec<String> {
        let value = |l: &str| l.strip_prefix("dhcp-range=").map(str::to_owned);
        text.lines().filter_map(value).collect()
    };
    let now = plan.items.iter().find_map(|i| match &i.content {
        Content::Text(text) if i.path == main => Some(ranges(text)),
        _ => None,
    })?;
    let mut before = ranges(&fs::read_to_string(main).ok()?);
    before.retain(|r| !now.contains(r));
    (!before.is_empty()).then(|| {
        format!(
            "this replaces what an earlier setup serves (dhcp-range={}): to keep it, name all interfaces, each with --interface",
            before.join(" and ")
        )
    })
}
