//! A response that overtakes its upload.

use std::time::{Duration, Instant};

use bytes::Bytes;
use keepwarm::{Body, Client, CloseReason, Response, Stage as At};
use keepwarm_testkit::scripted::{Peer, Stage, eventually, ok, within};
use tokio::sync::oneshot;

use crate::support::{Gated, assert_at_rest, done, fetch, only};

const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n";
/// More than the sockets hold.
const MUCH: usize = 32 << 20;

/// A response whose head has come before the end of the request was made.
async fn overtaken(
    client: &Client,
    stage: &Stage,
    sent: &str,
) -> (Response, Peer, oneshot::Sender<Bytes>) {
    let (open, gate) = oneshot::channel();
    let request = client.post(stage.url("/")).body(Body::stream(Gated(Some(gate))));
    let request = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    peer.write(sent).await;
    (done(request).await.expect("a head"), peer, open)
}

/// The connection is not kept.
#[tokio::test]
async fn response_beats_a_stuck_upload() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = client.post(stage.url("/")).body(vec![7; MUCH]);
    let request = tokio::spawn(async move { request.send().await?.text().await });
    let mut peer = stage.accept().await;
    let began = Instant::now();
    peer.write(format!("{TOO_LARGE}no")).await;
    assert_eq!(done(request).await.expect("a body"), "no");
    eventually("the close", || only(&client).active == 0).await;
    assert!(began.elapsed() >= Duration::from_millis(50), "it has a moment to end");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::UploadUnfinished)), (0, 1));
    peer.ended().await;
}

#[tokio::test]
async fn a_response_without_body_wins_too() {
    let stage = Stage::open().await;
    let client = Client::new();
    let sent = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let (response, mut peer, _gate) = overtaken(&client, &stage, sent).await;
    assert_eq!(response.text().await.expect("a body"), "");
    peer.ended().await;
    eventually("the count", || only(&client).closed_for(CloseReason::UploadUnfinished) == 1).await;
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn prompt_upload_end_keeps_the_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer, open) = overtaken(&client, &stage, &ok("early")).await;
    assert_eq!(response.text().await.expect("a body"), "early");
    assert_eq!(only(&client).active, 1, "the upload is under way");
    open.send(Bytes::from("late")).expect("it is waited for");
    assert_eq!(peer.request().await.body, b"late");
    eventually("the return", || only(&client).idle == 1).await;

    let next = fetch(&client, &stage.url("/next"));
    assert_eq!(peer.serve("next").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_eq!((only(&client).opened, only(&client).closed()), (1, 0));
}

#[tokio::test]
async fn upload_continues_with_response_unread() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer, open) = overtaken(&client, &stage, TOO_LARGE).await;
    open.send(Bytes::from("made of the head")).expect("it is waited for");
    assert_eq!(peer.request().await.body, b"made of the head");
    peer.write("no").await;
    assert_eq!(response.text().await.expect("a body"), "no");
    eventually("the return", || only(&client).idle == 1).await;

    let request = tokio::spawn(client.post(stage.url("/")).body(vec![7; MUCH]).send());
    peer.write(TOO_LARGE).await;
    let response = done(request).await.expect("a head");
    assert_eq!(peer.request().await.body.len(), MUCH);
    peer.write("no").await;
    assert_eq!(response.text().await.expect("a body"), "no");
    eventually("the return", || only(&client).idle == 1).await;
    assert_eq!((only(&client).opened, only(&client).closed()), (1, 0));
}

#[tokio::test]
async fn dropped_body_and_upload_have_grace() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer, open) = overtaken(&client, &stage, TOO_LARGE).await;
    drop(response);
    open.send(Bytes::from("late")).expect("it is waited for");
    peer.write("no").await;
    assert_eq!(peer.request().await.body, b"late");
    eventually("the return", || only(&client).idle == 1).await;
    assert_eq!(only(&client).closed(), 0);
    drop(peer);
    eventually("nothing", || only(&client).idle == 0).await;

    for (sent, reason) in
        [(TOO_LARGE, CloseReason::Abandoned), (&*ok(""), CloseReason::UploadUnfinished)]
    {
        let (response, mut peer, _gate) = overtaken(&client, &stage, sent).await;
        drop(response);
        peer.ended().await;
        eventually("the close", || only(&client).closed_for(reason) == 1).await;
        assert_at_rest(&only(&client));
    }
}

#[tokio::test]
async fn timeout_ends_response_and_upload() {
    let stage = Stage::open().await;
    let client = Client::builder().timeout(Duration::from_millis(60)).build().expect("good");
    let (response, mut peer, gate) = overtaken(&client, &stage, TOO_LARGE).await;
    let error = within("the timeout", response.bytes()).await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!((error.stage(), error.origin()), (At::Body, Some(&*stage.origin())));
    peer.ended().await;
    eventually("the close", || only(&client).closed_for(CloseReason::Abandoned) == 1).await;
    assert!(gate.is_closed(), "the rest of the request is dropped");
}

#[tokio::test]
async fn failing_upload_fails_its_response() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer, gate) = overtaken(&client, &stage, TOO_LARGE).await;
    drop(gate);
    let error = within("the failure", response.bytes()).await.expect_err("broken");
    assert_eq!(error.stage(), At::Body, "{error}");
    peer.ended().await;
    eventually("the close", || only(&client).closed_for(CloseReason::ExchangeFailed) == 1).await;
    assert_at_rest(&only(&client));
}

/// The server answers, and closes.
#[tokio::test]
async fn early_answer_is_received() {
    let stage = Stage::open().await;
    let client = Client::new();
    let sent = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let (response, mut peer, _gate) = overtaken(&client, &stage, sent).await;
    assert_eq!(response.text().await.expect("a body"), "no");
    peer.ended().await;
    eventually("the close", || only(&client).active == 0).await;
    assert_at_rest(&only(&client));
}
