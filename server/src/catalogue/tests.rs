// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use bootspec::{
    InfoHash,
    manifest::{BootFile, Format, Kind},
};
use std::os::unix::fs::PermissionsExt;

fn manifest(name: &str, size: u64) -> ImageManifest {
    ImageManifest {
        name: name.parse().unwrap(),
        kind: Kind::Filesystem,
        format: Some(Format::Squashfs),
        family: None,
        partition: None,
        infohash: InfoHash([1; 20]),
        size,
        sha256: None,
        piece_length: 1 << 18,
        private: false,
        kernel: BootFile { size: 1, from: "/boot/vmlinuz-6".into() },
        initrd: BootFile { size: 1, from: "/boot/initrd.img-6".into() },
        append: String::new(),
        priority: Default::default(),
        added: "2026-11-22T18:00:00Z".into(),
        source: "/srv/x".into(),
    }
}

fn add(catalogue: &Catalogue, m: &ImageManifest, replace: bool) -> Result<()> {
    let staging = catalogue.stage(&m.name)?;
    for file in [PAYLOAD, KERNEL, INITRD] {
        staging.create(file)?;
    }
    staging.publish(m, b"torrent", replace)
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
