// SPDX-License-Identifier: GPL-3.0-or-later
//! What many machines cost the server that watches them: made-up ones report once a second over loopback, while
//! a page listens and a screen is drawn.
//!
//! `cargo build --release -p boottorrent-server && cargo run --release -p boottorrent-server --example load -- [MACHINES [SECONDS]]`

use anyhow::{Context, Result, ensure};
use bootspec::{Heartbeat, Phase, Progress};
use boottorrent_server::{
    api::Api,
    clients::Client,
    tui::{
        draw::draw,
        model::{Model, ServerLink, ServerSnapshot, View},
        screen::{Look, clean},
        update::{Message, update},
    },
    watch::stats::Stats,
};
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: u64| args.next().map_or(Ok(usual), |a| a.parse()).context("reading a number");
    let (machines, seconds) = (number(500)?, number(60)?);
    tokio::runtime::Runtime::new()?.block_on(run(machines, seconds))
}

async fn run(machines: u64, seconds: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (child, http) = serve(dir.path()).await?;
    let pid = child.id().context("the server has ended")?;
    let listener = tokio::spawn(listen(http));
    // Those who come all at once are measured apart: at 8 in the morning that happens, once.
    let mut all = JoinSet::new();
    for n in 0..machines {
        all.spawn(machine(n, http, seconds, machines));
    }
    sleep(Duration::from_secs(3)).await;
    let (began, before) = (Instant::now(), ticks(pid)?);
    let screen = watch(http, seconds.saturating_sub(6)).await?;
    let cpu = (ticks(pid)? - before) as f64 / began.elapsed().as_secs_f64();
    let mut sent = 0;
    while let Some(machine) = all.join_next().await {
        sent += machine??;
    }
    sleep(LISTS).await;
    let api = Api::remote(&format!("http://{http}"))?;
    let stats: Stats = api.get("/api/v1/stats").await?;
    let clients = api.clients().await?;
    let lost = sent - stats.totals.heartbeats;
    ensure!(clients.len() as u64 == machines, "{} machines are known", clients.len());
    ensure!(clients.iter().all(|c| c.heartbeat.progress.have == seconds), "a machine's last word is missing");
    let (messages, gap) = {
        listener.abort();
        screen.page
    };
    println!(
        "machines: {machines}, each once a second for {seconds} s; heartbeats sent: {sent}, lost: {lost}"
    );
    println!("server: {cpu:.1} % of one core, {:.1} MiB at most", memory(pid)? as f64 / 1024.0);
    println!("screen, 200 x 60: {:.1} ms on average, {:.1} ms at most for a frame", screen.mean, screen.most);
    println!(
        "screen, asking and reading all: {:.1} ms on average, {:.1} ms at most",
        screen.asked, screen.asked_most
    );
    println!("page: {messages} messages in {} s, {gap:.1} s between two at most", seconds.saturating_sub(6));
    ensure!(lost == 0, "{lost} heartbeats were lost");
    flood(&api, http, pid, &clients).await?;
    drop(child);
    behind_relays(seconds).await
}

/// Machines behind relays, and how many relays those are; words in one report at most.
const BEHIND: u64 = 1000;
const RELAYS: u64 = 4;
const WORDS: u64 = 125;

/// What relays cost the first server, each of which passes on what a share of the machines says each second.
async fn behind_relays(seconds: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (child, http) = serve(dir.path()).await?;
    let pid = child.id().context("the server has ended")?;
    let mut all = JoinSet::new();
    for n in 0..RELAYS {
        let add = program()?
            .args(["--config".as_ref(), dir.path().join("server.toml").as_os_str()])
            .args(["--dir".as_ref(), dir.path().join("cat").as_os_str()])
            .args(["relay", "add", &format!("r{n}")])
            .output()
            .await?;
        ensure!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
        let token = String::from_utf8(add.stdout)?.trim().to_owned();
        all.spawn(relay(n, token, http, seconds));
    }
    sleep(Duration::from_secs(3)).await;
    let (began, before) = (Instant::now(), ticks(pid)?);
    sleep(Duration::from_secs(seconds.saturating_sub(6))).await;
    let cpu = (ticks(pid)? - before) as f64 / began.elapsed().as_secs_f64();
    while let Some(relay) = all.join_next().await {
        relay??;
    }
    sleep(LISTS).await;
    let clients = Api::remote(&format!("http://{http}"))?.clients().await?;
    let heard = clients.iter().filter(|c| c.relay.is_some() && c.heartbeat.progress.have == seconds).count();
    println!(
        "{BEHIND} machines by {RELAYS} relays, each once a second: {cpu:.1} % of one core, {:.1} MiB at most; the last \
         word of {heard} is known",
        memory(pid)? as f64 / 1024.0
    );
    ensure!(heard as u64 == BEHIND, "words were lost");
    ensure!(cpu <= 20.0, "more than a fifth of a core");
    Ok(())
}

/// One relay: what its machines have said, each second.
async fn relay(n: u64, token: String, http: SocketAddr, seconds: u64) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut tick = interval(Duration::from_secs(1));
    for second in 1..=seconds {
        tick.tick().await;
        for part in 0..BEHIND / RELAYS / WORDS {
            let first = (n * BEHIND / RELAYS) + part * WORDS;
            let word =
                |m| json!({"remote": "10.0.0.9", "proof": "link", "beat": heartbeat(m, second, seconds)});
            let words: Vec<Value> = (first..first + WORDS).map(word).collect();
            let report = json!({
                "version": env!("CARGO_PKG_VERSION"), "http": 6980, "subnets": [], "images": 1, "missing": 0,
                "words": words, "done": [],
            });
            let url = format!("http://{http}/api/v1/relay/report");
            let answer = client.post(url).bearer_auth(&token).json(&report).send().await?;
            ensure!(answer.status() == 200, "{}", answer.text().await?);
        }
    }
    Ok(())
}

/// Lists are put together once a second.
const LISTS: Duration = Duration::from_secs(2);
/// So many machines that nobody has are made up by one host, as fast as it can.
const MADE_UP: u32 = 100_000;

/// Somebody makes up machines: those that are there stay, and the server stays as it is.
async fn flood(api: &Api, http: SocketAddr, pid: u32, real: &[Client]) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 2], 0).into())?;
    let mut socket = BufReader::new(socket.connect(http).await?);
    let (began, mut refused) = (Instant::now(), 0);
    for n in 0..MADE_UP {
        let body = serde_json::to_vec(&Heartbeat { id: format!("made up {n}"), ..Heartbeat::default() })?;
        if !post(&mut socket, http, &body).await?.starts_with("HTTP/1.1 204") {
            refused += 1;
        }
    }
    let took = began.elapsed().as_secs_f64();
    let after = api.clients().await?;
    let kept = real.iter().filter(|r| after.iter().any(|c| c.heartbeat.id == r.heartbeat.id)).count();
    println!(
        "made up: {MADE_UP} machines by one host in {took:.1} s, {refused} refused; {kept} of {} real ones still \
         known, {} in all; {:.1} MiB at most",
        real.len(),
        after.len(),
        memory(pid)? as f64 / 1024.0
    );
    ensure!(kept == real.len(), "real machines were displaced");
    Ok(())
}

/// Send a heartbeat over a connection; the answer's head.
async fn post(socket: &mut BufReader<TcpStream>, http: SocketAddr, body: &[u8]) -> Result<String> {
    let head = format!(
        "POST /api/v1/heartbeat HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        ensure!(socket.read_line(&mut answer).await? > 0, "the server hung up");
    }
    // What a refusal says is not read by anybody else.
    let length = answer.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut rest = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut rest).await?;
    Ok(answer)
}

/// The program that was built beside this one.
fn program() -> Result<Command> {
    let exe = std::env::current_exe()?;
    Ok(Command::new(exe.ancestors().nth(2).context("looking for boottorrent")?.join("boottorrent")))
}

/// The server beside this program.
async fn serve(dir: &std::path::Path) -> Result<(Child, SocketAddr)> {
    let config = dir.join("server.toml");
    std::fs::write(&config, "")?;
    let mut child = program()?
        .arg("--config")
        .arg(config)
        .arg("--dir")
        .arg(dir.join("cat"))
        .args(["serve", "--listen", "127.0.0.1:0", "--peer-port", "0"])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting boottorrent")?;
    let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, rest)) = line.split_once("listening on http://") {
            let http = rest.split(',').next().unwrap_or_default().parse()?;
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((child, http));
        }
    }
    anyhow::bail!("the server ended without listening")
}

/// One machine: boots, and reports each second over one connection. How often it has reported.
async fn machine(n: u64, http: SocketAddr, seconds: u64, of: u64) -> Result<u64> {
    // Not all in the same moment of a second, as it is with real ones.
    sleep(Duration::from_millis(1000 * n / of)).await;
    // Each from an address of its own: what one host may open is bounded.
    let own = TcpSocket::new_v4()?;
    own.bind(([127, 1, (n >> 8) as u8, n as u8], 0).into())?;
    let mut socket = BufReader::new(own.connect(http).await?);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 1..=seconds {
        tick.tick().await;
        let body = serde_json::to_vec(&heartbeat(n, second, seconds))?;
        let answer = post(&mut socket, http, &body).await?;
        ensure!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    Ok(seconds)
}

fn heartbeat(n: u64, second: u64, of: u64) -> Heartbeat {
    let progress = Progress {
        have: second,
        total: of,
        from_server: second << 16,
        from_peers: second << 22,
        uploaded: second << 22,
        down_rate: 11_000_000 + n * 1000 + second,
        up_rate: 9_000_000,
        peers: 30,
        ..Progress::default()
    };
    Heartbeat {
        id: format!("52:54:00:00:{:02x}:{:02x}", n >> 8, n & 255),
        hostname: Some(format!("room{}-pc{}", n / 30, n % 30)),
        address: Some(format!("10.0.{}.{}", n >> 8, n & 255)),
        image: Some("lab".into()),
        phase: if second == of { Phase::Seed } else { Phase::Download },
        progress,
        uptime: second as f64,
        version: "0.1.0".into(),
        ..Heartbeat::default()
    }
}

/// A page: counts messages, and the longest silence.
async fn listen(http: SocketAddr) -> Result<()> {
    let mut socket = TcpStream::connect(http).await?;
    socket.write_all(format!("GET /api/v1/events HTTP/1.1\r\nHost: {http}\r\n\r\n").as_bytes()).await?;
    let (mut lines, mut last) = (BufReader::new(socket), Instant::now());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await? > 0 {
        if line.starts_with(b"data: ") {
            let mut page = PAGE.lock().expect("nobody panics");
            *page = (page.0 + 1, page.1.max(last.elapsed().as_secs_f64()));
            last = Instant::now();
        }
        line.clear();
    }
    Ok(())
}

static PAGE: std::sync::Mutex<(u64, f64)> = std::sync::Mutex::new((0, 0.0));

/// What a screen takes, in milliseconds; and what the page had.
#[derive(Default)]
struct Screen {
    mean: f64,
    most: f64,
    asked: f64,
    asked_most: f64,
    page: (u64, f64),
}

/// A screen that is drawn each second, with all that belongs to it.
async fn watch(http: SocketAddr, seconds: u64) -> Result<Screen> {
    let api = Api::remote(&format!("http://{http}"))?;
    let mut terminal = Terminal::new(TestBackend::new(200, 60))?;
    let mut model = Model { view: View::Machines, height: 60, ..Model::default() };
    let mut tick = interval(Duration::from_secs(1));
    let (mut frames, mut asks) = (Vec::new(), Vec::new());
    *PAGE.lock().expect("nobody panics") = (0, 0.0);
    for _ in 0..seconds {
        tick.tick().await;
        let begin = Instant::now();
        let now = ServerSnapshot {
            images: api.images().await?,
            machines: api.clients().await?,
            stats: api.get("/api/v1/stats").await?,
            ..ServerSnapshot::default()
        };
        let asked = Instant::now();
        update(&mut model, Message::Polled(ServerLink::ReadOnly, Box::new(now)));
        terminal.draw(|frame| {
            draw(frame, &model);
            clean(frame.buffer_mut(), Look { color: true, unicode: true });
        })?;
        asks.push(asked.duration_since(begin).as_secs_f64() * 1000.0);
        frames.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
    let most = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    let page = *PAGE.lock().expect("nobody panics");
    Ok(Screen { mean: mean(&frames), most: most(&frames), asked: mean(&asks), asked_most: most(&asks), page })
}

/// Processor time of a process, in hundredths of a second (proc(5)): so a second's worth is percent.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("reading /proc/PID/stat")?;
    let words: Vec<&str> = rest.split(' ').collect();
    Ok(words[11].parse::<u64>()? + words[12].parse::<u64>()?)
}

/// The most memory that it has had, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("reading VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
