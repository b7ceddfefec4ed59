// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys in the initramfs: what is not signed by one of them is refused on the machine's console, each with its own
//! sentence; what is signed boots.

use anyhow::{Context, Result, ensure};
use bootspec::Exit;
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Site, Vm,
    assets::{self, APPEND, IMAGE, Image, Suite, initrd_with},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The same payload under another name, unsigned: the disk has it once.
fn twin(site: &Site, name: &str) -> Result<()> {
    let (from, to) = (site.dir(IMAGE), site.dir(name));
    let new = site.server.catalogue().join("images/.staging-twin");
    Cmd::new("cp").args(["-al", "--no-target-directory"]).args([&from, &new]).run()?;
    fs::rename(new.join(format!("{IMAGE}.torrent")), new.join(format!("{name}.torrent")))?;
    fs::remove_file(new.join(format!("{IMAGE}.statement")))?;
    let manifest = fs::read_to_string(from.join("manifest.toml"))?;
    replace(
        &new.join("manifest.toml"),
        manifest.replacen(&format!("name = \"{IMAGE}\""), &format!("name = \"{name}\""), 1).as_bytes(),
    )?;
    fs::rename(new, to).context("publishing the twin")
}

/// Another file under a name: what is linked elsewhere stays as it is.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::remove_file(path)?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The initrd of a shared image with a public key, where the hook would have put it.
fn initrd(lab: &Lab, image: &Image, key: &Path) -> Result<PathBuf> {
    initrd_with(lab, image, &[("etc/boottorrent/keys/site.pub", key)])
}

/// One machine: refused at first; from its rescue shell the agent is run for the other images; then its image is signed.
#[test]
fn only_what_is_signed_boots() -> Result<()> {
    let (image, lab) = (assets::image(Suite::own()?)?, Lab::new("trust")?);
    let site = Site::of(&lab, &assets::catalogue(&image)?, &[])?;
    let (removed, key) = (site.key("removed")?, site.key("site")?);
    let only = format!("and only what key {key} signed may boot here");

    for name in ["forged", "torn", "stranger", "replayed", "collided"] {
        twin(&site, name)?;
        site.sign(name, if name == "stranger" { "removed" } else { "site" })?;
    }
    let (forged, torn) = (site.statement("forged"), site.signature("torn"));
    let text = fs::read_to_string(&forged)?;
    replace(&forged, text.replace("parameters: ", "parameters: init=/bin/sh ").as_bytes())?;
    let bytes = fs::read(&torn)?;
    replace(&torn, &bytes[..bytes.len() - 30])?;
    site.served("torn")?;
    let statement = fs::read_to_string(site.statement("replayed"))?;
    let line = |name: &str| statement.lines().find_map(|l| l.strip_prefix(name)).context("a line");
    let (version, sum) = (line("version: ")?, line("sha256: ")?);
    // As if somebody had made other bytes with the same SHA-1 for each piece: what was signed had another SHA-256.
    let (collided, other) = (site.statement("collided"), "5".repeat(64));
    replace(&collided, fs::read_to_string(&collided)?.replace(sum, &other).as_bytes())?;
    Cmd::new("minisign").args(["-S", "-s"]).arg(site.secret("site")).arg("-m").arg(&collided).run()?;
    site.served("collided")?;

    // A disk on which this machine remembers that it has booted a newer one.
    let remembers = lab.dir().join("remembers");
    fs::create_dir_all(remembers.join("boottorrent"))?;
    fs::write(remembers.join("boottorrent/newest"), "replayed 2099-12-31T23:59:59Z\n")?;
    let disk = lab.dir().join("disk.raw");
    fs::File::create(&disk)?.set_len(64 << 20)?;
    Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-L", "images", "-d"]).args([&remembers, &disk]).run()?;

    let initrd = initrd(&lab, &image, &site.public("site"))?;
    let usual = "boot=boottorrent ip=dhcp boottorrent.target=ram,LABEL=images";
    let append = format!("{} {usual} boottorrent.image={IMAGE}", APPEND.replace("panic=-1", ""));
    let mut vm = Vm::direct("vm", &image.kernel(), &initrd, &append).disk(&disk, "CACHE1").start(&lab)?;
    vm.expect(&format!("boottorrent: only what key {key} signed boots here"), BOOT)?;
    let again = |name: &str| format!("sign it with `boottorrent image sign {name}` on the server");
    vm.expect(&format!("boottorrent: image {IMAGE} is not signed, {only}: {}", again(IMAGE)), BOOT)?;
    let end = format!("BootTorrent could not boot this machine (exit code {})", Exit::Trust.code());
    vm.expect(&end, Duration::from_secs(30))?;
    vm.expect("(initramfs)", Duration::from_secs(60))?;

    let cases = [
        (
            "boottorrent.image=forged",
            format!(
                "the signature of image forged is wrong: key {key} did not sign this statement; if nobody changed it on purpose, {}",
                again("forged")
            ),
        ),
        (
            "boottorrent.image=torn",
            format!(
                "the signature of image torn is damaged (it is not a signature of minisign, or a part of one), and key {key} must \
                 have signed it: {}",
                again("torn")
            ),
        ),
        (
            "boottorrent.image=stranger",
            format!(
                "image stranger is signed by key {removed}, {only}: {}, or put that key's .pub file into the initrd",
                again("stranger")
            ),
        ),
        (
            "boottorrent.image=replayed",
            format!(
                "image replayed is of {version} (signed by key {key}), and this machine has booted the one of \
                 2099-12-31T23:59:59Z: an older one is refused without boottorrent.allow-older"
            ),
        ),
        (
            "boottorrent.image=replayed boottorrent.allow-older boottorrent.kind=iso",
            format!(
                "boottorrent.kind=iso was asked for, but image replayed is of kind filesystem: key {key} signed that"
            ),
        ),
        // The name in the URL is what was asked for.
        (
            "boottorrent.image=other boottorrent.torrent=http://10.77.0.1:6980/images/replayed/replayed.torrent",
            format!("what key {key} signed is image replayed, and image other was asked for"),
        ),
        (
            "boottorrent.image=collided",
            format!(
                "image collided is not what key {key} signed, although every piece has the right SHA-1: its SHA-256 is {sum}, \
                 and {other} was signed; boot it nowhere before you know why"
            ),
        ),
    ];
    for (words, sentence) in cases {
        vm.send_line(&format!(
            "echo '{usual} {words}' >/cmdline; boottorrent-agent boot --cmdline-file /cmdline; echo exit-$?-"
        ))?;
        vm.expect(&format!("boottorrent: {sentence}"), Duration::from_secs(90))?;
        vm.expect(&format!("exit-{}-", Exit::Trust.code()), Duration::from_secs(30))?;
    }

    // Signed now, and tried again.
    site.sign(IMAGE, "site")?;
    vm.send_line("exit")?;
    vm.expect(&format!(" is signed by key {key}"), BOOT)?;
    let checked = vm.expect(&format!("{IMAGE}: the SHA-256 is what was signed (checked in "), BOOT)?;
    println!("{}", checked.text);
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    let newest = vm.sh("cat /run/boottorrent/disk/vda/boottorrent/newest")?;
    ensure!(newest.contains(&format!("{IMAGE} 20")) && newest.contains("replayed 2099-"), "{newest}");
    Ok(())
}

/// What was kept of the signature is enough without a server; without it, a kept image is refused.
#[test]
#[ignore = "three more boots of what unit tests show: make test-full"]
fn a_kept_image_is_judged_without_a_server() -> Result<()> {
    let (image, lab) = (assets::image(Suite::own()?)?, Lab::new("trustkept")?);
    let mut site = Site::of(&lab, &assets::catalogue(&image)?, &[])?;
    let key = site.key("site")?;
    site.sign(IMAGE, "site")?;
    let disk = lab.dir().join("disk.raw");
    fs::File::create(&disk)?.set_len(1500 << 20)?;
    Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-L", "images"]).arg(&disk).run()?;
    let initrd = initrd(&lab, &image, &site.public("site"))?;
    let append = format!(
        "{APPEND} boot=boottorrent ip=dhcp boottorrent.target=LABEL=images boottorrent.image={IMAGE}"
    );
    let boot = || Vm::direct("vm", &image.kernel(), &initrd, &append).disk(&disk, "CACHE1").start(&lab);

    let mut vm = boot()?;
    vm.expect(&format!("{IMAGE}: the SHA-256 is what was signed (checked in "), BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    vm.send_line("poweroff")?;
    vm.wait_off(Duration::from_secs(90))?;

    site.server.stop();
    let mut vm = boot()?;
    vm.expect(&format!(": booting {IMAGE} as it was fetched on 20"), BOOT)?;
    vm.expect(&format!(" is signed by key {key}"), BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    // Reading all of it again takes this machine several seconds.
    let seconds = vm.sh("dmesg | sed -n 's/.*is what was signed (checked in \\([0-9.]*\\) s).*/\\1/p'")?;
    ensure!(seconds.parse::<f64>().is_ok_and(|s| s < 1.0), "it was read twice: checked in {seconds} s");
    drop(vm);

    let infohash = fs::read_to_string(site.dir(IMAGE).join("manifest.toml"))?;
    let infohash = infohash.lines().find_map(|l| l.strip_prefix("infohash = \"")).context("an infohash")?;
    let kept = format!("rm /boottorrent/{}.statement.minisig", infohash.trim_end_matches('"'));
    Cmd::new("debugfs").args(["-w", "-R", &kept]).arg(&disk).run()?;
    let mut vm = boot()?;
    vm.expect(
        &format!("boottorrent: image {IMAGE} is not signed, and only what key {key} signed may boot here"),
        BOOT,
    )?;
    let end = format!("BootTorrent could not boot this machine (exit code {})", Exit::Trust.code());
    vm.expect(&end, Duration::from_secs(30))?;
    vm.wait_off(Duration::from_secs(60))
}
