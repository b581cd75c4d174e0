//! How many streams are open: the peer's settings, and the pool's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keepwarm::{CloseReason, Stage};
use keepwarm_testkit::scripted::{eventually, within};

use crate::peer::{
    ACK, CANCEL, HEADERS, MAX_HEADER_LIST, MAX_STREAMS, PING, Peer, RST_STREAM, SETTINGS, client,
    failure, get, go, post, quiet, text,
};

/// Not a request leaves before the settings, and none beyond them after.
#[tokio::test(start_paused = true)]
async fn late_settings_are_waited_for() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let requests: Vec<_> = (0..25).map(|_| tokio::spawn(text(get(&client)))).collect();
    let mut peer = Peer::over(dials.raw().await).await;
    let early = tokio::time::timeout(Duration::from_millis(50), peer.next());
    assert!(early.await.is_err(), "no request before the settings");
    peer.settings(&[(MAX_STREAMS, 10)]).await;
    for _ in 0..2 {
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(peer.request().await);
        }
        assert!(quiet(peer.next()).await, "no eleventh stream");
        for stream in open {
            peer.say(stream, "x").await;
        }
    }
    for _ in 0..5 {
        peer.serve("x").await;
    }
    for request in requests {
        assert_eq!(within("a body", request).await.expect("no panic"), "x");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_change_in_flight() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let first = get(&client);
    let mut peer = dials.accept(&[(MAX_STREAMS, 3)]).await;
    let stream = peer.request().await;
    // Lowered below what is open, and then to nothing.
    peer.settings(&[(MAX_STREAMS, 1)]).await;
    let second = get(&client);
    assert!(quiet(peer.next()).await, "no second stream");
    peer.settings(&[(MAX_STREAMS, 0)]).await;
    peer.say(stream, "first").await;
    assert_eq!(text(first).await, "first");
    assert!(quiet(peer.next()).await, "the peer takes none");
    let third = get(&client);
    peer.settings(&[(MAX_STREAMS, 100)]).await;
    for _ in 0..2 {
        peer.serve("later").await;
    }
    assert_eq!((text(second).await, text(third).await), ("later".into(), "later".into()));
    assert_eq!(client.stats().total.opened, 1);
}

/// A caller that goes while it waits for a stream.
#[tokio::test(start_paused = true)]
async fn cancelled_waiter_is_never_sent() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let first = get(&client);
    let mut peer = dials.accept(&[(MAX_STREAMS, 1)]).await;
    let stream = peer.request().await;
    let gone = post(&client, "gone");
    let late = client.post("http://frames.test/").body("late").timeout(Duration::from_secs(1));
    let error = within("a timeout", late.send()).await.expect_err("no stream is free");
    assert_eq!((error.stage(), error.bytes_written()), (Stage::Wait, None));
    gone.abort();
    peer.say(stream, "x").await;
    assert_eq!(text(first).await, "x");
    assert!(quiet(peer.next()).await, "neither was sent");
    let next = post(&client, "next");
    let stream = peer.request().await;
    assert_eq!(peer.body(stream).await, b"next");
    peer.say(stream, "x").await;
    assert_eq!(text(next).await, "x");
}

/// A caller that goes while the kernel takes no more: an upload stands before its request.
#[tokio::test(start_paused = true)]
async fn request_behind_a_full_wire_is_never_sent() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let large = vec![b'u'; 300 << 10];
    let upload = crate::peer::go(client.post("http://frames.test/").body(large));
    // Windows that allow the whole body, of which the pipe holds 64 KiB.
    let mut peer = dials.accept(&[(crate::peer::INITIAL_WINDOW, 1 << 20)]).await;
    peer.send(crate::peer::WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()).await;
    let stream = peer.request().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = client.get("http://frames.test/").timeout(Duration::from_secs(1));
    let error = within("a timeout", late.send()).await.expect_err("nothing passes");
    assert!(error.is_timeout());
    assert_eq!(error.bytes_written(), Some(0));
    let patient = get(&client);
    assert_eq!(peer.body(stream).await.len(), 300 << 10);
    peer.say(stream, "x").await;
    assert_eq!(text(upload).await, "x");
    let next = within("a frame", peer.next()).await.expect("a frame");
    assert_eq!((next.kind, next.stream), (HEADERS, stream + 2), "the patient one alone");
    peer.say(next.stream, "y").await;
    assert_eq!(text(patient).await, "y");
}

/// A reset of ours keeps its place until the peer has seen it.
#[tokio::test(start_paused = true)]
async fn cancelled_stream_keeps_its_place() {
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let given_up = get(&client);
    let mut peer = dials.accept(&[(MAX_STREAMS, 1)]).await;
    let stream = peer.request().await;
    peer.is_mute = true;
    given_up.abort();
    let next = get(&client);
    let reset = peer.until(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (stream, CANCEL));
    // The ping that follows it is not answered yet.
    let before_doubt = tokio::time::timeout(Duration::from_secs(4), peer.next());
    assert!(before_doubt.await.is_err(), "its place is not free");
    assert_eq!(peer.pings, 1);
    peer.send(crate::peer::PING, crate::peer::ACK, 0, &PAYLOAD).await;
    peer.is_mute = false;
    peer.serve("x").await;
    assert_eq!(text(next).await, "x");
}

/// The opaque data of `h2`'s pings.
const PAYLOAD: [u8; 8] = [0x3b, 0x7c, 0xdb, 0x7a, 0x0b, 0x87, 0x16, 0xb4];

#[tokio::test(start_paused = true)]
async fn lifetime_drains_the_connection() {
    let (client, mut dials) = client(|builder| {
        builder.max_lifetime(Duration::from_secs(60)).max_lifetime_jitter(Duration::ZERO)
    });
    let long = get(&client);
    let mut old = dials.accept(&[]).await;
    let stream = old.request().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let next = get(&client);
    let mut new = dials.accept(&[]).await;
    new.serve("new").await;
    assert_eq!(text(next).await, "new");
    old.say(stream, "old").await;
    assert_eq!(text(long).await, "old");
    old.rest().await;
    eventually("the close", || client.stats().total.closed_for(CloseReason::Lifetime) == 1).await;
}

/// A server whose limit changes at every few frames, between one stream and twelve, before callers on four threads of
/// whom some go: no stream is opened beyond the limit that the client has acknowledged, and every request has its
/// answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_that_change_under_load_are_kept() {
    const TASKS: usize = 24;
    const EACH: usize = 200;
    let (client, mut dials) = client(|builder| builder.max_connections_per_origin(1));
    let callers: Vec<_> = (0..TASKS)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    if number % 100 == task {
                        let gone = get(&client);
                        tokio::task::yield_now().await;
                        gone.abort();
                    }
                    assert_eq!(text(get(&client)).await, "x");
                }
            })
        })
        .collect();
    let mut peer = dials.accept(&[(MAX_STREAMS, 4)]).await;
    let are_done = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&are_done);
    let serve = tokio::spawn(async move {
        let (mut open, mut sent, mut limit, mut served) = (Vec::new(), VecDeque::from([4]), 100, 0);
        let mut seed = 1_u32;
        let mut dice = move |sides: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % sides
        };
        loop {
            let is_silent = !peer.has_more(Duration::from_millis(1)).await;
            if is_silent && is_over.load(Ordering::SeqCst) {
                return served;
            }
            if !is_silent {
                let frame = peer.raw().await.expect("the client is there");
                match frame.kind {
                    SETTINGS if frame.flags & ACK == 0 => peer.send(SETTINGS, ACK, 0, &[]).await,
                    SETTINGS => limit = sent.pop_front().expect("one that was sent"),
                    PING => peer.send(PING, ACK, 0, &frame.payload).await,
                    HEADERS => {
                        open.push(frame.stream);
                        assert!(open.len() <= limit, "{open:?} beyond {limit}");
                    }
                    RST_STREAM => open.retain(|stream| *stream != frame.stream),
                    _ => {}
                }
            }
            if sent.is_empty() && dice(5) == 0 {
                sent.push_back(1 + dice(12));
                peer.settings(&[(MAX_STREAMS, u32::try_from(sent[0]).expect("small"))]).await;
            }
            while !open.is_empty() && (is_silent || open.len() > dice(12)) {
                let stream = open.swap_remove(dice(open.len()));
                peer.say(stream, "x").await;
                served += 1;
            }
        }
    });
    for caller in callers {
        within("a caller", caller).await.expect("every answer");
    }
    assert_eq!(client.stats().total.opened, 1);
    are_done.store(true, Ordering::SeqCst);
    let served = within("the end", serve).await.expect("no stream beyond the limit");
    assert!(served >= TASKS * EACH, "{served}");
}

/// A server says how long a header list it takes. A longer one is not sent, since it may end the connection
/// for the other requests too.
#[tokio::test(start_paused = true)]
async fn header_list_beyond_the_limit_is_not_sent() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut peer = dials.accept(&[(MAX_HEADER_LIST, 1000)]).await;
    peer.serve("first").await;
    assert_eq!(text(first).await, "first");
    let with = |length| go(client.get("http://frames.test/").header("x", "v".repeat(length)));
    let error = failure(with(1000)).await;
    assert!(error.is_invalid() && error.bytes_written().is_none(), "{error}");
    assert!(error.to_string().contains("the server takes 1000"), "{error}");
    // What counts beside the value: ":method" GET, ":scheme" http, ":authority" frames.test, ":path" /, "user-agent", "x".
    let others = [10, 11, 10 + "frames.test".len(), 6, 10 + "keepwarm/0.1.0".len(), 1];
    let room = 1000 - others.iter().map(|size| size + 32).sum::<usize>();
    assert!(failure(with(room + 1)).await.is_invalid());
    let longest = with(room);
    peer.serve("longest").await;
    assert_eq!(text(longest).await, "longest");
}
