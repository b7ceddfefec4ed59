// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench`: measures, prints, and writes docs/benchmarks.md. Ratios are
//! of one run on one machine, medians of several rounds; only those mean anything elsewhere.

use anyhow::{Context, Result, ensure};
use bootspec::{Phase, Progress, units::human_size};
use boottorrent_tests::{
    BOOT, Background, Client, Cmd, Host, Lab, MULTI_USER, Server, Vm, agent_binary, assets, workspace,
};
use std::{
    fmt::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// The server's link in the swarm benchmark.
const LINK_MBIT: u64 = 200;
const MACHINES: [usize; 4] = [1, 2, 4, 8];
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let image = assets::image(assets::Suite::own()?)?;
    let mut page = String::from(HEAD);
    writeln!(page, "{}\n", machine()?)?;
    let path = workspace().join("docs/benchmarks.md");
    // Written after each part: an interrupted run has what it has measured.
    for part in [sizes, boots, swarms] {
        part(&mut page, &image)?;
        std::fs::write(&path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{page}\nwritten to {}", path.display());
    Ok(())
}

/// Three, or `$BENCH_ROUNDS`.
fn rounds() -> usize {
    std::env::var("BENCH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(3)
}

const HEAD: &str = "# Benchmarks\n\n<!-- Made by `make bench`. Do not edit. -->\n\n\
    Medians (of an even number of rounds: the worse of the middle two), contestants in turn. Machines are emulated in software (QEMU TCG), so seconds of a boot\n\
    compare with each other and not with a real machine's.\n\n";

fn machine() -> Result<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let run = |cmd: &Cmd| Ok::<_, anyhow::Error>(cmd.run()?.trim().to_owned());
    Ok(format!(
        "{}, {}, {} cores ({model}), load {} at the start, {} rounds.",
        run(&Cmd::new("date").args(["-u", "+%F"]))?,
        run(&Cmd::new("git").arg("-C").arg(workspace()).args(["log", "-1", "--format=commit %h"]))?,
        std::thread::available_parallelism()?,
        load.split(' ').next().unwrap_or("?"),
        rounds(),
    ))
}

/// Bytes that every machine gets before the swarm can help.
fn sizes(page: &mut String, image: &assets::Image) -> Result<()> {
    let agent = agent_binary()?;
    let packed = Cmd::new("zstd").args(["-19", "-q", "-c"]).arg(&agent).output()?.stdout.len();
    let manifest = assets::catalogue(image)?.join("images").join(assets::IMAGE).join("manifest.toml");
    let text = std::fs::read_to_string(&manifest)?;
    let number = |key: &str| -> Result<u64> {
        let section = text.split(&format!("[{key}]")).nth(1).context("a manifest with kernel and initrd")?;
        let line = section.lines().find_map(|l| l.strip_prefix("size = ")).context("a size")?;
        Ok(line.trim().parse()?)
    };
    let (kernel, initrd) = (number("kernel")?, number("initrd")?);
    let stripped = std::fs::metadata(&agent)?.len();
    page.push_str("## Sizes\n\n| what | bytes | must be |\n|---|---|---|\n");
    writeln!(page, "| agent, stripped | {stripped} | ≤ 6,500,000 |")?;
    writeln!(page, "| agent, zstd -19 | {packed} | ≤ 2,200,000 |")?;
    writeln!(
        page,
        "| phase one: kernel + initrd ({}) | {} ({kernel} + {initrd}) | |",
        image.suite().as_str(),
        kernel + initrd
    )?;
    Ok(())
}

/// Machines that boot by PXE to multi-user: seconds from the agent's start to its root.
fn boots(page: &mut String, image: &assets::Image) -> Result<()> {
    let (mut one, mut three) = (Boots::default(), Boots::default());
    for round in 1..=rounds() {
        for (n, boots) in [(1, &mut one), (3, &mut three)] {
            boot(image, n, boots).with_context(|| format!("round {round}, {n} machines"))?;
            eprintln!("boots, round {round}, {n} machines: {:?}", boots.seconds);
        }
    }
    page.push_str(
        "\n## Boots\n\n| machines | agent start to root mounted, median (worst) | switched on to multi-user | from other machines | agent's memory beyond the image, worst |\n|---|---|---|---|---|\n",
    );
    for (n, b) in [(1, &mut one), (3, &mut three)] {
        writeln!(
            page,
            "| {n} | {:.1} s ({:.1} s) | {:.0} s | {:.0} % | {} |",
            median(&mut b.seconds),
            b.seconds.last().copied().unwrap_or_default(),
            median(&mut b.multi_user),
            median(&mut b.share) * 100.0,
            human_size(b.memory)
        )?;
    }
    let limit = 48 << 20;
    ensure!(one.memory.max(three.memory) <= limit, "the agent's memory is over {}", human_size(limit));
    Ok(())
}

#[derive(Default)]
struct Boots {
    seconds: Vec<f64>,
    multi_user: Vec<f64>,
    share: Vec<f64>,
    memory: u64,
}

fn boot(image: &assets::Image, n: usize, into: &mut Boots) -> Result<()> {
    let lab = Lab::new("bench")?;
    let server = Server::start(&lab, image, &[])?;
    let mut vms = (0..n).map(|i| Vm::pxe(&format!("vm{i}")).start(&lab)).collect::<Result<Vec<_>>>()?;
    for vm in &mut vms {
        into.multi_user.push(vm.expect(MULTI_USER, BOOT)?.at.as_secs_f64());
    }
    // Memory is told ten seconds after the boot.
    std::thread::sleep(Duration::from_secs(12));
    let clients: Vec<Client> = vms.iter().map(|vm| server.client(vm.mac())).collect::<Result<_>>()?;
    for c in &clients {
        let root = c.phases.iter().find(|p| p.phase == Phase::Seed).context("a machine without a root")?;
        into.seconds.push(root.at);
        into.memory = into.memory.max(c.memory);
    }
    let sum = |of: fn(&Progress) -> u64| clients.iter().map(|c| of(&c.progress)).sum::<u64>() as f64;
    into.share.push(sum(|p| p.from_peers) / sum(Progress::received));
    Ok(())
}

/// Many machines as processes in namespaces, behind one slow server link.
fn swarms(page: &mut String, image: &assets::Image) -> Result<()> {
    let size = std::fs::metadata(image.payload())?.len();
    let bound = size as f64 * 8.0 / (LINK_MBIT as f64 * 1e6);
    writeln!(
        page,
        "\n## Swarm\n\n{} over a server link of {LINK_MBIT} Mbit/s (tbf), machines not limited, all started together; \
         time of the last one. Bound (size / link): {bound:.1} s.\n\n\
         | machines | HTTP (curl, same server) | BootTorrent | × bound | copies sent by the server | received / size |\n|---|---|---|---|---|---|",
        human_size(size)
    )?;
    for n in MACHINES {
        let (mut http, mut ours) = (Vec::new(), Vec::new());
        let (mut copies, mut waste) = (Vec::new(), Vec::new());
        for round in 1..=rounds() {
            let all = race(image, n, &agent)?;
            let sum =
                |of: fn(&Progress) -> u64| all.progress.iter().map(of).sum::<u64>() as f64 / size as f64;
            copies.push(sum(|p| p.from_server + p.from_http));
            waste.push(sum(Progress::received) / n as f64);
            ours.push(all.seconds);
            http.push(race(image, n, &curl)?.seconds);
            eprintln!("swarm of {n}, round {round}: {:.1} s, HTTP {:.1} s", ours[round - 1], http[round - 1]);
        }
        let time = median(&mut ours);
        writeln!(
            page,
            "| {n} | {:.1} s | {time:.1} s | {:.2} | {:.2} | {:.2} |",
            median(&mut http),
            time / bound,
            median(&mut copies),
            median(&mut waste)
        )?;
    }
    Ok(())
}

struct Race {
    seconds: f64,
    progress: Vec<Progress>,
}

type Start = dyn Fn(&Host, &str, &PathBuf) -> Result<Background>;

fn agent(host: &Host, name: &str, to: &PathBuf) -> Result<Background> {
    let url = format!("http://{}:6980/images/{name}/{name}.torrent", Lab::SERVER, name = assets::IMAGE);
    let cmd = Cmd::new(agent_binary()?)
        .args(["fetch", "--json", "--seed", "forever", "--torrent", &url, "--to"])
        .arg(to);
    host.spawn(name, &cmd)
}

fn curl(host: &Host, name: &str, to: &PathBuf) -> Result<Background> {
    let url = format!("http://{}:6980/images/{}/payload", Lab::SERVER, assets::IMAGE);
    let part = to.with_extension("part");
    let script = r#"curl -sS -o "$1" "$3" && mv "$1" "$2" && exec sleep 600"#;
    host.spawn(name, &Cmd::new("sh").args(["-c", script, "sh"]).arg(part).arg(to).arg(url))
}

/// All at once; over when the last file has its name.
fn race(image: &assets::Image, n: usize, start: &Start) -> Result<Race> {
    let lab = Lab::new("race")?;
    let _server = Server::start(&lab, image, &[])?;
    // The seeder hashes first what it seeds.
    std::thread::sleep(Duration::from_secs(3));
    let shape = format!("qdisc add dev eth0 root tbf rate {LINK_MBIT}mbit burst 256k latency 50ms");
    lab.server().run(&Cmd::new("tc").args(shape.split(' ')))?;
    let hosts = (0..n).map(|i| lab.host(&format!("h{i}"))).collect::<Result<Vec<_>>>()?;
    let dir = tempdir(&lab)?;
    let begin = Instant::now();
    let mut running = Vec::new();
    for (i, host) in hosts.iter().enumerate() {
        let to = dir.join(format!("{i}"));
        running.push((start(host, &format!("h{i}"), &to)?, to));
    }
    while !running.iter().all(|(_, to)| to.exists()) {
        ensure!(begin.elapsed() < LIMIT, "a download did not end, see {}", lab.dir().display());
        running.iter_mut().try_for_each(|(process, _)| process.check())?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = begin.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(300));
    let said = |b: &Background| String::from_utf8_lossy(&b.output()).into_owned();
    let progress = running
        .iter()
        .filter_map(|(b, _)| said(b).lines().find_map(|l| serde_json::from_str(l).ok()))
        .collect();
    drop(running);
    std::fs::remove_dir_all(dir)?;
    Ok(Race { seconds, progress })
}

/// Memory, so that no disk is measured.
fn tempdir(lab: &Lab) -> Result<PathBuf> {
    let dir = PathBuf::from("/dev/shm").join(lab.dir().file_name().context("a lab's folder")?);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
