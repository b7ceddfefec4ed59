// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the image goes, decided before the first byte is fetched.

use anyhow::{Context, anyhow, bail};
use bootspec::units::human_size;

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
}

/// Where everything goes. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tmpfs that holds the image.
    pub store: u64,
    /// The tmpfs that holds what the booted system writes.
    pub overlay: u64,
}

/// RAM that must stay free beside the image: the agent, and a system that boots.
pub const RESERVE: u64 = 256 << 20;
/// Slack in the image's tmpfs: its own pages are not all payload.
const SLACK: u64 = 1 << 20;

/// Decide, or refuse with both numbers. `overlay`: what the parameters ask for.
pub fn choose(image: &str, size: u64, overlay: Option<u64>, memory: Memory) -> anyhow::Result<Plan> {
    let need = (size + RESERVE).saturating_add(overlay.unwrap_or(0));
    if need > memory.available {
        let writes =
            overlay.map(|o| format!(", {} for boottorrent.overlay", human_size(o))).unwrap_or_default();
        bail!(
            "image {image} needs {} of RAM ({} for the image, {} for the system{writes}), \
             but this machine has {} free of {}: use a smaller image, or a machine with more RAM",
            human_size(need),
            human_size(size),
            human_size(RESERVE),
            human_size(memory.available),
            human_size(memory.total),
        );
    }
    let rest = memory.available - size;
    Ok(Plan { store: size + SLACK, overlay: overlay.unwrap_or(rest / 2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn both_numbers_before_the_first_byte() {
        let memory = Memory { total: GIB, available: GIB * 9 / 10 };
        let e = choose("big", 2 * GIB, None, memory).unwrap_err();
        assert_eq!(
            e.to_string(),
            "image big needs 2.25 GiB of RAM (2.00 GiB for the image, 256 MiB for the system), but this machine \
             has 922 MiB free of 1.00 GiB: use a smaller image, or a machine with more RAM"
        );
    }

    #[test]
    fn an_image_that_fits_leaves_half_of_the_rest_to_the_overlay() {
        let memory = Memory { total: 4 * GIB, available: 3 * GIB };
        let plan = choose("lab", GIB, None, memory).unwrap();
        assert_eq!(plan, Plan { store: GIB + SLACK, overlay: GIB });
        assert_eq!(choose("lab", GIB, Some(5 << 20), memory).unwrap().overlay, 5 << 20);
        assert!(choose("lab", GIB, Some(2 * GIB), memory).is_err());
    }

    #[test]
    fn meminfo() {
        let m = Memory::parse("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n").unwrap();
        assert_eq!(m, Memory { total: 1000 << 10, available: 600 << 10 });
        assert!(Memory::parse("MemTotal: 1 kB").is_err());
    }
}
