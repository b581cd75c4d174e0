//! Connections ahead of the first request, and the orderly end of a client.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keepwarm::connect::Destination;
use keepwarm::{Client, Event, EventKind, Stage as At};
use keepwarm_testkit::http_server::{Gate, HttpServer, RefusedPort};
use keepwarm_testkit::scripted::{Server, eventually, within};
use tokio::net::TcpStream;

use crate::support::{assert_at_rest, audit, done, exchange, fetch, only};

#[tokio::test]
async fn warmed_connections_serve_the_burst() {
    let server = Server::saying("warm");
    let client = Client::new();
    let url = server.url("/");
    assert_eq!(within("connections", client.warm(&url, 8)).await.expect("all open"), 8);
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.opened, stats.warmed, stats.reused), (8, 8, 8, 0));
    assert_eq!(server.requests(), 0, "no request was sent");
    let burst: Vec<_> = (0..8).map(|_| fetch(&client, &url)).collect();
    for one in burst {
        assert_eq!(done(one).await.expect("a body"), "warm");
    }
    assert_eq!(only(&client).opened, 8);
    let told = client.explain(&server.origin()).expect("known");
    assert!(told.contains(": 8 requests, "), "{told}");
    // Idle ones count.
    assert_eq!(client.warm(&url, 10).await.expect("all open"), 10);
    assert_eq!(only(&client).opened, 10);
}

#[tokio::test]
async fn warming_keeps_to_the_limits() {
    let server = Server::saying("warm");
    let url = server.url("/");
    for builder in [
        Client::builder().max_connections_per_origin(3),
        Client::builder().max_idle_per_origin(3),
        Client::builder().max_connections(3),
        Client::builder().max_idle(3),
    ] {
        let client = builder.build().expect("good");
        assert_eq!(within("connections", client.warm(&url, 9)).await.expect("three open"), 3);
        let stats = only(&client);
        assert_eq!((stats.idle, stats.opened, stats.closed()), (3, 3, 0));
    }
    assert_eq!(Client::new().warm(&url, 0).await.expect("nothing to do"), 0);
    for builder in
        [Client::builder().keep_alive(false), Client::builder().idle_timeout(Duration::ZERO)]
    {
        let client = builder.build().expect("good");
        assert_eq!(client.warm(&url, 4).await.expect("nothing to do"), 0);
        assert_eq!(only(&client).opened, 0, "none could be kept");
    }
}

/// Each holds connections that the other waits for.
#[tokio::test]
async fn warmings_at_a_limit_take_turns() {
    let (one, two) = (Server::saying("warm"), Server::saying("warm"));
    let own = Client::builder().max_connections_per_origin(4).build().expect("good");
    let url = one.url("/");
    let both = async { tokio::join!(own.warm(&url, 4), own.warm(&url, 4)) };
    let (first, second) = within("both", both).await;
    assert_eq!((first.expect("open"), second.expect("open")), (4, 4));
    assert_eq!(only(&own).opened, 4);
    let shared = Client::builder().max_connections(4).build().expect("good");
    let other = two.url("/");
    let both = async { tokio::join!(shared.warm(&url, 4), shared.warm(&other, 4)) };
    let (first, second) = within("both", both).await;
    assert_eq!((first.expect("open"), second.expect("open")), (4, 4));
}

/// No more than the descriptors allow: an answer, and no wait for what is held itself.
#[tokio::test]
async fn warming_reports_that_no_descriptor_is_left() {
    let server = Server::saying("warm");
    let dials = Arc::new(AtomicUsize::new(0));
    let (made, port) = (Arc::clone(&dials), server.port());
    let scarce = tower::service_fn(move |_: Destination| {
        let nth = made.fetch_add(1, Ordering::SeqCst);
        async move {
            match nth {
                0..3 => TcpStream::connect(("127.0.0.1", port)).await,
                _ => Err(std::io::Error::from_raw_os_error(24)),
            }
        }
    });
    let client = Client::builder().connector(scarce).build().expect("good");
    let warmed = within("an answer", client.warm(server.url("/"), 9)).await;
    let error = warmed.expect_err("six are refused");
    assert!(error.is_connect() && error.to_string().contains("os error 24"), "{error}");
    eventually("the others", || only(&client).idle == 3).await;
    assert_eq!((only(&client).active, only(&client).waiting), (0, 0));
}

#[tokio::test]
async fn warming_reports_a_failed_dial() {
    let dead = RefusedPort::new();
    let client = Client::new();
    let url = format!("http://{}/", dead.address());
    let error = within("a failure", client.warm(&url, 4)).await.expect_err("refused");
    assert!(error.is_connect() && error.stage() == At::Connect, "{error}");
    let error = client.warm("no url", 1).await.expect_err("no URL");
    assert!(error.is_invalid(), "{error}");
}

/// A server whose answers wait for a gate.
fn gated(gate: &Arc<Gate>) -> HttpServer {
    let gate = Arc::clone(gate);
    HttpServer::start(move |conn| {
        while conn.read_request() {
            gate.wait();
            conn.respond("late");
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_serves_what_waits_and_is_in_flight() {
    let gate = Arc::new(Gate::new());
    let server = gated(&gate);
    let client = Client::builder().max_connections_per_origin(1).build().expect("good");
    let url = server.url();
    let asked: Vec<_> = (0..3).map(|_| fetch(&client, &url)).collect();
    eventually("one in flight and two waiting", || {
        let total = client.stats().total;
        (total.active, total.waiting) == (1, 2)
    })
    .await;
    let closing = {
        let client = client.clone();
        tokio::spawn(async move { client.shutdown(Duration::from_secs(60)).await })
    };
    // Until requests that begin now are refused.
    let error = within("a refusal", async {
        loop {
            if let Err(error) = client.get("http://127.0.0.1:1/").send().await
                && error.is_shut_down()
            {
                return error;
            }
        }
    })
    .await;
    assert!(error.to_string().contains("the client is shutting down"), "{error}");
    assert!(client.warm(&url, 1).await.expect_err("refused").is_shut_down());
    gate.open();
    for one in asked {
        assert_eq!(done(one).await.expect("served"), "late");
    }
    assert_eq!(within("the end", closing).await.expect("no panic"), 0);
    let stats = client.stats().origin(&url).cloned();
    let stats = stats.expect("known");
    audit(&stats);
    assert_eq!((stats.opened, stats.closed(), stats.idle), (1, 1, 0));
}

#[tokio::test]
async fn shutdown_follows_a_redirect_to_its_end() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            if conn.request().starts_with(b"GET /end") {
                conn.respond("the end");
            } else {
                held.wait();
                conn.send(b"HTTP/1.1 302 Found\r\nlocation: /end\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    let client = Client::new();
    let asked = fetch(&client, &server.url());
    eventually("a request in flight", || client.stats().total.active == 1).await;
    gate.open();
    assert_eq!(within("the end", client.shutdown(Duration::from_secs(60))).await, 0);
    assert_eq!(done(asked).await.expect("served"), "the end");
}

/// Between two hops a request has no connection, and waits for none. An observer is called there.
#[tokio::test]
async fn shutdown_waits_between_two_hops() {
    waits_for_the_next_attempt("302 Found\r\nlocation: /end").await;
}

/// Nor has it one before it goes again.
#[tokio::test]
async fn shutdown_waits_for_a_withdrawn_expectation() {
    waits_for_the_next_attempt("417 Expectation Failed").await;
}

/// Answers a request, and then the one that the client makes of it.
async fn waits_for_the_next_attempt(answer: &'static str) {
    type Ending = Pin<Box<dyn Future<Output = usize> + Send>>;
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            let is_first = conn.request().windows(7).any(|part| part == b"expect:");
            if is_first && !conn.request().starts_with(b"GET /end") {
                held.wait();
                conn.send(answer.as_bytes());
            } else {
                conn.respond("the end");
            }
        }
    });
    let ending: Arc<Mutex<Option<Ending>>> = Arc::default();
    let polls = Arc::new(Mutex::new(Vec::new()));
    let (watched, seen) = (Arc::clone(&ending), Arc::clone(&polls));
    let observer = move |event: Event| {
        let mut ending = watched.lock().expect("no panic");
        if let (EventKind::ConnectionReturned { .. }, Some(ending)) = (&event.kind, &mut *ending) {
            let polled = ending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            seen.lock().expect("no panic").push(polled.is_pending());
        }
    };
    let client = Client::builder().observer(observer).build().expect("good settings");
    let request = client.get(server.url()).header("expect", "100-continue");
    let asked = tokio::spawn(async move { request.send().await?.text().await });
    eventually("a request in flight", || client.stats().total.active == 1).await;
    let own = client.clone();
    let mut future: Ending = Box::pin(async move { own.shutdown(Duration::from_secs(60)).await });
    let first = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)));
    assert!(first.await.is_pending(), "a request is in flight");
    *ending.lock().expect("no panic") = Some(future);
    gate.open();
    assert_eq!(done(asked).await.expect("served"), "the end");
    let polls = polls.lock().expect("no panic").clone();
    assert_eq!(polls.first(), Some(&true), "the next attempt was still to come: {polls:?}");
}

#[tokio::test]
async fn shutdown_ends_at_its_deadline() {
    let gate = Arc::new(Gate::new());
    let server = gated(&gate);
    let client = Client::new();
    let asked = fetch(&client, &server.url());
    eventually("a request in flight", || client.stats().total.active == 1).await;
    assert_eq!(within("the end", client.shutdown(Duration::from_millis(20))).await, 1);
    // The exchange goes on, and its connection closes behind it.
    gate.open();
    assert_eq!(done(asked).await.expect("a body"), "late");
    eventually("its close", || only(&client).closed() == 1).await;
}

#[tokio::test]
async fn unused_client_shuts_down_at_once() {
    let server = Server::saying("x");
    let client = Client::new();
    assert_eq!(exchange(&client, &server.url("/")).await, "x");
    assert_eq!(within("the end", client.shutdown(Duration::MAX)).await, 0);
    assert_eq!(only(&client).idle, 0);
}
