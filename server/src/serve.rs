// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent serve`: listen, follow the catalogue, until SIGTERM.

use crate::{
    clients::Client,
    config::Config,
    figures,
    http::{self, Ends, Over},
    notify::notify,
    refresh::refresh,
    seed::{Engine, Seeder},
    socket,
    state::State,
    tls::Tls,
};
use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How often the catalogue is looked at.
const POLL: Duration = Duration::from_secs(2);
/// How long downloads under way may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How often SIGTERM is looked for, and how long everything may take then.
const LOOK: Duration = Duration::from_millis(250);
const AT_LAST: Duration = Duration::from_secs(6);

/// Serve until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<()> {
    raise_file_limit();
    // Before READY: who is told that we are ready may stop us at once.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    end_at_last()?;
    let listener = listen(config.serve.listen).await?;
    let address = listener.local_addr().context("asking for the listener's address")?;
    let tls = Tls::configured(&config.serve, address.port())?;
    let seeder = match config.serve.seed {
        true => Some(Engine::start(&config.serve).await?),
        false => None,
    };
    let peer_port = seeder.as_ref().map_or(config.serve.peer_port, Engine::port);
    let socket = socket::open(&config.serve.socket);
    let state = Arc::new(State::new(config, peer_port));
    refresh(&state);

    let (stop, stopped) = watch::channel(false);
    let mut following = tokio::spawn(follow(state.clone(), stopped.clone()));
    let served = state.clone();
    tokio::spawn(state.fetches.clone().run(move || refresh(&served)));
    let seeding = seeder.map(|s| tokio::spawn(seed(Seeder::new(s), state.clone(), stopped.clone())));
    let watched = tokio::spawn(watch_rates(state.clone(), stopped.clone()));
    let graceful = |mut until: watch::Receiver<bool>| async move { drop(until.wait_for(|s| *s).await) };
    let app = http::router(state.clone(), Over::Tcp);
    let http = tokio::spawn(http::listen::serve(listener, None, app.clone(), stopped.clone()));
    if let Some(tls) = tls {
        let listener = listen(state.config.serve.tls_listen).await?;
        let at = listener.local_addr().context("asking for the listener's address")?;
        tokio::spawn(http::listen::serve(listener, Some(tls), app, stopped.clone()));
        tracing::info!("speaking TLS on https://{at}");
    }
    let mut local = None;
    match socket {
        Ok(socket) => {
            let app = http::router(state.clone(), Over::Socket).into_make_service_with_connect_info::<Ends>();
            let serving = axum::serve(socket.listener, app).with_graceful_shutdown(graceful(stopped.clone()));
            local = Some((tokio::spawn(serving.into_future()), socket.file));
        }
        Err(e) => tracing::warn!("nothing can be changed while this server runs, only asked: {e:#}"),
    }
    tracing::info!(
        "listening on http://{address}, {} image(s) in {}",
        state.library().len(),
        state.config.catalogue.dir.display()
    );
    notify("READY=1");

    tokio::select! {
        _ = term.recv() => tracing::info!("stopping: SIGTERM"),
        _ = int.recv() => tracing::info!("stopping: SIGINT"),
        ended = &mut following => ended.context("following the catalogue")?,
    }
    notify("STOPPING=1");
    stop.send_replace(true);
    // Downloads that take longer are cut: the machines go on with other sources.
    let _ = tokio::time::timeout(GRACE, async {
        // Those who watch the page would otherwise never go.
        let _ = watched.await;
        let _ = http.await;
        if let Some((serving, _file)) = local {
            let _ = serving.await;
        }
        if let Some(seeding) = seeding {
            let _ = seeding.await;
        }
    })
    .await;
    Ok(())
}

/// SIGTERM is heeded even where everything else stands: by a thread that does nothing else.
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
        eprintln!("stopping: what was under way did not end");
        std::process::exit(0);
    };
    std::thread::Builder::new().name("sigterm".into()).spawn(wait).context("starting a thread").map(drop)
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

/// Look at the catalogue from time to time.
async fn follow(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    while tokio::time::timeout(POLL, stopped.wait_for(|s| *s)).await.is_err() {
        refresh(&state);
    }
}

/// Take the rates each second, and tell who watches.
async fn watch_rates(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            now = tick.tick() => {
                let (now, images) = (now.into_std(), |clients: &[Client]| figures::images(&state, clients));
                state.live.tick(state.machines(now), state.sent.payloads(), images, now);
            }
            _ = stopped.wait_for(|s| *s) => break,
        }
    }
    state.live.end();
}

/// Seed what is in the library. Apart from [`follow`], since hashing a new payload takes its time.
async fn seed(mut seeder: Seeder, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = seeder.follow(&state) => {}
            _ = stopped.wait_for(|s| *s) => break,
        }
        if tokio::time::timeout(POLL, stopped.wait_for(|s| *s)).await.is_ok() {
            break;
        }
    }
    seeder.stop().await;
}

/// Every image keeps three files open, and every machine a connection.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused, the lower limit does for most sites.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
