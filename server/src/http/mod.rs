// SPDX-License-Identifier: GPL-3.0-or-later
//! The one HTTP port: boot script, boot files, torrents, payloads, tracker, machines' reports.

mod api;
mod boot;
mod change;
mod events;
mod files;
mod front;
pub mod host;
pub mod listen;
pub mod machine;
mod page;
pub mod places;
pub mod range;
mod shared;
mod track;

use crate::{
    addon::Addons,
    clients::{Client, Clients, text},
    config::Config,
    fetch::{Place, jobs::Jobs},
    hosts::{self, Hosts},
    library::{Image, Library},
    neighbours::Neighbours,
    seed::KEEP,
    setup::net::interfaces,
    ticket::Tickets,
    tracker::Tracker,
    wake,
    watch::{live::Live, sent::Sent},
};
use axum::{
    Router,
    extract::{ConnectInfo, connect_info::Connected},
    http::{HeaderValue, StatusCode, Uri, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use bootspec::{HTTP_PORT, ImageName, InfoHash, text::clean};
use std::{
    collections::HashSet,
    io,
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
    /// What this server is called.
    pub names: Vec<String>,
    /// The secrets of boots.
    pub tickets: Tickets,
    /// Who is on our links.
    pub neighbours: Neighbours,
    library: RwLock<Arc<Library>>,
    hosts: RwLock<Arc<Hosts>>,
    retired: Mutex<Vec<(Instant, Arc<Image>)>>,
    tracker: Mutex<Tracker>,
    clients: Mutex<Clients>,
    told: Mutex<Told>,
    answers: Answers,
    machines: Mutex<Option<(Instant, Arc<Vec<Client>>)>>,
}

/// So many machines are listed anew each time that somebody asks.
const FEW: usize = 256;

/// The answers that many ask for.
#[derive(Default)]
struct Answers {
    clients: shared::Shared,
    images: shared::Shared,
    stats: shared::Shared,
    metrics: shared::Shared,
    hosts: shared::Shared,
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
        let addons = Addons::of(&config);
        let names = [front::own_names(), config.serve.names.clone()].concat();
        let tickets = Tickets::at(&config.catalogue.dir);
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
            tickets,
            names,
            neighbours: Default::default(),
            library: Default::default(),
            retired: Default::default(),
            hosts: Default::default(),
            tracker,
            clients: Default::default(),
            told: Default::default(),
            answers: Default::default(),
            machines: Default::default(),
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

    /// The image that machines boot of which nothing else is set: by hosts.toml, else by server.toml.
    pub fn default_image(&self) -> Option<ImageName> {
        self.hosts().default_image().or(self.config.boot.default.as_ref()).cloned()
    }

    /// From now on this was said of them.
    pub fn set_hosts(&self, hosts: Hosts) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hosts);
    }

    /// The machines now, by id, with the names that they have here and the images that they will boot.
    pub fn list_clients(&self, now: Instant) -> Vec<Client> {
        let mut clients = self.clients().list(now);
        let hosts = self.hosts();
        clients.iter_mut().for_each(|client| name(client, &hosts));
        clients
    }

    /// What [`State::list_clients`] says, or said a second ago where there are many: all who ask share it.
    pub fn machines(&self, now: Instant) -> Arc<Vec<Client>> {
        let mut kept = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |(at, list): &&(Instant, Arc<Vec<Client>>)| {
            list.len() > FEW && now.saturating_duration_since(*at) < Duration::from_secs(1)
        };
        if let Some((_, list)) = kept.as_ref().filter(usable) {
            return list.clone();
        }
        let list = Arc::new(self.list_clients(now));
        *kept = Some((now, list.clone()));
        list
    }

    /// The name that one machine has here, and what it will boot.
    pub fn name(&self, client: &mut Client) {
        name(client, &self.hosts());
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

fn name(client: &mut Client, hosts: &Hosts) {
    if hosts.entries.is_empty() {
        return;
    }
    let choice = hosts::choose(hosts, &wake::asker(client));
    client.name = choice.name.map(|n| n.to_string());
    client.group = choice.group.map(|g| g.to_string());
    client.next = choice.image.map(|i| i.to_string());
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address on which the client reached us.
    pub local: SocketAddr,
    /// Over TLS: our port for HTTP without it, which is what boot loaders and trackers' clients speak.
    pub plain: Option<u16>,
}

impl Ends {
    /// Those of an accepted connection. `plain`: over TLS, our port without it. Errors: the client has gone already.
    pub fn of(stream: &TcpStream, plain: Option<u16>) -> io::Result<Ends> {
        give_up_on_the_silent(stream);
        let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        Ok(Ends { remote: canonical(stream.peer_addr()?), local: canonical(stream.local_addr()?), plain })
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Ends {
    /// Over the local socket both ends are here.
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Ends {
        let at = |port| (Ipv4Addr::LOCALHOST, port).into();
        Ends { remote: at(0), local: at(HTTP_PORT), plain: None }
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
    /// Over TCP anybody may come: it answers questions, and does what who has the token wants.
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
        .route("/api/v1/stats", get(api::stats))
        .route("/api/v1/fetches", get(api::fetches))
        .route("/api/v1/health", get(api::health));
    let listing = Router::new()
        .route("/api/v1/clients", get(api::clients))
        .route("/api/v1/clients/{id}", get(api::client))
        .route("/api/v1/images", get(api::images))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/hosts", get(api::hosts));
    let listing = match over {
        Over::Socket => listing,
        Over::Tcp => listing.route_layer(from_fn_with_state(state.clone(), front::listing)),
    };
    let changing = change::routes(&state, over);
    let all = routes.merge(listing).merge(changing).fallback(nowhere);
    let all = match over {
        Over::Socket => all,
        Over::Tcp => all.layer(from_fn_with_state(state.clone(), front::guard)),
    };
    all.layer(map_response(guarded)).with_state(state)
}

/// What browsers are told with every answer: to take it for what it says that it is, to run nothing in it, and
/// to keep it from other sites' pages. The page has a policy of its own. Headers that would let other sites in (CORS) are never sent.
async fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    answer
}

/// A refusal: one sentence as text. What was asked may be in it.
fn sentence(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{}\n", clean(&text.to_string(), &[]))).into_response()
}

async fn nowhere(uri: Uri) -> Response {
    let path = text(uri.path(), 100);
    sentence(StatusCode::NOT_FOUND, format_args!("there is nothing at {path} on this BootTorrent server"))
}
