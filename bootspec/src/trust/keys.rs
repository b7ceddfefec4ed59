// SPDX-License-Identifier: GPL-3.0-or-later
//! minisign's public keys and signatures.

use crate::base64;
use minisign_verify::PublicKey;
use std::fmt;

/// Bytes of a public key's file at most; it has two lines.
pub const MAX_KEY: usize = 4096;
/// Bytes of a signature's file at most; it has four lines.
pub const MAX_SIGNATURE: usize = 4096;

/// Which key it is, as minisign shows it: 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyId {
    /// That of a public key or a signature: both begin, in base64 in their second line, with two letters
    /// for the algorithm and the id. `None` if there is no such line.
    pub fn of(file: &[u8]) -> Option<KeyId> {
        let text = std::str::from_utf8(file).ok()?;
        let begin = base64::decode(text.lines().nth(1)?.get(..16)?);
        Some(KeyId(u64::from_le_bytes(begin.get(2..10)?.try_into().ok()?)))
    }
}

/// The public keys whose word counts. [`Display`](fmt::Display) names them.
#[derive(Clone, Debug, Default)]
pub struct Keys(pub(super) Vec<(KeyId, PublicKey)>);

impl Keys {
    /// Take one more, by its file's content. Returns which it is.
    pub fn add(&mut self, file: &[u8]) -> Result<KeyId, &'static str> {
        let text = std::str::from_utf8(file).ok().filter(|t| t.len() <= MAX_KEY);
        let key = text.and_then(|t| PublicKey::decode(t).ok()).zip(KeyId::of(file));
        let (key, id) = key.ok_or("it is not a public key of minisign")?;
        self.0.push((id, key));
        Ok(id)
    }

    /// Which they are.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("no key at all"),
            [(one, _)] => write!(f, "key {one}"),
            many => {
                f.write_str("one of the keys ")?;
                many.iter().enumerate().try_for_each(|(n, (id, _))| match n {
                    0 => write!(f, "{id}"),
                    _ => write!(f, ", {id}"),
                })
            }
        }
    }
}
