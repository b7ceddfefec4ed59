// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line.

use bootspec::{PEER_PORT, RUN_DIR, params::Seed};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Fetches a boot image over BitTorrent from inside the initramfs, mounts it as
/// the root filesystem, and goes on seeding it to other machines.
#[derive(Parser)]
#[command(name = "boottorrent-agent", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Boot: read /proc/cmdline, fetch the image, mount it, stay and seed.
    ///
    /// The initramfs' boot script calls this. Exit codes are in docs/kernel-parameters.md.
    Boot(BootArgs),
    /// Tell how the running agent is doing.
    Status(StatusArgs),
    /// Fetch an image into a file, without mounting it.
    Fetch(FetchArgs),
}

/// Arguments of `boot`. Every path can be given, for tests.
#[derive(Args, Clone)]
pub struct BootArgs {
    /// Where to mount the root filesystem.
    #[arg(long, value_name = "DIR", default_value = "/root")]
    pub root_mnt: PathBuf,
    /// The kernel command line.
    #[arg(long, value_name = "FILE", default_value = "/proc/cmdline", hide = true)]
    pub cmdline_file: PathBuf,
    /// Where the agent keeps what must outlive the initramfs.
    #[arg(long, value_name = "DIR", default_value = RUN_DIR, hide = true)]
    pub run_dir: PathBuf,
    /// Where the initramfs leaves net-*.conf.
    #[arg(long, value_name = "DIR", default_value = "/run", hide = true)]
    pub net_dir: PathBuf,
    /// The memory figures.
    #[arg(long, value_name = "FILE", default_value = "/proc/meminfo", hide = true)]
    pub meminfo: PathBuf,
    /// The kernel log.
    #[arg(long, value_name = "FILE", default_value = "/dev/kmsg", hide = true)]
    pub kmsg: PathBuf,
    /// The port for peers.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT, hide = true)]
    pub port: u16,
    /// This is the process that stays.
    #[arg(long, hide = true)]
    pub child: bool,
}

/// Arguments of `status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Print JSON, as the server gets it in heartbeats.
    #[arg(long)]
    pub json: bool,
    /// Where the running agent keeps its socket.
    #[arg(long, value_name = "DIR", default_value = RUN_DIR, hide = true)]
    pub run_dir: PathBuf,
}

/// Arguments of `fetch`.
#[derive(Args)]
pub struct FetchArgs {
    /// The .torrent: an http:// URL or a file.
    #[arg(long, value_name = "URL|FILE")]
    pub torrent: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// How long to seed when it is complete: forever, off, or a time such as 30m.
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = parse_seed)]
    pub seed: SeedArg,
    /// Give up when nothing has come for this many seconds; 0 waits for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Print progress as JSON lines on standard output.
    #[arg(long)]
    pub json: bool,
    /// Tell what the engine does.
    #[arg(long, short)]
    pub verbose: bool,
    /// The port for peers.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT)]
    pub port: u16,
    /// Never fetch pieces from the server over HTTP.
    #[arg(long)]
    pub no_http: bool,
}

/// A seeding time on the command line.
#[derive(Clone, Copy, Debug)]
pub struct SeedArg(pub Seed);

fn parse_seed(text: &str) -> Result<SeedArg, String> {
    let (params, remarks) = bootspec::Params::parse(&format!("boottorrent.seed={text}"));
    match remarks.first() {
        None => Ok(SeedArg(params.seed)),
        Some(_) => Err("write forever, off, or a time such as 30m".into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        super::Cli::command().debug_assert();
    }
}
