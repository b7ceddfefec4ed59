// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::keys::{self, CatalogueSigner, Folder};
use anyhow::Result;
use bootspec::{
    ImageManifest, ImageName, InfoHash,
    manifest::{BootFile, Format, Kind},
};
use std::{fs, io::Read, os::unix::fs::PermissionsExt};

fn manifest(name: &str, size: u64) -> ImageManifest {
    ImageManifest {
        name: name.parse().unwrap(),
        version: 1,
        kind: Kind::Filesystem,
        format: Some(Format::Squashfs),
        family: None,
        partition: None,
        sector: None,
        infohash: InfoHash([1; 20]),
        size,
        sha256: None,
        piece_length: 1 << 18,
        private: false,
        kernel: BootFile { size: 1, from: "/boot/vmlinuz-6".into() },
        initrd: BootFile { size: 1, from: "/boot/initrd.img-6".into() },
        architecture: Default::default(),
        initrd_from: Default::default(),
        append: String::new(),
        extra: String::new(),
        unified: false,
        priority: Default::default(),
        added: "2026-11-22T18:00:00Z".into(),
        source: "/srv/x".into(),
    }
}

fn add(catalogue: &Catalogue, m: &ImageManifest, replace: bool) -> Result<Sealed> {
    let staging = catalogue.stage(&m.name)?;
    for file in [PAYLOAD, KERNEL, INITRD] {
        staging.create(file)?;
    }
    staging.publish(m, b"torrent", replace)
}

/// An image whose torrent and SHA-256 are those of its payload.
fn whole(name: &str, summed: bool) -> (ImageManifest, Vec<u8>) {
    let options = swarm::CreateOptions { name: name.into(), ..Default::default() };
    let size = BYTES.len() as u64;
    let torrent = swarm::create(&mut &BYTES[..], size, &options, &mut |_| ()).unwrap();
    let sha256 = summed.then(|| {
        let mut summing = swarm::Summing::new(BYTES);
        std::io::copy(&mut summing, &mut std::io::sink()).unwrap();
        summing.finish()
    });
    let (infohash, piece_length) = (torrent.infohash(), torrent.piece_length());
    let m = ImageManifest { infohash, piece_length, sha256, ..manifest(name, size) };
    (m, torrent.bytes().to_vec())
}

const BYTES: &[u8] = b"the payload";

fn add_whole(
    catalogue: &Catalogue,
    (m, torrent): &(ImageManifest, Vec<u8>),
    replace: bool,
) -> Result<Sealed> {
    let staging = catalogue.stage(&m.name)?;
    for file in [PAYLOAD, KERNEL, INITRD] {
        std::io::Write::write_all(&mut staging.create(file)?, BYTES).unwrap();
    }
    staging.publish(m, torrent, replace)
}

fn hidden(catalogue: &Catalogue) -> Vec<String> {
    let names =
        fs::read_dir(catalogue.images_dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.starts_with(".staging")).collect()
}

#[test]
fn adds_replaces_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::at(dir.path());
    assert_eq!(catalogue.names().unwrap(), []);
    add(&catalogue, &manifest("lab", 1), false).unwrap();
    let e = add(&catalogue, &manifest("lab", 2), false).unwrap_err().to_string();
    assert_eq!(e, "there is an image 'lab' already: give --replace, or another --name");
    assert_eq!(catalogue.manifest(&"lab".parse().unwrap()).unwrap().size, 1);
    add(&catalogue, &manifest("lab", 2), true).unwrap();
    assert_eq!(catalogue.manifest(&"lab".parse().unwrap()).unwrap().size, 2);
    assert_eq!(hidden(&catalogue), Vec::<String>::new());
    let mode = |f: &str| fs::metadata(catalogue.images_dir().join(f)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("lab"), mode("lab/payload"), mode("lab/lab.torrent")), (0o755, 0o644, 0o644));

    let e = catalogue.remove(&"x".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(e, format!("no image 'x' in {}: there are: lab", catalogue.images_dir().display()));
    catalogue.remove(&"lab".parse().unwrap()).unwrap();
    assert_eq!(catalogue.names().unwrap(), []);
    assert_eq!(hidden(&catalogue), Vec::<String>::new());
}

/// With the server's own initrd there are more files: without them the image would not be served.
#[test]
fn a_renamed_image_keeps_all_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::at(dir.path());
    let (old, new): (ImageName, ImageName) = ("lab".parse().unwrap(), "lesson".parse().unwrap());
    let (m, torrent) = whole("lab", false);
    let staging = catalogue.stage(&old).unwrap();
    for file in [PAYLOAD, KERNEL, INITRD, SUMS, own::ARCHIVES, own::CARDS] {
        std::io::Write::write_all(&mut staging.create(file).unwrap(), file.as_bytes()).unwrap();
    }
    staging.publish(&m, &torrent, false).unwrap();
    let files = |name: &ImageName| {
        let entries = fs::read_dir(catalogue.images_dir().join(name.as_str())).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.map(|n| n.replace(name.as_str(), "NAME")).collect();
        names.sort();
        names
    };
    let before = files(&old);
    catalogue.apply(&old, &ImageChange { name: Some(new.clone()), ..Default::default() }).unwrap();
    assert_eq!(files(&new), before);
}

#[test]
fn a_manifest_is_changed_whole_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::at(dir.path());
    let (name, other): (ImageName, ImageName) = ("lab".parse().unwrap(), "x".parse().unwrap());
    let e = catalogue.change(&other, |_| {}).unwrap_err().to_string();
    assert_eq!(e, format!("no image 'x' in {}: there are none", catalogue.images_dir().display()));
    add(&catalogue, &manifest("lab", 1), false).unwrap();
    let path = catalogue.dir(&name).join(MANIFEST);
    let before = fs::read_to_string(&path).unwrap();
    let old = fs::File::open(&path).unwrap();
    let urgent = catalogue.change(&name, |m| m.priority = "9".parse().unwrap()).unwrap();
    assert_eq!(catalogue.manifest(&name).unwrap(), urgent);
    assert_eq!(urgent, ImageManifest { priority: "9".parse().unwrap(), ..manifest("lab", 1) });
    let mut text = String::new();
    (&old).read_to_string(&mut text).unwrap();
    assert_eq!(text, before, "who reads the old one reads all of it");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    catalogue.change(&name, |m| m.priority = Default::default()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), before, "byte for byte");
    let there = fs::read_dir(catalogue.images_dir()).unwrap().count();
    assert_eq!((there, catalogue.names().unwrap()), (2, vec![name]), "the image and the lock");
}

#[test]
fn stale_staging_is_cleaned_and_living_staging_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::at(dir.path());
    let living = catalogue.stage(&"a".parse().unwrap()).unwrap();
    let dead = catalogue.images_dir().join(".staging-b-1");
    fs::create_dir(&dead).unwrap();
    drop(catalogue.stage(&"c".parse().unwrap()).unwrap());
    assert!(!dead.exists());
    assert!(living.path("").exists());
    drop(living);
    assert_eq!(hidden(&catalogue), Vec::<String>::new());
}

#[test]
fn a_manifest_under_a_wrong_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::at(dir.path());
    add(&catalogue, &manifest("lab", 1), false).unwrap();
    fs::rename(catalogue.images_dir().join("lab"), catalogue.images_dir().join("other")).unwrap();
    let e = catalogue.manifest(&"other".parse().unwrap()).unwrap_err().to_string();
    assert!(e.ends_with("manifest.toml: the name in it is 'lab', the folder's is 'other'"), "{e}");
}

#[test]
fn signed_when_added_and_later() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Folder { dir: dir.path().join("keys"), secret: None };
    let by = |hand| Catalogue::at(dir.path()).signed_by(hand);
    let name: ImageName = "lab".parse().unwrap();
    let image = whole("lab", true);
    let unable = || CatalogueSigner::Unable("the key is away".into());

    let none = Catalogue::at(dir.path());
    assert_eq!(add_whole(&none, &image, false).unwrap(), Sealed::default());
    let evidence = none.evidence(&name).unwrap();
    assert!(
        evidence.statement.starts_with(b"boottorrent statement 1\nname: lab\n")
            && evidence.signature.is_empty()
    );
    let sealed = add_whole(&by(unable()), &image, true).unwrap();
    assert_eq!(
        sealed.told().unwrap(),
        "note: not signed: the key is away; `boottorrent image sign` does it later"
    );

    let key = keys::generate(&keys, &"k".parse().unwrap(), false, None).unwrap().id;
    let CatalogueSigner::Ready(signer) = keys.hand(keys::AskPassword::Nobody).unwrap() else { panic!() };
    let catalogue = by(CatalogueSigner::Ready(signer.clone()));
    let sealed = add_whole(&catalogue, &image, true).unwrap();
    assert_eq!(sealed.told().unwrap(), format!("signed by key {key}"));
    let public = keys.keys().unwrap();
    assert_eq!(catalogue.verify(&name, &public).unwrap().key, key);
    assert_eq!(catalogue.signed_by_key(&name), Some(key));

    // Under another name it is another statement.
    let e = by(unable())
        .apply(&name, &ImageChange { name: "new".parse().ok(), ..Default::default() })
        .unwrap_err();
    assert!(e.to_string().starts_with("image 'lab' is signed, and its name with it; "), "{e}");
    catalogue.apply(&name, &ImageChange { name: "new".parse().ok(), ..Default::default() }).unwrap();
    let new: ImageName = "new".parse().unwrap();
    assert_eq!(catalogue.verify(&new, &public).unwrap().statement.name, new);

    // What is not signed is not in it.
    catalogue.change(&new, |m| m.priority = "9".parse().unwrap()).unwrap();
    catalogue.verify(&new, &public).unwrap();
    catalogue.change(&new, |m| m.append = "init=/bin/sh".into()).unwrap();
    let e = catalogue.verify(&new, &public).unwrap_err().to_string();
    assert!(e.contains("is not what its manifest.toml says now"), "{e}");
    let again = catalogue.sign(&new, &signer, &public).unwrap();
    assert!(again.told().contains("kernel parameters '' -> 'init=/bin/sh'"), "{}", again.told());
    catalogue.verify(&new, &public).unwrap();

    // An older server's image: the sum is made when it is signed.
    let unsummed = whole("old", false);
    add_whole(&none, &unsummed, false).unwrap();
    let old = "old".parse().unwrap();
    assert_eq!(none.evidence(&old).unwrap().statement, b"");
    let signed = catalogue.sign(&old, &signer, &public).unwrap();
    assert!(signed.told().contains("no key here has signed it before"), "{}", signed.told());
    assert_eq!(Some(signed.signed.statement.sha256), whole("old", true).0.sha256);
    catalogue.verify(&old, &public).unwrap();
}
