// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent`: from a kernel command line to a mounted root, and a seeder that stays.
//!
//! [`launch`] starts the process that outlives the initramfs; [`story`] is
//! what that process does, top to bottom; the other modules are its steps.

pub mod args;
pub mod beat;
pub mod booted;
pub mod cli;
pub mod destination;
pub mod device;
pub mod dhcp;
pub mod disk;
pub mod disks;
pub mod download;
pub mod early;
pub mod engine_log;
pub mod fail;
pub mod fetch;
pub mod files;
pub mod handed;
pub mod identify;
pub mod identity;
pub mod init;
pub mod iso;
pub mod launch;
pub mod layers;
pub mod lease;
pub mod leave;
pub mod left;
pub mod link;
pub mod locate;
pub mod ltsp;
#[cfg(feature = "tls")]
pub mod machine_key;
pub mod metainfo;
pub mod mkfs;
pub mod modules;
pub mod mounts;
pub mod net;
pub mod oom;
pub mod reach;
pub mod report;
pub mod resume;
pub mod root;
pub mod second;
pub mod status;
pub mod stay;
pub mod store;
pub mod story;
pub mod stream;
pub mod superblock;
pub mod target;
pub mod trust;
pub mod vlan;
pub mod web;
pub mod zram;
