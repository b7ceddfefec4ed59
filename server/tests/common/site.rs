// SPDX-License-Identifier: GPL-3.0-or-later
//! A web server with bad manners, and the tracker of a test torrent.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What a path answers.
#[derive(Clone, Default)]
pub struct Page {
    pub body: Vec<u8>,
    pub kind: &'static str,
    /// How many answers are cut off in their middle.
    pub cut: usize,
    /// How many answers are a 503 first.
    pub busy: usize,
    /// Told to be longer than it is.
    pub claims: Option<u64>,
    /// No ranges, no ETag, no length.
    pub simple: bool,
    /// Answers a range of whatever is there now, whatever If-Range says.
    pub careless: bool,
    /// Answers with the part that was asked for, and calls it 200.
    pub miscalled: bool,
    /// Its ETag, if it is none made of its body; every mirror has its own.
    pub tag: Option<String>,
    /// Last-Modified.
    pub date: Option<String>,
    /// Sends each request to the next of these.
    pub mirrors: Vec<String>,
    pub encoding: Option<&'static str>,
}

/// A running web server.
pub struct Site {
    pub address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub fn start() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Arc::<Mutex<HashMap<String, Page>>>::default();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (p, a) = (pages.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (p, a) = (p.clone(), a.clone());
                // A client that leaves is no matter.
                std::thread::spawn(move || drop(answer(stream, &p, &a)));
            }
        });
        Site { address, pages, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) {
        self.page(path, Page { body: body.as_ref().into(), ..Page::default() });
    }

    pub fn page(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// What was asked for since the last time: `METHOD path range`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(
    stream: TcpStream,
    pages: &Mutex<HashMap<String, Page>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let (mut first, mut range, mut same) = (String::new(), None, true);
    reader.read_line(&mut first)?;
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.trim_start_matches('/').split('?').next().unwrap_or_default().to_owned();
    let page = {
        let mut pages = pages.lock().unwrap();
        match pages.get_mut(&path) {
            None => None,
            Some(page) => {
                let now = page.clone();
                // An answer that is only looked at is not counted.
                if method == "GET" && page.busy > 0 {
                    page.busy -= 1;
                } else if method == "GET" {
                    page.cut = page.cut.saturating_sub(1);
                }
                if method == "GET" && !page.mirrors.is_empty() {
                    page.mirrors.rotate_left(1);
                }
                Some(now)
            }
        }
    };
    for line in &head {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "range" => {
                range =
                    value.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse::<usize>().ok())
            }
            "if-range" => {
                let fits = |p: &Page| value == etag(p) || Some(value) == p.date.as_deref();
                same = page.as_ref().is_some_and(|p| p.careless || fits(p))
            }
            _ => {}
        }
    }
    let shown = range.map(|r| format!(" {r}-")).unwrap_or_default();
    asked.lock().unwrap().push(format!("{method} {path}{shown}"));
    let Some(page) = page else {
        return write!(out, "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    };
    if page.busy > 0 {
        return write!(
            out,
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
    }
    if let Some(mirror) = page.mirrors.first() {
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nlocation: {mirror}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
    }
    let total = page.claims.unwrap_or(page.body.len() as u64);
    let from = range.filter(|_| same && !page.simple).unwrap_or(0).min(page.body.len());
    let kind = if page.kind.is_empty() { "application/octet-stream" } else { page.kind };
    let mut text = format!("content-type: {kind}\r\nconnection: close\r\n");
    if !page.simple {
        text += &format!("etag: {}\r\ncontent-length: {}\r\n", etag(&page), total - from as u64);
    }
    if let Some(date) = &page.date {
        text += &format!("last-modified: {date}\r\n");
    }
    if let Some(encoding) = page.encoding {
        text += &format!("content-encoding: {encoding}\r\n");
    }
    match from {
        0 => write!(out, "HTTP/1.1 200 OK\r\n{text}\r\n")?,
        _ if page.miscalled => {
            write!(out, "HTTP/1.1 200 OK\r\n{text}content-range: bytes {from}-{}/{total}\r\n\r\n", total - 1)?
        }
        _ => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\n{text}content-range: bytes {from}-{}/{total}\r\n\r\n",
            total - 1
        )?,
    }
    if method == "HEAD" {
        return Ok(());
    }
    let rest = &page.body[from..];
    let end = if page.cut > 0 { rest.len() / 2 } else { rest.len() };
    out.write_all(&rest[..end])
}

fn etag(page: &Page) -> String {
    if let Some(tag) = &page.tag {
        return tag.clone();
    }
    let sum = page.body.iter().fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(*b)));
    format!("\"{sum:x}\"")
}
