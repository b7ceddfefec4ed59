// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: what may be given.

use crate::report::Show;
use bootspec::{
    CA_DIR, InfoHash, KEYS_DIR, PEER_PORT, RUN_DIR, Seed, params, seed::VALUE as SEED_VALUE,
    units::parse_rate,
};
use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

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
    /// Called by the initramfs' boot script. Exit codes are in docs/kernel-parameters.md.
    Boot(BootArgs),
    /// Show the state of the running agent.
    Status(StatusArgs),
    /// Fetch an image into a file, without mounting it.
    Fetch(FetchArgs),
    /// Make the interface that vlan=NAME:CARD on the kernel command line asks for, and print its name.
    ///
    /// The initramfs' boot script calls this before it asks for an address. Without vlan= nothing is done.
    Vlan(VlanArgs),
    /// Make the mounted root of a live system this machine's own: machine-id, name servers, DHCP client id.
    ///
    /// A live ISO's initrd calls this right before it switches root, so that each boot gets the same DHCP lease.
    Identify(IdentifyArgs),
    /// Start the agent again if it dies before the image is complete (the agent starts this itself).
    #[command(hide = true)]
    Keep(HeldArgs),
    /// Take the place of an agent that has died (its keeper starts this).
    #[command(hide = true)]
    Resume(HeldArgs),
    /// Become a program of the booted system (the agent starts this itself).
    #[command(hide = true)]
    Host {
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Check, mount or unmount the root that an order switches to (the agent starts this itself).
    #[command(hide = true)]
    Next,
    /// Put another file below a loop device: standard output below standard input (the agent starts this itself).
    #[command(hide = true)]
    Change,
}

/// Arguments of `keep` and `resume`: numbers of file descriptors that were left open.
#[derive(Args)]
pub struct HeldArgs {
    /// A socket to the process that started this one.
    #[arg(long)]
    pub other: i32,
    /// /dev/fuse.
    #[arg(long)]
    pub device: i32,
    /// The kernel log.
    #[arg(long)]
    pub kmsg: Option<i32>,
    /// Loop devices.
    #[arg(long)]
    pub loops: Vec<i32>,
}

/// Arguments of `identify`.
#[derive(Args)]
pub struct IdentifyArgs {
    /// Where the root is mounted.
    #[arg(value_name = "DIR")]
    pub root: PathBuf,
    /// The kernel command line.
    #[arg(long, value_name = "FILE", default_value = "/proc/cmdline", hide = true)]
    pub cmdline_file: PathBuf,
    /// What is /run in the booted system; net-*.conf is there too.
    #[arg(long, value_name = "DIR", default_value = "/run", hide = true)]
    pub run: PathBuf,
    /// The kernel log.
    #[arg(long, value_name = "FILE", default_value = "/dev/kmsg", hide = true)]
    pub kmsg: PathBuf,
}

/// Arguments of `vlan`.
#[derive(Args)]
pub struct VlanArgs {
    /// The kernel command line.
    #[arg(long, value_name = "FILE", default_value = "/proc/cmdline", hide = true)]
    pub cmdline_file: PathBuf,
}

/// Arguments of `boot`. Every path can be given, for tests.
#[derive(Args, Clone)]
pub struct BootArgs {
    /// Where to mount the root filesystem.
    #[arg(long, value_name = "DIR", default_value = "/root")]
    pub root_mnt: PathBuf,
    /// Mount nothing: leave the image to the scripts of a live system, and its path in
    /// /run/boottorrent/medium.
    #[arg(long)]
    pub medium: bool,
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
    /// Where devices are.
    #[arg(long, value_name = "DIR", default_value = "/dev", hide = true)]
    pub dev_dir: PathBuf,
    /// The public keys that images must be signed with; without any, none is required.
    #[arg(long, value_name = "DIR", default_value = KEYS_DIR, hide = true)]
    pub keys_dir: PathBuf,
    /// The certificate authorities trusted over HTTPS.
    #[arg(long, value_name = "DIR", default_value = CA_DIR, hide = true)]
    pub ca_dir: PathBuf,
    /// The kernel log.
    #[arg(long, value_name = "FILE", default_value = "/dev/kmsg", hide = true)]
    pub kmsg: PathBuf,
    /// The port for peers.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT, hide = true)]
    pub port: u16,
    /// The program that reboots the booted system.
    #[arg(long, value_name = "PROGRAM", default_value = "systemctl", hide = true)]
    pub systemctl: String,
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
#[command(after_help = FETCH_HELP)]
pub struct FetchArgs {
    /// The .torrent: an http:// URL, a file, or a magnet link.
    #[arg(long, value_name = "URL|FILE")]
    pub torrent: String,
    /// The file to write, or a folder (the torrent's file name is used).
    #[arg(long, value_name = "FILE|DIR")]
    pub to: PathBuf,
    /// Accept only the torrent with this infohash.
    #[arg(long, value_name = "40 HEX DIGITS")]
    pub infohash: Option<InfoHash>,
    /// Accept only images signed by a minisign key in this folder (*.pub).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Over HTTPS (boottorrent-agent-tls): trust certificate authorities in this folder (*.crt, PEM).
    #[arg(long, value_name = "DIR", default_value = CA_DIR)]
    pub ca: PathBuf,
    /// The file of a multi-file torrent [default: the one that makes up nearly all of it]
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// How long to seed after completion, as boottorrent.seed=.
    #[arg(long, value_name = SEED_VALUE, default_value = "off")]
    pub seed: Seed,
    /// Send at most this many bytes a second, e.g. 10MB/s.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub up: Option<u64>,
    /// Receive at most this many bytes a second.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub down: Option<u64>,
    /// Peers to start with.
    #[arg(long, value_name = "ADDRESS:PORT,…", value_delimiter = ',', value_parser = params::peer)]
    pub peers: Vec<SocketAddr>,
    /// Additional trackers.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = params::tracker)]
    pub tracker: Vec<String>,
    /// Give up after this many seconds without data; 0 waits indefinitely.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// How to show progress, each second [default: text on a terminal, else none].
    #[arg(long, value_enum, value_name = "HOW")]
    pub progress: Option<Show>,
    /// Print progress as JSON twice: at completion, and at the end of seeding.
    #[arg(long, hide = true, conflicts_with = "progress")]
    pub json: bool,
    /// Log what the engine does.
    #[arg(long, short)]
    pub verbose: bool,
    /// The port for peers.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT)]
    pub port: u16,
    /// Never fetch pieces from the server over HTTP.
    #[arg(long)]
    pub no_http: bool,
}

/// Examples and exit codes of `fetch`.
const FETCH_HELP: &str = "\
The file appears under its name when it is complete and verified; until then it
is called FILE.part, and what an interrupted run left in it is used. With
--progress json standard output has one object a line, each second, at
completion, and at the end of seeding; everything else is on standard error.

Examples:
  boottorrent-agent fetch --to /srv/cache \\
      --torrent http://10.0.0.1:6980/images/lab/lab.torrent
  boottorrent-agent fetch --torrent lab.torrent --to lab.img --seed ratio:2
  boottorrent-agent fetch --torrent 'magnet:?xt=urn:btih:…&tr=…' --to . \\
      --file lab.iso
  boottorrent-agent fetch --torrent lab.torrent --to . --progress json | jq

Exit codes:
   0  the file is complete, and seeding is over
   2  an argument cannot be understood
  10  no network
  11  the metainfo (.torrent) could not be had
  12  the image is not the one that was asked for (--infohash, --keys)
  14  nobody sends the image
  15  writing or reading the image failed on this machine";

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::Exit;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    fn fetch(words: &str) -> Result<FetchArgs, String> {
        let line = format!("boottorrent-agent fetch --torrent a --to b {words}");
        match Cli::try_parse_from(line.split_whitespace()) {
            Ok(Cli { command: Command::Fetch(args) }) => Ok(args),
            Ok(_) => panic!("{line}"),
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn fetch_takes_what_the_kernel_command_line_takes() {
        let args =
            fetch("--seed ratio:1.5 --up 10MB/s --peers 10.0.0.1:1,[fd00::1]:2 --tracker udp://x").unwrap();
        assert_eq!((args.seed, args.up, args.down), (Seed::Ratio(150), Some(10_000_000), None));
        assert_eq!(args.peers, ["10.0.0.1:1".parse().unwrap(), "[fd00::1]:2".parse().unwrap()]);
        assert_eq!((args.tracker, args.progress), (vec!["udp://x".to_owned()], None));
        assert_eq!(fetch("--progress json").unwrap().progress, Some(Show::Json));
        for (words, why) in [
            ("--seed never", "'never' is not forever, off, a time such as 30m, ratio:2 or idle:50KB/s"),
            ("--up 5", "'5' is not a valid rate"),
            ("--peers 10.0.0.1", "'10.0.0.1' is not a valid ADDRESS:PORT"),
            ("--tracker wss://x", "'wss://x' is not a valid http:// or udp:// URL"),
            ("--infohash 12", "'12' is not a valid infohash"),
            ("--json --progress json", "cannot be used with"),
        ] {
            let said = fetch(words).err().unwrap_or_default();
            assert!(said.contains(why), "{words}: {said}");
        }
    }

    #[test]
    fn help_tells_the_exit_codes_of_fetch() {
        let told = |e: &Exit| FETCH_HELP.contains(&format!("\n{:4}  ", e.code()));
        for (exit, _) in Exit::ALL {
            assert_eq!(told(&exit), !matches!(exit, Exit::Room | Exit::Root), "{exit:?}");
        }
    }
}
