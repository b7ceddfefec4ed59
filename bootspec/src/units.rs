// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes, rates and times as people type and read them.
//!
//! Sizes follow tmpfs(5) and dd(1): `K M G T` (also `KiB` …) are powers of
//! 1024, `KB MB GB TB` powers of 1000. Rates are sizes a second, `/s` optional.

use std::time::Duration;

const UNITS: [(&str, u64); 13] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("B", 1),
];

/// Parse a size in bytes: `512M`, `1.5GiB`, `100MB`, `4096`.
pub fn parse_size(s: &str) -> Result<u64, String> {
    let bad =
        || format!("'{s}' is not a valid size: write a number with K, M, G (or KB, MB, GB), as in 512M");
    let lower = s.to_ascii_lowercase();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(u, f)| Some((lower.strip_suffix(&u.to_ascii_lowercase())?, *f)))
        .unwrap_or((&lower, 1));
    if let Ok(n) = number.parse::<u64>() {
        return n.checked_mul(factor).ok_or_else(bad);
    }
    // `1.5G`: digits and one dot only, so that "inf", "nan" and "1e9" stay errors.
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(bad());
    }
    let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
}

/// The lowest rate that can be held, in bytes a second: one block.
pub const MIN_RATE: u64 = 16 << 10;

/// Parse a rate in bytes a second: `10MB/s`, `500K`; at least [`MIN_RATE`].
pub fn parse_rate(s: &str) -> Result<u64, String> {
    parse_size(s.strip_suffix("/s").unwrap_or(s)).ok().filter(|r| *r >= MIN_RATE).ok_or_else(|| {
        format!(
            "'{s}' is not a valid rate: write bytes a second with K, M, G (or KB, MB, GB), at least 16K, as in 10MB/s"
        )
    })
}

/// Parse a time: `30s`, `10m`, `2h`, or plain seconds.
pub fn parse_time(s: &str) -> Result<Duration, String> {
    match s.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => humantime::parse_duration(s)
            .map_err(|_| format!("'{s}' is not a valid time: write a number with s, m or h, as in 10m")),
    }
}

/// A time as [`parse_time`] reads it, exactly: `10m`, `1h30m`.
pub fn render_time(d: Duration) -> String {
    humantime::format_duration(d).to_string().replace(' ', "")
}

/// A size for people: `1.4 GiB`.
pub fn human_size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {unit}"),
        _ if value < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A rate for people, in the network's decimal units: `11.8 MB/s`.
pub fn human_rate(bytes_per_second: u64) -> String {
    let value = bytes_per_second as f64;
    match bytes_per_second {
        0..1_000_000 => format!("{:.0} kB/s", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB/s", value / 1e6),
        _ => format!("{:.2} GB/s", value / 1e9),
    }
}

/// A time for people, to the second: `45 s`, `2 min 05 s`, `1 h 03 min`.
pub fn human_time(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("100MB", 100_000_000),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "-1", "1e9", "inf", "nan", "1..2", "99999999T", "12X", "1 G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_times() {
        assert_eq!(parse_rate("10MB/s"), Ok(10_000_000));
        assert_eq!(parse_rate("500K"), Ok(512_000));
        assert!(parse_rate("0").is_err() && parse_rate("10K").is_err());
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("10m"), Ok(Duration::from_secs(600)));
        assert!(parse_time("soon").is_err());
        assert_eq!(render_time(Duration::from_secs(5400)), "1h30m");
    }

    #[test]
    fn for_people() {
        assert_eq!(human_size(512), "512 B");
        assert_eq!(human_size(1_500_000_000), "1.40 GiB");
        assert_eq!(human_rate(11_800_000), "11.8 MB/s");
        assert_eq!(human_time(Duration::from_secs(125)), "2 min 05 s");
    }
}
