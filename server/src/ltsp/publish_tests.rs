// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{addon::Addons, catalogue::Catalogue};
use std::time::Duration;

/// The least that is taken for a squashfs.
fn squashfs(n: u8) -> Vec<u8> {
    let mut bytes = vec![n; 70_000];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[28..30].copy_from_slice(&4u16.to_le_bytes());
    bytes[40..48].copy_from_slice(&70_000u64.to_le_bytes());
    bytes
}

fn site(dir: &Path) -> Site {
    let state = dir.join("state");
    let site = Site {
        catalogue: Catalogue::at(&state),
        state,
        base: dir.join("srv/ltsp"),
        tftp: dir.join("srv/tftp"),
    };
    fs::create_dir_all(site.base.join("images")).unwrap();
    fs::create_dir_all(site.tftp.join("ltsp")).unwrap();
    site
}

/// As `ltsp image` does it.
fn image(site: &Site, name: &str, n: u8) {
    let new = site.base.join("images/new");
    fs::write(&new, squashfs(n)).unwrap();
    fs::rename(new, site.base.join(format!("images/{name}.img"))).unwrap();
}

const MENU: &str = "#!ipxe\n:images\nset cmdline_method root=/dev/nfs ltsp.image=images/${img}.img loop.max_part=9\ngoto ltsp\n";

fn name(n: &str) -> ImageName {
    n.parse().unwrap()
}

fn hash(site: &Site, n: &str) -> String {
    site.catalogue.manifest(&name(n)).unwrap().infohash.to_string()
}

#[test]
fn an_image_is_published_once_for_each_version_without_a_second_copy() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    image(&site, "lab", 1);
    image(&site, "odd name", 1);
    let file = site.base.join("images/lab.img");
    publish(&site, &of_sources(&site, &[]).unwrap()).unwrap();
    let first = hash(&site, "lab");
    let payload = fs::metadata(site.catalogue.dir(&name("lab")).join("payload")).unwrap();
    assert_eq!(payload.ino(), fs::metadata(&file).unwrap().ino());
    assert!(matches!(published(&site, &name("lab"), &file).unwrap(), Published::Current(_)));
    // A new version beside, as by `ltsp image` and `ltsp image --revert`.
    image(&site, "lab", 2);
    assert!(matches!(published(&site, &name("lab"), &file).unwrap(), Published::Older(_)));
    site.catalogue.change(&name("lab"), |m| m.priority = "9".parse().unwrap()).unwrap();
    publish(&site, &of_sources(&site, &["lab".into()]).unwrap()).unwrap();
    assert_ne!(hash(&site, "lab"), first);
    assert_eq!(
        site.catalogue.manifest(&name("lab")).unwrap().priority.get(),
        9,
        "what the admin has set stays"
    );
    // Written into, which nobody should do: noticed by its time.
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    assert!(matches!(published(&site, &name("lab"), &file).unwrap(), Published::Older(_)));
}

#[test]
fn sources_as_ltsp_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    for n in ["a", "b"] {
        image(&site, n, 1);
    }
    fs::create_dir_all(site.base.join("b/proc")).unwrap();
    let of = |sources: &[&str]| -> Vec<String> {
        let sources: Vec<String> = sources.iter().map(|s| s.to_string()).collect();
        of_sources(&site, &sources).unwrap().keys().map(|n| n.to_string()).collect()
    };
    assert_eq!(of(&[]), ["a", "b"]);
    assert_eq!(of(&["a"]), ["a"]);
    assert_eq!(of(&["b"]), [""; 0], "a chroot of this name comes first");
    let path = site.base.join("images/b.img").display().to_string();
    assert_eq!(of(&[&format!("{path},ro")]), ["b"]);
    assert_eq!(of(&["/", "/nowhere", "c"]), [""; 0]);
}

#[test]
fn enable_and_disable_leave_the_menu_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    let menu = || fs::read_to_string(site.menu()).unwrap();
    let pins = || fs::read_to_string(site.pins()).unwrap();
    assert!(enable(&site, &[], Wish::On).unwrap_err().to_string().contains("make one with `ltsp image`"));
    image(&site, "a", 1);
    image(&site, "b", 2);
    enable(&site, &[name("a")], Wish::On).unwrap();
    assert!(pins().contains(&hash(&site, "a")), "there is no menu yet, and it will find this");
    fs::write(site.menu(), MENU).unwrap();
    tell_menu(&site).unwrap();
    assert!(menu::is_wired(&menu()));
    // A new version: the script changes, the menu does not.
    let before = menu();
    image(&site, "a", 3);
    publish(&site, &of_sources(&site, &[]).unwrap()).unwrap();
    tell_menu(&site).unwrap();
    assert!(pins().contains(&hash(&site, "a")) && menu() == before);
    enable(&site, &[name("b")], Wish::Pilot).unwrap();
    disable(&site, &[name("a")]).unwrap();
    assert!(!pins().contains("} a &&") && pins().contains("} b &&"), "{}", pins());
    assert_eq!(site.catalogue.names().unwrap(), [name("b")]);
    assert!(disable(&site, &[name("c")]).unwrap_err().to_string().contains("is not published"));
    disable(&site, &[]).unwrap();
    assert_eq!(menu(), MENU);
    assert!(!site.pins().exists() && site.catalogue.names().unwrap().is_empty());
    // LTSP goes on, without us.
    assert!(of_sources(&site, &[]).unwrap().is_empty());
}

#[test]
fn an_image_of_ours_is_not_taken_for_ltsps() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    image(&site, "lab", 1);
    enable(&site, &[], Wish::On).unwrap();
    site.catalogue.change(&name("lab"), |m| m.kind = Kind::Filesystem).unwrap();
    let e = enable(&site, &[], Wish::On).unwrap_err().to_string();
    assert!(e.starts_with("there is an image 'lab' already, and it is not of LTSP"), "{e}");
    disable(&site, &[]).unwrap();
    assert_eq!(site.catalogue.names().unwrap(), [name("lab")]);
}

#[test]
fn status_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    let status = || super::super::report::report(&site, Err(anyhow::anyhow!("nobody"))).unwrap();
    assert!(status().starts_with("There are no images in "));
    image(&site, "lab", 1);
    fs::write(site.menu(), MENU).unwrap();
    enable(&site, &[], Wish::On).unwrap();
    let hash = hash(&site, "lab");
    assert!(
        status().contains(&format!("lab    over the swarm    yes        68.4 KiB  {hash}\n")),
        "{}",
        status()
    );
    assert!(status().contains("to do: start the server"));
    let file = site.base.join("images/lab.img");
    image(&site, "lab", 2);
    fs::write(site.menu(), MENU).unwrap();
    let text = status();
    assert!(
        text.contains(&format!("to do: publish lab as it is now: ltsp kernel {}\n", file.display())),
        "{text}"
    );
    assert!(text.contains(&format!("to do: bring {} in line: ltsp ipxe\n", site.menu().display())), "{text}");
    fs::remove_file(site.base.join("images/lab.img")).unwrap();
    assert!(
        status().contains("to do: lab is published, but its file is gone: ltsp boottorrent disable lab\n")
    );
    // What is packed into ltsp.img, and that there is an agent at all.
    assert!(
        super::super::initrd::fill(
            dir.path(),
            &Addons::new(Path::new("/nowhere"), crate::keys::Folder { dir: "/nowhere".into(), secret: None })
        )
        .is_err()
    );
}
