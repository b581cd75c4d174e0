//! Connections that leave HTTP: 101, CONNECT, and a WebSocket over one.

use futures_util::{SinkExt as _, StreamExt as _};
use keepwarm::{Client, CloseReason};
use keepwarm_testkit::scripted::{Stage, ok, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{done, only};

#[tokio::test]
async fn upgraded_stream_has_early_bytes_first() {
    let stage = Stage::open().await;
    let client = Client::builder().max_connections_per_origin(1).build().expect("a client");
    let request = client.get(stage.url("/echo"));
    let request = request.header("connection", "keep-alive, Upgrade").header("upgrade", "echo");
    let task = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    let asked = peer.request().await;
    assert_eq!(asked.field("upgrade"), Some("echo"));
    peer.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\nearly").await;
    let response = done(task).await.expect("a response");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "echo");
    let mut stream = response.upgrade().expect("a stream");
    let mut early = [0; 5];
    within("bytes", stream.read_exact(&mut early)).await.expect("bytes");
    assert_eq!(&early, b"early");
    stream.write_all(b"hello").await.expect("written");
    peer.write(" late").await;
    let mut late = [0; 5];
    within("bytes", stream.read_exact(&mut late)).await.expect("bytes");
    assert_eq!(peer.arrived().await, b"hello");
    assert_eq!(only(&client).active, 1, "it counts until it is dropped");
    drop(stream);
    let stats = only(&client);
    assert_eq!((stats.active, stats.idle), (0, 0));
    assert_eq!(stats.closed_for(CloseReason::NotPersistent), 1, "{stats:?}");
    within("the end", peer.ended()).await;
}

#[tokio::test]
async fn other_answers_are_no_upgrade() {
    let stage = Stage::open().await;
    let client = Client::new();
    let upgrading = || {
        let request = client.get(stage.url("/"));
        tokio::spawn(request.header("connection", "upgrade").header("upgrade", "echo").send())
    };
    let task = upgrading();
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(ok("not today")).await;
    let response = done(task).await.expect("a response");
    let error = response.upgrade().expect_err("a 200");
    assert!(error.is_invalid() && error.to_string().contains("200"), "{error}");
    // Asked for by none.
    let task = tokio::spawn(client.get(stage.url("/")).send());
    peer.request().await;
    peer.write("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let error = done(task).await.expect_err("not asked for");
    assert!(error.to_string().contains("did not ask"), "{error}");
}

#[tokio::test]
async fn connect_hands_over_a_tunnel() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = client.request(http::Method::CONNECT, stage.origin());
    let task = tokio::spawn(request.header("host", "inner.test:443").send());
    let mut peer = stage.accept().await;
    let asked = peer.request().await;
    assert_eq!((asked.method(), asked.target()), ("CONNECT", "inner.test:443"));
    peer.write("HTTP/1.1 200 Established\r\nContent-Length: 7\r\n\r\n").await;
    let mut stream = done(task).await.expect("a response").upgrade().expect("a stream");
    stream.write_all(b"hello").await.expect("written");
    assert_eq!(peer.arrived().await, b"hello");
    // A refusal is a response as any other.
    let task = tokio::spawn(client.request(http::Method::CONNECT, stage.origin()).send());
    let mut peer = stage.accept().await;
    assert_eq!(peer.request().await.target(), stage.origin().replace("http://", ""));
    peer.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let refused = done(task).await.expect("a response");
    assert_eq!(refused.text().await.expect("a body"), "no");
}

#[tokio::test]
async fn websocket_library_speaks_over_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
        let message = next(&mut socket).await;
        send(&mut socket, Message::text(format!("heard: {message}"))).await;
    });
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let request = Client::new().get(format!("http://{address}/"));
    let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
    let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", key);
    let response = within("a response", request.send()).await.expect("a response");
    assert_eq!(response.headers()["sec-websocket-accept"], derive_accept_key(key.as_bytes()));
    let stream = response.upgrade().expect("a stream");
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    send(&mut socket, Message::text("hello")).await;
    assert_eq!(next(&mut socket).await, "heard: hello");
    done(server).await;
}

async fn next<S>(socket: &mut WebSocketStream<S>) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    within("a message", socket.next()).await.expect("a message").expect("a message").to_string()
}

async fn send<S>(socket: &mut WebSocketStream<S>, message: Message)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    within("sent", socket.send(message)).await.expect("sent");
}
