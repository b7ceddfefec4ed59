// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /boot.ipxe?mac=&platform=&arch=&uuid=&serial=&ip=&hostname=&image=`, `GET /grub.cfg?mac=&arch=&image=`, and the
//! loader for UEFI HTTP boot.

use super::{
    answer::sentence,
    ends::Ends,
    host::{host, host_of_grub},
    machine, relay,
    site::{Caller, SharedState},
    unlock,
};
use crate::{
    attempts::Stage,
    command_line::short_host,
    firmware::{self, OVER_HTTP},
    grub::{self, Way},
    hosts::{BootChoice, Hosts, Mac, Name, choose, choose::private_of_entry},
    ipxe,
    menu::{self, Menu},
    relay::{node, present::Seeker},
    state::ServerState,
};
use axum::{
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bootspec::{Params, params::PREFIX, text::printable};
use std::{net::SocketAddr, sync::Arc, time::Instant};

pub async fn script(
    state: SharedState,
    ConnectInfo(ends): Caller,
    headers: HeaderMap,
    uri: Uri,
    asked: Query<machine::BootQuery>,
) -> Response {
    let own = host(&headers, ends);
    match elsewhere(&state, &asked, ends).await {
        Some(Elsewhere::Relays(relays)) => return plain(ipxe::to_relays(&own, &relays)),
        Some(Elsewhere::First { first, what }) => return plain(ipxe::to_first(&own, &first, &what)),
        None => {}
    }
    let script = Script { file: "boot.ipxe", host: own, render: &ipxe::script };
    answered(&state, ends, (&headers, &uri), &asked, &script).await
}

pub async fn grub(
    state: SharedState,
    ConnectInfo(ends): Caller,
    headers: HeaderMap,
    uri: Uri,
    asked: Query<machine::BootQuery>,
) -> Response {
    let mac = asked.mac.as_deref().and_then(grub::bootif);
    let render = |menu: &Menu| grub::config(menu, Way::Http(mac.as_deref()));
    let own = host_of_grub(&headers, ends);
    let from = (asked.asker(ends).mac, asked.architecture());
    match elsewhere(&state, &asked, ends).await {
        Some(Elsewhere::Relays(relays)) => return plain(grub::to_relays(&own, &relays, from)),
        Some(Elsewhere::First { first, what }) => return plain(grub::to_first(&own, &first, &what, from)),
        None => {}
    }
    let script = Script { file: "grub.cfg", host: own, render: &render };
    answered(&state, ends, (&headers, &uri), &asked, &script).await
}

/// Who else tells a machine what to boot.
enum Elsewhere {
    /// These relays, the first first.
    Relays(Vec<(String, SocketAddr)>),
    /// The first server, which has something that this relay has not.
    First {
        /// Where it is.
        first: String,
        /// What it has.
        what: String,
    },
}

async fn elsewhere(state: &Arc<ServerState>, asked: &machine::BootQuery, ends: Ends) -> Option<Elsewhere> {
    match &state.here {
        Some(here) => {
            let (first, what) = (here.first(), to_first(state, asked, ends)?);
            tracing::info!("{} is sent to {first}, which has {what}", ends.remote.ip());
            Some(Elsewhere::First { first, what })
        }
        None => to_relays(state, asked, ends).await.map(Elsewhere::Relays),
    }
}

/// A machine of a relay's goes there, unless it comes from one or has been there.
async fn to_relays(
    state: &Arc<ServerState>,
    asked: &machine::BootQuery,
    ends: Ends,
) -> Option<Vec<(String, SocketAddr)>> {
    if asked.relay.is_some() || asked.wanted().is_some() {
        return None;
    }
    let known = relay::known_if_any(state).await?;
    let (hosts, asker) = (state.hosts(), asked.asker(ends));
    let choice = choose(&hosts, &asker);
    if relay::has_private(state, choice.key.as_ref()) {
        return None;
    }
    let groups = groups(&hosts, &choice);
    let ip = asker.ip.unwrap_or(ends.remote.ip());
    let seeker = Seeker { ip, mac: asker.mac, groups: &groups };
    let relays = state.relays.for_machine(&known, seeker, Instant::now());
    let (name, address) = relays.first()?;
    tracing::info!("{ip} is sent to relay {name} at {address}");
    Some(relays)
}

/// The groups that a machine is in, the nearest first.
fn groups<'a>(hosts: &'a Hosts, choice: &BootChoice) -> Vec<&'a Name> {
    let lineage = choice.group.as_ref().map(|group| hosts.lineage(group)).unwrap_or_default();
    lineage.into_iter().map(|(name, _)| name).collect()
}

/// What a machine should boot that is not here, and the first server has.
fn to_first(state: &ServerState, asked: &machine::BootQuery, ends: Ends) -> Option<String> {
    let choice = choose(&state.hosts(), &asked.asker(ends));
    let named = asked.wanted().and_then(|name| name.parse().ok());
    let wanted = named.as_ref().or(choice.image.as_ref());
    match relay::has_private(state, choice.key.as_ref()) {
        true => Some("its private files".to_owned()),
        false => {
            let assigned = choice.image.as_ref();
            relay::missing(state, wanted, assigned, choice.menu && asked.wanted().is_none())
        }
    }
}

/// What is locked is rendered for who has proven a password.
async fn answered(
    state: &ServerState,
    ends: Ends,
    (headers, uri): (&HeaderMap, &Uri),
    asked: &machine::BootQuery,
    script: &Script<'_>,
) -> Response {
    let locked = match asked.wanted() {
        Some(name) => is_locked(state, asked, ends, name),
        None => false,
    };
    if locked && let Err(refused) = unlock::proven(state, headers, uri, ends.remote.ip()).await {
        return refused;
    }
    rendered(state, ends, asked, script, locked)
}

/// Whether what a machine asks for by name wants a password.
fn is_locked(state: &ServerState, asked: &machine::BootQuery, ends: Ends, name: &str) -> bool {
    let config = state.config();
    let assigned = choose(&state.hosts(), &asked.asker(ends)).image.map(|image| image.name);
    match name {
        menu::SHELL => menu::guarded(&config.menu, &state.menu_users()),
        name => menu::locked(&config.menu, name, assigned.as_ref()),
    }
}

/// A boot loader's language.
struct Script<'a> {
    /// The file that it asks for.
    file: &'a str,
    /// How it reaches us.
    host: String,
    render: &'a (dyn Fn(&Menu) -> String + Sync),
}

/// What this machine is to boot, in the language of its boot loader.
fn rendered(
    state: &ServerState,
    ends: Ends,
    asked: &machine::BootQuery,
    script: &Script,
    unlocked: bool,
) -> Response {
    let machine::Decided { choice, secret } = machine::decide(state, asked, ends);
    let proven = asked.asker(ends).mac.filter(|_| secret.is_some());
    let (library, entries) = (state.library(), state.entries());
    let images = library.bootable(choice.image.as_ref());
    let config = state.config();
    let boot = &config.boot;
    let chosen = choice.image.as_ref().map(|image| &image.name);
    let once =
        proven.zip(secret.as_ref()).filter(|_| choice.once).map(|(mac, s)| format!("mac={mac}&secret={s}"));
    let secret: Vec<String> = secret.iter().map(|s| format!("{PREFIX}secret={s}")).collect();
    let append = [
        &[boot.append.trim().to_owned()][..],
        &choice.params,
        &files(&choice, &state.hosts()),
        &secret,
        &others(state, &script.host, asked.asker(ends).mac),
    ]
    .concat();
    let wanted = asked.wanted().or(chosen.filter(|_| !choice.menu).map(|i| i.as_str()));
    let machine = asked.architecture();
    let fitting: Vec<_> = images.iter().filter(|m| m.architecture == machine).copied().collect();
    let one = match (wanted, &fitting[..]) {
        (Some(name), fitting) => fitting.iter().find(|m| m.name.as_str() == name),
        (None, [only]) if entries.iter().all(|(_, e)| e.hidden) => Some(only),
        (None, _) => None,
    };
    // Only a machine that is what it says counts: nobody takes its small initrd away.
    let stage = match (proven, one) {
        (Some(mac), Some(image)) => state.stage(mac, image),
        _ => Stage::Card,
    };
    let text = (script.render)(&Menu {
        host: &script.host,
        first: state.here.as_ref().map(|here| here.first()),
        node: node(state, &choice, asked.asker(ends).mac),
        machine,
        images: &images,
        entries: &entries,
        settings: &config.menu,
        users: &state.menu_users(),
        unlocked,
        once: once.as_deref(),
        wanted,
        assigned: chosen,
        default: chosen.or(boot.default.as_ref()),
        timeout: boot.timeout.as_millis(),
        append: append.join(" ").trim(),
        stage: &|m| if one.is_some_and(|one| one.name == m.name) { stage } else { Stage::Card },
        phase_one: &|m| state.phase_one(m, asked.card.as_deref()),
    });
    let word = |w: &Option<String>| w.as_deref().map_or("?".into(), |w| printable(w, 40));
    let (mac, platform) = (word(&asked.mac), word(&asked.platform));
    let name = choice.name.map(|n| format!(" ({n})")).unwrap_or_default();
    tracing::info!("{mac}{name} ({}, {platform}) asks for {}", ends.remote.ip(), script.file);
    if let Some(image) = one.filter(|_| state.here.is_some() && config.upstream.disk.is_some()) {
        let (catalogue, infohash) = (state.disk().catalogue, image.infohash);
        // It goes last when space is short. That it cannot be written down only makes it go sooner.
        tokio::task::spawn_blocking(move || catalogue.used(infohash));
    }
    plain(text)
}

/// The machine of its group that gives it kernel and initrd.
fn node(state: &ServerState, choice: &BootChoice, mac: Option<Mac>) -> Option<SocketAddr> {
    let there = node::there(&state.clients(), Instant::now());
    if there.is_empty() {
        return None;
    }
    let hosts = state.hosts();
    let groups = groups(&hosts, choice);
    node::for_machine(&hosts, &groups, mac, there)
}

/// A boot loader's script.
fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// Servers besides this one that a machine may ask when this one does not answer.
const OTHERS: usize = 3;

/// For a relay's machines the first server, then other relays: not the same one for all machines.
fn others(state: &ServerState, own: &str, mac: Option<Mac>) -> Vec<String> {
    let (first, relays) = match &state.here {
        Some(here) => (Some(here.first()), here.snapshot().map(|s| s.relays.clone()).unwrap_or_default()),
        None => (None, state.relays.there(Instant::now())),
    };
    let mut relays: Vec<String> = relays.into_iter().filter(|at| at != own).collect();
    let by = mac.map_or(0, Mac::share) % relays.len().max(1);
    relays.rotate_left(by);
    let all = first.into_iter().filter(|at| at != own).chain(relays);
    let relays = all.map(|at| short_host(&at).to_owned()).take(OTHERS).collect();
    let params = Params { relays, ..Params::default() };
    Some(params.render()).filter(|words| !words.is_empty()).into_iter().collect()
}

/// The files that the machine's agent lays over its image, and what templates among them need to know.
fn files(choice: &BootChoice, hosts: &Hosts) -> Vec<String> {
    // As they will be sent: by its entry alone, whatever address and name it says it has.
    let private = choice.key.as_ref().is_some_and(|key| !private_of_entry(hosts, key).is_empty());
    let params = Params {
        files: choice.files.clone(),
        private,
        group: choice.group.as_ref().filter(|_| private || !choice.files.is_empty()).map(ToString::to_string),
        ..Params::default()
    };
    Some(params.render()).filter(|words| !words.is_empty()).into_iter().collect()
}

/// iPXE, for firmware that fetches over HTTP what others fetch by TFTP.
pub async fn loader(ConnectInfo(ends): Caller, Path(file): Path<String>) -> Response {
    let there = || firmware::for_http(std::path::Path::new(firmware::LIB));
    let Some(path) = Some(()).filter(|()| OVER_HTTP.ends_with(&format!("/{file}"))).and_then(|()| there())
    else {
        return sentence(StatusCode::NOT_FOUND, "there is no such loader here");
    };
    tracing::info!("{} asks for {OVER_HTTP}", ends.remote.ip());
    match tokio::fs::read(&path).await {
        // The firmware looks at the type, and not at all at the name.
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/efi")], bytes).into_response(),
        Err(e) => sentence(StatusCode::NOT_FOUND, format_args!("reading {}: {e}", path.display())),
    }
}
