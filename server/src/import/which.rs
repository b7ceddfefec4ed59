// SPDX-License-Identifier: GPL-3.0-or-later
//! Which initrd machines are sent: the image's if BootTorrent's hook is in it, otherwise one that the server makes, otherwise
//! the image's with the add-on, where that helps; or what the admin has chosen.

use super::{
    initrd::{self, Foreign},
    modules,
    own::{self, Contents, KernelFacts},
    request::Request,
    taken::{Boot, NO_INITRD},
    tree::Tree,
};
use crate::{
    catalogue::{INITRD, Staging},
    family::spec,
};
use anyhow::{Context, Error, Result, anyhow, bail};
use bootspec::manifest::{BootFile, Family, Format, InitrdFrom};
use std::fs::File;

/// What a machine will find as its root.
pub struct RootFacts<'a> {
    /// What is in it, where it was looked into.
    pub tree: Option<&'a dyn Tree>,
    /// Its filesystem, and those of other partitions that belong to it.
    pub formats: &'a [Format],
    /// Whether the add-on for installed systems may come beside its initrd.
    pub addon: bool,
}

/// What the image's own initrd is good for.
enum Usable {
    /// BootTorrent's hook is in it.
    Hook,
    /// It boots with the add-on for this family; modules that were put in front of it.
    Addon(Family, Vec<String>),
    /// For nothing here.
    No(Error),
}

/// Choose, and make what is chosen.
pub fn choose(boot: &mut Boot, request: &Request, root: &RootFacts, staging: &Staging) -> Result<()> {
    let usable = judge(boot, root, staging);
    let by_itself = request.initrd_from.is_none();
    match usable {
        Usable::No(e) if request.initrd_from == Some(InitrdFrom::Image) => return Err(e),
        Usable::Hook if by_itself => return Ok(()),
        Usable::Hook | Usable::Addon(..) if request.initrd_from == Some(InitrdFrom::Image) => {
            return with_image(boot, usable, staging);
        }
        _ => {}
    }
    let Some(tree) = root.tree else {
        return match usable {
            Usable::No(e) => Err(e),
            usable => with_image(boot, usable, staging),
        };
    };
    let kernel = KernelFacts {
        version: boot.version.as_deref(),
        unpacks_xz: boot.has_option("RD_XZ"),
        fallback: !matches!(usable, Usable::No(_)),
    };
    match (own::make(tree, &Contents::root(root.formats), &kernel, staging)?, usable) {
        (Ok(index), usable) => {
            if !matches!(usable, Usable::Hook) {
                let why = match boot.initrd.size {
                    0 => "the image has no initrd".to_owned(),
                    _ => format!("the initrd {} is not made with our hook", boot.initrd.from),
                };
                boot.notes.push(format!("{why}, so machines are sent one that this server makes"));
            }
            boot.own = Some(index);
            match usable {
                Usable::Hook => Ok(()),
                Usable::Addon(family, _) => {
                    boot.family = Some(family);
                    boot.measure(staging)
                }
                Usable::No(_) => forget(boot, staging),
            }
        }
        (Err(why), Usable::Addon(family, added)) if by_itself => {
            boot.notes.push(format!(
                "machines are sent the initrd {}, because this server cannot make a smaller one: {why}",
                boot.initrd.from
            ));
            with_image(boot, Usable::Addon(family, added), staging)
        }
        (Err(why), Usable::No(hook)) if by_itself => {
            bail!("{hook:#}; and this server cannot make one instead, because {why}")
        }
        (Err(why), _) => bail!("this server cannot make an initrd, because {why}; use --initrd-from image"),
    }
}

/// Machines are sent the image's initrd, with what it needs beside it.
fn with_image(boot: &mut Boot, usable: Usable, staging: &Staging) -> Result<()> {
    let Usable::Addon(family, added) = usable else { return Ok(()) };
    boot.family = Some(family);
    if !added.is_empty() {
        boot.notes.push(format!("added to its initrd, from the image: {}", added.join(", ")));
    }
    boot.measure(staging)
}

/// Nobody is sent it: its bytes are not kept.
fn forget(boot: &mut Boot, staging: &Staging) -> Result<()> {
    File::create(staging.path(INITRD)).context("emptying the initrd")?;
    boot.initrd = BootFile { size: 0, from: NO_INITRD.into() };
    Ok(())
}

fn judge(boot: &Boot, root: &RootFacts, staging: &Staging) -> Usable {
    if boot.initrd.size == 0 {
        return Usable::No(anyhow!("the image has no initrd"));
    }
    let from = &boot.initrd.from;
    let lacking = match initrd::check(&staging.path(INITRD), from) {
        Ok(()) => return Usable::Hook,
        Err(lacking) => lacking,
    };
    let (true, Some(tree), Some(format)) = (root.addon, root.tree, root.formats.first()) else {
        return Usable::No(lacking);
    };
    let family = match initrd::family(&staging.path(INITRD), from) {
        Ok(Foreign { family, .. }) => family.filter(|f| !spec(*f).live),
        Err(e) => return Usable::No(e),
    };
    let Some(family) = family else {
        return Usable::No(lacking.context(format!(
            "the initrd {from} was not made by initramfs-tools: the add-on for disk images cannot help it"
        )));
    };
    match modules::complete(tree, *format, boot, staging) {
        Ok(added) => Usable::Addon(family, added),
        Err(e) => Usable::No(e),
    }
}
