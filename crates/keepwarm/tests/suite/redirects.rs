//! The redirects that are followed: with what, and on which connection.

use std::time::Duration;

use keepwarm::{Body, Client, CloseReason, RedirectStopped};
use keepwarm_testkit::scripted::{Answer, Peer, Request, Server, ok, within};
use tokio::net::TcpListener;

use crate::support::{done, fetch, get, only};

fn redirect(status: u16, location: &str, body: &str) -> Answer {
    Answer::Send(format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Says what it was asked.
fn echo(request: &Request) -> Answer {
    let body = String::from_utf8_lossy(&request.body);
    let kind = request.field("content-type").unwrap_or("none");
    Answer::Send(ok(&format!("{} {} {kind} {body:?}", request.method(), request.target())))
}

/// `/from` leads to `location` with `status`; everything else is echoed.
fn leading_to(status: u16, location: &'static str) -> Server {
    Server::start(move |request| {
        if request.target().starts_with("/from") {
            redirect(status, location, "moved")
        } else {
            echo(request)
        }
    })
}

async fn post(server: &Server) -> String {
    let client = Client::new();
    let request = client.post(server.url("/from")).body("data");
    let request = request.header("content-type", "text/x");
    let response = request.send().await.expect("a response");
    response.text().await.expect("a body")
}

/// By most redirects, without its body.
#[tokio::test]
async fn redirected_post_becomes_a_get() {
    for status in [301, 302, 303] {
        let server = leading_to(status, "/to");
        assert_eq!(post(&server).await, r#"GET /to none """#, "{status}");
    }
}

#[tokio::test]
async fn method_keeping_redirect_resends_the_body() {
    for status in [307, 308] {
        let server = leading_to(status, "/to");
        assert_eq!(post(&server).await, r#"POST /to text/x "data""#, "{status}");
    }
}

#[tokio::test]
async fn a_head_stays_a_head() {
    let server = leading_to(302, "/to");
    let client = Client::new();
    let response = client.head(server.url("/from")).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_stream_is_not_sent_again() {
    let server = leading_to(307, "/to");
    let client = Client::new();
    let stream = Body::stream(http_body_util::Full::new(bytes::Bytes::from("once")));
    let request = client.post(server.url("/from")).body(stream);
    let response = request.send().await.expect("a response");
    assert_eq!((response.status().as_u16(), server.requests()), (307, 1));
    assert_eq!(response.redirect_stopped(), Some(&RedirectStopped::BodySpent));
}

#[tokio::test]
async fn redirect_to_get_drops_a_stream() {
    let server = leading_to(303, "/to");
    let client = Client::new();
    let stream = Body::stream(http_body_util::Full::new(bytes::Bytes::from("once")));
    let request = client.post(server.url("/from")).body(stream);
    let response = request.send().await.expect("a response");
    let text = response.text().await.expect("a body");
    assert_eq!(text, r#"GET /to none """#);
}

#[tokio::test]
async fn locations_are_relative_to_what_answered() {
    for (location, target) in
        [("/to?x=1#part", "/to?x=1"), ("to", "/from/to"), ("../to", "/to"), ("?x=2", "/from/x?x=2")]
    {
        let server = Server::start(move |request| match request.target() {
            "/from/x" => redirect(302, location, ""),
            _ => echo(request),
        });
        let client = Client::new();
        let response = client.get(server.url("/from/x")).send().await;
        let text = response.expect("a response").text().await.expect("a body");
        assert_eq!(text, format!("GET {target} none \"\""), "{location}");
    }
}

#[tokio::test]
async fn eleventh_redirect_is_the_response() {
    let server = Server::start(|request| {
        let nth: u32 = request.target()[1..].parse().expect("a number");
        match nth {
            0 => Answer::Send(ok("there")),
            _ => redirect(302, &format!("/{}", nth - 1), "moved"),
        }
    });
    let client = Client::new();
    let response = client.get(server.url("/10")).send().await.expect("ten");
    assert_eq!(response.redirect_stopped(), None);
    assert_eq!(response.text().await.expect("a body"), "there");
    let response = client.get(server.url("/11")).send().await.expect("11");
    assert_eq!(response.redirect_stopped(), Some(&RedirectStopped::TooMany { limit: 10 }));
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "/0");
    let kept = response.into_http();
    assert!(kept.extensions().get::<RedirectStopped>().is_some());
    drop(kept);
    assert_eq!(server.accepted(), 1, "one connection for all of it");
}

#[tokio::test]
async fn zero_returns_the_redirect() {
    let server = leading_to(302, "/to");
    let client = Client::builder().max_redirects(0).build().expect("good");
    let response = client.get(server.url("/from")).send().await;
    let response = response.expect("a response");
    assert_eq!((response.status().as_u16(), response.redirect_stopped()), (302, None));
}

#[tokio::test]
async fn redirect_without_location_is_the_response() {
    let server = Server::start(|_| {
        Answer::Send("HTTP/1.1 302 Found\r\nContent-Length: 4\r\n\r\nlost".into())
    });
    for (server, body) in [(server, "lost"), (leading_to(302, ""), "moved")] {
        let response = Client::new().get(server.url("/from")).send().await;
        let response = response.expect("a response");
        assert_eq!(response.status(), 302);
        assert_eq!(response.redirect_stopped(), Some(&RedirectStopped::NoLocation));
        assert_eq!(response.text().await.expect("a body"), body);
    }
}

#[tokio::test]
async fn unsupported_target_returns_the_redirect() {
    for location in ["http://user:secret@127.0.0.1/", "ftp://x/", "mailto:x@y.test", "http://:1/"] {
        let server = leading_to(302, location);
        let client = Client::new();
        let response = client.get(server.url("/from")).send().await.expect(location);
        assert_eq!(response.status(), 302, "{location}");
        let reason = response.redirect_stopped().expect("a reason").to_string();
        assert!(reason.starts_with("location ") && !reason.contains("secret"), "{reason}");
        assert_eq!(response.text().await.expect("a body"), "moved");
        assert_eq!(only(&client).idle, 1, "{location}");
    }
}

/// Sends `location` byte for byte, and then answers with the target that it is asked for.
async fn answer_with(listener: &TcpListener, location: &[u8]) -> String {
    let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
    let mut peer = Peer::over(stream);
    peer.request().await;
    let head = [b"HTTP/1.1 302 Found\r\nLocation: ", location, b"\r\nContent-Length: 0\r\n\r\n"];
    peer.write(head.concat()).await;
    peer.serve("there").await.target().to_owned()
}

/// Unclean bytes are encoded as by curl. A caller's URL is held to the same standard.
#[tokio::test]
async fn unclean_locations_are_encoded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    for (location, target) in [
        (&b"/caf\xc3\xa9"[..], "/caf%C3%A9"),
        (b"/caf\xe9", "/caf%E9"),
        (b"/a b/c.html", "/a%20b/c.html"),
        (b"/x?a=\"1\"", "/x?a=%221%22"),
        (b"/s?q=na\xc3\xafve&x=1", "/s?q=na%C3%AFve&x=1"),
        (b"caf\xc3\xa9?q=a b#\xe9", "/caf%C3%A9?q=a%20b"),
        (b"/tab\t", "/tab"),
        (b"/[a]{b}|\\^%zz", "/[a]{b}|\\^%zz"),
    ] {
        let client = Client::new();
        let asked = fetch(&client, &format!("{origin}/from"));
        assert_eq!(answer_with(&listener, location).await, target);
        assert_eq!(done(asked).await.expect(target), "there");

        let Ok(written) = std::str::from_utf8(location) else { continue };
        let path = written.trim().trim_start_matches('/');
        let client = Client::new();
        let asked = fetch(&client, &format!("{origin}/{path}"));
        let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
        assert_eq!(Peer::over(stream).serve("").await.target(), target, "a caller's own");
        done(asked).await.expect(target);
    }
}

#[tokio::test]
async fn unusable_location_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    for (location, shown) in [
        (&b"mailto:x@y.test"[..], "its scheme is mailto"),
        (b"localhost:8080/x", "its scheme is localhost"),
        (&b"http://b\xfccher.test/"[..], "cher.test/\": the host is not ASCII"),
        (b"/a\tb", "\"/a\\tb\": it has a control character"),
        (b"http://host:port/", "\"http://host:port/\": "),
        (b"http:///x", "\"http:///x\": "),
    ] {
        let client = Client::new();
        let asked = get(&client, &format!("{origin}/from"));
        let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
        let mut peer = Peer::over(stream);
        peer.request().await;
        let head =
            [b"HTTP/1.1 302 Found\r\nLocation: ", location, b"\r\nContent-Length: 0\r\n\r\n"];
        peer.write(head.concat()).await;
        let response = done(asked).await.expect(shown);
        let reason = response.redirect_stopped().expect("a reason").to_string();
        assert!(reason.starts_with("location ") && reason.contains(shown), "{reason}");
    }
}

#[tokio::test]
async fn secrets_stay_at_their_origin() {
    let show = |request: &Request| {
        Answer::Send(ok(&format!(
            "{:?} {:?} {:?}",
            request.field("authorization"),
            request.field("cookie"),
            request.field("x-other")
        )))
    };
    let other = Server::start(move |request| show(request));
    let away = other.url("/to");
    let server = Server::start(move |request| match request.target() {
        "/away" => redirect(302, &away, ""),
        "/here" => redirect(302, "/to", ""),
        _ => show(request),
    });
    let client = Client::new();
    for (path, seen) in
        [("/here", r#"Some("a") Some("c") Some("o")"#), ("/away", r#"None None Some("o")"#)]
    {
        let request = client.get(server.url(path)).header("authorization", "a");
        let request = request.header("cookie", "c").header("x-other", "o");
        let text = request.send().await.expect("a response").text().await;
        assert_eq!(text.expect("a body"), seen, "{path}");
    }
}

/// A host beyond ASCII is looked up by its IDNA name, in a request and in a redirect alike.
#[tokio::test]
async fn host_beyond_ascii_is_converted() {
    let there = Server::start(|request| Answer::Send(ok(request.field("host").unwrap_or("none"))));
    let port = there.port();
    let to_here = tower::service_fn(move |name: keepwarm::connect::Name| async move {
        assert_eq!(name.as_str(), "xn--bcher-kva.test");
        Ok::<_, std::convert::Infallible>([std::net::SocketAddr::from(([127, 0, 0, 1], port))])
    });
    let location = format!("http://b\u{fc}cher.test:{port}/");
    let server = Server::start({
        let location = location.clone();
        move |_| redirect(302, &location, "")
    });
    let client = Client::builder().resolver(to_here).build().expect("good settings");
    for url in [server.url("/"), location] {
        let text = client.get(url).send().await.expect("a response").text().await;
        assert_eq!(text.expect("a body"), format!("xn--bcher-kva.test:{port}"));
    }
}

/// A `Host` of the caller's own names a part of its origin.
#[tokio::test]
async fn custom_host_survives_same_origin_hop() {
    let server = Server::start(|request| match request.target() {
        "/from" => redirect(302, "/to", ""),
        _ => Answer::Send(ok(request.field("host").unwrap_or("none"))),
    });
    let client = Client::new();
    let request = client.get(server.url("/from")).header("host", "virtual");
    let text = request.send().await.expect("a response").text().await;
    assert_eq!(text.expect("a body"), "virtual");
    let twice = client.get(server.url("/to")).header("host", "a").header("Host", "b");
    let error = twice.send().await.expect_err("two hosts");
    assert!(error.is_invalid() && error.to_string().contains("Host is set twice"), "{error}");
}

#[tokio::test]
async fn host_field_is_made_per_hop() {
    let other = Server::start(|request| Answer::Send(ok(request.field("host").unwrap_or("none"))));
    let away = other.url("/to");
    let server = Server::start(move |_| redirect(302, &away, ""));
    let client = Client::new();
    let request = client.get(server.url("/")).header("host", "virtual");
    let text = request.send().await.expect("a response").text().await;
    assert_eq!(text.expect("a body"), format!("127.0.0.1:{}", other.port()));
}

#[tokio::test]
async fn the_timeout_covers_the_whole_chain() {
    // Each hop takes no time, and there is no end to them.
    let server = Server::start(|_| redirect(302, "/again", ""));
    let client = Client::builder().max_redirects(u32::MAX).build().expect("good");
    let request = client.get(server.url("/")).timeout(Duration::from_millis(100));
    let error = within("the timeout", request.send()).await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert!(server.requests() > 10, "it was not the first hop that was late");
}

#[tokio::test]
async fn small_redirect_body_keeps_connection() {
    for body in ["", "moved", &"x".repeat(2_000)] {
        let text = body.to_owned();
        let server = Server::start(move |request| match request.target() {
            "/from" => redirect(302, "/to", &text),
            _ => Answer::Send(ok("there")),
        });
        let client = Client::new();
        let response = client.get(server.url("/from")).send().await;
        let response = response.expect("a response");
        assert!(response.connection().reused(), "{} bytes", body.len());
        within("the body", response.bytes()).await.expect("a body");
        assert_eq!(server.accepted(), 1);
    }
}

#[tokio::test]
async fn chunked_redirect_body_keeps_connection() {
    let server = Server::start(move |request| match request.target() {
        "/from" => Answer::Send(
            "HTTP/1.1 302 Found\r\nLocation: /to\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nmoved\r\n0\r\n\r\n"
                .into(),
        ),
        _ => Answer::Send(ok("there")),
    });
    let client = Client::new();
    client.get(server.url("/from")).send().await.expect("there");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn large_redirect_body_is_not_read() {
    let server = Server::start(|request| match request.target() {
        "/from" => redirect(302, "/to", &"x".repeat(1 << 20)),
        _ => Answer::Send(ok("there")),
    });
    let client = Client::new();
    let response = client.get(server.url("/from")).send().await;
    assert!(!response.expect("a response").connection().reused());
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
}
