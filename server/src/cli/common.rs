// SPDX-License-Identifier: GPL-3.0-or-later
//! The options that every command takes, and the settings that they make.

use crate::config;
use anyhow::Result;
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

/// What every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// The settings file [default: /etc/boottorrent/server.toml, if it exists]
    #[arg(long, global = true, help_heading = "Global options", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The image folder [default: /var/lib/boottorrent]
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The folder of the signing keys [default: /etc/boottorrent/keys]
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The server's local socket [default: /run/boottorrent-server/api.sock, or DIR/api.sock]
    #[arg(long, global = true, help_heading = "Global options", value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl Common {
    /// The same words again, for a command that this one runs.
    pub fn words(&self) -> Vec<OsString> {
        let words = [
            ("--config", &self.config),
            ("--dir", &self.dir),
            ("--keys", &self.keys),
            ("--socket", &self.socket),
        ];
        let given = words.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        given.flat_map(|(flag, value)| [flag.into(), value.clone().into_os_string()]).collect()
    }

    /// The settings, with these options.
    pub fn config(&self) -> Result<config::Config> {
        let mut config = config::load(self.config.as_deref())?;
        if let Some(dir) = &self.dir {
            config.catalogue.dir = dir.clone();
            // Another catalogue is another server's: its socket is not the installed one's.
            config.serve.socket = dir.join("api.sock");
        }
        if let Some(keys) = &self.keys {
            config.keys = config::Keys { dir: keys.clone(), secret: None };
        }
        if let Some(socket) = &self.socket {
            config.serve.socket = socket.clone();
        }
        Ok(config)
    }
}
