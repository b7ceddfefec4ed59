// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent`: the static program in the initramfs. See `story.rs` for what it does.

fn main() -> std::process::ExitCode {
    boottorrent_agent::cli::main()
}
