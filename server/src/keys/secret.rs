// SPDX-License-Identifier: GPL-3.0-or-later
//! Secret keys: opened with a password, or without one, and used.

use super::folder::{Folder, read};
use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    base64,
    order::Order,
    trust::{Evidence, KeyId, MAX_KEY, Statement},
};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use std::{
    env, fmt,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The password, for programs.
pub const PASSWORD: &str = "BOOTTORRENT_KEY_PASSWORD";
/// A file whose first line is the password.
pub const PASSWORD_FILE: &str = "BOOTTORRENT_KEY_PASSWORD_FILE";

/// How often a wrong password may be typed.
const TRIES: u32 = 3;

/// Whether a person may be asked for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskPassword {
    /// On the terminal, if there is one.
    Terminal,
    /// Never: it is a daemon's or a program's turn.
    Nobody,
}

/// A secret key that is ready to sign.
pub struct Signer {
    key: SecretKey,
    public: PublicKey,
    /// Which it is.
    pub id: KeyId,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

/// Who signs what is added to a catalogue.
#[derive(Clone, Debug, Default)]
pub enum CatalogueSigner {
    /// Nobody: there is no key.
    #[default]
    None,
    /// This key.
    Ready(Arc<Signer>),
    /// There is a key, and it cannot be used; why.
    Unable(String),
    /// Whatever key there is when it is needed; nobody is asked for its password.
    Later(Folder),
}

impl CatalogueSigner {
    /// The key, or why there is none; neither: nobody wants signatures.
    pub fn signer(&self) -> Result<Option<Arc<Signer>>, String> {
        match self {
            CatalogueSigner::None => Ok(None),
            CatalogueSigner::Ready(signer) => Ok(Some(signer.clone())),
            CatalogueSigner::Unable(why) => Err(why.clone()),
            CatalogueSigner::Later(folder) => match folder.hand(AskPassword::Nobody) {
                Ok(CatalogueSigner::Later(_)) => Ok(None),
                Ok(hand) => hand.signer(),
                Err(e) => Err(format!("{e:#}")),
            },
        }
    }
}

impl Folder {
    /// The key that signs, opened. Errors: a wrong password, a damaged key; what is only not for us is [`CatalogueSigner::Unable`].
    pub fn hand(&self, ask: AskPassword) -> Result<CatalogueSigner> {
        let Some(path) = self.chosen()? else { return Ok(CatalogueSigner::None) };
        let text = match read(&path) {
            Err(e) if denied(&e) => {
                return Ok(CatalogueSigner::Unable(format!(
                    "this user may not read the key {}",
                    path.display()
                )));
            }
            text => text?,
        };
        match Signer::open(&text, &path, ask)? {
            Some(signer) => Ok(CatalogueSigner::Ready(Arc::new(signer))),
            None => Ok(CatalogueSigner::Unable(format!(
                "the key {} has a password, and there is no terminal to ask for it on, nor {PASSWORD} or {PASSWORD_FILE}",
                path.display()
            ))),
        }
    }

    /// The key that signs what somebody asks to be signed; a password is asked for. Errors: there is none, or not for us.
    pub fn signer(&self) -> Result<Arc<Signer>> {
        match self.hand(AskPassword::Terminal)? {
            CatalogueSigner::Ready(signer) => Ok(signer),
            CatalogueSigner::Unable(why) => bail!("nothing is signed: {why}"),
            _ => bail!(
                "there is no secret key in {}: make one with `boottorrent key generate`",
                self.dir.display()
            ),
        }
    }
}

fn denied(e: &anyhow::Error) -> bool {
    let kind = e.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::PermissionDenied)
}

/// Whether a secret key needs a password: behind two letters for the algorithm come two for how it is encrypted.
pub fn has_password(text: &str) -> bool {
    // In base64 those four letters are "RWRT" (EdSc) with a password, and "RWQA" without one.
    !text.lines().nth(1).unwrap_or_default().starts_with("RWQA")
}

/// A password that does not open a key.
#[derive(Debug, thiserror::Error)]
#[error("wrong password for {}", .0.display())]
pub struct WrongPassword(PathBuf);

impl Signer {
    /// Open a secret key's file. `None`: it has a password, and nobody can be asked for it.
    pub fn open(text: &[u8], path: &Path, ask: AskPassword) -> Result<Option<Signer>> {
        let shown = path.display();
        let text =
            std::str::from_utf8(text).map_err(|_| anyhow!("{shown} is not a secret key of minisign"))?;
        // 158 bytes in base64; said before anybody is asked for a password.
        if !text.lines().nth(1).is_some_and(|l| l.len() == 212 && l.starts_with("RW")) {
            bail!("{shown} is not a secret key of minisign");
        }
        let boxed = || SecretKeyBox::from_string(text).map_err(|e| anyhow!("{shown}: {e}"));
        if !has_password(text) {
            let bytes = base64::decode(text.lines().nth(1).unwrap_or_default());
            // Stock minisign writes no checksum (the last 32 bytes) where there is no password.
            let key = match bytes.ends_with(&[0; 32]) {
                true => SecretKey::from_bytes(&bytes),
                false => boxed()?.into_unencrypted_secret_key(),
            };
            return Signer::of(key.map_err(|_| anyhow!("{shown} is not a secret key of minisign"))?)
                .map(Some);
        }
        let mut tries = 0;
        loop {
            let Some((password, typed)) = password(ask, &format!("Password of {shown}: "))? else {
                return Ok(None);
            };
            tries += 1;
            match boxed()?.into_secret_key(Some(password)) {
                Ok(key) => return Signer::of(key).map(Some),
                Err(e) if !e.to_string().contains("password") => {
                    bail!("{shown} is not a secret key of minisign")
                }
                Err(_) if typed && tries < TRIES => eprintln!("That is not the password."),
                Err(_) => return Err(WrongPassword(path.to_owned()).into()),
            }
        }
    }

    fn of(key: SecretKey) -> Result<Signer> {
        let public = PublicKey::from_secret_key(&key).map_err(|e| anyhow!("a damaged secret key: {e}"))?;
        let id = KeyId(u64::from_le_bytes(key.keynum().try_into().context("the id of a key")?));
        Ok(Signer { key, public, id })
    }

    /// The content of its .pub file.
    pub fn public(&self) -> Result<String> {
        Ok(self.public.to_box().map_err(|e| anyhow!("writing a public key: {e}"))?.into_string())
    }

    /// Sign bytes: minisign's four lines. `what` they are, `minisign -V` shows of a signature that is good.
    pub fn sign_bytes(&self, bytes: &[u8], what: &str) -> Result<Vec<u8>> {
        let by = format!("signature from BootTorrent with key {}", self.id);
        let signature = minisign::sign(Some(&self.public), &self.key, bytes, Some(what), Some(&by));
        Ok(signature.map_err(|e| anyhow!("signing {what}: {e}"))?.to_string().into())
    }

    /// Sign an order: the signature's text.
    pub fn sign_order(&self, order: &Order) -> Result<String> {
        let what = format!("order for {}: {}", order.machine, order.what());
        String::from_utf8(self.sign_bytes(order.to_string().as_bytes(), &what)?)
            .context("a signature is text")
    }

    /// Sign a statement.
    pub fn sign(&self, statement: &Statement) -> Result<Evidence> {
        let text = statement.to_string();
        let what = format!("image {}, {}", statement.name, statement.version);
        Ok(Evidence { signature: self.sign_bytes(text.as_bytes(), &what)?, statement: text.into() })
    }
}

/// A password: from a variable, from a file that one names, or typed (`true`), in this order. `None`: from nowhere.
pub fn password(ask: AskPassword, prompt: &str) -> Result<Option<(String, bool)>> {
    if let Ok(password) = env::var(PASSWORD) {
        return Ok(Some((password, false)));
    }
    if let Some(file) = env::var_os(PASSWORD_FILE) {
        let file = Path::new(&file);
        let text = files::read_named(file, MAX_KEY, "password")
            .with_context(|| format!("the file that {PASSWORD_FILE} names"))?;
        let text = String::from_utf8(text);
        let text = text.map_err(|_| anyhow!("the password in {} is not text", file.display()))?;
        return Ok(Some((text.lines().next().unwrap_or_default().to_owned(), false)));
    }
    if ask == AskPassword::Nobody || !stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some((rpassword::prompt_password(prompt).context("asking for the password")?, true)))
}
