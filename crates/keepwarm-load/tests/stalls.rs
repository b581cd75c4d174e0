//! Claim: in an open loop the percentiles of response time are, to within 2 %, those that follow
//! from the schedule and from the server's actions, for every kind of stall.
//!
//! A server does not do exactly as asked: its sleeps last longer, its threads wait for a core, and
//! answering the gathered requests takes time. Therefore each server here logs when it answered
//! which request, and the theory is computed from the log: request `k` of a constant rate is due
//! `k / rate` after the start, and its response time reaches from there to its answer. The log
//! brackets each answer between two instants; the theory lies between these.
//!
//! The loader itself adds the time to notice the answer. The stalls are long enough that 2 % of
//! them is more than a busy machine adds, so no other deviation is tolerated. The tests run one
//! after the other, because all stalls end with a rush for the cores; where permitted, they run
//! with a higher priority than other programs.

mod common;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use common::wait;
use keepwarm_load::{Plan, PlanBuilder, Run, Summary};
use keepwarm_testkit::http_server::HttpServer;

/// Relative tolerance. A tenth of a per cent is the resolution of the loader's histograms.
const TOLERANCE: f64 = 0.02 + 0.001;

const MS: fn(u64) -> Duration = Duration::from_millis;

static TURN: Mutex<()> = Mutex::new(());

/// An answer: the number of its request, and the two instants between which it left.
type Answer = (u64, Instant, Instant);

/// A server that answers each request when `stall` says, or at once. `stall` gets the time since
/// the first request and the number of the request, and returns the end of the wait.
struct Stalling {
    server: HttpServer,
    log: Arc<Mutex<Vec<Answer>>>,
    _turn: MutexGuard<'static, ()>,
}

impl Stalling {
    fn start(stall: impl Fn(Duration, u64) -> Option<Duration> + Send + Sync + 'static) -> Self {
        // A failed test leaves no state behind.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // The priority of this thread, which the server's and the loader's threads inherit. Refused
        // without privileges.
        let _ = rustix::process::setpriority_process(None, -20);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, begun) = (Arc::clone(&log), OnceLock::new());
        let server = HttpServer::start(move |conn| {
            while conn.read_request() {
                let begun: Instant = *begun.get_or_init(Instant::now);
                let number = number(conn.request());
                if let Some(until) = stall(begun.elapsed(), number) {
                    // The stall itself is the subject.
                    std::thread::sleep(until.saturating_sub(begun.elapsed()));
                }
                let before = Instant::now();
                conn.respond("ok");
                let answer = (number, before, Instant::now());
                kept.lock().expect("no holder panics").push(answer);
            }
        });
        Self { server, log, _turn: turn }
    }

    fn plan(&self, rate: f64) -> PlanBuilder {
        Plan::builder(format!("{}{{n}}", self.server.url())).templates(true).rate(rate)
    }

    /// Runs, and returns the measurement beside the log of the server.
    fn run(self, rate: f64, plan: impl FnOnce(PlanBuilder) -> PlanBuilder) -> (Summary, Theory) {
        let run = Run::start(plan(self.plan(rate)).build().expect("a valid plan"));
        let run = run.expect("threads start");
        let started = run.started();
        let summary = wait(run);
        assert_eq!(summary.failed, 0, "{:?}", summary.errors);
        assert_eq!(summary.response.count(), summary.completed);
        self.server.finish();
        let log = self.log.lock().expect("no holder panics");
        assert_eq!(log.len() as u64, summary.completed);
        (summary, Theory::of(&log, started, rate))
    }
}

/// Returns the number in `GET /17 HTTP/1.1`.
fn number(request: &[u8]) -> u64 {
    let digits = request.iter().skip_while(|byte| !byte.is_ascii_digit());
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Response times by the server's log, in seconds, ascending: lower and upper bounds.
struct Theory {
    least: Vec<f64>,
    most: Vec<f64>,
}

impl Theory {
    fn of(log: &[Answer], started: Instant, rate: f64) -> Self {
        let since = |instant: Instant, number: u64| {
            (instant - started).as_secs_f64() - number as f64 / rate
        };
        let mut least: Vec<f64> = log.iter().map(|(k, before, _)| since(*before, *k)).collect();
        let mut most: Vec<f64> = log.iter().map(|(k, _, after)| since(*after, *k)).collect();
        least.sort_by(f64::total_cmp);
        most.sort_by(f64::total_cmp);
        assert!(least[0] >= 0.0, "no request is answered before it is due");
        Self { least, most }
    }

    /// Compares a percentile with the server's log. The log must say at least `stalled`; otherwise
    /// the stall would be untested.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "how close it was, for --nocapture")]
    fn holds(&self, summary: &Summary, quantile: f64, stalled: f64) {
        let at = |times: &[f64]| times[(quantile * times.len() as f64).ceil() as usize - 1];
        let (least, most) = (at(&self.least), at(&self.most));
        let measured = summary.response.quantile(quantile).expect("samples") as f64 / 1e6;
        let said =
            format!("p{}: {measured} s, by the server {least} to {most} s", quantile * 100.0);
        assert!(least >= stalled, "{said}: it did not stall");
        let allowed = least * (1.0 - TOLERANCE)..=most * (1.0 + TOLERANCE);
        assert!(allowed.contains(&measured), "{said}");
        eprintln!("{said}: {:+.2} %", (measured / most - 1.0) * 100.0);
    }
}

#[test]
fn freeze_delays_all_requests_within_it() {
    let frozen = 1000..2000;
    let server =
        Stalling::start(move |now, _| frozen.contains(&now.as_millis()).then_some(MS(2000)));
    let (summary, theory) =
        server.run(500.0, |plan| plan.duration(MS(4000)).concurrency(20).threads(2));
    assert_eq!((summary.ledger.scheduled, summary.completed), (2000, 2000));
    // A request that is due x seconds into the freeze waits 1 - x. With four seconds of requests,
    // quantile q is exceeded by the requests due in the first 4 (1 - q) seconds of the freeze.
    for quantile in [0.85, 0.9, 0.99] {
        theory.holds(&summary, quantile, 0.98 * (1.0 - 4.0 * (1.0 - quantile)));
    }
    // Service times hide the freeze: no more requests are in flight than there are connections.
    assert!(summary.latency.quantile(0.9).unwrap() < 300_000);
}

/// One slow request in a hundred is the last percent.
#[test]
fn slow_requests_delay_no_other_request() {
    let server = Stalling::start(|now, number| (number % 100 == 50).then(|| now + MS(1000)));
    let (summary, theory) =
        server.run(500.0, |plan| plan.duration(MS(3000)).concurrency(40).threads(2));
    assert_eq!(summary.completed, 1500);
    theory.holds(&summary, 0.991, 1.0);
    theory.holds(&summary, 0.995, 1.0);
    // The other requests are not delayed: even 2 % of the slow requests' time would show.
    let measured = summary.response.quantile(0.9).unwrap() as f64 / 1e6;
    let (others, slow) = (theory.most[1349], theory.most[1490]);
    assert!(measured <= others + slow * TOLERANCE, "{measured} s, by the server {others} s");
}

#[test]
fn slow_start_delays_the_first_requests() {
    let server = Stalling::start(|now, _| (now < MS(1000)).then_some(MS(1000)));
    let (summary, theory) =
        server.run(400.0, |plan| plan.duration(MS(2500)).concurrency(10).threads(1));
    assert_eq!(summary.completed, 1000);
    for quantile in [0.8, 0.9, 0.99] {
        theory.holds(&summary, quantile, 0.98 * (1.0 - 2.5 * (1.0 - quantile)));
    }
}

#[test]
fn periodic_pause_delays_its_share() {
    // The second half of every two seconds.
    let server = Stalling::start(|now, _| {
        let now = now.as_millis();
        (now % 2000 >= 1000).then(|| MS(u64::try_from(now - now % 2000 + 2000).unwrap()))
    });
    let (summary, theory) =
        server.run(400.0, |plan| plan.duration(MS(4000)).concurrency(20).threads(2));
    assert_eq!(summary.completed, 1600, "the backlog is sent after the end too");
    // Quantile q waits 1 - 2 (1 - q) at most.
    for quantile in [0.75, 0.9, 0.99] {
        theory.holds(&summary, quantile, 0.98 * (1.0 - 2.0 * (1.0 - quantile)));
    }
}

#[test]
fn overload_grows_queue_rest_is_unsent() {
    let server = Stalling::start(|now, _| Some(now + MS(10)));
    // Twice as many as one connection can carry.
    let (summary, theory) = server.run(200.0, |plan| plan.duration(MS(3000)).concurrency(1));
    assert_eq!(summary.ledger.scheduled, 600);
    assert!(summary.unsent > 0 && summary.completed >= 100, "{summary:?}");
    assert_eq!(summary.completed + summary.unsent, 600);
    for quantile in [0.5, 0.9, 0.99] {
        theory.holds(&summary, quantile, 0.5 * quantile);
    }
}
