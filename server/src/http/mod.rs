// SPDX-License-Identifier: GPL-3.0-or-later
//! The one HTTP port: boot script, boot files, torrents, payloads, tracker, machines' reports.

mod api;
mod boot;
mod change;
mod events;
mod files;
pub mod host;
pub mod listen;
pub mod machine;
mod page;
mod track;

use crate::{
    addon::Addons,
    clients::{Client, Clients},
    config::Config,
    fetch::{Place, jobs::Jobs},
    hosts::{self, Hosts},
    library::{Image, Library},
    seed::KEEP,
    setup::net::interfaces,
    tracker::Tracker,
    wake,
    watch::{live::Live, sent::Sent},
};
use axum::{
    Router,
    extract::{ConnectInfo, connect_info::Connected},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use bootspec::{HTTP_PORT, ImageName, InfoHash};
use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::net::{TcpStream, UnixListener};

/// What every request can see.
pub struct State {
    /// The settings.
    pub config: Config,
    /// The port on which our seeder really listens.
    pub peer_port: u16,
    /// What goes with initrds that lack our agent.
    pub addons: Arc<Addons>,
    /// When the server started.
    pub started: Instant,
    /// What it has sent.
    pub sent: Sent,
    /// Who watches.
    pub live: Live,
    /// What was said of machines and groups, on disk.
    pub store: hosts::Store,
    /// What is being fetched.
    pub fetches: Arc<Jobs>,
    /// Boots that are for one time, and have begun.
    pub once: machine::Once,
    library: RwLock<Arc<Library>>,
    hosts: RwLock<Arc<Hosts>>,
    retired: Mutex<Vec<(Instant, Arc<Image>)>>,
    tracker: Mutex<Tracker>,
    clients: Mutex<Clients>,
    told: Mutex<Told>,
}

/// What was wrong on the disk when it was last looked at: told once, not each time.
#[derive(Default)]
pub struct Told {
    /// Of the images.
    pub images: HashSet<String>,
    /// Of hosts.toml: the version that was read.
    pub hosts: Option<hosts::store::Version>,
}

impl State {
    /// A server with no images yet.
    pub fn new(config: Config, peer_port: u16) -> State {
        // Asked for once: an interface that comes later only makes "near" a guess (/24).
        let subnets = interfaces().unwrap_or_default().into_iter().map(|i| i.subnet).collect();
        let tracker = Mutex::new(Tracker::new(config.tracker.interval, subnets));
        let addons = Addons::new(&config.boot.agent);
        let fetches = Arc::new(Jobs::new(Place::of(&config)));
        State {
            store: hosts::Store::at(&config.catalogue.dir),
            config,
            peer_port,
            addons,
            started: Instant::now(),
            sent: Sent::default(),
            live: Live::default(),
            fetches,
            once: Default::default(),
            library: Default::default(),
            retired: Default::default(),
            hosts: Default::default(),
            tracker,
            clients: Default::default(),
            told: Default::default(),
        }
    }

    /// What was wrong. While it is held, nobody else looks at the disk.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said of machines and groups.
    pub fn hosts(&self) -> Arc<Hosts> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this was said of them.
    pub fn set_hosts(&self, hosts: Hosts) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hosts);
    }

    /// The machines now, by id, with the names that they have here and the images that they will boot.
    pub fn list_clients(&self, now: Instant) -> Vec<Client> {
        let mut clients = self.clients().list(now);
        let hosts = self.hosts();
        for client in clients.iter_mut().filter(|_| !hosts.entries.is_empty()) {
            let choice = hosts::choose(&hosts, &wake::asker(client));
            client.name = choice.name.map(|n| n.to_string());
            client.group = choice.group.map(|g| g.to_string());
            client.next = choice.image.map(|i| i.to_string());
        }
        clients
    }

    /// The images now.
    pub fn library(&self) -> Arc<Library> {
        self.library.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these are the images.
    pub fn set_library(&self, library: Library) {
        let torrents: HashSet<_> = library.values().map(|i| i.manifest.infohash).collect();
        let gone = |i: &&Arc<Image>| !torrents.contains(&i.manifest.infohash);
        let now = Instant::now();
        self.retired().extend(self.library().values().filter(gone).map(|i| (now, i.clone())));
        self.tracker().track(torrents);
        *self.library.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(library);
    }

    /// The version of an image that is asked for, as long as it is seeded; the newest one otherwise.
    pub fn version(&self, name: &ImageName, asked: Option<InfoHash>) -> Option<Arc<Image>> {
        let is = |i: &Arc<Image>| i.manifest.name == *name && Some(i.manifest.infohash) == asked;
        let newest = self.library().get(name).cloned();
        if newest.as_ref().is_some_and(is) {
            return newest;
        }
        let retired = self.retired().iter().map(|(_, i)| i.clone()).find(is);
        retired.or(newest)
    }

    /// Let go of versions that are no longer seeded.
    pub fn forget_retired(&self) {
        self.retired().retain(|(since, _)| since.elapsed() < KEEP);
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(Instant, Arc<Image>)>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tracker. Hold it shortly.
    pub fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machines. Hold them shortly.
    pub fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address on which the client reached us.
    pub local: SocketAddr,
}

impl Ends {
    /// Of a connection that has just come in.
    pub fn of(stream: &TcpStream, remote: SocketAddr) -> Ends {
        give_up_on_the_silent(stream);
        let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        let remote = plain(remote);
        // It fails only when the client has gone already: then nobody reads the answer.
        Ends { remote, local: stream.local_addr().map_or(remote, plain) }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Ends {
    /// Over the local socket both ends are here.
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Ends {
        let at = |port| (Ipv4Addr::LOCALHOST, port).into();
        Ends { remote: at(0), local: at(HTTP_PORT) }
    }
}

/// A client that takes nothing for this long, or is not there any more, loses its connection (tcp(7)).
const PATIENCE: Duration = Duration::from_secs(60);

fn give_up_on_the_silent(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Refused, the connection only lives longer.
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &(PATIENCE.as_millis() as u32));
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &(PATIENCE.as_secs() as u32));
}

type Shared = axum::extract::State<Arc<State>>;
type From = ConnectInfo<Ends>;

/// Whether a connection may change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Over TCP anybody may come: it answers questions.
    Tcp,
    /// Who may write to the local socket may change things.
    Socket,
}

/// All routes.
pub fn router(state: Arc<State>, over: Over) -> Router {
    let routes = Router::new()
        .route("/", get(page::page))
        .route("/metrics", get(api::metrics))
        .route("/boot.ipxe", get(boot::script))
        .route("/grub.cfg", get(boot::grub))
        .route("/boot/{file}", get(boot::loader))
        .route("/images/{name}/{file}", get(files::get))
        .route("/announce", get(track::announce))
        .route("/scrape", get(track::scrape))
        .route("/api/v1/heartbeat", post(api::heartbeat))
        .route("/api/v1/clients", get(api::clients))
        .route("/api/v1/images", get(api::images))
        .route("/api/v1/stats", get(api::stats))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/hosts", get(api::hosts))
        .route("/api/v1/fetches", get(api::fetches))
        .route("/api/v1/health", get(api::health));
    change::routes(routes, over).fallback(nowhere).with_state(state)
}

/// A refusal: one sentence as text.
fn sentence(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{text}\n")).into_response()
}

async fn nowhere(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    sentence(StatusCode::NOT_FOUND, format_args!("there is nothing at {path} on this BootTorrent server"))
}
