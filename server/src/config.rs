// SPDX-License-Identifier: GPL-3.0-or-later
//! `/etc/boottorrent/server.toml`: every key optional, unknown keys refused.

use crate::menu_settings::MenuSettings;
use anyhow::{Context, Result, bail};
use bootspec::{HTTP_PORT, HTTPS_PORT, ImageName, PEER_PORT, cmdline::check_append, units};
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the config is when `--config` does not say otherwise.
pub const PATH: &str = "/etc/boottorrent/server.toml";
/// Where the daemon's local socket is, unless the settings say otherwise.
pub const SOCKET: &str = "/run/boottorrent-server/api.sock";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where images are kept.
    pub catalogue: Catalogue,
    /// The daemon.
    pub serve: Serve,
    /// The tracker in it.
    pub tracker: Tracker,
    /// What machines are told.
    pub boot: Boot,
    /// The menu that they show.
    pub menu: MenuSettings,
    /// Who signs images.
    pub keys: Keys,
    /// How machines are switched on and off.
    pub power: Power,
    /// The first server, of which this one is a relay.
    pub upstream: Upstream,
}

/// One setting of a running server that counts after a restart only.
type Fixed = (&'static str, fn(&Config, &Config) -> bool);

/// All of them: the rest is read again at SIGHUP.
const FIXED: [Fixed; 13] = [
    ("[catalogue] dir", |a, b| a.catalogue.dir != b.catalogue.dir),
    ("[catalogue] sources", |a, b| a.catalogue.sources != b.catalogue.sources),
    ("[serve] listen", |a, b| a.serve.listen != b.serve.listen),
    ("[serve] peer-port", |a, b| a.serve.peer_port != b.serve.peer_port),
    ("[serve] up", |a, b| a.serve.up != b.serve.up),
    ("[serve] seed", |a, b| a.serve.seed != b.serve.seed),
    ("[serve] seeder", |a, b| a.serve.seeder != b.serve.seeder),
    ("[serve] socket", |a, b| a.serve.socket != b.serve.socket),
    ("[serve] tls-listen", |a, b| a.serve.tls_listen != b.serve.tls_listen),
    ("[serve] tls-cert", |a, b| a.serve.tls_cert != b.serve.tls_cert),
    ("[serve] tls-key", |a, b| a.serve.tls_key != b.serve.tls_key),
    ("[boot] agent", |a, b| a.boot.agent != b.boot.agent),
    ("[upstream]", |a, b| a.upstream != b.upstream),
];

impl Config {
    /// These settings with what a running server can take of others.
    pub fn renewed(&self, new: &Config) -> Config {
        let Config { catalogue, serve, tracker, boot, menu, keys, power, .. } = new.clone();
        Config {
            catalogue: Catalogue {
                keep_versions: catalogue.keep_versions,
                keep_size: catalogue.keep_size,
                ..self.catalogue.clone()
            },
            serve: Serve {
                payload: serve.payload,
                machines: serve.machines,
                names: serve.names,
                ..self.serve.clone()
            },
            tracker,
            boot: Boot { agent: self.boot.agent.clone(), ..boot },
            menu,
            keys,
            power,
            upstream: self.upstream.clone(),
        }
    }

    /// Which of the others' settings it cannot take.
    pub fn fixed(&self, new: &Config) -> Vec<&'static str> {
        FIXED.iter().filter(|(_, differs)| differs(self, new)).map(|(name, _)| *name).collect()
    }
}

/// `[catalogue]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Catalogue {
    /// The folder.
    pub dir: PathBuf,
    /// Where the descriptions of sources are; the last folder is the admin's.
    pub sources: Vec<PathBuf>,
    /// How many earlier versions of an image are kept.
    pub keep_versions: usize,
    /// How many bytes the earlier versions of all images may take.
    #[serde(deserialize_with = "size")]
    pub keep_size: Option<u64>,
}

/// `[serve]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Serve {
    /// Address and port of the one HTTP listener.
    pub listen: SocketAddr,
    /// The port on which the seeder listens.
    pub peer_port: u16,
    /// Bytes a second that the seeder sends at most.
    #[serde(deserialize_with = "rate")]
    pub up: Option<u64>,
    /// Whether to seed.
    pub seed: bool,
    /// How the seeder chooses what to show to whom.
    pub seeder: SeederKind,
    /// Whether to give payloads over HTTP.
    pub payload: bool,
    /// Who may read the list of machines over TCP.
    pub machines: Listing,
    /// Names of this server besides those that it finds itself.
    pub names: Vec<String>,
    /// The local socket, over which things are changed.
    pub socket: PathBuf,
    /// Address and port for HTTP over TLS, where there is a certificate.
    pub tls_listen: SocketAddr,
    /// The certificate, and those above it.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// The folder with the keys.
    pub dir: PathBuf,
    /// The secret key that signs; the only one there if not given.
    pub secret: Option<PathBuf>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { dir: bootspec::KEYS_DIR.into(), secret: None }
    }
}

/// `[power]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Power {
    /// The file with the BMCs, and how to log in there.
    pub file: PathBuf,
}

impl Default for Power {
    fn default() -> Self {
        Self { file: "/etc/boottorrent/power.toml".into() }
    }
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// The first server; none: this one is it.
    pub url: Option<String>,
    /// The file with the token that `boottorrent relay add` has printed there.
    pub token_file: PathBuf,
    /// The certificate of the authority that stands for the first server; none: those that this machine knows.
    pub ca: Option<PathBuf>,
    /// How many bytes the images here may take.
    #[serde(deserialize_with = "size")]
    pub disk: Option<u64>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self { url: None, token_file: "/etc/boottorrent/relay.token".into(), ca: None, disk: None }
    }
}

/// How the seeder chooses what to show to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeederKind {
    /// Shows each piece to one machine first, so that the server's link carries every piece about once.
    #[default]
    Dealing,
    /// Shows everything to everybody.
    Librqbit,
}

/// Who may read the list of machines: their names, addresses, serial numbers and logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listing {
    /// Everybody on the network.
    #[default]
    Open,
    /// Who has the token.
    Token,
}

/// `[tracker]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tracker {
    /// How often peers announce.
    #[serde(deserialize_with = "time")]
    pub interval: Duration,
    /// How often they may.
    #[serde(deserialize_with = "time")]
    pub min_interval: Duration,
}

/// `[boot]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Boot {
    /// Kernel parameters for every image.
    #[serde(deserialize_with = "append")]
    pub append: String,
    /// The agent that goes with images whose initrd lacks it.
    pub agent: PathBuf,
    /// The image that the menu starts by itself; the newest one if not given.
    pub default: Option<ImageName>,
    /// How long the menu waits.
    #[serde(deserialize_with = "time")]
    pub timeout: Duration,
    /// Whether `setup` gives UEFI machines shim and GRUB instead of iPXE.
    pub secure_boot: bool,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            dir: "/var/lib/boottorrent".into(),
            sources: ["/usr/share/boottorrent/sources.d", "/etc/boottorrent/sources.d"]
                .map(PathBuf::from)
                .into(),
            keep_versions: 2,
            keep_size: None,
        }
    }
}

impl Default for Serve {
    fn default() -> Self {
        let listen = (std::net::Ipv6Addr::UNSPECIFIED, HTTP_PORT).into();
        Self {
            listen,
            peer_port: PEER_PORT,
            up: None,
            seed: true,
            seeder: SeederKind::default(),
            payload: true,
            machines: Listing::default(),
            names: Vec::new(),
            socket: SOCKET.into(),
            tls_listen: (std::net::Ipv6Addr::UNSPECIFIED, HTTPS_PORT).into(),
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), min_interval: Duration::from_secs(15) }
    }
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            append: String::new(),
            agent: bootspec::AGENT.into(),
            default: None,
            timeout: Duration::from_secs(10),
            secure_boot: false,
        }
    }
}

fn rate<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    units::parse_rate(&String::deserialize(d)?).map(Some).map_err(D::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    units::parse_size(&String::deserialize(d)?).map(Some).map_err(D::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    units::parse_time(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn append<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    check_append(&text).map_err(D::Error::custom)?;
    Ok(text)
}

/// Read a config's text.
pub fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|e| toml_sentence(text, &e))
}

/// What is wrong with a TOML text, in one line that names the text's line.
pub fn toml_sentence(text: &str, e: &toml::de::Error) -> String {
    let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    let at = line.map(|l| format!("line {l}: ")).unwrap_or_default();
    // toml says "field" for what TOML itself calls a key.
    format!("{at}{}", e.message().replace("unknown field", "unknown key").replace('\n', " "))
}

/// Read the config: `path`, which must exist, or [`PATH`], which need not.
pub fn load(path: Option<&Path>) -> Result<Config> {
    let file = path.unwrap_or(Path::new(PATH));
    let text = match std::fs::read_to_string(file) {
        Err(e) if path.is_none() && e.kind() == ErrorKind::NotFound => return Ok(Config::default()),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    match parse(&text) {
        Ok(config) => Ok(config),
        Err(why) => bail!("{}: {why}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../server.toml");

    #[test]
    fn the_example_is_the_defaults() {
        assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    }

    /// The example with its keys switched on parses too: no key in it is stale.
    #[test]
    fn every_key_of_the_example_exists() {
        let text: String = EXAMPLE
            .lines()
            .map(|l| match l.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') && !key.is_empty() => format!("{key}\n"),
                _ => format!("{l}\n"),
            })
            .collect();
        let config = parse(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
        assert_eq!((config.serve.up, config.boot.default.is_some()), (Some(50_000_000), true));
        let shown = Config {
            serve: Serve { up: None, tls_cert: None, tls_key: None, names: Vec::new(), ..config.serve },
            boot: Boot { default: None, append: String::new(), ..config.boot },
            menu: MenuSettings { shell: config.menu.shell, leave: config.menu.leave, ..Default::default() },
            keys: Keys { secret: None, ..config.keys },
            catalogue: Catalogue { keep_size: None, ..config.catalogue },
            upstream: Upstream { url: None, ca: None, disk: None, ..config.upstream },
            ..config
        };
        assert_eq!(shown, Config::default(), "the example shows the defaults");
    }

    #[test]
    fn errors_name_line_and_key() {
        for (text, why) in [
            (
                "[serve]\nlisten-port = 1",
                "line 2: unknown key `listen-port`, expected one of `listen`, `peer-port`, `up`, `seed`, `seeder`, `payload`, `machines`, `names`, `socket`, `tls-listen`, `tls-cert`, `tls-key`",
            ),
            (
                "[serve]\nseeder = \"fair\"",
                "line 2: unknown variant `fair`, expected `dealing` or `librqbit`",
            ),
            (
                "[tracker]\ninterval = \"soon\"",
                "line 2: 'soon' is not a valid time: write a number with s, m or h, as in 10m",
            ),
            (
                "[menu]\ntitle = \"${net0/mac}\"",
                "line 2: '${net0/mac}' is not a valid title: use at most 60 characters, and none of $ | & # ` ' \" \\",
            ),
            (
                "[menu]\nsubmenus = [{title = \"A\", items = [\"x\"]}, {title = \"B\", items = [\"y\", \"x\"]}]",
                "line 2: 'x' is in the submenus twice: leave one",
            ),
            (
                "[boot]\nappend = \"a || b\"",
                "line 2: 'a || b' are not valid kernel parameters: write them in one line without the words && || ; and without words that begin with #",
            ),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()));
        }
    }
}
