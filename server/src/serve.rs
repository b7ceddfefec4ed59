// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent serve`: listen, follow the catalogue, until SIGTERM.

use crate::{
    calendar::Keeper,
    clients::Client,
    config::Config,
    figures,
    http::{self, Ends, Over},
    notify::notify,
    refresh::refresh,
    relay::{self, Here, client::First},
    seed::{Engine, Seeder},
    socket::{self, Socket},
    state::ServerState,
    tls::Tls,
    upstream,
};
use anyhow::{Context, Result, bail};
use bootspec::text::count;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::{self, IsTerminal},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How often the catalogue is looked at.
const POLL: Duration = Duration::from_secs(2);
/// How often the machines are written down although nothing but numbers has changed.
const ALL_MACHINES: Duration = Duration::from_secs(60);
/// How long downloads under way may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How often SIGTERM is looked for, and how long everything may take then.
const LOOK: Duration = Duration::from_millis(250);
const AT_LAST: Duration = Duration::from_secs(6);

/// Reads the settings again.
pub type Again = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// Serve until SIGTERM or SIGINT. `again`: for SIGHUP.
pub async fn serve(config: Config, again: Again) -> Result<()> {
    raise_file_limit();
    // Before READY: who is told that we are ready may stop us at once.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A terminal that goes away ends the server, as it ends every program in it.
    let hup = if io::stderr().is_terminal() { None } else { Some(signal(SignalKind::hangup())?) };
    end_at_last()?;
    let first = First::of(&config.upstream)?;
    let here = Here::of(&config.upstream, &config.catalogue.dir)?;
    if here.is_none() {
        relay::here::unmark(&config.catalogue.dir);
    }
    let listener = listen(config.serve.listen).await?;
    let address = listener.local_addr().context("asking for the listener's address")?;
    // Not before: the port is taken where another server has this catalogue.
    here.as_ref().map_or(Ok(()), Here::mark)?;
    let tls = listen_for_tls(&config, address.port()).await?;
    let engine = match config.serve.seed {
        true => Some(Engine::start(&config.serve).await?),
        false => None,
    };
    let peer_port = engine.as_ref().map_or(config.serve.peer_port, Engine::port);
    let socket = socket::open(&config.serve.socket);
    let state = Arc::new(ServerState::new(config, peer_port, here));
    state.listens(address.port());
    if let Some((_, Tls { expires: Some(expires), .. })) = &tls {
        // It was empty until here.
        let _ = state.certificate_expires.set(*expires);
    }
    refresh(&state);
    warm(&state).await;

    // Each part works until `stop`. One that ends before ends the server.
    let (stop, mut parts) = (CancellationToken::new(), JoinSet::new());
    parts.spawn(follow(state.clone(), stop.clone()));
    parts.spawn(fetch(state.clone(), stop.clone()));
    parts.spawn(watch_rates(state.clone(), stop.clone()));
    parts.spawn(keep_machines(state.clone(), stop.clone()));
    if let Some(first) = first {
        tracing::info!("this is a relay of {}", state.here.as_ref().map_or("?", |h| h.url.as_str()));
        parts.spawn(upstream::follow(first, state.clone(), stop.clone()));
    }
    // A relay's machines get their orders from the first server.
    if state.here.is_none() {
        parts.spawn(keep_calendar(state.clone(), stop.clone()));
    }
    if let Some(hup) = hup {
        parts.spawn(reload(hup, again, state.clone(), stop.clone()));
    }
    if let Some(engine) = engine {
        parts.spawn(seed(Seeder::new(engine), state.clone(), stop.clone()));
    }
    let app = http::router(state.clone(), Over::Tcp);
    if let Some((listener, tls)) = tls {
        let at = listener.local_addr().context("asking for the listener's address")?;
        parts.spawn(http::listen::serve(listener, Some(tls), app.clone(), stop.clone()));
        tracing::info!("speaking TLS on https://{at}");
    }
    parts.spawn(http::listen::serve(listener, None, app, stop.clone()));
    match socket {
        Ok(socket) => drop(parts.spawn(serve_socket(socket, state.clone(), stop.clone()))),
        Err(e) => tracing::warn!("nothing can be changed while this server runs, only asked: {e:#}"),
    }
    tracing::info!(
        "listening on http://{address}, {} in {}",
        count(state.library().len(), "image"),
        state.config().catalogue.dir.display()
    );
    notify("READY=1");

    let ended = tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
        Some(ended) = parts.join_next() => Err(ended),
    };
    end(ended, &stop, parts).await
}

/// Stop all parts, by a signal or because one of them has `ended`: then that is the error.
async fn end(
    ended: Result<&str, Result<(), JoinError>>,
    stop: &CancellationToken,
    mut parts: JoinSet<()>,
) -> Result<()> {
    notify("STOPPING=1");
    stop.cancel();
    match ended {
        Ok(signal) => tracing::info!("stopping: {signal}"),
        Err(ended) => {
            ended.context("a part of the server has failed")?;
            bail!("a part of the server has ended");
        }
    }
    // Downloads that take longer are cut: the machines go on with other sources.
    let all = async { while parts.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all).await;
    Ok(())
}

/// SIGTERM is heeded even where everything else stands: by a thread that does nothing else. It ends the process as
/// SIGTERM by itself would, which systemd takes for a clean end (systemd.service(5), `SuccessExitStatus=`).
fn end_at_last() -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for name in [SIGTERM, SIGINT] {
        signal_hook::flag::register(name, asked.clone()).context("catching SIGTERM")?;
    }
    let wait = move || {
        while !asked.load(Relaxed) {
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(AT_LAST);
        // No lock is taken: whoever stands still may hold that of stderr, or those that exit(3) wants.
        let _ = nix::unistd::write(io::stderr(), b"stopping: what was under way did not end\n");
        let _ = signal_hook::low_level::emulate_default_handler(SIGTERM);
    };
    std::thread::Builder::new().name("sigterm".into()).spawn(wait).context("starting a thread").map(drop)
}

/// Nothing where the settings name no certificate. `plain`: our port without it.
async fn listen_for_tls(config: &Config, plain: u16) -> Result<Option<(TcpListener, Tls)>> {
    match Tls::configured(&config.serve, plain)? {
        Some(tls) => Ok(Some((listen(config.serve.tls_listen).await?, tls))),
        None => Ok(None),
    }
}

/// On `[::]`, IPv4 comes too; without IPv6 in the kernel it is the only one.
async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = match TcpListener::bind(address).await {
        Err(e)
            if address.is_ipv6() && address.ip().is_unspecified() && e.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = listener.with_context(|| format!("listening on {address}"))?;
    swarm::small_segments(&listener);
    Ok(listener)
}

/// A relay that lets a machine wait for two seconds loses it to another: it is ready before it listens. Machines wait longer for
/// a first server.
async fn warm(state: &Arc<ServerState>) {
    let of = state.clone();
    let done = tokio::task::spawn_blocking(move || of.warm());
    if state.here.is_some() {
        let _ = done.await;
    }
}

/// Look at the catalogue from time to time.
async fn follow(state: Arc<ServerState>, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(POLL)).await.is_some() {
        refresh(&state);
    }
}

/// Read the settings again at each SIGHUP. With a file that cannot be used, those from before go on.
async fn reload(mut hup: Signal, again: Again, state: Arc<ServerState>, stop: CancellationToken) {
    while stop.run_until_cancelled(hup.recv()).await.is_some() {
        match again() {
            Ok(config) => {
                let fixed = state.set_config(config);
                tracing::info!("server.toml was read again");
                if !fixed.is_empty() {
                    tracing::warn!("these settings count after a restart: {}", fixed.join(", "));
                }
                refresh(&state);
            }
            Err(e) => {
                tracing::error!("server.toml was not read again, the settings from before go on: {e:#}")
            }
        }
    }
}

/// Write down what machines do, and once more at the end. A list that takes long to write is written less often.
async fn keep_machines(state: Arc<ServerState>, stop: CancellationToken) {
    let mut failed = false;
    let mut all = Instant::now();
    loop {
        let begun = Instant::now();
        let last = stop.is_cancelled();
        if last || all.elapsed() >= ALL_MACHINES {
            state.clients().mark_changed();
            all = begun;
        }
        let of = state.clone();
        let saved =
            tokio::task::spawn_blocking(move || of.save_orders().and_then(|()| of.save_machines())).await;
        match saved.map_err(anyhow::Error::from).and_then(|s| s) {
            Ok(()) => failed = false,
            Err(e) if !failed => {
                tracing::error!("what machines do is not written down: {e:#}");
                failed = true;
            }
            Err(_) => {}
        }
        if last {
            return;
        }
        let pause = (begun.elapsed() * 20).max(Duration::from_secs(1));
        stop.run_until_cancelled(sleep(pause)).await;
    }
}

/// Give machines the orders that the calendar says.
async fn keep_calendar(state: Arc<ServerState>, stop: CancellationToken) {
    let mut keeper = Keeper::of(&state);
    while stop.run_until_cancelled(sleep(POLL)).await.is_some() {
        let of = state.clone();
        let looked = tokio::task::spawn_blocking(move || {
            keeper.look(&of);
            keeper
        });
        match looked.await {
            Ok(kept) => keeper = kept,
            // What it has done is on the disk.
            Err(e) => {
                tracing::error!("calendar: looking at it has failed: {e}");
                keeper = Keeper::of(&state);
            }
        }
    }
}

/// Fetch what is asked for. What is under way is gone on with when the server starts again.
async fn fetch(state: Arc<ServerState>, stop: CancellationToken) {
    let served = state.clone();
    stop.run_until_cancelled(state.fetches.clone().run(move || refresh(&served))).await;
}

/// Take the rates each second, and tell who watches.
async fn watch_rates(state: Arc<ServerState>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Some(now) = stop.run_until_cancelled(tick.tick()).await {
        let (now, images) = (now.into_std(), |clients: &[Client]| figures::images(&state, clients));
        state.live.tick(state.machines(now), state.sent.payloads(), images, now);
    }
    // Those who watch the page would otherwise never go.
    state.live.end();
}

/// Seed what is in the library.
async fn seed(mut seeder: Seeder, state: Arc<ServerState>, stop: CancellationToken) {
    while stop.run_until_cancelled(seeder.follow(&state)).await.is_some() {
        if stop.run_until_cancelled(sleep(POLL)).await.is_none() {
            break;
        }
    }
    seeder.stop().await;
}

/// Answer whoever may write to the local socket. Its file goes with this.
async fn serve_socket(socket: Socket, state: Arc<ServerState>, stop: CancellationToken) {
    let Socket { listener, file: _file } = socket;
    let app = http::router(state, Over::Socket).into_make_service_with_connect_info::<Ends>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    // It ends by `stop` alone.
    let _ = serving.await;
}

/// Every image keeps three files open, and every machine a connection.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused, the lower limit does for most sites.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
