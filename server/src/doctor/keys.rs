// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and signatures: what machines with a key in their initrd would refuse.

use super::finding::Finding;
use crate::{
    catalogue::{Catalogue, INITRD},
    config::Config,
    import::initrd,
    keys::Folder,
    operations::Disk,
};
use bootspec::{ImageName, layer, trust::Keys};

const REFUSED: &str = "machines whose initrd has a key refuse it (exit code 12)";

/// The keys, and whether the images are signed by one of them.
pub fn signatures(config: &Config) -> Vec<Finding> {
    let (folder, catalogue) = (Folder::of(config), Catalogue::at(&config.catalogue.dir));
    let mut found = Vec::new();
    for open in folder.open_to_others() {
        found.push(Finding::bad(
            "keys",
            format!("the secret key {} can be read by others than its owner", open.display()),
            "whoever has read it can sign images that machines boot as root",
            format!(
                "chmod 600 {}; if others are on this machine, make a new key (docs/security.md)",
                open.display()
            ),
        ));
    }
    let names = catalogue.names().unwrap_or_default();
    let keys = match folder.keys().and_then(|keys| folder.chosen().map(|secret| (keys, secret))) {
        Ok((keys, secret)) if keys.ids().next().is_none() && secret.is_none() => {
            let signed = names.iter().filter(|n| catalogue.signed_by_key(n).is_some()).count();
            found.push(Finding::good(
                "signatures",
                match signed {
                    0 => format!("no key in {}: images are not signed", folder.dir.display()),
                    n => format!(
                        "{n} images are signed, and there is no key in {} to look at that with",
                        folder.dir.display()
                    ),
                },
            ));
            return found;
        }
        Ok((keys, _)) => keys,
        Err(e) => {
            let cure = format!("look at {}; boottorrent key show", folder.dir.display());
            found.push(Finding::bad(
                "keys",
                format!("{e:#}"),
                "images can neither be signed nor looked at",
                cure,
            ));
            return found;
        }
    };
    let bad: Vec<Finding> = names.iter().filter_map(|name| refused(&catalogue, name, &keys)).collect();
    found.extend(unsigned_files(config, &keys));
    match bad.is_empty() {
        true => {
            found.push(Finding::good("signatures", format!("{} images are signed by {keys}", names.len())))
        }
        false => found.extend(bad),
    }
    found
}

/// Files for machines that those with a key refuse.
fn unsigned_files(config: &Config, keys: &Keys) -> Vec<Finding> {
    let Disk { hosts, layers, private, .. } = Disk::of(config);
    let hosts = hosts.load().unwrap_or_default();
    let given =
        hosts.entries.iter().flat_map(|(key, e)| [(key, &layers, e.files), (key, &private, e.private)]);
    let refused = given.filter_map(|(key, layers, sum)| {
        let sum = sum?;
        let signature = layers.signature(sum).ok()?.unwrap_or_default();
        let why = keys.signed_by(&layers.read(sum).ok()?, &signature).err()?;
        let (who, cure) = (key.to_string(), format!("boottorrent host sign {key}"));
        Some(Finding::warning("files", layer::refusal(&why, &who, keys), REFUSED, cure))
    });
    refused.collect()
}

/// Why machines with a key refuse an image.
fn refused(catalogue: &Catalogue, name: &ImageName, keys: &Keys) -> Option<Finding> {
    let e = catalogue.verify(name, keys).err()?;
    let (what, cure) = match catalogue.signed_by_key(name) {
        None => (format!("image '{name}' is not signed"), format!("boottorrent image sign {name}")),
        Some(_) => {
            (format!("{e:#}"), format!("boottorrent image verify {name}; boottorrent image sign {name}"))
        }
    };
    // What stands in an initrd that is LTSP's, nobody here knows.
    let own = catalogue.dir(name).join(INITRD);
    Some(match initrd::has_key(&own, INITRD).unwrap_or(false) {
        true => Finding::bad("signatures", what, "no machine boots it: its own initrd has a key", cure),
        false => Finding::warning("signatures", what, REFUSED, cure),
    })
}
