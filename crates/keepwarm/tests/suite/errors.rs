//! The text and the predicates of errors: the stage, the cause, the connection, and which side was
//! at fault.

use std::time::Duration;

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason, Closer, Error, Stage as At};
use keepwarm_testkit::http_server::{RefusedPort, SilentPort};
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, within};

use crate::support::{assert_at_rest, by_hand, done, exchange, fetch, get, only, poll_once};

const SOON: Duration = Duration::from_millis(40);

async fn refused(client: &Client, url: &str) -> Error {
    let error = client.get(url).send().await.expect_err(url);
    assert!(client.stats().origins.is_empty(), "nothing was tried");
    assert!(error.is_invalid(), "{error}");
    assert_eq!(error.stage(), At::Request);
    error
}

#[tokio::test]
async fn unusable_url_is_rejected_with_reason() {
    let client = Client::new();
    for (url, reason) in [
        ("http://host:port/", "the port is not a number"),
        ("http://host:65536/", "the port is not a number"),
        ("http://[::1]:x/", "the port is not a number"),
        ("", "is not a URL"),
        ("/path", "no scheme"),
        ("host/path", "; write http://host/path"),
        ("http://\u{fffd}.test/", "the host is not ASCII, and has no form by IDNA"),
        ("http://host/\r\nx: y", "it has a control character"),
        ("host", "no scheme"),
        #[cfg(not(feature = "tls"))]
        ("https://host/", "TLS is not built into this version"),
        ("ftp://host/", "scheme ftp is not supported"),
    ] {
        let error = refused(&client, url).await.to_string();
        assert!(error.contains(reason), "{url:?}: {error}");
    }
}

/// The message does not repeat them.
#[tokio::test]
async fn url_credentials_are_rejected_unrepeated() {
    let client = Client::new();
    for url in ["http://user:secret@host/", "https://user:secret@host", "http://u:secret@ho st/"] {
        let error = refused(&client, url).await;
        assert!(!format!("{error}{error:?}").contains("secret"), "{error}");
    }
    let error = refused(&client, "http://user:secret@host/").await.to_string();
    assert!(error.contains("credentials in a URL are not sent"), "{error}");
}

/// The header is rejected.
#[tokio::test]
async fn unsendable_header_value_is_not_repeated() {
    let client = Client::new();
    for (name, value) in [("a b", "x"), ("token", "secret\r\nx: y")] {
        let request = client.get("http://127.0.0.1:1/").header(name, value);
        let error = request.send().await.expect_err("refused");
        assert!(error.is_invalid() && error.to_string().contains(name), "{error}");
        assert!(!format!("{error}{error:?}").contains("secret"));
    }
}

/// The error has the setting's name and value.
#[test]
fn unusable_settings_are_named() {
    let builder = Client::builder;
    for (refused, setting) in [
        (builder().max_connections_per_origin(0), "max_connections_per_origin is 0"),
        (builder().max_requests_per_connection(0), "max_requests_per_connection is 0"),
        (builder().max_lifetime(Duration::ZERO), "max_lifetime is 0"),
        (builder().acquire_timeout(Duration::ZERO), "acquire_timeout is 0"),
        (builder().connect_timeout(Duration::ZERO), "connect_timeout is 0"),
        (builder().timeout(Duration::ZERO), "timeout is 0"),
        (builder().response_header_timeout(Duration::ZERO), "response_header_timeout is 0"),
        (builder().tcp_keepalive(Duration::ZERO), "tcp_keepalive is 0ns"),
        (builder().tcp_keepalive(Duration::from_millis(900)), "tcp_keepalive is 900ms"),
        (builder().tcp_keepalive(Duration::from_secs(32_768)), "tcp_keepalive is 32768s"),
        (builder().tcp_keepalive_probes(0), "tcp_keepalive_probes is 0"),
        (builder().tcp_keepalive_probes(128), "tcp_keepalive_probes is 128"),
        (builder().tcp_user_timeout(Duration::ZERO), "tcp_user_timeout is 0ns"),
        (builder().stall_timeout(Duration::ZERO), "stall_timeout is 0"),
        (builder().max_lifetime_jitter(SOON), "max_lifetime_jitter is 40ms"),
        (builder().max_lifetime(SOON).max_lifetime_jitter(SOON), "max_lifetime_jitter is 40ms"),
        (builder().tcp_user_timeout(Duration::from_micros(900)), "tcp_user_timeout is 900µs"),
    ] {
        let error = refused.build().expect_err(setting);
        assert!(error.is_invalid());
        let text = error.to_string();
        assert!(text.contains(setting), "{text}");
        assert!(text.contains("; set "), "it names the way out: {text}");
    }
}

#[tokio::test]
async fn a_timeout_of_zero_is_refused() {
    let request = Client::new().get("http://127.0.0.1:1/");
    let error = request.timeout(Duration::ZERO).send().await;
    assert!(error.expect_err("refused").is_invalid());
}

/// A refused connection is a connect error.
#[tokio::test]
async fn refused_connection_names_address_and_errno() {
    let nobody = RefusedPort::new();
    let client = Client::new();
    let error = client.get(format!("http://{}/", nobody.address()));
    let error = error.send().await.expect_err("refused");
    assert!(error.is_connect() && !error.is_timeout());
    assert_eq!(error.on_reused_connection(), None);
    let io = error.io_error().expect("an io error");
    assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
    let text = error.to_string();
    assert!(text.starts_with(&format!("http://{}: connecting failed", nobody.address())), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert_eq!(only(&client).dials_failed, 1);
}

#[tokio::test]
async fn unresolvable_name_is_a_connect_error() {
    let client = Client::new();
    // RFC 6761, 6.4: no name under this one ever resolves.
    let error = within("the resolver", client.get("http://nobody.invalid/").send()).await;
    let error = error.expect_err("unresolvable");
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("cannot resolve nobody.invalid"), "{error}");
}

#[tokio::test]
async fn immediate_close_fails_on_new_connection() {
    for reset in [false, true] {
        let stage = Stage::open().await;
        let client = Client::new();
        let request = get(&client, &stage.url("/"));
        let peer = stage.accept().await;
        if reset {
            peer.reset();
        } else {
            peer.close();
        }
        let error = done(request).await.expect_err("closed");
        assert!(!error.is_timeout(), "{error}");
        assert!(matches!(error.stage(), At::Exchange | At::Connect), "{error}");
        assert_ne!(error.on_reused_connection(), Some(true));
        assert!(!stage.has_another().await, "a new connection is no reason to try again");
        assert_at_rest(&only(&client));
    }
}

/// The connection is closed.
#[tokio::test]
async fn response_that_is_not_http_fails() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write("220 mail.example ESMTP\r\n\r\n").await;
    let error = done(request).await.expect_err("garbage");
    assert_eq!(error.stage(), At::Exchange);
    assert_eq!(error.on_reused_connection(), Some(false));
    let text = error.to_string();
    assert!(text.contains("no response on a new connection"), "{text}");
    assert!(std::error::Error::source(&error).is_some(), "the cause: {text}");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closed_for(CloseReason::ExchangeFailed), 1);
}

#[tokio::test]
async fn broken_connection_is_reported_as_reused() {
    let stage = Stage::open().await;
    let client = Client::new();
    for (reset, reused) in [(false, false), (false, true), (true, false), (true, true)] {
        let post = || tokio::spawn(client.post(stage.url("/")).send());
        let mut request = post();
        let mut peer = stage.accept().await;
        if reused {
            peer.serve("").await;
            done(request).await.expect("a response");
            request = post();
        }
        peer.request().await;
        if reset {
            peer.reset()
        } else {
            peer.close()
        }
        let error = done(request).await.expect_err("broken");
        assert_eq!(error.stage(), At::Exchange, "{error}");
        assert_eq!(error.on_reused_connection(), Some(reused), "{error}");
        assert!(!stage.has_another().await, "bytes were written: no second attempt");
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closed_for(CloseReason::ExchangeFailed), 4);
    assert_eq!(stats.closed_by(Closer::Server), 4);
}

/// Ends a body midway; `reused` says on which exchange of the connection.
async fn broken_body(head: &str, reset: bool, reused: bool) -> (Error, Closer) {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peer = None;
    if reused {
        let first = fetch(&client, &stage.url("/"));
        let mut accepted = stage.accept().await;
        accepted.serve("").await;
        done(first).await.expect("a body");
        peer = Some(accepted);
    }
    let request = get(&client, &stage.url("/"));
    let mut peer = match peer {
        Some(peer) => peer,
        None => stage.accept().await,
    };
    peer.request().await;
    peer.write(head).await;
    let response = done(request).await.expect("a head");
    if reset {
        peer.reset();
    } else {
        peer.close();
    }
    let error = within("the end", response.bytes()).await.expect_err("broken");
    assert_eq!(error.origin(), Some(&*stage.origin()));
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closes.len(), 1);
    assert_eq!(stats.closes[0].reason, CloseReason::ExchangeFailed);
    (error, stats.closes[0].closer)
}

/// Closed by the server.
#[tokio::test]
async fn broken_body_is_a_body_error() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for head in [length, chunked] {
        for reset in [false, true] {
            for reused in [false, true] {
                let (error, closer) = broken_body(head, reset, reused).await;
                assert_eq!(error.stage(), At::Body, "{error}");
                assert_eq!(error.on_reused_connection(), Some(reused));
                assert_eq!(closer, Closer::Server, "{error}");
                let kind = if reused { "reused" } else { "new" };
                let text = error.to_string();
                assert!(
                    text.contains(&format!("reading the body failed on a {kind} connection: ")),
                    "{text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn queue_timeout_has_stage_wait() {
    let stage = Stage::open().await;
    let builder = Client::builder().max_connections_per_origin(1);
    let client = builder.build().expect("good settings");
    let _holds = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let request = client.get(stage.url("/")).timeout(SOON);
    let error = within("the timeout", request.send()).await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.stage(), At::Wait);
    assert_eq!(error.to_string(), format!("{}: no connection was free: timed out", stage.origin()));
    assert_eq!((only(&client).waiting, only(&client).cancelled), (0, 1));
}

#[tokio::test]
async fn dial_timeout_has_stage_connect() {
    let silent = SilentPort::new();
    let url = format!("http://{}/", silent.address());
    let client = Client::new();
    let request = client.get(&url).timeout(SOON);
    let error = within("the timeout", request.send()).await.expect_err("late");
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    assert_eq!(only(&client).dialing, 1, "the dial goes on for the next request");

    let builder = Client::builder().connect_timeout(SOON);
    let client = builder.build().expect("good settings");
    let error = within("the timeout", client.get(&url).send()).await;
    let error = error.expect_err("late");
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    assert_eq!((only(&client).dialing, only(&client).dials_failed), (0, 1));
}

#[tokio::test]
async fn head_timeout_has_stage_exchange() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = tokio::spawn(client.get(stage.url("/")).timeout(SOON).send());
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = done(request).await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.stage(), At::Exchange);
    assert_eq!(error.on_reused_connection(), Some(false));
    peer.ended().await;
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
}

#[tokio::test]
async fn body_timeout_has_stage_body() {
    let stage = Stage::open().await;
    let client = Client::builder().timeout(SOON).build().expect("good");
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let response = done(request).await.expect("a head");
    let error = within("the timeout", response.bytes()).await;
    let error = error.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.stage(), At::Body);
    assert_eq!(error.origin(), Some(&*stage.origin()));
    peer.ended().await;
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
}

/// The reader is never kept waiting, so nothing but a look at the clock can end this.
/// The body never stalls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timeout_ends_an_endless_body() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = head.to_owned() + &"1\r\nx\r\n".repeat(1 << 20);
    let server = Server::start(move |_| Answer::Send(endless.clone()));
    let client = Client::new();
    let request = client.get(server.url("/")).timeout(Duration::from_secs(1));
    let mut response = request.send().await.expect("a head");
    let began = std::time::Instant::now();
    let error = loop {
        match response.body_mut().frame().await.expect("no end") {
            Ok(_) => {
                // Slow enough for the server to be ahead, always.
                std::thread::sleep(Duration::from_micros(100));
                assert!(began.elapsed() < Duration::from_secs(60), "the timeout never came");
            }
            Err(error) => break error,
        }
    };
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.stage(), At::Body);
}

#[tokio::test]
async fn body_beyond_the_limit_is_rejected() {
    let server = Server::saying("0123456789");
    let client = Client::new();
    let response = client.get(server.url("/")).send().await.expect("a head");
    assert_eq!(response.bytes_up_to(10).await.expect("all of it").len(), 10);
    let response = client.get(server.url("/")).send().await.expect("a head");
    let error = response.bytes_up_to(9).await.expect_err("too large");
    assert!(error.is_too_large(), "{error}");
    assert!(error.to_string().contains("the 9 bytes"), "{error}");
}

/// The waiters of a dropped client fail, and its idle connections are closed.
#[tokio::test]
async fn last_client_lets_exchanges_end() {
    let stage = Stage::open().await;
    let builder = Client::builder().max_connections_per_origin(2);
    let client = builder.build().expect("good settings");
    let idle = fetch(&client, &stage.url("/idle"));
    let mut idle_peer = stage.accept().await;
    let active = get(&client, &stage.url("/active"));
    let mut active_peer = stage.accept().await;
    let waiting = get(&client, &stage.url("/waiting"));
    idle_peer.request().await;
    active_peer.request().await;
    active_peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
    let active = done(active).await.expect("a head");
    eventually("the queue", || only(&client).waiting == 1).await;

    drop(client.clone());
    assert_eq!(only(&client).waiting, 1, "a clone is left");
    drop(client);
    let error = done(waiting).await.expect_err("shut down");
    assert!(error.is_shut_down(), "{error}");
    assert_eq!(error.stage(), At::Wait);

    idle_peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(done(idle).await.expect("it was in use"), "ok");
    idle_peer.ended().await;
    active_peer.write("k").await;
    assert_eq!(active.text().await.expect("it was in use"), "ok");
    active_peer.ended().await;
}

/// The idle connections of a dropped client are closed.
#[tokio::test]
async fn last_client_aborts_dials() {
    let server = Server::saying("x");
    let silent = SilentPort::new();
    let client = Client::new();
    exchange(&client, &server.url("/")).await;
    let mut dialling = by_hand(&client, &format!("http://{}/", silent.address()));
    assert!(poll_once(&mut dialling).is_pending());
    drop(client);
    eventually("the close", || server.open() == 0).await;
    let error = within("the failure", dialling).await.expect_err("shut down");
    assert!(error.is_shut_down(), "{error}");
}

/// No user has to match words: one predicate for each kind, and no other one.
#[tokio::test]
async fn predicates_tell_causes_apart() {
    type Predicate = fn(&Error) -> bool;
    let predicates: [(&str, Predicate); 4] = [
        ("closed by the peer", Error::is_closed_by_peer),
        ("not HTTP", Error::is_not_http),
        ("a limit", Error::is_limit),
        ("the name", Error::is_resolve),
    ];
    let told = |error: &Error| -> Vec<&str> {
        predicates.iter().filter(|(_, holds)| holds(error)).map(|(name, _)| *name).collect()
    };
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 << 20));
    for (sent, expected) in [
        ("", "closed by the peer"),
        ("HTTP/1.1 200 OK\r\nContent-", "closed by the peer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbroken", "closed by the peer"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbr", "closed by the peer"),
        ("220 mail.example ESMTP\r\n\r\n", "not HTTP"),
        ("\x16\x03\x01\x02", "not HTTP"),
        (&endless, "a limit"),
    ] {
        let stage = Stage::open().await;
        let client = Client::new();
        let request = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.request().await;
        let server = async {
            // The client may close before all of it is sent.
            let _ = tokio::time::timeout(Duration::from_secs(5), peer.write(sent)).await;
            peer.close();
        };
        let sent = &sent[..sent.len().min(50)];
        let (error, ()) = tokio::join!(done(request), server);
        let error = error.expect_err(sent);
        assert_eq!(told(&error), [expected], "{sent:?}: {error}");
        assert_eq!(format!("{error:?}"), format!("Error({error})"));
    }
    let error = Client::new().get("http://nobody.invalid/").send().await.expect_err("no name");
    assert_eq!(told(&error), ["the name"], "{error}");
    let server = Server::saying("too much");
    let response = Client::new().get(server.url("/")).send().await.expect("a response");
    let error = response.bytes_up_to(3).await.expect_err("too large");
    assert_eq!(told(&error), ["a limit"], "{error}");
}
