// SPDX-License-Identifier: GPL-3.0-or-later
//! The language that server and agent share: kernel parameters, image
//! manifests, heartbeats, names and units. No I/O, no async.
//!
//! | module | what crosses between server and agent |
//! |---|---|
//! | [`params`] | the kernel command line (one table: parser, renderer, docs) |
//! | [`architecture`] | which machines a kernel is for |
//! | [`device`] | disks by name, and where an image is kept |
//! | [`ltsp`] | what the command line of LTSP says |
//! | [`manifest`] | what the server knows about an image |
//! | [`seed`], [`priority`] | how long a machine sends; how images share the link |
//! | [`heartbeat`] | what a machine tells about itself while it boots |
//! | [`layer`] | files for one machine or many, over one image |
//! | [`live`] | where on a live ISO its initrd is |
//! | [`machine_key`] | by what the server knows a machine before it sends private files |
//! | [`modalias`] | which driver is for which device |
//! | [`order`] | what an admin wants of a machine that runs |
//! | [`name`], [`infohash`] | names that are safe in paths and URLs; identity of torrents and payloads |
//! | [`text`] | other people's text, before it is shown |
//! | [`trust`] | what is signed of an image, by which keys, and what is refused |
//! | [`units`] | sizes, rates and times as people type and read them |

pub mod architecture;
pub mod base64;
pub mod cmdline;
pub mod device;
pub mod docs;
pub mod exit;
pub mod fstab;
pub mod heartbeat;
pub mod host_name;
pub mod infohash;
pub mod layer;
pub mod live;
pub mod ltsp;
pub mod machine_key;
pub mod manifest;
pub mod modalias;
pub mod name;
pub mod order;
pub mod params;
pub mod partition;
pub mod priority;
pub mod seed;
pub mod smbios;
pub mod text;
pub mod trust;
pub mod units;
pub mod vlan;

pub use architecture::Architecture;
pub use device::{DeviceName, Overlay, Target};
pub use exit::Exit;
pub use heartbeat::{Heartbeat, Phase, Progress};
pub use host_name::{HostName, is_host_name};
pub use infohash::{InfoHash, Sha256Sum};
pub use manifest::ImageManifest;
pub use name::{ImageName, ImageRef};
pub use params::Params;
pub use priority::Priority;
pub use seed::Seed;

/// The one port on which the server speaks HTTP.
pub const HTTP_PORT: u16 = 6980;
/// The port on which it speaks HTTP over TLS, where it has a certificate.
pub const HTTPS_PORT: u16 = 6982;
/// The port on which server and agents listen for BitTorrent peers.
pub const PEER_PORT: u16 = 6981;
/// The server's systemd unit, as users type it.
pub const SERVER_UNIT: &str = "boottorrent-server";
/// Where the package boottorrent-agent puts the agent.
pub const AGENT: &str = "/usr/libexec/boottorrent/boottorrent-agent";
/// Where public keys are, on a server and in an initramfs, and a server's secret ones.
pub const KEYS_DIR: &str = "/etc/boottorrent/keys";
/// Where certificates of authorities are (`*.crt`, PEM) whose servers are believed over HTTPS; the hooks put them into every
/// initramfs, at the same place, with the agent that speaks HTTPS.
pub const CA_DIR: &str = "/etc/boottorrent/ca";
/// In the initramfs: kernel modules that its maker left out.
pub const MODULES_DIR: &str = "/usr/share/boottorrent/modules";
/// Where drivers of network cards are in an initrd that the server made: `NAME.driver`, and the modules that it names.
pub const DRIVERS_DIR: &str = "/usr/share/boottorrent/drivers";
/// Where the agent keeps everything that must outlive the initramfs.
pub const RUN_DIR: &str = "/run/boottorrent";
