//! Claim: a run ends when it should, with every request accounted for.

mod common;

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{plan, run, run_and_compare};
use keepwarm_load::{ErrorClass, Plan, Run, StopReason};
use keepwarm_testkit::http_server::{Conn, Gate, HttpServer, RefusedPort, SilentPort};

/// Longer than a busy machine needs to start a run's threads and their first requests.
const A_WHILE: Duration = Duration::from_millis(400);

fn answer_all(conn: &mut Conn) {
    while conn.read_request() {
        conn.respond("ok");
    }
}

/// Reads everything and answers nothing.
fn ignore_all(conn: &mut Conn) {
    while conn.read_request() {}
}

#[test]
fn count_is_exact_for_any_remainder() {
    for (requests, concurrency, threads) in
        [(1, 1, 1), (1, 4, 2), (7, 3, 2), (101, 10, 3), (64, 5, 5)]
    {
        let server = HttpServer::start(answer_all);
        let builder = plan(&server).requests(requests).concurrency(concurrency).threads(threads);
        let (summary, truth) = run_and_compare(server, builder);
        assert_eq!((summary.completed, summary.unsent), (requests, 0));
        assert_eq!(truth.requests, requests);
        assert_eq!(summary.ledger.opened, requests.min(concurrency as u64));
        assert_eq!((summary.stopped, summary.loader.threads), (StopReason::Finished, threads));
    }
}

/// Requests in flight at the end are completed.
#[test]
fn duration_ends_run_after_in_flight() {
    let duration = A_WHILE;
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).duration(duration).concurrency(3).threads(2);
    let (summary, truth) = run_and_compare(server, builder);
    assert!(summary.completed > 0);
    assert_eq!((summary.failed, summary.unsent), (0, 0));
    assert_eq!(summary.ledger.scheduled, summary.completed);
    assert_eq!(truth.requests, summary.completed);
    assert!(summary.elapsed >= duration);
    assert!(summary.requests_per_second() > 0.0);
}

#[test]
fn first_limit_reached_ends_run() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(5).duration(Duration::from_secs(3600));
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.unsent), (5, 0));
    assert!(summary.elapsed < Duration::from_secs(3600));

    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(u64::MAX).duration(Duration::from_millis(50));
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!(summary.unsent, u64::MAX - summary.completed);
}

#[test]
fn unanswered_after_grace_has_own_class() {
    let server = HttpServer::start(ignore_all);
    let builder = plan(&server).duration(A_WHILE).concurrency(4).threads(2);
    let (summary, truth) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.failed, summary.unsent), (0, 4, 0));
    assert_eq!((truth.requests, summary.ledger.still_open), (4, 4));
    // The wait for responses that never came does not count as time of the load.
    assert_eq!(summary.elapsed, A_WHILE);
    let (key, stat) = summary.errors.iter().next().unwrap();
    assert_eq!((key.class, stat.count), (ErrorClass::Unanswered, 4));
    assert!(stat.first >= A_WHILE + Duration::from_secs(1), "{stat:?}");
    assert!(stat.example.starts_with("no byte of the response had come when"), "{stat:?}");
    assert!(key.hint().is_some());
}

/// Waits for a moment of the run at which the test releases a server.
fn until(run: &Run, moment: Duration) {
    while run.progress().elapsed < moment {
        // A moment of the run's own clock, which nothing signals.
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn slow_server_is_waited_for() {
    let gates = [Gate::new(), Gate::new()];
    let held = gates.clone();
    let server = HttpServer::start(move |conn| {
        for gate in &held {
            if conn.read_request() {
                gate.wait();
                conn.respond("ok");
            }
        }
        ignore_all(conn);
    });
    let second = Duration::from_secs(1);
    let run = Run::start(plan(&server).duration(3 * second).build().unwrap()).unwrap();
    // A service time of two seconds gives a grace of four.
    until(&run, 2 * second);
    gates[0].open();
    until(&run, 3 * second + second * 3 / 2);
    gates[1].open();
    let summary = run.wait();
    summary.check().unwrap();
    assert_eq!((summary.completed, summary.failed), (2, 0), "{:?}", summary.errors);
    assert!(summary.elapsed >= second * 9 / 2, "the rate is over all that is completed");
    assert_eq!(server.finish().requests, 2);
}

/// A stop waits for requests in flight, and begins no further request.
#[test]
fn stop_waits_for_requests_in_flight() {
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            // A service time, so that requests are in flight when the load is stopped.
            std::thread::sleep(Duration::from_millis(20));
            conn.respond("ok");
        }
    });
    let closed = plan(&server).requests(1_000_000).concurrency(4).threads(2);
    // More than four connections can carry, so that there is a backlog.
    for builder in [closed.clone(), closed.rate(1000.0)] {
        let run = Run::start(builder.build().unwrap()).unwrap();
        while run.progress().completed < 10 {
            std::thread::yield_now();
            assert!(run.progress().elapsed < Duration::from_secs(20));
        }
        let stop = run.stop();
        std::thread::spawn(move || stop.stop()).join().unwrap();
        let summary = run.wait();
        summary.check().unwrap();
        assert_eq!((summary.failed, summary.stopped), (0, StopReason::Cancelled));
        assert_eq!(summary.completed + summary.unsent, 1_000_000);
        assert_eq!(summary.ledger.requests_written, summary.completed);
    }
    assert_eq!(server.finish().stuck, 0);
}

#[test]
fn abort_ends_at_once_with_summary() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = HttpServer::start(move |conn| {
        if conn.nth() == 0 && conn.read_request() {
            held.wait();
            conn.respond("ok");
        }
        ignore_all(conn);
    });
    let builder = plan(&server).requests(1000).concurrency(2).threads(2);
    let run = Run::start(builder.build().unwrap()).unwrap();
    // A service time whose grace would be longer than this test waits.
    until(&run, Duration::from_secs(4));
    gate.open();
    while run.progress().completed == 0 || run.progress().in_flight < 2 {
        std::thread::yield_now();
        assert!(run.progress().elapsed < Duration::from_secs(20));
    }
    let asked = Instant::now();
    run.stop().stop();
    run.stop().abort();
    let summary = run.wait();
    assert!(asked.elapsed() < Duration::from_secs(5));
    summary.check().unwrap();
    assert_eq!((summary.completed, summary.failed, summary.unsent), (1, 2, 997));
    assert_eq!(summary.errors.of(ErrorClass::Unanswered), 2);
    assert_eq!(summary.stopped, StopReason::Cancelled);
    assert_eq!(server.finish().stuck, 0);
}

#[test]
fn end_of_all_threads_is_waited_for() {
    let server = HttpServer::start(ignore_all);
    let run =
        Run::start(plan(&server).requests(2).concurrency(2).threads(2).build().unwrap()).unwrap();
    assert!(!run.wait_at_most(Duration::from_millis(1)) && !run.is_finished());
    run.stop().abort();
    assert!(run.wait_at_most(common::LIMIT) && run.is_finished());
    assert_eq!(run.wait().completed, 0);
}

#[test]
fn stop_after_end_changes_nothing() {
    let server = HttpServer::start(answer_all);
    let run = Run::start(plan(&server).requests(3).build().unwrap()).unwrap();
    assert!(run.wait_at_most(common::LIMIT) && run.is_finished());
    run.stop().stop();
    let summary = run.wait();
    assert_eq!((summary.completed, summary.stopped), (3, StopReason::Finished));
}

#[test]
fn refusing_target_is_given_up_early() {
    let port = RefusedPort::new();
    let url = format!("http://{}/", port.address());
    let summary = run(Plan::builder(url).requests(1_000_000).concurrency(10).threads(2));
    assert!(summary.is_unreachable());
    assert_eq!(summary.stopped, StopReason::Unreachable);
    assert!((30..60).contains(&summary.failed), "{}", summary.failed);
    assert_eq!(summary.errors.of(ErrorClass::Connect), summary.failed);
    assert_eq!(summary.unsent + summary.failed, 1_000_000);
    assert_eq!(summary.ledger.connect_failed_total(), summary.failed);
    let (errno, _) = summary.ledger.connect_failed.first_key_value().unwrap();
    assert_eq!(errno.name(), Some("ECONNREFUSED"));
    assert!(errno.hint().is_some());
}

/// An open loop dials at its rate: three failures for each of fifty connections would take long.
#[test]
fn open_loop_gives_up_after_ten_dials() {
    let port = RefusedPort::new();
    let url = format!("http://{}/", port.address());
    let plan = Plan::builder(url).rate(100.0).duration(Duration::from_secs(60)).concurrency(50);
    let summary = run(plan);
    assert_eq!(summary.stopped, StopReason::Unreachable);
    assert!((10..20).contains(&summary.failed), "{}", summary.failed);
    assert!(summary.elapsed < Duration::from_secs(5), "{:?}", summary.elapsed);
}

#[test]
fn refusing_target_ends_small_count() {
    let port = RefusedPort::new();
    let url = format!("http://{}/", port.address());
    let summary = run(Plan::builder(url).requests(5).concurrency(10).threads(2));
    assert_eq!((summary.failed, summary.unsent), (5, 0));
    assert!(summary.is_unreachable());
    assert_eq!(summary.stopped, StopReason::Finished);
}

#[test]
fn silent_target_times_out() {
    let port = SilentPort::new();
    let url = format!("http://{}/", port.address());
    let builder = Plan::builder(url).requests(2).concurrency(2);
    let summary = run(builder.timeout(Duration::from_millis(100)));
    assert_eq!((summary.failed, summary.ledger.connect_timed_out), (2, 2));
    assert_eq!(summary.errors.of(ErrorClass::ConnectTimeout), 2);
    assert!(summary.is_unreachable());
}

/// Dials under way after the grace are abandoned, and their requests count as unanswered.
#[test]
fn dials_after_grace_are_abandoned() {
    let port = SilentPort::new();
    let url = format!("http://{}/", port.address());
    let summary = run(Plan::builder(url).duration(A_WHILE).concurrency(2));
    assert_eq!((summary.failed, summary.ledger.connect_abandoned), (2, 2));
    assert_eq!(summary.errors.of(ErrorClass::Unanswered), 2);
    assert_eq!((summary.completed, summary.ledger.never_written), (0, 2));
    assert!(summary.is_unreachable(), "a whole run and its grace were not enough to connect");
}

/// The rest of the count fails, with a back-off between the dials.
#[test]
fn vanished_target_fails_the_rest() {
    let (port, listener) = RefusedPort::after_listening();
    let url = format!("http://{}/", port.address());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut bytes = [0; 4096];
        for _ in 0..10 {
            assert!(stream.read(&mut bytes).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let summary = run(Plan::builder(url).requests(20));
    server.join().unwrap();
    assert_eq!((summary.completed, summary.failed), (10, 10));
    assert!(summary.errors.of(ErrorClass::Connect) >= 9);
    assert!(!summary.is_unreachable());
    // At least half of 1 + 2 + 4 + … + 64 ms and of 100 ms stand between nine dials.
    assert!(summary.elapsed >= Duration::from_millis(113), "{:?}", summary.elapsed);
}

/// The limit on descriptors belongs to the process, so the run is in a process of its own: the test
/// starts itself again.
#[test]
fn exhausted_descriptors_have_errno_and_hint() {
    if let Ok(url) = std::env::var("KEEPWARM_TEST_FEW_DESCRIPTORS") {
        let summary = run(Plan::builder(url).requests(200).concurrency(60).threads(1));
        let connect = summary.errors.iter().find(|(key, _)| key.class == ErrorClass::Connect);
        let (key, stat) = connect.expect("some connections fail");
        let errno = key.errno.unwrap();
        assert_eq!(errno.name(), Some("EMFILE"));
        assert!(errno.hint().unwrap().contains("ulimit -n"));
        assert!(stat.count >= 20 && summary.completed > 0);
        assert_eq!(summary.completed + summary.failed, 200);
        return;
    }
    let server = HttpServer::start(answer_all);
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" --exact \"$1\" --test-threads 1"])
        .arg(std::env::current_exe().unwrap())
        .arg("exhausted_descriptors_have_errno_and_hint")
        .env("KEEPWARM_TEST_FEW_DESCRIPTORS", server.url())
        .status();
    assert!(status.unwrap().success());
    assert!(server.finish().connections < 40);
}
