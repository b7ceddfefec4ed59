// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server reads: questions of machines, and what an admin adds, types or copies from elsewhere.

use crate::shape::{self, Ask};
use axum::{extract::Query, http::Uri};
use bootspec::{
    Heartbeat, InfoHash,
    heartbeat::{LOG_LINES, MAX_HEARTBEAT},
};
use boottorrent_server::{
    clients::{Clients, MachineProof},
    config,
    fetch::sums,
    grub,
    hosts::{self, EntryKey, HostChange, Hosts},
    http::{
        Ends,
        machine::BootQuery,
        range::{ByteRange, wanted},
    },
    import::{
        initrd::{Stream, archives},
        iso::{
            Volume,
            config::{self as loader, Language},
            files::Files,
        },
    },
    sources::{glob, parse},
    status,
    tracker::{
        Tracker,
        query::{self, Announce},
        reply,
    },
    watch::{metrics, stats::Stats},
};
use std::{
    io::Cursor,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

/// Announces, one a line, to a tracker that has one torrent, and scrapes of it.
pub fn announce(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut tracker = Tracker::new(Duration::from_secs(30), vec!["10.0.0.0/24".parse().expect("a subnet")]);
    let torrent = InfoHash(*b"aaaaaaaaaaaaaaaaaaaa");
    tracker.track([torrent].into());
    tracker.seeding([torrent].into());
    let (seeder, mut now) = ("10.0.0.1:6981".parse().expect("an address"), Instant::now());
    for line in text.lines().take(64) {
        now += Duration::from_secs(1);
        match query::scrape(line) {
            Ok(torrents) => {
                assert!(torrents.len() <= query::MAX_SCRAPE);
                bencoded(&reply::scrape(&tracker.scrape(&torrents, now)));
            }
            Err(why) => shape::one_line(&why),
        }
        match Announce::parse(line) {
            Ok(ask) => match tracker.announce(&ask, FROM, seeder, now, &mut swarm_of_one()) {
                Ok(peers) => {
                    assert!(peers.peers.len() <= 200 && ask.port > 0);
                    for compact in [true, false] {
                        bencoded(&reply::announce(&peers, compact, Duration::from_secs(30), Duration::ZERO));
                    }
                }
                Err(why) => bencoded(&reply::failure(&why)),
            },
            Err(why) => shape::one_line(&why),
        }
    }
}

/// Chance, the same each time.
fn swarm_of_one() -> rand::rngs::SmallRng {
    rand::SeedableRng::seed_from_u64(1)
}

/// A dictionary from its beginning to its end.
#[track_caller]
fn bencoded(answer: &[u8]) {
    fn value(b: &[u8]) -> &[u8] {
        match b[0] {
            b'i' => &b[b.iter().position(|b| *b == b'e').expect("an end") + 1..],
            b'd' | b'l' => {
                let mut rest = &b[1..];
                while rest[0] != b'e' {
                    rest = value(rest);
                }
                &rest[1..]
            }
            _ => {
                let colon = b.iter().position(|b| *b == b':').expect("a colon");
                let length: usize =
                    std::str::from_utf8(&b[..colon]).expect("digits").parse().expect("a number");
                &b[colon + 1 + length..]
            }
        }
    }
    assert!(answer[0] == b'd' && value(answer).is_empty());
}

/// The query with which a boot loader asks, and what is rendered for it.
pub fn boot(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (query, params) = text.split_once('\n').unwrap_or((&text, "quiet"));
    let Ok(uri) = format!("/boot.ipxe?{query}").parse::<Uri>() else { return };
    let Ok(Query(asked)) = Query::<BootQuery>::try_from_uri(&uri) else { return };
    let at = |a: &str| a.parse().expect("an address");
    let asker =
        asked.asker(Ends { remote: at("10.0.0.9:5"), local: at("10.0.0.1:6980"), plain: None, user: None });
    asker.uuid.iter().chain(&asker.serial).chain(&asker.hostname).for_each(|word| shape::one_line(word));
    let mut hosts = Hosts::default();
    let key = asker
        .mac
        .map(EntryKey::Mac)
        .or(asker.serial.clone().map(EntryKey::Serial))
        .unwrap_or(EntryKey::Default);
    // As somebody may have written it into hosts.toml by hand: no rule was applied to it.
    let entry = hosts.entries.entry(key.clone()).or_default();
    entry.params = params.lines().map(str::to_owned).collect();
    assert_eq!(key.to_string().parse(), Ok(key));
    let choice = hosts::choose(&hosts, &asker);
    let mac = asked.mac.as_deref().and_then(grub::bootif);
    mac.iter().for_each(|mac| assert!(mac.len() == 17 && mac.is_ascii(), "{mac:?}"));
    let append = choice.params.join(" ");
    let ask = Ask { wanted: asked.image.as_deref(), append: &append, mac: mac.as_deref() };
    shape::scripts(&[shape::image("lab"), shape::image("exam")], ask);
}

/// What a machine tells of itself, twice, and all that is shown of it.
pub fn heartbeat(data: &[u8]) {
    if data.len() > MAX_HEARTBEAT {
        return;
    }
    let Ok(heartbeat) = serde_json::from_slice::<Heartbeat>(data) else { return };
    let (mut clients, start) = (Clients::default(), Instant::now());
    let told = clients
        .hear(heartbeat.clone(), FROM, MachineProof::Link, start)
        .map(|(_, told)| told)
        .expect("there is room");
    let words = [&told.hostname, &told.address, &told.image, &told.error];
    let words = words.into_iter().flatten().chain([&told.id, &told.version]).chain(&told.log);
    words.for_each(|w| shape::one_line(w));
    assert!(!told.id.is_empty() && told.phases.len() <= 32 && told.log.len() <= LOG_LINES);
    let _ = clients.hear(heartbeat, FROM, MachineProof::Link, start + Duration::from_secs(1));
    let list = clients.list(start + Duration::from_secs(2));
    assert_eq!(list.len(), 1);
    let shown = status::render(&list);
    shape::quiet(&shown);
    assert_eq!(shown.lines().count(), 3 + usize::from(told.image.is_some() && told.progress.total > 0));
    let stats = Stats { totals: clients.totals().clone(), ..Stats::default() };
    assert!(stats.totals.boot_seconds.is_finite());
    let page = metrics::render(&stats);
    shape::quiet(&page);
    assert_eq!(page.lines().count(), metrics::render(&Stats::default()).lines().count());
    serde_json::to_string(&list).expect("it becomes JSON");
}

/// hosts.toml as somebody may have edited it; then a change to it, as JSON, behind a line with a key.
pub fn hosts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (key, text) = text.split_once('\n').unwrap_or((&text, ""));
    let (change, toml) = text.split_once('\n').unwrap_or((text, ""));
    let mut hosts: Hosts = match toml::from_str(toml) {
        Ok(hosts) => hosts,
        Err(e) => return shape::one_line(&bootspec::text::clean(&config::toml_sentence(toml, &e), &[])),
    };
    let again = toml::to_string(&hosts).expect("it was TOML");
    assert_eq!(toml::from_str::<Hosts>(&again).expect("our own"), hosts);
    let key: EntryKey = match key.parse() {
        Ok(key) => key,
        Err(why) => return shape::one_line(&why),
    };
    shape::one_line(&key.to_string());
    let images = hosts::Bootable::from([("lab".parse().expect("a name"), vec![1, 2])]);
    if let Ok(change) = serde_json::from_str::<HostChange>(change) {
        let before = hosts.clone();
        match change.apply(&mut hosts, &key, &images) {
            // What was checked before it went in needs no more care.
            Ok(()) => change.set.params.iter().for_each(|p| assert_eq!(bootspec::cmdline::harmless(p), *p)),
            Err(why) => {
                shape::one_line(&bootspec::text::clean(&why, &[]));
                assert_eq!(hosts, before, "refused, and changed all the same");
            }
        }
    }
    let again = toml::to_string(&hosts).expect("it becomes TOML");
    assert_eq!(toml::from_str::<Hosts>(&again).expect("our own"), hosts);
    for key in hosts.entries.keys() {
        let mut asker = hosts::Asker { ip: Some(FROM), hostname: Some("pc1".into()), ..Default::default() };
        match key {
            EntryKey::Mac(mac) => asker.mac = Some(*mac),
            EntryKey::Uuid(uuid) => asker.uuid = Some(uuid.clone()),
            EntryKey::Serial(serial) => asker.serial = Some(serial.clone()),
            EntryKey::Default | EntryKey::Group(_) => {}
        }
        let append = hosts::choose(&hosts, &asker).params.join(" ");
        shape::scripts(&[shape::image("lab")], Ask { wanted: None, append: &append, mac: None });
    }
    let _ = hosts.forget(&key);
}

const MOST_UNPACKED: u64 = 1 << 20;

/// Archives as an initrd has them.
pub fn initrd(data: &[u8]) {
    let (mut count, mut names) = (0, 0);
    let read = archives(&mut Stream::new(data), &mut count, &mut |name| {
        assert!(name.len() <= 3 * 4096);
        names += 1;
        names < 100
    });
    // Six bytes begin an archive, and a hundred and ten a name.
    assert!(count <= data.len() / 6 && names <= data.len() / 110 + 1, "{count} {names} {read:?}");
    // And with their bytes, as machines unpack them.
    let mut unpacked = 0;
    let _ = ::initrd::walk(Cursor::new(data), MOST_UNPACKED, &mut |member, bytes| {
        assert!(member.name.len() <= 4096 && !member.name.starts_with(b"/"));
        unpacked += std::io::copy(bytes, &mut std::io::sink())?;
        Ok(())
    });
    assert!(unpacked <= MOST_UNPACKED);
}

/// An ISO's own descriptors; the list of its files; its boot loaders' configurations.
pub fn iso(data: &[u8]) {
    if let Ok(Some(volume)) = Volume::read(&mut Cursor::new(data)) {
        assert!(volume.label.len() <= 3 * 32);
    }
    // Descriptors begin behind 32 KiB: as if they were in front of these bytes.
    let behind = [&[0; 0x8000][..], data].concat();
    let _ = Volume::read(&mut Cursor::new(behind));
    let text = String::from_utf8_lossy(data);
    let languages = [Language::Grub, Language::Lines];
    for entry in languages.into_iter().flat_map(|l| loader::parse(&text, l)) {
        let (used, _) = loader::usable(&entry.words);
        let append = used.join(" ");
        assert_eq!(bootspec::cmdline::harmless(&append), append, "nothing of it would be left out again");
        shape::one_line(&append);
        shape::scripts(&[shape::image("lab")], Ask { wanted: None, append: &append, mac: None });
    }
    let files = Files::listed(Path::new("x.iso"), &text);
    for path in files.paths() {
        if let Some(found) = files.find(path) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._+~-".contains(c);
            assert!(found.chars().all(plain) && found.split('/').all(|p| p != ".."), "{found:?}");
        }
    }
}

/// A header; its first byte says how large the file is.
pub fn range(data: &[u8]) {
    let Some((first, header)) = data.split_first() else { return };
    let header = String::from_utf8_lossy(header);
    for size in [0, 1, u64::from(*first), 1 << (*first % 63), u64::MAX] {
        if let ByteRange::Part(range) = wanted(&header, size) {
            assert!(range.start < range.end && range.end <= size, "{header:?} of {size}: {range:?}");
        }
    }
}

/// A source, the settings, and lists of checksums.
pub fn source(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse::parse(&text) {
        Ok(source) => {
            let addresses = [&source.url, &source.torrent, &source.checksums, &source.signature];
            addresses.into_iter().flatten().for_each(|a| assert!(!a.contains(char::is_control), "{a:?}"));
            assert_eq!(bootspec::cmdline::harmless(&source.append), source.append.trim());
        }
        Err(why) => shape::one_line(&bootspec::text::clean(&why, &[])),
    }
    if let Ok(config) = config::parse(&text) {
        assert_eq!(bootspec::cmdline::harmless(&config.boot.append), config.boot.append.trim());
    }
    let (pattern, list) = text.split_once('\n').unwrap_or(("x-*.iso", &text));
    if let Ok(Some((sum, name))) = sums::find(list, pattern, "") {
        assert!(!name.starts_with('/') && matches!(sum.hex.len(), 64 | 128));
        let base = name.rsplit('/').next().unwrap_or(name);
        assert!(name.is_empty() || glob::fits(pattern, base) || glob::fits(pattern, name));
    }
    let names: Vec<&str> = list.lines().take(8).collect();
    for (a, b) in names.iter().zip(names.iter().skip(1)) {
        assert_eq!(glob::by_version(a, b), glob::by_version(b, a).reverse());
    }
}
