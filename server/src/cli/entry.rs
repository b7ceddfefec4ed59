// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent entry …`

use super::complete;
use crate::{
    catalogue::entries::{BootEntry, EFI, EntriesFolder, EntryFiles, ISO, KERNEL, MEMDISK, look_at_iso},
    cli::run::print_json,
    config::Config,
    hosts::{EntryKey, HostEntry, Hosts, HostsFile},
    table::{Align, layout},
    trail,
};
use anyhow::{Result, bail};
use bootspec::ImageName;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum EntryCommand {
    /// Add an entry that is not an image to the menu
    Add(Box<Add>),
    /// List the entries
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an entry
    Remove {
        /// The entry
        #[arg(add = complete::entries())]
        name: ImageName,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boottorrent entry add memtest --title 'Memory test' \\
      --kernel /boot/memtest86+x64.bin --efi /boot/memtest86+x64.efi
  boottorrent entry add installer --kernel linux --initrd initrd.gz
  boottorrent entry add rescue --iso super_grub2_disk.iso
  boottorrent entry add old-server --chain http://10.0.0.2/boot.ipxe
  boottorrent entry add disk --title 'This machine' --local
  boottorrent host set pc1 --once memtest

Entries stand behind the images in the menu, and `host set` takes their names
like those of images. Files are copied into the folder with the images. They
are not signed: with Secure Boot, firmware checks kernels and EFI programs.")]
pub struct Add {
    /// The name
    #[arg(add = complete::entries())]
    name: ImageName,
    /// The title in the menu [default: the name]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Leave the entry out of the menu; `host set --image` and `--once` boot it
    #[arg(long)]
    hidden: bool,
    /// A kernel, or a program that boots like a kernel
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// An initrd for the kernel; may be repeated
    #[arg(long = "initrd", value_name = "FILE")]
    initrds: Vec<PathBuf>,
    /// A program for machines with UEFI; with --kernel, that is for BIOS
    #[arg(long, value_name = "FILE")]
    efi: Option<PathBuf>,
    /// The command line of the kernel or program
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,
    /// A small bootable ISO, e.g. of a memory test or a firmware update
    #[arg(long, value_name = "FILE")]
    iso: Option<PathBuf>,
    /// What starts an ISO on BIOS machines (package syslinux-common)
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/syslinux/memdisk", requires = "iso")]
    memdisk: PathBuf,
    /// An iPXE script to continue with
    #[arg(long, value_name = "URL")]
    chain: Option<String>,
    /// Boot the machine's own disk
    #[arg(long)]
    local: bool,
    /// Replace the entry of this name
    #[arg(long)]
    replace: bool,
}

impl EntryCommand {
    /// Do it.
    pub fn run(self, config: &Config) -> Result<()> {
        let folder = EntriesFolder::at(&config.catalogue.dir);
        match self {
            EntryCommand::Add(add) => add.run(&folder),
            EntryCommand::List { json } => list(&folder, json),
            EntryCommand::Remove { name } => {
                if let Some(who) = who_boots(&name, &HostsFile::at(&config.catalogue.dir).load()?) {
                    bail!(
                        "entry '{name}' is what {who} should boot: change that first, with `boottorrent host set {who}`"
                    );
                }
                folder.remove(&name)?;
                trail::tell(&format!("entry '{name}' is removed"));
                println!("entry '{name}' is removed");
                Ok(())
            }
        }
    }
}

/// Somebody whose machine would have nothing to boot without the entry.
fn who_boots(name: &ImageName, hosts: &Hosts) -> Option<EntryKey> {
    let boots = |e: &HostEntry| e.image.iter().chain(&e.once).any(|i| i.name == *name);
    hosts.entries.iter().find_map(|(key, e)| boots(e).then(|| key.clone()))
}

impl Add {
    fn run(self, folder: &EntriesFolder) -> Result<()> {
        let iso = self.iso.as_deref().map(look_at_iso).transpose()?;
        let memdisk = iso.filter(|firmware| firmware.bios()).map(|_| self.memdisk);
        if let Some(missing) = memdisk.as_ref().filter(|path| !path.exists()) {
            bail!(
                "{} starts ISOs on BIOS machines, and is missing: apt install syslinux-common",
                missing.display()
            );
        }
        let entry = BootEntry {
            title: self.title.unwrap_or_default(),
            hidden: self.hidden,
            kernel: self.kernel.is_some(),
            initrds: self.initrds.len(),
            efi: self.efi.is_some(),
            append: self.append.unwrap_or_default(),
            iso,
            chain: self.chain,
            local: self.local,
        };
        let initrds = self.initrds.into_iter().enumerate().map(|(n, path)| (BootEntry::initrd(n), path));
        let programs =
            [(KERNEL, self.kernel), (EFI, self.efi), (ISO, self.iso), (MEMDISK, memdisk)].into_iter();
        let programs = programs.filter_map(|(name, path)| Some((name.to_owned(), path?)));
        let files: EntryFiles = programs.chain(initrds).collect();
        folder.add(&self.name, &entry, &files, self.replace)?;
        trail::tell(&format!("entry '{}' is added: {}", self.name, entry.what()));
        println!("entry '{}': {}", self.name, entry.what());
        Ok(())
    }
}

fn list(folder: &EntriesFolder, json: bool) -> Result<()> {
    let (all, broken) = folder.load();
    broken.iter().for_each(|why| eprintln!("{why}"));
    if json {
        let rows: Vec<_> = all.iter().map(|(name, entry)| json!({ "name": name, "entry": entry })).collect();
        return print_json(&rows);
    }
    if all.is_empty() {
        println!("there are no entries: see `boottorrent entry add --help`");
        return Ok(());
    }
    let rows = all.iter().map(|(name, entry)| {
        let menu = if entry.hidden { "no" } else { "yes" };
        vec![name.to_string(), entry.title.clone(), menu.into(), entry.what()]
    });
    let head = ["NAME", "TITLE", "MENU", "WHAT"].map(|name| (name, Align::Left));
    print!("{}", layout(&head, &rows.collect::<Vec<_>>()));
    Ok(())
}
