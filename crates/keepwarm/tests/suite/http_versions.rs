//! HTTP/1.1 or HTTP/2, over TLS: how a client and a server agree, and what follows for the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use keepwarm::{Client, ClientBuilder, Stage};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::http2::{burst, say, text};

/// ALPN decides: a burst to a server of either protocol has no error, and no more connections than it
/// needs.
#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let authority = crate::tls::Authority::new();
    for (offered, version, connections) in [
        (&[&b"h2"[..], b"http/1.1"][..], http::Version::HTTP_2, 1),
        (&[b"http/1.1"], http::Version::HTTP_11, 5),
        (&[], http::Version::HTTP_11, 5),
    ] {
        let (url, accepted) = tls_server(&authority, offered).await;
        let trusting = || Client::builder().root_certificates(authority.certificate());
        // The first handshake reads the platform's roots: beyond 250 ms a second dial helps.
        let client = trusting().max_connections_per_origin(connections);
        let client = client.build().expect("a client");
        burst(&client, &url, 5).await;
        assert_eq!(accepted.load(Ordering::SeqCst), connections as usize, "{version:?}");
        let response = within("a response", client.get(&url).send()).await.expect("a response");
        assert_eq!(response.version(), version);
        drop(response);

        let http1 = trusting().http1_only().build().expect("a client");
        let response = within("a response", http1.get(&url).send()).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_11);
        drop(response);

        let http2 = trusting().http2_prior_knowledge().build().expect("a client");
        let sent = within("an answer", http2.get(&url).send()).await;
        match sent {
            Ok(response) => assert_eq!(response.version(), version),
            // A server that has no protocol in common ends the handshake, or chooses none.
            Err(error) => {
                assert!(version == http::Version::HTTP_11, "{error:?}");
                assert!(error.is_not_http2(), "{error:?}");
                assert_eq!((error.stage(), error.bytes_written()), (Stage::Tls, None), "{error:?}");
                assert!(error.to_string().contains("http2_prior_knowledge"), "{error}");
            }
        }
    }
}

/// HTTP/2 knows no upgrade: a request that asks for one goes by HTTP/1.1, and the others go on by HTTP/2.
#[tokio::test]
async fn upgrades_go_by_http1() {
    let authority = crate::tls::Authority::new();
    let (url, accepted) = tls_server(&authority, &[b"h2", b"http/1.1"]).await;
    let client = Client::builder().root_certificates(authority.certificate()).build();
    let client = client.expect("a client");
    let plain = || within("a response", client.get(&url).send());
    for _ in 0..2 {
        assert_eq!(plain().await.expect("a response").version(), http::Version::HTTP_2);
        let request = client.get(&url).header("connection", "upgrade").header("upgrade", "echo");
        let response = within("a response", request.send()).await.expect("a response");
        assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_11, 101));
        let mut stream = response.upgrade().expect("a stream");
        let mut hello = [0; 5];
        within("bytes", stream.read_exact(&mut hello)).await.expect("bytes");
        assert_eq!(&hello, b"hello");
    }
    assert_eq!(plain().await.expect("a response").version(), http::Version::HTTP_2);
    assert_eq!(accepted.load(Ordering::SeqCst), 3, "one by HTTP/2, one for each upgrade");
    let stats = client.stats();
    let names: Vec<_> = stats.origins.iter().map(|origin| origin.origin.as_str()).collect();
    let name = url.trim_end_matches('/');
    assert_eq!(names, [name, &format!("{name} by HTTP/1.1")]);
}

/// A server that speaks HTTP/2 alone, to a client that was told not to.
#[tokio::test]
async fn http2_server_refuses_http1_only() {
    let authority = crate::tls::Authority::new();
    let (url, _) = tls_server(&authority, &[b"h2"]).await;
    let http1 = Client::builder().root_certificates(authority.certificate()).http1_only();
    let sent = http1.build().expect("a client").get(&url).send();
    let error = within("an answer", sent).await.expect_err("no protocol in common");
    assert!(error.is_tls() && !error.is_not_http2(), "{error:?}");
    assert_eq!((error.stage(), error.bytes_written()), (Stage::Tls, None));
    assert!(error.to_string().contains("http1_only"), "{error}");
}

/// Serves "x" over TLS in the protocol that was agreed on; each HTTP/1.1 answer takes a moment, so that
/// requests at once need connections of their own.
async fn tls_server(
    authority: &crate::tls::Authority,
    offered: &[&[u8]],
) -> (String, Arc<AtomicUsize>) {
    let mut config = authority.server("localhost", None);
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let gathers = !offered.contains(&&b"h2"[..]);
    let accepted = Arc::new(AtomicUsize::new(0));
    let (count, barrier) = (Arc::clone(&accepted), Arc::new(Barrier::new(5)));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let (acceptor, barrier) = (acceptor.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        say(respond, "x");
                    }
                    return;
                }
                let mut buffer = [0; 4096];
                let mut is_first = gathers && number < 5;
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if String::from_utf8_lossy(&buffer[..read]).contains("upgrade: echo") {
                        let switched =
                            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nhello";
                        stream.write_all(switched).await.expect("written");
                        stream.flush().await.expect("flushed");
                        continue;
                    }
                    if std::mem::take(&mut is_first) {
                        barrier.wait().await;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
                    stream.write_all(answer).await.expect("written");
                    stream.flush().await.expect("flushed");
                }
            });
        }
    });
    (url, accepted)
}

/// The server speaks HTTP/2, and wants one resource by HTTP/1.1.
#[tokio::test]
async fn http1_required_goes_again_by_http1() {
    let authority = crate::tls::Authority::new();
    let mut config = authority.server("localhost", None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        respond.send_reset(Reason::HTTP_1_1_REQUIRED);
                    }
                    return;
                }
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold";
                    stream.write_all(answer).await.expect("written");
                    stream.flush().await.expect("flushed");
                }
            });
        }
    });
    let client = Client::builder().root_certificates(authority.certificate()).build();
    let client = client.expect("a client");
    let response = within("a response", client.post(&url).body("b").send()).await;
    let response = response.expect("a response");
    assert_eq!((response.version(), response.connection().attempts()), (http::Version::HTTP_11, 2));
    assert_eq!(response.text().await.expect("a body"), "old");
}

/// HTTP/2 is attempted as by `ForceAttemptHTTP2` of Go's `DefaultTransport`; with
/// `keep_alive(false)` no request may share a connection.
#[tokio::test]
async fn go_defaults_attempt_http2() {
    let authority = crate::tls::Authority::new();
    let (url, accepted) = tls_server(&authority, &[b"h2", b"http/1.1"]).await;
    let builder = || ClientBuilder::go_defaults().root_certificates(authority.certificate());
    let client = builder().build().expect("a client");
    for _ in 0..3 {
        let response = within("a response", client.get(&url).send()).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_2);
        response.text().await.expect("a body");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    let single = builder().keep_alive(false).build().expect("a client");
    let response = within("a response", single.get(&url).send()).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_11);
}

/// One place for all connections, and origins of both versions: they take turns.
#[tokio::test]
async fn both_versions_share_one_place() {
    let authority = crate::tls::Authority::new();
    let (http2, _) = tls_server(&authority, &[b"h2"]).await;
    let plain = keepwarm_testkit::scripted::Server::saying("x");
    let builder = Client::builder().root_certificates(authority.certificate());
    let client = builder.max_connections(1).build().expect("a client");
    let mut all = JoinSet::new();
    for index in 0..60 {
        let url = if index % 2 == 0 { http2.clone() } else { plain.url("/") };
        let client = client.clone();
        all.spawn(async move { text(&client, &url).await });
    }
    while let Some(result) = all.join_next().await {
        assert_eq!(result.expect("no panic").expect("a body"), "x");
    }
    let total = client.stats().total;
    assert!(total.open() <= 1, "{total:?}");
}

/// A tunnel carries HTTP/2: one CONNECT for a whole burst.
#[tokio::test]
async fn tunnel_carries_http2() {
    let authority = crate::tls::Authority::new();
    let (url, accepted) = tls_server(&authority, &[b"h2", b"http/1.1"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(tunnel(socket));
        }
    });
    let builder = Client::builder().root_certificates(authority.certificate());
    let proxy = keepwarm::Proxy::all(&proxy).expect("a proxy");
    let client = builder.proxy(proxy).max_connections_per_origin(1).build().expect("a client");
    burst(&client, &url, 50).await;
    let response = within("a response", client.get(&url).send()).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!((asked.load(Ordering::SeqCst), accepted.load(Ordering::SeqCst)), (1, 1));
}

/// Answers one CONNECT, and passes bytes on.
async fn tunnel(mut socket: tokio::net::TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let target = head.split(' ').nth(1).filter(|_| head.starts_with("CONNECT "));
    let mut origin =
        tokio::net::TcpStream::connect(target.expect("CONNECT")).await.expect("an origin");
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
    let _ended = tokio::io::copy_bidirectional(&mut socket, &mut origin).await;
}

/// A server is replaced by one that does not speak HTTP/2, and back.
#[tokio::test]
async fn alpn_may_change_with_each_dial() {
    let authority = crate::tls::Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let trusting = Client::builder().root_certificates(authority.certificate());
    let client = trusting.max_connections_per_origin(1).build().expect("a client");
    for round in 0..6 {
        let offered: &[u8] = if round % 2 == 0 { b"h2" } else { b"http/1.1" };
        let mut config = authority.server("localhost", None);
        config.alpn_protocols = vec![offered.to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let mut requests = JoinSet::new();
        for _ in 0..5 {
            let (client, url) = (client.clone(), url.clone());
            requests.spawn(async move {
                let response = within("a response", client.get(&url).send()).await?;
                let version = response.version();
                response.text().await.map(|body| (version, body))
            });
        }
        let (socket, _) = within("a dial", listener.accept()).await.expect("a socket");
        let stream = within("a handshake", acceptor.accept(socket)).await.expect("TLS");
        let serving = tokio::spawn(serve_five(stream, round % 2 == 0));
        let expected = if round % 2 == 0 { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
        while let Some(result) = requests.join_next().await {
            let (version, body) = result.expect("no panic").expect("a body");
            assert_eq!((version, &*body), (expected, "x"), "round {round}");
        }
        let stats = client.stats().total;
        assert_eq!(stats.http2, usize::from(round % 2 == 0), "{stats:?}");
        client.close_idle();
        within("the server's end", serving).await.expect("no panic");
        eventually("the close", || client.stats().total.open() == 0).await;
    }
    assert_eq!(client.stats().total.opened, 6, "one a round");
}

/// Answers five requests with "x", and waits for the end of the connection.
async fn serve_five<S>(mut stream: S, by_http2: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if by_http2 {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_, respond))) = connection.accept().await {
            say(respond, "x");
        }
        return;
    }
    let mut read = Vec::new();
    let mut served = 0;
    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
        let heads = read.windows(4).filter(|window| window == b"\r\n\r\n").count();
        while served < heads {
            served += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
            stream.write_all(answer).await.expect("written");
            stream.flush().await.expect("flushed");
        }
    }
}
