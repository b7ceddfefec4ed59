// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys in, work and screens out: without a terminal, a server or a clock.

mod changes;
mod lists;

use super::{
    draw::draw,
    effect::{Change, Effect, Errand, Ran, Undo},
    files::Found,
    layout::{self, Hit},
    model::{Dialog, Model, Prompt, ServerLink, ServerSnapshot, SourceRow, TextDialog, View},
    screen::{Look, clean},
    update::{Message, update},
};
use crate::{
    api::types::{HostRow, ImageRow},
    catalogue::ImageChange,
    clients::Client,
    fetch::request::{FetchProgress, FetchRequest, FetchRow, FetchState},
    hosts::{EntryKey, Field, HostChange, HostChanges, HostEntry},
    setup::plan::SetupOptions,
    watch::stats::{ImageStats, Sample},
};
use bootspec::{
    Heartbeat, ImageManifest, InfoHash, Phase, Progress,
    manifest::{BootFile, Kind},
    text::is_odd,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use std::{net::Ipv4Addr, path::PathBuf};

fn manifest(name: &str) -> ImageManifest {
    ImageManifest {
        name: name.parse().unwrap(),
        version: 1,
        kind: Kind::Iso,
        format: None,
        family: None,
        partition: None,
        sector: None,
        infohash: InfoHash([7; 20]),
        size: 1 << 30,
        sha256: None,
        piece_length: 1 << 20,
        private: false,
        kernel: BootFile { size: 10 << 20, from: "vmlinuz".into() },
        initrd: BootFile { size: 30 << 20, from: "initrd".into() },
        architecture: Default::default(),
        initrd_from: Default::default(),
        append: "quiet".into(),
        extra: String::new(),
        unified: false,
        priority: Default::default(),
        added: "2026-11-22T18:00:00Z".into(),
        source: "/srv/lab.iso".into(),
    }
}

fn stats(name: &str) -> ImageStats {
    ImageStats {
        name: name.parse().unwrap(),
        infohash: InfoHash([7; 20]),
        what: "iso".into(),
        size: 1 << 30,
        boot_files: 40 << 20,
        priority: 5,
        default: false,
        added: String::new(),
        seeding: true,
        complete: 3,
        incomplete: 1,
        machines: 2,
        sent: (1 << 30) + (1 << 28),
    }
}

fn machine(id: &str, name: &str, phase: Phase, have: u64) -> Client {
    let progress = Progress {
        have,
        total: 1 << 30,
        from_server: 30 << 20,
        from_peers: have,
        down_rate: 11_000_000,
        peers: 4,
        ..Default::default()
    };
    let heartbeat = Heartbeat {
        id: id.into(),
        hostname: Some(name.into()),
        address: Some("10.0.0.11".into()),
        image: Some("lab".into()),
        phase,
        progress,
        error: (phase == Phase::Failed).then(|| "no room: the image has 1.00 GiB, there are 512 MiB".into()),
        uptime: 12.0,
        ..Default::default()
    };
    Client { heartbeat, age: 1.0, known: 12.0, ..Default::default() }
}

/// A server with two images, a fetch, and three machines.
fn model() -> Model {
    let mut now = ServerSnapshot::default();
    let machines = vec!["52:54:00:00:00:01".to_owned()];
    for name in ["exam", "lab"] {
        let (default, machines) = (name == "lab", if name == "lab" { machines.clone() } else { Vec::new() });
        now.images.push(ImageRow {
            manifest: manifest(name),
            phase_one: 40 << 20,
            default,
            key: None,
            machines,
            versions: Vec::new(),
        });
        now.stats.images.push(stats(name));
    }
    now.fetches.push(FetchRow {
        id: 3,
        request: FetchRequest { what: "debian-live-gnome".into(), ..Default::default() },
        progress: FetchProgress {
            state: FetchState::Fetching,
            have: 1 << 30,
            total: Some(4 << 30),
            rate: 10_000_000,
            ..FetchProgress::default()
        },
        ..Default::default()
    });
    now.machines = vec![
        machine("52:54:00:00:00:01", "pc1", Phase::Seed, 1 << 30),
        machine("52:54:00:00:00:02", "pc2", Phase::Download, 1 << 28),
        machine("52:54:00:00:00:03", "pc3", Phase::Failed, 0),
    ];
    now.stats.history = (0..100).map(|n| Sample { sent: n * 1000, received: n * 50_000 }).collect();
    now.stats.sent = 1 << 30;
    let lab = HostEntry { image: Some("lab".parse().unwrap()), ..HostEntry::default() };
    now.hosts.push(HostRow { key: EntryKey::Default, entry: lab });
    let mut model = Model { width: 80, height: 24, ..Model::default() };
    assert_eq!(update(&mut model, Message::Polled(ServerLink::Full, Box::new(now))), []);
    model
}

fn key(code: KeyCode) -> Message {
    Message::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Type: letters, and `\n`, `\x1b`, `\t` for Enter, Esc, Tab, `>` and `<` for Down and Up. What was asked for.
fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let code = |c| match c {
        '\n' => KeyCode::Enter,
        '\x1b' => KeyCode::Esc,
        '\t' => KeyCode::Tab,
        '>' => KeyCode::Down,
        '<' => KeyCode::Up,
        '\x08' => KeyCode::Backspace,
        c => KeyCode::Char(c),
    };
    keys.chars().flat_map(|c| update(model, key(code(c)))).collect()
}

const RICH: Look = Look { color: true, unicode: true };

fn screen(model: &Model, width: u16, height: u16, look: Look) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            draw(frame, model);
            clean(frame.buffer_mut(), look);
        })
        .unwrap();
    let buffer = terminal.backend().buffer();
    let line =
        |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

#[test]
fn keys_ask_for_work() {
    let fetch =
        |what: &str| Effect::Fetch(Box::new(FetchRequest { what: what.into(), ..Default::default() }));
    let text = String::from;
    for (keys, want) in [
        (">>x", vec![Effect::Cancel(3)]),
        ("xy", vec![Effect::Remove(text("exam"))]),
        ("xn", vec![]),
        ("x\n", vec![]),
        ("r\x1b", vec![]),
        ("uhttp://a/b.iso\n", vec![fetch("http://a/b.iso")]),
        ("u  \n", vec![]),
        ("f", vec![Effect::Sources]),
        // The one that failed is first.
        ("2w", vec![Effect::Wake(vec![text("52:54:00:00:00:03")])]),
        ("2>w", vec![Effect::Wake(vec![text("52:54:00:00:00:02")])]),
        ("2aexa\x08\x08\x08xyz\n", vec![]),
        ("2/pc1\nw", vec![Effect::Wake(vec![text("52:54:00:00:00:01")])]),
        ("3wdx", vec![]),
        // It is under way.
        (">>t", vec![]),
        (">>Ty", vec![]),
    ] {
        assert_eq!(press(&mut model(), keys), want, "{keys:?}");
    }
}

/// Whatever a server says, a row of the machines is a machine: never everybody, nor a group.
#[test]
fn rows_are_machines() {
    for id in ["default", "group:room1", "10.0.0.9"] {
        for keys in ["2alab\n", "2olab\n", "2x", "2w"] {
            let mut m = model();
            m.now.machines = vec![machine(id, "pc-07", Phase::Failed, 0)];
            // What is typed for a dialog that does not open only asks for the machine's log.
            let asked = press(&mut m, keys);
            assert!(asked.iter().all(|e| matches!(e, Effect::Log(_))), "{id}: {keys:?}: {asked:?}");
        }
    }
}

#[test]
fn a_source_is_filtered_and_picked() {
    let mut m = model();
    press(&mut m, "f");
    let sources = ["debian-live-gnome", "debian-live-kde", "arch"];
    let sources = sources.map(|n| SourceRow { name: n.into(), about: "3 GiB amd64".into() }).to_vec();
    update(&mut m, Message::Sources(Ok(sources)));
    press(&mut m, "deb kd");
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("1 of 3 with: deb kd_") && text.contains("> debian-live-kde"), "{text}");
    let effects = press(&mut m, "\n");
    assert!(matches!(&effects[..], [Effect::Fetch(r)] if r.what == "debian-live-kde"), "{effects:?}");
    assert_eq!(m.dialog, None);
    update(&mut m, Message::Sources(Err("no sources here".into())));
    assert!(m.said.bad);
}

#[test]
fn what_has_failed_is_tried_again() {
    let mut m = model();
    m.now.fetches[0].progress.state = FetchState::Failed;
    let request = m.now.fetches[0].request.clone();
    assert_eq!(press(&mut m, ">>t"), [Effect::Cancel(3), Effect::Fetch(Box::new(request.clone()))]);
    assert_eq!(press(&mut m, "Tn"), []);
    let unverified = FetchRequest { no_verify: true, ..request };
    assert_eq!(press(&mut m, "Ty"), [Effect::Fetch(Box::new(unverified))]);
}

#[test]
fn without_a_server_nothing_is_changed() {
    let mut m = model();
    let now = m.now.clone();
    update(&mut m, Message::Polled(ServerLink::Down("asking: refused".into()), Box::new(now)));
    assert_eq!(press(&mut m, "dxyfu2wa3"), []);
    m.view = View::Images;
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("systemctl start boottorrent-server") && text.contains("lab"), "{text}");
    assert!(!text.contains("rename"), "{text}");
}

#[test]
fn the_cursor_stays_with_its_machine() {
    let mut m = model();
    press(&mut m, "2>");
    assert_eq!(m.machines.key.as_deref(), Some("52:54:00:00:00:02"));
    let mut now = m.now.clone();
    now.machines[1].heartbeat.phase = Phase::Seed;
    update(&mut m, Message::Polled(ServerLink::Full, Box::new(now.clone())));
    assert_eq!((m.machines.key.as_deref(), m.machines.at), (Some("52:54:00:00:00:02"), 2));
    now.machines.remove(1);
    update(&mut m, Message::Polled(ServerLink::Full, Box::new(now)));
    assert_eq!(m.machines.key.as_deref(), Some("52:54:00:00:00:01"), "who took its place");
    update(&mut m, Message::Polled(ServerLink::Full, Box::default()));
    assert_eq!(m.machines.key, None);
    assert_eq!(press(&mut m, "w\n>>"), []);
}

#[test]
fn setup_looks_shows_and_writes() {
    let mut m = model();
    let effects = press(&mut m, "4");
    assert_eq!(effects[0], Effect::Networks);
    assert!(effects.contains(&Effect::Plan(Box::default())), "{effects:?}");
    assert!(effects.contains(&Effect::Examine), "{effects:?}");
    assert_eq!(press(&mut m, "1"), []);
    assert_eq!(press(&mut m, "4"), [], "it has looked already");
    assert_eq!(press(&mut m, "w"), [], "nothing to write yet");
    update(&mut m, Message::Networks(vec![("eth1".into(), "10.0.0.0/24".into())]));
    let out = "==> /etc/dnsmasq.d/boottorrent.conf <==\ndhcp-range=10.0.0.0,proxy\n".to_owned();
    update(&mut m, Message::Planned(Box::default(), Ok((out.clone(), false))));
    assert!(screen(&m, 80, 24, RICH).contains("would write:"));
    update(&mut m, Message::Planned(Box::default(), Ok((out.clone(), true))));
    assert!(screen(&m, 80, 24, RICH).contains("has written:"));
    let effects = press(&mut m, "i\n");
    let eth1 = SetupOptions { interfaces: vec!["eth1".into()], ..SetupOptions::default() };
    assert!(effects.contains(&Effect::Plan(Box::new(eth1.clone()))), "{effects:?}");
    // What was asked for before, without eth1, comes after.
    update(&mut m, Message::Planned(Box::default(), Ok(("too late".into(), false))));
    assert_eq!(press(&mut m, "w"), []);
    assert!(m.said.bad, "what eth1 gives is still to come");
    update(&mut m, Message::Planned(Box::new(eth1.clone()), Ok((out, false))));
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("dhcp-range=10.0.0.0,proxy") && text.contains("eth1 (10.0.0.0/24)"), "{text}");
    let effects = press(&mut m, "m10.0.0.5,10.0.0.9\n");
    let range = (Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 9));
    let own = SetupOptions { authoritative: true, ranges: vec![range], ..eth1 };
    assert!(effects.contains(&Effect::Plan(Box::new(own.clone()))), "{effects:?}");
    let flags = ["--interface", "eth1", "--mode", "authoritative", "--range", "10.0.0.5,10.0.0.9"];
    assert_eq!(own.flags(), flags);
    press(&mut m, "m");
    assert_eq!(press(&mut m, "m10.0.0.5\n"), []);
    assert!(m.said.bad && m.said.text.contains("is not a valid range"), "{}", m.said.text);
    press(&mut m, "\x1b");
    let again = m.setup.options.clone();
    update(&mut m, Message::Planned(Box::new(again), Ok((String::new(), false))));
    let effects = press(&mut m, "wy");
    let words = ["setup", "--interface", "eth1", "--write"].map(String::from);
    assert_eq!(effects, [Effect::Run(Errand::Write, words.to_vec())]);
    let err = "boottorrent: opening /etc/x: Permission denied\n".to_owned();
    update(&mut m, Message::Ran(Errand::Write, Ran { good: false, out: String::new(), err }));
    assert_eq!((m.said.text.as_str(), m.said.bad), ("opening /etc/x: Permission denied", true));
}

#[test]
fn bad_names_are_refused_while_one_can_still_mend_them() {
    let mut m = model();
    assert_eq!(press(&mut m, "r/\n"), []);
    assert!(m.said.bad && m.said.text.contains("exam/"), "{}", m.said.text);
    assert_eq!(m.dialog, Some(Dialog::Input { ask: Prompt::Rename("exam".into()), text: "exam/".into() }));
}

#[test]
fn everything_leaves() {
    for keys in ["q", "2q", "4q"] {
        let mut m = model();
        press(&mut m, keys);
        assert!(m.over, "{keys}");
    }
    let mut m = model();
    press(&mut m, "u");
    press(&mut m, "q");
    assert!(!m.over, "it is typed");
    update(&mut m, Message::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(m.over);
}

#[test]
fn images_at_80_columns() {
    let text = screen(&model(), 80, 24, RICH);
    for want in [
        " BootTorrent [1 Images] 2 Machines  3 Transfers  4 Setup   1 failed, 1/3 booted",
        "  IMAGE                  SIZE  STATE",
        "> exam               1.00 GiB  published",
        "  lab                1.00 GiB  published, default",
        "  debian-live-gnome  4.00 GiB  ██░░░░░░░░ 25 % 10.0 MB/s, 5 min 22 s left",
        "f fetch  u URL  a add  d default  e edit  x remove  / filter  ? help  q quit",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
}

#[test]
fn machines_in_ascii() {
    let mut m = model();
    press(&mut m, "2>");
    let text = screen(&m, 80, 24, Look { color: false, unicode: false });
    assert!(text.is_ascii(), "{text}");
    for want in [
        "  pc3      lab    failed    ..........   0 %",
        "> pc2      lab    download  ##........  25 %  11.0 MB/s",
        "  pc1      lab    booted    ########## 100 %",
        "52:54:00:00:00:02  10.0.0.11  heard 1 s ago",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    press(&mut m, "<");
    assert!(screen(&m, 80, 24, RICH).contains("no room: the image has 1.00 GiB, there are 512 MiB"));
}

/// Whatever the size, every view and everything over it can be drawn; and a large screen shows more.
#[test]
fn every_size() {
    let mut m = model();
    for keys in [
        "1", "x", "\x1br", "\x1be", "\x1ba", "\x1b\n", "\x1b2", "\n", "\x1ba", "\x1be", "\n", "\x1b3", "4",
        "?", "\x1b",
    ] {
        press(&mut m, keys);
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 60), (3, 60), (500, 4)] {
            update(&mut m, Message::Size(width, height));
            screen(&m, width, height, RICH);
            for (column, row) in [(0, 0), (width / 2, height / 2), (width - 1, height - 1)] {
                layout::hit(&m, column, row);
            }
        }
    }
}

/// Every field that comes from elsewhere is this.
fn infested(evil: &str) -> Model {
    let mut m = model();
    let evil = || evil.to_owned();
    for c in &mut m.now.machines {
        c.heartbeat.id = evil();
        c.heartbeat.hostname = Some(evil());
        c.heartbeat.error = Some(evil());
        c.heartbeat.image = Some(evil());
        c.heartbeat.address = Some(evil());
        c.heartbeat.version = evil();
        c.heartbeat.log = vec![evil()];
        (c.name, c.group, c.next) = (Some(evil()), Some(evil()), Some(evil()));
        (c.uuid, c.serial, c.platform) = (Some(evil()), Some(evil()), Some(evil()));
    }
    for i in &mut m.now.images {
        (i.manifest.source, i.manifest.append, i.manifest.added) = (evil(), evil(), evil());
        (i.manifest.kernel.from, i.manifest.initrd.from) = (evil(), evil());
        i.machines = vec![evil()];
    }
    let fetch = &mut m.now.fetches[0];
    (fetch.request.what, fetch.started) = (evil(), evil());
    (fetch.progress.verified, fetch.error) = (Some(evil()), Some(evil()));
    m.setup.doctor = vec![evil()];
    m.setup.plan = vec![evil()];
    m.said.text = evil();
    m.filter = evil();
    m.link = ServerLink::Down(evil());
    m.sources = vec![SourceRow { name: evil(), about: evil() }];
    m.dialog = Some(Dialog::Text(TextDialog { title: evil(), lines: vec![evil()], scroll: 0, yes: None }));
    m
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nothing_hostile_reaches_the_screen(words in proptest::collection::vec(prop_oneof![
        proptest::sample::select(vec!["a\x1b[2J", "\u{9b}31m", "\u{202e}b", "\r\n", "\x07", "\t", "\u{200b}", "機", "\u{301}"]).prop_map(str::to_owned),
        any::<String>(),
    ], 0..6)) {
        let mut m = infested(&words.concat());
        for _ in 0..2 {
            for view in [View::Images, View::Machines, View::Transfers, View::Setup] {
                m.view = view;
                for look in [RICH, Look { color: false, unicode: false }] {
                    let text = screen(&m, 120, 40, look);
                    prop_assert!(!text.contains(|c| c != '\n' && is_odd(c)), "{:?}", text);
                    prop_assert!(look.unicode || text.is_ascii(), "{:?}", text);
                }
            }
            (m.dialog, m.filter) = (None, String::new());
        }
    }
}
