// SPDX-License-Identifier: GPL-3.0-or-later
//! A boot loader proves a password of the menu, by HTTP Digest (RFC 7616; MD5, for iPXE knows no other): nothing of it is
//! in a script, on the network, or on the machine afterwards.

use super::answer::sentence;
use crate::{
    menu_users::{DigestProof, REALM},
    state::ServerState,
};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// How long a nonce may be answered to.
const FRESH: Duration = Duration::from_secs(60);
/// How long an answer to a wrong password takes. A host has few connections, so it cannot try many.
const WRONG: Duration = Duration::from_secs(2);

/// What is said in `Authorization: Digest …`. None: it is something else.
fn parse(header: &str) -> Option<DigestProof<'_>> {
    let mut fields = HashMap::new();
    let mut rest = header.strip_prefix("Digest ")?;
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let value;
        (value, rest) = match after.strip_prefix('"') {
            // Nothing that counts here has a quote in it.
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        rest = rest.trim_start().trim_start_matches(',');
        fields.insert(name.trim(), value.trim());
    }
    let of = |name: &str| fields.get(name).copied();
    let same = |name: &str, want: &str| of(name).is_none_or(|value| value == want);
    (same("realm", REALM) && same("algorithm", "MD5") && of("qop") == Some("auth")).then_some(())?;
    Some(DigestProof {
        user: of("username")?,
        uri: of("uri")?,
        nonce: of("nonce")?,
        count: of("nc")?,
        cnonce: of("cnonce")?,
        response: of("response")?,
    })
}

/// Whether this request proves a password. Errors: what is answered instead.
pub async fn proven(
    state: &ServerState,
    headers: &HeaderMap,
    uri: &Uri,
    from: IpAddr,
) -> Result<(), Response> {
    let given = headers.get(header::AUTHORIZATION).map(|v| v.to_str().unwrap_or_default());
    let proof = given.and_then(parse);
    let asked = uri.path_and_query().map(|p| p.as_str());
    let counts = |p: &&DigestProof| Some(p.uri) == asked && state.tickets.is_fresh(p.nonce, FRESH);
    match proof.as_ref().filter(counts) {
        Some(proof) if state.menu_users().proves(proof) => {
            tracing::info!("{from}: '{}' has unlocked the menu", bootspec::text::printable(proof.user, 40));
            return Ok(());
        }
        Some(proof) => {
            tracing::warn!("{from}: a wrong password for '{}'", bootspec::text::printable(proof.user, 40));
            tokio::time::sleep(WRONG).await;
        }
        None => {}
    }
    let mut refused =
        sentence(StatusCode::UNAUTHORIZED, "this item of the menu needs a user name and a password");
    let challenge =
        format!("Digest realm=\"{REALM}\", nonce=\"{}\", qop=\"auth\", algorithm=MD5", state.tickets.nonce());
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As iPXE sends it.
    #[test]
    fn what_ipxe_sends() {
        let header = "Digest realm=\"BootTorrent\", nonce=\"abcd\", uri=\"/boot.ipxe?mac=52%3A54&image=%3Ashell\", \
            username=\"bob\", qop=auth, algorithm=MD5, cnonce=\"59f38c80\", nc=00000001, response=\"7ccd\"";
        let proof = DigestProof {
            user: "bob",
            uri: "/boot.ipxe?mac=52%3A54&image=%3Ashell",
            nonce: "abcd",
            count: "00000001",
            cnonce: "59f38c80",
            response: "7ccd",
        };
        assert_eq!(parse(header), Some(proof));
        for wrong in [
            "",
            "Digest ",
            "Digest x",
            "Digest username=\"bob",
            "Basic Ym9iOng=",
            &header.replace("MD5", "SHA-256"),
            &header.replace("qop=auth", "qop=auth-int"),
            &header.replace("\"BootTorrent\"", "\"other\""),
            &header.replace("nonce=\"abcd\", ", ""),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
