// SPDX-License-Identifier: GPL-3.0-or-later
//! OpenPGP signatures, looked at by `sqv` or `gpgv`, whichever is there. What they say is told in a sentence.

use crate::{sources::parse::plain_fingerprint, tool};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::base64;
use std::{
    ffi::OsString,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A signed text has at most so many bytes.
const MAX_TEXT: u64 = 4 << 20;

/// Who must have signed.
#[derive(Clone, Debug)]
pub struct OpenPgpSigner {
    /// The file with the keys.
    pub key: PathBuf,
    /// The Debian package that has it.
    pub package: Option<String>,
    /// The one key of them that may sign; any of them if not given.
    pub fingerprint: Option<String>,
    /// What else to know about the key.
    pub note: Option<String>,
}

/// The program that looks at signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Sqv,
    Gpgv,
}

impl OpenPgpSigner {
    /// Whether its key is there, and a program: looked at before anything is fetched.
    pub fn ready(&self) -> Result<()> {
        if !self.key.is_file() {
            let cure = match (&self.package, &self.note) {
                (Some(package), _) => format!("run `apt install {package}`"),
                (None, Some(note)) => note.clone(),
                (None, None) => "put the key of who signs it there".into(),
            };
            bail!("there is no key at {}: {cure}", self.key.display());
        }
        program(false).map(drop)
    }

    /// Look at a detached signature of `file`. The fingerprint of who made it.
    pub fn check(&self, file: &Path, signature: &Path, shown: &str) -> Result<String> {
        let key = Keyring::of(&self.key, program(false)?)?;
        let (args, program): (Vec<OsString>, _) = match key.program {
            Program::Sqv => {
                (["--keyring".into(), key.path().into(), signature.into(), file.into()].into(), "sqv")
            }
            Program::Gpgv => {
                let options = ["--status-fd", "1", "--keyring"].map(OsString::from);
                ([&options[..], &[key.path().into(), signature.into(), file.into()]].concat(), "gpgv")
            }
        };
        let said = run(program, &args)?;
        self.judge(&said, key.program, shown)
    }

    /// Look at a clear-signed text. Who made it, and the text that is signed: what is around it is not.
    pub fn check_inline(&self, file: &Path, shown: &str) -> Result<(String, String)> {
        let key = Keyring::of(&self.key, program(true)?)?;
        let text = tempfile::NamedTempFile::new().context("making a temporary file")?;
        let options = ["--status-fd", "1", "--output"].map(OsString::from);
        let more: [OsString; 4] = [text.path().into(), "--keyring".into(), key.path().into(), file.into()];
        // It writes the text anew.
        let said = run("gpgv", &[&options[..], &more].concat())?;
        let who = self.judge(&said, Program::Gpgv, shown)?;
        let mut signed = String::new();
        let file = fs::File::open(text.path()).context("opening the signed text")?;
        file.take(MAX_TEXT).read_to_string(&mut signed).context("reading the signed text")?;
        Ok((who, signed))
    }

    /// What the program's answer means. Only a good signature by a right key is none of the errors.
    fn judge(&self, said: &GpgOutput, program: Program, shown: &str) -> Result<String> {
        let key = self.key.display();
        let makers = match program {
            Program::Gpgv => valid_by_gpgv(&said.out),
            Program::Sqv => said.out.lines().filter_map(plain_fingerprint).map(|f| vec![f]).collect(),
        };
        // gpgv ends with an error when one of several signatures is by a key that is not there.
        let good = said.good || program == Program::Gpgv;
        if !good || makers.is_empty() {
            let all = format!("{}\n{}", said.out, said.err);
            let has = |words: &[&str]| words.iter().any(|w| all.contains(w));
            if has(&["EXPKEYSIG", "KEYEXPIRED", "is expired", "was expired", "has expired", "expired on"])
                && !has(&["BADSIG"])
            {
                bail!(
                    "the key that signed {shown} has expired: get its renewed key into {key}, or ask who signs it"
                );
            }
            if has(&["REVKEYSIG", "revoked"]) {
                bail!("the key that signed {shown} was revoked: do not use this image before you know why");
            }
            if has(&[
                "NO_PUBKEY",
                "No key to check",
                "No public key",
                "missing certificate",
                "Missing key",
                "no matching",
            ]) {
                bail!(
                    "{shown} is signed by a key that is not in {key}: get the right key, or somebody else made the signature"
                );
            }
            if has(&[
                "NODATA",
                "no signature found",
                "Malformed",
                "not a signature",
                "no valid OpenPGP data",
                "unexpected EOF",
            ]) && !has(&["BADSIG"])
            {
                bail!("the signature of {shown} is not an OpenPGP signature: look at what its address gives");
            }
            bail!(
                "the signature of {shown} is wrong: somebody has changed it, or signature and file are of different versions; fetch it again later"
            );
        }
        let wanted = self.fingerprint.as_deref().and_then(plain_fingerprint);
        if let Some(wanted) = wanted.filter(|w| !makers.iter().flatten().any(|f| f == w)) {
            bail!(
                "{shown} is signed by the key {}, and not by {wanted}",
                makers[0].last().expect("one at least")
            );
        }
        Ok(makers[0].last().expect("one at least").clone())
    }
}

/// The good signatures in gpgv's status lines: the key's fingerprint, and its primary key's. Each signature is judged
/// by itself (doc/DETAILS of GnuPG, NEWSIG): one by a key that is not there, or has expired, takes nothing from another.
fn valid_by_gpgv(status: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = status.lines().filter_map(|l| l.strip_prefix("[GNUPG:] ")).collect();
    let is = |line: &str, word: &str| line == word || line.starts_with(&format!("{word} "));
    // Bytes that one signer's signature does not fit are not what that one signed.
    if lines.iter().any(|l| is(l, "BADSIG")) {
        return Vec::new();
    }
    let mut signatures: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        if is(line, "NEWSIG") || signatures.is_empty() {
            signatures.push(Vec::new());
        }
        signatures.last_mut().expect("one at least").push(line);
    }
    let good = |lines: &Vec<&str>| {
        let bad = ["EXPKEYSIG", "REVKEYSIG", "EXPSIG", "ERRSIG"];
        lines.iter().any(|l| is(l, "GOODSIG")) && !lines.iter().any(|l| bad.iter().any(|w| is(l, w)))
    };
    let words = |lines: Vec<&str>| {
        let valid = lines.into_iter().find(|l| is(l, "VALIDSIG"))?;
        Some(valid.split(' ').filter_map(plain_fingerprint).collect::<Vec<_>>())
    };
    signatures.into_iter().filter(good).filter_map(words).filter(|w| !w.is_empty()).collect()
}

struct GpgOutput {
    good: bool,
    out: String,
    err: String,
}

fn run(program: &str, args: &[OsString]) -> Result<GpgOutput> {
    let out = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", tool::path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Ok(GpgOutput { good: out.status.success(), out: text(out.stdout), err: text(out.stderr) })
}

/// Which program there is. Clear-signed texts only gpgv reads.
fn program(inline: bool) -> Result<Program> {
    let there = |name: &str| std::env::split_paths(&tool::path()).any(|d| d.join(name).is_file());
    match () {
        () if there("gpgv") => Ok(Program::Gpgv),
        () if there("sqv") && !inline => Ok(Program::Sqv),
        () => Err(anyhow!("no program that looks at signatures is installed: run `apt install gpgv`")),
    }
}

/// The keys in the form that the program reads: gpgv knows no armour before its version 2.4.
struct Keyring {
    program: Program,
    plain: Option<tempfile::NamedTempFile>,
    file: PathBuf,
}

impl Keyring {
    fn of(key: &Path, program: Program) -> Result<Keyring> {
        let mut head = Vec::new();
        let file = fs::File::open(key).with_context(|| format!("opening {}", key.display()))?;
        file.take(64 << 20).read_to_end(&mut head).with_context(|| format!("reading {}", key.display()))?;
        let armoured = head.windows(15).take(1000).any(|w| w == b"-----BEGIN PGP ");
        // gpgv looks for a name without a slash in its own folder.
        let file = key.canonicalize().with_context(|| format!("opening {}", key.display()))?;
        if program == Program::Sqv || !armoured {
            return Ok(Keyring { program, plain: None, file });
        }
        let plain = tempfile::NamedTempFile::new().context("making a temporary file")?;
        fs::write(plain.path(), dearmour(&String::from_utf8_lossy(&head)))
            .context("writing a temporary file")?;
        Ok(Keyring { program, plain: Some(plain), file })
    }

    fn path(&self) -> &Path {
        self.plain.as_ref().map_or(&self.file, |p| p.path())
    }
}

/// The bytes of all armoured blocks (RFC 9580 §6.2). What is not base64 there makes a key that gpgv refuses.
fn dearmour(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while lines.by_ref().any(|l| l.starts_with("-----BEGIN PGP ")) {
        // Headers end with an empty line.
        let body =
            lines.by_ref().skip_while(|l| !l.is_empty()).skip(1).take_while(|l| !l.starts_with("-----END"));
        // The sum of 24 bits behind it begins with `=`.
        let body: String = body.filter(|l| !l.starts_with('=')).collect();
        out.extend(base64::decode(&body));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_comes_off() {
        let text = "x\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\naGVs\nbG8=\n=ABCD\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(dearmour(text), b"hello");
        assert_eq!(dearmour("nothing"), b"");
    }
}
