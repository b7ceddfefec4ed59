// SPDX-License-Identifier: GPL-3.0-or-later
//! What the running server is: its images, machines, tracker and counters, and the rules that hold for them whoever
//! asks. HTTP, the seeder and TFTP read it; it knows none of them.

use crate::{
    addon::Addons,
    attempts::{Attempts, Stage},
    catalogue::{entries::NamedEntry, own::Asked},
    clients::{Client, Clients, MachinesFile},
    config::Config,
    fetch::{FetchDirs, jobs::Jobs},
    hosts::{self, Hosts, Mac, waiting::WaitingKeys},
    library::{Library, ServedImage},
    menu_users::MenuUsers,
    neighbours::Neighbours,
    net::{interfaces, own_names},
    operations::Disk,
    orders::{Board, OrdersFile},
    relay::{Here, Present},
    ticket::Tickets,
    tracker::Tracker,
    wake,
    watch::{live::Live, sent::Sent},
};
use bootspec::{
    ImageManifest, ImageName, InfoHash,
    manifest::{FIRST, InitrdFrom},
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

/// How long a version is seeded after it was replaced or removed: machines that
/// have begun with it finish with it. Its files are open, and take disk space as long.
pub const KEEP: Duration = Duration::from_secs(600);

/// The running server.
pub struct ServerState {
    config: RwLock<Arc<Config>>,
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
    /// What is set for machines and groups, on disk.
    pub store: hosts::HostsFile,
    /// What is being fetched.
    pub fetches: Arc<Jobs>,
    /// What this server is called, besides the names in the settings.
    pub names: Vec<String>,
    /// When the certificate of HTTPS ends, in seconds since 1970.
    pub certificate_expires: OnceLock<i64>,
    /// The secrets of boots.
    pub tickets: Tickets,
    /// Machines whose own key should be accepted.
    pub waiting: WaitingKeys,
    /// Who is on our links.
    pub neighbours: Neighbours,
    /// The relays of this server.
    pub relays: Present,
    /// What a relay knows of its first server; none: this is the first one.
    pub here: Option<Arc<Here>>,
    http_port: OnceLock<u16>,
    library: RwLock<Arc<Library>>,
    entries: RwLock<Arc<Vec<NamedEntry>>>,
    menu_users: RwLock<Arc<MenuUsers>>,
    hosts: RwLock<Arc<Hosts>>,
    retired: Mutex<Vec<(Instant, Arc<ServedImage>)>>,
    released: Mutex<HashSet<InfoHash>>,
    tracker: Mutex<Tracker>,
    clients: Mutex<Clients>,
    kept: MachinesFile,
    orders: Mutex<Board>,
    kept_orders: Mutex<OrdersFile>,
    attempts: Mutex<Attempts>,
    told: Mutex<KnownFaults>,
    machines: Mutex<Option<(Instant, Arc<Vec<Client>>)>>,
}

/// So many machines are listed anew each time that somebody asks.
const FEW: usize = 256;

/// What was wrong on the disk when it was last looked at: told once, not each time.
#[derive(Default)]
pub struct KnownFaults {
    /// Of the images.
    pub images: HashSet<String>,
    /// Of hosts.toml: the version that was read.
    pub hosts: Option<hosts::store::HostsVersion>,
    /// Of the entries: the version that was read.
    pub entries: Option<Option<SystemTime>>,
    /// Of the menu's users: the version that was read.
    pub menu_users: Option<Option<(SystemTime, u64)>>,
    /// When earlier versions of images were looked at last; none: the images have changed since.
    pub pruned: Option<Instant>,
}

impl ServerState {
    /// Bytes that a machine loads before its agent runs. `card`: its network card, as iPXE's `busid`.
    pub fn phase_one(&self, image: &ImageManifest, card: Option<&str>) -> u64 {
        let served = self.version(&image.name, Some(image.infohash));
        let own = served.as_ref().and_then(|i| i.own.as_ref());
        let initrd = match own.filter(|_| image.initrd_from == InitrdFrom::Own) {
            Some(own) => {
                let agent = self.addons.init(image, own.index.xz).map_or(0, |b| b.len() as u64);
                agent
                    + own
                        .index
                        .archives(&Asked { card, ..Asked::default() })
                        .iter()
                        .map(|s| s.size)
                        .sum::<u64>()
            }
            None => image.initrd.size + self.addons.size(image),
        };
        image.kernel.size + initrd
    }

    /// Which initrd a machine is sent that asks for its boot script and is what it says.
    pub fn stage(&self, mac: Mac, image: &ImageManifest) -> Stage {
        let served = self.version(&image.name, Some(image.infohash));
        let Some(own) = served.as_ref().and_then(|i| i.own.as_ref()) else { return Stage::Image };
        let last = if own.index.fallback { Stage::Image } else { Stage::General };
        let stage = self.attempts().asked(mac, image.infohash, last);
        if stage != Stage::Card {
            let what = match stage {
                Stage::Image => "the initrd of the image",
                _ => "an initrd with the drivers of all cards",
            };
            tracing::warn!("{mac} is sent {what} because its agent did not report with the one before");
        }
        stage
    }

    /// What machines were sent.
    pub fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server with no images yet. `here`: where it is a relay.
    pub fn new(config: Config, peer_port: u16, here: Option<Here>) -> ServerState {
        // Asked for once: an interface that comes later only makes "near" a guess (/24).
        let subnets = interfaces().unwrap_or_default().into_iter().map(|i| i.subnet).collect();
        let tracker = Mutex::new(Tracker::new(config.tracker.interval, subnets));
        let addons = Addons::of(&config);
        let names = own_names();
        let tickets = Tickets::at(&config.catalogue.dir);
        let fetches = Arc::new(Jobs::new(FetchDirs::of(&config)));
        let kept = MachinesFile::at(&config.catalogue.dir);
        let (mut clients, mut attempts) = (Clients::default(), Attempts::default());
        match kept.load() {
            Ok(saved) => {
                attempts.restore(&saved.initrds);
                clients.restore(saved, Instant::now());
            }
            Err(e) => tracing::warn!("what machines did before is forgotten: {e:#}"),
        }
        let kept_orders = OrdersFile::at(&config.catalogue.dir);
        let orders = kept_orders.load().unwrap_or_else(|e| {
            tracing::warn!("orders for machines are forgotten: {e:#}");
            Board::default()
        });
        let state = ServerState {
            store: hosts::HostsFile::at(&config.catalogue.dir),
            config: RwLock::new(Arc::new(config)),
            peer_port,
            addons,
            started: Instant::now(),
            sent: Sent::default(),
            live: Live::default(),
            fetches,
            certificate_expires: OnceLock::new(),
            tickets,
            names,
            waiting: Default::default(),
            neighbours: Default::default(),
            relays: Default::default(),
            here: here.map(Arc::new),
            http_port: OnceLock::new(),
            attempts: Mutex::new(attempts),
            library: Default::default(),
            entries: Default::default(),
            menu_users: Default::default(),
            retired: Default::default(),
            released: Default::default(),
            hosts: Default::default(),
            tracker,
            clients: Mutex::new(clients),
            kept,
            orders: Mutex::new(orders),
            kept_orders: Mutex::new(kept_orders),
            told: Default::default(),
            machines: Default::default(),
        };
        // A relay knows the first server's settings from before.
        state.set_config((*state.config()).clone());
        state
    }

    /// The settings.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these are the settings, as far as a running server can change them. Which ones it cannot.
    pub fn set_config(&self, new: Config) -> Vec<&'static str> {
        let (mut now, fixed) = (self.config().renewed(&new), self.config().fixed(&new));
        // What machines are told is the first server's, whatever the file here says.
        if let Some(snapshot) = self.here.as_ref().and_then(|here| here.snapshot()) {
            now.boot.append = snapshot.boot.append.clone();
            now.boot.default = snapshot.boot.default.clone();
            now.boot.timeout = Duration::from_millis(snapshot.boot.timeout);
            now.menu = snapshot.menu.clone();
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
        fixed
    }

    /// Our port for HTTP without TLS.
    pub fn http_port(&self) -> u16 {
        self.http_port.get().copied().unwrap_or(bootspec::HTTP_PORT)
    }

    /// We listen on this one.
    pub fn listens(&self, port: u16) {
        // It was empty until here.
        let _ = self.http_port.set(port);
    }

    /// Images and machines on the disk, to change them.
    pub fn disk(&self) -> Disk {
        Disk::of(&self.config())
    }

    /// What was wrong. While it is held, nobody else looks at the disk.
    pub fn told(&self) -> MutexGuard<'_, KnownFaults> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is set for machines and groups.
    pub fn hosts(&self) -> Arc<Hosts> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The image that machines boot of which nothing else is set: by hosts.toml, else by server.toml.
    pub fn default_image(&self) -> Option<ImageName> {
        let said = self.hosts().default_image().map(|image| image.name.clone());
        said.or_else(|| self.config().boot.default.clone())
    }

    /// From now on this is set for them.
    pub fn set_hosts(&self, hosts: Hosts) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hosts);
    }

    /// The machines now, by id, with the names that they have here and the images that they will boot.
    pub fn list_clients(&self, now: Instant) -> Vec<Client> {
        let mut clients = self.clients().list(now);
        let hosts = self.hosts();
        let attempts = self.attempts();
        let library = self.library();
        clients.iter_mut().for_each(|client| name(client, &hosts, &attempts, &library));
        clients
    }

    /// What [`ServerState::list_clients`] says, or said a second ago where there are many: all who ask share it.
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

    /// The name that one machine has here, what it will boot, and what it was sent.
    pub fn name(&self, client: &mut Client) {
        name(client, &self.hosts(), &self.attempts(), &self.library());
    }

    /// What can be booted besides images.
    pub fn entries(&self) -> Arc<Vec<NamedEntry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on there are these.
    pub fn set_entries(&self, entries: Vec<NamedEntry>) {
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
    }

    /// Who may start what the menu locks.
    pub fn menu_users(&self) -> Arc<MenuUsers> {
        self.menu_users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on there are these.
    pub fn set_menu_users(&self, users: MenuUsers) {
        *self.menu_users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    /// The images now.
    pub fn library(&self) -> Arc<Library> {
        self.library.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these are the images.
    pub fn set_library(&self, library: Library) {
        let torrents: HashSet<_> = library.all().map(|i| i.manifest.infohash).collect();
        let gone = |i: &&Arc<ServedImage>| !torrents.contains(&i.manifest.infohash);
        let now = Instant::now();
        self.retired().extend(self.library().all().filter(gone).map(|i| (now, i.clone())));
        self.tracker().track(torrents);
        *self.library.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(library);
    }

    /// The version of an image that is asked for, as long as it is seeded; the current one otherwise.
    pub fn version(&self, name: &ImageName, asked: Option<InfoHash>) -> Option<Arc<ServedImage>> {
        let is = |i: &Arc<ServedImage>| i.manifest.name == *name && Some(i.manifest.infohash) == asked;
        let library = self.library();
        let there = library.versions(name).find(|i| is(i)).cloned();
        let retired = || self.retired().iter().map(|(_, i)| i.clone()).find(is);
        there.or_else(retired).or_else(|| library.get(name).cloned())
    }

    /// Let go of versions that are no longer seeded.
    pub fn forget_retired(&self) {
        self.retired().retain(|(since, _)| since.elapsed() < KEEP);
    }

    /// This one is gone for the space that it takes: its files are closed at once, whoever is in the middle of it.
    pub fn release(&self, infohash: InfoHash) {
        self.retired().retain(|(_, i)| i.manifest.infohash != infohash);
        self.released.lock().unwrap_or_else(PoisonError::into_inner).insert(infohash);
    }

    /// Which ones were released since the seeder has asked.
    pub fn released(&self) -> HashSet<InfoHash> {
        std::mem::take(&mut self.released.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Make what is added to initrds before a machine asks: packing the agent takes seconds. Blocks.
    pub fn warm(&self) {
        for image in self.library().all() {
            self.phase_one(&image.manifest, None);
        }
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(Instant, Arc<ServedImage>)>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tracker. Hold it shortly.
    pub fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What machines are to do. Hold it shortly.
    pub fn orders(&self) -> MutexGuard<'_, Board> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write the orders down, if they have changed. Blocks.
    pub fn save_orders(&self) -> anyhow::Result<()> {
        // One after the other: an older list never takes the place of a newer one.
        let file = self.kept_orders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(orders) = self.orders().to_save() else { return Ok(()) };
        file.save(&orders).inspect_err(|_| self.orders().not_saved())
    }

    /// Write the machines down, if more than numbers has changed. Blocks.
    pub fn save_machines(&self) -> anyhow::Result<()> {
        let Some(mut saved) = self.clients().to_save(Instant::now()) else { return Ok(()) };
        saved.initrds = self.attempts().others();
        self.kept.save(&saved)
    }

    /// The machines. Hold them shortly.
    pub fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(client: &mut Client, hosts: &Hosts, attempts: &Attempts, library: &Library) {
    client.image_version = client.heartbeat.infohash.and_then(|infohash| {
        let m = &library.all().find(|i| i.manifest.infohash == infohash)?.manifest;
        // Of an image that was never replaced there is nothing to tell.
        (m.version > FIRST || library.versions(&m.name).count() > 1).then_some(m.version)
    });
    client.initrd = client.heartbeat.id.parse().ok().and_then(|mac| attempts.fallback(&mac));
    if hosts.entries.is_empty() {
        return;
    }
    let choice = hosts::choose(hosts, &wake::asker(client));
    client.name = choice.name.map(|n| n.to_string());
    client.group = choice.group.map(|g| g.to_string());
    client.next = choice.image.map(|i| i.to_string());
}
