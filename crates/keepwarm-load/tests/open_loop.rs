//! Claim: in an open loop percentiles are those that the server's behaviour and the schedule
//! imply, whatever the server does to the connections meanwhile.
//!
//! The servers here stall for long enough that 2 % of it is more than a thread's wake-up costs.
//! Where it is not, on a busy machine, the loader and the server say how late they were, and the
//! tolerance grows by that and nothing else; so does it by the time that the server took to catch
//! up.

mod common;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use common::{plan, run_and_compare};
use keepwarm_load::{Arrivals, Count, ErrorClass, Histogram, Stage, Summary};
use keepwarm_testkit::http_server::{Conn, HttpServer};

/// A server's clock, which begins with its first request; the worst that its sleeps overshot, and
/// when it answered.
#[derive(Default)]
struct Clock {
    begun: OnceLock<Instant>,
    overshot_us: AtomicU64,
    answered: Mutex<Vec<Duration>>,
}

impl Clock {
    fn now(&self) -> Duration {
        self.begun.get_or_init(Instant::now).elapsed()
    }

    fn sleep_until(&self, at: Duration) {
        let left = at.saturating_sub(self.now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left);
        let over = u64::try_from((self.now() - at).as_micros()).expect("no test takes an age");
        self.overshot_us.fetch_max(over, Relaxed);
    }
}

/// Answers each request after `stall` has said until when it waits, if at all.
fn stalling(
    clock: &Arc<Clock>,
    stall: impl Fn(Duration, u64) -> Option<Duration> + Send + Sync + 'static,
) -> HttpServer {
    let (clock, count) = (Arc::clone(clock), AtomicU64::new(0));
    HttpServer::start(move |conn| {
        while conn.read_request() {
            let now = clock.now();
            if let Some(until) = stall(now, count.fetch_add(1, Relaxed)) {
                clock.sleep_until(until);
            }
            clock.answered.lock().expect("no holder panics").push(clock.now());
            conn.respond("ok");
        }
    })
}

/// After stalls that ended at `ends`, in seconds: the longest that the server took to answer all
/// that had been due by then. Theory has it take no time.
fn catching_up(clock: &Clock, rate: f64, ends: &[f64]) -> f64 {
    let mut answered = clock.answered.lock().expect("no holder panics");
    answered.sort();
    let behind = |end: &f64| answered[(rate * end) as usize - 1].as_secs_f64() - end;
    ends.iter().map(behind).fold(0.0, f64::max)
}

/// What the two sides admit to have been late by.
fn admitted(summary: &Summary, clock: &Clock) -> f64 {
    let worst = |histogram: &Histogram| histogram.max().unwrap_or(0);
    let loader = worst(&summary.loader.lag) + 2 * worst(&summary.loader.turns);
    (loader + clock.overshot_us.load(Relaxed)) as f64 / 1e6
}

#[track_caller]
fn close(what: &str, measured_us: Option<u64>, theory: f64, admitted: f64) {
    let measured = measured_us.expect("samples") as f64 / 1e6;
    // The response's way through two sockets and two threads is not in the theory: 2 ms.
    let tolerance = theory * 0.02 + admitted + 0.002;
    let off = (measured - theory).abs();
    assert!(off <= tolerance, "{what}: {measured} s, theory {theory} s ± {tolerance} s");
}

fn sums(summary: &Summary) {
    assert_eq!(summary.ledger.scheduled, summary.completed + summary.failed + summary.unsent);
    assert_eq!(summary.response.count(), summary.completed);
    let slices = summary.timeline.slices();
    assert_eq!(slices.iter().map(|s| s.response.count()).sum::<u64>(), summary.completed);
    // One that was about to be written may have failed in that moment.
    let begun = summary.ledger.requests_written..=summary.ledger.scheduled - summary.unsent;
    assert!(begun.contains(&summary.send_lag.count()), "{summary:#?}");
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_freeze_of_a_second_is_in_the_percentiles_for_all_who_came_within_it() {
    let clock = Arc::new(Clock::default());
    let frozen = 1000..2000;
    let server =
        stalling(&clock, move |now, _| frozen.contains(&now.as_millis()).then_some(MS(2000)));
    let builder = plan(&server).rate(500.0).duration(MS(4000)).concurrency(20).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!((summary.ledger.scheduled, summary.completed), (2000, 2000));
    let late = admitted(&summary, &clock) + catching_up(&clock, 500.0, &[2.0]);
    // A request that is due x seconds into the freeze waits 1 - x. Of four seconds' requests the
    // part q is exceeded by those due in the first 4 (1 - q) seconds of the freeze.
    for q in [0.8, 0.9, 0.99] {
        let theory = 1.0 - 4.0 * (1.0 - q);
        close(&format!("p{}", q * 100.0), summary.response.quantile(q), theory, late);
    }
    // Service times hide it: no more requests could be in flight than there are connections.
    assert!(summary.latency.quantile(0.9).unwrap() < 100_000 + (late * 1e6) as u64);
}

#[test]
fn one_slow_request_in_a_hundred_is_the_last_percent_and_delays_nobody_else() {
    let clock = Arc::new(Clock::default());
    let server = stalling(&clock, |now, nth| (nth % 100 == 50).then(|| now + MS(200)));
    let builder = plan(&server).rate(500.0).duration(MS(3000)).concurrency(20).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!(summary.completed, 1500);
    let late = admitted(&summary, &clock);
    close("p99.5", summary.response.quantile(0.995), 0.2, late);
    close("p50", summary.response.p50(), 0.0, late);
    close("p98.5", summary.response.quantile(0.985), 0.0, late);
}

#[test]
fn a_slow_start_is_told_by_those_who_came_first() {
    let clock = Arc::new(Clock::default());
    let server = stalling(&clock, |now, _| (now < MS(1000)).then_some(MS(1000)));
    let builder = plan(&server).rate(400.0).duration(MS(2500)).concurrency(10).threads(1);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    let late = admitted(&summary, &clock) + catching_up(&clock, 400.0, &[1.0]);
    for q in [0.7, 0.9, 0.99] {
        let theory = 1.0 - 2.5 * (1.0 - q);
        close(&format!("p{}", q * 100.0), summary.response.quantile(q), theory, late);
    }
}

#[test]
fn a_periodic_pause_delays_the_share_of_requests_that_meets_it() {
    let clock = Arc::new(Clock::default());
    let server = stalling(&clock, |now, _| {
        let into = now.as_millis() % 1000;
        (into >= 600).then(|| MS(u64::try_from(now.as_millis() - into + 1000).unwrap()))
    });
    let builder = plan(&server).rate(500.0).duration(MS(3000)).concurrency(20).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    let late = admitted(&summary, &clock) + catching_up(&clock, 500.0, &[1.0, 2.0, 3.0]);
    // In each second the last 0.4: the part q waits no longer than 0.4 - (1 - q).
    for q in [0.7, 0.9, 0.99] {
        let name = format!("p{}", q * 100.0);
        close(&name, summary.response.quantile(q), 0.4 - (1.0 - q), late);
    }
}

#[test]
fn overload_is_a_queue_that_grows_and_what_is_left_of_it_is_unsent() {
    let clock = Arc::new(Clock::default());
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (noted, server_clock) = (Arc::clone(&answered), Arc::clone(&clock));
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            let begun = server_clock.now();
            server_clock.sleep_until(begun + MS(10));
            noted.lock().unwrap().push(server_clock.now());
            conn.respond("ok");
        }
    });
    // Twice as many as one connection can carry.
    let builder = plan(&server).rate(200.0).duration(MS(2000)).concurrency(1);
    let (summary, truth) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!((summary.ledger.scheduled, summary.failed), (400, 0));
    assert!(summary.unsent > 0 && summary.completed >= 100, "{summary:?}");
    assert!(summary.completed + 1 >= truth.requests);
    // The server's own clock is the truth of when it answered; request k was due at k/200 s.
    let answered = answered.lock().unwrap();
    let mut theory: Vec<f64> = answered[..usize::try_from(summary.completed).unwrap()]
        .iter()
        .enumerate()
        .map(|(k, at)| at.as_secs_f64() - k as f64 / 200.0)
        .collect();
    theory.sort_by(f64::total_cmp);
    let late = admitted(&summary, &Clock::default());
    for q in [0.5, 0.9, 0.99] {
        let exact = theory[(q * theory.len() as f64).ceil() as usize - 1];
        close(&format!("p{}", q * 100.0), summary.response.quantile(q), exact, late);
    }
    assert_eq!(summary.timeline.total(Count::Unsent), summary.unsent);
}

#[test]
fn a_backlog_that_is_full_counts_what_comes_as_unsent_at_once() {
    let clock = Arc::new(Clock::default());
    let server = stalling(&clock, |now, _| (now < MS(1000)).then_some(MS(1000)));
    let builder = plan(&server).rate(1000.0).requests(500).concurrency(2).threads(1).backlog(100);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    // Two in flight, a hundred waiting; the other 398 were due within the second.
    assert_eq!((summary.completed, summary.unsent), (102, 398));
}

#[test]
fn instants_do_not_wait_for_answers_and_connections_are_opened_as_they_are_needed() {
    let clock = Arc::new(Clock::default());
    let server = stalling(&clock, |now, _| Some(now + MS(300)));
    let builder = plan(&server).rate(100.0).requests(60).concurrency(200).threads(1);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!(summary.completed, 60);
    // A hundred a second for 0.3 s each: thirty at once, and no more connections than that.
    let late = admitted(&summary, &clock);
    let most = 31.0 + late * 100.0;
    assert!(summary.ledger.opened as f64 <= most, "{} opened", summary.ledger.opened);
    assert!(summary.ledger.opened >= 25, "{} opened", summary.ledger.opened);
}

fn answer_all(conn: &mut Conn) {
    while conn.read_request() {
        conn.respond("ok");
    }
}

#[test]
fn poisson_arrivals_and_stages_send_what_their_course_says() {
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

#[test]
fn failures_of_an_open_loop_are_in_the_sums_and_the_schedule_goes_on() {
    let server = HttpServer::start(|conn| {
        if conn.nth() % 2 == 0 && conn.read_request() {
            conn.respond("ok");
        }
        // Only where a request waits for it: else the run might be over first.
        if conn.read_request() {
            conn.rst();
        }
    });
    let builder = plan(&server).rate(500.0).requests(200).concurrency(5).threads(1);
    let (summary, _) = run_and_compare(server, builder);
    sums(&summary);
    assert_eq!(summary.completed + summary.failed, 200);
    // Two of three requests, but for those of the connections that are still open.
    assert!(summary.failed >= 130, "{:?}", summary.errors);
    assert_eq!(summary.errors.of(ErrorClass::ResetBeforeResponse), summary.failed);
}

#[test]
fn a_closed_loop_has_no_response_times() {
    let server = HttpServer::start(answer_all);
    let builder = plan(&server).requests(50);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.response.count(), summary.send_lag.count()), (0, 0));
    assert_eq!(summary.loader.lag.count(), 0);
}
