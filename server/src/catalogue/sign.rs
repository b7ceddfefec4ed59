// SPDX-License-Identifier: GPL-3.0-or-later
//! Statements and signatures in the catalogue.

use super::{
    names::{PAYLOAD, signature_name, statement_name, torrent_name},
    store::Catalogue,
};
use crate::{
    files, interrupt,
    keys::{CatalogueSigner, Signer},
    meter::Meter,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName, Sha256Sum,
    cmdline::check_append,
    text::clean,
    trust::{
        Distrust, Evidence, KeyId, Keys, MAX_SIGNATURE, MAX_STATEMENT, Newest, Signed, Statement, Wanted,
    },
    units::human_size,
};
use std::{fmt::Display, io::Read, path::Path};
use swarm::{MAX_METAINFO, Metainfo};

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
pub(super) fn seal(manifest: &ImageManifest, hand: &CatalogueSigner) -> Result<(Sealed, Option<Evidence>)> {
    let statement = match Statement::of(manifest) {
        Ok(statement) => statement,
        Err(why) => {
            let why = format!("image '{}' cannot be signed: {why}", manifest.name);
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

/// A signature, and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resigned {
    /// What is signed now.
    pub signed: Signed,
    /// What was signed before, if one of the keys did.
    pub before: Option<Statement>,
}

impl Resigned {
    /// What whoever signs should look at: only he knows whether the image was meant to change.
    pub fn told(&self) -> String {
        let Statement { name, version, size, sha256, .. } = &self.signed.statement;
        let now = format!("image '{name}' of {version}, {}, SHA-256 {sha256}", human_size(*size));
        match &self.before {
            None => format!(
                "{now}\n  no key here has signed it before: compare its SHA-256 with the one where the image was made"
            ),
            Some(before) if *before == self.signed.statement => format!("{now}\n  as it was signed before"),
            Some(before) => {
                let changes = self.changes(before);
                format!(
                    "{now}\n  CHANGED since it was signed last: {}; if you did not change it, do not give this signature to \
                     any machine: somebody else did",
                    changes.join(", ")
                )
            }
        }
    }

    fn changes(&self, before: &Statement) -> Vec<String> {
        let now = &self.signed.statement;
        let change = |what: &str, was: &dyn Display, is: &dyn Display| {
            let (was, is) = (was.to_string(), is.to_string());
            (was != is).then(|| format!("{what} {} -> {}", clean(&was, &[]), clean(&is, &[])))
        };
        let all = [
            change("name", &before.name, &now.name),
            change("time", &before.version, &now.version),
            change("size", &before.size, &now.size),
            change("SHA-256", &before.sha256, &now.sha256),
            change("infohash", &before.infohash, &now.infohash),
            change("kind", &before.kind.as_str(), &now.kind.as_str()),
            change(
                "kernel parameters",
                &format!("'{}'", before.parameters),
                &format!("'{}'", now.parameters),
            ),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Whether one of the keys stands for what a manifest says. Errors are sentences.
pub fn verified(manifest: &ImageManifest, evidence: &Evidence, keys: &Keys) -> Result<Signed> {
    let name = &manifest.name;
    let newest = Newest::new();
    let wanted = Wanted {
        name: Some(name.as_str()),
        infohash: manifest.infohash,
        size: manifest.size,
        newest: &newest,
    };
    let signed = keys.judge(evidence, &wanted).map_err(|e| anyhow!(e.sentence(name.as_str(), keys)))?;
    match Statement::of(manifest) {
        Ok(now) if now == signed.statement => Ok(signed),
        _ => bail!(
            "what key {} signed for image {name} is not what its manifest.toml says now: sign it with `boottorrent image sign {name}`",
            signed.key
        ),
    }
}

impl Catalogue {
    /// An image's statement and signature, either of which may be empty.
    pub fn evidence(&self, name: &ImageName) -> Result<Evidence> {
        self.evidence_in(&self.dir(name), name)
    }

    /// The same of the version that is in a folder.
    pub fn evidence_in(&self, folder: &Path, name: &ImageName) -> Result<Evidence> {
        let small = |file: String, max, what| {
            files::find(&folder.join(file), max, what).map(Option::unwrap_or_default)
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

    /// Sign an image as it is, once all of its payload was read: what its manifest and its torrent say is only the word of
    /// whoever may write to the catalogue. `keys`: whose earlier signature counts.
    pub fn sign(&self, name: &ImageName, signer: &Signer, keys: &Keys) -> Result<Resigned> {
        let mut manifest = self.manifest(name)?;
        let before = self.signed_before(name, &manifest, keys);
        let sum = self.whole(name, &manifest)?;
        match manifest.sha256 {
            // An older server's.
            None => manifest = self.change(name, |m| m.sha256 = Some(sum))?,
            Some(said) if said != sum => bail!(
                "image '{name}' is not signed: the SHA-256 of its payload is {sum}, and its manifest.toml says {said}: somebody \
                 changed it, or the disk is failing; add the image again"
            ),
            Some(_) => {}
        }
        // They were checked when the image was added, or in the settings.
        check_append(&manifest.append).map_err(|why| {
            anyhow!("image '{name}' is not signed: its kernel parameters were changed by hand: {why}")
        })?;
        let statement =
            Statement::of(&manifest).map_err(|why| anyhow!("image '{name}' cannot be signed: {why}"))?;
        let proof = signer.sign(&statement)?;
        let _lock = self.lock()?;
        if self.manifest(name)? != manifest {
            bail!("image '{name}' was changed meanwhile: sign it again");
        }
        self.put(name, &statement_name(name), &proof.statement)?;
        self.put(name, &signature_name(name), &proof.signature)?;
        Ok(Resigned { signed: Signed { statement, key: signer.id }, before })
    }

    /// What one of the keys has signed of an image, whatever version it was.
    fn signed_before(&self, name: &ImageName, manifest: &ImageManifest, keys: &Keys) -> Option<Statement> {
        let (infohash, size) = (manifest.infohash, manifest.size);
        let wanted = Wanted { name: None, infohash, size, newest: &Newest::new() };
        match keys.judge(&self.evidence(name).ok()?, &wanted) {
            Ok(signed) => Some(signed.statement),
            Err(Distrust::OtherVersion(signed) | Distrust::OtherName(signed)) => Some(signed.statement),
            Err(_) => None,
        }
    }

    /// The SHA-256 of a payload, every piece of which is as its torrent says.
    fn whole(&self, name: &ImageName, manifest: &ImageManifest) -> Result<Sha256Sum> {
        let dir = self.dir(name);
        let torrent = dir.join(torrent_name(name));
        let bytes = files::read(&torrent, MAX_METAINFO, "torrent that machines take")?;
        let torrent = Metainfo::parse(bytes).with_context(|| format!("reading {}", torrent.display()))?;
        let not = |what: String| anyhow!("image '{name}' is not signed: {what}: add it again");
        if (torrent.infohash(), torrent.size()) != (manifest.infohash, manifest.size) || !torrent.is_whole() {
            return Err(not(format!(
                "its manifest.toml and {} are of different versions",
                torrent_name(name)
            )));
        }
        let path = dir.join(PAYLOAD);
        let reading = || format!("reading {}", path.display());
        let file = files::open_in_folder(&path)?;
        let size = file.metadata().with_context(reading)?.len();
        if size != manifest.size {
            return Err(not(format!("its payload has {size} bytes, and its torrent says {}", manifest.size)));
        }
        let (meter, mut summing) = (Meter::new("reading", Some(size)), swarm::Summing::new(&file));
        let mut piece = Vec::new();
        for n in 0..torrent.pieces() {
            interrupt::check()?;
            let range = torrent.piece_range(n);
            piece.resize((range.end - range.start) as usize, 0);
            summing.read_exact(&mut piece).with_context(reading)?;
            if !torrent.verify(n, &piece) {
                return Err(not(format!("piece {n} of its payload is not what its torrent says")));
            }
            meter.update(range.end);
        }
        Ok(summing.finish())
    }

    /// Whether one of the keys stands for an image as it is in the catalogue, but for its bytes. Errors are sentences.
    pub fn verify(&self, name: &ImageName, keys: &Keys) -> Result<Signed> {
        verified(&self.manifest(name)?, &self.evidence(name)?, keys)
    }

    /// The SHA-256 of an image's payload, as it is on the disk.
    pub fn sum(&self, name: &ImageName) -> Result<Sha256Sum> {
        let path = self.dir(name).join(PAYLOAD);
        let reading = || format!("reading {}", path.display());
        let file = files::open_in_folder(&path)?;
        let size = file.metadata().with_context(reading)?.len();
        let meter = Meter::new("reading", Some(size));
        swarm::sha256(&file, None, size, |done| meter.update(done)).with_context(reading)
    }

    /// A new name needs a new signature.
    pub(super) fn refuse_to_lose_signature(&self, name: &ImageName) -> Result<()> {
        let kept = self.kept_folders(name)?.into_iter().map(|folder| self.images.join(folder));
        let signed = [self.dir(name)].into_iter().chain(kept).map(|dir| dir.join(signature_name(name)));
        let Some(signed) = signed.into_iter().find(|s| s.exists()) else { return Ok(()) };
        match self.hand.signer() {
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
