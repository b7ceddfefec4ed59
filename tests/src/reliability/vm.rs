// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole machines: their clocks, their memory, and the agent that stays.

use super::{RUNS_ON, Scenario, Seen, room::identical};
use crate::{
    BOOT, Lab, Server, Vm,
    assets::{self, Suite, TINY},
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

pub(super) const ALL: [Scenario; 3] = [
    Scenario::full(
        "clock-wrong",
        "a machine whose clock is ten years behind the server's, and one whose clock is ten years before it",
        clocks,
    ),
    Scenario::full(
        "agent-killed",
        "in a booted machine the agent is killed (`kill -9`); before that, the server has started again",
        agent_killed,
    ),
    Scenario::full("out-of-memory", "in a booted machine a program takes all memory", out_of_memory),
];

fn machine(
    name: &str,
    rtc: Option<&str>,
    test: impl FnOnce(&Lab, &mut Server, &mut Vm) -> Result<Seen>,
) -> Result<Seen> {
    let lab = Lab::new(&format!("fault-{name}"))?;
    let catalogue = assets::tiny(&assets::image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &[])?;
    let config = Vm::pxe("vm");
    let config = match rtc {
        Some(time) => config.clock(time),
        None => config,
    };
    let mut vm = config.start(&lab)?;
    vm.expect(TINY, BOOT)?;
    vm.login()?;
    test(&lab, &mut server, &mut vm).with_context(|| format!("the logs are in {}", lab.dir().display()))
}

fn clocks() -> Result<Seen> {
    for (rtc, year) in [("2016-03-01T12:00:00", "2016-"), ("2036-03-01T12:00:00", "2036-")] {
        machine(year, Some(rtc), |_, server, vm| {
            let date = vm.sh("cat /sys/class/rtc/rtc0/date")?;
            ensure!(date.starts_with(year), "its clock says {date}");
            let client = server.client(vm.mac())?;
            ensure!(client.progress.have == client.progress.total, "{client:#?}");
            still_runs(vm)?;
            identical(1, "")
        })?;
    }
    identical(2, "every piece verified, root mounted, and told to the server")
}

/// Read all of the root again, from the image.
fn still_runs(vm: &mut Vm) -> Result<()> {
    vm.sh("echo 3 >/proc/sys/vm/drop_caches; cat /usr/bin/* /usr/lib/x86_64-linux-gnu/* >/dev/null")?;
    Ok(())
}

const AGENT: &str = "grep -l ^@boottorrent /proc/[0-9]*/cmdline 2>/dev/null | tr -dc '0-9\\n'";

fn agent_killed() -> Result<Seen> {
    machine("killed-agent", None, |_, server, vm| {
        server.restart(&[])?;
        let begun = Instant::now();
        while server.client(vm.mac()).is_err() {
            ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "the server does not hear of the machine again"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        let heard = begun.elapsed().as_secs_f64();
        let pid = vm.sh(AGENT)?;
        ensure!(pid.parse::<u32>().is_ok(), "the agent is process '{pid}'");
        vm.sh(&format!("kill -9 {pid}; sleep 1"))?;
        ensure!(vm.sh(&format!("{AGENT}; :"))?.is_empty(), "it lives on");
        still_runs(vm)?;
        let note =
            format!("the server knew it again after {heard:.1} s; the image was read to its end afterwards");
        Ok(Seen { machines: 1, end: RUNS_ON.into(), note })
    })
}

fn out_of_memory() -> Result<Seen> {
    machine("memory", None, |_, _, vm| {
        let pid = vm.sh(AGENT)?;
        let score = vm.sh(&format!("cat /proc/{pid}/oom_score_adj"))?;
        ensure!(score == "1000", "oom_score_adj is {score}");
        // A variable that doubles until there is no more.
        vm.sh("sh -c 'a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done'; :")?;
        let killed = vm.sh("dmesg | grep -o 'Killed process [0-9]* ([^)]*)'")?;
        let names: Vec<&str> = killed.lines().filter_map(|l| l.split_once('(')).map(|(_, n)| n).collect();
        ensure!(names.first().is_some_and(|n| n.starts_with("boottorrent-age")), "killed: {killed}");
        still_runs(vm)?;
        let end = format!("the agent gives up seeding; {RUNS_ON}");
        Ok(Seen { machines: 1, end, note: "the kernel killed the agent first, then the program".into() })
    })
}
