// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use proptest::{collection::vec, option::of, prelude::*};

fn bad(text: &str) -> String {
    let (_, remarks) = Params::parse(text);
    match remarks.as_slice() {
        [one @ Remark::Bad { .. }] => one.to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn reads_a_real_line() {
    let (p, remarks) = Params::parse(
        "BOOT_IMAGE=/vmlinuz boot=boottorrent ip=dhcp quiet boottorrent.server=10.0.0.1 \
         boottorrent.image=lab boottorrent.seed=30m boottorrent.up=\"10MB/s\" boottorrent.fallback",
    );
    assert_eq!(remarks, []);
    assert_eq!(p.server.as_deref(), Some("10.0.0.1"));
    assert_eq!(p.image.unwrap().as_str(), "lab");
    assert_eq!(p.seed, Seed::For(Duration::from_secs(1800)));
    assert_eq!(p.up, Some(10_000_000));
    assert_eq!(p.log, Log::Warn, "quiet");
    assert!(p.fallback);
}

#[test]
fn last_one_wins_and_dashes_are_underscores() {
    let (p, _) = Params::parse("boottorrent.image=a boottorrent.image=b quiet boottorrent.log=debug");
    assert_eq!((p.image.unwrap().as_str(), p.log), ("b", Log::Debug));
    assert!(cmdline::same_name("on-fail", "on_fail"));
}

#[test]
fn a_misspelt_parameter_is_guessed_never_fatal() {
    for (text, sentence) in [
        (
            "boottorrent.infohsah=x",
            "unknown kernel parameter boottorrent.infohsah: did you mean boottorrent.infohash?",
        ),
        (
            "boottorrent.torent=x",
            "unknown kernel parameter boottorrent.torent: did you mean boottorrent.torrent?",
        ),
        ("boottorrent.zzzzzzzzz=1", "unknown kernel parameter boottorrent.zzzzzzzzz"),
    ] {
        let (p, remarks) = Params::parse(text);
        assert_eq!(p, Params::default());
        assert_eq!(remarks[0].to_string(), sentence);
    }
}

#[test]
fn a_bad_value_is_one_sentence() {
    assert_eq!(
        bad("boottorrent.infohash=12"),
        "kernel parameter boottorrent.infohash: '12' is not a valid infohash: it has 40 hex digits"
    );
    assert_eq!(
        bad("boottorrent.onfail=cry"),
        "kernel parameter boottorrent.onfail: 'cry' is none of: panic, reboot, poweroff"
    );
    assert_eq!(
        bad("boottorrent.seed=ratio:all"),
        "kernel parameter boottorrent.seed: 'ratio:all' is not forever, off, a time such as 30m, ratio:2 or idle:50KB/s: \
         write one of these"
    );
    for text in [
        "boottorrent.torrent=ftp://x",
        "boottorrent.torrent",
        "boottorrent.server=a/b",
        "boottorrent.relays=a,b/c",
        "boottorrent.relay",
        "boottorrent.relay=1M",
        "boottorrent.relay=yes",
        "boottorrent.image=../x",
        "boottorrent.target=disk",
        "boottorrent.target=ram,device:/dev/sda",
        "boottorrent.kind=squash",
        "boottorrent.partition=/dev/sda1",
        "boottorrent.then=sleep",
        "boottorrent.overlay=ram:big",
        "boottorrent.mkfs=vdb",
        "boottorrent.seed=never",
        "boottorrent.seed=ratio:0",
        "boottorrent.seed",
        "boottorrent.up=fast",
        "boottorrent.down=0",
        "boottorrent.file=",
        "boottorrent.torrent=ftp://x",
        "boottorrent.tracker=wss://x",
        "boottorrent.peers=10.0.0.1",
        "boottorrent.fallback=maybe",
        "boottorrent.timeout=soon",
        "boottorrent.log=all",
        "boottorrent.remote=everything",
    ] {
        bad(text);
    }
}

#[test]
fn a_root_of_dracuts_names_the_torrent() {
    let torrent = |line: &str| {
        let (params, remarks) = Params::parse(line);
        assert_eq!(remarks, [], "{line}");
        params.torrent
    };
    let some = |url: &str| Some(url.to_owned());
    assert_eq!(torrent("root=boottorrent:http://s/x.torrent"), some("http://s/x.torrent"));
    assert_eq!(
        torrent("root=/dev/sda root=live:torrent://s:6980/x.torrent"),
        some("http://s:6980/x.torrent")
    );
    assert_eq!(torrent("boottorrent.torrent=/x.torrent root=boottorrent:http://s/y"), some("/x.torrent"));
    for line in
        ["root=boottorrent:", "root=boottorrent", "root=live:CDLABEL=x", "root=live:http://s/x", "root"]
    {
        assert_eq!(torrent(line), None, "{line}");
    }
    let (_, remarks) = Params::parse("root=boottorrent:ftp://s/x.torrent");
    assert!(
        remarks[0].to_string().starts_with("kernel parameter root: 'ftp://s/x.torrent' is"),
        "{remarks:?}"
    );
}

#[test]
fn every_row_is_reachable_and_told() {
    for s in TABLE {
        assert!(!s.help.is_empty() && !s.value.is_empty() && !s.default.is_empty(), "{}", s.name);
        assert_eq!(TABLE.iter().filter(|o| o.name == s.name).count(), 1, "{}", s.name);
    }
}

fn params() -> impl Strategy<Value = Params> {
    let text = (
        of("http://[a-z0-9. ]{1,20}"),
        of("[a-z0-9.]{1,20}(:[0-9]{1,4})?"),
        of("[a-z0-9][a-z0-9._-]{0,20}"),
        of(any::<[u8; 20]>()),
        vec("(http|udp)://[a-z0-9. ]{1,12}", 0..3),
        vec(any::<([u8; 4], u16)>(), 0..3),
        of("[a-z0-9]{1,20}(\\.[a-z]{1,5})?"),
    );
    let numbers = (of(any::<u64>()), of(16384u64..), of(16384u64..), of(1u64..1_000_000), 0u64..1_000_000);
    let switches = (0..KINDS.len(), any::<bool>(), any::<bool>(), 0..5usize, 0..3usize, 0..4usize, 0..4usize);
    (text, numbers, switches).prop_map(|(t, n, s)| Params {
        secret: None,
        torrent: t.0,
        server: t.1,
        relays: [&[][..], &["10.0.0.1"], &["https://a.b:1", "[fd00::1]:2"]][s.4]
            .iter()
            .map(ToString::to_string)
            .collect(),
        relay: n.1.map(|bytes| bytes.saturating_add(32 << 20)),
        image: t.2.map(|i| i.parse().unwrap()),
        infohash: t.3.map(InfoHash),
        allow_older: s.2,
        file: [None, Some("live/a b.iso")][usize::from(s.1)].map(str::to_owned),
        target: ["ram", "ram,LABEL=images", "/dev/vda2", "device:SERIAL=S1"].map(|t| targets(t).unwrap())
            [s.6]
            .clone(),
        kind: KINDS[s.0].1,
        partition: [None, Some("3"), Some("LABEL=my root"), Some("PARTUUID=1-2")][s.6]
            .map(|t| t.parse().unwrap()),
        sector: SECTORS[s.6 % 2].1,
        then: [Then::Boot, Then::Reboot, Then::Poweroff][s.4],
        overlay: match n.0 {
            Some(bytes) => Overlay::Sized(bytes),
            None => [Overlay::Zram(None), Overlay::Kept(DeviceName::Label("x".into())), Overlay::None][s.4]
                .clone(),
        },
        files: vec![crate::Sha256Sum([7; 32]); s.6],
        private: s.1,
        key: [KeyPlace::Auto, KeyPlace::Efi][s.6 % 2],
        group: [None, Some("room_1.a")][usize::from(s.2)].map(str::to_owned),
        mkfs: s.1.then(|| DeviceName::Path("/dev/vdb".into())),
        seed: [
            Seed::Forever,
            Seed::Off,
            Seed::For(Duration::from_secs(n.4)),
            Seed::Ratio(n.4 as u32 + 1),
            Seed::Idle(n.4),
        ][s.3],
        up: n.1,
        down: n.2,
        tracker: t.4,
        hostname: t.6.map(|h| h.parse().unwrap()),
        peers: t.5.into_iter().map(SocketAddr::from).collect(),
        fallback: s.1,
        timeout: n.3.map(Duration::from_secs),
        onfail: [OnFail::Panic, OnFail::Reboot, OnFail::Poweroff][s.4],
        report: s.2,
        remote: Action::ALL[..s.4 + usize::from(s.4 == 0)].iter().copied().filter(|_| s.2).collect(),
        log: [Log::Error, Log::Warn, Log::Info, Log::Debug][s.5],
    })
}

proptest! {
    #[test]
    fn parse_undoes_render(p in params()) {
        let line = p.render();
        let (back, remarks) = Params::parse(&line);
        prop_assert_eq!(remarks, vec![], "{}", line);
        prop_assert_eq!(back, p, "{}", line);
    }

    #[test]
    fn no_line_panics(line in "\\PC{0,200}", ours in "(boottorrent\\.[a-z]{1,9}(=[^ ]{0,9})? ?){0,9}") {
        Params::parse(&line);
        Params::parse(&ours);
    }
}
