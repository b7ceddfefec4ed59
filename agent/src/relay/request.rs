// SPDX-License-Identifier: GPL-3.0-or-later
//! What a boot loader asks for: the first line of a request (RFC 9112), and nothing else of it. No I/O.

use bootspec::ImageName;

/// The most bytes of a request, with all its fields.
pub const MAX_REQUEST: usize = 4096;
/// What a boot needs before the swarm.
const FILES: [&str; 4] = ["vmlinuz", "initrd", "own", "addon"];

/// A file of phase one.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query, without the slash in front: what the server is asked for.
    pub target: String,
    /// Whether only the size is wanted.
    pub head: bool,
}

/// Read a request. Errors: the status, and a sentence.
pub fn parse(bytes: &[u8]) -> Result<Request, (u16, &'static str)> {
    let line = bytes.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|_| (400, "this is not HTTP"))?;
    let [method, target, version] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err((400, "this is not HTTP"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err((400, "this is not HTTP/1"));
    }
    if !["GET", "HEAD"].contains(&method) {
        return Err((405, "files are only read here"));
    }
    match is_phase_one(target) {
        true => Ok(Request { target: target[1..].to_owned(), head: method == "HEAD" }),
        false => Err((404, "only kernels and initrds are here")),
    }
}

/// `/images/NAME/FILE?QUERY`.
fn is_phase_one(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let ["", "images", name, file] = parts[..] else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"&=-_.:,%".contains(&b);
    name.parse::<ImageName>().is_ok() && FILES.contains(&file) && query.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_initrds_and_nothing_else() {
        let get = |target: &str| parse(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        for good in ["images/lab/vmlinuz", "images/lab/own?infohash=12&card=0280868086100e:1"] {
            assert_eq!(get(&format!("/{good}")), Ok(Request { target: good.into(), head: false }));
        }
        for bad in [
            "/",
            "/images/lab/payload",
            "/images/lab/../vmlinuz",
            "/images//vmlinuz",
            "/images/LAB!/vmlinuz",
            "//images/lab/vmlinuz",
            "http://10.0.0.1/images/lab/vmlinuz",
            "images/lab/vmlinuz",
            "/images/lab/own?a=<b>",
            "/api/v1/clients",
        ] {
            assert_eq!(get(bad).unwrap_err().0, 404, "{bad}");
        }
        let of = |text: &str| parse(text.as_bytes()).map(|r| r.head).map_err(|e| e.0);
        assert_eq!(of("HEAD /images/lab/own HTTP/1.0\r\n\r\n"), Ok(true));
        assert_eq!(of("POST /images/lab/own HTTP/1.1\r\n\r\n"), Err(405));
        for bad in ["", "GET", "GET /images/lab/own", "GET /images/lab/own HTTP/2", "\u{e9}"] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1").unwrap_err().0, 400);
    }
}
