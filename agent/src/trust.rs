// SPDX-License-Identifier: GPL-3.0-or-later
//! With public keys in the initramfs, only what one of them has signed boots: the statement and its
//! signature are found, judged ([`bootspec::trust`]), and at the end the whole payload is summed up.

use crate::{
    ask::{Answer, Get, Patience},
    fail::{Failure, Step},
    files::{files, small},
    locate::{self, MetainfoSource},
    reach::Reach,
    report::Report,
    store::Payload,
};
use anyhow::Context;
use bootspec::{
    Exit, Params, cmdline,
    params::KindParam,
    trust::{
        Distrust, Evidence, Keys, MAX_KEY, MAX_SIGNATURE, MAX_STATEMENT, Newest, Signed, Statement, Wanted,
    },
};
use std::{io, path::Path};
use swarm::Metainfo;
use url::Url;

/// The keys in a folder: every `*.pub`. `None`: there is not one such file, and nothing is checked. A file that is not a key
/// turns nothing off, nor does a folder that cannot be read: then nothing is trusted.
pub fn keys(dir: &Path, report: &Report) -> Option<Keys> {
    let files = match files(dir, "pub") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => {
            report.warn(&format!("{} cannot be read, and no key is trusted: {e}", dir.display()));
            return Some(Keys::default());
        }
        Ok(files) => files,
    };
    let mut keys = Keys::default();
    for file in &files {
        let read = small(file, MAX_KEY).map_err(|e| e.to_string());
        if let Err(why) = read.and_then(|b| keys.add(&b.unwrap_or_default()).map_err(str::to_owned)) {
            report.warn(&format!("{} is ignored: {why}", file.display()));
        }
    }
    (!files.is_empty()).then_some(keys)
}

/// An image that wants to boot, and what is known about it.
pub struct Case<'a> {
    /// Whose word counts.
    pub keys: &'a Keys,
    /// What was asked for.
    pub params: &'a Params,
    /// What came.
    pub metainfo: &'a Metainfo,
    /// What it is called.
    pub image: &'a str,
    /// What was kept of its evidence.
    pub kept: Option<Evidence>,
    /// Nobody is asked: what is not kept is nowhere.
    pub kept_only: bool,
    /// What this machine has booted.
    pub newest: Newest,
    /// Where evidence is.
    pub reach: &'a Reach,
    /// Asks for it.
    pub client: &'a reqwest::Client,
    /// Hears of it.
    pub report: &'a Report,
}

/// An image that may boot.
pub struct Vouched {
    /// Who says so, and what.
    pub signed: Signed,
    /// How that was proved.
    pub evidence: Evidence,
}

impl Case<'_> {
    /// Who stands for this image. What was kept is enough: then the server is not asked.
    pub async fn vouch(&self) -> Result<Vouched, Failure> {
        let (image, none) = (self.image, Newest::new());
        let wanted = Wanted {
            name: locate::asked(self.params),
            infohash: self.metainfo.infohash(),
            size: self.metainfo.size(),
            newest: if self.params.allow_older { &none } else { &self.newest },
        };
        let mut why = Distrust::Unsigned;
        let mut vouched = None;
        if let Some(kept) = &self.kept {
            vouched = self.keys.judge(kept, &wanted).map_err(|e| why = e).ok().zip(self.kept.clone());
        }
        if vouched.is_none() {
            match self.evidence(&wanted).await {
                Ok(Some(evidence)) => match self.keys.judge(&evidence, &wanted) {
                    Ok(signed) => vouched = Some((signed, evidence)),
                    Err(e) => why = e,
                },
                Err(failure) if why == Distrust::Unsigned => return Err(failure),
                Ok(None) | Err(_) => {}
            }
        }
        let refused = |why: Distrust| Failure::new(Exit::Trust, why.sentence(image, self.keys));
        let (signed, evidence) = vouched.ok_or_else(|| refused(why))?;
        let Signed { statement, key } = &signed;
        contradicts(statement, self.params)
            .map_or(Ok(()), |why| Err(Failure::new(Exit::Trust, format!("{why}: key {key} signed that"))))?;
        self.report.info(&format!("image {image} of {} is signed by key {key}", statement.version));
        Ok(Vouched { signed, evidence })
    }

    /// The statement and its signature from where the .torrent came from. Both are of one server: what another says counts
    /// only if it is signed.
    async fn evidence(&self, wanted: &Wanted<'_>) -> Result<Option<Evidence>, Failure> {
        let Reach { torrent, server, relays, .. } = self.reach;
        let at = locate::statement(torrent, server.as_ref(), self.params, self.metainfo.infohash());
        match at.filter(|_| !self.kept_only) {
            Some(MetainfoSource::Url(url)) => {
                let patience =
                    Patience { url: &url, relays, limit: self.params.timeout, report: self.report };
                let right = |evidence: &Evidence| {
                    let refusal = |why: Distrust| why.sentence(self.image, self.keys);
                    self.keys.judge(evidence, wanted).map(drop).map_err(refusal)
                };
                match patience.ask(async |url| self.ask(url).await, right).await? {
                    Answer::Got(evidence) => Ok(Some(evidence)),
                    Answer::No(why) => {
                        self.report.debug(&why);
                        Ok(None)
                    }
                }
            }
            Some(MetainfoSource::File(path)) => {
                let read = |path: &Path, max| {
                    small(path, max)
                        .with_context(|| format!("reading {}", path.display()))
                        .step(Exit::Metainfo)
                };
                let Some(statement) = read(&path, MAX_STATEMENT)? else { return Ok(None) };
                let signature = read(&locate::signature_file(&path), MAX_SIGNATURE)?;
                Ok(signature.map(|signature| Evidence { statement, signature }))
            }
            Some(MetainfoSource::Magnet(_)) | None => Ok(None),
        }
    }

    /// Ask one server for both. `statement`: where it is there.
    async fn ask(&self, statement: &Url) -> anyhow::Result<Answer<Evidence>> {
        let get = |max| Get { client: self.client, max, key: None };
        let signature = locate::signature(statement);
        let (statement, signature) =
            match (get(MAX_STATEMENT).once(statement).await?, get(MAX_SIGNATURE).once(&signature).await?) {
                (Answer::Got(statement), Answer::Got(signature)) => (statement.into(), signature.into()),
                (Answer::No(why), _) | (_, Answer::No(why)) => return Ok(Answer::No(why)),
            };
        Ok(Answer::Got(Evidence { statement, signature }))
    }
}

/// What a kernel command line must not say otherwise.
fn contradicts(statement: &Statement, params: &Params) -> Option<String> {
    let asked = match params.kind {
        KindParam::Auto => return None,
        KindParam::Filesystem => "filesystem",
        KindParam::Iso => "iso",
        KindParam::Disk => "disk",
        KindParam::Ltsp => "ltsp",
    };
    let Statement { name, kind, .. } = statement;
    (asked != kind.as_str()).then(|| {
        format!("boottorrent.kind={asked} was asked for, but image {name} is of kind {}", kind.as_str())
    })
}

/// Of the kernel parameters that were signed with an image, those that the command line has not.
pub fn missing(statement: &Statement, line: &str) -> Vec<String> {
    let there = cmdline::split(line);
    let wanted = cmdline::split(&statement.parameters);
    let lacks = wanted.into_iter().filter(|word| !there.contains(word));
    lacks
        .map(|(name, value)| match value {
            Some(value) => cmdline::render(&name, &value),
            None => name,
        })
        .collect()
}

impl Vouched {
    /// The whole payload, once more, now by SHA-256. What is another one is taken away.
    pub async fn check(
        &self,
        payload: &mut Payload,
        image: &str,
        keys: &Keys,
        report: &Report,
    ) -> Result<(), Failure> {
        let Signed { statement, .. } = &self.signed;
        let begun = std::time::Instant::now();
        let is = payload.sum_up(statement.size, image, report).await.step(Exit::Storage)?;
        if is != statement.sha256 {
            payload.discard().unwrap_or_else(|e| report.warn(&format!("{e:#}")));
            let why = Distrust::OtherBytes(self.signed.clone().into(), is);
            return Err(Failure::new(Exit::Trust, why.sentence(image, keys)));
        }
        let seconds = begun.elapsed().as_secs_f64();
        report.info(&format!("{image}: the SHA-256 is what was signed (checked in {seconds:.1} s)"));
        Ok(())
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
