//! Claim: HTTP/2 is the same load with the same ledger. Streams share a connection, each has its own
//! outcome, and every way in which a server ends one is counted once.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, Peer, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, serve,
};
use common::run;
use keepwarm_load::{CloseCause, ErrorClass, Plan, PlanBuilder, Summary};
use keepwarm_testkit::http_server::Gate;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

fn plan(address: SocketAddr, streams: usize) -> PlanBuilder {
    Plan::builder(format!("http://{address}/")).http2(streams)
}

fn failed(summary: &Summary, class: ErrorClass) -> u64 {
    summary.errors.of(class)
}

#[test]
fn streams_share_one_connection() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        peer.answer_all();
    });
    let summary = run(plan(address, 10).requests(1000));
    assert_eq!((summary.completed, summary.failed), (1000, 0), "{:?}", summary.errors);
    assert_eq!((summary.ledger.opened, summary.ledger.reused), (1, 999));
    assert_eq!(summary.ledger.streams.at_once.max(), Some(10));
    assert_eq!(summary.body_bytes, 2000);
}

#[test]
fn servers_limit_on_streams_is_kept() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let address = serve(move |mut peer| {
        peer.greet(&[(MAX_CONCURRENT_STREAMS, 3)]);
        let mut open = Vec::new();
        let mut is_known = false;
        while let Some(frame) = peer.read() {
            is_known |= frame.kind == SETTINGS && frame.flags == 1;
            if frame.kind == HEADERS {
                open.push(frame.stream);
                most.fetch_max(open.len(), Relaxed);
            }
            // Answers lag behind, so that the client has every chance to open too many.
            if open.len() == 3 || (open.len() == 1 && !is_known) || frame.stream >= 2 * 298 {
                open.drain(..).for_each(|stream| peer.answer(stream, b"ok"));
            }
        }
    });
    let summary = run(plan(address, 50).requests(300).timeout(Duration::from_secs(20)));
    assert_eq!((summary.completed, summary.failed), (300, 0), "{:?}", summary.errors);
    assert_eq!((seen.load(Relaxed), summary.ledger.streams.limit), (3, Some(3)));
    assert_eq!(summary.ledger.streams.at_once.max(), Some(3));
}

#[test]
fn unprocessed_requests_are_sent_again() {
    let processed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&processed);
    let address = serve(move |mut peer| {
        peer.greet(&[]);
        // Ten requests, then GOAWAY. Those behind the tenth are not looked at.
        for _ in 0..10 {
            let Some(stream) = peer.request() else { return };
            count.fetch_add(1, Relaxed);
            if stream == 19 {
                peer.goaway(19, 0);
            }
            peer.answer(stream, b"ok");
        }
        peer.end();
    });
    let summary = run(plan(address, 4).requests(200));
    assert_eq!((summary.completed, summary.failed), (200, 0), "{:?}", summary.errors);
    assert_eq!(processed.load(Relaxed), 200, "none was processed twice");
    let streams = &summary.ledger.streams;
    assert_eq!(streams.unprocessed, streams.sent_again);
    assert!(streams.goaways >= 19, "{streams:?}");
    assert_eq!(summary.ledger.requests_written, 200 + streams.sent_again);
}

/// What is shown of a request goes with it to its next connection.
#[test]
fn shown_request_is_sent_again() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        if let (Some(_), 0) = (peer.request(), peer.nth) {
            peer.goaway(0, 0);
            return peer.end();
        }
        peer.answer(1, b"hello");
        peer.end();
    });
    let summary = run(plan(address, 1).requests(1).concurrency(1).show_exchange(true));
    let exchange = summary.exchange.expect("the exchange");
    let request = String::from_utf8_lossy(&exchange.request);
    assert_eq!(request.matches(":method: GET").count(), 1, "{request}");
    assert!(exchange.response_head.starts_with(b":status: 200"), "{exchange:?}");
}

#[test]
fn endless_goaways_fail_the_request() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        if peer.request().is_some() {
            peer.goaway(0, 0);
            peer.end();
        }
    });
    let summary = run(plan(address, 1).requests(2));
    assert_eq!((summary.completed, failed(&summary, ErrorClass::Unprocessed)), (0, 2));
    assert!(summary.ledger.opened > 10, "each try has a connection of its own");
}

#[test]
fn refused_and_reset_streams_fail_alone() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        while let Some(stream) = peer.request() {
            match stream % 6 {
                1 => peer.reset(stream, REFUSED_STREAM),
                3 => peer.reset(stream, CANCEL),
                _ => peer.answer(stream, b"ok"),
            }
        }
    });
    let summary = run(plan(address, 5).requests(300));
    assert_eq!((summary.completed, summary.failed), (100, 200));
    assert_eq!(failed(&summary, ErrorClass::StreamRefused), 100);
    assert_eq!(failed(&summary, ErrorClass::StreamReset), 100);
    assert_eq!((summary.ledger.streams.refused, summary.ledger.streams.reset), (100, 100));
    assert_eq!(summary.ledger.opened, 1, "the connection goes on");
}

#[test]
fn timed_out_stream_is_cancelled_alone() {
    let cancelled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&cancelled);
    let address = serve(move |mut peer| {
        peer.greet(&[]);
        while let Some(frame) = peer.read() {
            match frame.kind {
                // The second request is never answered.
                HEADERS if frame.stream != 3 => peer.answer(frame.stream, b"ok"),
                RST_STREAM => cancelled.lock().unwrap().push((frame.stream, frame.payload)),
                _ => {}
            }
        }
    });
    let timeout = Duration::from_millis(300);
    let builder = plan(address, 2).rate(100.0).duration(Duration::from_secs(1)).timeout(timeout);
    let summary = run(builder);
    assert_eq!((failed(&summary, ErrorClass::Timeout), summary.failed), (1, 1));
    assert_eq!((summary.ledger.opened, summary.ledger.streams.cancelled), (1, 1));
    assert_eq!(*seen.lock().unwrap(), [(3, CANCEL.to_be_bytes().to_vec())]);
}

#[test]
fn dead_connection_is_closed_after_timeout() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        if peer.nth == 0 {
            // Reads, and says nothing more.
            while peer.read().is_some() {}
        }
        peer.answer_all();
    });
    let summary = run(plan(address, 4).requests(20).timeout(Duration::from_millis(300)));
    // The first stream is older than the settings, and another takes its place before the rest end.
    let timed_out = failed(&summary, ErrorClass::Timeout);
    assert!((4..=5).contains(&timed_out), "{timed_out}");
    assert_eq!(summary.completed, 20 - timed_out);
    assert_eq!((summary.ledger.timed_out, summary.ledger.opened), (1, 2));
}

/// A stream times out by its own time, also on a connection that was busy before.
#[test]
fn timeout_counts_from_its_request() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        if let Some(first) = peer.request() {
            std::thread::sleep(Duration::from_millis(100));
            peer.answer(first, b"ok");
        }
        while peer.read().is_some() {}
    });
    let summary = run(plan(address, 1).requests(2).concurrency(1).timeout(Duration::from_secs(1)));
    assert_eq!((summary.completed, failed(&summary, ErrorClass::Timeout)), (1, 1));
    // At 1.1 s; at 2 s if the first request's timer were the next look.
    assert!(summary.elapsed < Duration::from_millis(1600), "{:?}", summary.elapsed);
}

/// In a closed loop that has begun its last request, nothing but a given-back one wakes an idle connection.
#[test]
fn given_back_request_takes_an_idle_connection() {
    let [both_there, others_done, taken] = [Gate::new(), Gate::new(), Gate::new()];
    let address = serve(move |mut peer| {
        peer.greet(&[]);
        let first = [peer.request(), peer.request()].map(Option::unwrap_or_default);
        if peer.nth == 0 {
            both_there.open();
            others_done.wait();
            peer.goaway(first[0], 0);
            taken.wait();
            peer.answer(first[0], b"ok");
            return peer.end();
        }
        both_there.wait();
        first.into_iter().for_each(|stream| peer.answer(stream, b"ok"));
        // Its answer says that the client has read the others.
        peer.write(PING, 0, 0, &[0; 8]);
        while peer.read().is_some_and(|frame| frame.kind != PING) {}
        others_done.open();
        if let Some(given_back) = peer.request() {
            taken.open();
            peer.answer(given_back, b"ok");
        }
        peer.end();
    });
    let builder = plan(address, 2).requests(4).concurrency(2).threads(1);
    let summary = run(builder.timeout(Duration::from_secs(5)));
    assert_eq!((summary.completed, summary.failed), (4, 0), "{:?}", summary.errors);
    assert_eq!((summary.ledger.opened, summary.ledger.streams.sent_again), (2, 1));
}

/// A connection on which no response came is new, whatever else the server has said on it.
#[test]
fn error_of_a_goaway_is_told() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        if let Some(stream) = peer.request() {
            peer.goaway(stream, 1);
            peer.end();
        }
    });
    let summary = run(plan(address, 1).requests(2).concurrency(1));
    assert_eq!(failed(&summary, ErrorClass::EofOnNew), 2, "{:?}", summary.errors);
    let (_, stat) = summary.errors.iter().next().unwrap();
    assert!(stat.example.contains("after GOAWAY with PROTOCOL_ERROR"), "{stat:?}");
}

#[test]
fn idle_connections_reach_their_lifetime() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        peer.answer_all();
    });
    let builder = plan(address, 2).rate(5.0).requests(4).concurrency(1).threads(1);
    let summary = run(builder.max_lifetime(Duration::from_millis(50)));
    assert_eq!((summary.completed, summary.ledger.opened), (4, 4), "{:?}", summary.errors);
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::MaxLifetime], 3);
}

/// A connection that drains is none whose streams ran out.
#[test]
fn drained_connections_are_not_full() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        // Answered all at once, so that each connection drains while the next one is opened.
        let all: Vec<u32> = (0..10).map_while(|_| peer.request()).collect();
        std::thread::sleep(Duration::from_millis(50));
        all.into_iter().for_each(|stream| peer.answer(stream, b"ok"));
        peer.answer_all();
    });
    let builder = plan(address, 100).rate(200.0).requests(60).concurrency(20).threads(1);
    let summary = run(builder.requests_per_connection(10));
    assert_eq!((summary.completed, summary.ledger.opened), (60, 6), "{:?}", summary.errors);
    assert_eq!(summary.ledger.streams.opened_for_streams, 0);
}

/// A server that allows no stream for a moment, and then some, keeps its idle connection.
#[test]
fn streams_that_are_allowed_again_keep_the_connection() {
    let address = serve(|mut peer| {
        peer.greet(&[(MAX_CONCURRENT_STREAMS, 0)]);
        if let Some(stream) = peer.request() {
            peer.answer(stream, b"ok");
            peer.settings(&[(MAX_CONCURRENT_STREAMS, 100)]);
        }
        peer.answer_all();
    });
    let builder = plan(address, 2).rate(2.0).requests(3).concurrency(1).threads(1);
    let summary = run(builder.timeout(Duration::from_millis(200)));
    assert_eq!((summary.completed, summary.ledger.opened), (3, 1), "{:?}", summary.errors);
}

#[test]
fn bodies_keep_both_windows() {
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let address = serve(move |mut peer| {
        // A stream's window of 10,000 bytes, and the connection's 65,535 for all.
        peer.greet(&[(INITIAL_WINDOW_SIZE, 10_000)]);
        let mut windows: [i64; 100] = [10_000; 100];
        // The first stream is opened before the client knows the settings.
        windows[0] = 65_535;
        let mut connection = 65_535_i64;
        while let Some(frame) = peer.read() {
            if frame.kind == SETTINGS && frame.flags == ACK {
                windows[0] -= 55_535;
            }
            let window = &mut windows[frame.stream as usize / 2];
            if frame.kind == DATA {
                let length = i64::try_from(frame.payload.len()).unwrap();
                assert!(length <= *window && length <= connection, "{} {window}", frame.stream);
                (*window, connection) = (*window - length, connection - length);
                count.fetch_add(length as u64, Relaxed);
            }
            if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                peer.answer(frame.stream, b"ok");
            } else if frame.stream > 0 && *window <= 0 {
                peer.write(WINDOW_UPDATE, 0, frame.stream, &7_000_u32.to_be_bytes());
                *window += 7_000;
            }
            if windows[0] <= 0 && frame.kind == SETTINGS {
                peer.write(WINDOW_UPDATE, 0, 1, &90_000_u32.to_be_bytes());
                windows[0] += 90_000;
            }
            if connection < 30_000 {
                peer.write(WINDOW_UPDATE, 0, 0, &30_000_u32.to_be_bytes());
                connection += 30_000;
            }
        }
    });
    let body = vec![b'x'; 100_000];
    let summary = run(plan(address, 5).requests(20).body(body));
    assert_eq!((summary.completed, summary.failed), (20, 0), "{:?}", summary.errors);
    assert_eq!(received.load(Relaxed), 2_000_000);
}

#[test]
fn server_of_http_1_is_named() {
    let address = serve(|mut peer: Peer| {
        peer.raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer.end();
    });
    let summary = run(plan(address, 1).requests(3));
    assert_eq!(failed(&summary, ErrorClass::BadFraming), 3);
    let (key, stat) = summary.errors.iter().next().unwrap();
    assert!(key.hint().unwrap().contains("--http2"), "{key:?}");
    assert!(stat.example.contains("HTTP/1.1 400"), "{stat:?}");
}

#[test]
fn early_response_resets_the_upload() {
    let resets = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&resets);
    let address = serve(move |mut peer| {
        peer.greet(&[]);
        while let Some(frame) = peer.read() {
            match frame.kind {
                HEADERS => peer.write(HEADERS, END_HEADERS | END_STREAM, frame.stream, OK),
                RST_STREAM => _ = count.fetch_add(1, Relaxed),
                _ => {}
            }
        }
    });
    // Larger than any window that the server opens.
    let summary = run(plan(address, 3).requests(30).body(vec![b'x'; 100_000]));
    assert_eq!((summary.completed, summary.failed), (30, 0), "{:?}", summary.errors);
    assert_eq!((summary.ledger.streams.cancelled, summary.ledger.opened), (30, 1));
}

#[test]
fn request_limit_drains_the_connection() {
    let address = serve(|mut peer| {
        peer.greet(&[]);
        peer.answer_all();
    });
    let summary = run(plan(address, 4).requests(100).requests_per_connection(10));
    assert_eq!((summary.completed, summary.ledger.opened), (100, 10));
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::RequestLimit], 10);
    assert_eq!(summary.requests_per_connection().max(), Some(10));
}

#[test]
fn full_connections_lead_to_further_ones() {
    // Nothing is answered before every connection that there may be carries what it may.
    let (all_full, full) = (Gate::new(), AtomicUsize::new(0));
    let address = serve(move |mut peer| {
        peer.greet(&[(MAX_CONCURRENT_STREAMS, 2)]);
        let first: Vec<u32> = (0..2).map_while(|_| peer.request()).collect();
        if full.fetch_add(1, Relaxed) + 1 == 8 {
            all_full.open();
        }
        all_full.wait();
        first.into_iter().for_each(|stream| peer.answer(stream, b"ok"));
        peer.answer_all();
    });
    let builder = plan(address, 100).concurrency(8).threads(1).rate(200.0);
    let summary = run(builder.requests(100));
    assert_eq!((summary.completed, summary.failed), (100, 0), "{:?}", summary.errors);
    let streams = &summary.ledger.streams;
    assert_eq!(summary.ledger.opened, 8);
    assert!(streams.opened_for_streams > 0 && streams.opened_for_streams < 8, "{streams:?}");
    assert_eq!(streams.at_once.max(), Some(2));
}

#[test]
fn templates_number_each_request_once() {
    let blocks = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&blocks);
    let address = serve(move |mut peer| {
        peer.greet(&[]);
        while let Some(frame) = peer.read() {
            if frame.kind == HEADERS {
                blocks.lock().unwrap().push(String::from_utf8_lossy(&frame.payload).into_owned());
                peer.answer(frame.stream, b"ok");
            }
        }
    });
    let url = format!("http://{address}/item-{{n}}-end");
    let summary = run(Plan::builder(url).http2(7).templates(true).requests(50));
    assert_eq!((summary.completed, summary.failed), (50, 0), "{:?}", summary.errors);
    let seen = seen.lock().unwrap();
    for number in 0..50 {
        let path = format!("/item-{number}-end");
        assert_eq!(seen.iter().filter(|block| block.contains(&path)).count(), 1, "{path}");
    }
}

#[test]
fn settings_of_http_1_are_refused() {
    let table = [
        (Plan::builder("http://127.0.0.1:9/").keep_alive(false), "keep_alive"),
        (
            Plan::builder("http://127.0.0.1:9/").close_policy(keepwarm_load::ClosePolicy::WaitPeer),
            "close_policy",
        ),
        (Plan::builder("http://127.0.0.1:9/").header("Upgrade", "websocket"), "header"),
        (Plan::builder("http://127.0.0.1:9/").header("TE", "gzip"), "header"),
    ];
    for (builder, setting) in table {
        let error = builder.requests(1).http2(1).build().expect_err(setting);
        assert_eq!(error.setting(), setting, "{error}");
    }
    for streams in [0, 10_001] {
        let plan = Plan::builder("http://127.0.0.1:9/").requests(1).http2(streams);
        assert_eq!(plan.build().expect_err("a limit").setting(), "streams");
    }
}
