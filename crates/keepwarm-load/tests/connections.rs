//! Claim: connections are made, kept and closed as the plan says, and each is counted.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{plan, run, run_and_compare};
use keepwarm_load::{CloseCause, ClosePolicy, Plan, Summary};
use keepwarm_testkit::http_server::{Conn, HttpServer};
use keepwarm_testkit::skipped;

fn answer_all(conn: &mut Conn) {
    while conn.read_request() {
        conn.respond("ok");
    }
}

fn closed_by_us(summary: &Summary, cause: CloseCause) -> u64 {
    summary.ledger.closed_by_us.get(&cause).copied().unwrap_or(0)
}

#[test]
fn requests_per_connection_are_limited() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(100).concurrency(2).threads(2).requests_per_connection(7);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, truth.requests), (100, 100));
    assert_eq!(summary.requests_per_connection().max(), Some(7));
    // Fifty requests on each thread: seven full connections, and one with a single request.
    assert_eq!(closed_by_us(&summary, CloseCause::RequestLimit), 14);
    assert_eq!((summary.ledger.opened, summary.ledger.still_open), (16, 2));
}

/// The last request of a connection asks the peer to close if this side waits for the peer.
#[test]
fn last_request_says_close_when_waiting() {
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            let last = conn.request().windows(17).any(|w| w == b"Connection: close");
            conn.respond("ok");
            if last {
                return conn.fin();
            }
        }
    });
    let builder = plan(&server).requests(40).requests_per_connection(5);
    let (summary, truth) = run_and_compare(server, builder.close_policy(ClosePolicy::WaitPeer));
    assert_eq!((summary.completed, truth.server_fin_first), (40, 8));
    assert_eq!(summary.ledger.closed_by_us_total(), 0);
}

#[test]
fn server_sees_close_by_reset() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(30).concurrency(3).requests_per_connection(2);
    let (summary, truth) = run_and_compare(server, builder.close_policy(ClosePolicy::Reset));
    assert_eq!(summary.completed, 30);
    assert_eq!((truth.client_rst_first, truth.client_fin_first), (truth.connections, 0));
}

#[test]
fn dials_keep_to_their_rate() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(40).concurrency(10).threads(2).keep_alive(false);
    let builder = builder.close_policy(ClosePolicy::Now).connect_rate(200.0);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened), (40, 40));
    // Forty dials at two hundred a second, less the delay that a thread may catch up.
    assert!(summary.elapsed >= Duration::from_millis(170), "{:?}", summary.elapsed);
}

/// An open loop waits for the rate of dials, and its response times include the wait.
#[test]
fn dial_rate_shows_in_response_times() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(20).rate(1000.0).concurrency(20).threads(1);
    let builder = builder.connect_rate(50.0).requests_per_connection(1);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened), (20, 20));
    // The last request was due after 19 ms, and dialed after 380, less the delay that a thread may
    // catch up.
    assert!(summary.send_lag.max() >= Some(300_000), "{:?}", summary.send_lag.max());
}

/// Sources alternate, and a source that is not an address of this host is refused.
#[test]
fn sources_alternate_and_foreign_source_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let peers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&peers);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            seen.lock().unwrap().push(stream.peer_addr().unwrap().ip());
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let sources: [IpAddr; 2] = ["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let builder = Plan::builder(url.as_str()).requests(20).threads(1).keep_alive(false);
    let builder = sources.iter().fold(builder, |builder, source| builder.source(*source));
    let summary = run(builder);
    assert_eq!((summary.completed, summary.ledger.opened), (20, 20));
    for source in sources {
        let count = peers.lock().unwrap().iter().filter(|peer| **peer == source).count();
        assert_eq!(count, 10, "{source}");
    }

    // 192.0.2.0/24 is reserved for documentation: no host has it. Each dial would fail as if no
    // port were left, so the plan is refused.
    let foreign = Plan::builder(url).requests(3).source("192.0.2.1".parse().unwrap());
    let error = foreign.build().unwrap_err();
    assert_eq!((error.setting(), error.value()), ("source", "192.0.2.1"));
}

#[test]
fn connect_to_keeps_the_host_field() {
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&hosts);
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            let request = String::from_utf8_lossy(conn.request()).into_owned();
            let host = request.lines().find(|line| line.starts_with("Host: ")).map(str::to_owned);
            seen.lock().unwrap().push(host.unwrap());
            conn.respond("ok");
        }
    });
    let address = server.address();
    let rule = format!("no-such-host.invalid:80:{}:{}", address.ip(), address.port());
    let builder = Plan::builder("http://no-such-host.invalid/x").requests(5);
    let (summary, _) = run_and_compare(server, builder.connect_to(rule.parse().unwrap()));
    assert_eq!(summary.completed, 5);
    assert!(hosts.lock().unwrap().iter().all(|host| host == "Host: no-such-host.invalid"));
}

#[test]
fn unix_socket_counts_as_connection() {
    let directory = std::env::temp_dir().join(format!("keepwarm-load-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // Serves five requests, then closes.
                for _ in 0..5 {
                    if !matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
                        return;
                    }
                    let sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    if sent.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let builder = Plan::builder("http://localhost/").requests(50).concurrency(2).threads(1);
    let summary = run(builder.unix_socket(&path));
    assert_eq!(summary.completed + summary.failed, 50);
    assert!(summary.completed >= 40, "{:?}", summary.errors);
    assert!(summary.ledger.peer_fin + summary.ledger.peer_rst >= 8, "{:?}", summary.ledger);
    std::fs::remove_dir_all(&directory).unwrap();

    let missing = Plan::builder("http://localhost/").requests(1).unix_socket(&path);
    let summary = run(missing);
    assert_eq!(summary.failed, 1);
    assert!(summary.is_unreachable());
}

/// Set for the part of the next test that runs in a network namespace of its own.
const IN_NAMESPACE: &str = "KEEPWARM_LOAD_IN_NAMESPACE";

#[test]
fn run_does_not_shrink_without_ports() {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return with_fewer_ports_than_connections();
    }
    let me = std::env::current_exe().unwrap();
    let script = "ip link set lo up && echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range \
                  && exec \"$0\" --exact run_does_not_shrink_without_ports";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
        .arg(me)
        .env(IN_NAMESPACE, "1")
        .output();
    let output = match child {
        Ok(output) => output,
        Err(error) => {
            skipped::because(&format!("no unshare(1) here: {error}"));
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("ip: not found") {
        skipped::because(&format!("no network namespace of our own here: {text}"));
        return;
    }
    assert!(output.status.success(), "{}", text.chars().take(3000).collect::<String>());
}

/// With ten ports and twelve connections asked for, two dials fail with EADDRNOTAVAIL again and
/// again, while the ten connections go on. When the server closes five of these, the two dials take
/// their ports.
fn with_fewer_ports_than_connections() {
    let server = HttpServer::start_on(IpAddr::from([127, 0, 0, 1]), |conn| {
        // Slow enough that the two dials have many chances to fail, and to succeed later.
        for _ in 0..if conn.nth() % 2 == 0 { 20 } else { 200 } {
            if !conn.read_request() {
                return;
            }
            // A service time: without one, one connection would do for all.
            std::thread::sleep(Duration::from_millis(1));
            conn.respond("ok");
        }
        conn.rst();
    });
    let builder = plan(&server).duration(Duration::from_millis(1500)).concurrency(12).threads(2);
    let summary = run(builder);
    // Stopping the server would need a port.
    std::mem::forget(server);
    let ledger = &summary.ledger;
    let exhausted: u64 = ledger
        .connect_failed
        .iter()
        .filter(|(errno, _)| errno.name() == Some("EADDRNOTAVAIL"))
        .map(|(_, count)| *count)
        .sum();
    assert!(exhausted > 0, "{ledger:?}");
    assert_eq!(ledger.connect_failed_total(), exhausted);
    // The server itself may use one port. Ten connections at the start, and one for each that the
    // server closed while there was work.
    assert!(ledger.opened > 10 && ledger.opened >= ledger.peer_rst, "{ledger:?}");
    assert!((8..=10).contains(&ledger.still_open), "{ledger:?}");
}
