//! Claim: with TLS, the peer's close_notify is its end (RFC 8446, section 6.1), even if it keeps the
//! TCP connection open. The connection is not used again, is counted as closed by the peer, and
//! nothing waits for a timeout.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::run;
use common::tls::{Authority, Stream, plan, read_request, serve};
use keepwarm_load::{ClosePolicy, ErrorClass, PlanBuilder, Summary};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The end of a server's bytes, in one packet with the bytes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// TCP stays open until the client closes.
    KeepsTcp,
    /// Keeps TCP open, and writes bytes that TLS must ignore.
    KeepsTcpWithBytesBehind,
    /// The FIN follows at once, as with most servers.
    Fin,
}

/// Sends `bytes` and close_notify together. Returns true if the client then ended its own side of
/// TLS before its side of TCP.
fn end_with(stream: &mut Stream, bytes: &[u8], end: End) -> bool {
    let _ = stream.conn.writer().write_all(bytes);
    stream.conn.send_close_notify();
    let mut last = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut last).expect("memory takes all");
    }
    if end == End::KeepsTcpWithBytesBehind {
        last.resize(last.len() + 40_000, b'x');
    }
    let _ = stream.sock.write_all(&last);
    if end == End::Fin {
        return false;
    }
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// A run against a server that ends each connection with `bytes`, after as many whole answers as
/// `answers`. Returns the summary, and the number of connections that the client ended in order.
fn run_against(
    answers: usize,
    bytes: &'static [u8],
    end: End,
    change: impl FnOnce(PlanBuilder) -> PlanBuilder,
) -> (Summary, u64) {
    let authority = Authority::new();
    let in_order = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&in_order);
    let (address, _) = serve(authority.server("localhost", None), move |stream| {
        for _ in 0..answers {
            if !read_request(stream) {
                return;
            }
            let _ = stream.write_all(RESPONSE).and_then(|()| stream.flush());
        }
        if read_request(stream) {
            counted.fetch_add(u64::from(end_with(stream, bytes, end)), SeqCst);
        }
    });
    let builder = plan(address).requests(20).concurrency(2).threads(1).tls_roots(authority.pem());
    let summary = run(change(builder.timeout(Duration::from_secs(20))));
    assert!(summary.elapsed < Duration::from_secs(10), "waited: {:?}", summary.elapsed);
    (summary, in_order.load(SeqCst))
}

#[test]
fn announced_end_closes_the_connection() {
    for end in [End::KeepsTcp, End::KeepsTcpWithBytesBehind, End::Fin] {
        let (summary, _) = run_against(0, RESPONSE, end, |plan| plan);
        assert_eq!((summary.completed, summary.failed), (20, 0), "{end:?}: {:?}", summary.errors);
        assert_eq!((summary.ledger.opened, summary.ledger.peer_fin), (20, 20), "{end:?}");
        assert_eq!(summary.ledger.stray_bytes, 0, "bytes behind the end are ignored");
    }
}

#[test]
fn announced_end_is_answered_by_an_announced_end() {
    let (summary, in_order) = run_against(0, RESPONSE, End::KeepsTcp, |plan| plan);
    // The last connections of a run may end with it.
    assert!(in_order + 2 >= summary.ledger.opened, "{in_order} of {}", summary.ledger.opened);
}

#[test]
fn idle_connection_of_an_open_loop_ends_too() {
    let open = |plan: PlanBuilder| plan.rate(200.0);
    let (summary, _) = run_against(0, RESPONSE, End::KeepsTcp, open);
    assert_eq!((summary.completed, summary.ledger.peer_fin), (20, 20), "{:?}", summary.errors);
}

#[test]
fn announced_end_cuts_response_in_its_class() {
    let within = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    let cases: [(usize, &'static [u8], ErrorClass, u64); 5] = [
        (0, within, ErrorClass::EofWithinResponse, 20),
        (0, chunked, ErrorClass::EofWithinResponse, 20),
        (0, b"HTTP/1.1 200", ErrorClass::EofWithinResponse, 20),
        (0, b"", ErrorClass::EofOnNew, 20),
        (1, b"", ErrorClass::EofOnReused, 10),
    ];
    for (answers, bytes, class, count) in cases {
        for end in [End::KeepsTcp, End::KeepsTcpWithBytesBehind, End::Fin] {
            let (summary, _) = run_against(answers, bytes, end, |plan| plan.concurrency(1));
            assert_eq!(summary.errors.of(class), count, "{end:?}, {class}: {:?}", summary.errors);
            assert_eq!((summary.failed, summary.ledger.peer_fin), (count, summary.ledger.opened));
        }
    }
}

#[test]
fn announced_end_completes_body_until_end() {
    for end in [End::KeepsTcp, End::Fin] {
        let (summary, _) =
            run_against(0, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", end, |plan| plan);
        assert_eq!((summary.completed, summary.ledger.peer_fin), (20, 20), "{:?}", summary.errors);
    }
}

#[test]
fn announced_end_after_connection_close_is_the_peers() {
    let last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    for policy in [ClosePolicy::Now, ClosePolicy::WaitPeer] {
        let (summary, _) = run_against(0, last, End::KeepsTcp, |plan| plan.close_policy(policy));
        assert_eq!((summary.completed, summary.ledger.peer_fin), (20, 20), "{policy:?}");
    }
}

/// A server may end a connection in the flight that ends the handshake, with or without an answer.
#[test]
fn announced_end_before_any_request_is_in_time() {
    let authority = Authority::new();
    for (bytes, class) in
        [(&b""[..], ErrorClass::EofOnNew), (b"HTTP/1.1 408 Timeout", ErrorClass::EofWithinResponse)]
    {
        let (address, _) = serve(authority.server("localhost", None), move |stream| {
            end_with(stream, bytes, End::KeepsTcp);
        });
        let builder = plan(address).requests(4).tls_roots(authority.pem());
        let summary = run(builder.timeout(Duration::from_secs(20)));
        assert_eq!((summary.failed, summary.errors.of(class)), (4, 4), "{:?}", summary.errors);
        assert!(summary.elapsed < Duration::from_secs(10));
    }
}

/// A record that cannot be decrypted ends a connection of HTTP/2 with all that is in flight on it.
#[test]
fn broken_record_fails_every_stream() {
    let authority = Authority::new();
    let mut config = authority.server("localhost", None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _) = serve(config, |stream| {
        let mut preface = [0; 24];
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let greeted = stream.read_exact(&mut preface).and_then(|()| stream.write_all(&settings));
        if greeted.and_then(|()| stream.flush()).is_err() {
            return;
        }
        let mut heads = 0;
        while heads < 4 {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).is_err() {
                return;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let _ = stream.read_exact(&mut vec![0; length]);
            heads += usize::from(head[3] == 1);
        }
        let record = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
        let _ = stream.sock.write_all(&record);
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    let builder = plan(address).http2(4).requests(12).concurrency(1).tls_roots(authority.pem());
    let summary = run(builder.timeout(Duration::from_secs(20)));
    assert!(summary.elapsed < Duration::from_secs(10), "waited: {:?}", summary.elapsed);
    assert_eq!((summary.errors.of(ErrorClass::Tls), summary.failed), (12, 12));
    assert_eq!(summary.ledger.opened, 3);
}
