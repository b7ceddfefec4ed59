// SPDX-License-Identifier: GPL-3.0-or-later
//! The token with which things can be changed over TCP, as over the local socket. Without one that port only
//! answers questions. It is 32 random bytes, and only their SHA-256 is kept: nothing that can be guessed
//! is hidden in it, so a slow hash would protect nothing more.

use crate::files;
use anyhow::{Context, Result, bail};
use bootspec::Sha256Sum;
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// Bytes of a token, and of its hash.
const LENGTH: usize = 32;
/// The file is a line.
const MAX_FILE: usize = 1024;

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the token.
    Right,
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

/// Make a token for the server with the catalogue in `dir`. The one before is no longer valid, and nobody
/// is told this one again.
pub fn generate(dir: &Path) -> Result<String> {
    let mut token = [0; LENGTH];
    OsRng.try_fill_bytes(&mut token).context("asking the kernel for random bytes")?;
    files::make_dirs(dir)?;
    files::replace(&file(dir), format!("{}\n", kept(&token)).as_bytes(), 0o600)?;
    // It is as long as its hash, and written the same way: 64 hexadecimal digits.
    Ok(Sha256Sum(token).to_string())
}

/// The bytes that 64 hexadecimal digits say.
fn digits(text: &str) -> Option<[u8; LENGTH]> {
    text.parse().ok().map(|Sha256Sum(bytes)| bytes)
}

/// From now on there is none. Errors: there was none.
pub fn remove(dir: &Path) -> Result<()> {
    let path = file(dir);
    match files::remove(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => bail!("there is no token in {}", dir.display()),
        removed => removed.with_context(|| format!("deleting {}", path.display())),
    }
}

/// Judge a request by its `Authorization` header. The file is read each time: what was changed counts at once.
/// One that cannot be read lets nobody in.
pub fn judge(dir: &Path, authorization: Option<&str>) -> Verdict {
    let text = match files::find_text(&file(dir), MAX_FILE, "token's hash") {
        Ok(None) => return Verdict::None,
        Ok(Some(text)) => text,
        Err(_) => return Verdict::Wrong,
    };
    let given = authorization.and_then(|a| a.strip_prefix("Bearer ")).and_then(|t| digits(t.trim()));
    match (digits(text.trim()), given) {
        (Some(right), Some(given)) if bool::from(kept(&given).0.ct_eq(&right)) => Verdict::Right,
        _ => Verdict::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_last_one_counts_and_it_is_not_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(judge(dir, Some("Bearer x")), Verdict::None);
        let (old, new) = (generate(dir).unwrap(), generate(dir).unwrap());
        assert!(old != new && new.len() == 64);
        let as_kept = fs::read_to_string(file(dir)).unwrap();
        assert!(!as_kept.contains(&new), "{as_kept}");
        assert_eq!(fs::metadata(file(dir)).unwrap().permissions().mode() & 0o777, 0o600);
        let bearer = |t: &str| format!("Bearer {t}");
        assert_eq!(judge(dir, Some(&bearer(&new))), Verdict::Right);
        for wrong in
            [bearer(&old), bearer(as_kept.trim()), new.clone(), bearer(&new[1..]), bearer(""), bearer("é")]
        {
            assert_eq!(judge(dir, Some(&wrong)), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(judge(dir, None), Verdict::Wrong);
        for damaged in ["", "x", &"0".repeat(5000)] {
            fs::write(file(dir), damaged).unwrap();
            assert_eq!(judge(dir, Some(&bearer(&new))), Verdict::Wrong);
        }
        remove(dir).unwrap();
        assert_eq!(remove(dir).unwrap_err().to_string(), format!("there is no token in {}", dir.display()));
    }
}
