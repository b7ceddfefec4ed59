// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent`, the admin's program.
//!
//! The modules stand on storeys: a file imports from its own or from those below, and `tests/layers/` holds that.
//!
//! | storey | modules |
//! |---|---|
//! | the command line and the terminal UI, beside the daemon | [`cli`], [`tui`], [`doctor`], [`setup`], [`ltsp`], [`status`], [`manual`] |
//! | the daemon starts | [`serve`] |
//! | what is spoken to machines, browsers and programs | [`http`] |
//! | the running server, and its parts | [`state`], [`refresh`], [`ordering`], [`calendar`], [`figures`], [`seed`], [`tftp`], [`upstream`] |
//! | what it tells, and how it is asked | [`watch`], [`api`] |
//! | boot loaders' files, as text | [`menu`], [`ipxe`], [`grub`] |
//! | machines: which boots what, who is there, who has what | [`hosts`], [`clients`], [`tracker`], [`ticket`], [`neighbours`], [`wake`], [`power`], [`operations`], [`orders`], [`relay`] |
//! | images: made, fetched, verified, signed, kept | [`import`], [`sources`], [`fetch`], [`catalogue`], [`keys`], [`library`], [`family`], [`addon`], [`command_line`] |
//! | the ground: settings, files, other programs, networks | [`config`], [`files`], [`owner`], [`tool`], [`cage`], [`net`], [`firmware`], [`body`], [`tls`], [`token`], [`menu_settings`], [`menu_users`], [`trail`] and small ones |

pub mod addon;
pub mod api;
pub mod attempts;
pub mod body;
pub mod cage;
pub mod calendar;
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
pub mod menu;
pub mod menu_settings;
pub mod menu_users;
pub mod meter;
pub mod neighbours;
pub mod net;
pub mod notify;
pub mod operations;
pub mod ordering;
pub mod orders;
pub mod owner;
mod parallel;
pub mod power;
pub mod refresh;
pub mod relay;
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
pub mod trail;
pub mod tui;
pub mod upstream;
pub mod wake;
pub mod watch;
