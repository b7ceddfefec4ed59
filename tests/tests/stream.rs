// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.target=stream`: the root is in use before the image is complete.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Background, Cmd, Host, Lab, MULTI_USER, Server, Vm, agent_binary,
    assets::{self, APPEND, IMAGE, Suite},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Much slower than what mounting and reading take.
const LINK: u32 = 60;
const LIMIT: Duration = Duration::from_secs(150);

/// On this host's own kernel, in a network and a mount namespace of their own: boot, and read every file while it comes;
/// kill the agent when all is here, and read them again. At each of $PERCENT of the image, $KILL is killed besides. In the log
/// are words that a test waits for.
const MACHINE: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir /run/root /run/whole
mount -o loop,ro "$PAYLOAD" /run/whole
printf 'boottorrent.server=10.77.0.1 boottorrent.image=%s boottorrent.target=stream' "$IMAGE" >/run/line
"$AGENT" boot --root-mnt /run/root --cmdline-file /run/line --kmsg /dev/null --port 7101
lower=/run/boottorrent/lower
loop=$(findmnt -no SOURCE $lower)
below() { cat "/sys/block/${loop#/dev/}/loop/backing_file"; }
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
# Processes of ours whose command line begins so.
ours() { pgrep --ns $$ --nslist mnt -f "^$1"; }
slay() {
	for who; do
		case $who in
		# It lives for a tenth of a second.
		changer)
			until pids=$(ours ./boottorrent-agent.change); do
				[ "$(below)" != /run/boottorrent/store/payload ] || return 0
			done
			;;
		*) pids=$(ours "@boottorrent-$who") ;;
		esac
		kill -9 $pids && echo "SLAIN $who"
	done
}
percent() { "$AGENT" status --json | sed 's/.*"have":\([0-9]*\).*"total":\([0-9]*\).*/\1 \2/' | awk '{ print int($1 * 100 / $2) }'; }
echo "ROOT $("$AGENT" status --json)"
for at in $PERCENT; do
	until now=$(percent) && [ "${now:-0}" -ge "$at" ]; do sleep 0.1; done
	echo "AT $at"
	slay $KILL
done 2>/dev/null &
sums $lower >/run/streamed
echo "READ $(below)"
until [ "$(below)" = /run/boottorrent/store/payload ]; do sleep 0.2; done
echo CHANGED
wait
until "$AGENT" status --json | grep -q '"phase":"booted"'; do sleep 0.2; done
sums /run/whole >/run/sums
cmp /run/sums /run/streamed
while ours @boottorrent-keeper >/dev/null; do sleep 0.2; done
agent=$(ours @boottorrent-agent)
echo "KILLED at $(cat "/proc/$agent/oom_score_adj")"
kill -9 "$agent"
sleep 1
grep -q fuse /proc/mounts && exit 1
blockdev --flushbufs "$loop"
sums $lower >/run/again
cmp /run/sums /run/again
cat /run/boottorrent/agent.log
echo "SAME $(wc -l </run/sums)"
"#;

struct Machine {
    /// What runs in it ends with it.
    _host: Host,
    running: Background,
}

impl Machine {
    fn start(lab: &Lab, server: &Server) -> Result<Machine> {
        Self::of(lab, &server.payload(), IMAGE, ("", ""))
    }

    /// One that boots another image. `hunted`: these are killed at such percents of it.
    fn of(lab: &Lab, payload: &Path, image: &str, hunted: (&str, &str)) -> Result<Machine> {
        let host = lab.host("reader")?;
        let cmd = Cmd::new("unshare").args(["--mount", "--kill-child", "sh", "-c", MACHINE]);
        let cmd = cmd.env("AGENT", agent_binary()?).env("PAYLOAD", payload).env("IMAGE", image);
        let cmd = cmd.env("KILL", hunted.0).env("PERCENT", hunted.1);
        Ok(Machine { running: host.spawn("reader", &cmd)?, _host: host })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.running.output()).into_owned()
    }

    /// Wait for a word, and return the rest of its line.
    fn expect(&mut self, word: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if let Some(line) = said.lines().find_map(|l| l.strip_prefix(word)) {
                return Ok(line.trim().to_owned());
            }
            ensure!(begun.elapsed() < LIMIT, "no '{word}' after {LIMIT:?}: {said}");
            self.running.check().with_context(|| format!("before '{word}': {}", self.said()))?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn catalogue() -> Result<PathBuf> {
    assets::catalogue(&assets::image(Suite::own()?)?)
}

#[test]
fn files_are_read_while_they_come_and_when_the_agent_is_gone() -> Result<()> {
    let lab = Lab::new("stream")?;
    let server = Server::of(&lab, &catalogue()?, &[])?;
    lab.limit(lab.server(), LINK)?;
    let begun = Instant::now();
    let mut machine = Machine::start(&lab, &server)?;
    let beat: bootspec::Heartbeat = serde_json::from_str(&machine.expect("ROOT ")?)?;
    let root = begun.elapsed();
    ensure!(beat.phase == Phase::Streaming, "{beat:?}");
    let had = beat.progress.have;
    ensure!(had * 2 < beat.progress.total, "the root was late: {:?}", beat.progress);
    machine.expect("CHANGED")?;
    let complete = begun.elapsed();
    ensure!(machine.expect("KILLED at")? == "1000");
    let files = machine.expect("SAME")?;
    println!("root after {root:.1?}, complete after {complete:.1?}, {files} files the same");
    Ok(())
}

#[test]
#[ignore = "a minute of silence, and half a minute of download: make test-full"]
fn readers_wait_while_nobody_is_there() -> Result<()> {
    let lab = Lab::new("stream-alone")?;
    let mut server = Server::of(&lab, &catalogue()?, &[])?;
    lab.limit(lab.server(), LINK)?;
    let mut machine = Machine::of(&lab, &server.payload(), IMAGE, ("", "30"))?;
    machine.expect("AT 30")?;
    server.stop();
    std::thread::sleep(Duration::from_secs(60));
    ensure!(!machine.said().contains("READ "), "it was read without anybody: {}", machine.said());
    server.restart(&[])?;
    machine.expect("SAME")?;
    let said = machine.said();
    ensure!(said.contains("for a piece, 0 peers: it goes on when somebody sends it"), "{said}");
    fs::metadata(server.payload()).map(drop).context("the image")
}

/// On this host's kernel. ext4 would be shut down by the change, so it is waited for.
#[test]
#[ignore = "two more file systems to pack and to fetch: make test-full"]
fn erofs_is_read_while_it_comes_and_ext4_says_why_not() -> Result<()> {
    let image = assets::image(Suite::own()?)?;
    let folder = assets::small_roots(&image)?;
    let lab = Lab::new("stream-formats")?;
    let mut server = Server::of(&lab, &catalogue()?, &[])?;
    let files = |name: &str| folder.join(name);
    for format in ["erofs", "ext4"] {
        let [payload, kernel, initrd] =
            [&files(format), &image.kernel(), &image.initrd()].map(|p| p.to_string_lossy().into_owned());
        let words = ["image", "add", &payload, "--name", format, "--kernel", &kernel, "--initrd", &initrd];
        server.boottorrent(&words)?;
    }
    server.restart(&[])?;
    lab.limit(lab.server(), LINK)?;
    let mut erofs = Machine::of(&lab, &files("erofs"), "erofs", ("agent", "40"))?;
    ensure!(erofs.expect("ROOT ")?.contains("\"phase\":\"streaming\""), "{}", erofs.said());
    erofs.expect("SAME")?;
    ensure!(erofs.said().contains("SLAIN agent"), "{}", erofs.said());
    drop(erofs);
    lab.unlimit(lab.server())?;
    let mut ext4 = Machine::of(&lab, &files("ext4"), "ext4", ("", ""))?;
    ensure!(ext4.expect("ROOT ")?.contains("\"phase\":\"booted\""), "{}", ext4.said());
    ext4.expect("SAME")?;
    let why = "boottorrent.target=stream is ram here: ext4 does not live on when the file below it changes";
    ensure!(ext4.said().contains(why), "{}", ext4.said());
    Ok(())
}

/// The agent, its keeper, or first the one and then the other, as often as the image is so far.
fn hunted(lab: &str, whom: &str, percent: &str) -> Result<String> {
    let lab = Lab::new(lab)?;
    let server = Server::of(&lab, &catalogue()?, &[])?;
    lab.limit(lab.server(), LINK)?;
    let mut machine = Machine::of(&lab, &server.payload(), IMAGE, (whom, percent))?;
    machine.expect("SAME")?;
    Ok(machine.said())
}

#[test]
fn a_killed_agent_is_started_again_and_goes_on() -> Result<()> {
    let said = hunted("stream-kill", "agent", "20 50 90")?;
    let again = said.matches("taking the place of an agent that has died").count();
    ensure!(again == 3 && said.matches("SLAIN agent").count() == 3, "{again}: {said}");
    Ok(())
}

#[test]
#[ignore = "a minute more of what the kills of the agent show: make test-full"]
fn the_agent_and_its_keeper_start_each_other_again() -> Result<()> {
    let said = hunted("stream-keeper", "keeper agent", "25 60")?;
    let (keepers, agents) = (
        said.matches("the agent's keeper has died before the image is complete: starting another").count(),
        said.matches("taking the place of an agent that has died").count(),
    );
    ensure!((keepers, agents) == (2, 2), "{keepers} {agents}: {said}");
    Ok(())
}

/// Whoever is killed while the loop device gets the plain file: the root is read on.
#[test]
#[ignore = "three downloads: make test-full"]
fn a_kill_in_the_middle_of_the_change() -> Result<()> {
    for whom in ["changer", "changer agent", "changer keeper agent"] {
        let said = hunted("stream-change", whom, "97")?;
        println!("{whom}: {} slain", said.matches("SLAIN").count());
    }
    Ok(())
}

fn machine(lab: &Lab, link: u32) -> Result<Vm> {
    let image = assets::image(Suite::own()?)?;
    let words = "boot=boottorrent ip=dhcp boottorrent.image=debian boottorrent.target=stream";
    let vm = Vm::direct("vm", &image.kernel(), &image.initrd(), &format!("{APPEND} {words}"));
    lab.limit(lab.server(), link)?;
    vm.start(lab)
}

/// The agent, not its keeper. There is no pkill.
const KILL: &str = "kill -9 $(grep -al '^@boottorrent-agent' /proc/[0-9]*/cmdline | cut -d/ -f3)";

/// The file below the root's loop device.
const BELOW: &str = "cat /sys/block/loop*/loop/backing_file";

#[test]
fn a_machine_is_at_its_login_before_the_image_is_there() -> Result<()> {
    Server::in_lab("stream-vm", &catalogue()?, &[], |lab, server| {
        let mut vm = machine(lab, 10)?;
        let login = vm.expect(MULTI_USER, BOOT)?.at;
        let client = server.client(vm.mac())?;
        let (phase, percent) = (client.phase, client.progress.percent());
        ensure!(phase == Phase::Streaming && percent < 90.0, "{client:?}");
        vm.login()?;
        ensure!(!vm.sh(BELOW)?.contains("/store/payload"), "the root is complete already");
        // Where its initramfs was nothing is left.
        vm.sh(KILL)?;
        vm.sh("echo 3 >/proc/sys/vm/drop_caches; ls -lR /etc >/dev/null")?;
        vm.sh("until grep -q 'taking the place' /run/boottorrent/agent.log; do sleep 0.3; done")?;
        lab.unlimit(lab.server())?;
        let begun = Instant::now();
        while server.client(vm.mac())?.phase != Phase::Seed {
            ensure!(begun.elapsed() < LIMIT, "{:?}", server.client(vm.mac())?);
            std::thread::sleep(Duration::from_millis(200));
        }
        ensure!(vm.sh(BELOW)?.ends_with("/store/payload"));
        println!("multi-user after {login:.0?}, with {percent:.0} % of the image");
        vm.sh(KILL)?;
        vm.sh("sleep 1; echo 3 >/proc/sys/vm/drop_caches")?;
        ensure!(vm.sh("systemctl is-system-running")? == "running");
        ensure!(vm.sh("find /usr -xdev -type f -exec cat {} + | wc -c")?.parse::<u64>()? > 100 << 20);
        Ok(())
    })
}

/// Neither systemd nor the kernel waits for what will not come.
#[test]
fn power_off_while_pieces_are_missing() -> Result<()> {
    Server::in_lab("stream-off", &catalogue()?, &[], |lab, server| {
        let mut vm = machine(lab, 10)?;
        vm.expect(MULTI_USER, BOOT)?;
        vm.login()?;
        let client = server.client(vm.mac())?;
        ensure!(client.phase == Phase::Streaming, "{client:?}");
        lab.unlimit(lab.server())?;
        lab.limit(lab.server(), 4)?;
        vm.send_line("systemctl poweroff")?;
        vm.wait_off(BOOT)?;
        let client = server.client(vm.mac())?;
        println!("off with {:.0} % of the image", client.progress.percent());
        ensure!(client.phase == Phase::Streaming, "{client:?}");
        Ok(())
    })
}

/// Such an initrd has the kernel module for it when the machine's parameters ask for it.
#[test]
#[ignore = "one more boot: make test-full"]
fn with_an_initrd_that_the_server_makes() -> Result<()> {
    let catalogue = assets::own_initrd_catalogue(&assets::image(Suite::own()?)?)?;
    Server::in_lab("stream-own", &catalogue, &[], |lab, server| {
        let append = format!("{APPEND} boottorrent.target=stream");
        server.boottorrent(&["image", "set", IMAGE, "--append", &append])?;
        let mut vm = Vm::pxe("vm").start(lab)?;
        vm.expect("Linux version", BOOT)?;
        lab.limit(lab.server(), 10)?;
        vm.expect(MULTI_USER, BOOT)?;
        let client = server.client(vm.mac())?;
        println!("multi-user with {:.0} % of the image", client.progress.percent());
        ensure!(client.phase == Phase::Streaming, "{client:?}");
        Ok(())
    })
}
