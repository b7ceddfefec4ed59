// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may start what the menu locks. iPXE proves a password by HTTP Digest (RFC 7616), so that it is in no script and
//! crosses no network: for that the server keeps `HA1`, which is as good as the password here, in a file of its own that
//! only it reads. GRUB checks passwords itself, by a slow hash (PBKDF2) that stands in its grub.cfg.

use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use md5::{Digest, Md5};
use nix::fcntl::{Flock, FlockArg};
use pbkdf2::pbkdf2_hmac;
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::Sha512;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};
use subtle::ConstantTimeEq;

/// What the passwords are for, as Digest has it. To change it makes all of them invalid.
pub const REALM: &str = "BootTorrent";
/// The name of a user who was given none.
pub const UNNAMED: &str = "admin";
/// Users at most, and bytes of the file.
const MANY: usize = 100;
const MAX_FILE: usize = 256 << 10;
/// Rounds of PBKDF2: about a second in an old machine's GRUB.
const ROUNDS: u32 = 20_000;
/// Bytes of salt and hash, as grub-mkpasswd-pbkdf2 has them.
const HASH: usize = 64;

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MenuUser {
    /// `MD5(name:realm:password)`, in hexadecimal digits.
    digest: String,
    /// What GRUB's `password_pbkdf2` takes.
    pub grub: String,
}

/// All of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MenuUsers(BTreeMap<String, MenuUser>);

/// What a boot loader sends to prove a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestProof<'a> {
    /// The user.
    pub user: &'a str,
    /// The address that is asked for, as it was sent.
    pub uri: &'a str,
    /// What the server gave to answer to.
    pub nonce: &'a str,
    /// How often it was answered.
    pub count: &'a str,
    /// What the client chose.
    pub cnonce: &'a str,
    /// The proof.
    pub response: &'a str,
}

impl MenuUsers {
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Users by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MenuUser)> {
        self.0.iter().map(|(name, user)| (name.as_str(), user))
    }

    /// Whether nobody has a password.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Give a user a password, or another one.
    pub fn set(&mut self, name: &str, password: &str) -> Result<()> {
        if self.0.len() >= MANY && !self.0.contains_key(name) {
            bail!(
                "there are {MANY} users of the menu already: remove one with `boottorrent menu password NAME --remove`"
            );
        }
        let mut salt = [0; HASH];
        OsRng.try_fill_bytes(&mut salt).context("asking the kernel for random bytes")?;
        let digest = hex(&Md5::digest(format!("{name}:{REALM}:{password}")));
        self.0.insert(name.to_owned(), MenuUser { digest, grub: grub_hash(password, &salt, ROUNDS) });
        Ok(())
    }

    /// Whether this proves the password of a user for a GET with `qop=auth`. The caller looks at the nonce and the address.
    pub fn proves(&self, proof: &DigestProof) -> bool {
        let known = self.0.get(proof.user);
        // A name that is not known takes as long as one that is.
        let ha1 = known.map_or("", |user| &user.digest);
        let ha2 = hex(&Md5::digest(format!("GET:{}", proof.uri)));
        let DigestProof { nonce, count, cnonce, .. } = proof;
        let response = hex(&Md5::digest(format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}")));
        bool::from(response.as_bytes().ct_eq(proof.response.as_bytes())) && known.is_some()
    }
}

/// As grub-mkpasswd-pbkdf2 prints it.
fn grub_hash(password: &str, salt: &[u8], rounds: u32) -> String {
    let mut hash = [0; HASH];
    pbkdf2_hmac::<Sha512>(password.as_bytes(), salt, rounds, &mut hash);
    format!("grub.pbkdf2.sha512.{rounds}.{}.{}", hex(salt).to_uppercase(), hex(&hash).to_uppercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

fn file(dir: &Path) -> PathBuf {
    dir.join("menu-users")
}

/// A name of a user: it stands in GRUB's language and in an address. Errors: one sentence.
pub fn check_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && name.len() <= 32 && name.chars().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "'{}' is not a valid name: use 1 to 32 of a-z A-Z 0-9 . _ -",
            bootspec::text::printable(name, 80)
        )),
    }
}

/// Whether it can be typed where a boot loader asks for it: iPXE on a BIOS machine knows no other letters.
pub fn check_password(password: &str) -> Result<()> {
    match (4..=64).contains(&password.len()) && password.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        true => Ok(()),
        false => bail!("this password cannot be typed in every boot loader: use 4 to 64 ASCII characters"),
    }
}

/// Whether there are users, for who may not read who they are.
pub fn any(dir: &Path) -> bool {
    file(dir).exists()
}

/// When they were changed last, and how many bytes they have.
pub fn version(dir: &Path) -> Option<(SystemTime, u64)> {
    let of = fs::metadata(file(dir)).ok()?;
    Some((of.modified().ok()?, of.len()))
}

/// Those of the server with the catalogue in `dir`.
pub fn load(dir: &Path) -> Result<MenuUsers> {
    let path = file(dir);
    let Some(text) = files::find_text(&path, MAX_FILE, "list of the menu's users")? else {
        return Ok(MenuUsers::default());
    };
    let users: MenuUsers =
        toml::from_str(&text).map_err(|e| anyhow!("{}: {}", path.display(), e.message()))?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if let Some((name, _)) = users.iter().find(|(n, u)| check_name(n).is_err() || !plain(&u.grub)) {
        let name = bootspec::text::printable(name, 80);
        bail!("{}: user '{name}' was not written by `boottorrent menu password`", path.display());
    }
    Ok(users)
}

/// Change them. One at a time does; when nobody is left, the file is gone.
pub fn change(dir: &Path, change: impl FnOnce(&mut MenuUsers) -> Result<()>) -> Result<()> {
    files::make_dirs(dir)?;
    let lock = dir.join(".menu-users.lock");
    let _lock = Flock::lock(files::lock_file(&lock)?, FlockArg::LockExclusive)
        .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", lock.display())))?;
    let mut users = load(dir)?;
    change(&mut users)?;
    let path = file(dir);
    if users.is_empty() {
        return files::remove(&path).with_context(|| format!("removing {}", path.display()));
    }
    let text = toml::to_string(&users).context("writing the menu's users as TOML")?;
    files::replace(&path, text.as_bytes(), 0o600)
}

/// From now on there are these and no others: a relay has those of the first server.
pub fn take_over(dir: &Path, users: &MenuUsers) -> Result<()> {
    match load(dir).is_ok_and(|now| now == *users) {
        true => Ok(()),
        false => {
            let lock = dir.join(".menu-users.lock");
            let _lock = Flock::lock(files::lock_file(&lock)?, FlockArg::LockExclusive)
                .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", lock.display())))?;
            let text = toml::to_string(users).context("writing the menu's users as TOML")?;
            files::replace(&file(dir), text.as_bytes(), 0o600)
        }
    }
}

/// Take a user's password away. Errors: there is no such user.
pub fn remove(dir: &Path, name: &str) -> Result<()> {
    change(dir, |users| match users.0.remove(name) {
        Some(_) => Ok(()),
        None if users.is_empty() => bail!("the menu has no users: see `boottorrent menu password --help`"),
        None => {
            bail!("the menu has no user '{name}': there are {}", users.names().collect::<Vec<_>>().join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// RFC 7616 has no example of MD5 with this name; RFC 2617, 3.5 has.
    #[test]
    fn digest_is_the_rfcs() {
        let ha1 = hex(&Md5::digest("Mufasa:testrealm@host.com:Circle Of Life"));
        let users =
            MenuUsers(BTreeMap::from([("Mufasa".into(), MenuUser { digest: ha1, grub: "x".into() })]));
        let proof = DigestProof {
            user: "Mufasa",
            uri: "/dir/index.html",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            count: "00000001",
            cnonce: "0a4f113b",
            response: "6629fae49393a05397450978507c4ef1",
        };
        assert!(users.proves(&proof));
        for wrong in [
            DigestProof { user: "mufasa", ..proof.clone() },
            DigestProof { uri: "/dir/index.htm", ..proof.clone() },
            DigestProof { nonce: "e", ..proof.clone() },
            DigestProof { count: "00000002", ..proof.clone() },
            DigestProof { response: "", ..proof.clone() },
        ] {
            assert!(!users.proves(&wrong), "{wrong:?}");
        }
        // Nobody knows this user: what an empty hash would prove counts for nothing.
        let ha2 = hex(&Md5::digest("GET:/"));
        let response = hex(&Md5::digest(format!(":n:1:c:auth:{ha2}")));
        let proof =
            DigestProof { user: "x", uri: "/", nonce: "n", count: "1", cnonce: "c", response: &response };
        assert!(!users.proves(&proof));
    }

    /// Of RFC 6070's kind, for SHA-512: Python's hashlib says the same.
    #[test]
    fn grubs_hash() {
        let hash = grub_hash("password", b"salt", 1);
        assert!(
            hash.starts_with(
                "grub.pbkdf2.sha512.1.73616C74.867F70CF1ADE02CFF3752599A3A53DC4AF34C7A669815AE5"
            ),
            "{hash}"
        );
    }

    #[test]
    fn kept_for_the_server_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!any(dir.path()) && load(dir.path()).unwrap().is_empty());
        change(dir.path(), |users| users.set("admin", "secret")).unwrap();
        change(dir.path(), |users| users.set("eve", "other")).unwrap();
        let mode = fs::metadata(file(dir.path())).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, any(dir.path())), (0o600, true));
        let text = fs::read_to_string(file(dir.path())).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(load(dir.path()).unwrap().names().collect::<Vec<_>>(), ["admin", "eve"]);
        let why = remove(dir.path(), "bob").unwrap_err().to_string();
        assert_eq!(why, "the menu has no user 'bob': there are admin, eve");
        remove(dir.path(), "eve").unwrap();
        remove(dir.path(), "admin").unwrap();
        assert!(!any(dir.path()));
        for bad in ["", "abc", "größer", "a\nb12"] {
            assert!(check_password(bad).is_err(), "{bad:?}");
        }
        fs::write(file(dir.path()), "[\"a b\"]\ndigest = \"\"\ngrub = \"\"\n").unwrap();
        assert!(load(dir.path()).is_err());
    }
}
