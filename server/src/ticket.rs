// SPDX-License-Identifier: GPL-3.0-or-later
//! The secret of a boot: the boot script carries it on the kernel command line, and the agent sends it with its
//! heartbeats. It says for which machine it was made, when, and for which image that is for one time. Nothing is
//! remembered of it: it is a code over these (HMAC-SHA-256), by a key that only this server has.

use crate::{files, hosts::Mac};
use bootspec::{ImageRef, params::BootSecret};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use subtle::ConstantTimeEq;

/// The key's file, in the catalogue's folder: machines that run are known again after a restart.
const FILE: &str = "boot-key";
const KEY: usize = 32;
const TAG: usize = 16;
/// What a nonce is a code over, before its time: no ticket's text has this length.
const NONCE: &[u8] = b"nonce";
/// SHA-256's block.
const BLOCK: usize = 64;

/// What makes the secrets of boots.
pub struct Tickets {
    key: [u8; KEY],
}

/// What a secret says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// When it was made, in milliseconds since 1970.
    pub at: u64,
    /// What tells the image that this boot has for one time; zeros: none.
    once: [u8; 4],
}

impl Ticket {
    /// Whether it was made for a boot of `image` for one time.
    pub fn is_once(&self, image: &ImageRef) -> bool {
        self.once == told(image)
    }
}

impl Tickets {
    /// With the key in `dir`, which is made if there is none. Where it cannot be kept, it is another one at each start.
    pub fn at(dir: &Path) -> Tickets {
        let path = dir.join(FILE);
        let kept = files::find(&path, KEY, "key").ok().flatten().and_then(|bytes| bytes.try_into().ok());
        if let Some(key) = kept {
            return Tickets { key };
        }
        let mut key = [0; KEY];
        // Without random bytes there is no TLS and no token either.
        OsRng.try_fill_bytes(&mut key).expect("the kernel has random bytes");
        let written = files::make_dirs(dir).and_then(|()| files::replace(&path, &key, 0o600));
        if let Err(e) = written {
            tracing::warn!("after a restart, machines that run are not known by their secrets: {e:#}");
        }
        Tickets { key }
    }

    /// A secret for a boot of this machine, now.
    pub fn issue(&self, mac: Mac, once: Option<&ImageRef>) -> BootSecret {
        let ticket = Ticket { at: now() & 0xffff_ffff_ffff, once: once.map_or([0; 4], told) };
        let text = hex(&[&said(ticket)[..], &self.tag(mac, ticket)].concat());
        text.parse().expect("hexadecimal digits are a secret")
    }

    /// What a secret says, if this server made it for this machine.
    pub fn read(&self, mac: Mac, secret: &str) -> Option<Ticket> {
        let bytes = bytes(secret, 10 + TAG)?;
        let (said, tag) = bytes.split_at_checked(10)?;
        let mut at = [0; 8];
        at[2..].copy_from_slice(&said[..6]);
        let ticket = Ticket { at: u64::from_be_bytes(at), once: said[6..].try_into().ok()? };
        (tag.len() == TAG && bool::from(self.tag(mac, ticket).ct_eq(tag))).then_some(ticket)
    }

    /// What a boot loader has to answer to that wants to prove a password, now.
    pub fn nonce(&self) -> String {
        let at = now().to_be_bytes();
        hex(&[&at[..], &self.hmac(&[NONCE, &at])].concat())
    }

    /// Whether this server gave it, and not longer ago than this.
    pub fn is_fresh(&self, nonce: &str, within: Duration) -> bool {
        let Some(bytes) = bytes(nonce, 8 + TAG) else { return false };
        let Some((at, tag)) = bytes.split_at_checked(8) else { return false };
        let age = now().saturating_sub(u64::from_be_bytes(at.try_into().expect("eight bytes")));
        tag.len() == TAG
            && bool::from(self.hmac(&[NONCE, at]).ct_eq(tag))
            && u128::from(age) <= within.as_millis()
    }

    fn tag(&self, mac: Mac, ticket: Ticket) -> [u8; TAG] {
        self.hmac(&[&mac.0, &said(ticket)])
    }

    /// HMAC-SHA-256 (RFC 2104), its first half.
    fn hmac(&self, text: &[&[u8]]) -> [u8; TAG] {
        let pad = |with: u8| {
            let mut block = [with; BLOCK];
            block.iter_mut().zip(self.key).for_each(|(b, k)| *b ^= k);
            block
        };
        let mut inner = Sha256::new().chain_update(pad(0x36));
        text.iter().for_each(|part| inner.update(part));
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner.finalize()).finalize();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&outer[..TAG]);
        tag
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

/// The bytes of hexadecimal digits; of a longer text one byte more than that.
fn bytes(text: &str, length: usize) -> Option<Vec<u8>> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len().min(2 * length + 2)).step_by(2).map(digit).collect()
}

fn said(ticket: Ticket) -> [u8; 10] {
    let mut said = [0; 10];
    said[..6].copy_from_slice(&ticket.at.to_be_bytes()[2..]);
    said[6..].copy_from_slice(&ticket.once);
    said
}

/// What tells an image in a secret. Never zeros.
fn told(image: &ImageRef) -> [u8; 4] {
    let sum = Sha256::digest(image.to_string());
    [sum[0] | 1, sum[1], sum[2], sum[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_one_machine_and_of_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let (mac, other): (Mac, Mac) =
            ("52:54:00:00:00:01".parse().unwrap(), "52:54:00:00:00:02".parse().unwrap());
        let (lab, exam): (ImageRef, ImageRef) = ("lab".parse().unwrap(), "exam".parse().unwrap());
        let tickets = Tickets::at(dir.path());
        let secret = tickets.issue(mac, Some(&exam)).to_string();
        let read = tickets.read(mac, &secret).unwrap();
        assert!(read.is_once(&exam) && !read.is_once(&lab));
        assert!(!tickets.read(mac, &tickets.issue(mac, None).to_string()).unwrap().is_once(&exam));
        assert_eq!(Tickets::at(dir.path()).read(mac, &secret), Some(read), "after a restart as well");
        assert_eq!(tickets.read(other, &secret), None);
        let stranger = tempfile::tempdir().unwrap();
        assert_eq!(Tickets::at(stranger.path()).read(mac, &secret), None);
        let changed = format!("{}{}", if secret.starts_with('f') { '0' } else { 'f' }, &secret[1..]);
        for wrong in ["", "x", "0", &secret[2..], &changed, &format!("{secret}00"), "éééééééééééééééééééé"]
        {
            assert_eq!(tickets.read(mac, wrong), None, "{wrong}");
        }
        let nonce = tickets.nonce();
        let minute = Duration::from_secs(60);
        assert!(tickets.is_fresh(&nonce, minute) && !Tickets::at(stranger.path()).is_fresh(&nonce, minute));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!tickets.is_fresh(&nonce, Duration::ZERO), "its time is over");
        for wrong in ["", "x", &nonce[2..], &format!("{nonce}00"), "éééééééééééé", &secret] {
            assert!(!tickets.is_fresh(wrong, minute), "{wrong}");
        }
        // As OpenSSL has it: RFC 4231's first case would need another length of key.
        let key = Tickets { key: [0x0b; KEY] };
        assert_eq!(key.tag(mac, read), key.tag(mac, read));
    }
}
