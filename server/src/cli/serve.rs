// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent serve`

use crate::{
    config::{Config, SeederKind},
    meter,
    operations::Disk,
    relay::client::First,
    serve,
    tls::Tls,
};
use anyhow::{Context, Result};
use bootspec::units::parse_rate;
use clap::Args;
use std::{io::IsTerminal, net::SocketAddr, path::PathBuf};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Debug, Args)]
#[command(after_help = "\
Kinds of --seeder:
  dealing     shows each piece to one machine first, so that the server's link
              carries every piece about once
  librqbit    shows everything to everybody

Examples:
  boottorrent serve
  boottorrent serve --listen 10.0.0.1:6980 --up 50MB/s
  boottorrent serve --no-seed --no-payload    booted machines serve the others
  boottorrent serve --upstream https://boot.lan:6982    be its relay
  boottorrent serve --check

SIGHUP (systemctl reload boottorrent-server) reads the settings again. Some
count after a restart only, which the log says. A file that cannot be used
changes nothing.")]
pub struct Serve {
    // Not a doc comment: rustdoc would take the address for a link.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        help = "Address and port for HTTP; port 0 takes any, and prints it [default: [::]:6980]"
    )]
    listen: Option<SocketAddr>,
    /// Be a relay of this first server, as in `https://boot.lan:6982` (see `relay add`)
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The port on which the seeder listens [default: 6981]
    #[arg(long, value_name = "N")]
    peer_port: Option<u16>,
    /// Limit the seeder to this many bytes a second, e.g. 50MB/s [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    up: Option<u64>,
    /// Do not seed
    #[arg(long)]
    no_seed: bool,
    /// How the seeder advertises pieces [default: dealing]
    #[arg(long, value_enum, value_name = "KIND", hide_possible_values = true)]
    seeder: Option<SeederKind>,
    /// Do not serve payloads over HTTP
    #[arg(long)]
    no_payload: bool,
    /// Check the settings and exit: 0 if `serve` can use them. Warns of mistakes in hosts.toml
    #[arg(long)]
    check: bool,
    /// The agent to add to live ISOs [default: the installed one]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

impl Serve {
    /// `again` reads the settings once more.
    pub fn run(
        self,
        config: Config,
        again: impl Fn() -> Result<Config> + Send + Sync + 'static,
    ) -> Result<()> {
        let config = self.over(config);
        if self.check {
            Tls::configured(&config.serve, config.serve.listen.port())?;
            First::of(&config.upstream)?;
            println!("the settings can be used");
            machines(&config);
            return Ok(());
        }
        log();
        meter::be_quiet();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let served = runtime.block_on(serve::serve(config, Box::new(move || Ok(self.over(again()?)))));
        // Blocking reads of the engine are not waited for.
        runtime.shutdown_background();
        served
    }
}

impl Serve {
    /// What was given with the command goes before the settings.
    fn over(&self, mut config: Config) -> Config {
        let set = &mut config.serve;
        set.listen = self.listen.unwrap_or(set.listen);
        set.peer_port = self.peer_port.unwrap_or(set.peer_port);
        set.up = self.up.or(set.up);
        set.seed &= !self.no_seed;
        set.seeder = self.seeder.unwrap_or(set.seeder);
        set.payload &= !self.no_payload;
        config.upstream.url = self.upstream.clone().or(config.upstream.url);
        config.boot.agent = self.agent.clone().unwrap_or(config.boot.agent);
        config
    }
}

/// hosts.toml with its calendar. A server that starts without it is better than none: so it is told, and no more.
fn machines(config: &Config) {
    let disk = Disk::of(config);
    let hosts = match disk.hosts.load() {
        Ok(hosts) => hosts,
        Err(e) => {
            return eprintln!("warning: machines and groups are not known until this is corrected: {e:#}");
        }
    };
    for (name, entry) in &hosts.schedule {
        if let Some(image) = entry.image.as_ref().filter(|image| !disk.has_image(image)) {
            eprintln!("warning: calendar: '{name}' switches to '{image}', and there is no such image");
        }
    }
}

/// One line for each event, on stderr: ours all, the engine's only when something is wrong.
fn log() {
    let filter =
        Targets::new().with_default(LevelFilter::ERROR).with_target("boottorrent_server", LevelFilter::INFO);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // The journal has times of its own.
    let lines = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => lines.without_time().boxed(),
        None => lines.boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
}
