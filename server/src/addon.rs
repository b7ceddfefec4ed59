// SPDX-License-Identifier: GPL-3.0-or-later
//! The add-on: a cpio archive that stands beside the initrd of an image that was not made with our
//! hook, and brings into it the agent and a few lines of shell that call it. The kernel unpacks
//! all archives that it is given into one tree (Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::{config::Config, family::spec, keys::Folder, tool::Tool};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{Architecture, CA_DIR, ImageManifest, KEYS_DIR, live::HOOK_DIR, manifest::Family};
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use initrd::Member;
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// An agent is a few megabytes.
const MAX_AGENT: u64 = 64 << 20;

/// What of this server goes into every add-on.
pub struct Parts {
    /// The agent.
    pub agent: Vec<u8>,
    /// Whom machines believe: public keys, and certificates of authorities, each with its path in the initrd.
    pub trust: Vec<(String, Vec<u8>)>,
}

impl Parts {
    /// The add-on for a family: the same bytes for the same parts.
    pub fn build(&self, family: Family) -> Bytes {
        pack(&self.files(family)).into()
    }

    /// The agent as the init of an initrd that has nothing else, and whom it believes. `live`: with the files that the initrd
    /// of a live system gets.
    /// `xz`: the kernel unpacks that, which is a fifth smaller than what gzip has packed.
    pub fn init(&self, live: Option<Family>, xz: bool) -> Bytes {
        let hook = live.map_or(&[][..], |family| spec(family).hook);
        let paths: Vec<String> =
            hook.iter().map(|e| format!("{}/{}", HOOK_DIR.trim_start_matches('/'), e.path)).collect();
        let hook = hook.iter().zip(&paths).map(|(e, path)| (path.as_str(), e.mode, e.text.as_bytes()));
        let trust = self.trust.iter().map(|(path, text)| (path.as_str(), 0o644, text.as_slice()));
        let own = [(INIT, 0o755, &*self.agent)].into_iter().chain(MODPROBE);
        let files = own.chain(hook).chain(trust).collect::<Vec<_>>();
        let temporary = || tempfile::tempfile().context("creating a temporary file");
        let smaller = || pack_xz(&files, Xz::Small, temporary()?, temporary()?);
        let packed = xz.then(smaller).transpose().unwrap_or_else(|e| {
            tracing::warn!("the agent is packed with gzip: {e:#}");
            None
        });
        packed.unwrap_or_else(|| pack(&files)).into()
    }

    /// The files of an add-on: path, mode, content.
    pub fn files(&self, family: Family) -> Vec<(&str, u32, &[u8])> {
        let entries = spec(family).hook.iter().map(|e| (e.path, e.mode, e.text.as_bytes()));
        let trust = self.trust.iter().map(|(path, text)| (path.as_str(), 0o644, text.as_slice()));
        entries.chain([("usr/bin/boottorrent-agent", 0o755, &*self.agent)]).chain(trust).collect()
    }
}

/// Where the kernel looks for the first program of an initrd.
const INIT: &str = "init";
/// What the kernel starts when it wants a module (/proc/sys/kernel/modprobe), and what the agent starts, which looks in /bin:
/// the agent again, by links.
const MODPROBE: [(&str, u32, &[u8]); 2] =
    [("sbin/modprobe", LINK | 0o777, b"/init"), ("bin/modprobe", LINK | 0o777, b"/init")];
/// The kind of file in a mode (inode(7)).
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive of files (path, mode, content), gzipped, which every kernel can unpack.
pub fn pack(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&archive(files)).expect("a Vec");
    let mut bytes = gzip.finish().expect("a Vec");
    // What comes behind must begin at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// How hard xz tries. Measured on the drivers of trixie's kernel: `Fast` takes a seventh of the time, for a sixth more bytes.
#[derive(Clone, Copy, Debug)]
pub enum Xz {
    /// `-6`: what is packed here gets no smaller with -9e, only slower.
    Small,
    /// `-1`.
    Fast,
}

/// The same packed with xz, for kernels that unpack it. The two files are for what goes in and comes out.
pub fn pack_xz(
    files: &[(&str, u32, &[u8])],
    effort: Xz,
    mut cpio: File,
    mut packed: File,
) -> Result<Vec<u8>> {
    cpio.write_all(&archive(files)).context("writing an archive")?;
    cpio.rewind().context("rewinding")?;
    let effort = match effort {
        Xz::Small => "-6",
        Xz::Fast => "-1",
    };
    // The kernel's decoder knows no other checksum (lib/xz).
    Tool::new("xz", "xz-utils").args([effort, "--check=crc32", "-c"]).stdin(cpio).run_into(&packed)?;
    packed.rewind().context("rewinding")?;
    let mut bytes = Vec::new();
    packed.read_to_end(&mut bytes).context("reading a temporary file")?;
    // What comes behind must begin at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// An archive of files (path, mode, content), as cpio(5) has it in the form `newc`.
pub fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    // The kernel makes no folder by itself.
    let folders: BTreeSet<&str> = files
        .iter()
        .flat_map(|(path, ..)| path.match_indices('/').map(|(end, _)| &path[..end]).collect::<Vec<_>>())
        .collect();
    let mut cpio = Vec::new();
    let mut number = 0;
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        number += 1;
        newc(&mut cpio, number, path, mode, bytes);
    };
    folders.into_iter().for_each(|f| add(f, 0o040_755, b""));
    let kind = |mode: u32| if mode & LINK == LINK { mode } else { FILE | mode };
    files.iter().for_each(|(path, mode, bytes)| add(path, kind(*mode), bytes));
    initrd::end(&mut cpio);
    cpio
}

/// One member of it.
fn newc(to: &mut Vec<u8>, number: u64, path: &str, mode: u32, bytes: &[u8]) {
    let links = if mode & 0o040_000 != 0 { 2 } else { 1 };
    let inode = (number, 0, 0);
    initrd::append(to, &Member { name: path.into(), inode, mode, links, ..Member::default() }, bytes);
}

/// What tells one agent from another, and whom machines believe.
type Stamp = (SystemTime, u64, Vec<(String, Vec<u8>)>);

/// What this server adds to a boot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Addition {
    /// The add-on beside an initrd of this family.
    Beside(Architecture, Family),
    /// The agent as the init of an initrd that the server makes; of a live system of this family, if of any; whether xz packs it.
    Init(Architecture, Option<Family>, bool),
}

/// The add-ons of the installed agent, made when they are first asked for.
pub struct Addons {
    agent: PathBuf,
    keys: Folder,
    made: Mutex<HashMap<Addition, (Stamp, Bytes)>>,
}

impl Addons {
    /// With this agent, and the public keys in this folder. Where there is an authority's certificate, with the agent beside it
    /// that speaks HTTPS.
    pub fn new(agent: &Path, keys: Folder) -> Arc<Addons> {
        Arc::new(Addons { agent: agent.to_owned(), keys, made: Mutex::default() })
    }

    /// As the settings say.
    pub fn of(config: &Config) -> Arc<Addons> {
        Addons::new(&config.boot.agent, Folder::of(config))
    }

    /// The add-on for a family; made again when the agent has changed.
    pub fn get(&self, architecture: Architecture, family: Family) -> Result<Bytes> {
        self.made(Addition::Beside(architecture, family))
    }

    /// The agent as the init of an initrd that the server makes for an image.
    /// `xz`: the image's kernel unpacks that.
    pub fn init(&self, image: &ImageManifest, xz: bool) -> Result<Bytes> {
        self.made(Addition::Init(image.architecture, image.family.filter(|f| spec(*f).live), xz))
    }

    fn made(&self, what: Addition) -> Result<Bytes> {
        let (Addition::Beside(architecture, _) | Addition::Init(architecture, ..)) = what;
        let (file, stamp) = self.open(architecture)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = made.get(&what).filter(|(s, _)| *s == stamp) {
            return Ok(bytes.clone());
        }
        let parts = Parts { agent: self.read(file)?, trust: stamp.2.clone() };
        let bytes = match what {
            Addition::Beside(_, family) => parts.build(family),
            Addition::Init(_, live, xz) => parts.init(live, xz),
        };
        made.insert(what, (stamp, bytes.clone()));
        Ok(bytes)
    }

    /// The agent of the usual machines itself, and whom it believes.
    pub fn parts(&self) -> Result<Parts> {
        let (file, (.., trust)) = self.open(Architecture::default())?;
        Ok(Parts { agent: self.read(file)?, trust })
    }

    fn open(&self, architecture: Architecture) -> Result<(File, Stamp)> {
        let authorities = self.keys.authorities()?;
        let mut agent = self.agent.clone();
        if !architecture.is_default() {
            agent.as_mut_os_string().push(format!("-{}", architecture.as_str()));
        }
        if !authorities.is_empty() {
            agent.as_mut_os_string().push("-tls");
        }
        let path = agent.display();
        let file = File::open(&agent).map_err(|e| match e.kind() {
            ErrorKind::NotFound if !architecture.is_default() => anyhow!(
                "the agent for {0} is missing: {path} does not exist; run `make agent-{0} install-agent-{0}` in BootTorrent's source",
                architecture.as_str()
            ),
            ErrorKind::NotFound => anyhow!(
                "there is no agent at {path}: install the package boottorrent-agent, or say where it is with agent = in \
                 [boot] of server.toml"
            ),
            _ => anyhow!(e).context(format!("opening {path}")),
        })?;
        let meta = file.metadata().with_context(|| format!("asking for the size of {path}"))?;
        let keys = self.keys.public()?.into_iter().map(|key| (KEYS_DIR, key.path, key.text));
        let authorities = authorities.into_iter().map(|(path, text)| (CA_DIR, path, text));
        let trust = keys.chain(authorities).filter_map(|(dir, path, text)| {
            let name = path.file_name()?.to_str()?;
            Some((format!("{}/{name}", dir.trim_start_matches('/')), text))
        });
        let stamp = (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), trust.collect());
        Ok((file, stamp))
    }

    fn read(&self, file: File) -> Result<Vec<u8>> {
        let path = self.agent.display();
        let mut agent = Vec::new();
        file.take(MAX_AGENT + 1).read_to_end(&mut agent).with_context(|| format!("reading {path}"))?;
        if !agent.starts_with(b"\x7fELF") || agent.len() as u64 > MAX_AGENT {
            bail!("{path} is not a program: install the package boottorrent-agent again");
        }
        Ok(agent)
    }

    /// How many bytes of phase one an image's add-on is; 0 where it has none, or none can be made.
    pub fn size(&self, image: &ImageManifest) -> u64 {
        image.family.and_then(|f| self.get(image.architecture, f).ok()).map_or(0, |b| b.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::FAMILIES;
    use std::fs;
    use std::process::{Command, Stdio};

    const AMD64: Architecture = Architecture::Amd64;

    /// cpio(1) lists and unpacks it.
    #[test]
    fn other_programs_read_it() {
        for family in FAMILIES.iter().map(|s| s.family) {
            let dir = tempfile::tempdir().unwrap();
            let agent = [b"\x7fELF".as_slice(), &[7; 1001]].concat();
            let keys = vec![("etc/boottorrent/keys/lab.pub".to_owned(), b"a key".to_vec())];
            let parts = Parts { agent: agent.clone(), trust: keys };
            let bytes = parts.build(family);
            assert_eq!(bytes, parts.build(family), "always the same");
            assert_eq!(bytes.len() % 4, 0);
            let mut child = Command::new("sh")
                .args(["-c", "gzip -dc 2>/dev/null | cpio -idm --quiet"])
                .current_dir(dir.path())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&bytes).unwrap();
            assert!(child.wait().unwrap().success(), "{family:?}");
            assert_eq!(fs::read(dir.path().join("usr/bin/boottorrent-agent")).unwrap(), agent);
            assert_eq!(fs::read(dir.path().join("etc/boottorrent/keys/lab.pub")).unwrap(), b"a key");
            for entry in spec(family).hook {
                let path = dir.path().join(entry.path);
                assert_eq!(fs::read_to_string(&path).unwrap(), entry.text);
                let syntax = Command::new("sh").arg("-n").arg(&path).status().unwrap();
                assert!(syntax.success(), "{}", entry.path);
            }
        }
    }

    #[test]
    fn a_missing_agent_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let addons = Addons::new(&path, Folder { dir: dir.path().join("keys"), secret: None });
        let e = addons.get(AMD64, Family::Dracut).unwrap_err().to_string();
        assert_eq!(
            e,
            format!(
                "there is no agent at {}: install the package boottorrent-agent, or say where it is with agent = in [boot] of server.toml",
                path.display()
            )
        );
        let image = crate::ipxe::tests::image("live", "2026", "");
        assert_eq!(addons.size(&ImageManifest { family: Some(Family::Dracut), ..image }), 0);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(addons.get(AMD64, Family::Dracut).unwrap_err().to_string().contains("is not a program"));
        fs::write(&path, "\x7fELF1").unwrap();
        let one = addons.get(AMD64, Family::Dracut).unwrap();
        fs::write(&path, "\x7fELF23").unwrap();
        let two = addons.get(AMD64, Family::Dracut).unwrap();
        assert_ne!(two, one, "a new agent is noticed");
        fs::create_dir(dir.path().join("keys")).unwrap();
        fs::write(
            dir.path().join("keys/a.pub"),
            "x\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
        )
        .unwrap();
        assert_ne!(addons.get(AMD64, Family::Dracut).unwrap(), two, "a new key is noticed");
        fs::create_dir(dir.path().join("ca")).unwrap();
        fs::write(dir.path().join("ca/lab.crt"), "a certificate").unwrap();
        let e = addons.get(AMD64, Family::Dracut).unwrap_err().to_string();
        assert!(e.contains(&format!("there is no agent at {}-tls: install", path.display())), "{e}");
        fs::write(dir.path().join("agent-tls"), "\x7fELFtls").unwrap();
        let parts = addons.parts().unwrap();
        assert_eq!((parts.agent.as_slice(), parts.trust.len()), (b"\x7fELFtls".as_slice(), 2));
        assert_eq!(parts.trust[1], ("etc/boottorrent/ca/lab.crt".to_owned(), b"a certificate".to_vec()));
        fs::write(dir.path().join("keys/b.pub"), "").unwrap();
        assert!(
            addons
                .get(AMD64, Family::Dracut)
                .unwrap_err()
                .to_string()
                .contains("b.pub: it is not a public key of minisign")
        );
    }
}
