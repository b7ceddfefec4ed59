// SPDX-License-Identifier: GPL-3.0-or-later
//! For libFuzzer: see `boottorrent_fuzz::TARGETS`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| boottorrent_fuzz::run("relay", data));
