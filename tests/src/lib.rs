// SPDX-License-Identifier: GPL-3.0-or-later
//! The harness: a network of namespaces, machines in QEMU with their serial
//! consoles, the real server, and real Debian roots. An end-to-end test reads:
//!
//! ```no_run
//! # use boottorrent_tests::*;
//! # fn main() -> anyhow::Result<()> {
//! let image = assets::image(assets::Suite::own()?)?;
//! let lab = Lab::new("example")?;
//! let server = Server::start(&lab, &image, &[])?;
//! let mut vm = Vm::pxe("one").start(&lab)?;
//! vm.expect(MULTI_USER, BOOT)?;
//! assert_eq!(server.clients()?.len(), 1);
//! # Ok(()) }
//! ```
//!
//! Everything that a lab makes belongs to namespaces that exist only as long
//! as this process: nothing of it can be left behind, however the process ends.

pub mod assets;
pub mod clients;
mod cmd;
mod console;
mod container;
pub mod doc;
mod english;
mod firmware;
pub mod follower;
pub mod hostile;
mod lab;
mod ltsp;
pub mod mirror;
mod netns;
mod paths;
mod peer;
mod peerwire;
mod relay;
pub mod reliability;
mod seat;
mod sentences;
mod server;
pub mod site;
mod timeline;
pub mod tls;
pub mod tried;
mod vm;

pub use cmd::{Background, Cmd};
pub use console::{Console, Line, kernel_time};
pub use container::Container;
pub use lab::{Host, Lab};
pub use ltsp::LtspServer;
pub use netns::Netns;
pub use paths::{agent_binary, lab_dir, server_binary, workspace};
pub use peer::{FETCH, Peer, all_complete};
pub use relay::Relay;
pub use seat::{Seat, seats};
pub use server::{AUTHORITATIVE, Client, Server, dhcp_and_tftp, dhcp_server, little_memory, lives_on};
pub use site::Site;
pub use timeline::{Timeline, table};
pub use vm::{BOOT, MULTI_USER, Vm, VmConfig};
