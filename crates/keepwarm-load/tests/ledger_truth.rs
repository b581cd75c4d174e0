//! Claim: the ledger says which side closed each connection, and the server, which knows, agrees.

mod common;

use std::net::Ipv6Addr;
use std::time::Duration;

use common::{plan, run, run_and_compare};
use keepwarm_load::{CloseCause, ClosePolicy, ErrorClass, Plan, Summary};
use keepwarm_testkit::http_server::{Conn, Gate, HttpServer, has_ipv6};

const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn answer_all(conn: &mut Conn) {
    while conn.read_request() {
        conn.respond("ok");
    }
}

/// Answers one request with `response`, then closes by FIN.
fn answer_once(response: &'static [u8]) -> impl Fn(&mut Conn) + Send + Sync {
    move |conn| {
        if conn.read_request() {
            conn.send(response);
        }
        conn.fin();
    }
}

/// Answers one request with `response`, then waits for the client to close.
fn answer_and_wait(response: &'static [u8]) -> impl Fn(&mut Conn) + Send + Sync {
    move |conn| {
        if conn.read_request() {
            conn.send(response);
        }
        conn.wait_for_client();
    }
}

fn closed_by_us(summary: &Summary, cause: CloseCause) -> u64 {
    summary.ledger.closed_by_us.get(&cause).copied().unwrap_or(0)
}

/// No request is lost, either.
#[test]
fn keep_alive_opens_the_connections_asked() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(1003).concurrency(7).threads(2);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, truth.requests), (1003, 1003));
    assert_eq!((summary.ledger.opened, summary.ledger.still_open), (7, 7));
    assert_eq!(summary.ledger.reused, 1003 - 7);
    assert_eq!(summary.statuses[&200], 1003);
    assert_eq!(summary.document_length, Some(2));
    assert_eq!(summary.body_bytes, 2 * 1003);
    let carried = summary.requests_per_connection();
    assert_eq!((carried.count(), carried.sum()), (7, 1003));
}

#[test]
fn connections_never_exceed_requests() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(3).concurrency(50).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened), (3, 3));
}

#[test]
fn without_keep_alive_server_closes_first() {
    let server = HttpServer::start(answer_once(CLOSING));
    let builder = plan(&server).requests(50).concurrency(3).keep_alive(false);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.peer_fin), (50, 50));
    assert_eq!((truth.connections, summary.ledger.reused), (50, 0));
}

#[test]
fn without_waiting_this_side_closes() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = HttpServer::start(answer_and_wait(response));
    let builder = plan(&server).requests(50).concurrency(3).keep_alive(false);
    let (summary, _) = run_and_compare(server, builder.close_policy(ClosePolicy::Now));
    assert_eq!(summary.completed, 50);
    assert_eq!(closed_by_us(&summary, CloseCause::OnePerConnection), 50);
}

#[test]
fn wait_for_close_lasts_a_second() {
    let server = HttpServer::start(answer_and_wait(CLOSING));
    let builder = plan(&server).requests(2).concurrency(2).keep_alive(false);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(closed_by_us(&summary, CloseCause::PeerKeptOpen), 2);
    assert!(summary.elapsed.as_millis() < 900, "waiting is not part of the run's time");
}

/// The default close policy obeys `Connection: close` at once.
#[test]
fn connection_close_is_obeyed_at_once() {
    let server = HttpServer::start(answer_and_wait(CLOSING));
    let builder = plan(&server).requests(30).concurrency(3);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.completed, 30);
    assert_eq!(closed_by_us(&summary, CloseCause::ResponseSaidClose), 30);
}

/// A response in HTTP/1.0 without keep-alive is the last one of its connection.
#[test]
fn http_1_0_response_ends_connection() {
    let response = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = HttpServer::start(answer_and_wait(response));
    let builder = plan(&server).requests(5);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(closed_by_us(&summary, CloseCause::ResponseSaidClose), 5);
}

#[test]
fn request_limit_shows_in_distribution() {
    let server = HttpServer::start(|conn| {
        for nth in 1..=5 {
            if !conn.read_request() {
                return;
            }
            conn.send(if nth < 5 { b"HTTP/1.1 204 N\r\n\r\n" } else { CLOSING });
        }
        conn.fin();
    });
    let builder = plan(&server).requests(50).close_policy(ClosePolicy::WaitPeer);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.peer_fin), (50, 10));
    assert_eq!((summary.statuses[&204], summary.statuses[&200]), (40, 10));
    let carried = summary.requests_per_connection();
    assert_eq!((carried.min(), carried.p50(), carried.max()), (Some(5), Some(5), Some(5)));
}

#[test]
fn stale_reuse_fails_and_is_not_resent() {
    let server = HttpServer::start(|conn| {
        for _ in 0..5 {
            if !conn.read_request() {
                return;
            }
            conn.respond("ok");
        }
        // The sixth request gets no answer, as if the server had closed just before.
        if conn.read_request() {
            conn.fin();
        }
    });
    let builder = plan(&server).requests(11);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.failed), (10, 1));
    assert_eq!(summary.errors.of(ErrorClass::EofOnReused), 1);
    assert_eq!((truth.requests, summary.ledger.requests_written), (11, 11));
}

#[test]
fn close_while_idle_is_accounted_for() {
    // The FIN races with the next request: it is seen in time, or the request is stale.
    let server = HttpServer::start(|conn| {
        if conn.nth() < 200 && conn.read_request() {
            conn.respond("ok");
            return conn.fin();
        }
        answer_all(conn);
    });
    let builder = plan(&server).requests(1000).concurrency(4).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.completed + summary.failed, 1000);
    let stale = summary.errors.of(ErrorClass::EofOnReused);
    assert_eq!(summary.failed, stale, "{:?}", summary.errors);
    assert_eq!(summary.ledger.peer_fin, 200);
}

#[test]
fn abort_before_response_differs_from_within() {
    let server = HttpServer::start(|conn| {
        if conn.read_request() {
            if conn.nth() % 2 == 1 {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            }
            conn.rst();
        }
    });
    let builder = plan(&server).requests(40).concurrency(1);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.failed, summary.ledger.peer_rst), (40, 40));
    assert_eq!(summary.errors.of(ErrorClass::ResetBeforeResponse), 20);
    assert_eq!(summary.errors.of(ErrorClass::ResetWithinResponse), 20);
    assert!(summary.errors.iter().all(|(key, _)| key.errno.unwrap().name() == Some("ECONNRESET")));
}

/// An abort right after accept is an opened connection that was reset.
#[test]
fn abort_after_accept_counts_as_opened() {
    let server = HttpServer::start(Conn::rst);
    let builder = plan(&server).requests(60).concurrency(3);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.failed, summary.ledger.peer_rst), (60, 60));
    assert!(!summary.is_unreachable());
}

#[test]
fn end_of_stream_class_names_its_place() {
    let server = HttpServer::start(|conn| {
        if conn.read_request() {
            conn.send(match conn.nth() % 3 {
                0 => b"",
                1 => b"HTTP/1.1 200 OK\r\nConte",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            });
        }
        conn.fin();
    });
    let builder = plan(&server).requests(30);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.errors.of(ErrorClass::EofOnNew), 10);
    assert_eq!(summary.errors.of(ErrorClass::EofWithinResponse), 20);
    assert_eq!(summary.ledger.peer_fin, 30);
}

/// A body without a length is complete when its connection ends.
#[test]
fn body_until_end_is_complete() {
    let server = HttpServer::start(answer_once(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"));
    let builder = plan(&server).requests(20).concurrency(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.peer_fin), (20, 20));
    assert_eq!(summary.body_bytes, 20 * 13);
}

#[test]
fn half_closed_connection_is_not_reused() {
    let server = HttpServer::start(|conn| {
        if conn.read_request() {
            conn.send(CLOSING);
            conn.half_close();
            conn.wait_for_client();
        }
    });
    let builder = plan(&server).requests(20).close_policy(ClosePolicy::WaitPeer);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, truth.requests, truth.server_fin_first), (20, 20, 20));
}

#[test]
fn stray_bytes_end_connection_not_exchange() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more";
    let server = HttpServer::start(answer_and_wait(response));
    let builder = plan(&server).requests(10).concurrency(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.completed, 10);
    assert_eq!(closed_by_us(&summary, CloseCause::StrayBytes), 10);
    assert_eq!(summary.ledger.stray_bytes, 10);
}

/// The FIN behind a stray byte makes the close the peer's; the byte stays in the ledger.
#[test]
fn stray_byte_before_fin_leaves_a_trace() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\n"[..],
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok\n",
    ] {
        let server = HttpServer::start(move |conn| {
            if conn.read_request() {
                conn.send(response);
                conn.fin();
            }
        });
        let builder = plan(&server).requests(10).concurrency(2);
        // Where the FINs cross, each side takes its own for the first.
        let summary = run(builder);
        server.finish();
        let by_us = closed_by_us(&summary, CloseCause::StrayBytes);
        assert_eq!((summary.completed, summary.ledger.peer_fin + by_us), (10, 10));
        assert_eq!(summary.ledger.stray_bytes, 10);
    }
}

/// The server responds before it has read the whole request.
#[test]
fn early_response_completes_and_ends_connection() {
    let gate = Gate::new();
    let until_over = gate.clone();
    let server = HttpServer::start(move |conn| {
        conn.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        // More than all buffers on the way hold, so it cannot be written before it is read.
        until_over.wait();
        conn.wait_for_client();
    });
    let builder = plan(&server).requests(1).method("POST").body(vec![0; 64 << 20]);
    let summary = run(builder);
    gate.open();
    let truth = server.finish();
    assert_eq!((truth.connections, truth.requests, truth.client_fin_first), (1, 0, 1));
    assert_eq!(summary.statuses[&413], 1);
    assert_eq!(closed_by_us(&summary, CloseCause::EarlyResponse), 1);
}

#[test]
fn large_body_is_written_whole() {
    let body = vec![b'x'; 5_000_000];
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            let length = conn.request().len();
            conn.respond(if length > 5_000_000 { "all" } else { "short" });
        }
    });
    let builder = plan(&server).requests(4).concurrency(2).method("PUT").body(body);
    let written = builder.clone().build().unwrap().request_len() as u64;
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.document_length), (4, Some(3)));
    assert_eq!(summary.bytes_written, 4 * written);
}

#[test]
fn large_response_is_counted_whole() {
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            conn.respond(&"y".repeat(3_000_000));
        }
    });
    let builder = plan(&server).requests(6).concurrency(3);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.body_bytes), (6, 18_000_000));
}

#[test]
fn responses_without_content_keep_connection() {
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            assert!(conn.request().starts_with(b"HEAD / HTTP/1.1\r\n"));
            conn.send(b"HTTP/1.1 200 OK\r\nServer: scripted/1\r\nContent-Length: 999\r\n\r\n");
        }
    });
    let builder = plan(&server).method("HEAD").requests(10);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened, summary.body_bytes), (10, 1, 0));
    assert_eq!(summary.server_header.as_deref(), Some("scripted/1"));
}

#[test]
fn service_time_excludes_other_requests() {
    let delay = Duration::from_millis(100);
    let server = HttpServer::start(move |conn| {
        for nth in 0.. {
            if !conn.read_request() {
                return;
            }
            if nth == 0 {
                // The delay itself is the subject.
                std::thread::sleep(delay);
            }
            conn.respond("ok");
        }
    });
    let builder = plan(&server).requests(101);
    let (summary, _) = run_and_compare(server, builder);
    let delay_us = u64::try_from(delay.as_micros()).unwrap();
    assert!(summary.latency.max().unwrap() >= delay_us);
    assert!(summary.latency.p95().unwrap() < delay_us, "the others did not wait");
    assert!(summary.connect_time.max().unwrap() < delay_us);
    assert!(summary.latency.mean().unwrap() >= 1000.0, "one of 101 waited 100 ms");
}

#[test]
fn ipv6_works_like_ipv4() {
    if !has_ipv6() {
        return;
    }
    let server = HttpServer::start_on(Ipv6Addr::LOCALHOST.into(), answer_all);
    let builder = plan(&server).requests(20).concurrency(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened), (20, 2));

    // The zone chooses the interface, and must not be sent (RFC 6874, section 4).
    let server = HttpServer::start_on(Ipv6Addr::LOCALHOST.into(), answer_all);
    let port = server.address().port();
    let builder = Plan::builder(format!("http://[::1%25lo]:{port}/")).requests(20);
    let plan = builder.clone().build().unwrap();
    let host = format!("\r\nHost: [::1]:{port}\r\n");
    assert!(plan.request_bytes().windows(host.len()).any(|bytes| bytes == host.as_bytes()));
    assert_eq!(run_and_compare(server, builder).0.completed, 20);
}

/// A name with several addresses costs no request.
#[test]
fn addresses_are_tried_in_order() {
    let server = HttpServer::start(answer_all);
    let url = format!("http://localhost:{}/", server.address().port());
    let builder = Plan::builder(url).requests(20).concurrency(2);
    let first = builder.clone().build().unwrap().addresses().next().unwrap();
    let summary = run(builder);
    assert_eq!((summary.completed, summary.failed), (20, 0));
    assert_eq!(summary.ledger.connect_failed_total() > 0, first.is_ipv6());
    assert_eq!(server.finish().connections, summary.ledger.opened);
}
