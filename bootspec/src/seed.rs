// SPDX-License-Identifier: GPL-3.0-or-later
//! How long a machine that has the image goes on sending it: `boottorrent.seed=`
//! of the kernel command line, and `--seed` of `boottorrent-agent fetch`.

use crate::units;
use std::{fmt, str::FromStr, time::Duration};

/// How long a machine that has the image goes on sending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Seed {
    /// Until power-off.
    #[default]
    Forever,
    /// Not at all: the swarm is left when the image is there.
    Off,
    /// This long after the image was there.
    For(Duration),
    /// Until so many hundredths of the image's size were sent. Not a float, so that a value is equal to itself.
    Ratio(u32),
    /// Until for a minute nobody has wanted more than so many bytes a second.
    Idle(u64),
}

/// What may be written, for docs and help.
pub const VALUE: &str = "forever|off|TIME|ratio:N|idle:RATE";

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.split_once(':') {
            None if text == "forever" => Some(Seed::Forever),
            None if text == "off" => Some(Seed::Off),
            None => units::parse_time(text).ok().map(Seed::For),
            Some(("ratio", number)) => hundredths(number).filter(|n| *n > 0).map(Seed::Ratio),
            // Any rate, also those that are too low to be held as a limit: 0 waits for silence.
            Some(("idle", rate)) => {
                units::parse_size(rate.strip_suffix("/s").unwrap_or(rate)).ok().map(Seed::Idle)
            }
            Some(_) => None,
        };
        read.ok_or_else(|| {
            format!(
                "'{text}' is not forever, off, a time such as 30m, ratio:2 or idle:50KB/s: write one of these"
            )
        })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seed::Forever => f.write_str("forever"),
            Seed::Off => f.write_str("off"),
            Seed::For(time) => f.write_str(&units::render_time(*time)),
            Seed::Ratio(n) => {
                let text = format!("ratio:{}.{:02}", n / 100, n % 100);
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Seed::Idle(rate) => write!(f, "idle:{rate}"),
        }
    }
}

/// `2`, `1.5` or `0.25` in hundredths.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u32 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_renders() {
        let seconds = |s| Seed::For(Duration::from_secs(s));
        for (text, seed, rendered) in [
            ("forever", Seed::Forever, "forever"),
            ("off", Seed::Off, "off"),
            ("30m", seconds(1800), "30m"),
            ("90", seconds(90), "1m30s"),
            ("ratio:2", Seed::Ratio(200), "ratio:2"),
            ("ratio:10.0", Seed::Ratio(1000), "ratio:10"),
            ("ratio:1.5", Seed::Ratio(150), "ratio:1.5"),
            ("ratio:0.05", Seed::Ratio(5), "ratio:0.05"),
            ("idle:50KB/s", Seed::Idle(50_000), "idle:50000"),
            ("idle:0", Seed::Idle(0), "idle:0"),
        ] {
            assert_eq!(text.parse(), Ok(seed));
            assert_eq!(seed.to_string(), rendered);
            assert_eq!(rendered.parse(), Ok(seed));
        }
    }

    #[test]
    fn says_what_may_be_written() {
        for bad in [
            "",
            "never",
            "ratio",
            "ratio:",
            "ratio:0",
            "ratio:0.00",
            "ratio:-1",
            "ratio:1.234",
            "ratio:1.",
            "ratio:.5",
            "ratio:1e9",
            "ratio:99999999",
            "idle",
            "idle:",
            "idle:fast",
            "time:3",
            "30m:2",
        ] {
            let why = bad.parse::<Seed>().unwrap_err();
            assert_eq!(
                why,
                format!(
                    "'{bad}' is not forever, off, a time such as 30m, ratio:2 or idle:50KB/s: write one of these"
                )
            );
        }
    }
}
