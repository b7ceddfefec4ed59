// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that the server has for this machine (`boottorrent host set … --files`): fetched, checked, and laid over the
//! root before it starts.

#[cfg(feature = "tls")]
mod private;
mod unpack;

pub use unpack::{Unpacked, unpack};

use crate::{
    ask::{Answer, Get, Patience},
    fail::{Failure, Step},
    report::Report,
};
use anyhow::Context;
use bootspec::{
    Exit, Sha256Sum,
    layer::{self, MAX_LAYER, Values},
    smbios,
    trust::{Distrust, Keys, MAX_SIGNATURE, SIGNATURE},
    units::human_size,
};
use bytes::Bytes;
use std::{fs, io, path::Path, time::Duration};
use swarm::Summing;
use url::Url;

/// Bytes of all archives of one machine, which are in RAM until its root is there.
const MAX_ALL: usize = 256 << 20;

/// Files for this machine that may be laid over its root.
pub struct Layer {
    /// For whom they are, as `boottorrent host set` names them.
    who: String,
    bytes: Vec<u8>,
}

/// Where on the server they are.
struct Place<'a> {
    path: &'a str,
    /// The machine's key, for those that only this machine may have.
    key: Option<&'a str>,
}

/// Files that everybody may have.
const OPEN: &str = "files";

/// What fetching them takes.
pub struct Asking<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// `boottorrent serve`.
    pub server: Option<&'a Url>,
    /// Servers that have open files too.
    pub relays: &'a [Url],
    /// Whose signature they need; none: nobody's.
    pub keys: Option<&'a Keys>,
    /// The address of this machine's card.
    pub mac: &'a str,
    /// How long the server is waited for.
    pub limit: Option<Duration>,
    /// Hears of it.
    pub report: &'a Report,
}

impl Asking<'_> {
    /// Fetch the archives with these sums, in their order.
    pub async fn fetch(&self, sums: &[Sha256Sum]) -> Result<Vec<Layer>, Failure> {
        self.from(&Place { path: OPEN, key: None }, sums).await
    }

    async fn from(&self, place: &Place<'_>, sums: &[Sha256Sum]) -> Result<Vec<Layer>, Failure> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for sum in sums {
            let layer = self.one(place, *sum).await?;
            bytes += layer.bytes.len();
            if bytes > MAX_ALL {
                return Err(Failure::new(
                    Exit::Room,
                    format!(
                        "the files for this machine are more than {}: make them smaller",
                        human_size(MAX_ALL as u64)
                    ),
                ));
            }
            all.push(layer);
        }
        Ok(all)
    }

    /// Whether the server can prove that it is the server, and nobody else hears the key. Asked before there is a key.
    pub fn can_be_private(&self) -> Result<(), Failure> {
        match self.server {
            Some(url) if url.scheme() == "https" => Ok(()),
            // A machine that boots without a server, as from an image on its disk.
            None => Err(Failure::new(Exit::Metainfo, "the server with the private files is not known")),
            _ => Err(Failure::new(
                Exit::Trust,
                "this machine has private files, which are sent over HTTPS only: add boottorrent.server=https://HOST and the \
                 authority's certificate (security.md), or remove them (`boottorrent host set WHO --private none`)",
            )),
        }
    }

    async fn one(&self, place: &Place<'_>, sum: Sha256Sum) -> Result<Layer, Failure> {
        let right = |bytes: &Bytes| match summed(bytes) {
            is if is == sum => Ok(()),
            is => Err(format!("it has SHA-256 {is}, and {sum} was asked for")),
        };
        let bytes = match self.get(place, &format!("/{sum}"), MAX_LAYER, right).await? {
            Answer::Got(bytes) => Vec::from(bytes),
            Answer::No(why) => {
                let what = format!("the files {sum} for this machine cannot be fetched: {why}");
                return Err(Failure::new(
                    Exit::Metainfo,
                    format!("{what}; restart this machine, because they may have been replaced"),
                ));
            }
        };
        let is = summed(&bytes);
        if is != sum {
            let named = if place.key.is_some() { "the server has named" } else { "boottorrent.files= names" };
            let what = format!("the files that the server sent have SHA-256 {is}");
            return Err(Failure::new(Exit::Trust, format!("{what}, but {named} {sum}")));
        }
        let (who, _) = layer::split(&bytes).map_err(|why| {
            Failure::new(Exit::Trust, format!("the files {sum} for this machine cannot be used: {why}"))
        })?;
        let who = who.to_owned();
        if let Some(keys) = self.keys {
            self.signed(keys, (&who, &bytes), place, sum).await?;
        }
        Ok(Layer { who, bytes })
    }

    /// With keys in the initrd, files need a signature, and those of another machine are not ours.
    async fn signed(
        &self,
        keys: &Keys,
        (who, bytes): (&str, &[u8]),
        place: &Place<'_>,
        sum: Sha256Sum,
    ) -> Result<(), Failure> {
        let refusal = |why: Distrust| layer::refusal(&why, who, keys);
        let right = |signature: &Bytes| keys.signed_by(bytes, signature).map(drop).map_err(refusal);
        let signature = match self.get(place, &format!("/{sum}.{SIGNATURE}"), MAX_SIGNATURE, right).await? {
            Answer::Got(signature) => signature,
            Answer::No(why) => {
                self.report.debug(&why);
                Default::default()
            }
        };
        let judged = keys.signed_by(bytes, &signature);
        let key = judged.map_err(|why| Failure::new(Exit::Trust, refusal(why)))?;
        if is_card(who) && !who.eq_ignore_ascii_case(self.mac) {
            let what =
                format!("the files signed by key {key} are for {who}, but this machine is {}", self.mac);
            return Err(Failure::new(Exit::Trust, what));
        }
        self.report.info(&format!("the files for {who} are signed by key {key}"));
        Ok(())
    }

    /// `right`: whether what another server sent is what was meant.
    async fn get(
        &self,
        place: &Place<'_>,
        rest: &str,
        max: usize,
        right: impl Fn(&Bytes) -> Result<(), String>,
    ) -> Result<Answer, Failure> {
        let none = || {
            Failure::new(
                Exit::Metainfo,
                "the server with the files for this machine is not known: add boottorrent.server=HOST",
            )
        };
        let url = self.server.ok_or_else(none)?.join(&format!("{}{rest}", place.path));
        let url = url.context("making the address of the files").step(Exit::Params)?;
        // Nobody but the server hears the machine's key.
        let relays = if place.key.is_some() { &[] } else { self.relays };
        let get = Get { client: self.client, max, key: place.key };
        let patience = Patience { url: &url, relays, limit: self.limit, report: self.report };
        patience.ask(async |url| get.once(url).await, right).await
    }
}

fn summed(bytes: &[u8]) -> Sha256Sum {
    let mut sum = Summing::new(bytes);
    io::copy(&mut sum, &mut io::sink()).expect("a slice can be read");
    sum.finish()
}

/// Whether it is the address of a card: the one name of a machine that this machine can compare with its own.
fn is_card(who: &str) -> bool {
    who.len() == 17 && who.split(':').all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Lay them over a root, one after the other.
pub fn apply(layers: &[Layer], root: &Path, values: &Values, report: &Report) -> anyhow::Result<()> {
    for Layer { who, bytes } in layers {
        let (_, archive) = layer::split(bytes).map_err(anyhow::Error::msg)?;
        let Unpacked { put, removed } = unpack(archive, root, values)
            .with_context(|| format!("the files for {who} cannot be written to the root"))?;
        report.info(&format!("files for {who}: {put} written, {removed} removed"));
    }
    Ok(())
}

/// The firmware's serial number, where the machine has one of its own. `sys`: /sys but in tests.
pub fn serial(sys: &Path) -> String {
    let text = fs::read_to_string(sys.join("class/dmi/id/product_serial")).unwrap_or_default();
    Some(text.trim()).filter(|s| smbios::is_serial(s)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_compared_and_no_other_names() {
        assert!(is_card("52:54:00:00:00:0A"));
        for other in ["default", "group:52:54:00:00:0", "4c4c4544-0042-3510-8052-b4c04f4e4e32", "serial:1"] {
            assert!(!is_card(other), "{other}");
        }
    }

    #[test]
    fn serial_numbers() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(serial(sys.path()), "");
        let at = sys.path().join("class/dmi/id");
        fs::create_dir_all(&at).unwrap();
        for (text, want) in [("5CG1234XYZ\n", "5CG1234XYZ"), ("To be filled by O.E.M.\n", "")] {
            fs::write(at.join("product_serial"), text).unwrap();
            assert_eq!(serial(sys.path()), want);
        }
    }
}
