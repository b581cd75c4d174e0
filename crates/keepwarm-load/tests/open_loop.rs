//! Claim: an open loop keeps to its schedule, even if the server stalls or closes connections. The
//! file `stalls` claims that its percentiles are right.

mod common;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{plan, run_and_compare};
use keepwarm_load::{Arrivals, ErrorClass, Stage, Summary};
use keepwarm_testkit::http_server::{Conn, HttpServer};

/// Starts a server that answers each request when `stall` says, or at once. `stall` gets the time
/// since the first request, and returns the end of the wait.
fn stalling(stall: impl Fn(Duration) -> Option<Duration> + Send + Sync + 'static) -> HttpServer {
    let begun = OnceLock::new();
    HttpServer::start(move |conn| {
        while conn.read_request() {
            let begun: Instant = *begun.get_or_init(Instant::now);
            if let Some(until) = stall(begun.elapsed()) {
                // The stall itself is the subject.
                std::thread::sleep(until.saturating_sub(begun.elapsed()));
            }
            conn.respond("ok");
        }
    })
}

fn sums(summary: &Summary) {
    assert_eq!(summary.ledger.scheduled, summary.completed + summary.failed + summary.unsent);
    assert_eq!(summary.response.count(), summary.completed);
    let slices = summary.timeline.slices();
    assert_eq!(slices.iter().map(|s| s.response.count()).sum::<u64>(), summary.completed);
    // A request that was about to be written may have failed at that moment.
    let begun = summary.ledger.requests_written..=summary.ledger.scheduled - summary.unsent;
    assert!(begun.contains(&summary.send_lag.count()), "{summary:#?}");
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn full_backlog_counts_requests_as_unsent() {
    let server = stalling(|now| (now < MS(1000)).then_some(MS(1000)));
    let builder = plan(&server).rate(1000.0).requests(500).concurrency(2).threads(1).backlog(100);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    // Two requests in flight, a hundred waiting; the other 398 were due within the second.
    assert_eq!((summary.completed, summary.unsent), (102, 398));
}

/// Connections are opened as they are needed.
#[test]
fn instants_do_not_wait_for_answers() {
    let server = stalling(|now| Some(now + MS(300)));
    let builder = plan(&server).rate(100.0).requests(60).concurrency(200).threads(1);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!(summary.completed, 60);
    // A hundred requests a second for 0.3 s each: thirty at once. The number in flight never
    // exceeds the number due within the longest response time.
    let most = summary.response.max().unwrap() as f64 / 1e6 * 100.0 + 2.0;
    assert!(summary.ledger.opened as f64 <= most, "{} opened", summary.ledger.opened);
    assert!(summary.ledger.opened >= 25, "{} opened", summary.ledger.opened);
}

fn answer_all(conn: &mut Conn) {
    while conn.read_request() {
        conn.respond("ok");
    }
}

#[test]
fn poisson_and_stages_follow_their_course() {
    let server = HttpServer::start(answer_all);
    let stages =
        [Stage { duration: MS(500), rate: 400.0 }, Stage { duration: MS(500), rate: 400.0 }];
    let builder = plan(&server).stages(stages).concurrency(10).threads(2);
    let (summary, truth) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!((summary.ledger.scheduled, truth.requests), (300, 300));

    let server = HttpServer::start(answer_all);
    let arrivals = Arrivals::Poisson { seed: 3 };
    let builder = plan(&server).rate(400.0).duration(MS(1000)).arrivals(arrivals).concurrency(10);
    let (first, _) = run_and_compare(server, builder.clone().threads(2));
    sums(&first);
    assert!((300..500).contains(&first.ledger.scheduled), "{}", first.ledger.scheduled);
}

/// Failures of an open loop are in the sums, and the schedule goes on.
#[test]
fn failures_do_not_stop_the_schedule() {
    let server = HttpServer::start(|conn| {
        if conn.nth() % 2 == 0 && conn.read_request() {
            conn.respond("ok");
        }
        // Only while a request waits for the connection; otherwise the run might end first.
        if conn.read_request() {
            conn.rst();
        }
    });
    let builder = plan(&server).rate(500.0).requests(200).concurrency(5).threads(1);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!(summary.completed + summary.failed, 200);
    // Two of three requests, except on the connections that are still open.
    assert!(summary.failed >= 130, "{:?}", summary.errors);
    assert_eq!(summary.errors.of(ErrorClass::ResetBeforeResponse), summary.failed);
}

#[test]
fn closed_loop_has_no_response_times() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(50);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.response.count(), summary.send_lag.count()), (0, 0));
    assert_eq!(summary.loader.lag.count(), 0);
}

/// A sleep in whole milliseconds makes the median request half a millisecond late. A busy machine
/// delays more than half of the requests for a while only, so the best of several runs counts.
#[test]
fn median_request_is_sent_within_a_quarter_millisecond() {
    let mut lag = u64::MAX;
    for _ in 0..10 {
        let server = HttpServer::start(answer_all);
        let builder = plan(&server).rate(700.0).requests(350).concurrency(4).threads(1);
        let (summary, _) = run_and_compare(server, builder);
        lag = lag.min(summary.send_lag.p50().expect("samples"));
        if lag < 250 {
            return;
        }
    }
    panic!("the median request was sent {lag} µs late at best");
}

/// The heartbeat is a sample of the loader's own delay, in both loops, that no server can add to.
#[test]
fn slow_server_does_not_make_the_loader_late() {
    for open in [false, true] {
        let server = stalling(|now| Some(now + MS(100)));
        let builder = plan(&server).concurrency(4).threads(1).duration(MS(1000));
        let builder = if open { builder.rate(20.0) } else { builder };
        let (summary, _) = run_and_compare(server, builder);
        let lateness = &summary.loader.lateness;
        assert!(lateness.count() >= 90, "{} heartbeats in a second", lateness.count());
        assert!(lateness.p50() < summary.latency.p50(), "{lateness:?}");
    }
}

/// Threads that share one core with others that never sleep: the heartbeat shows it, although the
/// service times contain the same delay and look like those of a slow server.
#[test]
fn starved_loader_is_late_by_its_own_heartbeat() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).concurrency(20).threads(1).duration(MS(1500));
    let over = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            let allowed = sched_getaffinity(None).expect("the cores of this thread");
            let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("a core");
            let mut one = CpuSet::new();
            one.set(first);
            sched_setaffinity(None, &one).expect("one of its own cores");
            // Threads inherit the core of the thread that starts them.
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let begun = Instant::now();
                        while !over.load(Relaxed) && begun.elapsed() < Duration::from_secs(60) {
                            std::hint::spin_loop();
                        }
                    });
                }
                let summary = common::run(builder);
                over.store(true, Relaxed);
                summary
            })
        });
        pinned.join().expect("no panic")
    });
    drop(server);
    let (lateness, used) = (&summary.loader.lateness, &summary.loader.per_thread[0]);
    assert!(lateness.p99() > Some(2_000), "p99 {:?} µs, {used:?}", lateness.p99());
    assert!(lateness.p99() > summary.latency.p50(), "the service times are its own");
}
