// SPDX-License-Identifier: GPL-3.0-or-later
//! Real gpg keys, each with a home and an agent of its own.

use crate::common::World;
use std::{fs, path::PathBuf, process::Command};

/// A key of gpg in a home of its own.
pub struct Key {
    home: PathBuf,
    /// The public key, exported.
    pub file: String,
}

impl Key {
    /// `time`: when it was made, as gpg writes it; it is valid for a day.
    pub fn make(w: &World, name: &str, time: Option<&str>, armour: bool) -> Key {
        let home = w.path(&format!("gpg-{name}"));
        fs::create_dir(&home).unwrap();
        let mut key = Key { home, file: w.shown(&format!("{name}.key")) };
        let id = format!("{name} <{name}@example.org>");
        key.gpg(time, &["--passphrase", "", "--quick-gen-key", &id, "ed25519", "sign", "1d"]);
        let armour: &[&str] = if armour { &["--armor"] } else { &[] };
        let file = key.file.clone();
        key.gpg(None, &[armour, &["--output", &file, "--export", name]].concat());
        key.file = file;
        key
    }

    fn gpg(&self, time: Option<&str>, args: &[&str]) -> String {
        let faked = time.map(|t| ["--faked-system-time", t].map(str::to_owned)).into_iter().flatten();
        let out = Command::new("gpg")
            .args(["--batch", "--yes", "--pinentry-mode", "loopback", "--homedir"])
            .arg(&self.home)
            .args(faked)
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub fn sign(&self, time: Option<&str>, how: &str, bytes: &[u8]) -> Vec<u8> {
        let (file, to) = (self.home.join("text"), self.home.join("signature"));
        fs::write(&file, bytes).unwrap();
        self.gpg(time, &["--passphrase", "", "--output", to.to_str().unwrap(), how, file.to_str().unwrap()]);
        fs::read(to).unwrap()
    }

    pub fn fingerprint(&self) -> String {
        let list = self.gpg(None, &["--with-colons", "--list-keys"]);
        list.lines().find_map(|l| l.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':').to_owned()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Its agent would live on.
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "all"]).status();
    }
}
