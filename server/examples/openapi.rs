// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints docs/openapi.json (`make docs`).

fn main() {
    let document = boottorrent_server::http::openapi::document();
    println!("{}", serde_json::to_string_pretty(&document).expect("it is JSON"));
}
