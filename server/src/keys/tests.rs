// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use bootspec::{ImageName, InfoHash, Sha256Sum, manifest::Kind, trust::Statement};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

fn folder(dir: &tempfile::TempDir) -> Folder {
    Folder { dir: dir.path().join("keys"), secret: None }
}

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

#[test]
fn which_key_signs() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = folder(&dir);
    assert_eq!(folder.chosen().unwrap(), None);
    assert!(matches!(folder.hand(AskPassword::Nobody).unwrap(), CatalogueSigner::None));
    let only = generate(&folder, &name("b2026"), false, None).unwrap();
    assert_eq!(folder.chosen().unwrap(), only.secret);
    generate(&folder, &name("a2027"), false, None).unwrap();
    let e = folder.chosen().unwrap_err().to_string();
    assert!(e.starts_with("there are 2 secret keys in ") && e.contains("a2027.key\" in [keys]"), "{e}");
    let usual = generate(&folder, &name(NAME), false, None).unwrap();
    assert_eq!(folder.chosen().unwrap(), usual.secret);
    folder.secret = only.secret.clone();
    assert_eq!(folder.chosen().unwrap(), only.secret);
    let CatalogueSigner::Ready(signer) = folder.hand(AskPassword::Nobody).unwrap() else { panic!() };
    assert_eq!(signer.id, only.id);
    assert_eq!(format!("{signer:?}"), format!("Signer({})", only.id), "nothing secret is ever shown");
}

#[test]
fn files_are_as_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let made = generate(&folder, &name("lab"), false, None).unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&made.public), mode(made.secret.as_ref().unwrap())), (0o644, 0o600));
    assert!(folder.open_to_others().is_empty());
    fs::set_permissions(made.secret.as_ref().unwrap(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.open_to_others(), [made.secret.clone().unwrap()]);
    // A link counts as there, wherever it leads.
    symlink("/nowhere", folder.dir.join("x.key")).unwrap();
    for taken in ["lab", "x"] {
        let e = generate(&folder, &name(taken), false, None).unwrap_err().to_string();
        assert!(
            e.ends_with(&format!(
                "/{taken}.{} already: give the new key another --name",
                if taken == "x" { "key" } else { "pub" }
            )),
            "{e}"
        );
    }
    assert_eq!(fs::read_dir(&folder.dir).unwrap().count(), 3, "nothing half-written stays");
    fs::write(folder.dir.join("bad.pub"), "x").unwrap();
    let e = folder.keys().unwrap_err().to_string();
    assert!(e.ends_with("bad.pub: it is not a public key of minisign: remove it, or copy it again"), "{e}");
}

#[test]
fn what_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (folder(&dir), Folder { dir: dir.path().join("other"), secret: None });
    let made = generate(&from, &name("lab"), false, None).unwrap();
    let secret = made.secret.unwrap();
    let public = import(&to, &made.public, Some(&name("theirs")), None).unwrap();
    assert_eq!((public.id, public.secret), (made.id, None));
    let both = import(&to, &secret, None, None).unwrap();
    assert_eq!((both.id, both.public), (made.id, to.dir.join("lab.pub")));
    assert_eq!(fs::read(to.dir.join("lab.key")).unwrap(), fs::read(&secret).unwrap());
    for bad in ["", "x\ny\n", "untrusted comment: x\nRWRTAAAA\n"] {
        let file = dir.path().join("bad");
        fs::write(&file, bad).unwrap();
        let e = import(&to, &file, None, None).unwrap_err().to_string();
        assert!(e.ends_with("/bad is not a key of minisign, neither a public one nor a secret one"), "{e}");
    }
    let e = import(&to, &dir.path().join("a b.pub"), None, None).unwrap_err().to_string();
    assert!(e.starts_with("opening "), "{e}");
}

#[test]
fn what_is_signed_is_judged_good() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    generate(&folder, &name("lab"), false, None).unwrap();
    let statement = Statement {
        name: name("lab"),
        version: "2026-11-23T08:00:00Z".parse().unwrap(),
        infohash: InfoHash([1; 20]),
        size: 7,
        sha256: Sha256Sum([2; 32]),
        kind: Kind::Iso,
        parameters: "quiet".into(),
    };
    let signer = folder.hand(AskPassword::Nobody).unwrap().signer().unwrap().unwrap();
    let proof = signer.sign(&statement).unwrap();
    let newest = Default::default();
    let wanted =
        bootspec::trust::Wanted { name: Some("lab"), infohash: statement.infohash, size: 7, newest: &newest };
    let signed = folder.keys().unwrap().judge(&proof, &wanted).unwrap();
    assert_eq!((signed.statement, signed.key), (statement, signer.id));
    // The daemon's hand finds the key when it is needed.
    let later = CatalogueSigner::Later(Folder { dir: dir.path().join("later"), secret: None });
    assert!(later.signer().unwrap().is_none());
    generate(&Folder { dir: dir.path().join("later"), secret: None }, &name("x"), false, None).unwrap();
    assert!(later.signer().unwrap().is_some());
}
