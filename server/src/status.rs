// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent status`: the table of machines.

use crate::{
    clients::{BootRecord, Client, Counts, by_need},
    table::{Align, cut, layout, layout_in},
};
use bootspec::{
    text::clean,
    units::{human_rate, human_size, human_time},
};
use std::{collections::BTreeMap, time::Duration};

const HEAD: [(&str, Align); 13] = [
    ("MACHINE", Align::Left),
    ("ADDRESS", Align::Left),
    ("IMAGE", Align::Left),
    ("PHASE", Align::Left),
    ("DONE", Align::Right),
    ("DOWN", Align::Right),
    ("UP", Align::Right),
    ("FROM SERVER", Align::Right),
    ("HTTP", Align::Right),
    ("MACHINES", Align::Right),
    ("PEERS", Align::Right),
    ("HEARD", Align::Right),
    ("", Align::Left),
];

/// The table, a line that sums it up, and one for each image.
pub fn render(clients: &[Client]) -> String {
    if clients.is_empty() {
        return "no machine has reported yet\n".into();
    }
    let (head, rows) = table(clients);
    let text = format!("{}{}\n{}", layout(&head, &rows), sum(clients), copies(clients));
    // Another server, asked by its address, may say anything.
    clean(&text, &['\n']).into_owned()
}

/// What a narrow terminal can do without, the first first.
const LESS: [&str; 7] = ["PEERS", "HTTP", "UP", "ADDRESS", "MACHINES", "FROM SERVER", "RELAY"];

/// The same for a terminal of so many columns.
pub fn fitting(clients: &[Client], columns: usize) -> String {
    if clients.is_empty() {
        return render(clients);
    }
    let (head, rows) = table(clients);
    let text = layout_in(columns, &head, &rows, &LESS) + &sum(clients) + "\n" + &copies(clients);
    clean(&text, &['\n']).into_owned()
}

/// A whole screen of so many columns and lines, and no more: the machines that need attention come first.
pub fn screen(mut clients: Vec<Client>, columns: usize, lines: usize) -> String {
    clients.sort_by(by_need);
    let end = format!("{}\n{}", sum(&clients), copies(&clients));
    let most = lines.saturating_sub(end.lines().count() + 3).max(1);
    let more = clients.len().saturating_sub(most);
    let (head, rows) = table(&clients[..most.min(clients.len())]);
    let mut text = match clients.is_empty() {
        true => return render(&clients),
        false => layout_in(columns, &head, &rows, &LESS),
    };
    if more > 0 {
        text += &format!("… and {more} more\n");
    }
    text.extend(end.lines().map(|line| cut(line, columns) + "\n"));
    clean(&text, &['\n']).into_owned()
}

/// The last boots of a machine, the newest first.
pub fn boots(boots: &[BootRecord]) -> String {
    let head = [
        ("BOOT", Align::Left),
        ("IMAGE", Align::Left),
        ("PHASE", Align::Left),
        ("AFTER", Align::Right),
        ("FROM SERVER", Align::Right),
        ("MACHINES", Align::Right),
        ("", Align::Left),
    ];
    let row = |b: &BootRecord| {
        vec![
            b.at.clone(),
            b.image.clone().unwrap_or_else(|| "-".into()),
            b.phase.as_str().into(),
            format!("{:.1} s", b.seconds),
            human_size(b.from_server),
            human_size(b.from_peers),
            b.error.clone().unwrap_or_default(),
        ]
    };
    clean(&layout(&head, &boots.iter().rev().map(row).collect::<Vec<_>>()), &['\n']).into_owned()
}

/// Head and rows; where machines are behind relays, with a column for these.
fn table(clients: &[Client]) -> (Vec<(&'static str, Align)>, Vec<Vec<String>>) {
    const AFTER: usize = 2;
    let (mut head, mut rows) = (HEAD.to_vec(), clients.iter().map(row).collect::<Vec<_>>());
    if clients.iter().any(|c| c.relay.is_some()) {
        head.insert(AFTER, ("RELAY", Align::Left));
        let relay = |c: &Client| c.relay.clone().unwrap_or_else(|| "-".into());
        rows.iter_mut().zip(clients).for_each(|(row, c)| row.insert(AFTER, relay(c)));
    }
    (head, rows)
}

fn row(c: &Client) -> Vec<String> {
    let (h, p) = (&c.heartbeat, &c.heartbeat.progress);
    let address = h.address.clone().or(c.remote.map(|r| r.to_string()));
    // A machine that is gone neither sends nor receives, whatever it said last.
    let rate = |r| if r == 0 || c.gone { "-".to_owned() } else { human_rate(r) };
    let bytes = |b| if b == 0 { "-".to_owned() } else { human_size(b) };
    vec![
        match c.name.as_ref().or(h.hostname.as_ref()) {
            Some(name) if !name.is_empty() => format!("{} ({name})", h.id),
            _ => h.id.clone(),
        },
        address.unwrap_or_else(|| "-".into()),
        c.image(),
        c.phase().into(),
        if p.total == 0 { "-".into() } else { format!("{:.0} %", p.percent().floor()) },
        rate(p.down_rate),
        rate(p.up_rate),
        bytes(p.from_server),
        bytes(p.from_http),
        bytes(p.from_peers),
        p.peers.to_string(),
        format!("{} ago", human_time(Duration::try_from_secs_f64(c.age).unwrap_or_default())),
        c.remark(),
    ]
}

fn sum(clients: &[Client]) -> String {
    let n = Counts::of(clients);
    let total = |f: &dyn Fn(&Client) -> u64| clients.iter().map(f).fold(0, u64::saturating_add);
    let server = total(&|c| c.heartbeat.progress.from_server.saturating_add(c.heartbeat.progress.from_http));
    let peers = total(&|c| c.heartbeat.progress.from_peers);
    let all = server.saturating_add(peers);
    let share = if all == 0 { 0.0 } else { peers as f64 * 100.0 / all as f64 };
    format!(
        "{} machines: {} booted, {} under way, {} failed, {} gone; \
         {} from the server, {} from other machines ({share:.0} %)",
        n.all,
        n.booted,
        n.under_way,
        n.failed,
        n.gone,
        human_size(server),
        human_size(peers)
    )
}

/// How often the server has sent each image to the machines that it knows: the figure that should stay near one.
fn copies(clients: &[Client]) -> String {
    let mut images: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for c in clients.iter().filter(|c| c.heartbeat.image.is_some()) {
        let p = &c.heartbeat.progress;
        if p.total > 0 {
            let (machines, copies) = images.entry(c.image()).or_default();
            *machines += 1;
            *copies += p.from_server.saturating_add(p.from_http) as f64 / p.total as f64;
        }
    }
    let line = |(image, (machines, copies)): (&String, &(usize, f64))| {
        format!("{image}: the server has sent {copies:.2} copies to {machines} machines\n")
    };
    images.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempts::Stage;
    use bootspec::{Heartbeat, Phase, Progress};

    /// A server that is not a server of ours may answer anything.
    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let evil = || "a\x1b[2J\u{9b}31m\u{202e}b\r\n".to_owned();
        let progress =
            Progress { total: 1, from_server: u64::MAX, from_http: u64::MAX, ..Default::default() };
        let heartbeat = Heartbeat {
            id: evil(),
            hostname: Some(evil()),
            address: Some(evil()),
            image: Some(evil()),
            error: Some(evil()),
            progress,
            ..Default::default()
        };
        let text = render(&[Client { heartbeat, age: f64::MAX, ..Client::default() }]);
        assert!(!text.contains(|c| c != '\n' && bootspec::text::is_odd(c)), "{text:?}");
    }

    #[test]
    fn says_it_all() {
        assert_eq!(render(&[]), "no machine has reported yet\n");
        let progress = Progress {
            have: 50 << 20,
            total: 100 << 20,
            from_server: 20 << 20,
            from_peers: 30 << 20,
            down_rate: 11_000_000,
            peers: 2,
            ..Default::default()
        };
        let busy = Heartbeat {
            id: "52:54:00:00:00:01".into(),
            hostname: Some("pc1".into()),
            address: Some("10.0.0.11".into()),
            image: Some("lab".into()),
            phase: Phase::Download,
            progress,
            ..Default::default()
        };
        let failed = Heartbeat {
            id: "02".into(),
            phase: Phase::Failed,
            error: Some("no room".into()),
            ..Default::default()
        };
        let client = |heartbeat, age, gone| Client {
            heartbeat,
            remote: "10.0.0.12".parse().ok(),
            age,
            known: age,
            gone,
            ..Client::default()
        };
        let other = Client { initrd: Some(Stage::General), ..client(busy.clone(), 0.4, false) };
        let many: Vec<Client> =
            [client(failed.clone(), 3.0, false)].into_iter().chain(vec![other.clone(); 40]).rev().collect();
        let lines = screen(many, 80, 24);
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines.len() == 23 && lines.iter().all(|l| l.chars().count() <= 80), "{lines:#?}");
        assert!(lines[1].starts_with("02 ") && lines[1].ends_with("no room"), "{lines:#?}");
        assert!(lines[20] == "… and 22 more" && lines[21].starts_with("41 machines: "), "{lines:#?}");
        let text = render(&[other, client(failed, 3.0, false), client(busy, 90.0, true)]);
        assert_eq!(
            text,
            "\
MACHINE                  ADDRESS    IMAGE  PHASE     DONE       DOWN  UP  FROM SERVER  HTTP  MACHINES  PEERS           HEARD
52:54:00:00:00:01 (pc1)  10.0.0.11  lab    download  50 %  11.0 MB/s   -     20.0 MiB     -  30.0 MiB      2         0 s ago  sent the drivers of all cards because it did not report with fewer
02                       10.0.0.12  -      failed       -          -   -            -     -         -      0         3 s ago  no room
52:54:00:00:00:01 (pc1)  10.0.0.11  lab    gone      50 %          -   -     20.0 MiB     -  30.0 MiB      2  1 min 30 s ago
3 machines: 0 booted, 1 under way, 1 failed, 1 gone; 40.0 MiB from the server, 60.0 MiB from other machines (60 %)
lab: the server has sent 0.40 copies to 2 machines
"
        );
    }
}
