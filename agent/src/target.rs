// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the image goes, decided before the first byte is fetched. No I/O.

use anyhow::{Context, anyhow, bail};
use bootspec::{DeviceName, Overlay, Target, units::human_size};

/// The machine's memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can be used without swapping (proc_meminfo(5), MemAvailable).
    pub available: u64,
}

impl Memory {
    /// Read the text of /proc/meminfo.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let get = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
            let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|k| k << 10).with_context(|| anyhow!("reading {key} from /proc/meminfo"))
        };
        Ok(Self { total: get("MemTotal")?, available: get("MemAvailable")? })
    }

    /// What is left when others have taken so much.
    pub fn without(self, bytes: u64) -> Memory {
        Memory { available: self.available.saturating_sub(bytes), ..self }
    }
}

/// What a target takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the image's tmpfs: 0 if it is not kept in RAM.
    pub tmpfs: u64,
    /// What the booted system writes.
    pub writes: Writes,
}

/// Where what the booted system writes goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// RAM: this many bytes at most.
    Ram(u64),
    /// Compressed RAM.
    Zram {
        /// Bytes that can be written.
        size: u64,
        /// Bytes of RAM that they may take.
        limit: u64,
    },
    /// A filesystem that keeps it.
    Kept(DeviceName),
    /// Nowhere.
    None,
}

impl Writes {
    /// For the line that says what was mounted.
    pub fn what(&self) -> String {
        match self {
            Writes::Ram(size) => format!("under an overlay of {}", human_size(*size)),
            Writes::Zram { size, .. } => format!("under an overlay of {} in zram", human_size(*size)),
            Writes::Kept(name) => format!("under an overlay kept on {name}"),
            Writes::None => "read-only".into(),
        }
    }
}

/// RAM that must stay free beside the image: the agent, and a system that boots.
pub const RESERVE: u64 = 256 << 20;
/// Slack in the image's tmpfs: its own pages are not all payload.
pub const SLACK: u64 = 1 << 20;

/// Decide for one target, or refuse with both numbers.
pub fn choose(
    target: &Target,
    image: &str,
    size: u64,
    overlay: &Overlay,
    memory: Memory,
) -> anyhow::Result<Plan> {
    let in_ram = if target.in_ram() { size } else { 0 };
    let asked = if let Overlay::Sized(bytes) = overlay { *bytes } else { 0 };
    let need = (in_ram + RESERVE).saturating_add(asked);
    if need > memory.available && (in_ram > 0 || asked > 0) {
        let image_part =
            if in_ram > 0 { format!("{} for the image, ", human_size(size)) } else { String::new() };
        let writes = if asked > 0 {
            format!(", {} for boottorrent.overlay", human_size(asked))
        } else {
            String::new()
        };
        let hint = match in_ram {
            0 => "make boottorrent.overlay smaller, or use a machine with more RAM",
            _ => "use a smaller image, or a machine with more RAM",
        };
        bail!(
            "image {image} needs {} of RAM ({image_part}{} for the system{writes}), \
             but this machine has {} free of {}: {hint}",
            human_size(need),
            human_size(RESERVE),
            human_size(memory.available),
            human_size(memory.total),
        );
    }
    let rest = memory.available - in_ram;
    let tmpfs = if target.in_ram() { size + SLACK } else { 0 };
    let writes = match overlay {
        Overlay::Ram => Writes::Ram(rest / 2),
        Overlay::Sized(bytes) => Writes::Ram(*bytes),
        // What systems write halves, as a rule; what does not is stopped by the limit.
        Overlay::Zram(asked) => Writes::Zram { size: asked.unwrap_or(rest), limit: rest / 2 },
        Overlay::Kept(name) => Writes::Kept(name.clone()),
        Overlay::None => Writes::None,
    };
    Ok(Plan { tmpfs, writes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn cache() -> Target {
        Target::Cache(DeviceName::Label("images".into()))
    }

    #[test]
    fn both_numbers_before_the_first_byte() {
        let memory = Memory { total: GIB, available: GIB * 9 / 10 };
        let e = choose(&Target::Ram, "big", 2 * GIB, &Overlay::Ram, memory).unwrap_err();
        assert_eq!(
            e.to_string(),
            "image big needs 2.25 GiB of RAM (2.00 GiB for the image, 256 MiB for the system), but this machine \
             has 922 MiB free of 1.00 GiB: use a smaller image, or a machine with more RAM"
        );
        let e = choose(&cache(), "big", 2 * GIB, &Overlay::Sized(GIB), memory).unwrap_err();
        assert_eq!(
            e.to_string(),
            "image big needs 1.25 GiB of RAM (256 MiB for the system, 1.00 GiB for boottorrent.overlay), but this \
             machine has 922 MiB free of 1.00 GiB: make boottorrent.overlay smaller, or use a machine with more RAM"
        );
    }

    #[test]
    fn an_image_that_fits_leaves_half_of_the_rest_to_the_overlay() {
        let memory = Memory { total: 4 * GIB, available: 3 * GIB };
        let plan = choose(&Target::Ram, "lab", GIB, &Overlay::Ram, memory).unwrap();
        assert_eq!(plan, Plan { tmpfs: GIB + SLACK, writes: Writes::Ram(GIB) });
        let sized = choose(&Target::Ram, "lab", GIB, &Overlay::Sized(5 << 20), memory).unwrap();
        assert_eq!(sized.writes, Writes::Ram(5 << 20));
        let zram = |asked| choose(&Target::Ram, "lab", GIB, &Overlay::Zram(asked), memory).unwrap().writes;
        assert_eq!(zram(None), Writes::Zram { size: 2 * GIB, limit: GIB });
        assert_eq!(zram(Some(7 * GIB)), Writes::Zram { size: 7 * GIB, limit: GIB });
        assert!(choose(&Target::Ram, "lab", GIB, &Overlay::Sized(2 * GIB), memory).is_err());
    }

    #[test]
    fn what_is_on_a_disk_takes_no_ram() {
        let memory = Memory { total: GIB, available: GIB / 2 };
        let plan = choose(&cache(), "big", 8 * GIB, &Overlay::Ram, memory).unwrap();
        let name = DeviceName::Label("images".into());
        assert_eq!(plan, Plan { tmpfs: 0, writes: Writes::Ram(GIB / 4) });
        let kept = choose(&cache(), "big", 8 * GIB, &Overlay::Kept(name.clone()), memory).unwrap();
        assert_eq!(kept.writes, Writes::Kept(name));
        assert_eq!(choose(&cache(), "big", 8 * GIB, &Overlay::None, memory).unwrap().writes, Writes::None);
    }

    #[test]
    fn meminfo() {
        let m = Memory::parse("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n").unwrap();
        assert_eq!(m, Memory { total: 1000 << 10, available: 600 << 10 });
        assert!(Memory::parse("MemTotal: 1 kB").is_err());
    }
}
