// SPDX-License-Identifier: GPL-3.0-or-later
//! The tokens with which things can be changed, or read, over TCP. Without one that port only answers questions. A token
//! is 32 random bytes, and only their SHA-256 is kept: nothing that can be guessed is hidden in it, so a slow hash would
//! protect nothing more.

use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use bootspec::Sha256Sum;
use nix::fcntl::{Flock, FlockArg};
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use subtle::ConstantTimeEq;

/// Bytes of a token, and of its hash.
const LENGTH: usize = 32;
/// Tokens at most, and bytes of the file.
const MANY: usize = 100;
const MAX_FILE: usize = 64 << 10;
/// The name of a token that was given none.
pub const UNNAMED: &str = "default";

/// One token, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownToken {
    /// Its SHA-256.
    pub sha256: Sha256Sum,
    /// Whether it changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Until when it counts, RFC 3339 in UTC; none: as long as it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// All tokens, by name.
pub type Tokens = BTreeMap<String, KnownToken>;

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the token of this name.
    Right {
        /// The name.
        name: String,
        /// Whether it changes nothing.
        read_only: bool,
    },
    /// It has a token whose time is over: its name, and since when.
    Expired(String, String),
    /// There is a token, and it has none, or another one.
    Wrong,
    /// Nobody has made a token.
    None,
}

fn file(dir: &Path) -> PathBuf {
    dir.join("token")
}

/// The SHA-256 of a token, as it is kept.
fn kept(token: &[u8; LENGTH]) -> Sha256Sum {
    Sha256Sum(Sha256::digest(token).into())
}

impl KnownToken {
    /// Whether its time is over. A time that cannot be read was over long ago.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        let until =
            self.expires.as_ref().map(|at| humantime::parse_rfc3339(at).unwrap_or(SystemTime::UNIX_EPOCH));
        until.is_some_and(|until| until <= now)
    }
}

/// A name of a token: what stands in logs.
pub fn check_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "'{}' is not a valid name of a token: use 1 to 64 of a-z A-Z 0-9 . _ -",
            bootspec::text::printable(name, 80)
        )),
    }
}

/// The tokens that there are. An earlier server kept the hash of a single one.
pub fn load(dir: &Path) -> Result<Tokens> {
    let path = file(dir);
    let Some(text) = files::find_text(&path, MAX_FILE, "list of tokens")? else { return Ok(Tokens::new()) };
    if let Ok(sha256) = text.trim().parse() {
        let only = KnownToken { sha256, read_only: false, expires: None };
        return Ok(Tokens::from([(UNNAMED.to_owned(), only)]));
    }
    toml::from_str(&text).map_err(|e| anyhow!("{}: {}", path.display(), e.message()))
}

/// One at a time changes them.
fn change<T>(dir: &Path, change: impl FnOnce(&mut Tokens) -> Result<T>) -> Result<T> {
    files::make_dirs(dir)?;
    let lock = dir.join(".token.lock");
    let _lock = Flock::lock(files::lock_file(&lock)?, FlockArg::LockExclusive)
        .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", lock.display())))?;
    let mut tokens = load(dir)?;
    let done = change(&mut tokens)?;
    let text = toml::to_string(&tokens).context("writing the tokens as TOML")?;
    files::replace(&file(dir), text.as_bytes(), 0o600)?;
    Ok(done)
}

/// Make a token for the server with the catalogue in `dir`. The one of that name is no longer valid, and nobody is told
/// this one again.
pub fn generate(dir: &Path, name: &str, read_only: bool, lasts: Option<Duration>) -> Result<String> {
    let (text, sha256) = make()?;
    let until =
        lasts.map(|l| SystemTime::now().checked_add(l).context("that is too far away")).transpose()?;
    let expires = until.map(|at| humantime::format_rfc3339_seconds(at).to_string());
    change(dir, |tokens| {
        if tokens.len() >= MANY && !tokens.contains_key(name) {
            bail!("there are {MANY} tokens already: remove one with `boottorrent token remove NAME`");
        }
        tokens.insert(name.to_owned(), KnownToken { sha256, read_only, expires });
        Ok(())
    })?;
    Ok(text)
}

/// A new token, and what is kept of it.
pub fn make() -> Result<(String, Sha256Sum)> {
    let mut token = [0; LENGTH];
    OsRng.try_fill_bytes(&mut token).context("asking the kernel for random bytes")?;
    // It is as long as its hash, and written the same way: 64 hexadecimal digits.
    Ok((Sha256Sum(token).to_string(), kept(&token)))
}

/// What is kept of the token in an `Authorization` header.
pub fn given(authorization: Option<&str>) -> Option<Sha256Sum> {
    let token = authorization.and_then(|a| a.strip_prefix("Bearer ")).and_then(|t| digits(t.trim()))?;
    Some(kept(&token))
}

/// The bytes that 64 hexadecimal digits say.
fn digits(text: &str) -> Option<[u8; LENGTH]> {
    text.parse().ok().map(|Sha256Sum(bytes)| bytes)
}

/// From now on there is none of this name. How many are left. Errors: there was none.
pub fn remove(dir: &Path, name: &str) -> Result<usize> {
    let known = load(dir)?;
    if !known.contains_key(name) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => bail!("there is no token in {}", dir.display()),
            false => bail!("there is no token '{name}': there are {}", names.join(", ")),
        }
    }
    change(dir, |tokens| {
        tokens.remove(name);
        Ok(tokens.len())
    })
}

/// Judge a request by its `Authorization` header. The file is read each time: what was changed counts at once.
/// One that cannot be read lets nobody in.
pub fn judge(dir: &Path, authorization: Option<&str>, now: SystemTime) -> Verdict {
    let tokens = match load(dir) {
        Ok(tokens) if tokens.is_empty() => return Verdict::None,
        Ok(tokens) => tokens,
        Err(_) => return Verdict::Wrong,
    };
    let Some(given) = given(authorization) else { return Verdict::Wrong };
    // All of them are looked at: how long it takes says nothing.
    let mut found = None;
    for (name, token) in &tokens {
        if bool::from(given.0.ct_eq(&token.sha256.0)) {
            found = Some((name, token));
        }
    }
    match found {
        None => Verdict::Wrong,
        Some((name, token)) if token.is_expired(now) => {
            Verdict::Expired(name.clone(), token.expires.clone().unwrap_or_default())
        }
        Some((name, token)) => Verdict::Right { name: name.clone(), read_only: token.read_only },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn judged(dir: &Path, authorization: Option<&str>) -> Verdict {
        judge(dir, authorization, SystemTime::now())
    }

    fn bearer(token: &str) -> String {
        format!("Bearer {token}")
    }

    fn right(name: &str) -> Verdict {
        Verdict::Right { name: name.into(), read_only: false }
    }

    #[test]
    fn only_the_last_one_counts_and_it_is_not_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(judged(dir, Some("Bearer x")), Verdict::None);
        let make = || generate(dir, UNNAMED, false, None).unwrap();
        let (old, new) = (make(), make());
        assert!(old != new && new.len() == 64);
        let as_kept = fs::read_to_string(file(dir)).unwrap();
        assert!(!as_kept.contains(&new), "{as_kept}");
        assert_eq!(fs::metadata(file(dir)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(judged(dir, Some(&bearer(&new))), right("default"));
        let hash = load(dir).unwrap()["default"].sha256.to_string();
        for wrong in [bearer(&old), bearer(&hash), new.clone(), bearer(&new[1..]), bearer(""), bearer("é")] {
            assert_eq!(judged(dir, Some(&wrong)), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(judged(dir, None), Verdict::Wrong);
        // As an earlier server kept it.
        fs::write(file(dir), format!("{hash}\n")).unwrap();
        assert_eq!(judged(dir, Some(&bearer(&new))), right("default"));
        remove(dir, UNNAMED).unwrap();
        assert_eq!(
            remove(dir, UNNAMED).unwrap_err().to_string(),
            format!("there is no token in {}", dir.display())
        );
        for damaged in ["x", &"0".repeat(70_000), "[a]\nsha256 = \"1\"\n", "[a]\n"] {
            fs::write(file(dir), damaged).unwrap();
            assert_eq!(judged(dir, Some(&bearer(&new))), Verdict::Wrong);
            assert!(generate(dir, "b", false, None).is_err(), "{damaged}");
        }
    }

    #[test]
    fn names_rights_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let look = generate(dir, "look", true, None).unwrap();
        let short = generate(dir, "short", false, Some(hour)).unwrap();
        assert_eq!(
            judge(dir, Some(&bearer(&look)), now),
            Verdict::Right { name: "look".into(), read_only: true }
        );
        assert_eq!(judge(dir, Some(&bearer(&short)), now), right("short"));
        let later = judge(dir, Some(&bearer(&short)), now + 2 * hour);
        assert!(matches!(later, Verdict::Expired(name, _) if name == "short"));
        assert_eq!(remove(dir, "x").unwrap_err().to_string(), "there is no token 'x': there are look, short");
        assert_eq!(remove(dir, "short").unwrap(), 1);
        assert_eq!(judge(dir, Some(&bearer(&short)), now), Verdict::Wrong);
        assert!(check_name("a b").is_err() && check_name("").is_err() && check_name("ci-1.x").is_ok());
        let odd = KnownToken { sha256: Sha256Sum([0; 32]), read_only: false, expires: Some("soon".into()) };
        assert!(odd.is_expired(now));
    }
}
