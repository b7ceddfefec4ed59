// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent ltsp …`: what LTSP's drop-ins call. People call `ltsp boottorrent`.

use super::run::block_on;
use crate::{
    addon::Addons,
    api::{self, Api},
    catalogue::Catalogue,
    config::Config,
    interrupt,
    keys::{AskPassword, Folder},
    ltsp::{
        Site, initrd, publish, report,
        wishes::{Wish, Wishes},
    },
};
use anyhow::Result;
use bootspec::ImageName;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Ltsp {
    #[command(subcommand)]
    command: LtspCommand,
    /// LTSP's BASE_DIR
    #[arg(long, global = true, value_name = "DIR", default_value = "/srv/ltsp")]
    base_dir: PathBuf,
    /// LTSP's TFTP_DIR
    #[arg(long, global = true, value_name = "DIR", default_value = "/srv/tftp")]
    tftp_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum LtspCommand {
    /// Publish images, and make LTSP's menu boot them over the swarm
    Enable {
        /// The images [default: all]
        images: Vec<ImageName>,
        /// Only for machines with boot=boottorrent in KERNEL_PARAMETERS of ltsp.conf
        #[arg(long)]
        pilot: bool,
    },
    /// Withdraw images, and restore LTSP's menu
    Disable {
        /// The images [default: all, from now on]
        images: Vec<ImageName>,
    },
    /// Show what is published, what is in the menu, and what to do next
    Status,
    /// Publish what `ltsp kernel` and `ltsp image` were called with, if it changed
    Publish {
        /// Sources as LTSP accepts them [default: all images]
        sources: Vec<String>,
    },
    /// Install the agent into a folder that becomes ltsp.img
    Initrd {
        /// The folder
        folder: PathBuf,
    },
    /// Update LTSP's menu
    Ipxe,
    /// Remove all settings (the package is being removed)
    Forget,
}

impl Ltsp {
    pub fn run(self, config: &Config) -> Result<()> {
        let site = Site {
            catalogue: Catalogue::at(&config.catalogue.dir),
            state: config.catalogue.dir.clone(),
            base: self.base_dir,
            tftp: self.tftp_dir,
        };
        match self.command {
            LtspCommand::Enable { images, pilot } => {
                interrupt::catch()?;
                let site = site.signed_by(Folder::of(config).hand(AskPassword::Terminal)?);
                publish::enable(&site, &images, if pilot { Wish::Pilot } else { Wish::On })
            }
            LtspCommand::Disable { images } => publish::disable(&site, &images),
            LtspCommand::Status => {
                let asked = async { Api::remote(&api::url(None, config))?.clients().await };
                let clients = block_on(asked);
                print!("{}", report::report(&site, clients)?);
                Ok(())
            }
            LtspCommand::Publish { sources } => {
                interrupt::catch()?;
                let site = site.signed_by(Folder::of(config).hand(AskPassword::Terminal)?);
                publish::publish(&site, &publish::of_sources(&site, &sources)?)?;
                publish::tell_menu(&site).map(drop)
            }
            LtspCommand::Initrd { folder } => {
                if site.wishes()?.agent() {
                    let size = initrd::fill(&folder, &Addons::of(config))?;
                    println!("Added BootTorrent to ltsp.img: {size}");
                }
                Ok(())
            }
            LtspCommand::Forget => Wishes::forget(&site.state),
            LtspCommand::Ipxe => publish::tell_menu(&site).map(drop),
        }
    }
}
