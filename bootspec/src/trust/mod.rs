// SPDX-License-Identifier: GPL-3.0-or-later
//! Which image may boot: a [`Statement`] says what it is, a minisign signature over the statement says
//! who stands for it, and the public [`Keys`] in the initramfs say whose word counts. No I/O.
//!
//! Both come beside the .torrent: `NAME.statement` and `NAME.statement.minisig`, on a server, in a
//! folder and on a disk that keeps images. Everything in them is hostile until [`Keys::judge`] has looked.

mod keys;
mod statement;

pub use keys::{KeyId, Keys, MAX_KEY, MAX_SIGNATURE};
pub use statement::{MAX_STATEMENT, Statement, Version};

use crate::{ImageName, InfoHash, Sha256Sum};
use minisign_verify::Signature;
use std::collections::BTreeMap;

/// What a .torrent's file name becomes for its statement.
pub const STATEMENT: &str = "statement";
/// What is added to a statement's file name for its signature, by stock minisign too.
pub const SIGNATURE: &str = "minisig";

/// A statement and its signature, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The statement's text.
    pub statement: Vec<u8>,
    /// minisign's four lines.
    pub signature: Vec<u8>,
}

/// What the machine is about to boot, and what it knows.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name that was asked for; a magnet link asks for none.
    pub name: Option<&'a str>,
    /// That of the metainfo.
    pub infohash: InfoHash,
    /// Bytes of the payload, by the metainfo.
    pub size: u64,
    /// What the machine has booted.
    pub newest: &'a Newest,
}

/// The newest version of each image that a machine has booted.
pub type Newest = BTreeMap<ImageName, Version>;

/// Read what a machine remembers: a line for each image, with its name and the version. Other lines are nothing.
pub fn parse_newest(text: &str) -> Newest {
    let line = |line: &str| {
        let (name, version) = line.split_once(' ')?;
        Some((name.parse().ok()?, version.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What [`parse_newest`] reads.
pub fn render_newest(newest: &Newest) -> String {
    newest.iter().map(|(name, version)| format!("{name} {version}\n")).collect()
}

/// A statement that somebody who may has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// By whom.
    pub key: KeyId,
}

/// Why an image must not boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// There is no statement, or no signature.
    Unsigned,
    /// The signature is none.
    Damaged(&'static str),
    /// Signed by a key that is not among ours.
    Stranger(KeyId),
    /// A key of ours did not sign this text.
    Forged(KeyId),
    /// Signed, but no statement. With what is wrong.
    Nonsense(KeyId, String),
    /// Signed, but of another image.
    OtherName(Box<Signed>),
    /// Signed, but of another torrent or size.
    OtherVersion(Box<Signed>),
    /// Signed, and older than what this machine has booted.
    Older(Box<Signed>, Version),
    /// All pieces are right, and the payload is not what was signed.
    OtherBytes(Box<Signed>, Sha256Sum),
}

impl Keys {
    /// Decide whether `evidence` speaks for what is wanted.
    pub fn judge(&self, evidence: &Evidence, wanted: &Wanted) -> Result<Signed, Distrust> {
        let key = self.signed_by(&evidence.statement, &evidence.signature)?;
        let statement = Statement::parse(&evidence.statement).map_err(|why| Distrust::Nonsense(key, why))?;
        let signed = Signed { statement, key };
        let Statement { name, infohash, size, version, .. } = &signed.statement;
        if wanted.name.is_some_and(|wanted| wanted != name.as_str()) {
            return Err(Distrust::OtherName(signed.into()));
        }
        if (*infohash, *size) != (wanted.infohash, wanted.size) {
            return Err(Distrust::OtherVersion(signed.into()));
        }
        match wanted.newest.get(name) {
            Some(newest) if version < newest => Err(Distrust::Older(signed.into(), *newest)),
            _ => Ok(signed),
        }
    }

    /// Which of these keys has signed this. What it says is not looked at.
    pub fn signed_by(&self, what: &[u8], signature: &[u8]) -> Result<KeyId, Distrust> {
        if signature.is_empty() || what.is_empty() {
            return Err(Distrust::Unsigned);
        }
        if signature.len() > MAX_SIGNATURE {
            return Err(Distrust::Damaged("it is too large"));
        }
        let text = std::str::from_utf8(signature).map_err(|_| Distrust::Damaged("it is not text"))?;
        let parsed = Signature::decode(text).ok().zip(KeyId::of(signature));
        let (signature, id) =
            parsed.ok_or(Distrust::Damaged("it is not a signature of minisign, or a part of one"))?;
        let mut ours = self.0.iter().filter(|(ours, _)| *ours == id).peekable();
        if ours.peek().is_none() {
            return Err(Distrust::Stranger(id));
        }
        // The form in which nothing is hashed first is minisign's of before 2021: a second way to sign is one too many.
        match ours.any(|(_, key)| key.verify(what, &signature, false).is_ok()) {
            true => Ok(id),
            false => Err(Distrust::Forged(id)),
        }
    }
}

impl Distrust {
    /// What the person at the console reads. `keys`: those that count here.
    pub fn sentence(&self, image: &str, keys: &Keys) -> String {
        let again = format!("sign it with `boottorrent image sign {image}` on the server");
        match self {
            Distrust::Unsigned => {
                format!("image {image} is not signed, and only what {keys} signed may boot here: {again}")
            }
            Distrust::Damaged(why) => {
                format!(
                    "the signature of image {image} is damaged ({why}), and {keys} must have signed it: {again}"
                )
            }
            Distrust::Stranger(key) => {
                format!(
                    "image {image} is signed by key {key}, and only what {keys} signed may boot here: {again}, or put \
                         that key's .pub file into the initrd"
                )
            }
            Distrust::Forged(key) => {
                format!(
                    "the signature of image {image} is wrong: key {key} did not sign this statement; if nobody changed \
                         it on purpose, {again}"
                )
            }
            Distrust::Nonsense(key, why) => {
                format!("what key {key} signed for image {image} is not a statement of BootTorrent: {why}")
            }
            Distrust::OtherName(is) => {
                let (key, name) = (is.key, &is.statement.name);
                format!("what key {key} signed is image {name}, and image {image} was asked for")
            }
            Distrust::OtherVersion(is) => {
                let (key, Statement { version, infohash, .. }) = (is.key, &is.statement);
                format!(
                    "what key {key} signed is another version of image {image}, of {version} with infohash {infohash}: {again}"
                )
            }
            Distrust::Older(is, newest) => {
                let (key, version) = (is.key, is.statement.version);
                format!(
                    "image {image} is of {version} (signed by key {key}), and this machine has booted the one of {newest}: an \
                         older one is refused without boottorrent.allow-older"
                )
            }
            Distrust::OtherBytes(said, is) => {
                let (key, sum) = (said.key, said.statement.sha256);
                format!(
                    "image {image} is not what key {key} signed, although every piece has the right SHA-1: its SHA-256 \
                         is {is}, and {sum} was signed; boot it nowhere before you know why"
                )
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
