// SPDX-License-Identifier: GPL-3.0-or-later
//! A server that stops in the middle, and guests that ask for nothing. What is given of a real server:
//! server/tests/node.rs.

use super::*;
use std::net::SocketAddr;

/// Serves each connection the next of these answers.
async fn origin(answers: &'static [&'static str]) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = read(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

async fn giving(server: Url) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    tokio::spawn(serve(listener, Cache::new(server, client, 1 << 20)));
    at
}

async fn get(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"GET /images/lab/own HTTP/1.1\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    text.split_once("\r\n\r\n").map_or(text.clone(), |(_, body)| body.to_owned())
}

#[tokio::test]
async fn half_a_file_is_fetched_again() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhalf";
    const ALL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nall of i";
    const ENDLESS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let at = giving(origin(&[HALF, ENDLESS, ALL]).await).await;
    assert_eq!(get(at).await, "half", "less than its length: the boot loader knows");
    assert_eq!(get(at).await, "the server: it has no length\n");
    assert_eq!(get(at).await, "all of i");
    assert_eq!(get(at).await, "all of i", "and kept");
}

#[tokio::test]
async fn one_guest_keeps_no_others_out() {
    let guests = Arc::new(Guests::default());
    let of = |ip: &str| Guest::of(&guests, ip.parse().unwrap());
    let mut many: Vec<Guest> = (0..EACH).map(|_| of("10.0.0.1").unwrap()).collect();
    assert!(of("10.0.0.1").is_none() && of("10.0.0.2").is_some());
    many.pop();
    assert!(of("10.0.0.1").is_some());
    many.clear();
    assert!(guests.lock().unwrap().is_empty(), "nobody is remembered");
}
