// SPDX-License-Identifier: GPL-3.0-or-later
//! Statements and signatures in the catalogue.

use super::{Catalogue, PAYLOAD, signature_name, statement_name};
use crate::{
    files,
    keys::{Hand, Signer},
    meter::Meter,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName, Sha256Sum,
    trust::{Evidence, KeyId, Keys, MAX_SIGNATURE, MAX_STATEMENT, Newest, Signed, Statement, Wanted},
};

/// What came of signing an image that was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Who signed it.
    pub key: Option<KeyId>,
    /// Why nobody did, although there is a key.
    pub why_not: Option<String>,
}

impl Sealed {
    /// For the admin; nothing where there is no key.
    pub fn told(&self) -> Option<String> {
        match self {
            Sealed { key: Some(key), .. } => Some(format!("signed by key {key}")),
            Sealed { why_not: Some(why), .. } => {
                Some(format!("note: not signed: {why}; `boottorrent image sign` does it later"))
            }
            _ => None,
        }
    }
}

/// The statement of a manifest, with a signature by whoever can. Its signature is empty without any.
pub(super) fn seal(manifest: &ImageManifest, hand: &Hand) -> Result<(Sealed, Option<Evidence>)> {
    let statement = match Statement::of(manifest) {
        Ok(statement) => statement,
        Err(why) => {
            let why = format!("nothing can be said of image '{}': {why}", manifest.name);
            // Without a key nobody misses it.
            let why_not = (!matches!(hand.signer(), Ok(None))).then_some(why);
            return Ok((Sealed { key: None, why_not }, None));
        }
    };
    // The key is root's, whoever the image is made for.
    let _root = crate::owner::act_as_root();
    let unsigned = || Evidence { statement: statement.to_string().into(), signature: Vec::new() };
    match hand.signer() {
        Ok(Some(signer)) => {
            Ok((Sealed { key: Some(signer.id), why_not: None }, Some(signer.sign(&statement)?)))
        }
        Ok(None) => Ok((Sealed::default(), Some(unsigned()))),
        Err(why) => Ok((Sealed { key: None, why_not: Some(why) }, Some(unsigned()))),
    }
}

impl Catalogue {
    /// An image's statement and signature, either of which may be empty.
    pub fn evidence(&self, name: &ImageName) -> Result<Evidence> {
        let small = |file: String, max, what| {
            files::find(&self.dir(name).join(file), max, what).map(Option::unwrap_or_default)
        };
        Ok(Evidence {
            statement: small(statement_name(name), MAX_STATEMENT, "statement")?,
            signature: small(signature_name(name), MAX_SIGNATURE, "signature of minisign")?,
        })
    }

    /// By which key an image says that it is signed. Whether it is, [`Catalogue::verify`] knows.
    pub fn signed_by_key(&self, name: &ImageName) -> Option<KeyId> {
        KeyId::of(&self.evidence(name).ok()?.signature)
    }

    /// Sign an image as it is. An older server's gets its SHA-256 now.
    pub fn sign(&self, name: &ImageName, signer: &Signer) -> Result<Signed> {
        let mut manifest = self.manifest(name)?;
        if manifest.sha256.is_none() {
            let sum = self.sum(name)?;
            manifest = self.change(name, |m| m.sha256 = Some(sum))?;
        }
        let statement =
            Statement::of(&manifest).map_err(|why| anyhow!("image '{name}' cannot be signed: {why}"))?;
        let proof = signer.sign(&statement)?;
        let _lock = self.lock()?;
        if self.manifest(name)? != manifest {
            bail!("image '{name}' was changed meanwhile: sign it again");
        }
        self.put(name, &statement_name(name), &proof.statement)?;
        self.put(name, &signature_name(name), &proof.signature)?;
        Ok(Signed { statement, key: signer.id })
    }

    /// Whether one of the keys stands for an image as it is in the catalogue, but for its bytes. Errors are sentences.
    pub fn verify(&self, name: &ImageName, keys: &Keys) -> Result<Signed> {
        let manifest = self.manifest(name)?;
        let newest = Newest::new();
        let wanted = Wanted {
            name: Some(name.as_str()),
            infohash: manifest.infohash,
            size: manifest.size,
            newest: &newest,
        };
        let signed = keys
            .judge(&self.evidence(name)?, &wanted)
            .map_err(|e| anyhow!(e.sentence(name.as_str(), keys)))?;
        match Statement::of(&manifest) {
            Ok(now) if now == signed.statement => Ok(signed),
            _ => bail!(
                "what key {} signed for image {name} is not what its manifest.toml says now: sign it with `boottorrent image sign {name}`",
                signed.key
            ),
        }
    }

    /// The SHA-256 of an image's payload, as it is on the disk.
    pub fn sum(&self, name: &ImageName) -> Result<Sha256Sum> {
        let path = self.dir(name).join(PAYLOAD);
        let reading = || format!("reading {}", path.display());
        let file = files::open_in_folder(&path)?;
        let size = file.metadata().with_context(reading)?.len();
        let mut meter = Meter::new("reading", Some(size));
        swarm::sha256(&file, None, size, |done| meter.update(done)).with_context(reading)
    }

    /// A new name needs a new signature.
    pub(super) fn refuse_to_lose_signature(&self, name: &ImageName) -> Result<()> {
        let signed = self.dir(name).join(signature_name(name));
        match self.hand.signer() {
            _ if !signed.exists() => Ok(()),
            Ok(Some(_)) => Ok(()),
            without => bail!(
                "image '{name}' is signed, and its name with it; under another name it needs another signature, and {}: to \
                 lose it, delete {} first",
                without.err().unwrap_or_else(|| "there is no key here".into()),
                signed.display()
            ),
        }
    }
}
