// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use bootspec::{InfoHash, Sha256Sum, manifest::Kind};

const KEY: &str = "untrusted comment: x\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

#[test]
fn a_folder_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(None, None);
    let ids = |dir: &Path| keys(dir, &report).map(|k| k.to_string());
    assert_eq!(ids(&dir.path().join("none")), None);
    std::fs::write(dir.path().join("a.key"), KEY).unwrap();
    assert_eq!(ids(&dir.path().join("a.key")).unwrap(), "no key at all", "a folder that cannot be read");
    std::fs::write(dir.path().join("a.pub~"), KEY).unwrap();
    assert_eq!(ids(dir.path()), None, "only *.pub are keys");
    std::fs::write(dir.path().join("b.pub"), "").unwrap();
    assert_eq!(ids(dir.path()).unwrap(), "no key at all", "what is not a key turns nothing off");
    std::fs::write(dir.path().join("c.pub"), KEY).unwrap();
    assert_eq!(ids(dir.path()).unwrap(), "key E7620F1842B4E81F");
    std::fs::create_dir(dir.path().join("d.pub")).unwrap();
    std::fs::write(dir.path().join("e.pub"), KEY.repeat(100)).unwrap();
    assert_eq!(ids(dir.path()).unwrap(), "key E7620F1842B4E81F");
}

fn statement() -> Statement {
    Statement {
        name: "lab".parse().unwrap(),
        version: "2026-11-23T08:00:00Z".parse().unwrap(),
        infohash: InfoHash([1; 20]),
        size: 1,
        sha256: Sha256Sum([2; 32]),
        kind: Kind::Iso,
        parameters: "quiet locales=\"de_DE en\" toram".into(),
    }
}

#[test]
fn what_the_command_line_says_otherwise() {
    let params = |line: &str| Params::parse(line).0;
    assert_eq!(contradicts(&statement(), &params("quiet")), None);
    assert_eq!(contradicts(&statement(), &params("boottorrent.kind=iso")), None);
    assert_eq!(
        contradicts(&statement(), &params("boottorrent.kind=filesystem")).unwrap(),
        "boottorrent.kind=filesystem was asked for, but image lab is of kind iso"
    );
    assert_eq!(missing(&statement(), "toram x=y \"locales=de_DE en\" quiet"), Vec::<String>::new());
    assert_eq!(missing(&statement(), "locales=de_DE quiet"), ["locales=\"de_DE en\"", "toram"]);
}
