// SPDX-License-Identifier: GPL-3.0-or-later
//! `make demo`: machines boot Debian over the network, and one can watch.
//!
//! Everything is real but the machines and the cables: dnsmasq, iPXE, `boottorrent serve`,
//! kernel, agent, systemd. `N=` says how many machines, `KEEP=1` leaves them running.

mod attach;
mod screen;
mod state;

use anyhow::{Context, Result, bail, ensure};
use bootspec::units::human_size;
use boottorrent_tests::{
    BOOT, Lab, Server, Timeline, Vm,
    assets::{self, Suite},
    server_binary, table,
};
use screen::Screen;
use state::State;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// RAM of a machine in MiB: the image, and room to run.
const MEMORY: u32 = 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => demo(),
        ["console", name] => attach::attach(name),
        _ => Err(anyhow::anyhow!("usage: demo | demo console MACHINE")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("demo: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a link of 100 Mbit/s has left beside phase one.
const UP: &str = "8MB/s";

fn demo() -> Result<()> {
    let begin = Instant::now();
    let count = wanted_machines()?;
    let keep = std::env::var("KEEP").is_ok_and(|k| !k.is_empty() && k != "0");

    let suite = Suite::own()?;
    println!("demo: a Debian {} root with systemd, from this machine's own package sources", suite.as_str());
    let image = assets::image(suite)?;
    let size = std::fs::metadata(image.payload())?.len();
    let lab = Lab::new("demo")?;
    // As the link of a server to a room is: narrow beside what machines have among each other.
    let mut server = Server::start(&lab, &image, &["--up", UP])?;
    println!(
        "demo: image of {}; dnsmasq and boottorrent serve run on {}, which sends the image at {UP} at most",
        human_size(size),
        Lab::SERVER
    );
    let machines = if count == 1 { "one machine is".into() } else { format!("{count} machines are") };
    println!("demo: {machines} switched on; consoles and logs are in {}", lab.dir().display());

    let mut machines = (1..=count)
        .map(|i| Vm::pxe(&format!("pc{i:02}")).memory(MEMORY).start(&lab))
        .collect::<Result<Vec<_>>>()?;
    watch(&mut machines, &mut server)?;
    report(&machines, &server, size)?;
    println!("demo: done in {:.0} s", begin.elapsed().as_secs_f64());
    if keep {
        stay(&mut machines, &lab)?;
    }
    Ok(())
}

/// `N=`, if this machine has the RAM for it.
fn wanted_machines() -> Result<u32> {
    let text = std::env::var("N").unwrap_or_else(|_| "3".into());
    let count: u32 = text.parse().with_context(|| format!("N={text} is not a number of machines"))?;
    ensure!((1..=64).contains(&count), "N={count}: from 1 to 64 machines");
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let available = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .context("no MemAvailable in /proc/meminfo")?;
    // QEMU itself, and the page cache that mksquashfs and the seeder live on.
    let need = u64::from(count) * u64::from(MEMORY + 150) * 1024 + (512 << 10);
    ensure!(
        need <= available,
        "{count} machines need {} of RAM, and {} are free: take a smaller N=",
        human_size(need * 1024),
        human_size(available * 1024)
    );
    Ok(count)
}

/// Until every machine is up: one line for each, once a second.
fn watch(machines: &mut [Vm], server: &mut Server) -> Result<()> {
    let mut screen = Screen::new();
    // Each machine more takes its share of the cores.
    let limit = BOOT * (1 + machines.len() as u32 / 4);
    let start = Instant::now();
    loop {
        server.check()?;
        let clients = server.clients()?;
        let states: Vec<State> = machines.iter().map(|vm| State::of(vm, &clients)).collect();
        screen.draw(start.elapsed(), &states);
        if states.iter().all(|s| s.up) {
            return Ok(());
        }
        for vm in machines.iter_mut() {
            if !vm.is_on()? || start.elapsed() > limit {
                bail!(
                    "machine {} did not come up; its console ends with\n{}",
                    vm.name(),
                    vm.console().last_lines(25)
                );
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Seconds in each phase, and where the bytes came from.
fn report(machines: &[Vm], server: &Server, size: u64) -> Result<()> {
    let mut head = vec!["seconds in".to_owned()];
    head.extend(Timeline::HEAD.map(str::to_owned));
    let mut seconds = vec![head];
    let mut bytes = vec![
        ["bytes from", "server", "server's HTTP", "other machines", "share"].map(str::to_owned).to_vec(),
    ];
    let (mut received, mut from_peers) = (0, 0);
    for vm in machines {
        let client = server.client(vm.mac())?;
        let mut row = vec![vm.name().to_owned()];
        let timeline = Timeline::of(&vm.console().lines(), Some(&client));
        row.extend(timeline.columns().map(|s| s.map_or("-".into(), |s| format!("{s:.1}"))));
        seconds.push(row);
        let p = &client.progress;
        (received, from_peers) = (received + p.received(), from_peers + p.from_peers);
        let mut row = vec![vm.name().to_owned()];
        row.extend([p.from_server, p.from_http, p.from_peers].map(human_size));
        row.push(format!("{:.0} %", percent(p.from_peers, p.received())));
        bytes.push(row);
    }
    println!("\n{}\n\n{}\n", table(&seconds).join("\n"), table(&bytes).join("\n"));
    println!(
        "demo: {} of {} ({:.0} %) came from other machines; the server sent {:.2} copies of the image to {} machines",
        human_size(from_peers),
        human_size(received),
        percent(from_peers, received),
        (received - from_peers) as f64 / size as f64,
        machines.len()
    );
    Ok(())
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// `KEEP=1`: leave all running until Ctrl-C, and say how to look around.
fn stay(machines: &mut [Vm], lab: &Lab) -> Result<()> {
    let me = std::env::current_exe().context("finding this program")?;
    println!("\nThe lab stays up until Ctrl-C. In another terminal, as root:\n");
    for vm in machines.iter() {
        // One at a time can be connected to a console, and so far that is us.
        vm.console().detach()?;
        println!("  {} console {:<22} its root shell (Ctrl-] leaves)", me.display(), vm.name());
    }
    let net = lab.server().netns().path();
    println!("  nsenter --net={net} {} status --watch", server_binary()?.display());
    println!("  nsenter --net={net}          a shell on the server's side of the network\n");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
