// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /metrics`: the figures in Prometheus' text format, version 0.0.4.

use super::stats::Stats;
use crate::{clients::totals::CLASSES, fetch::request::FetchState, relay::present::RelayRow};
use std::fmt::{Display, Write};

/// The type to answer with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Phases are always all there: a series that appears only when a machine fails cannot be alerted on well.
const PHASES: [&str; 10] =
    ["loader", "network", "metainfo", "target", "download", "root", "streaming", "booted", "failed", "gone"];

struct Page(String);

impl Page {
    /// A family's head.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let words: Vec<String> = labels.iter().map(|(l, v)| format!("{l}=\"{}\"", escaped(v))).collect();
        match words.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", words.join(","))),
        }
    }

    /// A family of one sample.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes all");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The whole page.
pub fn render(s: &Stats) -> String {
    let mut page = Page(String::new());
    page.family("boottorrent_info", "gauge", "The server's version.");
    page.sample("boottorrent_info", &[("version", &s.version)], 1);
    page.one("boottorrent_uptime_seconds", "gauge", "Seconds since the server started.", s.uptime);
    page.family("boottorrent_machines", "gauge", "Machines that have reported, by the phase of their boot.");
    for phase in PHASES {
        page.sample("boottorrent_machines", &[("phase", phase)], s.machines.get(phase).copied().unwrap_or(0));
    }
    groups(&mut page, s);
    totals(&mut page, s);
    images(&mut page, s);
    site(&mut page, s);
    relays(&mut page, s);
    process(&mut page, s);
    page.one("boottorrent_listeners", "gauge", "Web pages that are open.", s.listeners);
    page.0
}

/// Groups, with all phases once there is a machine in it.
fn groups(page: &mut Page, s: &Stats) {
    let name = "boottorrent_group_machines";
    page.family(name, "gauge", "Machines that have reported, by group and phase.");
    for (group, phases) in &s.groups {
        for phase in PHASES {
            page.sample(name, &[("group", group), ("phase", phase)], phases.get(phase).copied().unwrap_or(0));
        }
    }
}

/// What an admin must see to in time.
fn site(page: &mut Page, s: &Stats) {
    page.one("boottorrent_free_bytes", "gauge", "Bytes that images can still take on the disk.", s.free);
    let name = "boottorrent_fetches";
    page.family(name, "gauge", "Fetches of images, by state.");
    for state in FetchState::ALL.map(FetchState::as_str) {
        page.sample(name, &[("state", state)], s.fetches.get(state).copied().unwrap_or(0));
    }
    let name = "boottorrent_certificate_expiry_timestamp_seconds";
    page.family(name, "gauge", "When the certificate of HTTPS ends; nothing without HTTPS.");
    if let Some(at) = s.certificate_expires {
        page.sample(name, &[], at);
    }
}

/// Relays, and of a relay its first server.
fn relays(page: &mut Page, s: &Stats) {
    type Figure = fn(&RelayRow) -> usize;
    let figures: [(&str, &str, Figure); 3] = [
        ("boottorrent_relay_up", "Whether a relay reports.", |r| usize::from(r.up)),
        ("boottorrent_relay_machines", "Machines that report through a relay.", |r| r.machines),
        ("boottorrent_relay_missing_images", "Images that a relay does not have.", |r| r.missing),
    ];
    for (name, help, figure) in figures {
        page.family(name, "gauge", help);
        s.relays.iter().for_each(|r| page.sample(name, &[("relay", &r.name)], figure(r)));
    }
    let name = "boottorrent_upstream_up";
    page.family(name, "gauge", "Whether the first server of this relay answers; nothing on others.");
    if let Some(first) = &s.upstream {
        page.sample(name, &[], usize::from(first.up));
    }
}

/// As Prometheus' own client libraries name them.
fn process(page: &mut Page, s: &Stats) {
    let p = &s.process;
    let help = "Seconds of processor time, user and system.";
    page.one("process_cpu_seconds_total", "counter", help, p.cpu_seconds);
    page.one("process_resident_memory_bytes", "gauge", "Bytes of memory that are in RAM.", p.resident);
    page.one("process_open_fds", "gauge", "Open files and connections.", p.open_files);
    page.one("process_max_fds", "gauge", "How many there may be.", p.max_open_files);
}

fn totals(page: &mut Page, s: &Stats) {
    let t = &s.totals;
    let name = "boottorrent_received_bytes_total";
    page.family(name, "counter", "Payload bytes that machines have received, by where they came from.");
    for (source, bytes) in [("server", t.from_server), ("http", t.from_http), ("machines", t.from_machines)] {
        page.sample(name, &[("source", source)], bytes);
    }
    page.one("boottorrent_sent_bytes_total", "counter", "Payload bytes that the server has sent.", s.sent);
    let help = "Bytes of kernels, initrds and add-ons that the server has sent.";
    page.one("boottorrent_boot_files_sent_bytes_total", "counter", help, s.boot_files);
    page.one("boottorrent_boots_failed_total", "counter", "Boots that failed.", t.failed);
    let name = "boottorrent_boot_seconds";
    page.family(name, "histogram", "Seconds from a machine's kernel to its mounted root.");
    for (class, count) in CLASSES.iter().zip(t.boot_classes) {
        let le = if class.is_finite() { class.to_string() } else { "+Inf".into() };
        page.sample(&format!("{name}_bucket"), &[("le", &le)], count);
    }
    page.sample(&format!("{name}_sum"), &[], t.boot_seconds);
    page.sample(&format!("{name}_count"), &[], t.booted);
    let name = "boottorrent_heartbeats_total";
    page.family(name, "counter", "Reports of machines, taken and refused.");
    page.sample(name, &[("result", "taken")], t.heartbeats);
    page.sample(name, &[("result", "refused")], t.refused);
}

fn images(page: &mut Page, s: &Stats) {
    type Value = fn(&super::stats::ImageStats) -> u64;
    let families: [(&str, &str, &str, Value); 6] = [
        ("size_bytes", "gauge", "The payload's size.", |i| i.size),
        (
            "boot_files_bytes",
            "gauge",
            "Kernel and initrd: what each machine gets from the server itself.",
            |i| i.boot_files,
        ),
        ("default", "gauge", "1 for the image that machines boot when nobody says otherwise.", |i| {
            i.default.into()
        }),
        ("seeding", "gauge", "1 when the server's own seeder has it.", |i| i.seeding.into()),
        ("machines", "gauge", "Machines that boot it or run it.", |i| i.machines as u64),
        (
            "sent_bytes_total",
            "counter",
            "Payload bytes that the server has sent since it seeds this version.",
            |i| i.sent,
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("boottorrent_image_{name}");
        page.family(&name, kind, help);
        for image in &s.images {
            page.sample(&name, &[("image", image.name.as_str())], value(image));
        }
    }
    let name = "boottorrent_image_peers";
    page.family(name, "gauge", "Those in an image's swarm, the server too, by whether they have all of it.");
    for image in &s.images {
        let label = |state| [("image", image.name.as_str()), ("state", state)];
        page.sample(name, &label("complete"), image.complete);
        page.sample(name, &label("incomplete"), image.incomplete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted() {
        let s = Stats { version: "a\"\\\nb".into(), ..Default::default() };
        let text = render(&s);
        assert!(text.contains("\nboottorrent_info{version=\"a\\\"\\\\\\nb\"} 1\n"), "{text}");
        assert!(text.contains("\nboottorrent_boot_seconds_bucket{le=\"+Inf\"} 0\n"), "{text}");
        assert!(text.contains("\nboottorrent_machines{phase=\"failed\"} 0\n"), "{text}");
    }

    #[test]
    fn what_runs_out_is_told_in_time() {
        let mut s = Stats { certificate_expires: Some(1_800_000_000), ..Default::default() };
        s.fetches.insert("failed".into(), 2);
        s.groups.entry("room1".into()).or_default().insert("booted".into(), 7);
        let text = render(&s);
        for want in [
            "boottorrent_certificate_expiry_timestamp_seconds 1800000000",
            "boottorrent_fetches{state=\"failed\"} 2",
            "boottorrent_fetches{state=\"queued\"} 0",
            "boottorrent_group_machines{group=\"room1\",phase=\"booted\"} 7",
            "boottorrent_group_machines{group=\"room1\",phase=\"failed\"} 0",
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
        let without = render(&Stats::default());
        assert!(!without.contains("\nboottorrent_certificate_expiry"), "{without}");
    }

    /// What `promtool check metrics` looks at: each family once, with help and type, counters named so.
    #[test]
    fn has_prometheus_shape() {
        let text = render(&Stats::default());
        let mut types = std::collections::HashMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(types.insert(name, kind).is_none(), "{name} comes twice");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                let ends = ["_bucket", "_sum", "_count"];
                let family = ends.iter().find_map(|e| name.strip_suffix(e)).filter(|f| types.contains_key(f));
                assert!(types.contains_key(family.unwrap_or(name)), "{line} has no type");
                value.parse::<f64>().unwrap();
            }
        }
    }

    /// Alerts, dashboard and docs speak of metrics that there are.
    #[test]
    fn what_the_docs_name_is_there() {
        let text = render(&Stats::default());
        for doc in [
            include_str!("../../../docs/alerts.yml"),
            include_str!("../../../docs/grafana-dashboard.json"),
            include_str!("../../../docs/monitoring.md"),
        ] {
            for word in doc.split(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
                let name = word.strip_suffix("_bucket").unwrap_or(word);
                // A list in braces, as in image_{size,boot_files}_bytes, ends in an underscore.
                if name.starts_with("boottorrent_") && !name.ends_with('_') {
                    assert!(text.contains(&format!("# TYPE {name} ")), "{word}");
                }
            }
        }
    }
}
