//! Bodies, interim responses, `100 Continue`, trailers, lengths: as with HTTP/1.1.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use keepwarm::{Body, Stage};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::io::AsyncWriteExt as _;

use crate::peer::{
    CANCEL, DATA, HEADERS, INITIAL_WINDOW, NO_ERROR, RST_STREAM, WINDOW_UPDATE, client, failure,
    frame, get, go, post, quiet, text,
};

const URL: &str = "http://frames.test/";

#[tokio::test(start_paused = true)]
async fn body_waits_for_100_continue() {
    let (client, mut dials) = client(|builder| builder.expect_continue_timeout(Duration::MAX));
    let request = go(client.post(URL).header("expect", "100-continue").body("body"));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    assert!(quiet(peer.next()).await, "nothing before the leave");
    peer.fields(stream, &[(":status", "103"), ("link", "</a>")], false).await;
    assert!(quiet(peer.next()).await, "another interim response is not the leave");
    peer.fields(stream, &[(":status", "100")], false).await;
    assert_eq!(peer.body(stream).await, b"body");
    peer.say(stream, "done").await;
    assert_eq!(text(request).await, "done");
}

#[tokio::test(start_paused = true)]
async fn body_goes_after_expect_continue_timeout() {
    let patience = Duration::from_secs(1);
    let (client, mut dials) = client(|builder| builder.expect_continue_timeout(patience));
    let request = go(client.post(URL).header("expect", "100-continue").body("body"));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    assert_eq!(peer.body(stream).await, b"body");
    peer.say(stream, "done").await;
    assert_eq!(text(request).await, "done");
}

/// A final response instead of the leave: the body is not sent, and the connection goes on.
#[tokio::test(start_paused = true)]
async fn refused_body_is_not_sent() {
    let (client, mut dials) = client(|builder| builder.expect_continue_timeout(Duration::MAX));
    let request = go(client.post(URL).header("expect", "100-continue").body("body"));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "413")], true).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert_eq!(response.status(), 413);
    drop(response);
    let frame = within("a frame", peer.next()).await.expect("a frame");
    assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "no DATA");
    let next = get(&client);
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
    assert_eq!(client.stats().total.opened, 1);
}

/// The final response has a body of its own, which tells why.
#[tokio::test(start_paused = true)]
async fn answer_to_a_refused_body_is_read() {
    let (client, mut dials) = client(|builder| builder.expect_continue_timeout(Duration::MAX));
    let request = go(client.post(URL).header("expect", "100-continue").body("body"));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "413")], false).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert!(quiet(peer.next()).await, "its stream is open until the answer is read");
    peer.data(stream, b"too ", false).await;
    peer.data(stream, b"large", true).await;
    assert_eq!(within("a body", response.text()).await.expect("a body"), "too large");
    let frame = within("a frame", peer.next()).await.expect("a frame");
    assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "no DATA");
    let next = get(&client);
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
    eventually("the places", || client.stats().total.streams == 0).await;
    assert_eq!(client.stats().total.opened, 1);
}

/// 417 (RFC 9110, 10.1.1): the request goes again without its expectation, whether the answer ends or not.
#[tokio::test(start_paused = true)]
async fn refused_expectation_goes_again_without_it() {
    for ends in [true, false] {
        let (client, mut dials) = client(|builder| builder.expect_continue_timeout(Duration::MAX));
        let request = go(client.post(URL).header("expect", "100-continue").body("body"));
        let mut peer = dials.accept(&[]).await;
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", "417")], false).await;
        peer.data(stream, b"I never do", ends).await;
        let mut again = None;
        let mut body = Vec::new();
        let mut is_reset = false;
        while again.is_none() || body.is_empty() || !is_reset {
            let frame = within("a frame", peer.next()).await.expect("a frame");
            match frame.kind {
                HEADERS => again = Some(frame.stream),
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => is_reset = frame.stream == stream,
                kind => panic!("a frame of kind {kind}"),
            }
        }
        assert_eq!(body, b"body", "of the second request alone");
        peer.say(again.expect("it was sent again"), "done").await;
        assert_eq!(text(request).await, "done");
        within("the ping", async { while peer.pings == 0 && !quiet(peer.next()).await {} }).await;
        eventually("the places", || client.stats().total.streams == 0).await;
        assert_eq!(client.stats().total.opened, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_heard() {
    let (client, mut dials) = client(|builder| builder);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let request = go(client.get(URL).on_interim(move |status, headers| {
        let link = headers.get("link").map(|link| link.to_str().expect("text").to_owned());
        listener.lock().expect("no panic").push((status.as_u16(), link));
    }));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "103"), ("link", "</a>")], false).await;
    peer.fields(stream, &[(":status", "102")], false).await;
    peer.say(stream, "final").await;
    assert_eq!(text(request).await, "final");
    assert_eq!(*heard.lock().expect("no panic"), [(103, Some("</a>".to_owned())), (102, None)]);
}

/// Responses without a body, whatever length they declare.
#[tokio::test(start_paused = true)]
async fn responses_without_body_are_complete() {
    let (client, mut dials) = client(|builder| builder);
    let requests = [client.head(URL), client.get(URL), client.get(URL)];
    let heads = [("200", "5"), ("204", "0"), ("304", "5")];
    let mut peer = None;
    for (request, (status, length)) in requests.into_iter().zip(heads) {
        let request = go(request);
        if peer.is_none() {
            peer = Some(dials.accept(&[]).await);
        }
        let peer = peer.as_mut().expect("the connection");
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", status), ("content-length", length)], true).await;
        assert_eq!(text(request).await, "", "{status}");
    }
}

/// Some servers send a body where none may be. It is not read, as by HTTP/1.1, and its stream is reset.
#[tokio::test(start_paused = true)]
async fn body_of_a_response_without_one_is_not_read() {
    let (client, mut dials) = client(|builder| builder);
    let bystander = get(&client);
    let mut peer = dials.accept(&[]).await;
    let other = peer.request().await;
    let requests = [client.head(URL), client.get(URL), client.get(URL)];
    for (request, status) in requests.into_iter().zip(["200", "204", "304"]) {
        let request = go(request);
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", status), ("content-length", "5")], false).await;
        peer.data(stream, b"12", false).await;
        assert_eq!(text(request).await, "", "{status}");
        assert_eq!(peer.until(RST_STREAM).await.stream, stream, "{status}");
    }
    peer.say(other, "unharmed").await;
    assert_eq!(text(bystander).await, "unharmed");
    eventually("the leases", || client.stats().total.streams == 0).await;
    assert_eq!(client.stats().total.opened, 1);
}

/// A body that is not as long as its head says is a failed stream, and no other is harmed.
#[tokio::test(start_paused = true)]
async fn declared_length_of_response_is_checked() {
    let parts: [&[&[u8]]; 4] = [&[b"123"], &[b"12345", b"6"], &[b"123456"], &[b"12", b"3"]];
    for parts in parts {
        let (client, mut dials) = client(|builder| builder);
        let bystander = get(&client);
        let mut peer = dials.accept(&[]).await;
        let other = peer.request().await;
        let request = get(&client);
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", "200"), ("content-length", "5")], false).await;
        for (index, part) in parts.iter().enumerate() {
            peer.data(stream, part, index + 1 == parts.len()).await;
        }
        let error = failure(request).await;
        assert!(error.is_stream_error(), "{parts:?}: {error:?}");
        peer.say(other, "unharmed").await;
        assert_eq!(text(bystander).await, "unharmed");
        assert_eq!(client.stats().total.opened, 1);
    }
}

/// The caller's body is not as long as declared: the request fails, and its stream is reset.
#[tokio::test(start_paused = true)]
async fn declared_length_of_request_is_checked() {
    for (declared, sent) in [("5", "123"), ("2", "123")] {
        let (client, mut dials) = client(|builder| builder);
        let stream = http_body_util::Full::new(Bytes::from(sent));
        let stream = Body::stream(http_body_util::BodyExt::map_err(stream, |never| match never {}));
        let request = go(client.post(URL).header("content-length", declared).body(stream));
        let error = tokio::select! {
            error = failure(request) => error,
            () = async {
                let mut peer = dials.accept(&[]).await;
                let mut body = Vec::new();
                while let Some(frame) = peer.next().await {
                    if frame.kind == DATA {
                        body.extend_from_slice(&frame.payload);
                        assert!(!frame.ends(), "a body that is not complete does not end");
                    }
                }
                std::future::pending().await
            } => unreachable!(),
        };
        let is_ours = error.stage() == Stage::Request || error.stage() == Stage::Exchange;
        assert!(is_ours && !error.is_stream_error(), "{declared}: {error:?}");
    }
}

/// A server that has answered, and wants no more of the body (RFC 9113, 8.1).
#[tokio::test(start_paused = true)]
async fn early_response_is_heard() {
    let (client, mut dials) = client(|builder| builder);
    let request = go(client.post(URL).body(vec![0; 1 << 20]));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "413")], false).await;
    peer.data(stream, b"too large", true).await;
    peer.reset(stream, NO_ERROR).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert_eq!(response.status(), 413);
    assert_eq!(within("a body", response.text()).await.expect("a body"), "too large");
    let next = get(&client);
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
    assert_eq!(client.stats().total.opened, 1);
}

/// The caller's body fails while the response is read: that is told, and not a fault of the server.
#[tokio::test(start_paused = true)]
async fn body_that_fails_within_the_response_is_told() {
    let (client, mut dials) = client(|builder| builder);
    let (parts, body) = tokio::sync::mpsc::unbounded_channel::<io::Result<Bytes>>();
    let parts_of = futures_util::stream::unfold(body, async |mut body| {
        let part = body.recv().await?;
        Some((part, body))
    });
    let request = go(client.post(URL).body(Body::from_stream(parts_of)));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "200")], false).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    parts.send(Err(io::Error::other("the disk is gone"))).expect("the body is read");
    let error = within("a body", response.bytes()).await.expect_err("half an exchange");
    assert!(!error.is_stream_error() && error.stage() == Stage::Body, "{error:?}");
    assert!(error.is_request_body(), "{error:?}");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(peer.until(RST_STREAM).await.stream, stream);
    let next = get(&client);
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
}

/// A server that has answered, and neither reads the rest of the body nor says so.
#[tokio::test(start_paused = true)]
async fn early_response_ends_the_upload() {
    let (client, mut dials) = client(|builder| builder);
    let request = go(client.post(URL).body(vec![0; 1 << 20]));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.say(stream, "enough").await;
    assert_eq!(text(request).await, "enough");
    assert_eq!(peer.until(RST_STREAM).await.stream, stream);
    within("the ping", async { while peer.pings == 0 && !quiet(peer.next()).await {} }).await;
    eventually("the places", || client.stats().total.streams == 0).await;
}

/// An upload whose window stays closed holds no other request up.
#[tokio::test(start_paused = true)]
async fn closed_window_holds_no_other_up() {
    let (client, mut dials) = client(|builder| builder);
    let stuck = post(&client, "stuck");
    let mut peer = dials.accept(&[(INITIAL_WINDOW, 0)]).await;
    let stream = peer.request().await;
    for _ in 0..10 {
        let request = get(&client);
        peer.serve("x").await;
        assert_eq!(text(request).await, "x");
    }
    peer.send(WINDOW_UPDATE, 0, stream, &5_u32.to_be_bytes()).await;
    assert_eq!(peer.body(stream).await, b"stuck");
    peer.say(stream, "done").await;
    assert_eq!(text(stuck).await, "done");
}

#[tokio::test(start_paused = true)]
async fn bodies_of_single_bytes_are_read() {
    let (client, mut dials) = client(|builder| builder);
    let request = get(&client);
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "200")], false).await;
    for index in 0..100_000 {
        peer.data(stream, b"x", index == 99_999).await;
    }
    assert_eq!(text(request).await.len(), 100_000);
}

/// Empty frames mean nothing, however many a server sends: `h2` ends the connection at the hundredth.
#[tokio::test(start_paused = true)]
async fn empty_frames_are_passed_over() {
    let (client, mut dials) = client(|builder| builder);
    let mut peer = None;
    for _ in 0..60 {
        let request = get(&client);
        if peer.is_none() {
            peer = Some(dials.accept(&[]).await);
        }
        let peer = peer.as_mut().expect("the connection");
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", "200")], false).await;
        for data in [b"" as &[u8], b"x", b""] {
            peer.data(stream, data, false).await;
        }
        let response = within("a response", request).await.expect("no panic");
        let mut body = response.expect("a response").into_http().into_body();
        let first = within("a frame", body.frame()).await.expect("data").expect("no error");
        assert_eq!(first.into_data().expect("data"), "x");
        peer.data(stream, b"", true).await;
        assert!(within("the end", body.frame()).await.is_none(), "no empty frame either");
    }
    assert_eq!(client.stats().total.opened, 1);
}

/// Small frames are kept unread up to the window, as large ones are: `h2` ends the connection at
/// 137,000 of them.
#[tokio::test(start_paused = true)]
async fn unread_small_frames_hold_no_other_up() {
    let (client, mut dials) = client(|builder| builder);
    let bystander = post(&client, "b");
    let mut peer = dials.accept(&[]).await;
    let other = peer.request().await;
    peer.body(other).await;
    let request = get(&client);
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "200")], false).await;
    let unread = within("a head", request).await.expect("no panic").expect("a head");
    let small = frame(DATA, 0, stream, b"0123456789").repeat(1000);
    for _ in 0..200 {
        within("the client to read", peer.io.write_all(&small)).await.expect("written");
    }
    peer.say(other, "unharmed").await;
    assert_eq!(text(bystander).await, "unharmed");
    peer.data(stream, b"", true).await;
    assert_eq!(within("a body", unread.bytes()).await.expect("a body").len(), 2_000_000);
}

/// Small frames on their way when a caller drops their body cost the connection nothing later.
#[tokio::test(start_paused = true)]
async fn late_frames_of_dropped_bodies_are_forgotten() {
    let (client, mut dials) = client(|builder| builder.max_unread_per_connection(65_535));
    let mut peer = None;
    for _ in 0..120 {
        let request = get(&client);
        if peer.is_none() {
            peer = Some(dials.accept(&[]).await);
        }
        let peer = peer.as_mut().expect("the connection");
        let stream = peer.request().await;
        peer.fields(stream, &[(":status", "200"), ("content-length", "1000000")], false).await;
        drop(within("a head", request).await.expect("no panic").expect("a head"));
        let late = frame(DATA, 0, stream, b"0123456789").repeat(100);
        within("the client to read", peer.io.write_all(&late)).await.expect("written");
        assert_eq!(peer.until(RST_STREAM).await.stream, stream);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(client.stats().total.opened, 1);
}

/// The unread bytes of a connection are bounded; once they are read, the window opens again.
#[tokio::test(start_paused = true)]
async fn max_unread_bounds_the_connection() {
    let (client, mut dials) = client(|builder| builder.max_unread_per_connection(100_000));
    let request = get(&client);
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "200")], false).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert!(quiet(peer.next()).await);
    assert_eq!(peer.windows, (100_000, 100_000), "of a stream, and of the connection");
    for _ in 0..10 {
        peer.data(stream, &[0; 10_000], false).await;
    }
    assert!(quiet(peer.next()).await);
    assert_eq!(peer.windows, (100_000, 100_000), "no more while it is not read");
    let reading = tokio::spawn(response.bytes());
    assert!(quiet(peer.next()).await);
    let (of_stream, of_connection) = peer.windows;
    assert!(of_stream >= 150_000 && of_connection >= 150_000, "{of_stream} {of_connection}");
    peer.data(stream, &[], true).await;
    assert_eq!(within("a body", reading).await.expect("no panic").expect("a body").len(), 100_000);
}

/// The caller drops a large body: the stream is reset, and others go on.
#[tokio::test(start_paused = true)]
async fn dropped_body_resets_its_stream_alone() {
    let (client, mut dials) = client(|builder| builder);
    let request = get(&client);
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    let length = ("content-length", "100000000");
    peer.fields(stream, &[(":status", "200"), length], false).await;
    drop(within("a head", request).await.expect("no panic").expect("a head"));
    let reset = peer.until(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (stream, CANCEL));
    let next = get(&client);
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
    assert_eq!(client.stats().total.opened, 1);
}
