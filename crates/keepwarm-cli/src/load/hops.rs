//! Watches hops while a load runs: the kernel's report of each port, and dumps of its TIME_WAITs.
//!
//! Owns the watches, one thread that samples, and the samples of the drain after a run. `hop_record`
//! turns them into records.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keepwarm_record::load::{DrainRecord, HopFinding, HopRecord, HopRequests, HopSample, Sides};
use keepwarm_sockets::{
    EphemeralPorts, Filter, HostReport, Scope, SelfTest, Side, State, States, Watch, dump,
    ephemeral_ports,
};

use super::hop_record::{Hop, OwnLoad};
use crate::evidence::{Judge, Judged};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::show::numbers::thousands;
use crate::{interrupt, limits};

/// How long the kernel may take to finish closing what the load left.
const SETTLE: Duration = Duration::from_secs(3);

/// Pause between two dumps. On loopback a TIME_WAIT can be gone after a second.
const DUMP_EVERY: Duration = Duration::from_millis(250);

/// Least pause after a dump, as a multiple of its cost: a dump walks the kernel's whole table.
const REST: u32 = 50;

/// Upper bound on the samples of each port; beyond it every second one is dropped, and the pause
/// doubles.
const MAX_SAMPLES: usize = 2048;

/// The kernel's timers, that of a TIME_WAIT among them, may end late by this share of their time
/// (kernel/time/timer.c): a TIME_WAIT of 60 s lasts up to 67.5 s. A drain goes on for as long.
const TIMERS_LATE: f64 = 0.125;

/// Pause between two searches for the programs that own connections.
const OWNERS_EVERY: Duration = Duration::from_secs(1);

/// Hops that are being watched.
#[derive(Debug)]
pub(crate) struct Hops {
    shared: Arc<Shared>,
    sampler: Option<JoinHandle<()>>,
    ports: Option<EphemeralPorts>,
    /// End of the run, as time since the watch began.
    ended: Duration,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    ports: Vec<u16>,
    sampled: Mutex<Sampled>,
    watched: Mutex<Watched>,
    stopped: Condvar,
}

/// The kernel's reports, and the judge, which remembers the programs that it has met.
#[derive(Debug)]
struct Watched {
    watches: Vec<(u16, Watch)>,
    judge: Judge,
}

#[derive(Debug, Default)]
struct Sampled {
    /// By port.
    samples: BTreeMap<u16, Vec<HopSample>>,
    stop: bool,
    failed: Option<keepwarm_sockets::Error>,
}

impl Hops {
    /// Begins to watch `ports`. Everything that happens after it returns is in the report.
    pub(crate) fn start(ports: &[u16]) -> Result<Self, Failure> {
        let mut distinct = ports.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let shared = Arc::new(Shared {
            began: Instant::now(),
            ports: distinct,
            sampled: Mutex::default(),
            watched: Mutex::new(Watched { watches: Vec::new(), judge: Judge::new() }),
            stopped: Condvar::new(),
        });
        let mut hops = Self {
            shared: Arc::clone(&shared),
            sampler: None,
            ports: ephemeral_ports().ok(),
            ended: Duration::ZERO,
        };
        if shared.ports.is_empty() {
            return Ok(hops);
        }
        // Before the window, for a storm of closes may drown the self-test.
        self_test();
        for port in &shared.ports {
            let scope = Scope::of_port(*port);
            let watch = Watch::start(scope).map_err(|error| Failure::from(&error))?;
            shared.watched().watches.push((*port, watch));
        }
        shared.dump().map_err(|error| Failure::from(&error))?;
        let sampler = std::thread::Builder::new().name("hops".to_owned());
        let sampler = sampler.spawn(move || shared.sample()).map_err(|error| {
            limits::refused(Exit::Failed, "cannot start a thread to watch ports", &error)
        })?;
        hops.sampler = Some(sampler);
        Ok(hops)
    }

    /// Returns the last sample of each port.
    pub(crate) fn last(&self) -> Vec<(u16, HopSample)> {
        let sampled = self.shared.lock();
        let last = |(port, samples): (&u16, &Vec<HopSample>)| Some((*port, *samples.last()?));
        sampled.samples.iter().filter_map(last).collect()
    }

    /// Returns the accounts of the ports so far, not judged.
    pub(crate) fn so_far(&self, load: &OwnLoad) -> Vec<HopRecord> {
        let samples = self.shared.lock().samples.clone();
        let watched = self.shared.watched();
        let account = |(port, watch): &(u16, Watch)| {
            let account = watch.snapshot().port(*port);
            let hop = Hop { account: &account, load, secret: false };
            let samples = samples.get(port).cloned().unwrap_or_default();
            let mut record = hop.record(&[], self.ports, samples);
            record.finding = HopFinding::default();
            if !record.is_target {
                // Whether the port speaks TLS is asked at the end.
                record.requests = HopRequests::unknown("the run is not over");
            }
            record
        };
        watched.watches.iter().map(account).collect()
    }

    /// Ends the watches once the ports are at rest. `speaks_tls` is called for ports that are not
    /// the load's own target; of that one the load knows.
    pub(crate) fn finish(
        &mut self,
        load: &OwnLoad,
        speaks_tls: impl Fn(u16) -> bool,
    ) -> Result<Vec<HopRecord>, Failure> {
        // The last dump comes before the report waits for rest: TIME_WAITs may go meanwhile.
        self.end_sampler();
        self.ended = self.shared.began.elapsed();
        let mut sampled = std::mem::take(&mut *self.shared.lock());
        if let Some(error) = sampled.failed {
            return Err(Failure::from(&error));
        }
        let mut watched = self.shared.watched();
        let mut reports = Vec::new();
        for (port, watch) in std::mem::take(&mut watched.watches) {
            reports.push((port, watch.finish(SETTLE).map_err(|error| Failure::from(&error))?));
        }
        let hop = |(port, report): (u16, HostReport)| {
            let samples = sampled.samples.remove(&port).unwrap_or_default();
            let account = report.port(port);
            let is_target = load.target.is_some_and(|target| target.port == port);
            let carries = !is_target && account.requests.total > 0;
            let hop = Hop { account: &account, load, secret: carries && speaks_tls(port) };
            let judged = judge(&mut watched.judge, report, port, &hop);
            hop.record(&judged, self.ports, samples)
        };
        Ok(reports.into_iter().map(hop).collect())
    }

    /// Samples the ports after the run, until none of them has a TIME_WAIT, or `asked` is over, or a
    /// signal comes; adds the samples to the records that [`finish`](Self::finish) has returned.
    /// `show` is called after each sample, and may ask for the records so far.
    pub(crate) fn drain(
        &self,
        asked: Duration,
        records: &mut [HopRecord],
        mut show: impl FnMut(&dyn Fn() -> Vec<HopRecord>),
    ) -> Result<(), Failure> {
        let limit = self.ended + asked.mul_f64(1.0 + TIMERS_LATE);
        let mut progress = Progress::new();
        let mut every = DUMP_EVERY;
        let mut said = false;
        loop {
            let began = processor_time();
            if self.shared.dump().map_err(|error| Failure::from(&error))? {
                every *= 2;
            }
            let cost = processor_time().saturating_sub(began);
            let left: u64 = self.last().iter().map(|(_, sample)| sample.time_wait.sum()).sum();
            let now = self.shared.began.elapsed();
            if left == 0 || now >= limit || interrupt::happened() {
                break;
            }
            show(&|| self.drained(asked, records));
            let (passed, asked) = ((now - self.ended).as_secs_f64(), asked.as_secs_f64());
            let left = thousands(left);
            if !std::mem::replace(&mut said, true) {
                progress.note(&format!(
                    "drain: {left} in TIME_WAIT; the report comes when they are gone, or after \
                     {asked:.0} s; Ctrl-C ends the wait"
                ));
            }
            progress.update(&format!("drain  {passed:.0} of {asked:.0} s  {left} in TIME_WAIT"));
            interrupt::sleep((limit - now).min(every.max(cost * REST)));
        }
        let drained = self.drained(asked, records);
        records.clone_from_slice(&drained);
        Ok(())
    }

    /// Returns the records of a run with the samples taken since it ended.
    fn drained(&self, asked: Duration, records: &[HopRecord]) -> Vec<HopRecord> {
        let sampled = self.shared.lock();
        let from_s = self.ended.as_secs_f64();
        let drained = |record: &HopRecord| {
            let mut record = record.clone();
            record.samples.extend(sampled.samples.get(&record.port).into_iter().flatten());
            record.drain = Some(DrainRecord::of(asked.as_secs_f64(), from_s, &record.samples));
            record
        };
        records.iter().map(drained).collect()
    }

    fn end_sampler(&mut self) {
        self.shared.lock().stop = true;
        self.shared.stopped.notify_all();
        if let Some(sampler) = self.sampler.take() {
            // A sampler that panicked has said so on stderr; what it saw before is kept.
            let _ = sampler.join();
        }
    }
}

impl Drop for Hops {
    fn drop(&mut self) {
        self.end_sampler();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sampled> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self) {
        let mut every = DUMP_EVERY;
        let mut cost = Duration::ZERO;
        let mut owners_at = Instant::now();
        loop {
            let sampled = self.lock();
            let pause = every.max(cost * REST);
            let waited = self.stopped.wait_timeout_while(sampled, pause, |sampled| !sampled.stop);
            let stop = waited.unwrap_or_else(PoisonError::into_inner).0.stop;
            let began = processor_time();
            match self.dump() {
                Ok(true) => every *= 2,
                Ok(false) => {}
                Err(error) => {
                    self.lock().failed = Some(error);
                    return;
                }
            }
            cost = processor_time().saturating_sub(began);
            if stop || owners_at.elapsed() >= OWNERS_EVERY {
                owners_at = Instant::now();
                self.watched().remember_owners();
            }
            if stop {
                return;
            }
        }
    }

    /// Takes one dump for all ports. Returns true if there were so many samples that half of them
    /// were dropped.
    fn dump(&self) -> Result<bool, keepwarm_sockets::Error> {
        let only = if let [port] = self.ports[..] { Some(port) } else { None };
        let filter = Filter::of_states(States::CONNECTED).with_either_port(only);
        let at_s = self.began.elapsed().as_secs_f64();
        let sockets = dump(&filter)?;
        let mut sampled = self.lock();
        let mut thinned = false;
        for &port in &self.ports {
            let mut sample = HopSample {
                at_s,
                time_wait: Sides::default(),
                established: Sides::default(),
                ports: 0,
            };
            for (side, state) in sockets.iter().filter_map(|s| Some((s.side(port)?, s.state))) {
                sample.ports += u64::from(side == Side::Client);
                let sides = match state {
                    State::TimeWait => &mut sample.time_wait,
                    State::Established => &mut sample.established,
                    _ => continue,
                };
                match side {
                    Side::Client => sides.client += 1,
                    Side::Server => sides.server += 1,
                }
            }
            let samples = sampled.samples.entry(port).or_default();
            samples.push(sample);
            if samples.len() >= MAX_SAMPLES {
                thin(samples);
                thinned = true;
            }
        }
        Ok(thinned)
    }
}

impl Watched {
    /// Reads the programs of owners while they live.
    fn remember_owners(&mut self) {
        for (_, watch) in &self.watches {
            self.judge.remember_owners(watch.latest().destinations.iter());
        }
    }
}

/// Returns the self-test of this kernel, made once; `None` where there can be no watch.
fn self_test() -> Option<&'static SelfTest> {
    static TEST: OnceLock<Option<SelfTest>> = OnceLock::new();
    TEST.get_or_init(|| SelfTest::check().ok()).as_ref()
}

/// Judges the destinations of one port as a watch does, with what the load knows.
fn judge(judge: &mut Judge, mut report: HostReport, port: u16, hop: &Hop<'_>) -> Vec<Judged> {
    let test = self_test();
    if let Some(test) = test {
        test.apply(&mut report);
    }
    report.destinations.retain(|one| one.service.is_none_or(|service| service.port() == port));
    judge.judge_with(&report, test, hop.knowledge())
}

/// Returns the processor time that this thread has used, without waiting for a core.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Halves the samples: the first stays, and of each following pair the one with more TIME_WAITs, so
/// that a peak is never lost.
fn thin(samples: &mut Vec<HopSample>) {
    let rest = samples.split_off(1.min(samples.len()));
    samples.extend(rest.chunks(2).filter_map(|pair| {
        pair.iter().copied().max_by_key(|sample| (sample.time_wait.sum(), sample.ports))
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_first_sample_and_peak() {
        let sample = |at: u64| HopSample {
            at_s: at as f64,
            time_wait: Sides { client: if at == 1001 { 500 } else { at % 7 }, server: 0 },
            established: Sides::default(),
            ports: 0,
        };
        let mut samples: Vec<_> = (0..MAX_SAMPLES as u64).map(sample).collect();
        thin(&mut samples);
        assert_eq!(samples.len(), MAX_SAMPLES / 2 + 1);
        assert_eq!(samples[0].at_s, 0.0);
        assert_eq!(samples.iter().map(|sample| sample.time_wait.client).max(), Some(500));
        assert!(samples.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
