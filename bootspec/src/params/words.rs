// SPDX-License-Identifier: GPL-3.0-or-later
//! Parameters whose value is one of a few words.

/// What the payload is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KindParam {
    /// Recognised by content.
    #[default]
    Auto,
    /// A root filesystem.
    Filesystem,
    /// A live ISO.
    Iso,
    /// A disk image with partitions.
    Disk,
    /// An image of LTSP, which LTSP's own scripts mount.
    Ltsp,
}

/// What the boot script does when the agent gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFail {
    /// What `panic=` says: a rescue shell without it, a reboot with it.
    #[default]
    Panic,
    /// Reboot after ten seconds.
    Reboot,
    /// Power off after ten seconds.
    Poweroff,
}

/// What comes after a disk was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Then {
    /// Its root partition is mounted, and the boot goes on.
    #[default]
    Boot,
    /// The machine starts again.
    Reboot,
    /// The machine is switched off.
    Poweroff,
}

/// Where a machine keeps its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyPlace {
    /// On the filesystem that keeps images, else in RAM.
    #[default]
    Auto,
    /// In a variable of the firmware.
    Efi,
}

/// How much the agent tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Log {
    /// Errors.
    Error,
    /// And warnings.
    Warn,
    /// And one line for each step.
    #[default]
    Info,
    /// And what the swarm does.
    Debug,
}

/// Bytes of a sector, where nothing else is said.
pub(super) const SECTOR: u32 = 512;
pub(super) const SECTORS: &[(&str, u32)] = &[("512", SECTOR), ("4096", 4096)];

pub(super) const KINDS: &[(&str, KindParam)] = &[
    ("auto", KindParam::Auto),
    ("filesystem", KindParam::Filesystem),
    ("iso", KindParam::Iso),
    ("disk", KindParam::Disk),
    ("ltsp", KindParam::Ltsp),
];
pub(super) const KEY_PLACES: &[(&str, KeyPlace)] = &[("auto", KeyPlace::Auto), ("efi", KeyPlace::Efi)];
pub(super) const SWITCH: &[(&str, bool)] =
    &[("on", true), ("off", false), ("yes", true), ("no", false), ("1", true), ("0", false), ("", true)];
pub(super) const ONFAIL: &[(&str, OnFail)] =
    &[("panic", OnFail::Panic), ("reboot", OnFail::Reboot), ("poweroff", OnFail::Poweroff)];
pub(super) const THEN: &[(&str, Then)] =
    &[("boot", Then::Boot), ("reboot", Then::Reboot), ("poweroff", Then::Poweroff)];
pub(super) const LOGS: &[(&str, Log)] =
    &[("info", Log::Info), ("error", Log::Error), ("warn", Log::Warn), ("debug", Log::Debug)];

/// Take the value that a word stands for.
pub(super) fn choose<T: Copy>(slot: &mut T, v: &str, choices: &[(&str, T)]) -> Result<(), String> {
    match choices.iter().find(|(name, _)| *name == v) {
        Some((_, value)) => {
            *slot = *value;
            Ok(())
        }
        None => {
            let names: Vec<&str> = choices.iter().map(|(n, _)| *n).filter(|n| n.len() > 1).collect();
            Err(format!("'{v}' is none of: {}", names.join(", ")))
        }
    }
}

/// The word for a value that is not the default (the first of `choices`).
pub(super) fn chosen<T: PartialEq>(value: &T, choices: &[(&str, T)]) -> Option<String> {
    choices[1..].iter().find(|(_, v)| v == value).map(|(name, _)| (*name).to_owned())
}
