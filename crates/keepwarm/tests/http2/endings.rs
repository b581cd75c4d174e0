//! GOAWAY and RST_STREAM: which requests go again, and which have failed.

use std::time::Duration;

use keepwarm::{CloseReason, Stage};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::time::Instant;

use crate::peer::{
    CALM_DOWN, GOAWAY, HEADERS, INTERNAL_ERROR, MAX_STREAMS, NO_ERROR, REFUSED_STREAM, client,
    client_behind_a_cut, failure, get, go, post, text,
};

/// A server that shuts down in two steps: "no more", and then which it has taken.
#[tokio::test(start_paused = true)]
async fn goaway_may_come_twice() {
    let (client, mut dials) = client(|builder| builder);
    let requests = [post(&client, "a"), post(&client, "b"), post(&client, "c")];
    let mut peer = dials.accept(&[]).await;
    for stream in [1, 3, 5] {
        assert_eq!(peer.request().await, stream);
    }
    peer.goaway((1 << 31) - 1, NO_ERROR).await;
    // From here on a new connection is used.
    let late = post(&client, "d");
    let mut second = dials.accept(&[]).await;
    second.serve("second").await;
    assert_eq!(text(late).await, "second");
    peer.goaway(1, NO_ERROR).await;
    peer.say(1, "first").await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        second.serve("second").await;
    }
    for request in requests {
        answers.push(text(request).await);
    }
    assert_eq!(answers, ["first", "second", "second"]);
    peer.rest().await;
    assert_eq!(client.stats().total.opened, 2);
    eventually("the close", || client.stats().total.closed_for(CloseReason::GoAway) == 1).await;
}

/// A server that has closed refuses the next request by an RST; the GOAWAY that it sent before waits unread.
#[tokio::test(start_paused = true)]
async fn goaway_is_read_behind_a_failed_write() {
    let (client, mut dials, mut peer, wire) = client_behind_a_cut().await;
    let not_taken = post(&client, "b");
    wire.refused().await;
    peer.goaway(1, NO_ERROR).await;
    drop(peer);
    dials.accept(&[]).await.serve("second").await;
    assert_eq!(text(not_taken).await, "second");
    eventually("the close", || client.stats().total.closed_for(CloseReason::GoAway) == 1).await;
}

/// A peer that neither takes a byte nor says anything.
#[tokio::test(start_paused = true)]
async fn failed_write_is_told_within_a_second() {
    let (client, mut dials, _peer, wire) = client_behind_a_cut().await;
    let (late, began) = (post(&client, "b"), Instant::now());
    wire.refused().await;
    let unsent = post(&client, "c");
    let error = failure(late).await;
    assert!(began.elapsed() <= Duration::from_secs(1), "{error:?}");
    assert!(!error.is_timeout(), "{error:?}");
    dials.accept(&[]).await.serve("second").await;
    assert_eq!(text(unsent).await, "second", "it was not sent into the void");
}

/// A stream above the last one was not processed, whatever the code.
#[tokio::test(start_paused = true)]
async fn unprocessed_streams_go_again_whatever_the_code() {
    for code in [NO_ERROR, INTERNAL_ERROR, CALM_DOWN] {
        let (client, mut dials) = client(|builder| builder);
        let taken = get(&client);
        let mut peer = dials.accept(&[]).await;
        assert_eq!(peer.request().await, 1);
        let not_taken = post(&client, "b");
        assert_eq!(peer.request().await, 3);
        peer.say(1, "first").await;
        peer.goaway(1, code).await;
        let mut second = dials.accept(&[]).await;
        second.serve("second").await;
        assert_eq!(text(taken).await, "first", "{code}");
        assert_eq!(text(not_taken).await, "second", "{code}");
    }
}

/// A request at which a server ends one connection after another: it fails at the third, and costs those
/// beside it nothing.
#[tokio::test(start_paused = true)]
async fn request_that_ends_connections_is_given_up() {
    let (client, mut dials) = client(|builder| builder);
    let mut good = vec![get(&client)];
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    let bad = go(client.post("http://frames.test/").header("x-large", "x".repeat(2000)));
    good.extend((0..4).map(|_| get(&client)));
    let mut waiting = 5;
    for round in 1..=3 {
        let mut ended_at = 0;
        for _ in 0..waiting {
            let head = peer.until(HEADERS).await;
            ended_at = ended_at.max(if head.payload.len() > 1000 { head.stream } else { 0 });
        }
        assert!(ended_at > 0, "it goes again, beside the others");
        // At least one comes behind it.
        good.push(get(&client));
        peer.request().await;
        waiting += 1;
        for stream in (1..ended_at).step_by(2) {
            peer.say(stream, "good").await;
            waiting -= usize::from(stream > 1 || round > 1);
        }
        peer.goaway(ended_at.saturating_sub(2), INTERNAL_ERROR).await;
        peer = dials.accept(&[]).await;
    }
    let error = failure(bad).await;
    assert!(error.is_stream_error() && error.attempts() == 3, "{error}");
    assert!(error.to_string().contains("GOAWAY with INTERNAL_ERROR"), "{error}");
    for _ in 1..waiting {
        peer.serve("good").await;
    }
    for request in good {
        assert_eq!(text(request).await, "good");
    }
}

/// nginx answers a field of 8 KiB so. It is about that request: the others need no pause.
#[tokio::test(start_paused = true)]
async fn calm_about_a_large_head_pauses_nothing() {
    let (client, mut dials) = client(|builder| builder);
    let large = go(client.post("http://frames.test/").header("x-large", "x".repeat(9000)));
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    peer.goaway(1, CALM_DOWN).await;
    drop(peer);
    let error = failure(large).await;
    assert!(error.to_string().contains("GOAWAY with ENHANCE_YOUR_CALM"), "{error}");
    assert!(error.to_string().contains("the request's fields count 9319 bytes"), "{error}");
    let (next, begun) = (get(&client), Instant::now());
    dials.accept(&[]).await.serve("next").await;
    assert_eq!(text(next).await, "next");
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
}

/// RFC 9113, 5.4.1: a peer that has failed closes the connection. One that does not, and says no more, is
/// asked by a ping and given up.
#[tokio::test(start_paused = true)]
async fn failed_peer_that_stays_open_is_given_up() {
    let (client, mut dials) = client(|builder| builder);
    let request = post(&client, "b");
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    peer.is_mute = true;
    let began = Instant::now();
    peer.goaway(1, INTERNAL_ERROR).await;
    let error = failure(request).await;
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    assert!(error.is_peer_silent(), "{error}");
    assert!(error.to_string().contains("since its GOAWAY with INTERNAL_ERROR"), "{error}");
}

/// A GOAWAY with an error, and the end: the request that was on the connection says both.
#[tokio::test(start_paused = true)]
async fn error_of_a_goaway_is_told() {
    let (client, mut dials) = client(|builder| builder);
    let request = post(&client, "b");
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    peer.goaway(1, CALM_DOWN).await;
    drop(peer);
    let error = failure(request).await;
    assert!(error.is_closed_by_peer(), "{error}");
    assert!(error.to_string().contains("GOAWAY with ENHANCE_YOUR_CALM"), "{error}");
}

/// A server that asks for calm gets no new connection at once, and later ones ever later.
#[tokio::test(start_paused = true)]
async fn calm_is_kept_before_the_next_dial() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    let mut again = vec![post(&client, "b")];
    assert_eq!(peer.request().await, 3);
    peer.say(1, "first").await;
    assert_eq!(text(first).await, "first");
    for tenths in [1, 2, 4] {
        let begun = Instant::now();
        peer.goaway(u32::from(tenths == 1), CALM_DOWN).await;
        // Those that come meanwhile wait with it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        again.push(post(&client, "c"));
        let mut next = dials.accept(&[]).await;
        let waited = begun.elapsed();
        let pause = Duration::from_millis(100 * tenths);
        assert!(waited >= pause && waited < pause + Duration::from_millis(50), "{waited:?}");
        if tenths < 4 {
            for _ in 0..again.len() {
                next.request().await;
            }
        }
        peer = next;
    }
    for _ in 0..again.len() {
        peer.serve("calm").await;
    }
    for request in again {
        assert_eq!(text(request).await, "calm");
    }
    assert_eq!(client.stats().total.opened, 4, "one dial each time");
}

/// Asked for calm on one stream, that one has failed: nothing is sent again, and the others go on.
#[tokio::test(start_paused = true)]
async fn calm_on_a_stream_fails_it_alone() {
    let (client, mut dials) = client(|builder| builder);
    let bystander = get(&client);
    let mut peer = dials.accept(&[]).await;
    let other = peer.request().await;
    let request = get(&client);
    let stream = peer.request().await;
    peer.reset(stream, CALM_DOWN).await;
    let error = failure(request).await;
    assert!(error.is_stream_error(), "{error:?}");
    let next = get(&client);
    let last = peer.request().await;
    assert_eq!(last, stream + 2, "the failed one was not sent again");
    peer.say(last, "next").await;
    assert_eq!(text(next).await, "next");
    peer.say(other, "unharmed").await;
    assert_eq!(text(bystander).await, "unharmed");
    assert_eq!(client.stats().total.opened, 1);
}

/// The peer said which streams it has taken, and then cut them: only what is idempotent goes again.
#[tokio::test(start_paused = true)]
async fn cut_after_goaway_repeats_no_post() {
    let (client, mut dials) = client(|builder| builder);
    let warm = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("warm").await;
    assert_eq!(text(warm).await, "warm");
    let posted = post(&client, "once");
    let stream = peer.request().await;
    assert_eq!(peer.body(stream).await, b"once");
    let got = get(&client);
    assert_eq!(peer.request().await, stream + 2);
    peer.goaway(stream + 2, NO_ERROR).await;
    drop(peer);
    let error = failure(posted).await;
    assert!(error.is_closed_by_peer(), "{error:?}");
    assert_eq!(error.stage(), Stage::Exchange);
    assert!(error.bytes_written().is_some_and(|written| written > 0), "{error}");
    let mut second = dials.accept(&[]).await;
    second.serve("again").await;
    assert_eq!(text(got).await, "again");
    assert!(dials.are_quiet().await, "the POST was not sent a second time");
}

/// One connection lost fails the requests on it that may not go again, and no others.
#[tokio::test(start_paused = true)]
async fn lost_connection_repeats_what_it_may() {
    let (client, mut dials) = client(|builder| builder);
    let warm = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("warm").await;
    assert_eq!(text(warm).await, "warm");
    let requests: Vec<_> = (0..20).map(|_| get(&client)).collect();
    for _ in 0..20 {
        peer.request().await;
    }
    drop(peer);
    let mut second = dials.accept(&[]).await;
    for _ in 0..20 {
        second.serve("again").await;
    }
    for request in requests {
        assert_eq!(text(request).await, "again");
    }
    assert_eq!(client.stats().total.opened, 2, "one dial for all of them");
}

/// The server's limit shrinks, and it refuses what is beyond.
#[tokio::test(start_paused = true)]
async fn refused_beyond_a_shrunk_limit_waits() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let first = post(&client, "a");
    let mut peer = dials.accept(&[]).await;
    assert_eq!(peer.request().await, 1);
    let second = post(&client, "b");
    assert_eq!(peer.request().await, 3);
    peer.settings(&[(MAX_STREAMS, 1)]).await;
    peer.reset(3, REFUSED_STREAM).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.say(1, "first").await;
    assert_eq!(text(first).await, "first");
    peer.serve("second").await;
    assert_eq!(text(second).await, "second");
}

/// A server that refuses every stream: an error in the end, and no storm.
#[tokio::test(start_paused = true)]
async fn endless_refusal_is_bounded() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let request = post(&client, "a");
    let mut peer = dials.accept(&[]).await;
    let refusing = tokio::spawn(async move {
        let mut refused = 0;
        while let Some(frame) = peer.next().await {
            if frame.kind == crate::peer::HEADERS {
                refused += 1;
                peer.reset(frame.stream, REFUSED_STREAM).await;
            }
        }
        refused
    });
    let patience = Duration::from_secs(120);
    let outcome = tokio::time::timeout(patience, request).await.expect("an outcome");
    let error = outcome.expect("no panic").expect_err("refused");
    assert!(error.is_stream_error(), "{error:?}");
    let attempts = error.attempts();
    drop(client);
    let refused: u32 = within("the end", refusing).await.expect("no panic");
    assert_eq!(refused, attempts);
    assert!((2..=32).contains(&attempts), "{attempts}");
}

/// Ours, when the client shuts down: GOAWAY, and the end.
#[tokio::test(start_paused = true)]
async fn close_says_goaway() {
    let (client, mut dials) = client(|builder| builder);
    let request = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("x").await;
    assert_eq!(text(request).await, "x");
    drop(client);
    let frames = peer.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
}
