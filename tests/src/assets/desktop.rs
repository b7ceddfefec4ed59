// SPDX-License-Identifier: GPL-3.0-or-later
//! A desktop: Xfce, LightDM and NetworkManager as Debian has them, with nothing of ours.

use super::{
    APPEND, IMAGE, Suite, cached, key_of,
    root::{self, PACKAGES, bootstrap, over, speaks},
};
use crate::{Cmd, server_binary};
use anyhow::Result;
use std::path::PathBuf;

/// What docs/images.md names.
const DESKTOP: &str = "xfce4,lightdm,network-manager,dbus-x11,xserver-xorg-video-fbdev";

/// A catalogue with it, called [`IMAGE`]. Machines are sent an initrd that the server makes.
pub fn desktop() -> Result<PathBuf> {
    let (server, packages) = (server_binary()?, format!("{PACKAGES},{DESKTOP}"));
    let base = bootstrap("desktop", Suite::own()?, &packages)?;
    let texts = [&base.to_string_lossy(), include_str!("desktop.rs"), root::AUTOLOGIN, APPEND];
    let key = key_of(&[&server], &texts)?;
    cached("catalogue-desktop", &key, move |dir| {
        let catalogue = dir.to_owned();
        over(&base, dir, move |root, _| {
            speaks(root)?;
            let add = Cmd::new(&server).args(["image", "add"]).arg(root).args(["--name", IMAGE]);
            add.args(["--append", APPEND, "--dir"]).arg(&catalogue).run().map(drop)
        })
    })
}
