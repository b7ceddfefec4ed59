// SPDX-License-Identifier: GPL-3.0-or-later
//! What is looked at before a request is: by which name it came, and from whose page. A name that somebody else can
//! point at us (DNS rebinding) is not one of ours, and a page of another site changes nothing.

use super::{
    answer::sentence,
    relay::GivenRelay,
    site::{Caller, SharedState},
};
use crate::{
    config::Listing,
    relay::{RelaysFile, here},
    token::{self, Verdict},
};
use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use bootspec::text::clean;
use std::{net::IpAddr, time::SystemTime};

/// Whether a `Host` header names this server. A browser comes by a name with dots only if somebody's DNS has it.
fn is_ours(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || names.iter().any(|n| n.eq_ignore_ascii_case(&name))
}

/// What a browser could read or change for another site's page. Boot loaders and agents ask for the rest, by whatever
/// name the admin gave us.
fn is_for_people(path: &str) -> bool {
    let asked_by_programs = path == "/api/v1/heartbeat" || path.starts_with("/api/v1/relay/");
    path == "/" || path == "/metrics" || (path.starts_with("/api/") && !asked_by_programs)
}

/// Whether a page of another site sends this.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let other = |origin: &str| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !rest.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    text("origin").is_some_and(other)
        || text("sec-fetch-site").is_some_and(|s| !matches!(s, "same-origin" | "none"))
}

/// Refuse what comes by another's name, or changes something for another's page.
pub async fn guard(state: SharedState, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).map(|h| h.to_str().unwrap_or("?"));
    if let Some(host) = host.filter(|h| {
        is_for_people(request.uri().path())
            && !(is_ours(h, &state.names) || is_ours(h, &state.config().serve.names))
    }) {
        let host = clean(host, &[]).chars().take(100).collect::<String>();
        return sentence(
            StatusCode::MISDIRECTED_REQUEST,
            format_args!(
                "this server is not called '{host}': use its address, or put the name into names = [\"…\"] in [serve] of server.toml"
            ),
        );
    }
    let asks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !asks && is_foreign(headers) {
        return sentence(StatusCode::FORBIDDEN, "pages of other sites change nothing here");
    }
    next.run(request).await
}

/// The token that a request came with.
#[derive(Clone, Debug)]
pub struct GivenToken {
    /// Its name.
    pub name: String,
    /// Whether it changes nothing.
    pub read_only: bool,
}

/// Nothing of a request that changes something is looked at before its token. One that only asks may be read-only.
pub async fn with_token(state: SharedState, ends: Caller, request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET;
    judged(&state, ends, request, next, reads).await
}

/// What a request may do that came with a token. `reads`: it changes nothing.
async fn judged(
    state: &SharedState,
    ConnectInfo(ends): Caller,
    mut request: Request,
    next: Next,
    reads: bool,
) -> Response {
    let header = |r: &Request| r.headers().get(header::AUTHORIZATION)?.to_str().ok().map(str::to_owned);
    let (dir, given) = (state.config().catalogue.dir.clone(), header(&request));
    let judged =
        tokio::task::spawn_blocking(move || token::judge(&dir, given.as_deref(), SystemTime::now())).await;
    match judged.unwrap_or(Verdict::Wrong) {
        Verdict::Right { .. } if ends.plain.is_none() && !ends.remote.ip().is_loopback() => sentence(
            StatusCode::FORBIDDEN,
            "a token is not taken over plain HTTP, where everybody on the way can read it: use https (tls-cert and tls-key in \
             [serve] of server.toml) or an ssh tunnel, and make a new token",
        ),
        Verdict::Right { name, read_only: true } if !reads => sentence(
            StatusCode::FORBIDDEN,
            format_args!("token '{name}' may only read: make one without --read-only to change things"),
        ),
        Verdict::Right { name, read_only } => {
            request.extensions_mut().insert(GivenToken { name, read_only });
            next.run(request).await
        }
        Verdict::None => sentence(
            StatusCode::FORBIDDEN,
            "this port only answers questions: change things on the server itself, with `boottorrent` (it uses the local socket)",
        ),
        Verdict::Expired(name, at) => unauthorized(&format!(
            "token '{name}' has expired ({at}): make a new one with `boottorrent token new {name}`"
        )),
        Verdict::Wrong => unauthorized(
            "the token is missing or wrong: send the header `Authorization: Bearer TOKEN` with the one that \
             `boottorrent token new` has printed on the server",
        ),
    }
}

/// A relay changes nothing: it has what the first server has.
pub async fn first_server(state: SharedState, request: Request, next: Next) -> Response {
    match &state.here {
        Some(here) if request.method() != Method::GET => {
            sentence(StatusCode::CONFLICT, here::refusal(here.url.as_str()))
        }
        _ => next.run(request).await,
    }
}

/// Nothing of a request that is for relays is looked at before their token.
pub async fn relay(
    state: SharedState,
    ConnectInfo(ends): Caller,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(here) = &state.here {
        let url = &here.url;
        return sentence(
            StatusCode::CONFLICT,
            format_args!("this server is itself a relay, of {url}: give that address as url in [upstream]"),
        );
    }
    let header = |r: &Request| r.headers().get(header::AUTHORIZATION)?.to_str().ok().map(str::to_owned);
    let (file, given) = (RelaysFile::at(&state.config().catalogue.dir), header(&request));
    let judged = tokio::task::spawn_blocking(move || file.judge(given.as_deref())).await;
    match judged.ok().flatten() {
        Some(_) if ends.user.is_none() && ends.plain.is_none() && !ends.remote.ip().is_loopback() => {
            sentence(
                StatusCode::FORBIDDEN,
                "a relay's token is not taken over plain HTTP, where everybody on the way can read it: use https, and make a new \
             one with `boottorrent relay add`",
            )
        }
        Some(name) => {
            request.extensions_mut().insert(GivenRelay(name));
            next.run(request).await
        }
        None => unauthorized(
            "this is not the token of a relay of this server: make one with `boottorrent relay add NAME` there, and put it \
             into token-file of [upstream] on the relay",
        ),
    }
}

fn unauthorized(text: &str) -> Response {
    let mut refusal = sentence(StatusCode::UNAUTHORIZED, text);
    let bearer = header::HeaderValue::from_static("Bearer");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    refusal
}

/// Who may read the list of machines is the admin's choice.
pub async fn listing(state: SharedState, ends: Caller, request: Request, next: Next) -> Response {
    match state.config().serve.machines {
        Listing::Open => next.run(request).await,
        Listing::Token => judged(&state, ends, request, next, true).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_and_of_others() {
        let names = ["boot.lab".to_owned()];
        for ours in [
            "10.0.0.1",
            "10.0.0.1:6980",
            "[fd00::1]:6980",
            "localhost:1",
            "x.localhost",
            "server",
            "Boot.Lab:6980",
            "boot.lab.",
        ] {
            assert!(is_ours(ours, &names), "{ours}");
        }
        for other in [
            "evil.example",
            "boot.lab.evil.example",
            "10.0.0.1.evil.example:6980",
            "",
            "a b",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_ours(other, &names), "{other}");
        }
        let headers = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "10.0.0.1:6980".parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            is_foreign(&headers)
        };
        assert!(!headers("origin", "http://10.0.0.1:6980") && !headers("sec-fetch-site", "same-origin"));
        assert!(
            headers("origin", "http://evil.example")
                && headers("origin", "null")
                && headers("sec-fetch-site", "cross-site")
        );
    }
}
