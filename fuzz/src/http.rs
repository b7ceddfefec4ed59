// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole requests, to the routes that anybody on the network can ask.

use crate::shape;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::connect_info::MockConnectInfo,
    http::{Method, Request, header},
};
use bootspec::ImageManifest;
use boottorrent_server::{
    catalogue::{Catalogue, torrent_name},
    config::Config,
    http::{Ends, Over, router},
    library,
    state::ServerState,
};
use std::{
    fs,
    sync::{Arc, LazyLock},
};
use swarm::{CreateOptions, create, sums::Sums};
use tempfile::TempDir;
use tower::ServiceExt;

/// The payload's size.
const SIZE: u64 = 40_000;
/// Nothing that is answered to one request is longer.
const MAX_ANSWER: usize = 1 << 20;

/// A server with one image, `lab`, that listens nowhere.
struct World {
    state: Arc<ServerState>,
    router: Router,
    runtime: tokio::runtime::Runtime,
    dir: TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let catalogue = Catalogue::at(dir.path());
    let payload: Vec<u8> = (0..SIZE).map(|n| ((n * n) >> 3) as u8).collect();
    let options = CreateOptions { name: "lab".into(), private: false, piece_length: Some(16 << 10) };
    let torrent = create(&mut &payload[..], SIZE, &options, &mut |_| ()).expect("a torrent");
    let manifest = ImageManifest {
        infohash: torrent.infohash(),
        size: SIZE,
        piece_length: torrent.piece_length(),
        ..shape::image("lab")
    };
    let folder = catalogue.dir(&manifest.name);
    fs::create_dir_all(&folder).expect("a folder");
    let sums = Sums::make(&mut &payload[..], manifest.infohash, SIZE).expect("sums");
    for (name, bytes) in [
        ("manifest.toml", toml::to_string(&manifest).expect("TOML").as_bytes()),
        ("payload", &payload),
        ("vmlinuz", b"the kernel"),
        ("initrd", b"the initrd"),
        ("sums", &sums.to_bytes()),
        (&torrent_name(&manifest.name), torrent.bytes()),
    ] {
        fs::write(folder.join(name), bytes).expect("a file");
    }
    let mut config = Config::default();
    config.catalogue.dir = dir.path().to_owned();
    config.boot.agent = dir.path().join("agent");
    let state = Arc::new(ServerState::new(config, 6981, None));
    let loaded = library::load(&catalogue, &state.library()).expect("a catalogue");
    assert_eq!(loaded.broken, Vec::<String>::new());
    state.set_library(loaded.library);
    let at = |a: &str| a.parse().expect("an address");
    let ends = Ends { remote: at("10.0.0.9:5"), local: at("10.0.0.1:6980"), plain: None, user: None };
    let router = router(state.clone(), Over::Tcp).layer(MockConnectInfo(ends));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    World { state, router, runtime, dir }
});

/// A request as it is on the wire, without its version: `GET /path`, headers, an empty line, a body.
fn parse(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(2).position(|w| w == b"\n\n").unwrap_or(data.len());
    let (head, body) = (&data[..end], data.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|b| *b == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, uri) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines.take(32) {
        let colon = line.iter().position(|b| *b == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// Whatever is asked: an answer of ours, nothing that is not ours to give, and nothing changed.
pub fn request(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    let world = &*WORLD;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // It has no end.
    let endless = path == "/api/v1/events";
    let (head, body) = world.runtime.block_on(async {
        let answer = world.router.clone().oneshot(request).await.unwrap_or_else(|e| match e {});
        let (head, body) = answer.into_parts();
        let body =
            if endless { Default::default() } else { to_bytes(body, MAX_ANSWER).await.expect("an answer") };
        (head, body)
    });
    let status = head.status.as_u16();
    assert!(status < 500 || status == 503, "{method} {path}: {status}");
    assert!(!head.headers.keys().any(|h| h.as_str().starts_with("access-control-")), "CORS is off");
    let reads = method == Method::GET || method == Method::HEAD;
    assert!(
        reads || status >= 400 || path == "/api/v1/heartbeat" && status == 204,
        "{method} {path}: {status}"
    );
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if status >= 400 && kind.starts_with("text/plain") {
        let text = std::str::from_utf8(&body).expect("a sentence");
        shape::one_line(text.trim_end_matches('\n'));
    } else if kind == "application/json" && status == 200 {
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
    } else if path == "/boot.ipxe" && status == 200 && reads {
        shape::quiet(std::str::from_utf8(&body).expect("a script"));
    }
    assert!(world.state.hosts().entries.is_empty() && world.state.library().len() == 1);
    assert!(!world.dir.path().join("hosts.toml").exists());
}
