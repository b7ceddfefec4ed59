// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image …`

use super::complete;
use super::{
    added::{own_address, prune, told},
    backend::Backend,
    status::terminal,
    versions::machines,
};
use crate::{
    catalogue::{Catalogue, ImageChange, as_json, own::initrd_size},
    cli::run::print_json,
    clients::Client,
    command_line::{cmdline, short_host},
    config::Config,
    import::{self, Request, exclude::Exclude, request::Compress},
    interrupt,
    keys::{AskPassword, Folder},
    operations::Disk,
    table::{Align, layout, layout_in},
    trail,
};
use anyhow::{Result, bail};
use bootspec::{
    ImageManifest, ImageName, Priority,
    cmdline::check_append,
    manifest::{BootFile, InitrdFrom, Kind},
    text::clean,
    units,
};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make an image from an ISO, a disk image, a filesystem image, a root directory or a tarball
    Add(Add),
    /// Fetch an image from the internet or another place, verify and add it
    Fetch(super::fetch::Fetch),
    /// List the images
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an image, and the kernel command line that boots it
    Show(Show),
    /// Rename an image, change its priority, kernel parameters or initrd, or make it the default
    Set(Set),
    /// Sign images, so that machines with the public key boot them
    Sign(super::sign::Sign),
    /// Verify images against their signatures
    Verify(super::sign::Verify),
    /// List the versions of an image and the machines that run them
    History(super::versions::History),
    /// Go back to the previous version
    Rollback(super::versions::Rollback),
    /// Remove an image or one version of it, unless machines run it
    Remove(super::versions::Remove),
}

#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is recognised by content:
  a live ISO                       is taken as it is, with its kernel and initrd
  a disk image with partitions     likewise; qcow2, vmdk, vdi, vhdx by qemu-img
  a squashfs, erofs or ext4 image  is taken as it is
  any of these as .gz, .xz, .zst   is unpacked
  a root directory                 is packed into a squashfs (zstd), or an erofs
  a tarball (.tar, .tar.gz/xz/zst) likewise; with owners, devices, hard links

Examples:
  boottorrent image add debian-live-13.2.0-amd64-gnome.iso --name debian-live
  boottorrent image add debian-13-nocloud-amd64.qcow2 --name nocloud
  boottorrent image add /srv/lab.squashfs
  boottorrent image add lab.tar.zst --name lab --append 'console=ttyS0 quiet'
  boottorrent image add /srv/lab-root --name lab --replace
  boottorrent image add /srv/lab-root --name lab --candidate
  boottorrent image add lab.tar --exclude 'home/*/.cache' --exclude srv

A root filesystem needs a kernel and its modules (linux-image-amd64). If its
initrd has BootTorrent's hook in it, machines are sent that one; otherwise the
server makes a small one for each machine (--initrd-from). The initrd of a disk
image may be as Debian makes it (see docs/disk.md).")]
pub struct Add {
    /// A live ISO, a disk image, a filesystem image, a root directory or a root tarball
    source: PathBuf,
    /// The image's name [default: the file's, without its extensions]
    #[arg(long, short = 'n')]
    name: Option<ImageName>,
    /// A kernel to boot instead of the one in SOURCE
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// An initrd to boot instead of the one in SOURCE
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The initrd to send: own (made by this server) or image [default: image if BootTorrent's hook is in it]
    #[arg(long, value_name = "WHICH", value_parser = initrd_from())]
    initrd_from: Option<InitrdFrom>,
    /// Additional kernel parameters for this image
    #[arg(long, value_name = "WORDS", value_parser = append, allow_hyphen_values = true)]
    append: Option<String>,
    /// The image's share of the server's link, 1 (least) to 9 (most) [default: 5]
    #[arg(long, value_name = "N")]
    priority: Option<Priority>,
    /// Set the private flag (BEP 27): peers come from the tracker only
    #[arg(long)]
    private: bool,
    /// Bytes in a piece, a power of two [default: by size, 64K to 4M]
    #[arg(long, value_name = "SIZE", value_parser = piece_length)]
    piece_length: Option<u32>,
    /// Replace the image of this name; --append, --priority and --private stay as they are unless given
    ///
    /// The version before is kept: see `image history` and `image rollback`.
    #[arg(long)]
    replace: bool,
    /// Add it as a new version of the image of this name, which boots nobody yet but those who are set to it
    ///
    /// `boottorrent host set group:test --image NAME@NUMBER` boots it for a few machines, `boottorrent image set NAME
    /// --version NUMBER` for all.
    #[arg(long, conflicts_with = "replace")]
    candidate: bool,
    /// The format to pack directories and tarballs into
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    compress: Compress,
    /// Leave a path out of a directory or tarball; * matches any characters of a name
    ///
    /// Always left out: what is in /proc, /sys, /run, /tmp and /var/tmp, and apt's caches.
    #[arg(long, value_name = "PATH")]
    exclude: Vec<Exclude>,
    /// The type of SOURCE: iso, disk or filesystem [default: detected]
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Print the new image as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The image
    #[arg(add = complete::images())]
    name: ImageName,
    /// The server address to show in the command line [default: this machine's]
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
When machines ask for several images at once, the seeder sends each image's
pieces in proportion to its priority: an image of 9 gets three times as much of
the server's link as one of 3. An image that is alone gets all of it, whatever
its priority is.

Examples:
  boottorrent image set exam-room --priority 9
  boottorrent image set lab --initrd-from own
  boottorrent image set lab-new --rename lab --default")]
pub struct Set {
    /// The image
    #[arg(add = complete::images())]
    name: ImageName,
    /// The image's share of the server's link, 1 (least) to 9 (most)
    #[arg(long, value_name = "N")]
    priority: Option<Priority>,
    /// The new name; machine and group assignments follow it
    #[arg(long, value_name = "NAME")]
    rename: Option<ImageName>,
    /// Additional kernel parameters; '' removes them (running machines are unaffected)
    #[arg(long, value_name = "WORDS", value_parser = append, allow_hyphen_values = true)]
    append: Option<String>,
    /// The initrd to send from now on: own (made by this server) or image
    #[arg(long, value_name = "WHICH", value_parser = initrd_from())]
    initrd_from: Option<InitrdFrom>,
    /// Make this version the current one (see `image history`)
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    /// Make it the default image (the same as `host set default --image`)
    #[arg(long)]
    default: bool,
}

fn initrd_from() -> impl TypedValueParser<Value = InitrdFrom> {
    let words = [InitrdFrom::Own, InitrdFrom::Image].map(InitrdFrom::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<InitrdFrom>())
}

fn append(text: &str) -> Result<String, String> {
    check_append(text).map(|()| text.to_owned())
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "filesystem" => Ok(Kind::Filesystem),
        "iso" => Ok(Kind::Iso),
        "disk" => Ok(Kind::Disk),
        _ => Err(format!("'{text}' is none of: iso, filesystem, disk")),
    }
}

fn piece_length(text: &str) -> Result<u32, String> {
    let bytes = units::parse_size(text)?;
    match u32::try_from(bytes) {
        Ok(n) if n.is_power_of_two() && (16 << 10..=64 << 20).contains(&n) => Ok(n),
        _ => Err(format!(
            "'{text}' is not a valid piece length: take a power of two from 16K to 64M, as in 1M"
        )),
    }
}

impl ImageCommand {
    pub fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        match self {
            ImageCommand::Add(add) => add.run(catalogue, config),
            ImageCommand::Fetch(fetch) => fetch.run(config),
            ImageCommand::List { json } => list(catalogue, config, json),
            ImageCommand::Show(show) => show.run(catalogue, config),
            ImageCommand::Set(set) => set.run(config),
            ImageCommand::Sign(sign) => sign.run(catalogue, config),
            ImageCommand::Verify(verify) => verify.run(catalogue, config),
            ImageCommand::History(history) => history.run(config),
            ImageCommand::Rollback(rollback) => rollback.run(config),
            ImageCommand::Remove(remove) => remove.run(catalogue, config),
        }
    }
}

impl Add {
    fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        interrupt::catch()?;
        let json = self.json;
        // A password is asked for before the long work.
        let catalogue = &catalogue.clone().signed_by(Folder::of(config).hand(AskPassword::Terminal)?);
        let added = import::add(
            catalogue,
            &Request {
                source: self.source,
                name: self.name,
                kernel: self.kernel,
                initrd: self.initrd,
                initrd_from: self.initrd_from,
                append: self.append,
                priority: self.priority,
                private: self.private,
                piece_length: self.piece_length,
                replace: self.replace,
                candidate: self.candidate,
                compress: self.compress,
                exclude: self.exclude,
                kind: self.kind,
                ..Request::default()
            },
        )?;
        let ImageManifest { name, version, infohash, .. } = &added.manifest;
        trail::tell(&format!("image '{name}': version {version} is added ({infohash})"));
        prune(config);
        match json {
            true => print_json(&json_of(catalogue, &added.manifest)),
            false => {
                print!("{}", told(&added, config));
                Ok(())
            }
        }
    }
}

/// An image for programs, with the key that it says it is signed by.
fn json_of(catalogue: &Catalogue, manifest: &ImageManifest) -> serde_json::Value {
    let mut value = as_json(manifest);
    value["key"] = catalogue.signed_by_key(&manifest.name).map(|k| k.to_string()).into();
    value
}

fn list(catalogue: &Catalogue, config: &Config, json: bool) -> Result<()> {
    let manifests = catalogue.names()?.iter().map(|n| catalogue.manifest(n)).collect::<Result<Vec<_>>>()?;
    if json {
        return print_json(&manifests.iter().map(|m| json_of(catalogue, m)).collect::<Vec<_>>());
    }
    if manifests.is_empty() {
        println!("no images in {}: add one with `boottorrent image add`", catalogue.images_dir().display());
        return Ok(());
    }
    let head = [
        ("NAME", Align::Left),
        ("WHAT", Align::Left),
        ("SIZE", Align::Right),
        ("PHASE ONE", Align::Right),
        ("DEFAULT", Align::Left),
        ("SIGNED", Align::Left),
        ("RUNNING", Align::Right),
        ("PRIORITY", Align::Right),
        ("ADDED", Align::Left),
        ("INFOHASH", Align::Left),
    ];
    let default = Disk::of(config).hosts.load()?.default_image().map(|i| i.name.clone());
    let default = default.or_else(|| config.boot.default.clone());
    // Without a server: what the last one knew.
    let machines = machines(config).ok();
    let row = |m: &ImageManifest| {
        let phase_one = match m.kind {
            Kind::Ltsp => "-".into(),
            _ => units::human_size(m.kernel.size + initrd_size(&catalogue.dir(&m.name), m)),
        };
        let yes = |is: bool| if is { "yes" } else { "-" }.to_owned();
        let running = |all: &Vec<Client>| all.iter().filter(|c| !c.gone && c.runs(m.infohash)).count();
        vec![
            m.name.to_string(),
            m.what(),
            units::human_size(m.size),
            phase_one,
            match (&default, manifests.len()) {
                // Machines boot it, since there is no other.
                (None, 1) => "only".into(),
                (default, _) => yes(default.as_ref() == Some(&m.name)),
            },
            yes(catalogue.signed_by_key(&m.name).is_some()),
            machines.as_ref().map_or("?".into(), |all| running(all).to_string()),
            m.priority.to_string(),
            m.added.clone(),
            m.infohash.to_string()[..8].to_owned(),
        ]
    };
    let rows: Vec<_> = manifests.iter().map(row).collect();
    let less = ["PRIORITY", "ADDED", "PHASE ONE", "INFOHASH", "WHAT"];
    match terminal() {
        Some((columns, _)) => print!("{}", layout_in(columns, &head, &rows, &less)),
        None => print!("{}", layout(&head, &rows)),
    }
    Ok(())
}

impl Show {
    fn run(self, catalogue: &Catalogue, config: &Config) -> Result<()> {
        let m = catalogue.manifest(&self.name)?;
        let server = match self.server {
            Some(server) => server,
            None => format!("{}:{}", own_address(), config.serve.listen.port()),
        };
        let own = cmdline(&m, short_host(&server), Some("${mac:hexhyp}"), &config.boot.append);
        let cmdline = match m.kind {
            Kind::Ltsp => format!("LTSP's own, and: boot=boottorrent boottorrent.infohash={}", m.infohash),
            _ => own,
        };
        let dir = catalogue.dir(&self.name);
        if self.json {
            let mut value = json_of(catalogue, &m);
            value["cmdline"] = cmdline.into();
            value["dir"] = dir.display().to_string().into();
            return print_json(&value);
        }
        let size = |bytes: u64| format!("{} ({bytes} bytes)", units::human_size(bytes));
        let boot_file = |file: &BootFile| match m.kind {
            Kind::Ltsp => file.from.clone(),
            _ => format!("{}, {}", file.from, size(file.size)),
        };
        let rows = [
            ("name", m.name.to_string()),
            ("version", m.version.to_string()),
            ("what", m.what()),
            ("size", size(m.size)),
            (
                "pieces",
                format!(
                    "{} of {}",
                    m.size.div_ceil(m.piece_length.into()),
                    units::human_size(m.piece_length.into())
                ),
            ),
            ("infohash", m.infohash.to_string()),
            ("sha256", m.sha256.map_or("-".into(), |s| s.to_string())),
            ("signed", catalogue.signed_by_key(&m.name).map_or("no".into(), |k| format!("by key {k}"))),
            ("private", if m.private { "yes" } else { "no" }.into()),
            ("priority", m.priority.to_string()),
            ("kernel", format!("{} for {}", boot_file(&m.kernel), m.architecture.as_str())),
            (
                "initrd",
                match m.initrd_from {
                    InitrdFrom::Image => boot_file(&m.initrd),
                    InitrdFrom::Own => format!(
                        "{} for one card, made by this server (the agent comes with it)",
                        units::human_size(initrd_size(&catalogue.dir(&m.name), &m))
                    ),
                },
            ),
            ("added", m.added.clone()),
            ("source", m.source.clone()),
            ("folder", dir.display().to_string()),
            ("cmdline", cmdline),
        ];
        for (name, value) in rows {
            println!("{name:<9} {}", clean(&value, &[]));
        }
        Ok(())
    }
}

impl Set {
    fn run(self, config: &Config) -> Result<()> {
        let change = ImageChange {
            name: self.rename.filter(|n| *n != self.name),
            default: self.default.then_some(true),
            priority: self.priority,
            append: self.append,
            version: None,
        };
        if change == ImageChange::default() && self.initrd_from.is_none() && self.version.is_none() {
            bail!(
                "nothing is changed of image '{}': give --priority, --append, --initrd-from, --version, --rename or \
                 --default",
                self.name
            );
        }
        if let Some(version) = self.version {
            super::versions::switch(config, &self.name, version)?;
        }
        if let Some(which) = self.initrd_from {
            // Here, not in the server: it reads what is in the image, as `image add` does.
            interrupt::catch()?;
            import::switch::switch(&Disk::of(config).catalogue, &self.name, which)?;
        }
        if change != ImageChange::default() {
            Backend::open(config)?.change_image(&self.name, &change)?;
        }
        let name = change.name.as_ref().unwrap_or(&self.name);
        let mut done = Vec::new();
        done.extend(self.version.map(|v| format!("is of version {v}")));
        done.extend(change.name.is_some().then(|| format!("is what '{}' was", self.name)));
        done.extend(change.priority.map(|p| format!("has priority {p}")));
        done.extend(change.append.as_ref().map(|a| match a.is_empty() {
            true => "has no additional kernel parameters".to_owned(),
            false => format!("has the additional kernel parameters {a}"),
        }));
        done.extend(self.initrd_from.map(|which| match which {
            InitrdFrom::Own => "boots with an initrd that this server makes".to_owned(),
            InitrdFrom::Image => "boots with its own initrd".to_owned(),
        }));
        done.extend(change.default.map(|_| "is the default".to_owned()));
        println!("image '{name}' {}; a running server has seen it within 2 seconds", done.join(", "));
        Ok(())
    }
}
