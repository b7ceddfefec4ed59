// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent-tls`: the same with HTTPS (feature `tls`), for initramfs with an authority's certificate.

fn main() -> std::process::ExitCode {
    boottorrent_agent::cli::main()
}
