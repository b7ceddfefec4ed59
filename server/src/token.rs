// SPDX-License-Identifier: GPL-3.0-or-later
//! The token with which things can be changed over TCP, as over the local socket. Without one that port only
//! answers questions. It is 32 random bytes, and only their SHA-256 is kept: nothing that can be guessed
//! is hidden in it, so a slow hash would protect nothing more.

use crate::catalogue;
use anyhow::{Context, Result, bail};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// Bytes of a token, and of its hash.
const LENGTH: usize = 32;
/// The file is a line.
const MAX_FILE: u64 = 1024;

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 64 hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; LENGTH]> {
    let digits = text.len() == 2 * LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit());
    let pairs = text.as_bytes().chunks_exact(2).filter(|_| digits);
    let bytes: Vec<u8> =
        pairs.filter_map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()).collect();
    bytes.try_into().ok()
}

/// Make a token for the server with the catalogue in `dir`. The one before is no longer valid, and nobody
/// is told this one again.
pub fn generate(dir: &Path) -> Result<String> {
    let mut token = [0; LENGTH];
    OsRng.try_fill_bytes(&mut token).context("asking the kernel for random bytes")?;
    catalogue::make_dirs(dir)?;
    let (path, new) = (file(dir), dir.join(".token.new"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&new)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(file, "{}", hex(&Sha256::digest(token)))?;
        catalogue::inherit_owner(&new)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(hex(&token))
}

/// From now on there is none. Errors: there was none.
pub fn remove(dir: &Path) -> Result<()> {
    let path = file(dir);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => bail!("there is no token in {}", dir.display()),
        removed => removed.with_context(|| format!("deleting {}", path.display())),
    }
}

/// Judge a request by its `Authorization` header. The file is read each time: what was changed counts at once.
/// One that cannot be read lets nobody in.
pub fn judge(dir: &Path, authorization: Option<&str>) -> Verdict {
    let mut text = String::new();
    match File::open(file(dir)).map(|f| f.take(MAX_FILE).read_to_string(&mut text)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Verdict::None,
        Ok(Ok(_)) => {}
        _ => return Verdict::Wrong,
    }
    let given = authorization.and_then(|a| a.strip_prefix("Bearer ")).and_then(|t| bytes(t.trim()));
    match (bytes(text.trim()), given) {
        (Some(kept), Some(given)) if bool::from(Sha256::digest(given).ct_eq(&kept)) => Verdict::Right,
        _ => Verdict::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
