// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel parameters of the agent: one [`TABLE`] from which come the
//! parser, the renderer that the server uses, and docs/kernel-parameters.md.

mod remark;
mod secret;
mod values;
mod words;

use crate::{
    DeviceName, HostName, ImageName, InfoHash, Overlay, Sha256Sum, Target, cmdline, device,
    order::Action,
    partition::{PARTITION, PartitionName},
    seed, units,
};
use std::{net::SocketAddr, time::Duration};

pub use crate::seed::Seed;
pub use remark::Remark;
pub use secret::BootSecret;
use values::{actions, assign, group, host_port, items, joined, layers, relay_memory, targets};
pub use values::{peer, tracker};
use words::{KEY_PLACES, KINDS, LOGS, ONFAIL, SECTOR, SECTORS, SWITCH, THEN, choose, chosen};
pub use words::{KeyPlace, KindParam, Log, OnFail, Then};

/// What every parameter of ours begins with.
pub const PREFIX: &str = "boottorrent.";

/// The parameters of one boot. `Default` is what an empty command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// URL or path of the .torrent, or a magnet link.
    pub torrent: Option<String>,
    /// The server: `HOST`, `HOST:PORT` or `http://HOST:PORT`.
    pub server: Option<String>,
    /// Servers with the same images, as `server` is written: for when it does not answer.
    pub relays: Vec<String>,
    /// Bytes of RAM from which kernels and initrds are given to other machines, once booted.
    pub relay: Option<u64>,
    /// The image's name on the server.
    pub image: Option<ImageName>,
    /// The only infohash that may boot.
    pub infohash: Option<InfoHash>,
    /// Whether a signed version may boot that is older than one which this machine has booted.
    pub allow_older: bool,
    /// Which file of a torrent of several is the payload.
    pub file: Option<String>,
    /// Where the payload is kept: the first that has room.
    pub target: Vec<Target>,
    /// What the payload is.
    pub kind: KindParam,
    /// The root partition of a disk image.
    pub partition: Option<PartitionName>,
    /// Bytes of the sectors in which a disk image's partition table counts.
    pub sector: u32,
    /// What comes after a disk was written.
    pub then: Then,
    /// The machine's name.
    pub hostname: Option<HostName>,
    /// The files that are laid over the root, in this order.
    pub files: Vec<Sha256Sum>,
    /// Whether the server has private files for this machine.
    pub private: bool,
    /// Where the key is kept by which the server knows this machine.
    pub key: KeyPlace,
    /// The machine's group, for templates among them.
    pub group: Option<String>,
    /// Where what the booted system writes is kept.
    pub overlay: Overlay,
    /// The one device on which a filesystem for images may be made.
    pub mkfs: Option<DeviceName>,
    /// How long to seed after the boot.
    pub seed: Seed,
    /// Bytes a second sent at most.
    pub up: Option<u64>,
    /// Bytes a second received at most.
    pub down: Option<u64>,
    /// Trackers besides those of the torrent.
    pub tracker: Vec<String>,
    /// Peers to start with.
    pub peers: Vec<SocketAddr>,
    /// Whether HTTP may serve what peers do not.
    pub fallback: bool,
    /// How long to wait without any progress; `None`: for ever.
    pub timeout: Option<Duration>,
    /// What to do when the boot fails.
    pub onfail: OnFail,
    /// Whether to send heartbeats to the server.
    pub report: bool,
    /// Which orders of the server's the booted machine obeys.
    pub remote: Vec<Action>,
    /// What the server gave this boot, so that it knows the machine's heartbeats.
    pub secret: Option<BootSecret>,
    /// How much to tell.
    pub log: Log,
}

/// How long the agent waits without progress when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

impl Default for Params {
    fn default() -> Self {
        Self {
            torrent: None,
            server: None,
            relays: Vec::new(),
            relay: None,
            image: None,
            infohash: None,
            allow_older: false,
            file: None,
            target: vec![Target::Ram],
            kind: KindParam::Auto,
            partition: None,
            sector: SECTOR,
            then: Then::Boot,
            hostname: None,
            files: Vec::new(),
            private: false,
            key: KeyPlace::Auto,
            group: None,
            overlay: Overlay::Ram,
            mkfs: None,
            seed: Seed::Forever,
            up: None,
            down: None,
            tracker: Vec::new(),
            peers: Vec::new(),
            fallback: true,
            timeout: Some(DEFAULT_TIMEOUT),
            onfail: OnFail::Panic,
            report: true,
            remote: Vec::new(),
            secret: None,
            log: Log::Info,
        }
    }
}

/// One row of the table.
pub struct Spec {
    /// The name without [`PREFIX`].
    pub name: &'static str,
    /// What may be written after `=`.
    pub value: &'static str,
    /// What holds when it is not given.
    pub default: &'static str,
    /// One or two sentences for the admin.
    pub help: &'static str,
    set: fn(&mut Params, &str) -> Result<(), String>,
    get: fn(&Params) -> Option<String>,
}

/// Every `boottorrent.*` parameter.
pub static TABLE: &[Spec] = &[
    Spec {
        name: "torrent",
        value: "URL|PATH|MAGNET",
        default: "made from server and image",
        help: "The .torrent of the image: an http:// or https:// URL, a path inside the initramfs, or a magnet link, for which other machines are asked.",
        set: |p, v| {
            if ["http://", "https://", "/", "magnet:?"].iter().any(|begin| v.starts_with(begin)) {
                p.torrent = Some(v.to_owned());
                Ok(())
            } else {
                Err(format!(
                    "'{v}' is not a valid torrent: use an http:// or https:// URL, an absolute path or a magnet link"
                ))
            }
        },
        get: |p| p.torrent.clone(),
    },
    Spec {
        name: "server",
        value: "[https://]HOST[:PORT]",
        default: "the DHCP next-server, port 6980",
        help: "The machine that runs `boottorrent serve`. The .torrent is then http://HOST:PORT/images/IMAGE/IMAGE.torrent. With https://, port 6982, and the certificate of its authority in the initrd.",
        set: |p, v| host_port(v).map(|server| p.server = Some(server)),
        get: |p| p.server.clone(),
    },
    Spec {
        name: "relays",
        value: "[https://]HOST[:PORT][,…]",
        default: "none",
        help: "Other servers with the same images, such as the first server of a relay: asked in this order when boottorrent.server= does not answer, for the .torrent only if boottorrent.infohash= says which it is. Servers that have relays write this by themselves.",
        set: |p, v| {
            p.relays = items(v).map(host_port).collect::<Result<_, String>>()?;
            Ok(())
        },
        get: |p| (!p.relays.is_empty()).then(|| joined(&p.relays)),
    },
    Spec {
        name: "relay",
        value: "SIZE|none",
        default: "none",
        help: "Once booted, give kernels and initrds to other machines over HTTP, from at most so much RAM: the server sends each of them here once and not to each machine. `boottorrent host set NODE --relay` sets it, and sends the machines of its group there.",
        set: |p, v| relay_memory(v).map(|size| p.relay = size),
        get: |p| p.relay.map(|size| size.to_string()),
    },
    Spec {
        name: "image",
        value: "NAME",
        default: "none",
        help: "The image's name on the server.",
        set: |p, v| assign(&mut p.image, v),
        get: |p| p.image.as_ref().map(ToString::to_string),
    },
    Spec {
        name: "infohash",
        value: "40 hex digits",
        default: "any",
        help: "Boot only the torrent with this infohash. This pins every byte of the image; use it wherever the network is not trusted.",
        set: |p, v| assign(&mut p.infohash, v),
        get: |p| p.infohash.map(|h| h.to_string()),
    },
    Spec {
        name: "allow-older",
        value: "on|off",
        default: "off",
        help: "Boot a signed image although this machine's disk remembers a newer version of it. From then on, it is the newest.",
        set: |p, v| choose(&mut p.allow_older, v, SWITCH),
        get: |p| p.allow_older.then(|| "on".into()),
    },
    Spec {
        name: "file",
        value: "NAME|PATH",
        default: "the one that is nearly all of the torrent",
        help: "Which file of a torrent of several is the image, by its path in the torrent, or by its name.",
        set: |p, v| match v.is_empty() || v.chars().any(char::is_control) {
            true => Err(format!("'{}' is not a valid file name", v.escape_debug())),
            false => {
                p.file = Some(v.to_owned());
                Ok(())
            }
        },
        get: |p| p.file.clone(),
    },
    Spec {
        name: "target",
        value: "ram|stream|LABEL=…|/dev/…|device:DISK",
        default: "ram",
        help: "Where the image is kept: ram is a tmpfs of the image's size at /run/boottorrent/store; stream is the same, and the root is in use before the image is complete; a filesystem that is named (LABEL=…, UUID=…, PARTUUID=… or /dev/…) keeps images between boots; device:DISK overwrites a disk (disk.md). Of several, as in ram,LABEL=images, the first that has room is taken.",
        set: |p, v| {
            p.target = targets(v)?;
            Ok(())
        },
        get: |p| (p.target != [Target::Ram]).then(|| joined(&p.target)),
    },
    Spec {
        name: "kind",
        value: "auto|filesystem|iso|disk|ltsp",
        default: "auto",
        help: "What the image is. auto recognises it by content; filesystem is a squashfs, erofs or ext4 root under an overlay; iso is a live ISO, which the scripts of its own initrd boot; disk is an image with partitions, one of which is such a root; ltsp is an image of LTSP, which its own scripts mount (found by ltsp.image=, ltsp.md).",
        set: |p, v| choose(&mut p.kind, v, KINDS),
        get: |p| chosen(&p.kind, KINDS),
    },
    Spec {
        name: "partition",
        value: PARTITION,
        default: "what root= says, else found",
        help: "The root partition of a disk image. Labels and UUIDs are looked for inside the image alone.",
        set: |p, v| assign(&mut p.partition, v),
        get: |p| p.partition.as_ref().map(ToString::to_string),
    },
    Spec {
        name: "sector",
        value: "512|4096",
        default: "512",
        help: "Bytes of the sectors in which the partition table of a disk image counts; the server sets it. A disk with other sectors is not overwritten with it (target=device:).",
        set: |p, v| choose(&mut p.sector, v, SECTORS),
        get: |p| chosen(&p.sector, SECTORS),
    },
    Spec {
        name: "then",
        value: "boot|reboot|poweroff",
        default: "boot",
        help: "What comes after a disk was written (target=device:). boot mounts its root partition and goes on. reboot and poweroff first seed as long as boottorrent.seed= says, where that has an end.",
        set: |p, v| choose(&mut p.then, v, THEN),
        get: |p| chosen(&p.then, THEN),
    },
    Spec {
        name: "hostname",
        value: "NAME",
        default: "the one from DHCP, else boot- and the end of the MAC address",
        help: "The host name of the booted system. The server writes it for a machine that has a name (boottorrent host set … --name).",
        set: |p, v| assign(&mut p.hostname, v),
        get: |p| p.hostname.as_ref().map(ToString::to_string),
    },
    Spec {
        name: "files",
        value: "SHA256[,SHA256…]",
        default: "none",
        help: "Files that are fetched from the server and laid over the root, one archive over the other. The server writes it for a machine that has files (boottorrent host set … --files).",
        set: |p, v| layers(v).map(|all| p.files = all),
        get: |p| (!p.files.is_empty()).then(|| joined(&p.files)),
    },
    Spec {
        name: "private",
        value: "on|off",
        default: "off",
        help: "Whether the server has private files for this machine, which it sends over HTTPS to the machine with the accepted key only. The server writes it for a machine that has private files (boottorrent host set … --private).",
        set: |p, v| choose(&mut p.private, v, SWITCH),
        get: |p| p.private.then(|| "on".into()),
    },
    Spec {
        name: "key",
        value: "auto|efi",
        default: "auto",
        help: "Where this machine keeps its own key, by which the server knows it before it sends private files. auto: on the filesystem that keeps images (target=LABEL=…); without one in RAM, and the key must be accepted at each boot. efi: in a variable of the UEFI firmware.",
        set: |p, v| choose(&mut p.key, v, KEY_PLACES),
        get: |p| chosen(&p.key, KEY_PLACES),
    },
    Spec {
        name: "group",
        value: "NAME",
        default: "none",
        help: "The machine's group, as templates among its files say it ({{group}}). The server writes it together with boottorrent.files=.",
        set: |p, v| group(v).map(|group| p.group = Some(group)),
        get: |p| p.group.clone(),
    },
    Spec {
        name: "overlay",
        value: device::OVERLAY,
        default: "ram, half of the RAM that is left",
        help: "Where the running system's writes go, and how much space they may use. zram compresses it: twice as much fits into the same RAM, where the kernel has zram and the initrd mkfs.ext4 (else it is ram). On a filesystem it is kept for the next boot of the same version of the image; another version begins anew. none: the root is read-only.",
        set: |p, v| v.parse().map(|overlay| p.overlay = overlay),
        get: |p| (p.overlay != Overlay::Ram).then(|| p.overlay.to_string()),
    },
    Spec {
        name: "mkfs",
        value: "LABEL=…|UUID=…|PARTUUID=…|SERIAL=…|/dev/…",
        default: "none",
        help: "Make a filesystem for images (ext4, label boottorrent) on this partition or disk, if it is empty or carries one that boottorrent made; refused when it is mounted or carries anything else. What boottorrent made before is kept as it is.",
        set: |p, v| v.parse().map(|name| p.mkfs = Some(name)),
        get: |p| p.mkfs.as_ref().map(ToString::to_string),
    },
    Spec {
        name: "seed",
        value: seed::VALUE,
        default: "forever",
        help: "How long the machine goes on sending to others after its root is mounted. ratio:2: until it has sent twice the image's size. idle:50KB/s: until for a minute nobody has wanted more than that.",
        set: |p, v| v.parse().map(|seed| p.seed = seed),
        get: |p| (p.seed != Seed::Forever).then(|| p.seed.to_string()),
    },
    Spec {
        name: "up",
        value: "RATE",
        default: "unlimited",
        help: "Send at most this many bytes a second to all peers together, as in 10MB/s; at least 16K.",
        set: |p, v| units::parse_rate(v).map(|r| p.up = Some(r)),
        get: |p| p.up.map(|r| r.to_string()),
    },
    Spec {
        name: "down",
        value: "RATE",
        default: "unlimited",
        help: "Receive at most this many bytes a second; at least 16K.",
        set: |p, v| units::parse_rate(v).map(|r| p.down = Some(r)),
        get: |p| p.down.map(|r| r.to_string()),
    },
    Spec {
        name: "tracker",
        value: "URL[,URL…]",
        default: "those of the torrent",
        help: "More trackers, with http:// or udp:// URLs.",
        set: |p, v| {
            p.tracker = items(v).map(tracker).collect::<Result<_, String>>()?;
            Ok(())
        },
        get: |p| (!p.tracker.is_empty()).then(|| p.tracker.join(",")),
    },
    Spec {
        name: "peers",
        value: "ADDRESS:PORT[,…]",
        default: "none",
        help: "Peers to start with, besides those that trackers, local discovery and other peers name.",
        set: |p, v| {
            p.peers = items(v).map(peer).collect::<Result<_, String>>()?;
            Ok(())
        },
        get: |p| (!p.peers.is_empty()).then(|| joined(&p.peers)),
    },
    Spec {
        name: "fallback",
        value: "on|off",
        default: "on",
        help: "Whether pieces that no peer sends are fetched from the server over HTTP.",
        set: |p, v| choose(&mut p.fallback, v, SWITCH),
        get: |p| (!p.fallback).then(|| "off".into()),
    },
    Spec {
        name: "timeout",
        value: "TIME|off",
        default: "10m",
        help: "Give up when nothing has come for this long (no server, no metainfo, no piece). off waits indefinitely.",
        set: |p, v| {
            p.timeout = match v {
                "off" | "0" => None,
                time => Some(units::parse_time(time)?),
            };
            Ok(())
        },
        get: |p| match p.timeout {
            Some(DEFAULT_TIMEOUT) => None,
            None => Some("off".into()),
            Some(t) => Some(units::render_time(t)),
        },
    },
    Spec {
        name: "onfail",
        value: "panic|reboot|poweroff",
        default: "panic",
        help: "What happens when the boot fails. panic does what panic= says: a rescue shell without it, a reboot after N seconds with panic=N.",
        set: |p, v| choose(&mut p.onfail, v, ONFAIL),
        get: |p| chosen(&p.onfail, ONFAIL),
    },
    Spec {
        name: "report",
        value: "on|off",
        default: "on",
        help: "Whether the machine tells the server how it is doing (boottorrent status).",
        set: |p, v| choose(&mut p.report, v, SWITCH),
        get: |p| (!p.report).then(|| "off".into()),
    },
    Spec {
        name: "remote",
        value: "switch,reboot,poweroff",
        default: "none",
        help: "Which orders of the server the booted machine obeys (boottorrent host switch, reboot, poweroff). With a key in the initrd, only signed ones (security.md). It needs boottorrent.report=on.",
        set: |p, v| actions(v).map(|all| p.remote = all),
        get: |p| (!p.remote.is_empty()).then(|| joined(&p.remote)),
    },
    Spec {
        name: "secret",
        value: "WORD",
        default: "none",
        help: "Written by the server into each boot script, for this boot alone: heartbeats that carry it are the machine's own. Do not set it by hand (security.md).",
        set: |p, v| assign(&mut p.secret, v),
        get: |p| p.secret.as_ref().map(ToString::to_string),
    },
    Spec {
        name: "log",
        value: "error|warn|info|debug",
        default: "info; warn with quiet",
        help: "How much goes to the kernel log and /run/boottorrent/agent.log.",
        set: |p, v| choose(&mut p.log, v, LOGS),
        get: |p| chosen(&p.log, LOGS),
    },
];

impl Params {
    /// Read a kernel command line. The last one wins; words that are not ours
    /// are left alone. Besides our own, only `quiet` and `debug` count: they
    /// set the default of `boottorrent.log`.
    pub fn parse(text: &str) -> (Params, Vec<Remark>) {
        let mut params = Params::default();
        let mut remarks = Vec::new();
        let words = cmdline::split(text);
        for (name, _) in &words {
            match name.as_str() {
                "quiet" => params.log = Log::Warn,
                "debug" => params.log = Log::Debug,
                _ => {}
            }
        }
        let root = words.iter().rev().find(|(n, _)| n == "root").and_then(|(_, value)| value.as_deref());
        if let Some(torrent) = root.and_then(from_root)
            && let Err(why) = (TABLE[0].set)(&mut params, &torrent)
        {
            remarks.push(Remark::Bad { name: "root".into(), why });
        }
        for (name, value) in words.iter().filter(|(n, _)| n.starts_with(PREFIX)) {
            let short = &name[PREFIX.len()..];
            let Some(spec) = TABLE.iter().find(|s| cmdline::same_name(s.name, short)) else {
                remarks.push(Remark::Unknown { name: name.clone(), guess: guess(short) });
                continue;
            };
            if let Err(why) = (spec.set)(&mut params, value.as_deref().unwrap_or("")) {
                remarks.push(Remark::Bad { name: name.clone(), why });
            }
        }
        (params, remarks)
    }

    /// The command line that [`Params::parse`] reads back as this: only what is not the default.
    pub fn render(&self) -> String {
        let words: Vec<String> = TABLE
            .iter()
            .filter_map(|s| Some(cmdline::render(&format!("{PREFIX}{}", s.name), &(s.get)(self)?)))
            .collect();
        words.join(" ")
    }
}

/// The .torrent that `root=` names where dracut is: `boottorrent:URL`, and as other programs for
/// BitTorrent are told it there, `live:torrent://HOST/PATH`.
fn from_root(root: &str) -> Option<String> {
    match root.strip_prefix("live:torrent://") {
        Some(rest) => Some(format!("http://{rest}")),
        None => root.strip_prefix("boottorrent:").filter(|url| !url.is_empty()).map(str::to_owned),
    }
}

/// The parameter that a misspelt one is nearest to, if it is near.
fn guess(short: &str) -> Option<String> {
    let (distance, name) =
        TABLE.iter().map(|s| (strsim::damerau_levenshtein(s.name, short), s.name)).min()?;
    (distance <= 2.max(name.len() / 3) && distance < name.len()).then(|| format!("{PREFIX}{name}"))
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
