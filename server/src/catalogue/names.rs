// SPDX-License-Identifier: GPL-3.0-or-later
//! What the files of an image are called, and its manifest for programs.

use bootspec::{
    ImageManifest, ImageName,
    trust::{SIGNATURE, STATEMENT},
};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.toml";
/// The payload's file name.
pub const PAYLOAD: &str = "payload";
/// The kernel's file name.
pub const KERNEL: &str = "vmlinuz";
/// The initrd's file name.
pub const INITRD: &str = "initrd";
/// Sums of the payload's blocks; images of older servers have none.
pub const SUMS: &str = "sums";
/// In a copy of another server's image: what it was made of.
pub const COPY: &str = "copy.json";
/// What the add-on is called over HTTP; it is made from the installed agent and is in no folder.
pub const ADDON: &str = "addon";

/// The folder of [`super::entries`], beside the images.
pub const ENTRIES: &str = "entries";

/// The torrent's file name.
pub fn torrent_name(name: &ImageName) -> String {
    format!("{name}.torrent")
}

/// The statement's file name: what is signed of an image.
pub fn statement_name(name: &ImageName) -> String {
    format!("{name}.{STATEMENT}")
}

/// The file name of the statement's signature.
pub fn signature_name(name: &ImageName) -> String {
    format!("{name}.{STATEMENT}.{SIGNATURE}")
}

/// A manifest for programs: also with what is the usual, which manifest.toml leaves out.
pub fn as_json(manifest: &ImageManifest) -> serde_json::Value {
    let mut value = serde_json::to_value(manifest).expect("a manifest is JSON");
    value["priority"] = manifest.priority.get().into();
    value["version"] = manifest.version.into();
    value
}

/// The refusal to add an image twice.
pub fn already_there(name: &ImageName) -> String {
    format!("there is an image '{name}' already: give --replace, or another --name")
}
