// SPDX-License-Identifier: GPL-3.0-or-later
//! Files for machines: a layer that the server packs for a machine, a group or everybody, and that the agent lays over
//! the root. What it looks like, which paths are allowed, and what templates become. No I/O.
//!
//! ```text
//! boottorrent files 1        the head: for whom it is, in the words of `boottorrent host set`
//! for: group:room1
//!                            an empty line
//! …                          a cpio archive (newc), packed with gzip
//! ```
//!
//! A layer is known by the SHA-256 of all of it, and a minisign signature covers all of it. In the archive, `.wh.NAME`
//! removes NAME, and `.wh..wh..opq` empties its folder, as in layers of OCI images. All removals come first.

use crate::trust::{Distrust, Keys};

/// Bytes of a layer, packed or not, at most.
pub const MAX_LAYER: usize = 64 << 20;
/// Files, folders and links in one, at most.
pub const MAX_MEMBERS: usize = 20_000;
/// Layers of one machine, at most: everybody's, those of the groups that it is in, and its own.
pub const MAX_LAYERS: usize = 18;
/// Bytes of a path in it.
pub const MAX_PATH: usize = 1024;
/// What the name of a file that is to be removed begins with.
pub const WHITEOUT: &str = ".wh.";
/// What empties its folder.
pub const OPAQUE: &str = ".wh..wh..opq";
/// What the name of a file ends with in which values are filled in. It is put without this ending.
pub const TEMPLATE: &str = ".bt-template";
/// Folders that the kernel and systemd mount over: what is put there, nobody would see.
pub const MOUNTED_OVER: [&str; 4] = ["dev", "proc", "run", "sys"];

const HEAD: &str = "boottorrent files 1\nfor: ";
const MAX_WHO: usize = 200;

/// The head of a layer for somebody, who is named as in `boottorrent host set`.
pub fn head(who: &str) -> String {
    format!("{HEAD}{who}\n\n")
}

/// For whom a layer is, and its archive. Errors: what is wrong with it.
pub fn split(layer: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    if layer.len() > MAX_LAYER {
        return Err("it is too large");
    }
    let rest = layer.strip_prefix(HEAD.as_bytes()).ok_or("it does not begin as BootTorrent writes it")?;
    let end = rest
        .iter()
        .take(MAX_WHO)
        .position(|b| *b == b'\n')
        .ok_or("it says for whom it is at too great length")?;
    let who = std::str::from_utf8(&rest[..end]).map_err(|_| "it does not say in text for whom it is")?;
    if who.is_empty() || who.chars().any(char::is_control) {
        return Err("it does not say for whom it is");
    }
    let archive = rest[end..].strip_prefix(b"\n\n").ok_or("there is no empty line behind its head")?;
    Ok((who, archive))
}

/// What a name in an archive asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// A file, folder or link of this name.
    Put(&'a [u8]),
    /// A file of this name with the values filled in.
    Fill(&'a [u8]),
    /// Nothing of this name.
    Remove(&'a [u8]),
    /// Nothing in this folder.
    Empty,
}

/// Take a path apart: the folders above, and what is wished there. Errors: why it is not allowed.
pub fn wish(path: &[u8]) -> Result<(Vec<&[u8]>, Wish<'_>), String> {
    let shown = || crate::text::printable(&String::from_utf8_lossy(path), 120);
    if path.len() > MAX_PATH {
        return Err(format!("{}: its path is longer than {MAX_PATH} bytes", shown()));
    }
    let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let odd = |part: &&[u8]| matches!(*part, b"" | b"." | b"..") || part.len() > 255 || part.contains(&0);
    if parts.iter().any(odd) {
        return Err(format!("{}: its path must be relative and without . and ..", shown()));
    }
    let top = parts[0].strip_prefix(WHITEOUT.as_bytes()).unwrap_or(parts[0]);
    if MOUNTED_OVER.iter().any(|m| m.as_bytes() == top) {
        return Err(format!(
            "{}: nothing can be put into /{}, which is mounted when the system starts",
            shown(),
            String::from_utf8_lossy(top)
        ));
    }
    let name = parts.pop().unwrap_or_default();
    if parts.iter().any(|p| p.starts_with(WHITEOUT.as_bytes())) {
        return Err(format!("{}: a folder's name must not begin with {WHITEOUT}", shown()));
    }
    let wish = match name.strip_prefix(WHITEOUT.as_bytes()) {
        _ if name == OPAQUE.as_bytes() && !parts.is_empty() => Wish::Empty,
        Some(gone) if odd(&gone) || gone.starts_with(WHITEOUT.as_bytes()) => {
            return Err(format!("{}: there is no valid name after {WHITEOUT}", shown()));
        }
        Some(gone) => Wish::Remove(gone),
        None => match name.strip_suffix(TEMPLATE.as_bytes()) {
            Some(b"") => return Err(format!("{}: a template needs a name before {TEMPLATE}", shown())),
            Some(to) if odd(&to) => {
                return Err(format!("{}: its path must be relative and without . and ..", shown()));
            }
            Some(to) => Wish::Fill(to),
            None => Wish::Put(name),
        },
    };
    Ok((parts, wish))
}

/// What templates are filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The machine's host name.
    pub name: String,
    /// The address of the card that it boots from.
    pub mac: String,
    /// Its address.
    pub ip: String,
    /// Its group; empty if it is in none.
    pub group: String,
    /// Its firmware's serial number; empty if it has none of its own.
    pub serial: String,
}

impl Values {
    const WORDS: [&str; 5] = ["{{name}}", "{{mac}}", "{{ip}}", "{{group}}", "{{serial}}"];

    fn all(&self) -> [&str; 5] {
        [&self.name, &self.mac, &self.ip, &self.group, &self.serial]
    }

    /// A template with the values in it, in one pass: what a value says is not looked at again.
    pub fn fill(&self, template: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::with_capacity(template.len()), template);
        while let Some(first) = rest.first() {
            let known = Self::WORDS.iter().position(|w| rest.starts_with(w.as_bytes()));
            match known {
                Some(n) => {
                    out.extend(self.all()[n].chars().filter(|c| !c.is_control()).collect::<String>().bytes());
                    rest = &rest[Self::WORDS[n].len()..];
                }
                None => {
                    out.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        out
    }

    /// The first `{{word}}` of a template for which there is no value.
    pub fn unknown(template: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(template);
        let words = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(word, _)| word);
        let is_word = |w: &&str| {
            !w.is_empty() && w.len() <= 40 && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let word = words.filter(is_word).find(|w| !Self::WORDS.contains(&format!("{{{{{w}}}}}").as_str()))?;
        Some(format!("{{{{{word}}}}}"))
    }
}

/// Why files are refused where keys count: what the person at the console reads.
pub fn refusal(why: &Distrust, who: &str, keys: &Keys) -> String {
    let again = format!("sign them with `boottorrent host sign {who}` on the server");
    match why {
        Distrust::Unsigned => format!("the files for {who} are not signed by {keys}: {again}"),
        Distrust::Stranger(key) => {
            format!("the files for {who} are signed by key {key}, not by {keys}: {again}")
        }
        Distrust::Forged(key) => {
            format!(
                "the signature of the files for {who} is wrong, because key {key} did not sign these files: if nobody \
                 changed them on purpose, {again}"
            )
        }
        _ => format!("the signature of the files for {who} is damaged: {again}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_for_whom() {
        let layer = [head("group:room1").as_bytes(), b"\x1f\x8b..."].concat();
        assert_eq!(split(&layer), Ok(("group:room1", &b"\x1f\x8b..."[..])));
        let long = [head(&"x".repeat(300)).as_bytes(), b"y"].concat();
        for bad in [
            &b""[..],
            b"boottorrent files 2\nfor: x\n\n",
            b"boottorrent files 1\nfor: \n\n",
            &long,
            b"boottorrent files 1\nfor: x\n",
            b"boottorrent files 1\nfor: a\x1b[2J\n\nx",
            b"boottorrent files 1\nfor: \xff\n\n",
        ] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths() {
        let of = |path: &str| {
            wish(path.as_bytes()).map(|(folders, wish)| {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                let what = match wish {
                    Wish::Put(name) => format!("put {}", text(name)),
                    Wish::Fill(name) => format!("fill {}", text(name)),
                    Wish::Remove(name) => format!("remove {}", text(name)),
                    Wish::Empty => "empty".into(),
                };
                format!("{} {what}", folders.into_iter().map(text).collect::<Vec<_>>().join("/"))
            })
        };
        for (path, want) in [
            ("etc/ssh/key", "etc/ssh put key"),
            ("motd.bt-template", " fill motd"),
            ("etc/.wh.motd", "etc remove motd"),
            (".wh.opt", " remove opt"),
            ("etc/cron.d/.wh..wh..opq", "etc/cron.d empty"),
            ("etc/.wh..profile", "etc remove .profile"),
            ("etc/run", "etc put run"),
        ] {
            assert_eq!(of(path), Ok(want.into()), "{path}");
        }
        for bad in [
            "",
            "/etc/x",
            "../x",
            "a/../x",
            "a//x",
            "a/.",
            "a/..",
            "a/.wh.",
            "a/.wh..",
            "a/.wh...",
            ".wh..wh..opq",
            "a/.wh..wh.x",
            ".wh.a/x",
            "run/x",
            "dev",
            "proc/sys",
            ".wh.sys",
            ".bt-template",
            "a/...bt-template",
            "a/..bt-template",
            "a\0b",
            &"x".repeat(300),
            &"x/".repeat(600),
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_have_five_words_and_no_language() {
        let values = Values {
            name: "pc1".into(),
            mac: "52:54:00:00:00:01".into(),
            ip: "10.0.0.9".into(),
            group: "{{name}}".into(),
            serial: "X\n1".into(),
        };
        let filled =
            values.fill(b"{{name}} {{{mac}}} {{ip}}\n{{group}}{{serial}} {{ name }} {{if x}} {{\xff");
        assert_eq!(filled, b"pc1 {52:54:00:00:00:01} 10.0.0.9\n{{name}}X1 {{ name }} {{if x}} {{\xff");
        assert_eq!(Values::unknown(b"{{name}} {{ x }} {{.Host}} {{"), None);
        assert_eq!(Values::unknown(b"{{name}} {{hostname}}").as_deref(), Some("{{hostname}}"));
    }
}
