// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel and initrd of an image: from the command line or from inside, and whether they belong together.

use super::{
    fstab, initrd,
    kernel::{self, BootFileChoice, FoundBootFile, WantedBootFiles},
    own::{self, KernelFacts},
    request::Request,
    tree::{self, Tree},
};
use crate::catalogue::{INITRD, KERNEL, Staging, own::Index};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::manifest::{BootFile, Format, InitrdFrom};
use std::path::PathBuf;

/// Kernel and initrd, as they are in the staging folder.
pub struct Boot {
    /// The kernel.
    pub kernel: BootFile,
    /// The initrd.
    pub initrd: BootFile,
    /// What an initrd is made of that machines are sent instead.
    pub own: Option<Index>,
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

/// Those of a root filesystem. With our hook in its initrd, that is sent to machines; without it, one that the server makes.
/// `open` looks into the root.
pub fn take_root(
    request: &Request,
    format: Format,
    staging: &Staging,
    open: impl FnOnce() -> Result<Box<dyn Tree>>,
) -> Result<Boot> {
    let looking = || {
        format!(
            "looking for kernel and initrd in '{}' (--kernel and --initrd do without)",
            request.source.display()
        )
    };
    let given = request.kernel.is_some() && request.initrd.is_some();
    let needed = !given || request.initrd_from == Some(InitrdFrom::Own);
    let inside = if needed { Some(open().with_context(looking)?) } else { None };
    let mut boot = match take(request, staging, inside.as_deref()) {
        // Without one of its own, it may be sent one that the server makes.
        Err(e) if request.initrd.is_none() && request.initrd_from != Some(InitrdFrom::Image) => {
            take_kernel(request, staging, inside.as_deref()).map_err(|_| e)?
        }
        taken => taken?,
    };
    choose(&mut boot, request, format, inside.as_deref(), staging)?;
    if let Some(tree) = &inside {
        boot.notes.extend(fstab::of_root(tree.as_ref(), staging)?);
    }
    Ok(boot)
}

/// Which initrd machines are sent: the one that was asked for; else the image's if our hook is in it.
fn choose(
    boot: &mut Boot,
    request: &Request,
    format: Format,
    inside: Option<&dyn Tree>,
    staging: &Staging,
) -> Result<()> {
    let hook = match request.initrd_from {
        _ if boot.initrd.size == 0 => Some(anyhow!("the image has no initrd")),
        Some(InitrdFrom::Own) => None,
        Some(InitrdFrom::Image) => return initrd::check(&staging.path(INITRD), &boot.initrd.from),
        None => match initrd::check(&staging.path(INITRD), &boot.initrd.from) {
            Ok(()) => return Ok(()),
            Err(e) => Some(e),
        },
    };
    let Some(tree) = inside else { return hook.map_or(Ok(()), Err) };
    let kernel = KernelFacts {
        version: boot.version.as_deref(),
        unpacks_xz: boot.has_option("RD_XZ"),
        hook: hook.is_none() && has_hook(boot, staging),
    };
    match (own::make(tree, format, &kernel, staging)?, hook) {
        (Ok(index), hook) => {
            if hook.is_some() {
                let why = match boot.initrd.size {
                    0 => "the image has no initrd".to_owned(),
                    _ => format!("the initrd {} is not made with our hook", boot.initrd.from),
                };
                boot.notes.push(format!("{why}, so machines are sent one that this server makes"));
            }
            boot.own = Some(index);
            Ok(())
        }
        (Err(why), Some(hook)) => bail!("{hook:#}; and this server cannot make one instead, because {why}"),
        (Err(why), None) => {
            bail!("this server cannot make an initrd, because {why}; use --initrd-from image")
        }
    }
}

/// Whether machines can boot with the image's initrd too.
fn has_hook(boot: &Boot, staging: &Staging) -> bool {
    boot.initrd.size > 0 && initrd::check(&staging.path(INITRD), &boot.initrd.from).is_ok()
}

/// The kernel of a root that has no initrd: an empty one stands in its place.
fn take_kernel(request: &Request, staging: &Staging, inside: Option<&dyn Tree>) -> Result<Boot> {
    let Some(tree) = inside else { bail!("nothing was looked into") };
    let wanted = WantedBootFiles { kernel: request.kernel.is_none(), initrd: false };
    let BootFileChoice { kernel: found, others, .. } =
        kernel::find(tree, wanted, &request.source.display().to_string())?;
    let mut to = staging.create(KERNEL)?;
    let from = match (&request.kernel, &found) {
        (Some(path), _) => tree::copy_file(path, &mut to).map(|()| path.display().to_string())?,
        (None, Some(found)) => tree.read(&found.path, &mut to).map(|()| format!("/{}", found.path))?,
        (None, None) => bail!("no kernel was found"),
    };
    staging.create(INITRD)?;
    let size = to.metadata().context("asking for the size of the kernel")?.len();
    let mut boot = Boot {
        kernel: BootFile { size, from },
        initrd: BootFile { size: 0, from: NO_INITRD.into() },
        own: None,
        version: found.and_then(|k| k.version),
        config: None,
        notes: others_told(&others),
    };
    fit(&mut boot, staging, inside)?;
    Ok(boot)
}

/// Where an initrd is that the image does not have.
const NO_INITRD: &str = "nowhere";

fn others_told(others: &[String]) -> Vec<String> {
    let more =
        (!others.is_empty()).then(|| format!("the image has other kernels too: {}", others.join(", ")));
    more.into_iter().collect()
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
        own: None,
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
