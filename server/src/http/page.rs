// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /`: the page for a browser. One file, put together from those in `page/`, and what it may do is said in its
//! policy: its own style and script, and to ask this server; nothing else, wherever it comes from.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/text.js"),
    include_str!("page/server.js"),
    include_str!("page/machines.js"),
    include_str!("page/images.js"),
    include_str!("page/orders.js"),
    include_str!("page/dialogs.js"),
    include_str!("page/start.js"),
);

/// The page.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let html = include_str!("page/page.html");
    html.replacen("<style></style>", &format!("<style>\n{STYLE}</style>"), 1).replacen(
        "<script></script>",
        &format!("<script>\n{SCRIPT}</script>"),
        1,
    )
});

/// The policy (Content-Security-Policy, CSP level 2).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| base64(&Sha256::digest(inside(&PAGE, tag).unwrap_or_default()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
});

pub async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new version of the server has a new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE.as_str()).into_response()
}

/// What stands between a tag and its end.
fn inside<'a>(html: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let chunk = |c: &[u8]| {
        let n = c.iter().chain([0, 0].iter()).take(3).fold(0u32, |n, b| (n << 8) | u32::from(*b));
        let digit = move |i: usize| match i <= c.len() {
            true => DIGITS[(n >> (18 - 6 * i)) as usize & 63] as char,
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    /// One style and one script, nothing from elsewhere, and nothing that turns text into markup.
    #[test]
    fn the_page_keeps_to_its_policy() {
        for tag in ["style", "script"] {
            assert!(inside(&PAGE, tag).is_some_and(|t| !t.is_empty()));
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1);
        }
        for bad in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "http://",
            "https://",
            " style=",
            " onclick=",
        ] {
            assert!(!PAGE.contains(bad), "{bad}");
        }
        assert!(POLICY.contains("script-src 'sha256-"));
    }
}
