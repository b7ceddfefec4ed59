// SPDX-License-Identifier: GPL-3.0-or-later
//! An image of LTSP: laid under the root mount point as LTSP's NFS export would be, so that LTSP's own
//! `initrd-bottom` finds it there, mounts it, and carries on as ever.

use crate::{args::BootArgs, mounts};
use anyhow::Context;
use bootspec::ltsp::Ltsp;
use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Where LTSP's `init` looks for scripts besides its own, under /run.
const INIT: &str = "ltsp/client/init/44-boottorrent.sh";

/// Put the payload below the root mount point, and tell LTSP what it needs. `next_server`: what DHCP said.
/// Returns where the image is, for people.
pub fn hand_over(
    ltsp: &Ltsp,
    payload: &Path,
    args: &BootArgs,
    next_server: Option<Ipv4Addr>,
) -> anyhow::Result<String> {
    let tree = lay_out(payload, &ltsp.path, &args.run_dir)?;
    if let Some(server) = ltsp.server.or(next_server) {
        name_server(server, &args.net_dir)?;
    }
    mounts::bind(&tree, &args.root_mnt)?;
    Ok(args.root_mnt.join(&ltsp.path).display().to_string())
}

/// A folder with a link to the payload. A link, so that LTSP's IMAGE_TO_RAM copies the link and not the image.
fn lay_out(payload: &Path, path: &Path, run: &Path) -> anyhow::Result<PathBuf> {
    let tree = run.join("ltsp");
    let link = tree.join(path);
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(link.parent().unwrap_or(&tree))?;
        symlink(payload, &link)
    };
    make().with_context(|| format!("linking {} to {}", link.display(), payload.display()))?;
    Ok(tree)
}

/// Tell LTSP who the server is. By itself it takes the first TCP connection for the server's, which of a
/// machine in a swarm may be another machine's. What ltsp.conf says still counts more.
fn name_server(server: Ipv4Addr, net_dir: &Path) -> anyhow::Result<()> {
    let script = net_dir.join(INIT);
    let text = format!(
        "# Written by boottorrent-agent, see man:ltsp-boottorrent(8)\nSERVER=${{SERVER:-{server}}}\n"
    );
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(script.parent().unwrap_or(net_dir))?;
        fs::write(&script, text)
    };
    write().with_context(|| format!("writing {}", script.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_where_ltsp_looks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let payload = dir.path().join("payload");
        fs::write(&payload, "hsqs").unwrap();
        let tree = lay_out(&payload, Path::new("images/x86_64.img"), dir.path()).unwrap();
        assert_eq!(fs::read(tree.join("images/x86_64.img")).unwrap(), b"hsqs");
    }

    #[test]
    fn the_server_is_named_unless_ltsp_conf_did() {
        let dir = tempfile::tempdir().unwrap();
        name_server(Ipv4Addr::new(10, 77, 0, 1), dir.path()).unwrap();
        for (before, want) in [("", "10.77.0.1"), ("SERVER=192.168.67.1; ", "192.168.67.1")] {
            let script = format!("{before}. {}; echo $SERVER", dir.path().join(INIT).display());
            let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(said).unwrap().trim(), want);
        }
    }
}
