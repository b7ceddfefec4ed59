// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel and initrd of an image: from the command line or from inside, and whether they belong together.

use super::{
    fstab, initrd,
    kernel::{self, BootFileChoice, FoundBootFile, WantedBootFiles},
    request::Request,
    tree::{self, Tree},
};
use crate::catalogue::{INITRD, KERNEL, Staging};
use anyhow::{Context, Result, bail};
use bootspec::manifest::BootFile;
use std::path::PathBuf;

/// Kernel and initrd, as they are in the staging folder.
pub struct Boot {
    /// The kernel.
    pub kernel: BootFile,
    /// The initrd.
    pub initrd: BootFile,
    /// The kernel's version: from its header, else from its name.
    pub version: Option<String>,
    /// The kernel's configuration (/boot/config-VERSION), where the image has it.
    pub config: Option<String>,
    /// What the admin should hear.
    pub notes: Vec<String>,
}

impl Boot {
    /// Whether the kernel has an option, built in or as a module. Without its configuration: yes.
    pub fn has_option(&self, option: &str) -> bool {
        let has = |line: &str| {
            let value = line.strip_prefix("CONFIG_").and_then(|l| l.strip_prefix(option));
            matches!(value, Some("=y" | "=m"))
        };
        self.config.as_ref().is_none_or(|config| config.lines().any(has))
    }

    /// The same after the initrd was changed.
    pub fn measured(mut self, staging: &Staging) -> Result<Boot> {
        let path = staging.path(INITRD);
        self.initrd.size = path.metadata().context("asking for the size of the initrd")?.len();
        Ok(self)
    }
}

/// Those of a root filesystem with our hook in its initrd. `open` looks into it.
pub fn take_root(
    request: &Request,
    staging: &Staging,
    open: impl FnOnce() -> Result<Box<dyn Tree>>,
) -> Result<Boot> {
    let looking = || {
        format!(
            "looking for kernel and initrd in '{}' (--kernel and --initrd do without)",
            request.source.display()
        )
    };
    let needed = request.kernel.is_none() || request.initrd.is_none();
    let inside = if needed { Some(open().with_context(looking)?) } else { None };
    let mut boot = take(request, staging, inside.as_deref())?;
    initrd::check(&staging.path(INITRD), &boot.initrd.from)?;
    if let Some(tree) = &inside {
        boot.notes.extend(fstab::of_root(tree.as_ref(), staging)?);
    }
    Ok(boot)
}

/// Put kernel and initrd, those that were given or those of the tree, into the staging folder.
pub fn take(request: &Request, staging: &Staging, inside: Option<&dyn Tree>) -> Result<Boot> {
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
        config: None,
        notes: Vec::new(),
    };
    if let (false, Some(version)) = (others.is_empty(), &boot.version) {
        boot.notes
            .push(format!("of several kernels {version} is booted; the others are: {}", others.join(", ")));
    }
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
        let modules = initrd::module_versions(&staging.path(INITRD), initrd)?;
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
