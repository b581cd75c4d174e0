//! Interim responses (1xx): passed over or told of, bounded, and never mistaken for the final one.

use std::sync::{Arc, Mutex};

use keepwarm::{Client, CloseReason, Error, Response, Result, Stage as At};
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok, within};

use crate::support::{assert_at_rest, done, exchange, fetch, only};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";

/// The links that interim responses have told of.
type Told = Arc<Mutex<Vec<(u16, String)>>>;

fn listening(
    client: &Client,
    url: &str,
    told: &Told,
) -> impl Future<Output = Result<Response>> + use<> {
    let told = Arc::clone(told);
    let request = client.get(url).on_interim(move |status, headers| {
        let link = headers.get("link").map_or("", |link| link.to_str().expect("text"));
        told.lock().expect("no panic").push((status.as_u16(), link.to_owned()));
    });
    request.send()
}

/// The connection is kept.
#[tokio::test]
async fn interim_responses_are_ignored() {
    let interim = format!("{HINTS}HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    let server = Server::start(move |_| Answer::Send(format!("{interim}{}", ok("final"))));
    let client = Client::new();
    for _ in 0..3 {
        assert_eq!(exchange(&client, &server.url("/")).await, "final");
    }
    assert_eq!((only(&client).opened, only(&client).idle), (1, 1));
}

/// The listener hears of each interim response as it comes.
#[tokio::test]
async fn listener_hears_its_own_request_only() {
    let stage = Stage::open().await;
    let client = Client::new();
    let told = Told::default();
    let request = tokio::spawn(listening(&client, &stage.url("/"), &told));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(HINTS).await;
    eventually("the hint", || told.lock().expect("no panic").len() == 1).await;
    assert!(!request.is_finished());
    peer.write("HTTP/1.1 102 Processing\r\n\r\n").await;
    eventually("the next", || told.lock().expect("no panic").len() == 2).await;
    peer.write(ok("final")).await;
    assert_eq!(done(request).await.expect("a head").text().await.expect("a body"), "final");
    let expected = [(103, "</a.css>".to_owned()), (102, String::new())];
    assert_eq!(*told.lock().expect("no panic"), expected);

    let next = fetch(&client, &stage.url("/"));
    peer.request().await;
    peer.write(format!("{HINTS}{}", ok("next"))).await;
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_eq!(told.lock().expect("no panic").len(), 2);
}

#[tokio::test]
async fn listener_hears_redirects_and_retries() {
    let server = Server::start(|request| {
        let answer = match request.target() {
            "/there" => ok("there"),
            _ => "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        Answer::Send(format!("{HINTS}{answer}"))
    });
    let client = Client::new();
    let told = Told::default();
    let request = listening(&client, &server.url("/"), &told);
    within("a response", request).await.expect("a response");
    assert_eq!(told.lock().expect("no panic").len(), 2);

    // A server that closes the idle connection as it is written to, and a second one.
    let stage = Stage::open().await;
    let told = Told::default();
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("").await;
    done(first).await.expect("a body");
    let request = tokio::spawn(listening(&client, &stage.url("/"), &told));
    peer.request().await;
    peer.close();
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(format!("{HINTS}{}", ok(""))).await;
    assert_eq!(done(request).await.expect("a response").connection().attempts(), 2);
    assert_eq!(told.lock().expect("no panic").len(), 1);
}

/// Floods as fast as the client reads, and slower: neither ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_flood_is_bounded() {
    let server = Server::start(|_| Answer::SendAndStall(HINTS.repeat(1 << 16)));
    let client = Client::builder().max_connections_per_origin(1).build().expect("good settings");
    for _ in 0..2 {
        let request = client.get(server.url("/")).send();
        let error = within("an answer", request).await.expect_err("no final response");
        assert_eq!(error.stage(), At::Exchange);
        assert!(
            error
                .to_string()
                .contains("more than 1 MiB of interim responses (1xx) and header fields"),
            "{error}"
        );
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.opened), (0, 2));
}

fn assert_refused(error: &Error) {
    assert_eq!(error.stage(), At::Exchange, "{error}");
    assert!(error.to_string().contains("switched protocols (101)"), "{error}");
}

#[tokio::test]
async fn unasked_protocol_switch_is_rejected() {
    let stage = Stage::open().await;
    let client = Client::new();
    for fields in [&[][..], &[("Upgrade", "websocket")], &[("Connection", "upgrade")]] {
        let request = client.get(stage.url("/"));
        let request = fields.iter().fold(request, |all, (name, value)| all.header(name, value));
        let request = tokio::spawn(request.send());
        let mut peer = stage.accept().await;
        peer.request().await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket";
        peer.write(format!("{switch}\r\n\r\n{}", ok("stray"))).await;
        assert_refused(&done(request).await.expect_err("refused"));
        peer.ended().await;
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::ExchangeFailed)), (0, 3));
    // A server may ignore the wish (RFC 9110, 7.8).
    let request = client.get(stage.url("/")).header("Connection", "upgrade");
    let request = tokio::spawn(request.header("Upgrade", "websocket").send());
    let mut peer = stage.accept().await;
    peer.serve("as before").await;
    assert_eq!(done(request).await.expect("a head").text().await.expect("a body"), "as before");
    assert_eq!(only(&client).idle, 1);
}

/// The listener's request fails.
#[tokio::test]
async fn panicking_listener_frees_the_place() {
    let server = Server::start(|_| Answer::Send(format!("{HINTS}{}", ok("final"))));
    let client = Client::builder().max_connections_per_origin(1).build().expect("good settings");
    for _ in 0..3 {
        let request = client.get(server.url("/")).on_interim(|_, _| panic!("rude listener"));
        let panic = within("the panic", tokio::spawn(request.send())).await.expect_err("rude");
        assert!(panic.is_panic());
    }
    assert_eq!(exchange(&client, &server.url("/")).await, "final");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::Abandoned)), (1, 3));
}
