// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use bootspec::heartbeat::{LOG_LINE, LOG_LINES};

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

fn heartbeat(id: &str, phase: Phase) -> Heartbeat {
    Heartbeat { id: id.into(), phase, ..Default::default() }
}

#[test]
fn remembers_the_last_word_and_notices_silence() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let at = |s: u64| start + Duration::from_secs(s);
    assert_eq!(
        clients.hear(heartbeat("a", Phase::Download), FROM, MachineProof::Link, at(0)).unwrap().0,
        News::Phase
    );
    assert_eq!(
        clients.hear(heartbeat("a", Phase::Download), FROM, MachineProof::Link, at(1)).unwrap().0,
        News::None
    );
    assert_eq!(
        clients.hear(heartbeat("a", Phase::Download), FROM, MachineProof::Link, at(1)),
        Err(Refused::TooOften)
    );
    // A change is never lost, however soon it comes.
    assert_eq!(
        clients.hear(heartbeat("a", Phase::Seed), FROM, MachineProof::Link, at(1)).unwrap().0,
        News::Phase
    );
    let list = clients.list(at(61));
    assert_eq!((list.len(), list[0].age, list[0].known, list[0].phase()), (1, 60.0, 61.0, "booted"));
    assert_eq!(clients.list(at(62))[0].phase(), "gone");
}

#[test]
fn strangers_cannot_fill_it_or_write_to_the_terminal() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let (_, clean) = clients
        .hear(heartbeat("\x1b[2Ja\n\u{202e}b", Phase::Network), FROM, MachineProof::Link, start)
        .unwrap();
    assert_eq!(clean.id, "[2Jab");
    assert_eq!(
        clients.hear(heartbeat("\n", Phase::Network), FROM, MachineProof::Link, start).unwrap().1.id,
        "10.0.0.9"
    );
    let from = |n: usize| IpAddr::from([10, 1, (n / 200) as u8, (n % 200) as u8]);
    for n in 2..MAX_MACHINES {
        clients.hear(heartbeat(&n.to_string(), Phase::Network), from(n), MachineProof::Link, start).unwrap();
    }
    assert_eq!(
        clients.hear(heartbeat("x", Phase::Network), FROM, MachineProof::Link, start),
        Err(Refused::TooMany)
    );
    let later = start + Duration::from_secs(61);
    assert!(clients.hear(heartbeat("x", Phase::Network), FROM, MachineProof::Link, later).is_ok());
    assert_eq!(clients.list(later).len(), MAX_MACHINES);
    assert_eq!(clients.totals().refused, 1);
}

#[test]
fn the_end_of_a_log_is_bounded_and_told_alone() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let log = (0..100).map(|n| format!("{n} \x1b[2J{}", "x".repeat(1000))).collect();
    clients
        .hear(Heartbeat { log, ..heartbeat("a", Phase::Download) }, FROM, MachineProof::Link, start)
        .unwrap();
    let log = clients.log("a").unwrap();
    assert_eq!((log.len(), log[0].len()), (LOG_LINES, LOG_LINE));
    assert!(log[0].starts_with("0 [2Jxx"), "{}", log[0]);
    assert!(clients.list(start)[0].heartbeat.log.is_empty());
    assert_eq!(clients.log("b"), None);
    // It starts again: what it said is over.
    clients
        .asked(
            BootLoaderReport { mac: "a".into(), ..BootLoaderReport::default() },
            FROM,
            MachineProof::Link,
            start,
        )
        .unwrap();
    assert_eq!(clients.log("a"), Some(&[][..]));
}

#[test]
fn who_makes_up_machines_displaces_its_own() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let at = |ms: u64| start + Duration::from_millis(ms);
    clients
        .hear(heartbeat("real", Phase::Download), IpAddr::from([10, 0, 0, 1]), MachineProof::Link, start)
        .unwrap();
    for n in 0..10_000 {
        clients
            .hear(heartbeat(&format!("made up {n}"), Phase::Network), FROM, MachineProof::Link, at(1 + n))
            .unwrap();
    }
    let new = clients.hear(
        heartbeat("new", Phase::Network),
        IpAddr::from([10, 0, 0, 2]),
        MachineProof::Link,
        at(20_000),
    );
    assert!(new.is_ok());
    let list = clients.list(at(20_000));
    assert_eq!(list.len(), MAX_MACHINES);
    assert!(["real", "new"].iter().all(|id| list.iter().any(|c| c.heartbeat.id == *id)));
    assert_eq!(clients.behind.values().sum::<usize>(), MAX_MACHINES);
}

#[test]
fn a_machine_that_asks_for_its_script_is_there() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    clients.hear(heartbeat("52:54:00:00:00:01", Phase::Seed), FROM, MachineProof::Link, start).unwrap();
    let loader = BootLoaderReport {
        mac: "52:54:00:00:00:01".into(),
        serial: Some("\x1b1".into()),
        hostname: Some(String::new()),
        image: Some("lab".into()),
        ..BootLoaderReport::default()
    };
    clients.asked(loader, FROM, MachineProof::Link, start).unwrap();
    let list = clients.list(start);
    let c = &list[0];
    assert_eq!((list.len(), c.phase(), c.serial.as_deref()), (1, "loader", Some("1")));
    assert_eq!(
        (c.heartbeat.image.as_deref(), c.heartbeat.address.as_deref()),
        (Some("lab"), Some("10.0.0.9"))
    );
    clients.hear(heartbeat("52:54:00:00:00:01", Phase::Network), FROM, MachineProof::Link, start).unwrap();
    assert_eq!(clients.list(start)[0].serial.as_deref(), Some("1"), "it is still the same machine");
}

#[test]
fn nobody_speaks_for_a_machine_that_has_shown_who_it_is() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let at = |s: u64| start + Duration::from_secs(s);
    let mut hear = |phase, word, s| {
        let heard = clients.hear(heartbeat("a", phase), FROM, word, at(s)).map(|(news, _)| news);
        (heard, clients.list(at(s))[0].heartbeat.phase, clients.totals().booted)
    };
    assert_eq!(
        hear(Phase::Seed, MachineProof::Nobodys, 0),
        (Ok(News::Phase), Phase::Seed, 0),
        "it counts nothing"
    );
    assert_eq!(hear(Phase::Download, MachineProof::Secret(5), 1), (Ok(News::Phase), Phase::Download, 0));
    for word in [MachineProof::Nobodys, MachineProof::Secret(4)] {
        assert_eq!(hear(Phase::Failed, word, 2).0, Err(Refused::NotTheMachine), "{word:?}");
    }
    assert_eq!(hear(Phase::Seed, MachineProof::Secret(5), 3), (Ok(News::Phase), Phase::Seed, 1));
    assert_eq!(hear(Phase::Download, MachineProof::Secret(6), 4).0, Ok(News::Phase), "a later boot");
    let loader = || BootLoaderReport { mac: "a".into(), ..BootLoaderReport::default() };
    clients.asked(loader(), FROM, MachineProof::Nobodys, at(5)).unwrap();
    assert_eq!(clients.list(at(5))[0].heartbeat.phase, Phase::Download, "a question changes nothing");
    clients.asked(loader(), FROM, MachineProof::Link, at(6)).unwrap();
    assert_eq!(clients.list(at(6))[0].heartbeat.phase, Phase::Loader);
}

#[test]
fn a_phase_that_changes_all_the_time_is_bounded() {
    let (mut clients, start) = (Clients::default(), Instant::now());
    let phases = [Phase::Download, Phase::Root];
    let taken = (0..100)
        .filter(|n| clients.hear(heartbeat("a", phases[n % 2]), FROM, MachineProof::Link, start).is_ok());
    assert_eq!(taken.count(), QUICK as usize + 1);
    let lines = (0..100).filter(|n| {
        let heard = clients.hear(heartbeat(&n.to_string(), Phase::Root), FROM, MachineProof::Nobodys, start);
        heard.unwrap().0 == News::Phase
    });
    assert_eq!(lines.count(), LINES as usize);
    assert_eq!(
        (printable("aäö€", 4), printable("aäö€", 5), printable("aäö€", 8)),
        ("aä".into(), "aäö".into(), "aäö€".into())
    );
}

#[test]
fn crosses_json() {
    let client = Client {
        heartbeat: heartbeat("a", Phase::Seed),
        remote: Some(FROM),
        age: 1.5,
        known: 2.0,
        ..Client::default()
    };
    let json = serde_json::to_string(&client).unwrap();
    assert!(json.starts_with(r#"{"id":"a","#), "{json}");
    assert_eq!(serde_json::from_str::<Client>(&json).unwrap(), client);
}
