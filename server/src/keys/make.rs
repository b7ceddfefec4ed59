// SPDX-License-Identifier: GPL-3.0-or-later
//! New keys, and keys from elsewhere. Nothing is overwritten: a key that is gone is gone.

use super::{
    folder::{Folder, read},
    secret::{AskPassword, PASSWORD, PASSWORD_FILE, Signer, WrongPassword, has_password, password},
};
use crate::files::{Put, Whose, make_dirs, put};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageName,
    trust::{KeyId, Keys},
};
use minisign::KeyPair;
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug)]
pub struct NewKey {
    /// Which key it is.
    pub id: KeyId,
    /// The public key's file.
    pub public: PathBuf,
    /// The secret key's file.
    pub secret: Option<PathBuf>,
    /// Whether the secret key has a password.
    pub password: bool,
}

/// Make a key. `owner`: a folder whose owner may read the secret key, instead of this user.
pub fn generate(
    folder: &Folder,
    name: &ImageName,
    with_password: bool,
    owner: Option<&Path>,
) -> Result<NewKey> {
    folder.refuse_taken(name, &["pub", "key"])?;
    let failed = |e| anyhow!("making a key: {e}");
    let pair = match with_password {
        true => KeyPair::generate_encrypted_keypair(Some(new_password()?)).map_err(failed)?,
        false => KeyPair::generate_unencrypted_keypair().map_err(failed)?,
    };
    let public = pair.pk.to_box().map_err(failed)?.into_string();
    let secret = pair.sk.to_box(Some("minisign secret key")).map_err(failed)?.into_string();
    folder.write(name, &public, Some(&secret), owner)
}

/// A password that is not known yet: typed twice, or from a variable.
fn new_password() -> Result<String> {
    let Some((password_, typed)) = password(AskPassword::Terminal, "Password for the new key: ")? else {
        bail!(
            "there is no terminal to ask for a password on: set {PASSWORD} or {PASSWORD_FILE}, or give --no-password"
        );
    };
    if password_.is_empty() {
        bail!("an empty password protects nothing: type one, or give --no-password");
    }
    if typed
        && password(AskPassword::Terminal, "The same once more: ")?
            .is_none_or(|(again, _)| again != password_)
    {
        bail!("the two passwords are not the same: no key was made");
    }
    Ok(password_)
}

/// Take over a key of minisign: a public one, or a secret one (with its public one).
pub fn import(
    folder: &Folder,
    file: &Path,
    name: Option<&ImageName>,
    owner: Option<&Path>,
) -> Result<NewKey> {
    let text = read(file)?;
    let name = match name {
        Some(name) => name.clone(),
        None => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            stem.parse().map_err(|_| anyhow!("'{stem}' cannot be a key's name: give one with --name"))?
        }
    };
    let text = String::from_utf8(text).map_err(|_| anyhow!("{} is not a key of minisign", file.display()))?;
    if Keys::default().add(text.as_bytes()).is_ok() {
        folder.refuse_taken(&name, &["pub"])?;
        return folder.write(&name, &text, None, owner);
    }
    folder.refuse_taken(&name, &["pub", "key"])?;
    let signer = Signer::open(text.as_bytes(), file, AskPassword::Terminal)
        .map_err(|e| match e.is::<WrongPassword>() {
            true => e,
            false => anyhow!("{} is not a key of minisign, neither a public one nor a secret one", file.display()),
        })?
        .ok_or_else(|| {
            anyhow!("{} has a password, and there is no terminal to ask for it on: set {PASSWORD} or {PASSWORD_FILE}", file.display())
        })?;
    folder.write(&name, &signer.public()?, Some(&text), owner)
}

impl Folder {
    fn path(&self, name: &ImageName, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}.{extension}"))
    }

    fn refuse_taken(&self, name: &ImageName, extensions: &[&str]) -> Result<()> {
        let taken = extensions.iter().map(|e| self.path(name, e)).find(|p| p.symlink_metadata().is_ok());
        match taken {
            Some(path) => bail!("there is {} already: give the new key another --name", path.display()),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        name: &ImageName,
        public: &str,
        secret: Option<&str>,
        owner: Option<&Path>,
    ) -> Result<NewKey> {
        make_dirs(&self.dir)?;
        let id = KeyId::of(public.as_bytes()).context("the id of a key")?;
        let path = self.path(name, "pub");
        let made = NewKey {
            id,
            public: path.clone(),
            secret: secret.map(|_| self.path(name, "key")),
            password: secret.is_some_and(has_password),
        };
        let new = |mode, owner: Option<_>| Put {
            mode,
            beside: None,
            replace: false,
            whose: owner.map_or(Whose::Ours, Whose::LikeThat),
        };
        // The secret one first: a public key whose other half is lost would refuse what nobody can sign.
        if let (Some(to), Some(text)) = (&made.secret, secret) {
            put(to, text.as_bytes(), &new(0o600, owner))?;
        }
        put(&path, public.as_bytes(), &new(0o644, None))?;
        Ok(made)
    }
}
