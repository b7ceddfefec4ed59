// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent`, the admin's program.
//!
//! | step | module |
//! |---|---|
//! | image file, directory or tarball becomes an image | [`import`] |
//! | or it is fetched from where distributions offer it, and verified | [`sources`], [`fetch`] |
//! | it appears in the catalogue, whole | [`catalogue`] |
//! | the running server opens it | [`library`], [`serve`] |
//! | tracker and seeder pick it up | [`tracker`], [`seed`] |
//! | the admin says which machine boots what | [`hosts`], [`api`]; over TCP with a [`token`] |
//! | machines fetch boot script, kernel, initrd, torrent | [`ipxe`], [`grub`], [`http`], [`tls`] |
//! | they say how they are doing | [`clients`], [`status`] |
//! | people and programs watch | [`watch`], [`tui`] |
//! | dnsmasq sends machines here | [`setup`], [`tftp`] |
//! | what would stop a boot is said, with its cure | [`doctor`] |

pub mod addon;
pub mod api;
pub mod attempts;
pub mod body;
pub mod cage;
pub mod catalogue;
pub mod cli;
pub mod clients;
pub mod command_line;
pub mod config;
pub mod doctor;
pub mod family;
pub mod fetch;
pub mod figures;
pub mod files;
pub mod firmware;
pub mod grub;
pub mod hosts;
pub mod http;
pub mod import;
pub mod interrupt;
pub mod ipxe;
pub mod keys;
pub mod library;
pub mod ltsp;
pub mod manual;
pub mod meter;
pub mod neighbours;
pub mod net;
pub mod notify;
pub mod operations;
pub mod owner;
pub mod refresh;
pub mod seed;
pub mod serve;
pub mod setup;
pub mod socket;
pub mod sources;
pub mod state;
pub mod status;
pub mod table;
pub mod tftp;
pub mod ticket;
pub mod tls;
pub mod token;
pub mod tool;
pub mod tracker;
pub mod tui;
pub mod wake;
pub mod watch;
