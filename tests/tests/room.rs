// SPDX-License-Identifier: GPL-3.0-or-later
//! A classroom of real agents in namespaces ([`Seat`]): they fetch the exam while they are in use, obey no order but the
//! server's own, and survive power cuts.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{Cmd, Host, Lab, Seat, Server, assets::small_lessons, seats, server_binary};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// Of each machine's link, in Mbit/s.
const LINK: u32 = 50;
const LIMIT: Duration = Duration::from_secs(240);
const REMOTE: &str = "boottorrent.remote=switch,reboot";

/// The orders, as the server shows them.
fn orders(server: &Server) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&server.boottorrent(&["host", "switch", "--json"])?)?)
}

/// Wait until the orders are so.
fn until_orders(server: &Server, what: &str, are: impl Fn(&[Value]) -> bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let rows = orders(server)?;
        if are(&rows) {
            return Ok(());
        }
        let states: Vec<String> = rows.iter().map(|r| format!("{}: {}", r["machine"], r["state"])).collect();
        ensure!(begun.elapsed() < LIMIT, "not '{what}' after {LIMIT:?}: {states:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is(row: &Value, state: &str) -> bool {
    row["state"].as_str().is_some_and(|s| s.starts_with(state))
}

/// A server with both images, of so many MiB of their own and in common, whose own link is limited too.
fn serve<'a>(lab: &'a Lab, (mib, common): (u32, u32), flags: &[&str]) -> Result<Server<'a>> {
    let dir = lab.dir().join("assets");
    fs::create_dir_all(&dir)?;
    small_lessons(&dir, mib, common, None)?;
    Server::serve(lab, &dir.join("catalogue"), flags)
}

/// Wait until the server has heard all of them.
fn until_booted(server: &Server, count: usize) -> Result<()> {
    let begun = Instant::now();
    while server.clients()?.iter().filter(|c| c.phase == bootspec::Phase::Seed).count() < count {
        ensure!(begun.elapsed() < LIMIT, "they do not boot: {:#?}", server.clients()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What the server has sent of an image, in copies.
fn copies(server: &Server, name: &str) -> Result<f64> {
    let stats: Value = server.get_json("/api/v1/stats")?;
    let images = stats["images"].as_array().context("no images")?;
    let image = images.iter().find(|i| i["name"] == name).context("no such image")?;
    Ok(image["sent"].as_f64().unwrap_or(f64::MAX) / image["size"].as_f64().unwrap_or(1.0))
}

/// Who says that it is ready has the image, byte for byte; who does not say so is not asked.
fn ready_is_true(server: &Server, seats: &[Seat]) -> Result<usize> {
    let payload = fs::read(server.catalogue().join("images/exam/payload"))?;
    let rows = orders(server)?;
    let ready = |seat: &Seat| rows.iter().any(|r| r["machine"] == seat.mac() && is(r, "ready (soft-reboot)"));
    let mut count = 0;
    for seat in seats.iter().filter(|seat| ready(seat)) {
        let there = fs::read(seat.agents("next-1/store/payload")?)?;
        ensure!(there == payload, "{} says that it is ready, and is not", seat.mac());
        ensure!(!seat.was_asked()?, "{} does not wait for its time", seat.mac());
        count += 1;
    }
    Ok(count)
}

/// A room of so many machines is told to switch in an hour, and fetches so many MiB. `busy` has
/// them ordered to, and may do something else before and meanwhile.
fn prefetch(
    lab: &Lab,
    count: usize,
    mib: u32,
    busy: impl FnOnce(&[Seat], &dyn Fn() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let server = serve(lab, (mib, 0), &[])?;
    lab.limit(lab.server(), 4 * LINK)?;
    let hosts = seats(lab, &server, count, &[REMOTE])?;
    let boot = |host: Host| {
        lab.limit(&host, LINK)?;
        Seat::boot(host, &server, None)
    };
    let mut seats = hosts.into_iter().map(boot).collect::<Result<Vec<_>>>()?;
    seats.iter_mut().try_for_each(Seat::booted)?;
    until_booted(&server, count)?;
    let at = later(3600)?;
    busy(&seats, &|| server.boottorrent(&["host", "switch", "group:lab", "exam", "--at", &at]).map(drop))?;
    let begun = Instant::now();
    // While they fetch, whoever says that it is ready is.
    let mut early = 0;
    while early < count {
        early = ready_is_true(&server, &seats)?;
        ensure!(begun.elapsed() < LIMIT, "{early} of {count} are ready: {:#?}", orders(&server)?);
        std::thread::sleep(Duration::from_millis(300));
    }
    let copies = copies(&server, "exam")?;
    println!("{count} machines, {mib} MiB: all ready, the server has sent {copies:.2} copies");
    ensure!(copies <= 1.2, "the server has sent {copies:.2} copies");
    Ok(())
}

/// RFC 3339, so many seconds from now.
fn later(seconds: u64) -> Result<String> {
    let said =
        Cmd::new("date").args(["-u", "-d", &format!("+{seconds} seconds"), "+%Y-%m-%dT%H:%M:%SZ"]).run()?;
    Ok(said.trim().to_owned())
}

#[test]
fn a_room_fetches_the_exam_once() -> Result<()> {
    let lab = Lab::new("room")?;
    prefetch(&lab, 8, 16, |_, order| order())
}

/// What the image that runs has of the next one, at whatever offset, is not fetched again.
#[test]
fn only_what_differs_is_fetched() -> Result<()> {
    let lab = Lab::new("room-delta")?;
    let server = serve(&lab, (2, 16), &[])?;
    let host = seats(&lab, &server, 1, &[REMOTE])?.pop().context("no machine")?;
    let mut seat = Seat::boot(host, &server, None)?;
    seat.booted()?;
    let wait = |state: &str| until_orders(&server, state, |rows| rows.iter().any(|r| is(r, state)));
    server.boottorrent(&["host", "switch", "m1", "exam", "--at", &later(3600)?])?;
    wait("ready (soft-reboot)")?;
    ensure!(ready_is_true(&server, std::slice::from_ref(&seat))? == 1, "it has not all of it");
    let sent = copies(&server, "exam")?;
    ensure!(sent < 0.3, "the server has sent {sent:.2} copies of what is mostly there: {}", seat.log());
    seat.says("from images that are here: ")?;
    Ok(())
}

/// An order as it crosses the network, as the server has written it down.
fn saved(server: &Server, mac: &str) -> Result<Value> {
    let all: Vec<Value> = serde_json::from_slice(&fs::read(server.catalogue().join("orders.json"))?)?;
    let is = |o: &&Value| o["order"].as_str().is_some_and(|text| text.contains(&format!("machine: {mac}\n")));
    let found = all.iter().find(is).with_context(|| format!("no order for {mac}"))?;
    Ok(json!({"order": found["order"], "signature": found["signature"]}))
}

/// Somebody in the server's place answers heartbeats of a machine with one order after the other, and then with the last.
fn impostor(lab: &Lab, mac: &str, orders: Vec<Value>) -> Result<()> {
    let listener = lab.server().netns().run(|| TcpListener::bind(("0.0.0.0", 6980)))?;
    let (mac, mut orders) = (mac.to_owned(), orders.into_iter().peekable());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut answer = |body: &str| {
                if !body.contains(&mac) {
                    return json!({});
                }
                let order = if orders.len() > 1 { orders.next() } else { orders.peek().cloned() };
                json!({ "order": order })
            };
            // One connection at a time: agents close them.
            let _ = answer_one(stream, &mut answer);
        }
    });
    Ok(())
}

fn answer_one(stream: TcpStream, answer: &mut impl FnMut(&str) -> Value) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(&stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "it ends in its head");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let text = match head.starts_with("POST /api/v1/heartbeat") {
        true => answer(&String::from_utf8_lossy(&body)).to_string(),
        false => "{}".into(),
    };
    let length = text.len();
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
    )?;
    Ok(())
}

fn keys(dir: &Path) -> Result<String> {
    Cmd::new(server_binary()?).arg("--keys").arg(dir).args(["key", "generate", "--no-password"]).run()?;
    Ok(dir.to_string_lossy().into_owned())
}

/// Signed by the server's key they are obeyed; unsigned, forged, another machine's, a stranger's, an hour old or from before
/// the boot they are not, whoever answers in the server's place.
#[test]
fn only_the_servers_own_orders_are_obeyed() -> Result<()> {
    let lab = Lab::new("orders")?;
    let (dir, public) = (lab.dir().join("assets"), lab.dir().join("initrd-keys"));
    let (ours, other) = (keys(&lab.dir().join("keys"))?, keys(&lab.dir().join("other-keys"))?);
    fs::create_dir_all(&public)?;
    fs::copy(Path::new(&ours).join("boottorrent.pub"), public.join("boottorrent.pub"))?;
    small_lessons(&dir, 1, 0, Some(Path::new(&ours)))?;
    let flags = ["--keys", ours.as_str()];
    let mut server = Server::serve(&lab, &dir.join("catalogue"), &flags)?;
    let mut hosts = seats(&lab, &server, 2, &[REMOTE])?;
    let (m2, m1) = (hosts.pop().context("no m2")?, hosts.pop().context("no m1")?);
    let (mac1, mac2) = (Seat::mac_of(&m1)?, Seat::mac_of(&m2)?);

    // An hour ago, an order was good for ten minutes.
    server.clock("-1h");
    server.restart(&flags)?;
    server
        .boottorrent_by_clock("-1h", &[&["host", "reboot", "m1", "--within", "10"], &flags[..]].concat())?;
    let old = saved(&server, &mac1)?;
    server.clock("+0");
    server.restart(&flags)?;
    let mut m1 = Seat::boot(m1, &server, Some(&public))?;
    m1.booted()?;
    // From the server itself: one that another key has signed.
    server.boottorrent(&["host", "reboot", "m1", "--keys", &other])?;
    let foreign = saved(&server, &mac1)?;
    m1.says("reboot: refused: the order is signed by key ")?;
    until_orders(&server, "refused", |rows| {
        rows.iter().any(|r| r["machine"] == m1.mac() && is(r, "refused: the order is signed by key "))
    })?;
    ensure!(!m1.was_asked()?, "it reboots");
    // One for another machine, and a good one.
    server.boottorrent(&[&["host", "reboot", "m2", "--at", &later(3600)?], &flags[..]].concat())?;
    let others = saved(&server, &mac2)?;
    server.boottorrent(&[&["host", "reboot", "m1"], &flags[..]].concat())?;
    let good = saved(&server, &mac1)?;
    m1.asked("reboot")?;
    let mut m1 = Seat::boot(m1.cut(), &server, Some(&public))?;
    m1.booted()?;

    server.stop();
    let of = |sent: &Value, part: &str| sent[part].as_str().unwrap_or_default().to_owned();
    let text = of(&others, "order").replace(&mac2, &mac1);
    impostor(
        &lab,
        &mac1,
        vec![
            json!({ "order": text }),
            json!({ "order": text, "signature": of(&others, "signature") }),
            others,
            foreign,
            old,
            good,
        ],
    )?;
    for why in [
        "the order is not signed, and this machine has a key in its initrd",
        "the order's signature is wrong: key ",
        "the order is for the machine ",
        "the order is signed by key ",
        "the order has expired at ",
        "was made before this machine booted: give it again",
    ] {
        m1.says(why)?;
    }
    ensure!(!m1.was_asked()?, "it obeys");
    Ok(())
}

/// What a machine runs that has just booted: one image, and all of it.
fn runs(server: &Server, seat: &Seat) -> Result<String> {
    let name = fs::read_to_string(seat.file("run/root/name")?)?;
    let payload = fs::read(server.catalogue().join("images").join(&name).join("payload"))?;
    ensure!(fs::read(seat.agents("store/payload")?)? == payload, "it is not {name}, or not all of it");
    ensure!(!seat.agents("next-1")?.exists(), "something of another one is there");
    Ok(name)
}

/// Where the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    WhileItFetches,
    WhenItIsReady,
    BeforeTheSoftReboot,
    AfterTheSoftReboot,
    WhenItGoesToReboot,
    AfterThatReboot,
}

impl Cut {
    /// Each of them, and what the machine boots then.
    const ALL: [(Cut, &str); 6] = [
        (Cut::WhileItFetches, "lesson"),
        (Cut::WhenItIsReady, "lesson"),
        (Cut::BeforeTheSoftReboot, "lesson"),
        (Cut::AfterTheSoftReboot, "lesson"),
        (Cut::WhenItGoesToReboot, "exam"),
        (Cut::AfterThatReboot, "lesson"),
    ];

    /// Go on until the power goes.
    fn reach(self, seat: &mut Seat, server: &Server) -> Result<()> {
        let switch = |more: &[&str]| server.boottorrent(&[&["host", "switch", "m1", "exam"], more].concat());
        let until = |state: &str| until_orders(server, state, |rows| rows.iter().any(|r| is(r, state)));
        match self {
            Cut::WhileItFetches => {
                switch(&["--at", &later(3600)?])?;
                seat.until("a part of it", |seat| {
                    let there = seat.agents("next-1/store/payload")?.metadata()?;
                    Ok((1 << 20..there.len()).contains(&(there.blocks() * 512)))
                })
            }
            Cut::WhenItIsReady => {
                switch(&["--at", &later(3600)?])?;
                until("ready (soft-reboot)")
            }
            Cut::BeforeTheSoftReboot => {
                switch(&[])?;
                seat.asked("soft-reboot")
            }
            Cut::AfterTheSoftReboot => {
                seat.obeys_soft_reboots()?;
                switch(&[])?;
                until("done (soft-reboot)")?;
                ensure!(fs::read_to_string(seat.file("name")?)? == "exam", "it has not switched");
                let told = server.client(seat.mac())?.image;
                ensure!(told.as_deref() == Some("exam"), "it says that it runs {told:?}");
                Ok(())
            }
            Cut::WhenItGoesToReboot => {
                seat.has_systemd(252)?;
                switch(&[])?;
                seat.asked("reboot")
            }
            Cut::AfterThatReboot => until("done (reboot)"),
        }
    }
}

/// The power goes at each step of a switch: the machine boots one of the two.
#[test]
#[ignore = "seven boots and their orders: make test-full"]
fn a_power_cut_in_every_step() -> Result<()> {
    let lab = Lab::new("room-cuts")?;
    let server = serve(&lab, (8, 0), &["--up", "2MB/s"])?;
    let host = seats(&lab, &server, 1, &[REMOTE])?.pop().context("no machine")?;
    let mut seat = Seat::boot(host, &server, None)?;
    seat.booted()?;
    for (cut, then) in Cut::ALL {
        cut.reach(&mut seat, &server).with_context(|| format!("{cut:?}: {}", seat.log()))?;
        seat = Seat::boot(seat.cut(), &server, None)?;
        seat.booted()?;
        let image = runs(&server, &seat)?;
        println!("power cut {cut:?}: {image}");
        ensure!(image == then, "{cut:?}: it boots {image}");
    }
    Ok(())
}

/// As many as a classroom has, while people use them: their other traffic is measured, and goes on.
#[test]
#[ignore = "thirty machines: make test-full"]
fn thirty_machines_in_use_fetch_the_exam_once() -> Result<()> {
    let lab = Lab::new("room-30")?;
    let files = lab.host("files")?;
    Cmd::new("truncate").args(["-s", "4G"]).arg(lab.dir().join("big")).run()?;
    let cmd = Cmd::new("python3").args(["-m", "http.server", "80", "--directory"]).arg(lab.dir());
    let _files = files.spawn("files", &cmd)?;
    let url = format!("http://{}/big", files.address());
    // Three of them download all the time; Mbit/s of them together in twelve seconds.
    let downloads = |seats: &[Seat]| -> Result<f64> {
        let fetch =
            Cmd::new("curl").args(["-s", "-o", "/dev/null", "-m", "12", "-w", "%{size_download}", &url]);
        let start = |s: &Seat| s.host().spawn(&format!("download-{}", s.host().name()), &fetch);
        let running = seats[..3].iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut sum = 0.0;
        for mut one in running {
            one.wait(LIMIT)?;
            sum += String::from_utf8_lossy(&one.output()).trim().parse::<f64>().unwrap_or_default();
        }
        Ok(sum * 8.0 / 12.0 / 1e6)
    };
    let mut rates = (0.0, 0.0);
    prefetch(&lab, 30, 64, |seats, order| {
        rates.0 = downloads(seats)?;
        order()?;
        rates.1 = downloads(seats)?;
        Ok(())
    })?;
    let (before, meanwhile) = rates;
    println!(
        "three downloads over links of {LINK} Mbit/s: {before:.0} Mbit/s, while the exam is fetched {meanwhile:.0} Mbit/s"
    );
    // A count of bytes: nobody's download stands still.
    ensure!(meanwhile * 4.0 > before, "{before:.0} and {meanwhile:.0} Mbit/s");
    Ok(())
}

/// The whole room at one minute: each switches as it can, or stays where it is and says why.
#[test]
#[ignore = "a minute for who is too late: make test-full"]
fn a_room_switches_at_one_minute() -> Result<()> {
    let lab = Lab::new("room-minute")?;
    let server = serve(&lab, (16, 0), &[])?;
    let hosts = seats(&lab, &server, 5, &[REMOTE])?;
    server.boottorrent(&["host", "set", "m4", "--param", "boottorrent.remote=reboot"])?;
    let boot = |host: Host| Seat::boot(host, &server, None);
    let mut seats = hosts.into_iter().map(boot).collect::<Result<Vec<_>>>()?;
    seats.iter_mut().try_for_each(Seat::booted)?;
    until_booted(&server, seats.len())?;
    seats[..2].iter().try_for_each(Seat::obeys_soft_reboots)?;
    seats[2].has_systemd(252)?;
    // It would take more than two minutes.
    lab.limit(seats[4].host(), 1)?;
    let at = later(30)?;
    server.boottorrent(&["host", "switch", "group:lab", "exam", "--at", &at, "--within", "1"])?;
    let state = |n: usize, state: &str| {
        let mac = seats[n].mac().to_owned();
        until_orders(&server, state, |rows| rows.iter().any(|r| r["machine"] == mac && is(r, state)))
    };
    let refused = "refused: boottorrent.remote= on this machine's kernel command line does not allow switch";
    state(3, refused)?;
    state(0, "ready (soft-reboot)")?;
    state(1, "ready (soft-reboot)")?;
    state(2, "ready (reboot)")?;
    for (n, end) in [(0, "done (soft-reboot)"), (1, "done (soft-reboot)"), (2, "in progress (reboot)")] {
        state(n, end)?;
    }
    state(4, "refused: the image was not here in time: this machine stays as it is")?;
    for seat in &seats[..2] {
        ensure!(fs::read_to_string(seat.file("name")?)? == "exam", "{} has not switched", seat.mac());
    }
    for seat in &seats[3..] {
        ensure!(runs(&server, seat)? == "lesson" && !seat.was_asked()?, "{} does not stay", seat.mac());
    }
    let third = seats.remove(2);
    let mut third = Seat::boot(third.cut(), &server, None)?;
    third.booted()?;
    ensure!(runs(&server, &third)? == "exam", "it has not rebooted into the exam");
    Ok(())
}
