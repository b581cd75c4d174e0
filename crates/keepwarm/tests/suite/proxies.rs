//! Proxies: what they are told, which connections are shared, and what is told of their refusals.

use std::time::Duration;

use keepwarm::{
    Client, ClientBuilder, Error, NoProxy, Proxy, ProxyServer, RequestBuilder, Stage as At,
};
use keepwarm_testkit::scripted::{Answer, Peer, Request, Server, Stage, ok, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{done, exchange};
#[cfg(feature = "tls")]
use crate::tls::Authority;

/// Answers with the request line and the fields that proxies are about.
fn echo() -> Server {
    Server::start(|request: &Request| {
        let field = |name| request.field(name).unwrap_or("-").to_owned();
        let line = format!("{} {}", request.method(), request.target());
        let [host, proxy, own] = ["host", "proxy-authorization", "authorization"].map(field);
        Answer::Send(ok(&format!("{line}|{host}|{proxy}|{own}")))
    })
}

fn through(url: &str) -> Client {
    Client::builder().proxy(Proxy::all(url).expect("a proxy")).build().expect("a client")
}

async fn text(request: RequestBuilder) -> String {
    let response = within("a response", request.send()).await.expect("a response");
    response.text().await.expect("a body")
}

#[tokio::test]
async fn http_is_asked_for_in_absolute_form() {
    let proxy = echo();
    let client = through(&proxy.origin());
    for (url, line) in [
        ("http://a.test/x?y", "GET http://a.test/x?y|a.test|-|-"),
        ("http://b.test:81", "GET http://b.test:81/|b.test:81|-|-"),
        ("http://[fd00::1]:82/", "GET http://[fd00::1]:82/|[fd00::1]:82|-|-"),
    ] {
        assert_eq!(exchange(&client, url).await, line);
    }
    assert_eq!(proxy.accepted(), 1, "all origins share the connections of the proxy");
    let stats = client.stats();
    assert_eq!(stats.origins.len(), 1);
    assert_eq!(stats.origins[0].origin, format!("http via {}", proxy.origin()));
    assert!(client.explain(&stats.origins[0].origin).is_some());
}

#[tokio::test]
async fn limits_count_the_connections_of_a_proxy() {
    let stage = Stage::open().await;
    let proxy = Proxy::all(stage.origin()).expect("a proxy");
    let client = Client::builder().proxy(proxy).max_connections_per_origin(1);
    let client = client.max_waiters_per_origin(0).build().expect("a client");
    let first = tokio::spawn(client.get("http://a.test/").send());
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = client.get("http://b.test/").send().await.expect_err("no room");
    assert!(error.is_too_many_waiters(), "{error}");
    peer.write(ok("a")).await;
    done(first).await.expect("a response");
}

#[tokio::test]
async fn credentials_reach_the_proxy_alone() {
    let (proxy, origin) = (echo(), echo());
    let url = proxy.origin().replace("//", "//me:s%20t@");
    let client = through(&url);
    let authorized = "Basic bWU6cyB0";
    let request = client.get("http://a.test/").bearer_auth("token");
    assert_eq!(text(request).await, format!("GET http://a.test/|a.test|{authorized}|Bearer token"));
    let direct = client.get(origin.url("/")).no_proxy();
    let direct = direct.header("proxy-authorization", "Basic own");
    let host = origin.origin().replace("http://", "");
    assert_eq!(text(direct).await, format!("GET /|{host}|-|-"));
    let own = client.get("http://a.test/").header("proxy-authorization", "own");
    assert_eq!(text(own).await, "GET http://a.test/|a.test|own|-");
    assert!(!format!("{client:?}").contains("s t"), "no debug output has the password");
}

/// A client with other credentials would be another user of the same connection.
#[tokio::test]
async fn other_credentials_share_no_connection() {
    let proxy = echo();
    let client = Client::new();
    for (user, accepted) in [("a", 1), ("a", 1), ("b", 2), ("a", 2)] {
        let url = proxy.origin().replace("//", &format!("//{user}:x@"));
        let request = client.get("http://a.test/").proxy(Proxy::all(url).expect("a proxy"));
        text(request).await;
        assert_eq!(proxy.accepted(), accepted);
    }
    let origin = echo();
    text(client.get(origin.url("/"))).await;
    let through = client.get(origin.url("/")).proxy(Proxy::all(proxy.origin()).expect("a proxy"));
    text(through).await;
    assert_eq!((origin.accepted(), proxy.accepted()), (1, 3), "no direct connection is taken");
}

#[tokio::test]
async fn first_rule_that_names_a_proxy_counts() {
    let (one, other, origin) = (echo(), echo(), echo());
    let server = ProxyServer::new(other.origin()).expect("a proxy");
    let own = Proxy::custom(move |url| (url.path() == "/other").then(|| server.clone()));
    let except = NoProxy::new(format!("127.0.0.1:{}", origin.port()));
    let rest = Proxy::http(one.origin()).expect("a proxy").no_proxy(except);
    let tls = Proxy::https("http://127.0.0.1:1").expect("a proxy");
    let client = Client::builder().proxy(tls).proxy(own).proxy(rest).build().expect("a client");
    exchange(&client, "http://a.test/").await;
    exchange(&client, "http://a.test/other").await;
    exchange(&client, &origin.url("/")).await;
    assert_eq!((one.requests(), other.requests(), origin.requests()), (1, 1, 1));
    let none = client.get(origin.url("/")).proxy(Proxy::https("http://127.0.0.1:1").expect("one"));
    assert!(text(none).await.starts_with("GET /|"), "the rule is not about http");
}

#[tokio::test]
async fn redirects_choose_their_proxy_anew() {
    let origin = echo();
    let location = origin.url("/to");
    let proxy = Server::start(move |_| {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n";
        Answer::Send(format!("{head}Location: {location}\r\n\r\n"))
    });
    let rule = Proxy::all(proxy.origin().replace("//", "//me:secret@")).expect("a proxy");
    let client = Client::builder().proxy(rule.no_proxy(NoProxy::new("127.0.0.1"))).build();
    let client = client.expect("a client");
    let host = origin.origin().replace("http://", "");
    assert_eq!(exchange(&client, "http://a.test/").await, format!("GET /to|{host}|-|-"));
}

#[cfg(unix)]
#[test]
fn unix_socket_beside_a_proxy_is_refused() {
    let proxy = Proxy::all("http://p.test").expect("a proxy");
    let error = Client::builder().unix_socket("/x").proxy(proxy).build().expect_err("refused");
    assert!(error.is_invalid() && error.to_string().contains("unix_socket"), "{error}");
}

/// The script of a proxy.
#[derive(Clone, Debug)]
enum Script {
    /// Answers CONNECT with this and passes bytes on.
    Connect(&'static str),
    /// The same, a byte at a time.
    ByteByByte(&'static str),
    /// Answers with this and closes.
    Refuse(&'static str),
    /// SOCKS5 with this user and password, or without.
    Socks(Option<(&'static str, &'static str)>),
    /// SOCKS5 that answers with this reply.
    SocksReply(u8),
    Silent,
}

/// A proxy that reaches one origin, whatever it is asked for, and tells what that was.
struct Scripted {
    url: String,
    asked: tokio::sync::mpsc::UnboundedReceiver<String>,
    _task: JoinHandle<()>,
}

impl Scripted {
    async fn start(script: Script, origin: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, tell) = (script.clone(), tell.clone());
                tokio::spawn(async move {
                    // A client that is done closes in the middle of anything.
                    let _ = serve(stream, script, origin, &tell).await;
                });
            }
        });
        Self { url: address.to_string(), asked, _task: task }
    }

    async fn asked(&mut self) -> String {
        within("a CONNECT", self.asked.recv()).await.expect("a CONNECT")
    }
}

type Tell = tokio::sync::mpsc::UnboundedSender<String>;

async fn serve(
    mut stream: TcpStream,
    script: Script,
    origin: u16,
    tell: &Tell,
) -> std::io::Result<()> {
    match script {
        Script::Silent => {
            stream.read_exact(&mut [0; 4096]).await?;
        }
        Script::Socks(user) => socks(&mut stream, user, 0, tell).await?,
        Script::SocksReply(reply) => return socks(&mut stream, None, reply, tell).await,
        Script::Connect(answer) | Script::Refuse(answer) | Script::ByteByByte(answer) => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            tell.send(String::from_utf8_lossy(&head).into_owned()).expect("the test listens");
            if matches!(script, Script::ByteByByte(_)) {
                stream.set_nodelay(true)?;
                for byte in answer.bytes() {
                    stream.write_u8(byte).await?;
                    tokio::task::yield_now().await;
                }
            } else {
                stream.write_all(answer.as_bytes()).await?;
            }
            if matches!(script, Script::Refuse(_)) {
                return stream.shutdown().await;
            }
        }
    }
    let mut onward = TcpStream::connect(("127.0.0.1", origin)).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut onward).await.map(drop)
}

async fn socks(
    stream: &mut TcpStream,
    user: Option<(&str, &str)>,
    reply: u8,
    tell: &Tell,
) -> std::io::Result<()> {
    let mut hello = [0; 2];
    stream.read_exact(&mut hello).await?;
    let mut methods = vec![0; usize::from(hello[1])];
    stream.read_exact(&mut methods).await?;
    let wanted = if user.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, wanted]).await?;
    if let Some((name, password)) = user {
        stream.read_u8().await?;
        let mut told = Vec::new();
        for _ in 0..2 {
            let mut part = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut part).await?;
            told.push(part);
        }
        let is_right = told == [name.as_bytes(), password.as_bytes()];
        stream.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(());
        }
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = match head[3] {
        1 => 4,
        4 => 16,
        _ => usize::from(stream.read_u8().await?),
    };
    let mut place = vec![0; length + 2];
    stream.read_exact(&mut place).await?;
    let port = u16::from_be_bytes([place[length], place[length + 1]]);
    let host = match head[3] {
        3 => String::from_utf8_lossy(&place[..length]).into_owned(),
        _ => format!("{:?}", &place[..length]),
    };
    tell.send(format!("{host} {port}")).expect("the test listens");
    // A name as the address that the proxy connects from, which is as long as it says.
    stream.write_all(&[5, reply, 0, 3, 3, b'a', b'b', b'c', 0, 9]).await
}

#[tokio::test]
async fn socks_names_origins_by_address_or_name() {
    let origin = echo();
    for (protocol, host, place) in [
        ("socks5", "localhost", "[127, 0, 0, 1]"),
        ("socks5", "127.0.0.1", "[127, 0, 0, 1]"),
        ("socks5h", "some.test", "some.test"),
        ("socks5h", "127.0.0.1", "[127, 0, 0, 1]"),
        ("socks5h", "[::1]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]"),
    ] {
        let mut proxy = Scripted::start(Script::Socks(Some(("me", "secret"))), origin.port()).await;
        let resolver = tower::service_fn(async |_| {
            Ok::<_, std::convert::Infallible>([([127, 0, 0, 1], 0).into()])
        });
        let url = format!("{protocol}://me:secret@{}", proxy.url);
        let builder = Client::builder().proxy(Proxy::all(url).expect("a proxy"));
        let client = builder.resolver(resolver).build().expect("a client");
        for _ in 0..2 {
            let answer = exchange(&client, &format!("http://{host}:81/x")).await;
            assert_eq!(answer, format!("GET /x|{host}:81|-|-"));
        }
        assert_eq!(proxy.asked().await, format!("{place} 81"), "{protocol} {host}");
        let stats = client.stats().total;
        assert_eq!((stats.opened, stats.reused), (1, 1), "the tunnel is kept: {stats:?}");
    }
}

async fn refusal(script: Script, url: impl Fn(&str) -> String, target: &str) -> Error {
    let proxy = Scripted::start(script, 1).await;
    let rule = Proxy::all(url(&proxy.url)).expect("a proxy");
    let builder: ClientBuilder = Client::builder().proxy(rule);
    let client = builder.connect_timeout(Duration::from_secs(5)).build().expect("a client");
    let outcome = within("an end", client.get(target).send()).await;
    outcome.expect_err("it is refused")
}

#[tokio::test]
async fn refusals_of_socks_are_told() {
    for (script, url, words) in [
        (Script::Socks(Some(("me", "x"))), "socks5h://", "wants an authentication"),
        (Script::Socks(Some(("me", "x"))), "socks5h://me:y@", "refuses the user"),
        (Script::SocksReply(5), "socks5h://", "origin refused"),
        (Script::SocksReply(2), "socks5h://", "rules do not allow"),
        (Script::SocksReply(77), "socks5h://", "beyond 8"),
    ] {
        let error = refusal(script, |place| format!("{url}{place}"), "http://a.test/").await;
        assert!(error.is_proxy() && error.is_connect() && error.stage() == At::Connect, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.bytes_written(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn silent_proxy_is_bounded_by_connect_timeout() {
    let cases = [
        ("socks5h", "http://a.test/"),
        #[cfg(feature = "tls")]
        ("http", "https://a.test/"),
    ];
    for (protocol, target) in cases {
        let to = |place: &str| format!("{protocol}://{place}");
        let error = refusal(Script::Silent, to, target).await;
        assert!(error.is_connect_timeout(), "{error}");
    }
}

#[cfg(feature = "tls")]
mod tunnels {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A TLS server that answers every request.
    async fn tls_origin(authority: &Authority) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server("a.test", None)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut peer = Peer::over(stream);
                    while let Some(request) = peer.request_or_end().await {
                        let field = request.field("proxy-authorization").unwrap_or("-");
                        peer.write(ok(&format!("{}|{field}", request.target()))).await;
                    }
                });
            }
        });
        port
    }

    fn client(authority: &Authority, url: &str) -> Client {
        let builder = Client::builder().root_certificates(authority.certificate());
        builder.proxy(Proxy::all(url).expect("a proxy")).build().expect("a client")
    }

    #[tokio::test]
    async fn https_has_a_tunnel_that_is_kept() {
        let authority = Authority::new();
        let origin = tls_origin(&authority).await;
        for script in [
            Script::Connect("HTTP/1.1 200 Connection established\r\n\r\n"),
            Script::Connect("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n"),
            Script::Connect("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Script::Connect("HTTP/1.1 299 \r\n\r\n"),
            Script::Connect("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Script::ByteByByte("HTTP/1.1 201 Created\r\nA: b\r\n\r\n"),
        ] {
            let mut proxy = Scripted::start(script.clone(), origin).await;
            let client = client(&authority, &format!("http://me:secret@{}", proxy.url));
            for _ in 0..3 {
                let request = client.get("https://a.test/x").header("proxy-authorization", "own");
                assert_eq!(text(request).await, "/x|-", "{script:?}");
            }
            let head = proxy.asked().await;
            assert!(
                head.starts_with("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n"),
                "{head}"
            );
            assert!(head.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"), "{head}");
            let stats = client.stats();
            assert_eq!((stats.total.opened, stats.total.reused), (1, 2), "{script:?}");
            let name = format!("https://a.test:443 via http://{}", proxy.url);
            assert_eq!(stats.origins[0].origin, name);
        }
    }

    #[tokio::test]
    async fn refused_connect_tells_status_and_body() {
        for (answer, status, words) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\nwho's you",
                Some(407),
                "who's you",
            ),
            ("HTTP/1.1 403 Forbidden\r\n\r\nnot there", Some(403), "not there"),
            ("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", Some(301), "301"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", None, "not HTTP"),
            ("SSH-2.0-OpenSSH\r\n", None, "not HTTP"),
            ("", None, "without an answer"),
        ] {
            let to = |place: &str| format!("http://me:secret@{place}");
            let error = refusal(Script::Refuse(answer), to, "https://a.test/").await;
            assert!(error.is_proxy() && error.is_connect(), "{error}");
            assert_eq!(error.status().map(|status| status.as_u16()), status, "{error}");
            let message = error.to_string();
            assert!(message.contains(words) && !message.contains("secret"), "{message}");
        }
    }

    /// An alert of TLS in the segment of the answer: `handshake_failure`.
    #[tokio::test]
    async fn bytes_behind_the_answer_reach_tls() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n\x15\x03\x03\x00\x02\x02\x28";
        let to = |place: &str| format!("http://{place}");
        for script in [Script::Refuse(answer), Script::ByteByByte(answer)] {
            let error = refusal(script, to, "https://a.test/").await;
            assert!(error.is_tls() && !error.is_proxy(), "{error}");
            assert!(error.to_string().contains("HandshakeFailure"), "{error}");
        }
    }

    #[tokio::test]
    async fn origins_have_tunnels_of_their_own() {
        let authority = Authority::new();
        let origin = tls_origin(&authority).await;
        let proxy = Scripted::start(Script::Connect("HTTP/1.1 200 OK\r\n\r\n"), origin).await;
        let client = client(&authority, &format!("http://{}", proxy.url));
        text(client.get("https://a.test/1")).await;
        let error = client.get("https://b.test/2").send().await.expect_err("another name");
        assert!(error.is_tls() && !error.is_proxy(), "{error}");
        text(client.get("https://a.test:444/3")).await;
        assert_eq!(client.stats().total.opened, 2);
    }

    #[tokio::test]
    async fn socks_carries_tls() {
        let authority = Authority::new();
        let origin = tls_origin(&authority).await;
        let mut proxy = Scripted::start(Script::Socks(None), origin).await;
        let client = client(&authority, &format!("socks5h://{}", proxy.url));
        assert_eq!(text(client.get("https://a.test/x")).await, "/x|-");
        assert_eq!(proxy.asked().await, "a.test 443");
    }

    #[tokio::test]
    async fn proxy_itself_is_spoken_to_over_tls() {
        let (authority, own) = (Authority::new(), Authority::new());
        let origin = tls_origin(&authority).await;
        let plain = Scripted::start(Script::Connect("HTTP/1.1 200 OK\r\n\r\n"), origin).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(own.server("localhost", None)));
        let onward = plain.url.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, onward) = (acceptor.clone(), onward.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut plain) = TcpStream::connect(onward).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        let url = format!("https://localhost:{port}");
        let rule = Proxy::all(&url).expect("a proxy");
        let roots = [authority.certificate(), own.certificate()].concat();
        let client = Client::builder().root_certificates(roots).proxy(rule.clone());
        // The name of the origin alone.
        let client = client.tls_server_name("a.test".to_owned()).build().expect("a client");
        assert_eq!(text(client.get("https://127.0.0.1/x")).await, "/x|-");
        let wary = Client::builder().root_certificates(authority.certificate()).proxy(rule);
        let error = wary.build().expect("a client").get("https://a.test/").send().await;
        let error = error.expect_err("the proxy is not trusted");
        assert!(error.is_tls() && error.to_string().contains(&format!("proxy {url}")), "{error}");
    }
}
