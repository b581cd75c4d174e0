//! Tower layers over the client: what docs/layers.md leaves to them, by the code of the example.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use keepwarm::{Body, Client};
use keepwarm_testkit::scripted::{Answer, Request, Server, Stage, ok, within};
use tower::hedge::Hedge;
use tower::retry::RetryLayer;
use tower::{Service as _, ServiceBuilder, ServiceExt};

#[path = "../examples/layers.rs"]
mod example;

use example::{Answered, Asked, OnBusy, SafeMethods};

fn asked(method: http::Method, url: &str) -> Asked {
    let request = http::Request::builder().method(method).uri(url);
    request.body(Body::from("data")).expect("a request")
}

async fn text(response: Answered) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn retries_by_status_are_a_layer() {
    let busy = AtomicU32::new(2);
    let server = Server::start(move |request: &Request| {
        if busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            let head = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
            return Answer::Send(head.to_owned());
        }
        let id = request.field("x-request-id").unwrap_or("-");
        Answer::Send(ok(&format!("{id} {}", String::from_utf8_lossy(&request.body))))
    });
    let mut service = ServiceBuilder::new()
        .map_request(|mut request: Asked| {
            request.headers_mut().insert("x-request-id", http::HeaderValue::from_static("7"));
            request
        })
        .layer(RetryLayer::new(OnBusy(3)))
        .service(Client::new());
    let request = asked(http::Method::POST, &server.url("/"));
    let answer = service.ready().await.expect("ready").call(request).await;
    assert_eq!(text(answer.expect("a response")).await, "7 data");
    assert_eq!((server.requests(), server.accepted()), (3, 1), "one connection for all attempts");
}

#[tokio::test(start_paused = true)]
async fn timeout_and_limit_are_layers() {
    let stage = Stage::open().await;
    let mut service = ServiceBuilder::new()
        .timeout(Duration::from_secs(3))
        .concurrency_limit(1)
        .service(Client::new());
    let service = ServiceExt::<Asked>::ready(&mut service).await.expect("ready");
    let call = tokio::spawn(service.call(asked(http::Method::POST, &stage.url("/"))));
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = within("an end", call).await.expect("no panic").expect_err("it is late");
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
}

#[tokio::test]
async fn layers_of_tower_http_are_layers() {
    let server = Server::start(|request: &Request| {
        if request.target() == "/old" {
            let head = "HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n";
            return Answer::Send(head.to_owned());
        }
        let accept = request.field("accept").unwrap_or("-");
        Answer::Send(ok(&format!("{} {accept}", request.target())))
    });
    let client = Client::new();
    let outcome = within("an answer", example::get(client.clone(), &server.url("/old"))).await;
    assert_eq!(outcome.expect("an answer"), (200, "/new application/json".to_owned()));
    assert_eq!((server.requests(), server.accepted()), (2, 1));
    // The other layers of the example pass an answer on, too.
    let request = http::Request::get(server.url("/new")).body(Body::empty()).expect("a request");
    let mut hedged = example::hedged(client);
    let answer = hedged.ready().await.expect("ready").call(request).await.expect("an answer");
    assert_eq!(text(answer).await, "/new -");
}

/// The first request is answered by none: only the hedge can be.
#[tokio::test]
async fn hedge_is_a_layer() {
    let stage = Stage::open().await;
    let known = [1; 20];
    let period = Duration::from_secs(600);
    let hedge = Hedge::new_with_mock_latencies(Client::new(), SafeMethods, 10, 0.9, period, &known);
    let call = hedge.oneshot(asked(http::Method::GET, &stage.url("/")));
    let call = tokio::spawn(call);
    let mut slow = stage.accept().await;
    slow.request().await;
    let mut quick = stage.accept().await;
    quick.serve("hedged").await;
    let answer = within("an answer", call).await.expect("no panic").expect("an answer");
    assert_eq!(text(answer).await, "hedged");
    slow.ended().await;
}

#[test]
fn page_shows_the_example() {
    let page = include_str!("../../../docs/layers.md");
    let block = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut compiled = include_str!("../examples/layers.rs").lines().map(str::trim);
    for line in block.expect("a block").lines().map(str::trim) {
        assert!(compiled.any(|one| one == line), "{line:?} is not in examples/layers.rs");
    }
}
