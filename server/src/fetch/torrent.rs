// SPDX-License-Identifier: GPL-3.0-or-later
//! Over BitTorrent, from the distribution's own swarm, by librqbit's session: not ours, which is made for a LAN.

use super::watch::Watch;
use crate::{catalogue::free_space::FreeSpace, sources::glob};
use anyhow::{Context, Result, anyhow, bail};
use librqbit::{
    AddTorrent, AddTorrentOptions, AddTorrentResponse, ListOnlyResponse, Magnet, ManagedTorrent, Session,
    SessionOptions, dht::Id20,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long peers may take to send what a magnet link stands for.
const METAINFO: Duration = Duration::from_secs(120);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(600);
/// How long peers are looked for where there are web seeds as well, which are not asked.
const LONELY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

/// What is fetched.
pub enum What {
    /// A magnet link.
    Magnet(String),
    /// The bytes of a .torrent.
    File(Vec<u8>),
}

/// What came.
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// What the torrent says it is.
    pub infohash: String,
}

/// What is wanted of a torrent.
pub struct TorrentRequest<'a> {
    /// The torrent.
    pub torrent: What,
    /// The one of its files; the one that is an image if not given.
    pub pattern: Option<&'a str>,
    /// Whether peers are looked for in the DHT too.
    pub dht: bool,
}

/// Fetch one file of a torrent below `dir`. What is there of an earlier try is hashed and gone on with.
pub async fn download(
    wanted: &TorrentRequest<'_>,
    dir: &Path,
    room: FreeSpace<'_>,
    watch: &Watch,
) -> Result<Fetched> {
    wanted.refuse_useless()?;
    let session = session(dir, wanted.dht).await?;
    // Peers and trackers are left behind in whatever way this ends.
    let _leave = Leave(session.clone());
    let list = wanted.list(&session).await?;
    let files: Vec<(PathBuf, u64)> =
        list.info.iter_file_details().map(|f| (f.filename.to_pathbuf(), f.len)).collect();
    let chosen = choose(&files, wanted.pattern)?;
    let (name, size) = &files[chosen];
    let infohash = list.info_hash.as_string();
    let dir = dir.join(&infohash);
    let path = dir.join(name);
    // Files are made with holes: only what is on the disk is here.
    let here = std::fs::metadata(&path).map_or(0, |m| std::os::unix::fs::MetadataExt::blocks(&m) * 512);
    room.refuse_without(size.saturating_sub(here))?;
    let options = AddTorrentOptions {
        only_files: Some(vec![chosen]),
        overwrite: true,
        output_folder: Some(dir.display().to_string()),
        initial_peers: wanted.peers(list.seen_peers),
        ..Default::default()
    };
    let web_seeds = list.torrent_bytes.windows(10).any(|w| w == b"8:url-list");
    let added = session.add_torrent(AddTorrent::from_bytes(list.torrent_bytes), Some(options)).await;
    let handle = added.map_err(|e| anyhow!("this torrent cannot be fetched: {e:#}"))?;
    let handle = handle.into_handle().context("the engine took no torrent")?;
    until_whole(&Coming { handle, chosen, size: *size, infohash: &infohash, web_seeds }, watch).await?;
    Ok(Fetched { path, infohash })
}

impl TorrentRequest<'_> {
    /// What nobody could fetch.
    fn refuse_useless(&self) -> Result<()> {
        match &self.torrent {
            What::Magnet(link) => {
                let magnet = Magnet::parse(link)
                    .map_err(|e| anyhow!("'{}' is not a valid magnet link: {e:#}", shown(link)))?;
                if magnet.trackers.is_empty() && !link.contains("x.pe=") && !self.dht {
                    bail!(
                        "the magnet link names no tracker and no peer: give --dht to look for peers in the DHT (which is all over the \
                         internet), or a .torrent"
                    );
                }
            }
            What::File(bytes) if swarm::metainfo::is_only_v2(bytes) => {
                bail!("this torrent cannot be used: {}", swarm::MetainfoError::OnlyV2)
            }
            What::File(_) => {}
        }
        Ok(())
    }

    /// The peers that are known before anybody is asked.
    fn peers(&self, seen: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        let named = match &self.torrent {
            What::Magnet(link) => named_peers(link),
            What::File(_) => Vec::new(),
        };
        Some([named, seen].concat()).filter(|peers| !peers.is_empty())
    }

    /// What is in the torrent; of a magnet link, peers are asked for it.
    async fn list(&self, session: &Arc<Session>) -> Result<ListOnlyResponse> {
        let options = AddTorrentOptions {
            list_only: true,
            initial_peers: self.peers(Vec::new()),
            ..Default::default()
        };
        let add = match &self.torrent {
            What::Magnet(link) => AddTorrent::from_url(link.clone()),
            What::File(bytes) => AddTorrent::from_bytes(bytes.clone()),
        };
        let listed = tokio::time::timeout(METAINFO, session.add_torrent(add, Some(options))).await;
        let Ok(listed) = listed else {
            bail!(
                "nobody has sent what the magnet link stands for within {} minutes: try a .torrent",
                METAINFO.as_secs() / 60
            );
        };
        match listed.map_err(|e| anyhow!("this torrent cannot be used: {e:#}"))? {
            AddTorrentResponse::ListOnly(list) => Ok(list),
            _ => bail!("this torrent is being fetched already"),
        }
    }
}

/// A file that comes.
struct Coming<'a> {
    handle: Arc<ManagedTorrent>,
    /// Which file of the torrent.
    chosen: usize,
    size: u64,
    infohash: &'a str,
    web_seeds: bool,
}

/// Wait until the file is here, or nobody sends any of it.
async fn until_whole(coming: &Coming<'_>, watch: &Watch) -> Result<()> {
    let Coming { handle, chosen, size, infohash, web_seeds } = coming;
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let stats = handle.stats();
        if let Some(e) = &stats.error {
            bail!("the torrent cannot be fetched: {e}");
        }
        let have = stats.file_progress.get(*chosen).copied().unwrap_or(0).min(*size);
        let peers = stats.live.as_ref().map_or(0, |l| l.snapshot.peer_stats.live);
        watch.have(have, Some(*size));
        watch.peers(peers);
        if stats.finished {
            return Ok(());
        }
        if have > before {
            (before, since) = (have, Instant::now());
        }
        if *web_seeds && have == 0 && peers == 0 && since.elapsed() > LONELY {
            bail!(
                "no peer of {infohash} was found, and its web seeds (url-list) are not supported: fetch the file by its own \
                 address instead, with --sum or --checksums"
            );
        }
        if since.elapsed() > SILENCE {
            bail!(
                "nobody has sent anything of {infohash} for {} minutes: try again later to resume",
                SILENCE.as_secs() / 60
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn session(dir: &Path, dht: bool) -> Result<Arc<Session>> {
    let options = SessionOptions {
        dht: dht.then(|| librqbit::DhtSessionConfig { persistence: None, ..Default::default() }),
        // It is about the internet's peers: the LAN's machines have our own swarm.
        disable_local_service_discovery: true,
        ipv4_only: !Path::new("/proc/net/if_inet6").exists(),
        ..Default::default()
    };
    Session::new_with_opts(dir.to_owned(), options).await.context("starting BitTorrent")
}

struct Leave(Arc<Session>);

impl Drop for Leave {
    fn drop(&mut self) {
        let session = self.0.clone();
        tokio::spawn(async move { session.stop().await });
    }
}

/// The peers that a magnet link names (BEP 9): librqbit reads none of them.
fn named_peers(link: &str) -> Vec<SocketAddr> {
    let query = link.split_once('?').map_or("", |(_, q)| q);
    let value = |p: &str| p.strip_prefix("x.pe=").map(|v| v.replace("%3A", ":").replace("%3a", ":"));
    query.split('&').filter_map(value).filter_map(|v| v.parse().ok()).take(50).collect()
}

/// Which file of a torrent is the image.
fn choose(files: &[(PathBuf, u64)], pattern: Option<&str>) -> Result<usize> {
    let name = |f: &(PathBuf, u64)| f.0.display().to_string();
    let list = || files.iter().take(20).map(name).map(|n| shown(&n)).collect::<Vec<_>>().join(", ");
    let fits = |f: &(PathBuf, u64)| match pattern {
        Some(pattern) => {
            let base = f.0.file_name().unwrap_or_default().to_string_lossy();
            glob::fits(pattern, &base) || glob::fits(pattern, &name(f))
        }
        None => name(f).to_ascii_lowercase().ends_with(".iso"),
    };
    let found: Vec<usize> = (0..files.len()).filter(|n| fits(&files[*n])).collect();
    match (found.as_slice(), pattern, files) {
        ([one], ..) => Ok(*one),
        ([], None, [_]) => Ok(0),
        ([], None, _) => {
            bail!("no file of the torrent is an ISO: name one with --file; there are: {}", list())
        }
        ([], Some(p), _) => bail!("no file of the torrent is called '{}': there are: {}", shown(p), list()),
        _ => {
            bail!("several files of the torrent could be meant: name one with --file; there are: {}", list())
        }
    }
}

fn shown(text: &str) -> String {
    bootspec::text::printable(text, 120)
}

/// The infohash of a magnet link, where it is one that we know.
pub fn magnet_hash(link: &str) -> Option<String> {
    Magnet::parse(link).ok()?.as_id20().map(|id: Id20| id.as_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_chosen() {
        let files = |names: &[&str]| names.iter().map(|n| (PathBuf::from(n), 1)).collect::<Vec<_>>();
        for (names, pattern, want) in [
            (&["x.squashfs"][..], None, Ok(0)),
            (&["README", "d/x.ISO", "x.iso.sig"], None, Ok(1)),
            (&["a.iso", "b.iso"], Some("b.iso"), Ok(1)),
            (&["d/a.iso", "e/a.iso"], Some("e/*"), Ok(1)),
            (
                &["a", "b"],
                None,
                Err("no file of the torrent is an ISO: name one with --file; there are: a, b"),
            ),
            (&["a\x1b", "b"], Some("c"), Err("no file of the torrent is called 'c': there are: a, b")),
            (
                &["a.iso", "b.iso"],
                None,
                Err(
                    "several files of the torrent could be meant: name one with --file; there are: a.iso, b.iso",
                ),
            ),
        ] {
            let got = choose(&files(names), pattern).map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{names:?}");
        }
    }

    #[test]
    fn magnet_links_name_peers() {
        let link = "magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&x.pe=10.0.0.1:5&x.pe=10.0.0.2%3A6&x.pe=bad";
        assert_eq!(named_peers(link), ["10.0.0.1:5".parse().unwrap(), "10.0.0.2:6".parse().unwrap()]);
        assert_eq!(magnet_hash(link), Some("a".repeat(40)));
        assert_eq!(magnet_hash("magnet:?x"), None);
    }
}
