// SPDX-License-Identifier: GPL-3.0-or-later
//! What a source file says.

use crate::config::toml_sentence;
use bootspec::{cmdline::check_append, units};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::path::PathBuf;

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageSource {
    /// What it is, in a line.
    pub description: String,
    /// The machines that it is for: `amd64`, `arm64`.
    pub architecture: String,
    /// About how many bytes it has.
    #[serde(deserialize_with = "size")]
    pub size: Option<u64>,
    /// Where the image is: a URL, a folder's URL (with a `/` at its end: `file` is looked for in its
    /// checksums), or a path on this machine.
    pub url: Option<String>,
    /// The image's name in a folder, in a list of checksums, or in a torrent; `*` stands for its version.
    pub file: Option<String>,
    /// Where its .torrent is, or a magnet link. Goes before `url`, which is then used where it fails.
    pub torrent: Option<String>,
    /// Where its SHA-256 or SHA-512 sums are, as sha256sum(1) writes them.
    pub checksums: Option<String>,
    /// Its SHA-256 sum.
    pub sha256: Option<String>,
    /// Its SHA-512 sum.
    pub sha512: Option<String>,
    /// Where the OpenPGP signature is.
    pub signature: Option<String>,
    /// What is signed.
    pub signed: Signed,
    /// The file with the keys that may sign it.
    pub key: Option<PathBuf>,
    /// The Debian package that has this file.
    pub key_package: Option<String>,
    /// The fingerprint of the one key in it that may sign.
    pub fingerprint: Option<String>,
    /// Kernel parameters for the image.
    pub append: String,
    /// What else to know.
    pub note: Option<String>,
}

/// What a signature is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signed {
    /// The file with the sums; the signature is beside it.
    #[default]
    Checksums,
    /// The file with the sums; the signature is in it (a clear-signed text).
    Inline,
    /// The image itself.
    Image,
}

fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    units::parse_size(&String::deserialize(d)?).map(Some).map_err(D::Error::custom)
}

/// Read a source's text. Errors: the line, and what was expected.
pub fn parse(text: &str) -> Result<ImageSource, String> {
    let source: ImageSource = toml::from_str(text).map_err(|e| toml_sentence(text, &e))?;
    source.check().map_err(|(key, why)| {
        let says = |l: &str| l.split('=').next().is_some_and(|k| k.trim() == key);
        match text.lines().position(says) {
            Some(line) => format!("line {}: {why}", line + 1),
            None => why,
        }
    })?;
    Ok(source)
}

impl ImageSource {
    /// What cannot be: the key, and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let addresses = [
            ("url", &self.url),
            ("torrent", &self.torrent),
            ("checksums", &self.checksums),
            ("signature", &self.signature),
        ];
        for (key, value) in addresses {
            if let Some(value) = value {
                address(value, key == "torrent").map_err(|why| (key, why))?;
            }
        }
        if self.url.is_none() && self.torrent.is_none() {
            return Err(("url", "neither url nor torrent is given: say where the image is".into()));
        }
        for (key, value, bits) in [("sha256", &self.sha256, 256), ("sha512", &self.sha512, 512)] {
            let hex = |v: &String| v.len() * 4 == bits && v.bytes().all(|b| b.is_ascii_hexdigit());
            if let Some(value) = value.as_ref().filter(|v| !hex(v)) {
                let shown = bootspec::text::printable(value, 80);
                return Err((
                    key,
                    format!(
                        "'{shown}' is not a valid SHA-{bits} sum: write its {} hexadecimal digits",
                        bits / 4
                    ),
                ));
            }
        }
        let folder = self.url.as_ref().is_some_and(|u| u.ends_with('/'));
        if folder && (self.file.is_none() || (self.checksums.is_none() && self.is_remote())) {
            return Err((
                "url",
                "a folder needs file, as in file = \"live-*.iso\", and checksums, in which the file's name is found".into(),
            ));
        }
        if let Some(file) =
            self.file.as_ref().filter(|f| f.is_empty() || f.contains('/') && self.torrent.is_none())
        {
            return Err((
                "file",
                format!("'{}' is not a valid file name", bootspec::text::printable(file, 80)),
            ));
        }
        if self.signature.is_some() != self.key.is_some() {
            return Err((
                "signature",
                "signature and key go together: who signs it, and with which key".into(),
            ));
        }
        if self.signature.is_some() && self.signed != Signed::Image && self.checksums.is_none() {
            return Err((
                "signature",
                "no checksums are given that it could be of: give them, or signed = \"image\"".into(),
            ));
        }
        if let Some(f) = self.fingerprint.as_ref().filter(|f| plain_fingerprint(f).is_none()) {
            let shown = bootspec::text::printable(f, 80);
            return Err((
                "fingerprint",
                format!("'{shown}' is not a valid fingerprint: write its 40 or 64 hexadecimal digits"),
            ));
        }
        check_append(&self.append).map_err(|why| ("append", why))
    }

    fn is_remote(&self) -> bool {
        self.url.as_ref().is_some_and(|u| !u.starts_with('/'))
    }
}

/// A fingerprint without spaces, upper case.
pub fn plain_fingerprint(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
    let hex = plain.bytes().all(|b| b.is_ascii_hexdigit());
    (hex && matches!(plain.len(), 40 | 64)).then_some(plain)
}

/// Whether something can be fetched from there.
pub fn address(text: &str, torrent: bool) -> Result<(), String> {
    let plain = !text.chars().any(|c| c.is_control() || c == ' ');
    let known = ["http://", "https://"].iter().any(|s| text.len() > s.len() + 2 && text.starts_with(s))
        || (torrent && text.starts_with("magnet:?"))
        || text.starts_with('/');
    if plain && known {
        return Ok(());
    }
    let magnet = if torrent { ", a magnet link" } else { "" };
    let shown = bootspec::text::printable(text, 80);
    Err(format!(
        "'{shown}' is not a valid address: write an http:// or https:// URL{magnet}, or a path that begins with /"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_source() {
        let source = parse(
            "description = \"Debian\"\narchitecture = \"amd64\"\nsize = \"3.5G\"\nurl = \"https://x.org/live/\"\nfile = \"d-*.iso\"\n\
             checksums = \"https://x.org/live/SHA256SUMS\"\nsignature = \"https://x.org/live/SHA256SUMS.sign\"\n\
             key = \"/usr/share/keyrings/x.gpg\"\nfingerprint = \"DF9B 9C49 EAA9 2984 3258  9D76 DA87 E80D 6294 BE9B\"\n",
        )
        .unwrap();
        assert_eq!((source.size, source.signed), (Some(3_758_096_384), Signed::Checksums));
    }

    #[test]
    fn errors_name_line_and_what_was_expected() {
        let address =
            "is not a valid address: write an http:// or https:// URL, or a path that begins with /";
        for (text, why) in [
            ("x", "line 1: key with no value, expected `=`".to_owned()),
            ("description = \"x\"", "neither url nor torrent is given: say where the image is".into()),
            ("\nurl = \"ftp://x/y.iso\"", format!("line 2: 'ftp://x/y.iso' {address}")),
            ("url = \"http://x/a b\"", format!("line 1: 'http://x/a b' {address}")),
            ("url = 5", "line 1: invalid type: integer `5`, expected a string".into()),
            (
                "torrent = \"x\"",
                "line 1: 'x' is not a valid address: write an http:// or https:// URL, a magnet link, or a path that begins with /".into(),
            ),
            (
                "url = \"http://x/y.iso\"\nsha256 = \"12\"",
                "line 2: '12' is not a valid SHA-256 sum: write its 64 hexadecimal digits".into(),
            ),
            (
                "url = \"http://x/y/\"",
                "line 1: a folder needs file, as in file = \"live-*.iso\", and checksums, in which the file's name is found".into(),
            ),
            (
                "url = \"http://x/y.iso\"\nsignature = \"http://x/y.sig\"",
                "line 2: signature and key go together: who signs it, and with which key".into(),
            ),
            (
                "url = \"http://x/y.iso\"\nkey = \"/k\"\nsignature = \"http://x/y.sig\"",
                "line 3: no checksums are given that it could be of: give them, or signed = \"image\"".into(),
            ),
            (
                "url = \"http://x/y.iso\"\nfingerprint = \"12\"",
                "line 2: '12' is not a valid fingerprint: write its 40 or 64 hexadecimal digits".into(),
            ),
            ("url = \"http://x/y.iso\"\nsigned = \"x\"", "line 2: unknown variant `x`, expected one of `checksums`, `inline`, `image`".into()),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
        assert!(
            parse("ur = 1")
                .unwrap_err()
                .starts_with("line 1: unknown key `ur`, expected one of `description`, ")
        );
    }
}
