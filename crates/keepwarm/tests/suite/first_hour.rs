//! Requests as people write them in the first hour, and what their responses say.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use keepwarm::{Body, Client, RedirectAction, RedirectPolicy, RedirectStopped, Request};
use keepwarm_testkit::scripted::{self, Answer, Server, Stage, ok, within};

use crate::support::{done, exchange};

/// Answers with the request line, the named fields and the body.
fn echo(fields: &'static [&'static str]) -> Server {
    Server::start(move |request: &scripted::Request| {
        let mut words = format!("{} {}", request.method(), request.target());
        for name in fields {
            words += &format!("|{}", request.field(name).unwrap_or("-"));
        }
        words += &format!("|{}", String::from_utf8_lossy(&request.body));
        Answer::Send(ok(&words))
    })
}

fn moved(location: &str) -> Answer {
    let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation";
    Answer::Send(format!("{head}: {location}\r\n\r\n"))
}

async fn text(request: keepwarm::RequestBuilder) -> String {
    let response = within("a response", request.send()).await.expect("a response");
    response.text().await.expect("a body")
}

#[tokio::test]
async fn every_method_is_sent() {
    let server = echo(&[]);
    let (client, url) = (Client::new(), server.url("/x"));
    for (request, line) in [
        (client.put(&url).body("a"), "PUT /x|a"),
        (client.patch(&url).body("b"), "PATCH /x|b"),
        (client.delete(&url), "DELETE /x|"),
        (client.options(&url), "OPTIONS /x|"),
    ] {
        assert_eq!(text(request).await, line);
    }
}

#[tokio::test]
async fn query_keeps_pairs_of_the_url() {
    let server = echo(&[]);
    let client = Client::new();
    for (url, line) in [
        ("/x", "GET /x?a=1+2&%C3%A9=%26|"),
        ("/x?b", "GET /x?b&a=1+2&%C3%A9=%26|"),
        ("/x?", "GET /x?a=1+2&%C3%A9=%26|"),
        ("/x?b=%20#part", "GET /x?b=%20&a=1+2&%C3%A9=%26|"),
    ] {
        let pairs = [("a", "1 2"), ("\u{e9}", "&")];
        assert_eq!(text(client.get(server.url(url)).query(pairs)).await, line);
        let map = BTreeMap::from(pairs);
        assert_eq!(text(client.get(server.url(url)).query(&map)).await, line);
        assert_eq!(text(client.get(server.url(url)).query(&pairs)).await, line);
    }
    let none: [(&str, &str); 0] = [];
    assert_eq!(text(client.get(server.url("/x")).query(none)).await, "GET /x|");
}

#[tokio::test]
async fn form_and_json_name_their_type() {
    let server = echo(&["content-type"]);
    let (client, url) = (Client::new(), server.url("/"));
    let form = client.post(&url).form([("user", "a b"), ("n", "7")]);
    assert_eq!(text(form).await, "POST /|application/x-www-form-urlencoded|user=a+b&n=7");
    let json = client.post(&url).json(&BTreeMap::from([("n", 7)]));
    assert_eq!(text(json).await, r#"POST /|application/json|{"n":7}"#);
    let own = client.post(&url).header("content-type", "application/x").json(&7);
    assert_eq!(text(own).await, "POST /|application/x|7");
    let keys = BTreeMap::from([(vec![1_u8], 1)]);
    let error = client.post(&url).json(&keys).send().await.expect_err("no such key in JSON");
    assert!(error.is_invalid(), "{error}");
}

#[tokio::test]
async fn json_of_a_response_is_typed() {
    let server = Server::saying(r#"{"n": 7}"#);
    let client = Client::new();
    let response = client.get(server.url("/")).send().await.expect("a response");
    let parsed: BTreeMap<String, u8> = response.json().await.expect("JSON");
    assert_eq!(parsed["n"], 7);
    let response = client.get(server.url("/")).send().await.expect("a response");
    let error = response.json::<Vec<u8>>().await.expect_err("it is a map");
    assert!(error.is_decode() && error.to_string().contains("not the JSON expected"), "{error}");
    assert_eq!(server.accepted(), 1, "the body was read to its end");
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = echo(&["authorization"]);
    let (client, url) = (Client::new(), server.url("/"));
    let basic = client.get(&url).basic_auth("Aladdin", Some("open sesame"));
    assert!(!format!("{basic:?}").contains("QWxh"), "{basic:?}");
    assert_eq!(text(basic).await, "GET /|Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==|");
    let none = client.get(&url).basic_auth("me", None::<&str>);
    assert_eq!(text(none).await, "GET /|Basic bWU6|");
    let bearer = client.get(&url).bearer_auth("secret");
    assert!(!format!("{bearer:?}").contains("secret"), "{bearer:?}");
    assert_eq!(text(bearer).await, "GET /|Bearer secret|");
    for wrong in [client.get(&url).bearer_auth("a\nb"), client.get(&url).basic_auth("a:b", Some(1))]
    {
        let error = wrong.send().await.expect_err("refused");
        assert!(error.is_invalid() && !error.to_string().contains("a\nb"), "{error}");
    }
}

#[tokio::test]
async fn headers_replace_fields_of_their_names() {
    let server = echo(&["a", "b"]);
    let client = Client::new();
    let mut headers = HeaderMap::new();
    headers.append("a", HeaderValue::from_static("2"));
    let request = client.get(server.url("/")).header("a", "1").header("b", "1").headers(headers);
    assert_eq!(text(request).await, "GET /|2|1|");
}

#[tokio::test]
async fn defaults_yield_to_a_request() {
    let server = echo(&["user-agent", "x-a"]);
    let mut defaults = HeaderMap::new();
    defaults.insert("x-a", HeaderValue::from_static("default"));
    let client = Client::builder().user_agent("mine/1").default_headers(defaults).build();
    let client = client.expect("a client");
    assert_eq!(exchange(&client, &server.url("/")).await, "GET /|mine/1|default|");
    let own = client.get(server.url("/")).header("x-a", "own").header("user-agent", "other");
    assert_eq!(text(own).await, "GET /|other|own|");
    let refused = Client::builder().user_agent("a\nb").build().expect_err("refused");
    assert!(refused.to_string().contains("user_agent"), "{refused}");
}

#[tokio::test]
async fn relative_urls_resolve_against_the_base() {
    let server = echo(&[]);
    let client = Client::builder().base_url(server.url("/api/v1/")).build().expect("a client");
    for (url, line) in [
        ("users/7", "GET /api/v1/users/7|"),
        ("../v2/x", "GET /api/v2/x|"),
        ("/x", "GET /x|"),
        ("", "GET /api/v1/|"),
        ("?q=a b", "GET /api/v1/?q=a%20b|"),
    ] {
        assert_eq!(exchange(&client, url).await, line, "{url:?}");
    }
    let other = echo(&[]);
    assert_eq!(exchange(&client, &other.url("/y")).await, "GET /y|", "an absolute URL stays");
    for base in ["/x", "ftp://h/", "http://user:pass@h/"] {
        let refused = Client::builder().base_url(base).build().expect_err(base);
        assert!(refused.is_invalid() && !refused.to_string().contains("pass"), "{refused}");
    }
}

#[tokio::test]
async fn https_only_refuses_plain_urls() {
    let client = Client::builder().https_only(true).build().expect("a client");
    let error = client.get("http://127.0.0.1:9/").send().await.expect_err("refused");
    assert!(error.is_invalid() && error.to_string().contains("https_only"), "{error}");
}

#[tokio::test]
async fn built_request_is_copied_and_executed() {
    let server = echo(&["x-a"]);
    let client = Client::new();
    let request = client.post(server.url("/x")).header("x-a", "1").body("data");
    let mut request = request.timeout(Duration::from_secs(20)).build().expect("a request");
    assert_eq!((request.method(), request.url().path()), (&Method::POST, "/x"));
    assert_eq!(request.body().and_then(Body::as_bytes), Some(&b"data"[..]));
    assert_eq!(request.timeout(), Some(Duration::from_secs(20)));
    let copy = request.try_clone().expect("a copy");
    request.headers_mut().insert("x-a", HeaderValue::from_static("2"));
    *request.method_mut() = Method::PUT;
    for (request, line) in [(request, "PUT /x|2|data"), (copy, "POST /x|1|data")] {
        let response = within("a response", client.execute(request)).await.expect("a response");
        assert_eq!(response.text().await.expect("a body"), line);
    }
    let own = Request::new(Method::GET, server.url("/y")).expect("a request");
    let response = client.execute(own).await.expect("a response");
    assert_eq!(response.text().await.expect("a body"), "GET /y|-|");
    assert!(Request::new(Method::GET, "/y").is_err(), "it is relative");
    let stream = Body::stream(http_body_util::Full::new(bytes::Bytes::from("once")));
    assert!(client.post(server.url("/")).body(stream).try_clone().is_none());
}

#[tokio::test]
async fn response_tells_where_it_came_from() {
    let server = Server::start(|request| match request.target() {
        "/from" => moved("/to?x"),
        _ => Answer::Send(ok("here")),
    });
    let client = Client::new();
    let response = client.get(server.url("/from")).send().await.expect("a response");
    assert_eq!(response.url().to_string(), server.url("/to?x"));
    assert_eq!(response.version(), http::Version::HTTP_11);
    assert_eq!(response.remote_addr().map(|address| address.port()), Some(server.port()));
    assert_eq!(response.content_length(), Some(4));
    assert!(response.tls().is_none());
    let parts = response.into_http();
    assert_eq!(parts.extensions().get::<http::Uri>().map(http::Uri::path), Some("/to"));
}

#[tokio::test]
async fn error_status_becomes_an_error() {
    for (status, is_error) in [(200, false), (304, false), (404, true), (503, true)] {
        let server = Server::start(move |_| {
            Answer::Send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
        });
        let client = Client::new();
        let response = client.get(server.url("/x?token=1")).send().await.expect("a response");
        let checked = response.error_for_status();
        assert_eq!(checked.is_err(), is_error, "{status}");
        if let Err(error) = checked {
            assert!(error.is_status() && !error.is_timeout(), "{error}");
            assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
            assert!(error.to_string().contains("/x"), "{error}");
        }
    }
}

#[tokio::test]
async fn chunks_and_streams_end_with_the_body() {
    let server = Server::start(|_| {
        let chunks = "3\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n";
        Answer::Send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
    });
    let client = Client::new();
    let mut response = client.get(server.url("/")).send().await.expect("a response");
    let mut all = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("a chunk") {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all, b"abcde");
    assert_eq!(response.content_length(), Some(0), "nothing is left");

    let response = client.get(server.url("/")).send().await.expect("a response");
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    let mut next = async || {
        std::future::poll_fn(|cx| {
            futures_core::Stream::poll_next(std::pin::Pin::new(&mut stream), cx)
        })
        .await
    };
    while let Some(bytes) = next().await {
        all.extend_from_slice(&bytes.expect("bytes"));
    }
    assert_eq!(all, b"abcde");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn stream_of_bytes_is_a_body() {
    struct Two(u8);
    impl futures_core::Stream for Two {
        type Item = Result<&'static [u8], std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            self.0 += 1;
            std::task::Poll::Ready((self.0 <= 2).then_some(Ok(b"xy")))
        }
    }
    let server = echo(&["transfer-encoding"]);
    let request = Client::new().post(server.url("/")).body(Body::from_stream(Two(0)));
    assert_eq!(text(request).await, "POST /|chunked|xyxy");
}

#[tokio::test]
async fn text_is_read_in_its_charset() {
    for (media, bytes, expected) in [
        ("text/html; charset=iso-8859-1", &b"caf\xe9"[..], "caf\u{e9}"),
        ("text/html; CharSet=\"Shift_JIS\"", b"\x93\xfa", "\u{65e5}"),
        ("text/html;charset=utf-8", b"caf\xc3\xa9", "caf\u{e9}"),
        ("text/html; title=\"caf\u{e9}\"; charset=iso-8859-1", b"caf\xe9", "caf\u{e9}"),
        ("text/html", b"caf\xc3\xa9\xff", "caf\u{e9}\u{fffd}"),
        ("text/html; charset=no-such", b"caf\xc3\xa9", "caf\u{e9}"),
        ("text/html; charset=iso-8859-1", b"\xef\xbb\xbfa", "a"),
    ] {
        let stage = Stage::open().await;
        let client = Client::new();
        let request = client.get(stage.url("/"));
        let task = tokio::spawn(async move { request.send().await?.text().await });
        let mut peer = stage.accept().await;
        peer.request().await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len());
        peer.write([format!("{head}Content-Type: {media}\r\n\r\n").as_bytes(), bytes].concat())
            .await;
        assert_eq!(done(task).await.expect("a text"), expected, "{media}");
    }
}

#[tokio::test(start_paused = true)]
async fn stall_timeout_of_a_request_overrides() {
    let stage = Stage::open().await;
    let client = Client::builder().stall_timeout(Duration::from_secs(3600)).build();
    let client = client.expect("a client");
    let request = client.get(stage.url("/")).stall_timeout(Duration::from_secs(5));
    let task = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = task.await.expect("no panic").expect_err("it stalls");
    assert!(error.is_stall_timeout(), "{error}");
}

/// `/0` leads to `/1` and so on.
fn chain() -> Server {
    Server::start(|request: &scripted::Request| {
        let number: u32 = request.target().trim_start_matches('/').parse().unwrap_or(0);
        if number == 5 {
            return Answer::Send(ok(request.field("x-hop").unwrap_or("-")));
        }
        moved(&format!("/{}", number + 1))
    })
}

#[tokio::test]
async fn policy_sees_the_hops_and_edits_headers() {
    let server = chain();
    let policy = RedirectPolicy::custom(|redirect| {
        let seen: Vec<_> = redirect.hops().iter().map(|hop| hop.url().path().to_owned()).collect();
        assert_eq!((redirect.status().as_u16(), redirect.method()), (302, &Method::GET));
        let words = format!("{} then {}", seen.join(" "), redirect.url().path());
        redirect.headers_mut().insert("x-hop", words.parse().expect("a value"));
        RedirectAction::Follow
    });
    let client = Client::builder().redirect_policy(policy).build().expect("a client");
    assert_eq!(exchange(&client, &server.url("/0")).await, "/0 /1 /2 /3 /4 then /5");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn policy_stops_refuses_and_is_overridden() {
    let server = chain();
    let stop_at_2 = RedirectPolicy::custom(|redirect| match redirect.url().path() {
        "/3" => RedirectAction::Stop,
        _ => RedirectAction::Follow,
    });
    let client = Client::builder().redirect_policy(stop_at_2.clone()).build().expect("a client");
    let response = client.get(server.url("/0")).send().await.expect("a response");
    assert_eq!((response.status().as_u16(), response.url().path()), (302, "/2"));
    assert_eq!(response.redirect_stopped(), Some(&RedirectStopped::ByPolicy));
    response.bytes().await.expect("a body");

    let own = RedirectPolicy::custom(|_| RedirectAction::Refuse("not today".into()));
    let error = client.get(server.url("/0")).redirect(own).send().await.expect_err("refused");
    assert!(error.is_redirect() && error.to_string().contains("not today"), "{error}");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(302));

    for (policy, path, stopped) in [
        (RedirectPolicy::limited(1), "/1", Some(RedirectStopped::TooMany { limit: 1 })),
        (RedirectPolicy::none(), "/0", None),
        (stop_at_2.with_limit(1), "/1", Some(RedirectStopped::TooMany { limit: 1 })),
        (RedirectPolicy::limited(9), "/5", None),
    ] {
        let request = client.get(server.url("/0")).redirect(policy);
        let response = request.send().await.expect("a response");
        assert_eq!(response.url().path(), path);
        assert_eq!(response.redirect_stopped(), stopped.as_ref());
        response.bytes().await.expect("a body");
    }
    assert_eq!(server.accepted(), 1, "every connection returned");
}
