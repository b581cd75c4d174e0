//! The course of a run from its start to the last result. Owns what is known of each worker, and who
//! counts as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv::Watch;
use futures_util::StreamExt;
use keepwarm_record::load::LoadRecord;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Joined, LEAD, Places};
use crate::args::RunOptions;
use crate::clock::monotonic_ns;
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::load::Description;
use crate::protocol::{
    self, Final, Frame, RecordPlace, RunPlan, Start, StopKind, WorkerState, decode, encode,
};
use crate::say;

/// Silence after which a worker is lost: three frames.
const SILENCE: Duration = Duration::from_millis(3500);

/// Time beyond the load's own end in which results come.
const RESULTS: Duration = Duration::from_secs(60);

/// The largest record that is taken from the store.
const MAX_RECORD: u64 = 1 << 30;

/// State of one worker, as the coordinator knows it.
#[derive(Debug)]
struct Known {
    frame: Option<Frame>,
    heard: Instant,
    begun_ns: Option<i64>,
    result: Option<Final>,
    record: Option<LoadRecord>,
    lost_s: Option<f64>,
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Finished {
    /// Results, and their records, in the order of the plan's workers.
    pub(super) results: Vec<(Final, Option<LoadRecord>)>,
    /// Workers that were lost, and when, in seconds of the run.
    pub(super) lost: Vec<(String, f64)>,
    /// Time from the first worker's begin to the last one's.
    pub(super) start_spread: Duration,
    pub(super) clock_error: Duration,
    pub(super) interrupted: bool,
}

/// A run under way.
pub(super) struct Course<'a> {
    link: &'a Link,
    places: &'a Places,
    plan: &'a RunPlan,
    options: &'a RunOptions,
    description: &'a Description,
    joined: Joined,
    workers: BTreeMap<String, Known>,
    live: Subscriber,
    states: Watch,
    results: pull::Stream,
    started: Instant,
    /// Instant since when the server answers without a break.
    connected: Instant,
    stopped: Option<StopKind>,
    signals: u32,
}

impl<'a> Course<'a> {
    pub(super) async fn new(
        link: &'a Link,
        places: &'a Places,
        plan: &'a RunPlan,
        options: &'a RunOptions,
        description: &'a Description,
        joined: Joined,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| link.failed("cannot follow the run", &error);
        let live = link.client.subscribe(protocol::live(&plan.run, "*")).await;
        let states = places.bucket.watch_with_history("worker.*").await;
        let consumer = pull::Config::default();
        let consumer = places.results.create_consumer(consumer).await;
        let consumer = consumer.map_err(|error| failed(&error))?;
        let results = consumer.messages().await.map_err(|error| failed(&error))?;
        let now = Instant::now();
        let known = |worker: &String| {
            let known = Known {
                frame: None,
                heard: now + LEAD,
                begun_ns: None,
                result: None,
                record: None,
                lost_s: None,
            };
            (worker.clone(), known)
        };
        Ok(Self {
            link,
            places,
            plan,
            options,
            description,
            joined,
            workers: plan.workers.iter().map(known).collect(),
            live: live.map_err(|error| failed(&error))?,
            states: states.map_err(|error| failed(&error))?,
            results,
            started: now + LEAD,
            connected: now,
            stopped: None,
            signals: 0,
        })
    }

    /// Names the instant at which all loads begin.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        let at_ns = monotonic_ns() + u64::try_from(LEAD.as_nanos()).unwrap_or(0);
        let start = self.places.bucket.create("start", encode(&Start { at_ns })).await;
        start.map(drop).map_err(|error| self.link.failed("cannot start the run", &error))
    }

    /// Follows the run until every worker has sent its result or is lost.
    pub(super) async fn watch(mut self) -> Result<Finished, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = self.description.duration_s.map(|seconds| {
            let own = Duration::from_secs_f64(seconds + 2.0 * self.description.timeout_s);
            self.started + own + RESULTS
        });
        while !self.is_over() {
            tokio::select! {
                Some(message) = self.live.next() => self.heard(&message),
                Some(Ok(entry)) = self.states.next() => self.state(&entry.key, &entry.value),
                // After an error the library asks the server again by itself.
                Some(result) = self.results.next() => if let Ok(message) = result {
                    self.take_result(&message).await;
                },
                _ = ticks.tick() => {
                    self.look_for_lost();
                    self.obey_loss().await;
                    self.show();
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        self.give_up();
                    }
                }
                () = either(&mut interrupts, &mut terminations) => {
                    self.signals += 1;
                    let kind = if self.signals == 1 { StopKind::Drain } else { StopKind::Abort };
                    self.stop(kind).await;
                    if self.signals > 1 {
                        let message = "interrupted twice: the workers were told to end at once";
                        return Err(Failure::new(Exit::Interrupted, message));
                    }
                    say("interrupted: the workers end in order; once more ends at once");
                }
            }
        }
        clear_line();
        Ok(self.finish())
    }

    fn is_over(&self) -> bool {
        self.workers.values().all(|known| known.result.is_some() || known.lost_s.is_some())
    }

    fn heard(&mut self, message: &async_nats::Message) {
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let Some(known) = self.workers.get_mut(name) else { return };
        if let Ok(frame) = decode::<Frame>(&message.payload, "a frame") {
            known.heard = known.heard.max(Instant::now());
            known.frame = Some(frame);
        }
    }

    fn state(&mut self, key: &str, value: &[u8]) {
        let Some(known) = self.workers.get_mut(key.trim_start_matches("worker.")) else { return };
        match decode(value, "a state") {
            Ok(WorkerState::Running { begun_ns }) => {
                known.begun_ns = Some(begun_ns);
                if self.workers.values().all(|known| known.begun_ns.is_some()) {
                    say("all workers are running");
                }
            }
            Ok(WorkerState::Failed { message, exit }) if known.result.is_none() => {
                known.result = Some(Final {
                    worker: key.trim_start_matches("worker.").to_owned(),
                    exit,
                    message,
                    record: RecordPlace::None,
                });
            }
            _ => {}
        }
    }

    /// Takes a result once; a second one of the worker is acknowledged and dropped. One that cannot be
    /// read fails its worker, and leaves the other results alone.
    async fn take_result(&mut self, message: &async_nats::jetstream::Message) {
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let is_new = self.workers.get(name).is_some_and(|known| known.result.is_none());
        if is_new {
            let (result, record) = match self.read_result(name, &message.payload).await {
                Ok(read) => read,
                Err(failure) => {
                    let (message, record) = (failure.to_string(), RecordPlace::None);
                    let exit = failure.exit as i32;
                    (Final { worker: name.to_owned(), exit, message, record }, None)
                }
            };
            if let Some(known) = self.workers.get_mut(name) {
                (known.result, known.record) = (Some(result), record);
            }
        }
        // Without it the server sends the result again, which is dropped then.
        let _ = message.ack().await;
    }

    async fn read_result(
        &self,
        name: &str,
        payload: &[u8],
    ) -> Result<(Final, Option<LoadRecord>), Failure> {
        let result: Final = decode(payload, &format!("the result of worker {name}"))?;
        let text = match &result.record {
            RecordPlace::None => return Ok((result, None)),
            RecordPlace::Inline(text) => text.clone(),
            RecordPlace::Object(object) => read_object(self.places, object).await?,
        };
        let record = decode(text.as_bytes(), &format!("the record of worker {name}"))?;
        Ok((result, Some(record)))
    }

    /// Marks workers as lost that have been silent for three frames.
    fn look_for_lost(&mut self) {
        let now = Instant::now();
        if !self.link.is_connected() {
            self.connected = now;
        }
        // Frames that a server did not pass on are no silence of a worker.
        if now.duration_since(self.connected) < SILENCE || now < self.started + SILENCE {
            return;
        }
        let at_s = now.duration_since(self.started).as_secs_f64();
        // Behind the declared end a worker drains, or sends its result.
        if self.description.duration_s.is_some_and(|seconds| at_s > seconds) {
            return;
        }
        for (name, known) in &mut self.workers {
            let silent = now.saturating_duration_since(known.heard) > SILENCE;
            if silent && known.result.is_none() && known.lost_s.is_none() {
                known.lost_s = Some(at_s);
                clear_line();
                say(&format!("worker {name} has been silent for 3 s: lost at {at_s:.1} s"));
            }
        }
    }

    /// Stops the others when more workers are lost than the caller tolerates.
    async fn obey_loss(&mut self) {
        let lost = self.workers.values().filter(|known| known.lost_s.is_some()).count();
        if lost > usize::from(self.options.tolerate_loss) && self.stopped.is_none() {
            say("the load is not the one that was declared: the other workers end");
            self.stop(StopKind::Drain).await;
        }
    }

    async fn stop(&mut self, kind: StopKind) {
        self.stopped = Some(kind);
        let put = self.places.bucket.put("stop", encode(&kind));
        let _ = tokio::time::timeout(Duration::from_secs(2), put).await;
    }

    /// Gives up workers whose results have not come long after the load's end.
    fn give_up(&mut self) {
        let at_s = Instant::now().duration_since(self.started).as_secs_f64();
        for known in self.workers.values_mut() {
            if known.result.is_none() && known.lost_s.is_none() {
                known.lost_s = Some(at_s);
            }
        }
    }

    /// Draws one line of all workers, on a terminal alone.
    fn show(&self) {
        if !std::io::stderr().is_terminal() || Instant::now() < self.started {
            return;
        }
        let frames = || self.workers.values().filter_map(|known| known.frame.as_ref());
        let sum = |number: fn(&Frame) -> u64| frames().map(number).sum::<u64>();
        let seconds = Instant::now().duration_since(self.started).as_secs();
        let p99 = frames().filter_map(|frame| frame.p99_us).max();
        let p99 = p99.map_or("-".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1e3));
        let waiting: BTreeSet<&str> = self
            .workers
            .iter()
            .filter(|(_, known)| known.result.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let line = format!(
            "{seconds:>3} s  {}/s  worst p99 {p99}  {} open  {} failed/s  {} of {} workers",
            sum(|frame| frame.completed),
            sum(|frame| frame.open),
            sum(|frame| frame.failed),
            waiting.len(),
            self.workers.len()
        );
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
    }

    fn finish(mut self) -> Finished {
        let begun: Vec<i64> = self.workers.values().filter_map(|known| known.begun_ns).collect();
        let spread = begun
            .iter()
            .max()
            .zip(begun.iter().min())
            .map_or(0, |(last, first)| u64::try_from(last.saturating_sub(*first)).unwrap_or(0));
        let mut results = Vec::new();
        let mut lost = Vec::new();
        for name in &self.plan.workers {
            let Some(known) = self.workers.remove(name) else { continue };
            // A result that came after all does not undo that the others were stopped.
            lost.extend(known.lost_s.map(|at| (name.clone(), at)));
            results.extend(known.result.map(|result| (result, known.record)));
        }
        Finished {
            results,
            lost,
            start_spread: Duration::from_nanos(spread),
            clock_error: self.joined.clock_error,
            interrupted: self.signals > 0,
        }
    }
}

async fn either(interrupts: &mut Signal, terminations: &mut Signal) {
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
}

async fn read_object(places: &Places, name: &str) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Output, format!("the record of worker {name} cannot be read: {error}"))
    };
    let object = places.records.get(name).await.map_err(|error| failed(&error))?;
    let mut text = String::new();
    let read = object.take(MAX_RECORD).read_to_string(&mut text).await;
    read.map(|_| text).map_err(|error| failed(&error))
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}
