// SPDX-License-Identifier: GPL-3.0-or-later
//! Boots that cannot succeed: each ends with its own sentence on the console,
//! its own exit code, and then what `panic=` says.

use anyhow::{Context, Result, ensure};
use bootspec::{Exit, ImageManifest, Phase};
use boottorrent_tests::{
    BOOT, Cmd, Lab, Line, MULTI_USER, Server, Vm,
    assets::{self, Image, Suite},
    clients::infohash,
};
use std::{fs, path::Path, time::Duration};

/// A machine as firmware would start it, given kernel parameters beside the usual ones.
struct Boot {
    image: Image,
    lab: Lab,
}

impl Boot {
    fn new(name: &str) -> Result<Self> {
        Ok(Self { image: assets::image(Suite::own()?)?, lab: Lab::new(name)? })
    }

    fn server(&self) -> Result<Server<'_>> {
        Server::start(&self.lab, &self.image, &[])
    }

    fn start(&self, words: &str) -> Result<Vm> {
        let append = format!("console=ttyS0 mitigations=off boot=boottorrent {words}");
        Vm::direct("vm", &self.image.kernel(), &self.image.initrd(), &append).start(&self.lab)
    }

    /// Boot with `panic=-1`; see the sentence, the exit code, and the machine stop.
    fn refused(&self, words: &str, exit: Exit, sentence: &str) -> Result<Vm> {
        let mut vm = self.start(&format!("panic=-1 ip=dhcp {words}"))?;
        refused(&mut vm, exit, sentence)?;
        vm.wait_off(Duration::from_secs(60))?;
        Ok(vm)
    }
}

fn refused(vm: &mut Vm, exit: Exit, sentence: &str) -> Result<Line> {
    let line = vm.expect(&format!("boottorrent: {sentence}"), BOOT)?;
    let end = format!("BootTorrent could not boot this machine (exit code {})", exit.code());
    vm.expect(&end, Duration::from_secs(30))?;
    Ok(line)
}

#[test]
fn another_infohash_than_the_one_asked_for() -> Result<()> {
    let boot = Boot::new("infohash")?;
    let server = boot.server()?;
    let has = server.image(assets::IMAGE)?.infohash;
    let wanted = "0123456789abcdef0123456789abcdef01234567";
    boot.refused(
        &format!("boottorrent.image=debian boottorrent.infohash={wanted}"),
        Exit::Trust,
        &format!(
            "http://10.77.0.1:6980/images/debian/debian.torrent is not the image that this machine may boot: \
             its infohash is {has}, but boottorrent.infohash={wanted} was asked for"
        ),
    )
    .map(drop)
}

#[test]
fn an_image_that_the_server_has_not_and_a_rescue_shell() -> Result<()> {
    let boot = Boot::new("missing")?;
    let _server = boot.server()?;
    let mut vm = boot.start("ip=dhcp boottorrent.image=debain")?;
    let sentence = "the server 10.77.0.1:6980 has no image 'debain': see `boottorrent image list` there, and boottorrent.image=";
    refused(&mut vm, Exit::Metainfo, sentence)?;
    // No panic= on the command line: a shell, and leaving it tries again.
    vm.expect("(initramfs)", Duration::from_secs(30))?;
    vm.send_line("exit")?;
    refused(&mut vm, Exit::Metainfo, sentence)?;
    vm.expect("(initramfs)", Duration::from_secs(30)).map(drop)
}

#[test]
fn a_server_that_does_not_answer() -> Result<()> {
    let boot = Boot::new("silent")?;
    let _server = boot.server()?;
    let vm = boot.refused(
        "boottorrent.server=10.77.0.9 boottorrent.image=debian boottorrent.timeout=20s",
        Exit::Metainfo,
        "the server 10.77.0.9:6980 did not answer within 20 s (",
    )?;
    let said = vm.console().last_lines(30);
    ensure!(said.contains("waiting for the server 10.77.0.9:6980 ("), "{said}");
    ensure!(said.contains("giving up after 20 s"), "{said}");
    Ok(())
}

#[test]
fn a_misspelt_parameter_is_guessed() -> Result<()> {
    let boot = Boot::new("misspelt")?;
    let _server = boot.server()?;
    let vm = boot.refused(
        "boottorrent.imgae=debian",
        Exit::Params,
        "no image was named: add boottorrent.image=NAME or boottorrent.torrent=URL to the kernel command line",
    )?;
    let said = vm.console().last_lines(40);
    let warning =
        "unknown kernel parameter boottorrent.imgae: did you mean boottorrent.image?; it is ignored";
    ensure!(said.contains(warning), "{said}");
    Ok(())
}

#[test]
fn a_value_that_cannot_be_understood() -> Result<()> {
    let boot = Boot::new("value")?;
    let _server = boot.server()?;
    boot.refused(
        "boottorrent.image=debian boottorrent.timeout=soon",
        Exit::Params,
        "kernel parameter boottorrent.timeout: 'soon' is not a valid time: write a number with s, m or h, as in 10m",
    )
    .map(drop)
}

/// Told by the agent, and done by the kernel, whose last word it is.
#[test]
fn what_becomes_of_a_machine_that_fails() -> Result<()> {
    let boot = Boot::new("onfail")?;
    for (onfail, told, done) in [
        ("poweroff", "powering off", "reboot: Power down"),
        ("reboot", "rebooting", "reboot: Restarting system"),
    ] {
        let mut vm = boot.start(&format!("ip=off boottorrent.timeout=soon boottorrent.onfail={onfail}"))?;
        vm.expect("boottorrent: kernel parameter boottorrent.timeout: 'soon' is not a valid time", BOOT)?;
        vm.expect(&format!("boottorrent: {told} in 10 s (boottorrent.onfail)"), Duration::from_secs(30))?;
        vm.expect(done, Duration::from_secs(60))?;
        vm.wait_off(Duration::from_secs(60))?;
    }
    Ok(())
}

#[test]
fn no_network() -> Result<()> {
    let boot = Boot::new("nonet")?;
    let mut vm = boot.start("panic=-1 ip=off boottorrent.image=debian")?;
    refused(
        &mut vm,
        Exit::Network,
        "no network: no interface was configured; check the cable, and that the initrd has this machine's network driver",
    )
    .map(drop)
}

#[test]
fn two_gigabytes_do_not_fit_into_one() -> Result<()> {
    let boot = Boot::new("room")?;
    let mut server = boot.server()?;
    add_empty(&boot, &server, "big", 2 << 30)?;
    server.restart(&[])?;
    let vm = boot.refused("boottorrent.image=big", Exit::Room, "image big needs 2.25 GiB of RAM (2.00 GiB for the image, 256 MiB for the system), but this machine has ")?;
    let client = server.client(vm.mac())?;
    ensure!(client.phase == Phase::Failed && client.progress.received() == 0, "{client:#?}");
    ensure!(client.error.as_deref().is_some_and(|e| e.contains("image big needs 2.25 GiB")), "{client:#?}");
    Ok(())
}

#[test]
fn a_payload_that_is_no_filesystem() -> Result<()> {
    let boot = Boot::new("nofs")?;
    let mut server = boot.server()?;
    add_empty(&boot, &server, "text", 4 << 20)?;
    // `image add` refuses such a file; a damaged server could still have it.
    let dir = server.catalogue().join("images/text");
    let text = b"not a filesystem\n".repeat(4096);
    spoil(&dir, "text", &text).context("spoiling the image")?;
    server.restart(&[])?;
    boot.refused(
        "boottorrent.image=text",
        Exit::Root,
        "the image is not a root filesystem: it is neither squashfs, erofs nor ext4 (its first bytes are \
         6e 6f 74 20 61 20 66 69); add it again with `boottorrent image add`",
    )
    .map(drop)
}

#[test]
#[ignore = "three minutes: make test-full"]
fn a_server_that_comes_two_minutes_late_is_waited_for() -> Result<()> {
    let boot = Boot::new("late")?;
    let mut server = boot.server()?;
    server.stop();
    let mut vm = boot.start("panic=-1 ip=dhcp boottorrent.image=debian")?;
    vm.expect("waiting for the server 10.77.0.1:6980 (", BOOT)?;
    // The seconds are the machine's own business, which may be busy.
    vm.expect("), 2 min ", BOOT)?;
    let waited = vm.expect(" s so far; giving up after 10 min", BOOT)?;
    println!("waited since the start of the machine: {:?}", waited.at);
    server.restart(&[])?;
    vm.expect(MULTI_USER, BOOT).map(drop)
}

/// An empty ext4 filesystem as an image, with the kernel and initrd of the real one.
fn add_empty(boot: &Boot, server: &Server, name: &str, size: u64) -> Result<()> {
    let file = boot.lab.dir().join(format!("{name}.ext4"));
    fs::File::create(&file)?.set_len(size)?;
    Cmd::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&file).run()?;
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let (file, kernel, initrd) = (text(&file), text(&boot.image.kernel()), text(&boot.image.initrd()));
    let args = ["image", "add", &file, "--name", name, "--kernel", &kernel, "--initrd", &initrd];
    server.boottorrent(&args).map(drop)
}

/// Put other bytes into an image of a catalogue, with a torrent that fits them.
fn spoil(dir: &Path, name: &str, payload: &[u8]) -> Result<()> {
    let (file, torrent) = (dir.join("payload"), dir.join(format!("{name}.torrent")));
    fs::write(&file, payload)?;
    fs::remove_file(&torrent)?;
    Cmd::new("transmission-create").arg("-o").args([&torrent, &file]).run()?;
    let file = dir.join("manifest.toml");
    let mut manifest: ImageManifest = toml::from_str(&fs::read_to_string(&file)?)?;
    (manifest.size, manifest.infohash) = (payload.len() as u64, infohash(&torrent)?.parse()?);
    fs::write(&file, toml::to_string(&manifest)?)?;
    Ok(())
}
