// SPDX-License-Identifier: GPL-3.0-or-later
//! The packages, on clean Debian machines: docs/quickstart.md as it is written, from `apt install` to
//! two machines that have booted; upgrade, removal and purge; what lintian says.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Client, Cmd, Container, Host, Lab, Vm,
    assets::{self, Suite},
    doc,
    hostile::attack::{self, Attack},
    mirror, workspace,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

#[test]
#[ignore = "an image built by hand and two machines, six minutes: make test-full"]
fn a_stranger_follows_the_quickstart() -> Result<()> {
    stranger("deb", Suite::own()?)
}

#[test]
#[ignore = "four minutes for the same with the other release: make test-full"]
fn a_stranger_with_the_other_release() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(|s| stranger("deb-other", s))
}

fn stranger(name: &str, suite: Suite) -> Result<()> {
    let lab = Lab::new(name)?;
    let test = || -> Result<()> {
        let _router = router(&lab)?;
        let machine = machine(&lab, suite)?;
        let before = ours(&machine)?;
        ensure!(before.is_empty(), "not clean: {before}");
        quickstart(&lab, &machine)?;
        upgrade(&machine)
    };
    test().with_context(|| format!("the logs are in {}", lab.dir().display()))
}

/// The machine that gives addresses and knows nothing of us.
fn router(lab: &Lab) -> Result<(Host, boottorrent_tests::Background)> {
    let host = lab.host("router")?;
    let cmd = Cmd::new("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--user=root",
            "--group=root",
            "--log-facility=-",
            "--port=0",
            "--pid-file=",
        ])
        .args(["--conf-file=/dev/null", "--interface=eth0", "--dhcp-range=10.77.0.100,10.77.0.200,12h"])
        .arg(format!("--dhcp-leasefile={}", lab.dir().join("leases").display()));
    let dnsmasq = host.spawn("router", &cmd)?;
    Ok((host, dnsmasq))
}

/// A clean machine in the server's place, with the packages in root's home.
fn machine(lab: &Lab, suite: Suite) -> Result<Container> {
    let root = lab.dir().join("root");
    Cmd::new("cp").args(["-a", "--no-target-directory"]).arg(assets::clean(suite)?).arg(&root).run()?;
    fs::write(root.join("etc/hostname"), "server\n")?;
    // Somebody who reads would type y.
    fs::write(root.join("etc/apt/apt.conf.d/90lab"), "APT::Get::Assume-Yes \"true\";\n")?;
    for package in packages()? {
        fs::copy(&package, root.join("root").join(package.file_name().context("a package's name")?))?;
    }
    let proxy = mirror::proxy(lab.server())?;
    Container::start(lab.server(), &root, &[("http_proxy", &proxy), ("DEBIAN_FRONTEND", "noninteractive")])
}

/// What `make deb` has made.
fn packages() -> Result<Vec<PathBuf>> {
    let dir = workspace().join("target/deb");
    let entries = fs::read_dir(&dir).with_context(|| format!("{}: run `make deb` first", dir.display()))?;
    let mut all: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "deb"));
    ensure!(all.len() == 5, "not the five packages: {all:?}");
    all.sort();
    Ok(all)
}

/// Every command of the document in its order; machines are switched on where it says so.
fn quickstart(lab: &Lab, machine: &Container) -> Result<()> {
    let text = fs::read_to_string(workspace().join("docs/quickstart.md"))?;
    let blocks = doc::commands(&text);
    let (boot, rid) = ("4. Boot, and watch", "Uninstall");
    let until_booted: usize =
        blocks.iter().filter(|b| b.heading != rid).map(|b| b.text.replace("\\\n", "").lines().count()).sum();
    ensure!(until_booted <= 10, "the first machine takes {until_booted} commands");
    ensure!(blocks.iter().any(|b| b.heading == boot) && blocks.last().is_some_and(|b| b.heading == rid));
    for (n, block) in blocks.iter().enumerate() {
        let began = Instant::now();
        if block.heading == boot {
            hardened(machine)?;
            reloaded(machine)?;
            bounded(lab, machine)?;
            switch_on(lab, machine)?;
        }
        machine
            .sh_logged(&format!("quickstart-{n}"), &block.text)
            .with_context(|| format!("docs/quickstart.md, line {}", block.line))?;
        println!("line {}: {:.1} s", block.line, began.elapsed().as_secs_f32());
    }
    // Purged: what is left is the image, which the admin made.
    let left = ours(machine)?;
    let made = |p: &str| p.starts_with("/var/lib/boottorrent") || p.starts_with("/root/");
    ensure!(left.lines().all(made), "left after the purge:\n{left}");
    ensure!(left.contains("/var/lib/boottorrent/images/lab"), "the image is gone:\n{left}");
    machine.sh("rm -r /var/lib/boottorrent /root/lab.tar").map(drop)
}

/// Two machines boot what the document has made.
fn switch_on(lab: &Lab, machine: &Container) -> Result<()> {
    let on = |name| Vm::pxe(name).start(lab);
    let mut machines = [on("one")?, on("two")?];
    let began = Instant::now();
    // The image says its last words on its screen, which nobody sees here; the server knows.
    loop {
        let text = machine.sh("boottorrent status --json")?;
        let clients: Vec<Client> = serde_json::from_str(&text).with_context(|| format!("reading {text}"))?;
        if clients.iter().filter(|c| c.phase == bootspec::Phase::Seed).count() == 2 {
            break;
        }
        if began.elapsed() > BOOT {
            for vm in &mut machines {
                vm.expect("never said", Duration::ZERO)?;
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for vm in &mut machines {
        vm.expect("login:", BOOT)?;
    }
    Ok(())
}

/// Settings that cannot be used never take the running service down; those that can be used count at once.
fn reloaded(machine: &Container) -> Result<()> {
    let pid = || machine.sh("systemctl show boottorrent-server -p MainPID --value");
    let before = pid()?;
    let file = "/etc/boottorrent/server.toml";
    let refused = machine.sh(&format!(
        "cp {file} /root/server.toml; sed -i '/^.boot.$/a nonsense = \"x=1\"' {file}
        ! systemctl reload boottorrent-server && systemctl is-active boottorrent-server
        journalctl --no-pager -u boottorrent-server | grep -c 'unknown key .nonsense.'"
    ))?;
    ensure!(refused.starts_with("active\n") && pid()? == before, "{refused}");
    let taken = machine.sh(&format!(
        "cp /root/server.toml {file}; sed -i '/^.boot.$/a append = \"reloaded=1\"' {file}
        systemctl reload boottorrent-server && sleep 1
        ask='GET /boot.ipxe?image=lab HTTP/1.0\\r\\n\\r\\n'
        bash -c 'exec 3<>/dev/tcp/127.0.0.1/6980; printf \"$0\" >&3; cat <&3' \"$ask\" | grep -c reloaded=1
        cp /root/server.toml {file}; rm /root/server.toml; systemctl reload boottorrent-server"
    ))?;
    ensure!(taken.trim() != "0" && pid()? == before, "{taken}");
    Ok(())
}

/// The daemon runs as the packages say: unprivileged, hardened, and told systemd that it is ready.
fn hardened(machine: &Container) -> Result<()> {
    let show = "systemctl show boottorrent-server -p Type -p User -p ActiveState -p UnitFileState";
    let state = machine.sh(show)?;
    for word in ["Type=notify", "User=_boottorrent", "ActiveState=active", "UnitFileState=enabled"] {
        ensure!(state.contains(word), "{word} is not in {state}");
    }
    let exposure = machine.sh("systemd-analyze security --no-pager boottorrent-server | tail -n 1")?;
    let figure = exposure.split_whitespace().filter_map(|w| w.parse::<f32>().ok()).next();
    println!("{}", exposure.trim());
    ensure!(figure.is_some_and(|f| f <= 2.0), "{exposure}");
    // What root added, the daemon reads: it looks every two seconds.
    let journal =
        "for i in $(seq 20); do journalctl --no-pager -u boottorrent-server | grep -q 'image lab is' && break
        sleep 1; done; journalctl --no-pager -u boottorrent-server";
    let journal = machine.sh(journal)?;
    ensure!(journal.contains("image lab is served") && !journal.contains("cannot"), "{journal}");
    Ok(())
}

/// systemd bounds it, and a host that makes up machines does not make it reach the bound: shared/cases/hostile.md, A2.
fn bounded(lab: &Lab, machine: &Container) -> Result<()> {
    let bounds = machine.sh("systemctl show boottorrent-server -p MemoryMax -p TasksMax --value")?;
    ensure!(bounds.split_whitespace().eq(["2147483648", "1024"]), "{bounds}");
    let server = "10.77.0.1:6980".parse().expect("an address");
    let attack = Attack::start(lab.host("liar")?, 16, move |a| attack::heartbeats(a, server));
    std::thread::sleep(Duration::from_secs(8));
    ensure!(attack.acted(), "the attack does nothing, so this shows nothing");
    // (This machine's own control groups are of version 1, so those of the container count nothing.)
    let pid = "$(systemctl show boottorrent-server -p MainPID --value)";
    let now = machine.sh(&format!(
        "grep RssAnon /proc/{pid}/status; ls /proc/{pid}/task | wc -l; systemctl show boottorrent-server -p NRestarts"
    ))?;
    println!("with 4096 machines that there are not: {}", now.replace('\n', ", "));
    let anon = now.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    ensure!(anon.is_some_and(|kib| kib < 150 << 10) && now.trim_end().ends_with("NRestarts=0"), "{now}");
    Ok(())
}

/// Install what an older build made, change a setting, upgrade, remove, purge.
fn upgrade(machine: &Container) -> Result<()> {
    let old = machine.root().join("root/old");
    fs::create_dir(&old)?;
    for package in packages()? {
        older(&package, &old)?;
    }
    let set = "apt-get install ./old/boottorrent-agent_*.deb ./old/boottorrent-server_*.deb
        echo '[tracker]\ninterval = \"20s\"' >>/etc/boottorrent/server.toml
        systemctl restart boottorrent-server
        touch /etc/boottorrent/keys/mine.key";
    machine.sh_logged("old", set)?;
    // Both have changed the settings: dpkg would ask, and this is its default answer.
    let upgrade = "apt-get -o Dpkg::Options::=--force-confold install ./boottorrent-agent_*.deb ./boottorrent-server_*.deb
        systemctl is-active boottorrent-server";
    machine.sh_logged("upgrade", upgrade)?;
    let version = machine.sh("dpkg-query -W -f '${Version} ' boottorrent-agent boottorrent-server")?;
    ensure!(!version.contains('~'), "{version}");
    let setting = machine.sh("tail -n 1 /etc/boottorrent/server.toml; ls /etc/boottorrent")?;
    ensure!(setting.contains("interval = \"20s\"") && !setting.contains("dpkg-old"), "{setting}");

    machine.sh_logged("remove", "apt-get remove boottorrent-agent boottorrent-server")?;
    let kept = machine.sh("cat /etc/boottorrent/server.toml; ! systemctl is-active boottorrent-server")?;
    ensure!(kept.contains("interval = \"20s\""), "a removal took the settings");
    machine.sh_logged("purge", "apt-get purge boottorrent-agent boottorrent-server")?;
    let left = ours(machine)?;
    let (key, rest): (Vec<_>, Vec<_>) =
        left.lines().filter(|l| !l.starts_with("/root/")).partition(|l| l.starts_with("/etc/boottorrent"));
    ensure!(rest.is_empty() && key.contains(&"/etc/boottorrent/keys/mine.key"), "left:\n{left}");
    Ok(())
}

/// The same package with a lower version, and settings of its time.
fn older(package: &Path, to: &Path) -> Result<()> {
    let tree = to.join("tree");
    Cmd::new("dpkg-deb").arg("-R").args([package, &tree]).run()?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text.lines().find_map(|l| l.strip_prefix("Version: ")).context("a version")?.to_owned();
    fs::write(&control, text.replace(&version, &format!("{version}~old")))?;
    let settings = tree.join("etc/boottorrent/server.toml");
    if settings.exists() {
        fs::write(settings, "# Nothing is set.\n")?;
    }
    // The sums of a package that was changed by hand.
    let _ = fs::remove_file(tree.join("DEBIAN/md5sums"));
    Cmd::new("dpkg-deb").args(["-b", "--root-owner-group", "-Znone"]).args([&tree, to]).run()?;
    fs::remove_dir_all(tree).context("tidying up")
}

/// Everything on a machine that is called like us: files, users, units, packages.
fn ours(machine: &Container) -> Result<String> {
    machine.sh(
        "find / -xdev -iname '*boottorrent*' ! -path '/root/*.deb' ! -path '/proc/*' ! -path '/root/old*'
         find /etc/boottorrent /var/lib/boottorrent -mindepth 1 2>/dev/null || true
         grep boottorrent /etc/passwd /etc/group /etc/shadow || true
         dpkg -l | grep boottorrent || true",
    )
}

#[test]
#[ignore = "installs QEMU twice: make test-full"]
fn the_packages_own_tests_pass_in_both_releases() -> Result<()> {
    Suite::ALL.into_iter().try_for_each(autopkgtest)
}

/// What autopkgtest would do on a testbed of its own: packages and dependencies, then debian/tests. The trigger
/// makes the initrd; purged, the initrd is as it was.
fn autopkgtest(suite: Suite) -> Result<()> {
    // A folder for each: one root is not to be copied over the other.
    let lab = Lab::new(&format!("autopkgtest-{}", suite.as_str()))?;
    let test = || -> Result<()> {
        let machine = machine(&lab, suite)?;
        let tests = workspace().join("debian/tests");
        Cmd::new("cp").arg("-a").arg(&tests).arg(machine.root().join("root/tests")).run()?;
        let control = fs::read_to_string(tests.join("control"))?.replace(",\n", ", ");
        let depends = control.lines().filter_map(|l| l.strip_prefix("Depends:")).flat_map(|l| l.split(','));
        let words: Vec<_> = depends
            .map(str::trim)
            .filter(|d| !d.starts_with("boottorrent"))
            .map(|d| d.replace("linux-image-generic", "linux-image-amd64"))
            .collect();
        let install = format!("apt-get update\napt-get install --no-install-recommends {}", words.join(" "));
        machine.sh_logged("depends", &install)?;
        machine.sh_logged(
            "packages",
            "apt-get install ./boottorrent-agent_*.deb ./boottorrent-server_*.deb ./boottorrent-initramfs-tools_*.deb",
        )?;
        for name in ["smoke", "power", "boot"] {
            machine.sh_logged(name, &format!("tests/{name}"))?;
        }
        machine.sh_logged("purge", "apt-get purge boottorrent-agent")?;
        let left =
            machine.sh("for i in /boot/initrd.img-*; do lsinitramfs $i | grep boottorrent || true; done")?;
        ensure!(left.is_empty(), "left in the initrd: {left}");
        Ok(())
    };
    test().with_context(|| format!("{}: the logs are in {}", suite.as_str(), lab.dir().display()))
}

#[test]
fn lintian_has_nothing_to_say() -> Result<()> {
    let changes = workspace().join("target/deb/boottorrent.changes");
    let log = workspace().join("target/deb/lintian.log");
    Cmd::new("lintian")
        .args(["--pedantic", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .arg(changes)
        .run_logged(Stdio::null(), &log)
}
