// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes into ltsp.img, LTSP's additional initrd: the agent, and the script that starts it.

use crate::addon::Addons;
use anyhow::{Context, Result};
use bootspec::{manifest::Family, units::human_size};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Put them into the folder that LTSP packs. Returns how much it is, for people.
pub fn fill(folder: &Path, addons: &Addons) -> Result<String> {
    let mut bytes = 0;
    let parts = addons.parts()?;
    for (path, mode, content) in parts.files(Family::InitramfsTools) {
        let to = folder.join(path);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(to.parent().unwrap_or(folder))?;
            fs::write(&to, content)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("writing {}", to.display()))?;
        bytes += content.len() as u64;
    }
    Ok(human_size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Folder;

    #[test]
    fn the_agent_and_its_script() {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("agent");
        fs::write(&agent, "\x7fELF").unwrap();
        let to = dir.path().join("to");
        let keys = || Folder { dir: dir.path().join("keys"), secret: None };
        fill(&to, &Addons::new(&agent, keys())).unwrap();
        let mode = |f: &str| fs::metadata(to.join(f)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("usr/bin/boottorrent-agent"), mode("scripts/boottorrent")), (0o755, 0o644));
        assert!(
            fill(&to, &Addons::new(&dir.path().join("none"), keys()))
                .unwrap_err()
                .to_string()
                .contains("no agent")
        );
    }
}
