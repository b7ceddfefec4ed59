// SPDX-License-Identifier: GPL-3.0-or-later
//! Metainfo over HTTPS: a machine with the certificate of an authority in its initramfs believes its server, once the
//! machine's clock is right.

use anyhow::{Result, ensure};
use bootspec::{Exit, Phase};
use boottorrent_tests::{
    BOOT, Cmd, Host, Lab, MULTI_USER, Server, Vm,
    assets::{self, APPEND, IMAGE, Suite},
    lives_on, tls,
};
use std::time::Duration;

/// Over plain HTTP everybody on the way could read it.
#[test]
fn a_token_from_elsewhere_is_taken_over_https_only() -> Result<()> {
    let lab = Lab::new("token")?;
    let settings = tls::settings(&lab)?;
    let catalogue = lab.dir().join("catalogue");
    assets::copy_catalogue(&assets::random(1)?, &catalogue)?;
    let server = Server::serve(&lab, &catalogue, &["--config", &settings])?;
    let token = server.boottorrent(&["token", "new"])?;
    let admin = lab.host("admin")?;
    let change = |host: &Host, url: &str| {
        let authorization = format!("Authorization: Bearer {}", token.trim());
        let put = Cmd::new("curl").args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "-X", "PUT"]);
        let put = put.args(["-H", "Content-Type: application/json"]);
        let put = put.args(["-d", "{\"set\":{\"image\":\"debian\"}}", "-H", &authorization, "--cacert"]);
        let put = put.arg(lab.dir().join("ca.crt")).arg(format!("{url}/api/v1/hosts/group:a"));
        host.run(&put)
    };
    let (plain, tls) = (format!("http://{}:6980", Lab::SERVER), format!("https://{}:6982", Lab::SERVER));
    let refused = change(&admin, &plain)?;
    ensure!(
        refused.contains("a token is not taken over plain HTTP, where everybody on the way can read it"),
        "{refused}"
    );
    ensure!(refused.ends_with("\n403"), "{refused}");
    ensure!(!server.boottorrent(&["host", "list"])?.contains("group:a"), "it was changed");
    for (host, url) in [(&admin, &tls), (lab.server(), &plain.replace(Lab::SERVER, "127.0.0.1"))] {
        let taken = change(host, url)?;
        ensure!(taken.ends_with("\n200"), "{url}: {taken}");
    }
    Ok(())
}

#[test]
fn a_machine_boots_by_https() -> Result<()> {
    let (image, lab) = (assets::image(Suite::own()?)?, Lab::new("https")?);
    let settings = tls::settings(&lab)?;
    let server = Server::start(&lab, &image, &["--config", &settings])?;
    // Nothing comes to the port for plain HTTP, not even announces.
    lab.server().filter("iif eth0 tcp dport 6980 drop")?;

    let initrd = tls::initrd(&lab, &image)?;
    let append = format!(
        "{} boot=boottorrent ip=dhcp boottorrent.server=https://{} boottorrent.image={IMAGE}",
        APPEND.replace("panic=-1", ""),
        Lab::SERVER
    );
    let machine = || Vm::direct("vm", &image.kernel(), &initrd, &append);
    let mut vm = machine().clock("2016-03-01T12:00:00").start(&lab)?;
    vm.expect(
        &format!("boottorrent: the certificate of {}:6982 is not valid at 2016-03-01T", Lab::SERVER),
        BOOT,
    )?;
    let end = format!("BootTorrent could not boot this machine (exit code {})", Exit::Metainfo.code());
    vm.expect(&end, Duration::from_secs(30))?;
    vm.expect("(initramfs)", Duration::from_secs(60))?;

    // The smaller agent says what it lacks.
    vm.send_line("/plain fetch --torrent https://10.77.0.1:6982/x --to /x; echo exit-$?-")?;
    vm.expect(
        "boottorrent: https://10.77.0.1:6982/x is HTTPS, which this agent does not speak: put the",
        BOOT,
    )?;
    vm.expect(&format!("exit-{}-", Exit::Metainfo.code()), Duration::from_secs(30))?;

    drop(vm);
    let mut vm = machine().start(&lab)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    lives_on(&mut vm)?;
    // Heartbeats come by HTTPS as well.
    let client = server.client(vm.mac())?;
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    Ok(())
}
