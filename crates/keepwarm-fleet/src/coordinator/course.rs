//! The course of a run from its start to the last result. Owns what is known of each worker, and who
//! counts as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv::Watch;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Joined, Places, Task};
use bytes::Bytes;

use crate::args::RunOptions;
use crate::clock::Now;
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::packed;
use crate::protocol::{
    self, Final, Frame, RecordPlace, RunPlan, Start, StopKind, WorkerState, decode, encode,
};
use crate::say;

/// Silence after which a worker is lost: three frames.
const SILENCE: Duration = Duration::from_millis(3500);

/// How long results are waited for after the load's declared end.
const RESULTS: Duration = Duration::from_secs(60);

/// Time after a break of the connection, or of this program, in which silence means nothing: workers
/// find the server again within it.
const SETTLING: Duration = Duration::from_secs(10);

/// A gap between two ticks after which this program itself has been stopped.
const STOPPED: Duration = Duration::from_millis(2500);

/// How long the server has to pass on a message of this program to itself.
const ECHO: Duration = Duration::from_secs(1);

/// State of one worker, as the coordinator knows it.
#[derive(Debug)]
struct Known {
    frame: Option<Frame>,
    heard: Instant,
    begun_ns: Option<i64>,
    result: Option<(Final, Bytes)>,
    lost: Option<(f64, String)>,
}

impl Known {
    fn is_pending(&self) -> bool {
        self.result.is_none() && self.lost.is_none()
    }
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Finished {
    /// Results, and the packed records of those that have one inline, in the order of the plan's
    /// workers.
    pub(super) results: Vec<(Final, Bytes)>,
    /// Workers that were lost, and when, in seconds of the run, and why.
    pub(super) lost: Vec<(String, f64, String)>,
    /// Declared start, by this machine's monotonic clock and by its wall clock.
    pub(super) start_ns: u64,
    pub(super) start_unix_ms: u64,
    /// Instants at which workers began, by this machine's clock.
    pub(super) begun_ns: BTreeMap<String, i64>,
    pub(super) clock_error: Duration,
    pub(super) elapsed_s: f64,
    pub(super) interrupted: bool,
}

/// A run under way.
pub(super) struct Course<'a> {
    link: &'a Link,
    places: &'a Places,
    plan: &'a RunPlan,
    options: &'a RunOptions,
    task: &'a Task,
    joined: Joined,
    workers: BTreeMap<String, Known>,
    live: Subscriber,
    states: Watch,
    results: pull::Stream,
    started: Instant,
    start_ns: u64,
    start_unix_ms: u64,
    /// Instant of the last break of the connection, or of this program.
    broken: Option<Instant>,
    ticked: Instant,
    stopped: Option<StopKind>,
    signals: watch::Receiver<u32>,
}

impl<'a> Course<'a> {
    pub(super) async fn new(
        link: &'a Link,
        places: &'a Places,
        plan: &'a RunPlan,
        options: &'a RunOptions,
        task: &'a Task,
        joined: Joined,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| link.failed("cannot follow the run", &error);
        let live = link.client.subscribe(protocol::live(&plan.run, "*")).await;
        let states = places.bucket.watch_with_history("worker.*").await;
        // Durable: it outlives a server that is started again.
        let consumer = pull::Config {
            durable_name: Some("coordinator".to_owned()),
            ..pull::Config::default()
        };
        let consumer = places.results.create_consumer(consumer).await;
        let consumer = consumer.map_err(|error| failed(&error))?;
        let results = consumer.messages().await.map_err(|error| failed(&error))?;
        let (now, lead) = (Now::read(), task.lead());
        let started = now.instant + lead;
        let known = |worker: &String| {
            let known =
                Known { frame: None, heard: started, begun_ns: None, result: None, lost: None };
            (worker.clone(), known)
        };
        Ok(Self {
            link,
            places,
            plan,
            options,
            task,
            joined,
            workers: plan.workers.iter().map(known).collect(),
            live: live.map_err(|error| failed(&error))?,
            states: states.map_err(|error| failed(&error))?,
            results,
            started,
            start_ns: now.monotonic_ns + u64::try_from(lead.as_nanos()).unwrap_or(0),
            start_unix_ms: u64::try_from((now.unix + lead).as_millis()).unwrap_or(0),
            broken: None,
            ticked: now.instant,
            stopped: None,
            signals: task.signals.clone(),
        })
    }

    /// Names the instant at which all loads begin.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        let start = Start { at_ns: self.start_ns };
        let start = self.places.bucket.create("start", encode(&start)).await;
        start.map(drop).map_err(|error| self.link.failed("cannot start the run", &error))
    }

    /// Follows the run until every worker has sent its result or is lost.
    pub(super) async fn watch(mut self) -> Result<Finished, Failure> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let description = &self.task.description;
        let deadline = description.duration_s.map(|seconds| {
            let own = Duration::from_secs_f64(seconds + 2.0 * description.timeout_s);
            self.started + own + RESULTS
        });
        let mut signals = self.signals.clone();
        while !self.is_over() {
            tokio::select! {
                Some(message) = self.live.next() => self.heard(&message),
                Some(Ok(entry)) = self.states.next() => self.state(&entry.key, &entry.value),
                // After an error the library asks the server again by itself.
                Some(result) = self.results.next() => if let Ok(message) = result {
                    self.take_result(&message).await;
                },
                _ = ticks.tick() => {
                    self.look_for_lost().await;
                    self.obey_loss().await;
                    self.show();
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        self.give_up();
                    }
                }
                Ok(()) = signals.changed() => {
                    let count = *signals.borrow_and_update();
                    self.stop(if count == 1 { StopKind::Drain } else { StopKind::Abort }).await;
                    if count > 1 {
                        let message = "interrupted twice: the workers were told to end at once, and \
                                       keep their records (--directory)";
                        return Err(Failure::new(Exit::Interrupted, message));
                    }
                    clear_line();
                    say("interrupted: the workers end in order; once more ends at once");
                }
            }
        }
        clear_line();
        Ok(self.finish())
    }

    fn is_over(&self) -> bool {
        !self.workers.values().any(Known::is_pending)
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
                let worker = key.trim_start_matches("worker.");
                known.result = Some((failed_result(worker, exit, message), Bytes::new()));
            }
            _ => {}
        }
    }

    /// Takes a result once; a second one of the worker is acknowledged and dropped. One that cannot be
    /// read fails its worker, and leaves the other results alone.
    async fn take_result(&mut self, message: &async_nats::jetstream::Message) {
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        if let Some(known) = self.workers.get_mut(name)
            && known.result.is_none()
        {
            let read = Final::read(&message.payload, name).and_then(|(result, packed)| {
                // Kept packed, and checked here, so that a bad one is known at once.
                if result.record == RecordPlace::Inline {
                    packed::check(&packed, name)?;
                }
                Ok((result, packed))
            });
            let (result, packed) = read.unwrap_or_else(|failure| {
                let exit = failure.exit as i32;
                (failed_result(name, exit, failure.to_string()), Bytes::new())
            });
            if result.exit == Exit::Interrupted as i32 && self.stopped.is_none() {
                // By its own limits, or by its own operator: from then on its part is missing.
                let at_s = Instant::now().saturating_duration_since(self.started).as_secs_f64();
                let why = result.message.lines().last().unwrap_or("its load was ended there");
                known.lost = Some((at_s, why.to_owned()));
            }
            known.result = Some((result, packed));
            self.obey_abort(name).await;
        }
        // Without it the server sends the result again, which is dropped then.
        let _ = message.ack().await;
    }

    /// Ends the other parts when one was ended by --abort-if, which each part judges for itself.
    async fn obey_abort(&mut self, name: &str) {
        let is_aborting = self.task.arguments.iter().any(|one| one.starts_with("--abort-if"));
        let ended = self.workers.get(name).and_then(|known| known.result.as_ref());
        let is_aborted = ended.is_some_and(|(result, _)| result.exit == 10);
        if is_aborting && is_aborted && self.stopped.is_none() {
            say(&format!("worker {name} has aborted its part: the others end"));
            self.stop(StopKind::Drain).await;
        }
    }

    /// Marks workers as lost that have been silent for three frames.
    async fn look_for_lost(&mut self) {
        let now = Instant::now();
        let gap = now.duration_since(std::mem::replace(&mut self.ticked, now));
        if !self.link.is_connected() || gap > STOPPED {
            self.broken = Some(now);
        }
        // Frames that a server did not pass on are no silence of a worker.
        let is_settling = self.broken.is_some_and(|broken| now < broken + SETTLING);
        if is_settling || now < self.started + SILENCE {
            return;
        }
        let at_s = now.duration_since(self.started).as_secs_f64();
        // Behind the declared end a worker drains, or sends its result.
        if self.task.description.duration_s.is_some_and(|seconds| at_s > seconds) {
            return;
        }
        let is_silent = |known: &Known| {
            now.saturating_duration_since(known.heard) > SILENCE && known.is_pending()
        };
        if !self.workers.values().any(is_silent) {
            return;
        }
        if !self.has_echo().await {
            self.broken = Some(Instant::now());
            return;
        }
        for (name, known) in self.workers.iter_mut().filter(|(_, known)| is_silent(known)) {
            known.lost = Some((at_s, "silent for 3 s".to_owned()));
            clear_line();
            say(&format!("worker {name} has been silent for 3 s: lost at {at_s:.1} s"));
        }
    }

    /// Returns true if the server passes on a message of this program to itself.
    async fn has_echo(&self) -> bool {
        let echo = self.link.client.request(protocol::clock(&self.plan.run), "".into());
        tokio::time::timeout(ECHO, echo).await.is_ok_and(|reply| reply.is_ok())
    }

    /// Stops the others when more workers are lost than the caller tolerates.
    async fn obey_loss(&mut self) {
        let is_gone = |known: &&Known| {
            let failed = known.result.as_ref();
            known.lost.is_some() || failed.is_some_and(|(one, _)| one.record == RecordPlace::None)
        };
        let lost = self.workers.values().filter(is_gone).count();
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
            if known.is_pending() {
                known.lost = Some((at_s, "it sent no result".to_owned()));
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
        let mut finished = Finished {
            results: Vec::new(),
            lost: Vec::new(),
            start_ns: self.start_ns,
            start_unix_ms: self.start_unix_ms,
            begun_ns: BTreeMap::new(),
            clock_error: self.joined.clock_error,
            elapsed_s: Instant::now().saturating_duration_since(self.started).as_secs_f64(),
            interrupted: *self.signals.borrow() > 0,
        };
        for name in &self.plan.workers {
            let Some(known) = self.workers.remove(name) else { continue };
            let told = known.result.as_ref().and_then(|(result, _)| result.begun_ns);
            let begun = told.or(known.begun_ns).map(|begun| (name.clone(), begun));
            finished.begun_ns.extend(begun);
            // A result that came after all does not undo that the others were stopped.
            finished.lost.extend(known.lost.map(|(at_s, why)| (name.clone(), at_s, why)));
            finished.results.extend(known.result);
        }
        finished
    }
}

/// The result of a worker that has no record.
fn failed_result(worker: &str, exit: i32, message: String) -> Final {
    Final {
        worker: worker.to_owned(),
        exit,
        message,
        begun_ns: None,
        not_kept: None,
        record: RecordPlace::None,
    }
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}
