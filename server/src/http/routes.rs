// SPDX-License-Identifier: GPL-3.0-or-later
//! All routes, in one list: the router is made of it, and so is docs/api.md (`make docs` writes it; a test compares).

use super::{
    api, boot, change, entries, events, files, layers, orders, page, private, relay, schedule, site::Site,
    track,
};
use crate::{
    api::types::{BootRow, EntryRow, Health, HostRow, TokenRow, Wake, Woken},
    catalogue::ImageChange,
    fetch::request::{FetchRequest, FetchRow},
    hosts::{HostChange, HostChanges, ScheduleEntry, waiting::WaitingKey},
    orders::{OrderRequest, OrderRow, ScheduleRow},
    power::{PowerRequest, PowerRow},
    relay::present::RelayRow,
};
use Who::{Changing, Everybody, Listing, Relay};
use axum::{
    Router,
    routing::{MethodRouter, delete, get, post, put},
};
use bootspec::order::Answer;
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;

/// Who may ask for a route over TCP. Over the local socket everything may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody on the network.
    Everybody,
    /// Everybody, or who has the token: `machines` in `[serve]` of server.toml.
    Listing,
    /// Who has the token.
    Changing,
    /// Who has a relay's token.
    Relay,
}

/// One route.
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    /// As axum matches it.
    pub path: &'static str,
    /// Who may ask.
    pub who: Who,
    /// What is sent: the query, or the body's type.
    pub takes: &'static str,
    /// What comes back.
    pub answers: &'static str,
    handler: fn() -> MethodRouter<Site>,
}

macro_rules! route {
    ($method:ident $path:literal, $who:expr, $takes:literal => $answers:literal, $handler:path) => {
        Route {
            method: stringify!($method),
            path: $path,
            who: $who,
            takes: $takes,
            answers: $answers,
            handler: || $method($handler),
        }
    };
}

/// All of them.
pub const ROUTES: &[Route] = &[
    route!(get "/", Everybody, "" => "the page for a browser", page::page),
    route!(get "/metrics", Everybody, "" => "the figures for Prometheus", api::metrics),
    route!(get "/boot.ipxe", Everybody, "`?mac=&platform=&arch=&uuid=&serial=&ip=&hostname=&image=`, all optional"
        => "the iPXE script for this machine; 401 (HTTP Digest) when `image` is locked, or `:shell`", boot::script),
    route!(get "/grub.cfg", Everybody, "`?mac=&arch=&image=`" => "the same for GRUB", boot::grub),
    route!(get "/boot/{file}", Everybody, "" => "`ipxe.efi`, for UEFI HTTP boot", boot::loader),
    route!(get "/images/{name}/{file}", Everybody, "`?infohash=`: this version"
        => "`vmlinuz`, `initrd`, `own` (an initrd that the server makes; `?card=`: iPXE's `busid`, `?drivers=all`, `?with=disk,vlan,stream,efi`), `addon` (made from the installed agent, for initrds without it), `NAME.torrent`, \
            `NAME.statement`, `NAME.statement.minisig`, `payload`, `sums` (block checksums); with ranges (RFC 9110)",
        files::get),
    route!(get "/entries/{name}/{file}", Everybody, "`begun`: `?mac=&secret=`"
        => "the files of an entry that is not an image: `kernel`, `initrd0`…, `efi`; `begun`: a boot for one time is over",
        entries::get),
    route!(get "/files/{file}", Everybody, "" => "files for machines: `SHA256` as the boot script names it, `SHA256.minisig`; with ranges",
        layers::get),
    route!(get "/private", Everybody, "`?mac=`, over HTTPS, with the machine's own key as Bearer"
        => "`accepted` and the sums of its private files, a line each; `waits` or `another` if this key was not accepted",
        private::list),
    route!(get "/private/{file}", Everybody, "the same" => "one of them: `SHA256`, `SHA256.minisig`", private::get),
    route!(get "/announce", Everybody, "BEP 3, 7, 23" => "the tracker: peers", track::announce),
    route!(get "/scrape", Everybody, "BEP 48" => "the tracker: how many peers there are", track::scrape),
    route!(post "/api/v1/heartbeat", Everybody, "a machine's report" => "nothing, or `Answer`: what the machine is to do", api::heartbeat),
    route!(get "/api/v1/openapi.json", Everybody, "" => "this API as OpenAPI 3.1, made of the same list", api::openapi),
    route!(get "/api/v1/health", Everybody, "" => "`Health`", api::health),
    route!(get "/api/v1/stats", Everybody, ""
        => "all figures: machines by phase, bytes by source, boots, each image's swarm, rates of the last five minutes",
        api::stats),
    route!(get "/api/v1/fetches", Everybody, "" => "list of `FetchRow`", api::fetches),
    route!(get "/api/v1/clients", Listing, ""
        => "every machine: its last report, since when, whether the machine itself says so (`proven`), and which `initrd` it was sent if not its card's; `image_version`, where there is more than one",
        api::clients),
    route!(get "/api/v1/clients/{id}", Listing, "" => "one machine, with the end of its log and its last fifty `boots`", api::client),
    route!(get "/api/v1/images", Listing, ""
        => "every image: its manifest, whether it is the default, its key, the machines that run it, and its \
        `versions` where there are several", api::images),
    route!(get "/api/v1/entries", Listing, "" => "list of `EntryRow`: what else machines can boot", api::entries),
    route!(get "/api/v1/hosts", Listing, "" => "list of `HostRow`", api::hosts),
    route!(get "/api/v1/waiting", Listing, ""
        => "list of `WaitingKey`: machines whose key should be accepted before they get their private files", api::waiting),
    route!(get "/api/v1/events", Listing, ""
        => "images and machines as they change (server-sent events): everything at first", events::events),
    route!(get "/api/v1/orders", Listing, "" => "list of `OrderRow`: what machines that run are to do, and how far they are",
        orders::list),
    route!(get "/api/v1/schedule", Listing, "" => "list of `ScheduleRow`: the calendar, what is due next first", schedule::list),
    route!(get "/api/v1/boots", Listing, "" => "list of `BootRow`: the last 200 boots of all machines, the newest first", api::boots),
    route!(get "/api/v1/relays", Listing, "" => "list of `RelayRow`: the relays, and how they are", relay::list),
    route!(get "/api/v1/relay/snapshot", Relay, "`If-None-Match`"
        => "everything that a relay takes over but for files: images with their signatures, machines and groups, entries, settings; 304",
        relay::snapshot),
    route!(get "/api/v1/relay/images/{name}/{file}", Relay, "`?infohash=`"
        => "a file of an image as it is on the disk: `vmlinuz`, `initrd`, `sums`, `torrent`, `own.archives`, `own.json`; with ranges",
        relay::file),
    route!(post "/api/v1/relay/report", Relay, "how the relay is, and what its machines have said, in one"
        => "the orders of those machines", relay::report),
    route!(get "/api/v1/token", Changing, "" => "`TokenRow`: which token this request came with; a read-only one may ask", api::token),
    route!(post "/api/v1/hosts", Changing, "`HostChanges`" => "list of `HostRow`: all changes are made, or none",
        change::change_hosts),
    route!(put "/api/v1/hosts/{key}", Changing, "`HostChange`" => "`HostRow`", change::set_host),
    route!(delete "/api/v1/hosts/{key}", Changing, "" => "nothing", change::unset_host),
    route!(post "/api/v1/images/{name}", Changing, "`ImageChange`; `version`: this one becomes the current one" => "the image", change::change_image),
    route!(delete "/api/v1/images/{name}", Changing, "`?force=true`: although machines use it"
        => "nothing; 409 while it is in use. NAME@2: one version", change::remove_image),
    route!(post "/api/v1/fetches", Changing, "`FetchRequest`" => "`FetchRow`", change::fetch),
    route!(delete "/api/v1/fetches/{id}", Changing, ""
        => "nothing: a fetch that runs is cancelled, one that has ended is forgotten", change::cancel_fetch),
    route!(post "/api/v1/orders", Changing, "`OrderRequest`: an order for each machine; an earlier one is taken back"
        => "list of `OrderRow`", orders::place),
    route!(delete "/api/v1/orders/{who}", Changing, "a machine or a group, as in `OrderRequest`"
        => "list of `OrderRow`: the orders that were taken back, and those of `stage` `going` or `done`, which could not be; 409 \
            when that is all", orders::take_back),
    route!(put "/api/v1/schedule/{name}", Changing, "`ScheduleEntry`" => "`ScheduleRow`", schedule::set),
    route!(delete "/api/v1/schedule/{name}", Changing, "" => "nothing", schedule::unset),
    route!(post "/api/v1/wake", Changing, "`Wake`" => "`Woken`", change::wake_up),
    route!(post "/api/v1/power", Changing, "`PowerRequest`; `action`: `on`, `off`, `cycle` or `status`"
        => "list of `PowerRow`: one for each machine, with `error` where it was not done", change::switch_power),
];

/// Those that these may ask for.
pub fn routes(who: Who) -> Router<Site> {
    let theirs = ROUTES.iter().filter(|route| route.who == who);
    theirs.fold(Router::new(), |all, route| all.route(route.path, (route.handler)()))
}

/// docs/api.md.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for (title, is_api) in [("The API", true), ("Machines, browsers, Prometheus", false)] {
        writeln!(out, "## {title}\n\n| request | who | takes | answers |\n|---|---|---|---|")
            .expect("a String");
        for route in ROUTES.iter().filter(|r| r.path.starts_with("/api/") == is_api) {
            let path = route.path.split('/').map(shown).collect::<Vec<_>>().join("/");
            let who = match route.who {
                Everybody => "everybody",
                Listing => "listing",
                Changing => "token",
                Relay => "relay",
            };
            let Route { takes, answers, .. } = route;
            let method = route.method.to_uppercase();
            writeln!(out, "| `{method} {path}` | {who} | {takes} | {answers} |").expect("a String");
        }
        out.push('\n');
    }
    out.push_str(BODIES);
    for (name, example) in examples() {
        writeln!(out, "\n`{name}`:\n\n```json\n{example}\n```").expect("a String");
    }
    out
}

/// A part of a path: what stands for something is in capitals.
fn shown(part: &str) -> String {
    match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
        Some(name) => name.to_uppercase(),
        None => part.to_owned(),
    }
}

const HEAD: &str = "\
# HTTP: what the server answers

<!-- Made by `make docs` from server/src/http/routes.rs. Do not edit. -->

Everything is on one port (6980), over TLS on 6982 where there is a certificate, and on the local socket. Errors have a
status from 400 on, and one sentence as text; programs that send `Accept: application/json` get
`{\"status\": 404, \"error\": \"…\"}` from the API. [openapi.json](openapi.json) describes the API for programs, and the server
answers it at `/api/v1/openapi.json`.

Who may ask over TCP:

* everybody: everybody on the network
* listing: everybody, or with `machines = \"token\"` in `[serve]` of server.toml, who has the token
* token: who sends a token (`boottorrent token new`) over TLS, or from the server itself; one that is read-only may ask for
  what is listing, and changes nothing
* relay: who sends a relay's token (`boottorrent relay add`) over TLS; it is good for nothing else

Over the local socket no token is needed: whoever may write to it may change things.

";

const BODIES: &str = "\
## Bodies

JSON, sent with `Content-Type: application/json`; at most 64 KiB (`HostChanges` 8 MiB). Every field of a request is optional, and one that does
not exist is refused. KEY is a MAC address, a UUID, `serial:NUMBER`, `group:NAME` or `default`, percent-encoded where it must be.
";

/// What crosses, one example each.
pub fn examples() -> Vec<(&'static str, String)> {
    fn text<T: Serialize + serde::de::DeserializeOwned>(value: serde_json::Value) -> String {
        let value: T = serde_json::from_value(value).expect("an example is of its type");
        serde_json::to_string_pretty(&value).expect("an example is JSON")
    }
    vec![
        (
            "HostChange",
            text::<HostChange>(json!({
                "set": {"name": "pc1", "group": "room1", "image": "lab", "once": "memtest", "menu": false,
                    "params": ["quiet", "x=1"], "files": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
                "unset": ["once"]
            })),
        ),
        (
            "HostChanges",
            text::<HostChanges>(json!({"changes": [
                {"key": "52:54:00:12:34:56", "change": {"set": {"image": "lab@2"}}},
                {"key": "group:room1", "forget": true}
            ]})),
        ),
        (
            "HostRow",
            text::<HostRow>(
                json!({"key": "group:room1", "image": "lab", "prefix": ["pc-"], "subnet": ["10.0.1.0/24"]}),
            ),
        ),
        (
            "EntryRow",
            text::<EntryRow>(
                json!({"name": "memtest", "title": "Memory test", "what": "kernel and EFI program", "hidden": false}),
            ),
        ),
        (
            "ImageChange",
            text::<ImageChange>(
                json!({"name": "lab-old", "default": true, "priority": 2, "append": "quiet", "version": 2}),
            ),
        ),
        ("FetchRequest", text::<FetchRequest>(json!({"what": "debian-live-xfce", "name": "live"}))),
        (
            "FetchRow",
            text::<FetchRow>(json!({"id": 1, "request": {"what": "debian-live-xfce"}, "state": "fetching",
                "image": "debian-live-xfce", "have": 1_000_000, "total": 3_000_000, "rate": 500_000,
                "started": "2026-11-26T08:00:00Z"})),
        ),
        (
            "RelayRow",
            text::<RelayRow>(json!({"name": "east", "up": true, "age": 0.4, "address": "10.0.1.2:6980",
                "subnet": ["10.0.1.0/24"], "images": 3, "missing": 0, "machines": 24})),
        ),
        (
            "WaitingKey",
            text::<WaitingKey>(json!({"mac": "52:54:00:12:34:56", "address": "10.0.0.9", "seconds": 12,
                "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"})),
        ),
        (
            "OrderRequest",
            text::<OrderRequest>(
                json!({"who": ["group:room1", "pc[01-30]"], "action": "switch", "image": "exam", "at": "09:55",
                "within": 10, "wait_for_users": true, "message": "The exam begins: save your work"}),
            ),
        ),
        (
            "OrderRow",
            text::<OrderRow>(
                json!({"id": "9f3c1c3ae8f0e0a9", "machine": "52:54:00:12:34:56", "name": "pc1", "action": "switch",
                "image": "exam", "made": "2026-11-27T08:30:00Z", "at": "2026-11-27T08:55:00Z",
                "expires": "2026-11-27T09:05:00Z", "wait_for_users": true, "message": "The exam begins: save your work",
                "signed": true, "stage": "ready", "percent": 100, "by": "soft-reboot", "state": "ready (soft-reboot)"}),
            ),
        ),
        (
            "ScheduleEntry",
            text::<ScheduleEntry>(
                json!({"who": ["group:room1"], "days": ["mon-fri"], "times": ["09:55", "13:30"], "image": "exam", "lead": 30,
                "within": 15, "wait_for_users": true, "message": "The exam begins: save your work"}),
            ),
        ),
        (
            "ScheduleRow",
            text::<ScheduleRow>(
                json!({"name": "exams", "who": ["group:room1"], "days": ["mon-fri"], "times": ["09:55"], "image": "exam",
                "next": "2026-11-30T08:55:00Z"}),
            ),
        ),
        (
            "Answer",
            text::<Answer>(
                json!({"order": {"order": "boottorrent order 1\nid: 9f3c1c3ae8f0e0a9\n…", "signature": "untrusted comment: …"}}),
            ),
        ),
        (
            "BootRow",
            text::<BootRow>(
                json!({"machine": "52:54:00:12:34:56", "name": "pc1", "at": "2026-11-26T08:00:00Z", "image": "lab",
                "phase": "seed", "seconds": 21.5, "from_server": 50_000_000, "from_peers": 950_000_000}),
            ),
        ),
        ("TokenRow", text::<TokenRow>(json!({"name": "ansible", "read_only": false}))),
        ("Wake", text::<Wake>(json!({"target": "group:room1"}))),
        ("Woken", text::<Woken>(json!({"sent": ["52:54:00:12:34:56"]}))),
        ("PowerRequest", text::<PowerRequest>(json!({"who": ["pc1", "group:room1"], "action": "status"}))),
        (
            "PowerRow",
            text::<PowerRow>(json!({"key": "52:54:00:12:34:56", "name": "pc1", "by": "ipmi", "state": "on"})),
        ),
        (
            "Health",
            text::<Health>(
                json!({"status": "ok", "version": "0.1.0", "images": 2, "machines": 30, "seeding": 2}),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let on_disk = std::fs::read_to_string(path).expect("reading docs/api.md");
        assert!(on_disk == page(), "docs/api.md is stale: run `make docs`");
    }

    #[test]
    fn whatever_changes_something_needs_the_token() {
        for route in ROUTES.iter().filter(|r| r.method != "get" && r.path != "/api/v1/heartbeat") {
            let relays = route.path.starts_with("/api/v1/relay/");
            assert_eq!(route.who, if relays { Relay } else { Changing }, "{} {}", route.method, route.path);
        }
    }
}
