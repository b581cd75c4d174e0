//! Claim: no server makes the engine hang, crash or miscount.

mod common;

use std::time::Duration;

use common::{plan, run, run_and_compare};
use keepwarm_load::{CloseCause, ErrorClass, Plan, Protocol, Summary};
use keepwarm_testkit::http_server::{Conn, Gate, HttpServer};

/// Answers one request per connection with `response`, then waits for the client to close.
fn serve(response: impl Into<Vec<u8>>) -> HttpServer {
    let response = response.into();
    HttpServer::start(move |conn| {
        if conn.read_request() {
            conn.send(&response);
        }
        conn.wait_for_client();
    })
}

/// Sends ten requests to a server that always answers with `response`.
fn ten(response: impl Into<Vec<u8>>) -> Summary {
    let server = serve(response);
    let builder = plan(&server).requests(10).concurrency(2).timeout(Duration::from_secs(10));
    run_and_compare(server, builder).0
}

#[track_caller]
fn assert_refused(response: impl Into<Vec<u8>>, class: ErrorClass) {
    let summary = ten(response);
    assert_eq!(summary.completed, 0);
    assert_eq!(summary.errors.of(class), 10, "{:?}", summary.errors);
    assert_eq!(summary.ledger.opened, 10);
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::BadResponse], 10);
    assert!(summary.errors.iter().all(|(_, stat)| !stat.example.is_empty()));
}

#[test]
fn non_http_bytes_are_bad_framing() {
    assert_refused("SSH-2.0-OpenSSH_9.2\r\n", ErrorClass::BadFraming);
    assert_refused(vec![0xff; 100_000], ErrorClass::BadFraming);
}

#[test]
fn interim_flood_ends_at_limit() {
    assert_refused("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), ErrorClass::BadFraming);
}

#[test]
fn endless_head_stops_at_limit() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(1_000_000));
    assert_refused(endless, ErrorClass::TooLarge);
    let fields = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(20_000));
    assert_refused(fields, ErrorClass::TooLarge);
}

#[test]
fn contradicting_lengths_are_bad_framing() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
    assert_refused(response, ErrorClass::BadFraming);
}

#[test]
fn bad_chunk_is_bad_framing() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_refused(format!("{head}xyz\r\n"), ErrorClass::BadFraming);
    assert_refused(format!("{head}2\r\nokay\r\n0\r\n\r\n"), ErrorClass::BadFraming);
}

/// A response delimited twice completes, but its connection is not trusted with another request.
#[test]
fn twice_delimited_response_ends_its_connection() {
    let summary = ten("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n");
    assert_eq!((summary.completed, summary.ledger.opened), (10, 10));
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::AmbiguousFraming], 10);
}

#[test]
fn silent_server_is_left_after_timeout() {
    let server = serve("");
    let timeout = Duration::from_millis(100);
    let builder = plan(&server).requests(4).concurrency(2).timeout(timeout);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.failed, summary.errors.of(ErrorClass::Timeout)), (4, 4));
    assert_eq!((summary.ledger.timed_out, truth.requests), (4, 4));
    let (_, stat) = summary.errors.iter().next().unwrap();
    assert!(stat.first >= timeout && stat.last >= timeout * 2, "{stat:?}");
}

#[test]
fn stalled_response_is_left_after_timeout() {
    let server = serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let builder = plan(&server).requests(2).timeout(Duration::from_millis(100));
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.errors.of(ErrorClass::Timeout), 2);
    let (_, stat) = summary.errors.iter().next().unwrap();
    assert!(stat.example.contains("a part"), "{}", stat.example);
}

#[test]
fn dripping_response_is_read_whole() {
    let drip = |conn: &mut Conn| {
        while conn.read_request() {
            for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            {
                conn.send(&[*byte]);
            }
        }
    };
    let server = HttpServer::start(drip);
    let builder = plan(&server).requests(50).concurrency(5);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.body_bytes), (50, 100));
    assert_eq!(summary.ledger.opened, 5);
}

#[test]
fn silent_connection_does_not_delay_others() {
    let gate = Gate::new();
    let opened_by_others = gate.clone();
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            // The first connection's first request is answered when the others are done.
            if conn.nth() == 0 {
                gate.wait();
            }
            if conn.request().starts_with(b"GET ") {
                conn.respond("ok");
            }
        }
    });
    let builder = plan(&server).requests(500).concurrency(3).threads(1);
    let run = keepwarm_load::Run::start(builder.build().unwrap()).unwrap();
    while run.progress().completed < 499 {
        std::thread::yield_now();
        assert!(run.progress().elapsed < Duration::from_secs(20));
    }
    assert_eq!(run.progress().open_connections, 3);
    opened_by_others.open();
    let summary = run.wait();
    assert_eq!(summary.completed, 500);
    assert_eq!(summary.requests_per_connection().min(), Some(1));
    assert_eq!(server.finish().requests, 500);
}

/// A server that sends for ever after its last response is left.
#[test]
fn server_sending_for_ever_is_left() {
    let server = HttpServer::start(|conn| {
        if conn.read_request() {
            conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            for _ in 0..1000 {
                conn.send(&[b'x'; 65536]);
            }
        }
        conn.wait_for_client();
    });
    let builder = plan(&server).requests(4).concurrency(2).keep_alive(false);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.closed_by_us_total()), (4, 4));
}

/// Returns the protocol and the hint of the only kind of failure.
fn hint(summary: &Summary) -> (Protocol, &'static str) {
    let kinds: Vec<_> = summary.errors.iter().collect();
    let [(key, _)] = kinds.as_slice() else { panic!("{:?}", summary.errors) };
    (key.protocol.expect("a protocol"), key.hint().expect("a hint"))
}

#[test]
fn greeting_of_another_service_is_named_in_the_hint() {
    let greetings: [(&[u8], Protocol, &str); 6] = [
        (b"-ERR wrong number of arguments for 'get' command\r\n", Protocol::Redis, "Redis"),
        (b"\x4a\0\0\0\x0a8.0.36\0 and so on", Protocol::MySql, "MySQL"),
        (b"E\0\0\0\x8dSFATAL\0C08P01\0", Protocol::PostgreSql, "PostgreSQL"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol::Ssh, "SSH"),
        (b"\x15\x03\x03\0\x02\x02\x46", Protocol::Tls, "https://"),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x80", Protocol::Http2, "HTTP/2"),
    ];
    for (bytes, protocol, name) in greetings {
        let summary = ten(bytes);
        let (found, hint) = hint(&summary);
        assert!(found == protocol && hint.contains(name), "{found}: {hint}");
    }
}

/// A greeting without TLS, asked for by an `https://` URL.
#[test]
fn server_without_tls_is_named_in_the_hint() {
    let greetings: [(&[u8], Protocol, &str); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Protocol::PlainHttp, "http://"),
        (b"-ERR unknown command\r\n", Protocol::Redis, "Redis"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol::Ssh, "SSH"),
    ];
    for (bytes, protocol, name) in greetings {
        let server = HttpServer::start(move |conn| {
            conn.send(bytes);
            conn.wait_for_client();
        });
        let url = format!("https://{}/", server.address());
        let summary = run(Plan::builder(url).requests(4).tls_insecure(true));
        assert_eq!(summary.errors.of(ErrorClass::Tls), 4);
        let (found, hint) = hint(&summary);
        assert!(found == protocol && hint.contains(name), "{found}: {hint}");
    }
}
