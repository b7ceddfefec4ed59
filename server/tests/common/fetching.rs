// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tests of `image fetch` ask and expect.
#![allow(dead_code)]

use crate::common::{Said, World};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;

pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// An image that can be booted, as bytes.
pub fn image(w: &World) -> Vec<u8> {
    fs::read(w.squashfs("lab")).unwrap()
}

pub fn images(w: &World) -> Vec<String> {
    let list = parsed(&w.run(&["image", "list", "--json"]).good());
    list.as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
}

/// A good command that also says something on stderr.
#[track_caller]
pub fn good(said: Said) -> (String, String) {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    (said.out, said.err)
}

/// It failed, and this is its last line.
#[track_caller]
pub fn failed(w: &World, said: Said, sentence: &str) {
    assert_eq!(said.err.lines().last(), Some(format!("boottorrent: {sentence}").as_str()), "{}", said.err);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert_eq!(images(w), Vec::<String>::new(), "nothing was added");
}
