//! Peers that mean harm: no panic, no memory without bound, no request lost or doubled.

use std::time::Duration;

use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::scripted::within;
use tokio::io::AsyncWriteExt as _;

use crate::peer::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW, PING, Peer, SETTINGS, WINDOW_UPDATE,
    block, client, failure, frame, get, post, quiet, text,
};

/// More than a client may hold for a peer that floods it.
const TOO_MUCH: usize = 8 << 20;

/// Writes until the client ends the connection or reads no more; returns the bytes it took.
async fn flood(peer: &mut Peer, part: &[u8]) -> usize {
    let mut taken = 0;
    while taken < TOO_MUCH {
        match tokio::time::timeout(Duration::from_secs(1), peer.io.write_all(part)).await {
            Ok(Ok(())) => taken += part.len(),
            Ok(Err(_)) | Err(_) => return taken,
        }
    }
    taken
}

/// Resets as fast as streams are opened (CVE-2023-44487, the other way round).
#[tokio::test(start_paused = true)]
async fn rapid_resets_fail_each_request_once() {
    let (client, mut dials) = client(|builder| builder);
    let serving = tokio::spawn(async move {
        let mut heads = 0_usize;
        let mut peer = dials.accept(&[]).await;
        while let Some(frame) = peer.next().await {
            if frame.kind == HEADERS {
                heads += 1;
                peer.reset(frame.stream, crate::peer::INTERNAL_ERROR).await;
            }
        }
        heads
    });
    for _ in 0..20 {
        let requests: Vec<_> = (0..50).map(|_| post(&client, "once")).collect();
        for request in requests {
            assert!(failure(request).await.is_stream_error());
        }
    }
    assert_eq!(client.stats().total.opened, 1);
    drop(client);
    assert_eq!(within("the end", serving).await.expect("no panic"), 1000, "each was sent once");
}

#[tokio::test(start_paused = true)]
async fn continuation_flood_ends_the_connection() {
    let (client, mut dials) = client(|builder| builder);
    let request = post(&client, "once");
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.body(stream).await;
    peer.send(HEADERS, 0, stream, &block(&[(":status", "200")])).await;
    let part = frame(CONTINUATION, 0, stream, &block(&[("a", &"b".repeat(10_000))]));
    let empty = frame(CONTINUATION, 0, stream, &[]);
    let taken = flood(&mut peer, &part).await;
    assert!(taken < TOO_MUCH, "{taken}");
    assert!(failure(request).await.is_http2_error());

    let request = post(&client, "once");
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.body(stream).await;
    peer.send(HEADERS, 0, stream, &block(&[(":status", "200")])).await;
    assert!(flood(&mut peer, &empty).await < TOO_MUCH);
    assert!(failure(request).await.is_http2_error());
}

/// Interim responses without end fail their request, as with HTTP/1.1, whether anyone hears them or not.
#[tokio::test(start_paused = true)]
async fn interim_flood_fails_its_request_alone() {
    for hears in [false, true] {
        let (client, mut dials) = client(|builder| builder);
        let bystander = get(&client);
        let mut peer = dials.accept(&[]).await;
        let other = peer.request().await;
        let request = client.get("http://frames.test/");
        let request = crate::peer::go(if hears { request.on_interim(|_, _| {}) } else { request });
        let stream = peer.request().await;
        let hint = block(&[(":status", "103"), ("link", &"l".repeat(1000))]);
        let part = frame(HEADERS, END_HEADERS, stream, &hint);
        let mut taken = 0;
        while !request.is_finished() {
            within("the client to read", peer.io.write_all(&part)).await.expect("written");
            taken += part.len();
            assert!(taken < TOO_MUCH, "{taken}");
        }
        let error = failure(request).await;
        assert!(error.is_limit() && !error.is_stream_error(), "{error:?}");
        peer.say(other, "unharmed").await;
        assert_eq!(text(bystander).await, "unharmed");
        assert_eq!(client.stats().total.opened, 1);
    }
}

/// A small block that unfolds: one large entry of the table, again and again.
#[tokio::test(start_paused = true)]
async fn hpack_bomb_is_bounded() {
    let (client, mut dials) = client(|builder| builder);
    let request = post(&client, "once");
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.body(stream).await;
    // ":status: 200", a literal of 4,000 bytes that enters the table, and references to it.
    let mut bomb = vec![0x88, 0x40, 1, b'a', 127, 0xa1, 0x1e];
    bomb.extend_from_slice(&[b'b'; 127 + 0x21 + (0x1e << 7)]);
    bomb.resize(16 << 10, 0xbe);
    peer.send(HEADERS, END_HEADERS, stream, &bomb).await;
    let error = failure(request).await;
    assert!(error.is_limit() || error.is_http2_error(), "{error:?}");
}

/// Settings and pings that have to be answered, by a client whose answers are not read.
#[tokio::test(start_paused = true)]
async fn floods_that_want_answers_are_bounded() {
    let ping = frame(PING, 0, 0, &[1; 8]);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    for (what, part) in [("PING", ping), ("SETTINGS", settings)] {
        let (client, mut dials) = client(|builder| builder);
        let request = get(&client);
        let mut peer = dials.accept(&[]).await;
        let stream = peer.request().await;
        let taken = flood(&mut peer, &part.repeat(100)).await;
        assert!(taken < TOO_MUCH, "{what}: {taken}");
        // It comes to its senses.
        let answer = async {
            while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(1), peer.raw()).await {
            }
            let mut head = frame(HEADERS, END_HEADERS, stream, &[0x88]);
            head.extend(frame(DATA, 1, stream, b"x"));
            // The flood may have been cut within a frame, which makes these bytes unreadable: to
            // fail is allowed, to hang is not.
            let _ended = peer.io.write_all(&head).await;
            drop(peer);
        };
        within("the answers", answer).await;
        let _outcome = within("an outcome", request).await.expect("no panic");
    }
}

/// Windows that overflow, that are nothing, that shrink below what is used.
#[tokio::test(start_paused = true)]
async fn window_games_end_in_errors() {
    let most = ((1_u32 << 31) - 1).to_be_bytes();
    for (what, on_stream, update) in [
        ("a stream's overflow", true, most),
        ("the connection's overflow", false, most),
        ("nothing for a stream", true, [0; 4]),
        ("nothing for the connection", false, [0; 4]),
    ] {
        let (client, mut dials) = client(|builder| builder);
        let request = crate::peer::go(client.post("http://frames.test/").body(vec![0; 100_000]));
        let mut peer = dials.accept(&[]).await;
        let stream = peer.request().await;
        for _ in 0..2 {
            let update = frame(WINDOW_UPDATE, 0, if on_stream { stream } else { 0 }, &update);
            let _ended = peer.io.write_all(&update).await;
        }
        let error = failure(request).await;
        assert!(error.is_http2_error() || error.is_stream_error(), "{what}: {error:?}");
    }
    let (client, mut dials) = client(|builder| builder);
    let request = crate::peer::go(client.post("http://frames.test/").body(vec![0; 100_000]));
    let mut peer = dials.accept(&[(INITIAL_WINDOW, 50_000)]).await;
    let stream = peer.request().await;
    peer.until(DATA).await;
    peer.settings(&[(INITIAL_WINDOW, 0)]).await;
    while !quiet(peer.next()).await {}
    peer.settings(&[(INITIAL_WINDOW, 200_000)]).await;
    peer.send(WINDOW_UPDATE, 0, 0, &200_000_u32.to_be_bytes()).await;
    peer.body(stream).await;
    peer.say(stream, "x").await;
    assert_eq!(text(request).await, "x");
}

/// More data than the windows allow.
#[tokio::test(start_paused = true)]
async fn data_beyond_the_window_is_refused() {
    let (client, mut dials) = client(|builder| builder.max_unread_per_connection(100_000));
    let request = post(&client, "once");
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    peer.fields(stream, &[(":status", "200")], false).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    let taken = flood(&mut peer, &frame(DATA, 0, stream, &[0; 10_000])).await;
    assert!(taken < 500_000, "{taken}");
    let error = within("a body", response.bytes()).await.expect_err("too much");
    assert!(error.is_http2_error() || error.is_stream_error(), "{error:?}");
}

/// Frames at random, in the midst of an exchange: an outcome each time, and the next request works.
#[tokio::test(start_paused = true)]
async fn random_frames_end_in_an_outcome() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let (client, mut dials) = client(|builder| builder);
        let request = post(&client, "once");
        let mut peer = dials.accept(&[]).await;
        peer.request().await;
        for _ in 0..dice.roll(8) + 1 {
            let kind = u8::try_from(dice.roll(11)).expect("small");
            let flags = u8::try_from(dice.roll(256)).expect("small");
            let stream = u32::try_from(dice.roll(4)).expect("small");
            let payload: Vec<_> = match dice.roll(3) {
                0 => block(&[(":status", "200"), ("a", "b")]),
                1 => vec![0; 4],
                _ => (0..dice.roll(40))
                    .map(|_| u8::try_from(dice.roll(256)).expect("a byte"))
                    .collect(),
            };
            let _ended = peer.io.write_all(&frame(kind, flags, stream, &payload)).await;
        }
        drop(peer);
        let outcome = within("an outcome", request).await.expect("no panic");
        if let Ok(response) = outcome {
            let _body = within("a body", response.text()).await;
        }
        let next = get(&client);
        let mut second = dials.accept(&[]).await;
        // A request that was refused goes again; it stands before this one.
        let answers = tokio::spawn(async move {
            while let Some(frame) = second.next().await {
                if frame.kind == HEADERS {
                    second.say(frame.stream, "x").await;
                }
            }
        });
        assert_eq!(text(next).await, "x", "seed {seed}");
        answers.abort();
    }
}
