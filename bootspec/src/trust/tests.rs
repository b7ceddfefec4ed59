// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::manifest::Kind;
use minisign::KeyPair;
use proptest::prelude::*;

fn pair() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn keys(pairs: &[&KeyPair]) -> Keys {
    let mut keys = Keys::default();
    for pair in pairs {
        keys.add(pair.pk.to_box().unwrap().to_string().as_bytes()).unwrap();
    }
    keys
}

fn statement() -> Statement {
    Statement {
        name: "lab".parse().unwrap(),
        version: "2026-11-23T08:00:00Z".parse().unwrap(),
        infohash: InfoHash([1; 20]),
        size: 5 << 30,
        sha256: Sha256Sum([2; 32]),
        kind: Kind::Filesystem,
        parameters: "quiet console=ttyS0".into(),
    }
}

fn signed(statement: &str, by: &KeyPair) -> Evidence {
    let signature = minisign::sign(None, &by.sk, statement.as_bytes(), Some("x"), None).unwrap();
    Evidence { statement: statement.into(), signature: signature.to_string().into() }
}

fn wanted<'a>() -> Wanted<'a> {
    static NONE: Newest = Newest::new();
    Wanted { name: Some("lab"), infohash: InfoHash([1; 20]), size: 5 << 30, newest: &NONE }
}

#[test]
fn a_statement_is_written_in_one_way() {
    let text = statement().to_string();
    assert_eq!(
        text,
        "boottorrent statement 1\nname: lab\nversion: 2026-11-23T08:00:00Z\n\
         infohash: 0101010101010101010101010101010101010101\nsize: 5368709120\n\
         sha256: 0202020202020202020202020202020202020202020202020202020202020202\n\
         kind: filesystem\nparameters: quiet console=ttyS0\n"
    );
    assert_eq!(Statement::parse(text.as_bytes()), Ok(statement()));
    for (from, to, why) in [
        (
            "statement 1",
            "statement 2",
            "it begins with 'boottorrent statement 2', not with 'boottorrent statement 1'",
        ),
        (
            "name: lab",
            "name: ../lab",
            "'../lab' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit",
        ),
        ("T08:00:00Z", "", "'2026-11-23' is not a valid time: it is written as 2026-11-23T08:00:00Z"),
        ("T08:00:00Z", "T08:00:00.5Z", "it is not written as BootTorrent writes it"),
        ("infohash: 01", "infohash: 0", "is not a valid infohash: it has 40 hex digits"),
        ("size: 5", "size: +5", "it is not written as BootTorrent writes it"),
        ("size: 5", "size: -5", "'-5368709120' is not a valid size"),
        ("filesystem", "floppy", "'floppy' is not a kind of image that this version knows"),
        (
            "kind: filesystem\n",
            "",
            "where its line 'kind' should be, there is 'parameters: quiet console=ttyS0'",
        ),
        ("parameters: quiet console=ttyS0\n", "", "it ends before its line 'parameters'"),
        ("console=ttyS0\n", "console=ttyS0", "it is not written as BootTorrent writes it"),
        ("console=ttyS0\n", "console=ttyS0\nmore: x\n", "it is not written as BootTorrent writes it"),
        ("quiet ", "quiet\r", "it is not written as BootTorrent writes it"),
        ("quiet ", "qu\u{1b}[2J", "it is not written as BootTorrent writes it"),
    ] {
        let said = Statement::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(said.ends_with(why), "{from} {to}: {said}");
    }
    let long = Statement { parameters: "x".repeat(MAX_STATEMENT), ..statement() }.to_string();
    assert!(Statement::parse(long.as_bytes()).unwrap_err().contains("more than 4096"));
}

#[test]
fn what_a_machine_remembers() {
    let newest = Newest::from([
        ("a".parse().unwrap(), "2026-11-23T08:00:00Z".parse().unwrap()),
        ("b-1".parse().unwrap(), Version(0)),
    ]);
    let text = render_newest(&newest);
    assert_eq!(text, "a 2026-11-23T08:00:00Z\nb-1 1970-01-01T00:00:00Z\n");
    assert_eq!(parse_newest(&text), newest);
    assert_eq!(parse_newest(&format!("x\n../x 2026-11-23T08:00:00Z\n\0\n{text}c soon\n")), newest);
}

#[test]
fn key_ids_are_those_of_minisign() {
    let file = b"untrusted comment: minisign public key E7620F1842B4E81F\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    let mut keys = Keys::default();
    assert_eq!(keys.add(file).unwrap().to_string(), "E7620F1842B4E81F");
    assert_eq!(keys.to_string(), "key E7620F1842B4E81F");
    keys.add(pair().pk.to_box().unwrap().to_string().as_bytes()).unwrap();
    assert!(keys.to_string().starts_with("one of the keys E7620F1842B4E81F, "), "{keys}");
    assert_eq!(Keys::default().to_string(), "no key at all");
    for bad in [&b""[..], b"x\n", b"x\nRWQf6LRCGA9i", b"\xff\n", &[b'x'; MAX_KEY + 1]] {
        assert!(keys.add(bad).is_err());
    }
}

/// Every refusal, and its whole sentence.
#[test]
fn what_is_refused_and_how_it_is_said() {
    let (ours, old, other) = (pair(), pair(), pair());
    let here = keys(&[&ours, &old]);
    let text = statement().to_string();
    let [a, b] = [&ours, &old].map(|p| KeyId::of(p.pk.to_box().unwrap().to_string().as_bytes()).unwrap());
    let stranger = KeyId::of(other.pk.to_box().unwrap().to_string().as_bytes()).unwrap();

    let good = signed(&text, &old);
    let newest = |version| Newest::from([("lab".parse().unwrap(), version)]);
    let (same, newer) = (newest(statement().version), newest("2026-11-24T00:00:00Z".parse().unwrap()));
    for wanted in [wanted(), Wanted { newest: &same, ..wanted() }, Wanted { name: None, ..wanted() }] {
        assert_eq!(here.judge(&good, &wanted), Ok(Signed { statement: statement(), key: b }));
    }

    let only = format!("only what one of the keys {a}, {b} signed may boot here");
    let again = "sign it with `boottorrent image sign lab` on the server";
    let cut = |by: usize| Evidence {
        signature: good.signature[..good.signature.len() - by].to_vec(),
        ..good.clone()
    };
    let changed = Evidence { statement: text.replace("quiet ", "").into(), ..good.clone() };
    let none = Evidence { signature: Vec::new(), ..good.clone() };
    let older = Wanted { newest: &newer, ..wanted() };
    let torn = format!(
        "the signature of image lab is damaged (it is not a signature of minisign, or a part of one), and one of the keys \
         {a}, {b} must have signed it: {again}"
    );
    let cases = [
        (none, wanted(), format!("image lab is not signed, and {only}: {again}")),
        (cut(8), wanted(), torn.clone()),
        (cut(100), wanted(), torn),
        (
            signed(&text, &other),
            wanted(),
            format!(
                "image lab is signed by key {stranger}, and {only}: {again}, or put that key's .pub file into the initrd"
            ),
        ),
        (
            changed,
            wanted(),
            format!(
                "the signature of image lab is wrong: key {b} did not sign this statement; if nobody changed it on purpose, {again}"
            ),
        ),
        (
            signed("hello\n", &ours),
            wanted(),
            format!(
                "what key {a} signed for image lab is not a statement of BootTorrent: it begins with 'hello', not with \
                 'boottorrent statement 1'"
            ),
        ),
        (
            signed(&text.replace("name: lab", "name: rescue"), &ours),
            wanted(),
            format!("what key {a} signed is image rescue, and image lab was asked for"),
        ),
        (
            good.clone(),
            Wanted { infohash: InfoHash([3; 20]), ..wanted() },
            format!(
                "what key {b} signed is another version of image lab, of 2026-11-23T08:00:00Z with infohash {}: {again}",
                InfoHash([1; 20])
            ),
        ),
        (
            good.clone(),
            older,
            format!(
                "image lab is of 2026-11-23T08:00:00Z (signed by key {b}), and this machine has booted the one of \
                 2026-11-24T00:00:00Z: an older one is refused without boottorrent.allow-older"
            ),
        ),
    ];
    for (evidence, wanted, sentence) in cases {
        assert_eq!(here.judge(&evidence, &wanted).unwrap_err().sentence("lab", &here), sentence);
    }
    let other_size = here.judge(&good, &Wanted { size: 1, ..wanted() });
    assert!(matches!(other_size, Err(Distrust::OtherVersion(_))));
    assert!(matches!(Keys::default().judge(&good, &wanted()), Err(Distrust::Stranger(_))));
    let large = Evidence { signature: vec![b'x'; MAX_SIGNATURE + 1], ..good.clone() };
    assert_eq!(here.judge(&large, &wanted()), Err(Distrust::Damaged("it is too large")));
    let bytes = Distrust::OtherBytes(Signed { statement: statement(), key: a }.into(), Sha256Sum([4; 32]))
        .sentence("lab", &here);
    assert!(bytes.contains("its SHA-256 is 0404") && bytes.contains(", and 0202"), "{bytes}");
}

/// A key with the id of ours is not ours.
#[test]
fn an_id_is_no_proof() {
    let ours = pair();
    let here = keys(&[&ours]);
    let own = String::from_utf8(signed("x", &ours).signature).unwrap();
    let id = KeyId::of(own.as_bytes());
    // Algorithm and id are the first ten bytes: 13 digits of base64, and two bits of the next.
    let forged = std::iter::repeat_with(|| {
        let Evidence { statement, signature } = signed(&statement().to_string(), &pair());
        let text = String::from_utf8(signature).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let second = own.lines().nth(1).unwrap()[..13].to_owned() + &lines[1][13..];
        lines[1] = &second;
        Evidence { statement, signature: (lines.join("\n") + "\n").into() }
    });
    let forged = forged.take(1000).find(|e| KeyId::of(&e.signature) == id).unwrap();
    assert_eq!(here.judge(&forged, &wanted()), Err(Distrust::Forged(id.unwrap())));
}

proptest! {
    /// Whatever comes, it is an answer; and nothing but the whole of what was signed is a good one.
    #[test]
    fn hostile_evidence_is_refused(noise in prop::collection::vec(any::<u8>(), 1..200), at in 0usize..600, what in any::<bool>()) {
        let ours = pair();
        let here = keys(&[&ours]);
        let good = signed(&statement().to_string(), &ours);
        prop_assert!(here.judge(&good, &wanted()).is_ok());
        let mut bad = good.clone();
        let bytes = if what { &mut bad.statement } else { &mut bad.signature };
        let at = at % bytes.len();
        let end = (at + noise.len()).min(bytes.len());
        bytes.splice(at..end, noise.iter().copied());
        let said = here.judge(&bad, &wanted());
        // minisign's first line is a comment that is not signed, and what follows the fourth is not read.
        let read = |e: &Evidence| {
            let text = String::from_utf8_lossy(&e.signature).into_owned();
            text.lines().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>()
        };
        if bad.statement != good.statement || read(&bad) != read(&good) {
            prop_assert!(said.is_err());
        }
        let _ = Statement::parse(&noise);
        let _ = KeyId::of(&noise);
        let _ = Keys::default().add(&noise);
        let noise = Evidence { statement: noise.clone(), signature: noise };
        prop_assert!(here.judge(&noise, &wanted()).is_err());
    }
}
