// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel and initrd of an image: from the command line or from inside, and whether they belong together.

use super::{
    fstab, initrd,
    kernel::{self, BootFileChoice, FoundBootFile, WantedBootFiles},
    lint,
    request::Request,
    taken::{Boot, NO_INITRD},
    tree::{self, Tree},
    uki::{self, Unified},
    which::{self, RootFacts},
};
use crate::catalogue::{INITRD, KERNEL, Staging};
use anyhow::{Context, Result, bail};
use bootspec::manifest::{BootFile, Format, InitrdFrom};
use std::{
    fs::{self, File},
    path::PathBuf,
};

/// Those of a root filesystem. `open` looks into the root.
pub fn take_root(
    request: &Request,
    format: Format,
    staging: &Staging,
    open: impl FnOnce() -> Result<Box<dyn Tree>>,
) -> Result<Boot> {
    let looking = || {
        format!(
            "looking for kernel and initrd in '{}' (--kernel and --initrd skip this)",
            request.source.display()
        )
    };
    let given = request.kernel.is_some() && request.initrd.is_some();
    let needed = !given || request.initrd_from == Some(InitrdFrom::Own);
    let inside = if needed { Some(open().with_context(looking)?) } else { None };
    let root = RootFacts { tree: inside.as_deref(), formats: &[format], addon: false };
    let mut boot = take(request, &root, staging)?;
    if let Some(tree) = &inside {
        boot.notes.extend(fstab::of_root(tree.as_ref(), staging)?);
        boot.notes.extend(lint::of_root(tree.as_ref())?);
    }
    Ok(boot)
}

/// Put kernel and initrd into the staging folder, and choose what machines are sent.
pub fn take(request: &Request, root: &RootFacts, staging: &Staging) -> Result<Boot> {
    let may_be_own = request.initrd.is_none() && request.initrd_from != Some(InitrdFrom::Image);
    let mut boot = match request.initrd.is_none() && given_unified(request)? {
        true => take_kernel(request, staging, root.tree)?,
        false => match take_both(request, staging, root.tree) {
            // Without one of its own, it may be sent one that the server makes.
            Err(e) if may_be_own => take_kernel(request, staging, root.tree).map_err(|_| e)?,
            taken => taken?,
        },
    };
    which::choose(&mut boot, request, root, staging)?;
    Ok(boot)
}

/// Whether the kernel that was given is a unified kernel image, which has an initrd of its own.
fn given_unified(request: &Request) -> Result<bool> {
    let Some(path) = &request.kernel else { return Ok(false) };
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(Unified::read(&file).with_context(|| format!("reading {}", path.display()))?.is_some())
}

/// The kernel of a root that has no initrd, or of a unified kernel image. Without an initrd, an empty one stands in its place.
fn take_kernel(request: &Request, staging: &Staging, inside: Option<&dyn Tree>) -> Result<Boot> {
    let mut notes = Vec::new();
    let (found, others) = match (&request.kernel, inside) {
        (Some(_), _) => (None, Vec::new()),
        (None, None) => bail!("nothing was looked into"),
        (None, Some(tree)) => find_kernel(tree, request, staging, &mut notes)?,
    };
    let mut to = staging.create(KERNEL)?;
    let from = match (&request.kernel, &found, inside) {
        (Some(path), ..) => tree::copy_file(path, &mut to).map(|()| path.display().to_string())?,
        (None, Some(found), Some(tree)) => {
            tree.read(&found.path, &mut to).map(|()| format!("/{}", found.path))?
        }
        _ => bail!("no kernel was found"),
    };
    staging.create(INITRD)?;
    notes.extend(others_told(&others));
    let mut boot = Boot {
        kernel: BootFile { size: size(&to)?, from },
        initrd: BootFile { size: 0, from: NO_INITRD.into() },
        version: found.and_then(|k| k.version),
        notes,
        ..Boot::default()
    };
    split(&mut boot, staging)?;
    fit(&mut boot, staging, inside)?;
    Ok(boot)
}

/// The unified kernel image of a tree, or its kernel; and the versions of others.
fn find_kernel(
    tree: &dyn Tree,
    request: &Request,
    staging: &Staging,
    notes: &mut Vec<String>,
) -> Result<(Option<FoundBootFile>, Vec<String>)> {
    let unified = uki::find(tree, staging);
    if let Ok(Some(path)) = unified {
        return Ok((Some(FoundBootFile { path, version: None }), Vec::new()));
    }
    let wanted = WantedBootFiles { kernel: true, initrd: false };
    match (kernel::find(tree, wanted, &request.source.display().to_string()), unified) {
        (Ok(BootFileChoice { kernel, others, .. }), unified) => {
            let unread = |e| format!("its EFI system partition was not looked into: {e:#}");
            notes.extend(unified.err().map(unread));
            Ok((kernel, others))
        }
        (Err(_), Err(e)) => Err(e),
        (Err(e), Ok(_)) => Err(e),
    }
}

/// If the kernel is a unified kernel image, take it apart: its kernel, its parameters; and its initrd, where there is no other.
fn split(boot: &mut Boot, staging: &Staging) -> Result<()> {
    let from = boot.kernel.from.clone();
    let reading = || format!("reading the unified kernel image {from}");
    let file = File::open(staging.path(KERNEL)).with_context(reading)?;
    let Some(unified) = Unified::read(&file).with_context(reading)? else { return Ok(()) };
    fs::remove_file(staging.path(KERNEL)).with_context(reading)?;
    let mut kernel = staging.create(KERNEL)?;
    unified.copy_kernel(&file, &mut kernel)?;
    boot.kernel.size = size(&kernel)?;
    if boot.initrd.size == 0 {
        let mut initrd = File::options().write(true).open(staging.path(INITRD)).with_context(reading)?;
        if unified.copy_initrd(&file, &mut initrd)? {
            boot.initrd = BootFile { size: size(&initrd)?, from: from.clone() };
        }
    }
    boot.version = unified.version.clone().or(boot.version.take());
    boot.parameters = unified.parameters();
    let words = Some(boot.parameters.as_str()).filter(|p| !p.is_empty()).unwrap_or("none");
    boot.notes.push(format!("{from} is a unified kernel image; its kernel parameters: {words}"));
    Ok(())
}

fn size(file: &File) -> Result<u64> {
    Ok(file.metadata().context("asking for the size of a boot file")?.len())
}

fn others_told(others: &[String]) -> Vec<String> {
    let more =
        (!others.is_empty()).then(|| format!("the image has other kernels too: {}", others.join(", ")));
    more.into_iter().collect()
}

/// Put kernel and initrd, those that were given or those of the tree, into the staging folder.
fn take_both(request: &Request, staging: &Staging, inside: Option<&dyn Tree>) -> Result<Boot> {
    let wanted = WantedBootFiles { kernel: request.kernel.is_none(), initrd: request.initrd.is_none() };
    let BootFileChoice { kernel, initrd, others } = match inside {
        Some(tree) => match kernel::find(tree, wanted, &request.source.display().to_string()) {
            Ok(choice) => choice,
            Err(e) => match elsewhere(tree)? {
                Some(hint) => bail!("{e:#}; {hint}"),
                None => return Err(e),
            },
        },
        None => BootFileChoice::default(),
    };
    let one = |file: &str, given: &Option<PathBuf>, found: &Option<FoundBootFile>| -> Result<BootFile> {
        let mut to = staging.create(file)?;
        let from = match (given, found, inside) {
            (Some(path), ..) => {
                tree::copy_file(path, &mut to)?;
                path.display().to_string()
            }
            (None, Some(found), Some(tree)) => {
                tree.read(&found.path, &mut to)?;
                format!("/{}", found.path)
            }
            _ => bail!("no {file} was found"),
        };
        let size = to.metadata().with_context(|| format!("asking for the size of {file}"))?.len();
        if size == 0 {
            bail!("the file {from} is empty: a machine could not boot with it");
        }
        Ok(BootFile { size, from })
    };
    let mut boot = Boot {
        kernel: one(KERNEL, &request.kernel, &kernel)?,
        initrd: one(INITRD, &request.initrd, &initrd)?,
        version: kernel.and_then(|k| k.version),
        ..Boot::default()
    };
    if let (false, Some(version)) = (others.is_empty(), &boot.version) {
        boot.notes
            .push(format!("of several kernels {version} is booted; the others are: {}", others.join(", ")));
    }
    split(&mut boot, staging)?;
    fit(&mut boot, staging, inside)?;
    Ok(boot)
}

/// Why a tree is not a root, where it can be told.
fn elsewhere(tree: &dyn Tree) -> Result<Option<String>> {
    let top = tree.names("")?;
    let has = |names: &[String], wanted: &str| names.iter().any(|n| n == wanted);
    if has(&top, "manifest.json") && (has(&top, "blobs") || has(&top, "repositories")) {
        return Ok(Some("it is what `docker save` writes: use `docker export` of a container".into()));
    }
    if let [only] = &top[..]
        && tree::plain(only)
    {
        let below = tree.names(only)?;
        if has(&below, "etc") && has(&below, "usr") {
            return Ok(Some(format!("everything in it is below {only}/: pack what is in that folder")));
        }
    }
    Ok(None)
}

/// Compare the kernel with the modules in initrd and image: without those of its own version a machine finds no
/// network card, or no other device later.
pub fn fit(boot: &mut Boot, staging: &Staging, inside: Option<&dyn Tree>) -> Result<()> {
    let header = kernel::version(&staging.path(KERNEL));
    let (kernel, initrd) = (&boot.kernel.from, &boot.initrd.from);
    if let Some(version) = &header {
        let modules = match boot.initrd.size {
            0 => Default::default(),
            _ => initrd::module_versions(&staging.path(INITRD), initrd)?,
        };
        if !modules.is_empty() && !modules.contains(version) {
            bail!(
                "the kernel {kernel} is version {version}, but the initrd {initrd} has modules for {}: a machine would \
                 find no network card; use the initrd of this kernel (`update-initramfs -c -k {version}` makes it)",
                modules.into_iter().collect::<Vec<_>>().join(", ")
            );
        }
        if let Some(tree) = inside {
            let has = ["usr/lib/modules", "lib/modules"].map(|folder| tree.names(folder)).into_iter();
            let has: Vec<String> = has.collect::<Result<Vec<_>>>()?.concat();
            if !has.contains(version) {
                boot.notes.push(format!(
                    "the kernel is version {version}, but the image has no /lib/modules/{version}: the booted system can load \
                     no kernel modules"
                ));
            }
        }
    }
    boot.version = header.or(boot.version.take());
    boot.config = match (inside, &boot.version) {
        (Some(tree), Some(version)) => tree::small_text(tree, &format!("boot/config-{version}"), staging)?,
        _ => None,
    };
    Ok(())
}
