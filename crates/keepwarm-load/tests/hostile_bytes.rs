//! Claim: for any bytes in any length from a server the run ends, and each request and each
//! connection is counted once.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use common::{plan, run_and_compare};
use keepwarm_load::ErrorClass;
use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::http_server::HttpServer;
use keepwarm_testkit::mutate;

/// Responses that servers send.
const RESPONSES: [&[u8]; 7] = [
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 9\r\n\r\nnot found",
];

#[test]
fn garbled_responses_get_their_class() {
    let dice = Mutex::new(Dice::new(1));
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            let response = {
                let mut dice = dice.lock().expect("no holder panics");
                let at = usize::try_from(dice.roll(RESPONSES.len() as u64)).expect("small");
                match dice.roll(4) {
                    0 => RESPONSES[at].to_vec(),
                    _ => mutate::bytes(&mut dice, RESPONSES[at]),
                }
            };
            conn.send(&response);
        }
    });
    // A response that is cut short ends by the timeout. On a busy machine a whole one may, too; it
    // counts as failed like the others.
    let builder = plan(&server).requests(1_000).concurrency(50);
    let (summary, truth) = run_and_compare(server, builder.timeout(Duration::from_millis(250)));
    assert_eq!(summary.completed + summary.failed, 1_000);
    assert!(summary.completed > 100 && summary.failed > 100, "{:?}", summary.errors);
    for class in [ErrorClass::Timeout, ErrorClass::BadFraming] {
        assert!(summary.errors.of(class) > 10, "{:?}", summary.errors);
    }
    assert!(truth.requests >= summary.completed, "{truth:?}");
}

/// (name, beginning, bytes that are repeated)
const ENDLESS: [(&str, &str, &str); 8] = [
    ("a body without a length", "HTTP/1.1 200 OK\r\n\r\n", "x"),
    ("a long body", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", "x"),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ("an extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x"),
    ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n"),
    ("fields", "HTTP/1.1 200 OK\r\n", "A: b\r\n"),
    ("a status line", "HTTP/1.1 200 ", "x"),
    ("interim responses", "", "HTTP/1.1 100 Continue\r\n\r\n"),
];

/// A response that never ends is left, whether it drips or floods.
#[test]
fn endless_response_is_left() {
    for (what, begin, again) in ENDLESS {
        for (pieces, pause) in [(1, Duration::from_millis(1)), (1_000, Duration::ZERO)] {
            let again = again.repeat(pieces);
            let server = HttpServer::start(move |conn| {
                if conn.read_request() {
                    conn.send(begin.as_bytes());
                    conn.send_for_ever(again.as_bytes(), pause);
                }
                conn.wait_for_client();
            });
            let builder = plan(&server).requests(4).concurrency(2);
            let (summary, _) = run_and_compare(server, builder.timeout(Duration::from_millis(100)));
            let context = format!("{what}, {pieces} at a time: {:?}", summary.errors);
            assert_eq!((summary.completed, summary.failed), (0, 4), "{context}");
            let left = [ErrorClass::Timeout, ErrorClass::TooLarge, ErrorClass::BadFraming];
            let left: u64 = left.into_iter().map(|class| summary.errors.of(class)).sum();
            assert_eq!(left, 4, "{context}");
        }
    }
}
