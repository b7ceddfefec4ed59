// SPDX-License-Identifier: GPL-3.0-or-later
//! The bodies of other people's requests and answers: read up to a limit.

use bytes::Bytes;
use http_body::Body;
use std::{future::poll_fn, pin::Pin};

/// All of a body. `None`: it has more than `limit` bytes; then up to `dropped` more are read and dropped, for whoever is
/// still sending would not read an answer.
pub async fn up_to<B>(mut body: B, limit: usize, dropped: usize) -> Result<Option<Vec<u8>>, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let chunk = frame?.into_data().unwrap_or_default();
        length += chunk.len();
        if length <= limit {
            bytes.extend_from_slice(&chunk);
        } else if length > limit + dropped {
            break;
        }
    }
    Ok((length <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn what_is_too_long_is_nothing() {
        for (limit, dropped, want) in [(6, 0, Some(&b"abcdef"[..])), (5, 0, None), (0, 1 << 20, None)] {
            let chunks = stream::iter(["ab", "cd", "ef"].map(Ok::<_, std::io::Error>));
            let body = axum::body::Body::from_stream(chunks);
            assert_eq!(up_to(body, limit, dropped).await.unwrap().as_deref(), want, "{limit}");
        }
    }
}
