//! Watching hops while a load runs: the kernel's account of each port, and looks at its TIME_WAITs.
//!
//! Owns the watches and one thread that samples. What it all means is the record's.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keepwarm_record::load::{HopRecord, HopSample, Sides};
use keepwarm_sockets::{
    EphemeralPorts, Filter, PortReport, PortWatch, Side, State, States, dump, ephemeral_ports,
};

use super::hop_record::{self, Cause};
use crate::exit::{Exit, Failure};

/// How long the kernel may take to finish closing what the load left.
const SETTLE: Duration = Duration::from_secs(3);

/// Between two looks. On loopback a TIME_WAIT can be gone after a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A look walks the kernel's whole table: the pause after it is this many times as long.
const REST: u32 = 50;

/// Looks that are kept of each port; beyond it every second one is dropped, and the pause doubles.
const MAX_SAMPLES: usize = 2048;

/// Hops that are being watched.
#[derive(Debug)]
pub(crate) struct Hops {
    watches: Vec<PortWatch>,
    shared: Arc<Shared>,
    sampler: Option<JoinHandle<()>>,
    ports: Option<EphemeralPorts>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    ports: Vec<u16>,
    looks: Mutex<Looks>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct Looks {
    /// By port.
    samples: BTreeMap<u16, Vec<HopSample>>,
    stop: bool,
    failed: Option<keepwarm_sockets::Error>,
}

impl Hops {
    /// Begins to watch `ports`; everything that happens after this returns is in the account.
    pub(crate) fn start(ports: &[u16]) -> Result<Self, Failure> {
        let mut distinct = ports.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let shared = Arc::new(Shared {
            began: Instant::now(),
            ports: distinct,
            looks: Mutex::default(),
            stopped: Condvar::new(),
        });
        let mut hops = Self {
            watches: Vec::new(),
            shared: Arc::clone(&shared),
            sampler: None,
            ports: ephemeral_ports().ok(),
        };
        if shared.ports.is_empty() {
            return Ok(hops);
        }
        for port in &shared.ports {
            hops.watches.push(PortWatch::start(*port).map_err(|error| unseen(&error))?);
        }
        shared.look().map_err(|error| unseen(&error))?;
        let sampler = std::thread::Builder::new().name("hops".to_owned());
        let sampler = sampler.spawn(move || shared.sample()).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot start a thread to watch ports: {error}"))
        })?;
        hops.sampler = Some(sampler);
        Ok(hops)
    }

    /// The last look at each port.
    pub(crate) fn last(&self) -> Vec<(u16, HopSample)> {
        let looks = self.shared.lock();
        let last = |(port, samples): (&u16, &Vec<HopSample>)| Some((*port, *samples.last()?));
        looks.samples.iter().filter_map(last).collect()
    }

    /// Ends the watches once the ports are at rest. `speaks_tls` is asked of ports that are not the
    /// load's own target, of which the load knows.
    pub(crate) fn finish(
        mut self,
        cause: &Cause,
        speaks_tls: impl Fn(u16) -> bool,
    ) -> Result<Vec<HopRecord>, Failure> {
        // The last look comes before the account waits for rest: TIME_WAITs may go meanwhile.
        self.end_sampler();
        let mut looks = std::mem::take(&mut *self.shared.lock());
        if let Some(error) = looks.failed {
            return Err(unseen(&error));
        }
        let mut accounts = Vec::new();
        for (watch, port) in self.watches.drain(..).zip(&self.shared.ports) {
            accounts.push((*port, watch.finish(SETTLE).map_err(|error| unseen(&error))?));
        }
        let hop = |(port, account): (u16, PortReport)| {
            let samples = looks.samples.remove(&port).unwrap_or_default();
            let is_target = cause.target.is_some_and(|target| target.port == port);
            let asked = !is_target && account.requests.total > 0;
            let secret = asked && speaks_tls(port);
            hop_record::record(&account, self.ports, samples, cause, secret)
        };
        Ok(accounts.into_iter().map(hop).collect())
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
    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self) {
        let mut every = LOOK_EVERY;
        let mut cost = Duration::ZERO;
        loop {
            let looks = self.lock();
            let pause = every.max(cost * REST);
            let waited = self.stopped.wait_timeout_while(looks, pause, |looks| !looks.stop);
            let stop = waited.unwrap_or_else(PoisonError::into_inner).0.stop;
            let began = processor_time();
            match self.look() {
                Ok(true) => every *= 2,
                Ok(false) => {}
                Err(error) => {
                    self.lock().failed = Some(error);
                    return;
                }
            }
            cost = processor_time().saturating_sub(began);
            if stop {
                return;
            }
        }
    }

    /// One dump for all ports. True if there were so many samples that half of them were dropped.
    fn look(&self) -> Result<bool, keepwarm_sockets::Error> {
        let only = if let [port] = self.ports[..] { Some(port) } else { None };
        let filter = Filter { states: States::CONNECTED, either_port: only, ..Filter::default() };
        let at_s = self.began.elapsed().as_secs_f64();
        let sockets = dump(&filter)?;
        let mut looks = self.lock();
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
            let samples = looks.samples.entry(port).or_default();
            samples.push(sample);
            if samples.len() >= MAX_SAMPLES {
                thin(samples);
                thinned = true;
            }
        }
        Ok(thinned)
    }
}

/// What this thread has used; not the time it waited for a core.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Halves the samples: the first stays, and of each two that follow the one with more TIME_WAITs,
/// so that a peak is never lost.
fn thin(samples: &mut Vec<HopSample>) {
    let rest = samples.split_off(1.min(samples.len()));
    samples.extend(rest.chunks(2).filter_map(|pair| {
        pair.iter().copied().max_by_key(|sample| (sample.time_wait.sum(), sample.ports))
    }));
}

/// Why the kernel's account cannot be had.
pub(crate) fn unseen(error: &keepwarm_sockets::Error) -> Failure {
    let exit = if error.is_file_table_full() {
        Exit::FileTable
    } else if error.is_denied() || error.is_unsupported() {
        Exit::Denied
    } else {
        Exit::Failed
    };
    Failure::new(exit, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_first_look_and_the_peak() {
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
