// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints docs/api.md (`make docs`).

fn main() {
    print!("{}", boottorrent_server::http::routes::page());
}
