//! Reports of one port against connections whose truth is known by construction.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::collections::HashSet;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepwarm_sockets::{
    ConnectionCloses, Error, Filter, PortReport, Scope, State, States, Watch, dump,
};
use keepwarm_testkit::churn::{Family, Truth, Upstream, Way};
use keepwarm_testkit::skipped;

const N: u64 = 50;
const SETTLE: Duration = Duration::from_secs(20);

/// Runs one test at a time: every watch receives the death of every socket on the host.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closes(truth: &Truth) -> ConnectionCloses {
    ConnectionCloses {
        client_fin: truth.client_fin,
        server_fin: truth.server_fin,
        crossed_fin: truth.crossed_fin,
        client_rst: truth.client_rst,
        server_rst: truth.server_rst,
        timed_out: truth.timed_out,
        unclassified: 0,
    }
}

/// Checks the numbers that must match in every scenario.
#[track_caller]
fn assert_exact(report: &PortReport, truth: &Truth) {
    if report.time_waits_refused == Some(0) {
        assert_eq!(report.closed, closes(truth), "{report:#?}");
    } else {
        // Happens when other programs fill the namespace with TIME_WAITs: totals must match still.
        eprintln!(
            "NOT CHECKED: who closed first, {:?} TIME_WAITs refused",
            report.time_waits_refused
        );
        let (seen, truth) = (report.closed, closes(truth));
        assert_eq!(seen.total(), truth.total(), "{report:#?}");
        assert_eq!(seen.reset(), truth.reset(), "{report:#?}");
        assert!(seen.client_fin <= truth.client_fin + truth.crossed_fin, "{report:#?}");
        assert!(seen.server_fin <= truth.server_fin + truth.crossed_fin, "{report:#?}");
    }
    assert_eq!(report.opened, truth.opened, "{report:#?}");
    assert_eq!(
        report.opened + report.alive_at_start,
        report.closed.total() + report.alive_at_end,
        "{report:#?}"
    );
    assert_eq!(report.lost_events, 0, "{report:#?}");
    assert_eq!(report.overflowed, 0, "{report:#?}");
    assert!(report.settled, "{report:#?}");
}

/// A watch of one port that reports connections.
#[derive(Debug)]
struct PortWatch {
    port: u16,
    watch: Watch,
}

impl PortWatch {
    fn start(port: u16) -> Result<PortWatch, Error> {
        Ok(PortWatch { port, watch: Watch::start(Scope::of_port(port))? })
    }

    fn snapshot(&self) -> PortReport {
        self.watch.snapshot().port(self.port)
    }

    fn finish(self, settle: Duration) -> Result<PortReport, Error> {
        Ok(self.watch.finish(settle)?.port(self.port))
    }
}

fn played(way: Way, family: Family, count: u64, requests: u64) -> (PortReport, Truth) {
    let mut upstream = Upstream::listen(family).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let truth = upstream.play(way, count, requests).unwrap();
    (watch.finish(SETTLE).unwrap(), truth)
}

#[test]
fn every_way_of_closing_counts_exactly() {
    let _alone = alone();
    for family in Family::ALL {
        for way in Way::ALL {
            let (report, truth) = played(way, family, N, 2);
            eprintln!("{family:?} {way:?}");
            assert_exact(&report, &truth);
            assert_eq!(report.established.client + report.established.server, 0);
            if way != Way::Crossed {
                assert_eq!(report.requests.total, truth.client_segments, "{report:#?}");
                assert_eq!(report.requests.connections, N, "{report:#?}");
            }
        }
    }
}

#[test]
fn older_connections_are_closed_not_opened() {
    let _alone = alone();
    for family in Family::ALL {
        for way in Way::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            let mut connections: Vec<_> = (0..10).map(|_| upstream.connect().unwrap()).collect();
            connections.iter_mut().for_each(|connection| connection.exchange(3).unwrap());
            let watch = PortWatch::start(upstream.port()).unwrap();
            let mut truth = Truth::default();
            for mut connection in connections {
                connection.exchange(2).unwrap();
                truth += connection.close(way).unwrap();
                truth.client_segments += 2;
            }
            let report = watch.finish(SETTLE).unwrap();
            assert_exact(&report, &truth);
            assert_eq!((report.alive_at_start, report.alive_at_end), (10, 0));
            // Segments within the window only. Of an aborting client the kernel clears the count.
            if ![Way::Crossed, Way::ClientRst, Way::ClientRstOnUnreadServer].contains(&way) {
                assert_eq!(report.requests.total, truth.client_segments, "{way:?} {report:#?}");
            }
        }
    }
}

#[test]
fn lasting_connections_are_neither_opened_nor_closed() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4Mapped).unwrap();
    let mut connections: Vec<_> = (0..N).map(|_| upstream.connect().unwrap()).collect();
    connections.iter_mut().for_each(|connection| connection.exchange(7).unwrap());
    let watch = PortWatch::start(upstream.port()).unwrap();
    connections[0].exchange(3).unwrap();
    connections[1].exchange(5).unwrap();
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth::default());
    assert_eq!((report.alive_at_start, report.alive_at_end), (N, N));
    assert_eq!((report.established.client, report.established.server), (N, N));
    let requests = report.requests;
    assert_eq!((requests.connections, requests.total, requests.max), (2, 8, Some(5)));
}

#[test]
fn connections_left_open_count_with_their_requests() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V6).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let mut connections: Vec<_> = (0..N).map(|_| upstream.connect().unwrap()).collect();
    connections.iter_mut().for_each(|connection| connection.exchange(10).unwrap());
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth { opened: N, ..Truth::default() });
    assert_eq!((report.alive_at_end, report.established.client), (N, N));
    assert_eq!(report.requests.mean, Some(10.0));
    assert_eq!((report.requests.p50, report.requests.max), (Some(10), Some(10)));
}

#[test]
fn ten_requests_read_as_ten() {
    let _alone = alone();
    let (report, truth) = played(Way::ServerFin, Family::V4, N, 10);
    assert_exact(&report, &truth);
    assert_eq!(report.requests.mean, Some(10.0));
    assert_eq!((report.requests.p50, report.requests.max), (Some(10), Some(10)));
    assert_eq!(report.requests.connections, N);
}

#[test]
fn refused_connect_is_no_connection() {
    let _alone = alone();
    for family in Family::ALL {
        let upstream = Upstream::listen(family).unwrap();
        let watch = PortWatch::start(upstream.port()).unwrap();
        upstream.refuse(N).unwrap();
        let report = watch.finish(SETTLE).unwrap();
        assert_exact(&report, &Truth::default());
        assert_eq!(report.requests.connections, 0);
    }
}

#[test]
fn mixed_ways_add_up_beside_foreign_churn() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4Mapped).unwrap();
    let mut foreign = Upstream::listen(Family::V4).unwrap();
    let mut kept: Vec<_> = (0..20).map(|_| upstream.connect().unwrap()).collect();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let noise = std::thread::spawn(move || {
        for way in Way::ALL {
            foreign.play(way, N, 1).unwrap();
        }
    });
    let mut truth = Truth::default();
    for round in 0..10 {
        for way in Way::ALL {
            truth += upstream.play(way, 3, 1).unwrap();
        }
        let mut fresh = upstream.connect().unwrap();
        fresh.exchange(1).unwrap();
        truth.opened += 1;
        kept.push(fresh);
        truth += kept.remove(0).close(Way::ALL[round]).unwrap();
    }
    noise.join().unwrap();
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &truth);
    assert_eq!((report.alive_at_start, report.alive_at_end), (20, 20));
}

#[test]
fn time_wait_counts_those_of_the_window() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let port = upstream.port();
    let mut close = |count| -> HashSet<u16> {
        let one = |_| {
            let connection = upstream.connect().unwrap();
            let port = connection.client.local_addr().unwrap().port();
            connection.close(Way::ServerFin).unwrap();
            port
        };
        (0..count).map(one).collect()
    };
    let before = close(20);
    let watch = PortWatch::start(port).unwrap();
    let within = close(30);
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth { opened: 30, server_fin: 30, ..Truth::default() });
    // The kernel may have removed some: a pair that was used again, an RST, a full table. So the
    // truth is the rows of now, recognised by the clients' ports.
    let states = States::of(&[State::TimeWait]);
    let filter = Filter::of_states(states).with_local_port(port);
    let rows = dump(&filter).unwrap();
    let count = |ports: &HashSet<u16>| {
        rows.iter().filter(|row| ports.contains(&row.remote.port())).count() as u64
    };
    assert_eq!(report.time_wait.server, count(&within));
    assert_eq!(report.time_wait_total.server, rows.len() as u64);
    assert_eq!(report.time_wait.client, 0);
    if report.time_waits_refused == Some(0) {
        assert!(count(&within) >= 25, "{rows:?}");
        // At least: a minute ago another program may have had the port.
        let older: HashSet<u16> = before.difference(&within).copied().collect();
        assert!(report.time_wait_total.server >= report.time_wait.server + count(&older));
    }
}

/// The client's socket is dead in the kernel, but its file is open: no event, no row.
#[test]
fn dead_file_kept_open_hides_no_close() {
    let _alone = alone();
    for in_window in [true, false] {
        let mut upstream = Upstream::listen(Family::V4).unwrap();
        let early = (!in_window).then(|| upstream.connect().unwrap());
        let watch = PortWatch::start(upstream.port()).unwrap();
        let connection = early.unwrap_or_else(|| upstream.connect().unwrap());
        let mut held: TcpStream = connection.client;
        let server = socket2::Socket::from(connection.server);
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert!(std::io::Read::read(&mut held, &mut [0; 8]).is_err());
        let report = watch.finish(SETTLE).unwrap();
        let truth = Truth { opened: in_window.into(), server_rst: 1, ..Truth::default() };
        assert_exact(&report, &truth);
        drop(held);
    }
}

/// The aborting client has lost its port, and the server's socket, the only one that could name it,
/// is still open.
#[test]
fn abort_with_an_open_peer_is_unattributed() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V6).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let mut connection = upstream.connect().unwrap();
    let client = socket2::Socket::from(connection.client);
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(std::io::Read::read(&mut connection.server, &mut [0; 8]).is_err());
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth::default());
    assert!(report.unattributed_aborts >= 1, "{report:#?}");
}

/// A client's socket stays in CLOSE_WAIT until its pool checks it.
#[test]
fn connection_is_alive_until_the_client_closes() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let connection = upstream.connect().unwrap();
    drop(connection.server);
    let report = watch.finish(Duration::from_millis(200)).unwrap();
    assert_eq!((report.opened, report.closed.total()), (1, 0), "{report:#?}");
    assert_eq!((report.alive_at_end, report.close_wait.client), (1, 1));
    assert!(!report.settled);

    // The next window starts with it, and sees it end.
    let watch = PortWatch::start(upstream.port()).unwrap();
    drop(connection.client);
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth { server_fin: 1, ..Truth::default() });
}

/// The server leaks CLOSE_WAIT; for the client the connection is over.
#[test]
fn server_in_close_wait_keeps_nothing_alive() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let connection = upstream.connect().unwrap();
    drop(connection.client);
    let report = watch.finish(Duration::from_millis(200)).unwrap();
    assert_eq!((report.opened, report.closed.client_fin), (1, 1), "{report:#?}");
    assert_eq!((report.alive_at_end, report.close_wait.server), (0, 1));

    // In the next window the connection is neither alive nor closed again.
    let watch = PortWatch::start(upstream.port()).unwrap();
    drop(connection.server);
    let report = watch.finish(SETTLE).unwrap();
    assert_exact(&report, &Truth::default());
    assert_eq!(report.alive_at_start, 0);
}

#[test]
fn window_edges_cut_churn_without_remainder() {
    let _alone = alone();
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let port = upstream.port();
    /// An assertion that fails must not leave the churn running.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                upstream.play(Way::ServerFin, 1, 1).unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..10 {
            let first = done.load(Ordering::SeqCst);
            let watch = PortWatch::start(port).unwrap();
            let start = done.load(Ordering::SeqCst);
            while done.load(Ordering::SeqCst) < start + 100 {
                std::thread::yield_now();
            }
            let end = done.load(Ordering::SeqCst);
            let report = watch.finish(Duration::ZERO).unwrap();
            let last = done.load(Ordering::SeqCst);
            let closed = report.closed.total();
            assert!(closed >= end - start && closed <= last - first + 1, "{report:#?}");
            // Ended at once, a socket may be left without its peer: undecided, never wrong.
            let undecided = report.closed.unclassified;
            assert_eq!(report.closed.server_fin + undecided, closed, "{report:#?}");
            assert_eq!(
                report.opened + report.alive_at_start,
                closed + report.alive_at_end,
                "{report:#?}"
            );
            // A dump is a walk, not an instant: it may meet two of these in turn.
            let opened = report.opened;
            assert!(opened >= end - start && opened <= last - first + 1, "{report:#?}");
        }
    });
}

#[test]
fn snapshot_catches_up_during_the_watch() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let truth = upstream.play(Way::ClientFin, N, 1).unwrap();
    let deadline = std::time::Instant::now() + SETTLE;
    while watch.snapshot().closed.total() < N {
        assert!(std::time::Instant::now() < deadline, "{:#?}", watch.snapshot());
        std::thread::yield_now();
    }
    assert_eq!(watch.snapshot().opened, N);
    assert_exact(&watch.finish(SETTLE).unwrap(), &truth);
}

#[test]
fn dropped_watch_leaves_the_port_free() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    drop(PortWatch::start(upstream.port()).unwrap());
    let watch = PortWatch::start(upstream.port()).unwrap();
    let truth = upstream.play(Way::ClientFin, 5, 1).unwrap();
    assert_exact(&watch.finish(SETTLE).unwrap(), &truth);
}

#[test]
fn port_zero_names_no_service() {
    let _alone = alone();
    assert!(PortWatch::start(0).unwrap_err().is_unsupported());
}

/// Runs every test above again as user `nobody`.
#[test]
#[cfg(target_os = "linux")]
fn no_privilege_is_needed() {
    let _alone = alone();
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    const INNER: &str = "KEEPWARM_TEST_AS_NOBODY";
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uid = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    let uid = status.lines().find(|line| line.starts_with("Uid:")).and_then(uid).unwrap();
    if std::env::var_os(INNER).is_some() {
        assert_eq!(uid, NOBODY.to_string());
        let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
        assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
        return;
    }
    if uid != "0" {
        skipped::because(&format!(
            "user {uid} cannot become nobody; the other tests ran without root"
        ));
        return;
    }
    // A copy that user `nobody` can read: a home or target directory may be closed to others.
    let copy = std::env::temp_dir().join(format!("keepwarm-port-report-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = std::process::Command::new(&copy)
        .current_dir("/")
        .env(INNER, "1")
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("every_way_of_closing_counts_exactly ... ok"));
}

/// Measures 20,000 destroy events a second for three seconds, none of which may be lost.
#[test]
#[ignore = "a measurement of several seconds, for an otherwise idle machine, with --release"]
fn sixty_thousand_events_lose_none() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let begun = std::time::Instant::now();
    let truth = upstream.play(Way::ServerFin, 30_000, 1).unwrap();
    let took = begun.elapsed();
    let report = watch.finish(SETTLE).unwrap();
    println!(
        "{} connections in {took:?}: {:.0} events/s; lost {}; {:?}",
        truth.opened,
        60_000.0 / took.as_secs_f64(),
        report.lost_events,
        report.closed
    );
    assert_exact(&report, &truth);
}
