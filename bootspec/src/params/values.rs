// SPDX-License-Identifier: GPL-3.0-or-later
//! Values of more than one word, and those that other types read.

use crate::{Sha256Sum, Target, device, layer::MAX_LAYERS, order::Action, units};
use std::{fmt, net::SocketAddr, str::FromStr};

pub(super) fn assign<T: FromStr<Err: fmt::Display>>(slot: &mut Option<T>, v: &str) -> Result<(), String> {
    *slot = Some(v.parse::<T>().map_err(|e| e.to_string())?);
    Ok(())
}

/// Several targets in the order in which they are tried. A disk that is overwritten is never a second choice, nor has it one.
pub(super) fn targets(v: &str) -> Result<Vec<Target>, String> {
    let all: Vec<Target> = items(v).map(str::parse).collect::<Result<_, String>>()?;
    match all.as_slice() {
        [] => Err(format!("'{v}' is not a valid target: write {}", device::TARGET)),
        [_] => Ok(all),
        many if many.iter().any(|t| matches!(t, Target::Device(_))) => {
            Err(format!("'{v}': device: must stand alone, a disk is never overwritten as a second choice"))
        }
        _ => Ok(all),
    }
}

pub(super) fn items(v: &str) -> impl Iterator<Item = &str> {
    v.split(',').filter(|s| !s.is_empty())
}

/// `[https://]HOST[:PORT]`.
pub(super) fn host_port(v: &str) -> Result<String, String> {
    let server = v.strip_prefix("http://").unwrap_or(v).trim_end_matches('/');
    let host = server.strip_prefix("https://").unwrap_or(server);
    let ok = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-_[]".contains(c));
    if ok { Ok(server.to_owned()) } else { Err(format!("'{v}' is not a valid HOST or HOST:PORT")) }
}

/// What [`items`] takes apart.
pub(super) fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Files that are laid over each other, in their order.
pub(super) fn layers(v: &str) -> Result<Vec<Sha256Sum>, String> {
    let all: Vec<Sha256Sum> =
        items(v).map(|sum| sum.parse().map_err(|e| format!("{e}"))).collect::<Result<_, String>>()?;
    match all.len() > MAX_LAYERS {
        true => Err(format!("it names {} archives, and at most {MAX_LAYERS} are allowed", all.len())),
        false => Ok(all),
    }
}

/// What a machine may be ordered to do; `none` or nothing: nothing.
pub(super) fn actions(v: &str) -> Result<Vec<Action>, String> {
    let words = items(v).filter(|word| *word != "none");
    let mut all = words.map(str::parse).collect::<Result<Vec<Action>, String>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The name of a group, as the server has them.
pub(super) fn group(v: &str) -> Result<String, String> {
    let ok =
        !v.is_empty() && v.len() <= 64 && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if ok { Ok(v.to_owned()) } else { Err(format!("'{v}' is not a valid name of a group")) }
}

/// Read the URL of a tracker.
pub fn tracker(url: &str) -> Result<String, String> {
    match url.starts_with("http://") || url.starts_with("udp://") {
        true => Ok(url.to_owned()),
        false => Err(format!("'{url}' is not a valid http:// or udp:// URL")),
    }
}

/// Read the address of a peer.
pub fn peer(address: &str) -> Result<SocketAddr, String> {
    address.parse().map_err(|_| format!("'{address}' is not a valid ADDRESS:PORT, as in 192.168.1.5:6981"))
}

/// Less than this does not even hold the kernel and the initrd of one image.
const MIN_RELAY: u64 = 32 << 20;

pub(super) fn relay_memory(v: &str) -> Result<Option<u64>, String> {
    if v == "none" {
        return Ok(None);
    }
    let size = units::parse_size(v)?;
    match size >= MIN_RELAY {
        true => Ok(Some(size)),
        false => Err(format!(
            "'{v}' has no space for a kernel and an initrd: write {} or more",
            units::human_size(MIN_RELAY)
        )),
    }
}
