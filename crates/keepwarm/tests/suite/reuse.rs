//! When a connection carries another exchange, when it does not, and what is known of it.

use std::time::Duration;

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason, Closer};
use keepwarm_testkit::scripted::{Peer, Server, Stage, eventually, ok, within};

use crate::support::{audit, done, exchange, fetch, get, only};

#[tokio::test]
async fn sequential_requests_share_one_connection() {
    let server = Server::saying("hello");
    let client = Client::new();
    for _ in 0..50 {
        assert_eq!(exchange(&client, &server.url("/")).await, "hello");
    }
    assert_eq!((server.accepted(), server.requests()), (1, 50));
    let stats = only(&client);
    assert_eq!((stats.opened, stats.idle, stats.active), (1, 1, 0));
    assert_eq!((stats.checkouts, stats.reused, stats.closed()), (50, 49, 0));
}

/// Sends `method`, answers with `parts` one write each, and checks the pool at the very moment the
/// reader has the end of the body in hand: nothing is awaited between the two.
async fn is_idle_at_the_end_of(method: &str, parts: &[&str]) {
    let stage = Stage::open().await;
    let client = Client::new();
    let method = method.parse().expect("a method");
    let request = tokio::spawn(client.request(method, stage.url("/")).send());
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(parts[0]).await;
    let response = done(request).await;
    let mut body = response.expect("a response").into_http().into_body();
    for part in &parts[1..] {
        assert_eq!(only(&client).active, 1, "before {part:?}");
        peer.write(part).await;
        body.frame().await.expect("a frame").expect("a good one");
    }
    within("the end", async {
        while let Some(frame) = body.frame().await {
            frame.expect("a frame");
        }
    })
    .await;
    let stats = only(&client);
    assert_eq!((stats.idle, stats.active), (1, 0), "{parts:?}");

    // And it is fit for use.
    let next = fetch(&client, &stage.url("/next"));
    peer.serve("next").await;
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_eq!(only(&client).opened, 1);
}

#[tokio::test]
async fn sized_body_idles_before_its_end() {
    is_idle_at_the_end_of("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    is_idle_at_the_end_of("GET", &[head, "o", "k"]).await;
}

#[tokio::test]
async fn chunked_body_idles_before_its_end() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    is_idle_at_the_end_of("GET", &[&format!("{head}2\r\nok\r\n0\r\n\r\n")]).await;
    is_idle_at_the_end_of("GET", &[head, "2\r\nok\r\n", "2\r\nok\r\n0\r\n\r\n"]).await;
}

#[tokio::test]
async fn trailers_idle_before_their_end() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: sum\r\n\r\n";
    let rest = "2\r\nok\r\n0\r\nsum: 1\r\n\r\n";
    is_idle_at_the_end_of("GET", &[&format!("{head}{rest}")]).await;
    is_idle_at_the_end_of("GET", &[head, rest]).await;
}

#[tokio::test]
async fn empty_response_idles_before_its_head() {
    is_idle_at_the_end_of("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    is_idle_at_the_end_of("GET", &["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    is_idle_at_the_end_of("GET", &["HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"]).await;
    is_idle_at_the_end_of("HEAD", &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]).await;
}

#[tokio::test]
async fn unread_empty_body_holds_no_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    let unread = done(request).await.expect("a response");
    assert_eq!(only(&client).idle, 1, "{unread:?}");
}

#[tokio::test]
async fn last_sized_frame_is_the_end() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("hello").await;
    let mut response = done(request).await.expect("a response");
    let frame = response.body_mut().frame().await.expect("a frame");
    assert_eq!(frame.expect("good").into_data().expect("data"), "hello");
    assert_eq!(only(&client).idle, 1, "nobody needs to ask for the end");
}

/// If the end has arrived with it.
#[tokio::test]
async fn last_chunk_may_be_the_end() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    let mut response = done(request).await.expect("a response");
    let frame = response.body_mut().frame().await.expect("a frame");
    assert_eq!(frame.expect("good").into_data().expect("data"), "hello");
    assert_eq!(only(&client).idle, 1, "nobody needs to ask for the end");
}

/// One exchange after which the connection has to end.
async fn is_not_kept_after(request: &[(&str, &str)], response: &str, closes: bool, by: Closer) {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut builder = client.get(stage.url("/"));
    for (name, value) in request {
        builder = builder.header(name, value);
    }
    let reply = tokio::spawn(async move { builder.send().await?.text().await });
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(response).await;
    if closes {
        peer.close();
    } else {
        peer.ended().await;
    }
    assert_eq!(done(reply).await.expect("a body"), "ok");
    let stats = only(&client);
    assert_eq!(stats.closes.len(), 1, "{response:?}: {stats:?}");
    assert_eq!(stats.closes[0].reason, CloseReason::NotPersistent, "{response:?}");
    assert_eq!(stats.closes[0].closer, by, "{response:?}");
    assert_eq!((stats.idle, stats.active), (0, 0));
}

/// Declared by either side.
#[tokio::test]
async fn declared_last_exchange_is_not_persistent() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    is_not_kept_after(&[], close, false, Closer::Client).await;
    let listed = "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok";
    is_not_kept_after(&[], listed, false, Closer::Client).await;
    is_not_kept_after(&[("connection", "close")], &ok("ok"), false, Closer::Client).await;
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    is_not_kept_after(&[], old, false, Closer::Client).await;
    let until_eof = "HTTP/1.1 200 OK\r\n\r\nok";
    is_not_kept_after(&[], until_eof, true, Closer::Server).await;
}

#[tokio::test]
async fn http_1_0_keep_alive_is_honoured() {
    let stage = Stage::open().await;
    let client = Client::new();
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(old).await;
    done(first).await.expect("a body");
    let second = fetch(&client, &stage.url("/"));
    peer.request().await;
    peer.write(old).await;
    done(second).await.expect("a body");
    assert_eq!(only(&client).opened, 1);
}

#[tokio::test]
async fn close_with_response_leaves_nothing_behind() {
    let stage = Stage::open().await;
    let client = Client::new();
    let reply = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("ok").await;
    peer.close();
    assert_eq!(done(reply).await.expect("a body"), "ok");
    eventually("the close", || only(&client).idle == 0).await;
    let stats = only(&client);
    assert_eq!(stats.closes.len(), 1);
    assert_eq!(stats.closes[0].reason, CloseReason::PeerClosedIdle);
    assert_eq!(stats.closes[0].closer, Closer::Server);
}

/// `count` connections, idle in the order in which they were made: the last one is the newest.
pub(crate) async fn idle_connections(client: &Client, stage: &Stage, count: usize) -> Vec<Peer> {
    let requests: Vec<_> = (0..count).map(|_| get(client, &stage.url("/"))).collect();
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = stage.accept().await;
        peer.request().await;
        peers.push(peer);
    }
    for (request, peer) in requests.into_iter().zip(&mut peers) {
        peer.write(ok("")).await;
        done(request).await.expect("a response");
    }
    peers
}

#[tokio::test]
async fn newest_idle_connection_is_used_first() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 3).await;
    assert_eq!(only(&client).idle, 3);
    for _ in 0..5 {
        let next = fetch(&client, &stage.url("/"));
        peers[2].serve("newest").await;
        assert_eq!(done(next).await.expect("a body"), "newest");
    }
    let stats = only(&client);
    assert_eq!((stats.opened, stats.reused, stats.idle), (3, 5, 3));
    audit(&stats);
}

#[tokio::test]
async fn response_describes_its_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let first = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("").await;
    let first = first.await.expect("no panic").expect("a response").connection();
    assert!(!first.reused());
    assert_eq!((first.exchanges_before(), first.idle_age()), (0, None));
    assert!(first.waited() > Duration::ZERO, "a dial takes time");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(7)).await;
    let second = get(&client, &stage.url("/"));
    tokio::task::yield_now().await;
    tokio::time::resume();
    peer.serve("").await;
    let second = second.await.expect("no panic").expect("a response").connection();
    assert_eq!(second.id(), first.id());
    assert!(second.reused());
    assert_eq!(second.exchanges_before(), 1);
    let age = second.idle_age().expect("it was idle");
    assert!((7.0..8.0).contains(&age.as_secs_f64()), "{age:?}");
    assert_eq!(second.waited(), Duration::ZERO, "it was there");

    let elsewhere = Client::new();
    let third = get(&elsewhere, &stage.url("/"));
    stage.accept().await.serve("").await;
    let third = third.await.expect("no panic").expect("a response").connection();
    assert_ne!(third.id(), first.id());
}

#[tokio::test]
async fn clones_share_one_pool() {
    let server = Server::saying("x");
    let client = Client::new();
    for clone in [client.clone(), client.clone(), client.clone()] {
        exchange(&clone, &server.url("/")).await;
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(only(&client).checkouts, 3);
}

#[tokio::test]
async fn spellings_of_a_name_share_a_pool() {
    let server = Server::saying("x");
    let client = Client::new();
    exchange(&client, &format!("http://localhost:{}/", server.port())).await;
    exchange(&client, &format!("HTTP://LocalHost:{}", server.port())).await;
    assert_eq!(server.accepted(), 1);
    let stats = only(&client);
    assert_eq!(stats.origin, format!("http://localhost:{}", server.port()));
}
