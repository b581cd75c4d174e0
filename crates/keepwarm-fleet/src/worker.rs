//! A worker: waits for a call, checks the plan by its own limits, runs its part, sends the record.
//!
//! Owns what may be loaded from this machine: the worker decides, and a coordinator only
//! asks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::kv::{Store, Watch};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::args::WorkerOptions;
use crate::clock::{Offset, ROUND_TRIPS, RoundTrip, monotonic_ns};
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::load::{self, Description, Ended, Line, RunningLoad};
use crate::protocol::{
    self, Answer, Final, Frame, MAX_INLINE, PROTOCOL, Presence, RecordPlace, RunPlan, SignedPlan,
    Start, StopKind, WorkerState, decode, encode,
};
use crate::{keys, packed, say, signals};

/// Interval of frames, which are the heartbeat.
const FRAME: Duration = Duration::from_secs(1);

/// How long a result is offered to a server that cannot be reached.
const RESULT_PATIENCE: Duration = Duration::from_secs(600);

/// Time that a load has beyond --max-duration to complete its last requests.
const GRACE: Duration = Duration::from_secs(60);

/// A worker that waits, or runs.
#[derive(Debug)]
struct Worker {
    link: Link,
    options: WorkerOptions,
    name: String,
    version: String,
    directory: PathBuf,
    busy: Mutex<Option<String>>,
    /// Number of signals that asked this worker to end.
    signals: watch::Receiver<u32>,
}

/// Runs a worker until a signal, or to the end of one run with `--once`.
pub(crate) async fn run(options: WorkerOptions) -> Result<(), Failure> {
    let name = options.name.clone().unwrap_or_else(default_name);
    load::check_networks(&options.allow_target).await?;
    let link = Link::open(&options.server, &format!("keepwarm worker {name}")).await?;
    let worker = Arc::new(Worker {
        version: load::version().await?,
        directory: directory(&options)?,
        busy: Mutex::new(None),
        signals: signals::count()?,
        link,
        options,
        name,
    });
    let failed = |error: &dyn std::fmt::Display| worker.link.failed("cannot subscribe", &error);
    let client = &worker.link.client;
    let mut looks = client.subscribe(protocol::LOOK).await.map_err(|error| failed(&error))?;
    let call = protocol::call(&worker.name);
    let mut calls = client.subscribe(call).await.map_err(|error| failed(&error))?;
    client.flush().await.map_err(|error| failed(&error))?;
    say(&format!(
        "worker {} waits at {}; it may load {}",
        worker.name,
        worker.link.url(),
        worker.options.allow_target.join(", ")
    ));
    let mut signals = worker.signals.clone();
    let mut task = None;
    loop {
        tokio::select! {
            Some(look) = looks.next() => {
                if let Some(reply) = look.reply {
                    let _ = client.publish(reply, encode(&worker.presence())).await;
                }
            }
            Some(called) = calls.next() => {
                let run = String::from_utf8_lossy(&called.payload).into_owned();
                let answer = worker.take_up(&run);
                if let Some(reply) = called.reply {
                    let _ = client.publish(reply, encode(&answer)).await;
                }
                if answer == Answer::Joining {
                    task = Some(tokio::spawn(Arc::clone(&worker).carry_out(run)));
                }
            }
            ended = join(&mut task), if task.is_some() => {
                task = None;
                if worker.options.once {
                    return ended;
                }
                if let Err(failure) = ended {
                    say(&failure.to_string());
                }
            }
            Ok(()) = signals.changed(), if task.is_none() => {
                return Err(Failure::new(Exit::Interrupted, "interrupted"));
            }
            else => return Err(Failure::new(Exit::Unreachable, "the server has closed the connection")),
        }
    }
}

type Task = tokio::task::JoinHandle<Result<(), Failure>>;

async fn join(task: &mut Option<Task>) -> Result<(), Failure> {
    let Some(task) = task else { return std::future::pending().await };
    task.await.unwrap_or_else(|panic| Err(Failure::new(Exit::Failed, panic.to_string())))
}

/// Returns the host's name, and the process id: two workers of a host differ.
fn default_name() -> String {
    let host: String = host().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let host = if host.is_empty() { "worker" } else { &host[..host.len().min(50)] };
    format!("{host}-{}", std::process::id())
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

fn directory(options: &WorkerOptions) -> Result<PathBuf, Failure> {
    let directory = options.directory.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("keepwarm-worker-{}", std::process::id()))
    });
    std::fs::create_dir_all(&directory).map_err(|error| {
        Failure::new(Exit::Output, format!("cannot make {}: {error}", directory.display()))
    })?;
    Ok(directory)
}

impl Worker {
    fn presence(&self) -> Presence {
        Presence {
            worker: self.name.clone(),
            version: self.version.clone(),
            protocol: PROTOCOL,
            cores: cores(),
            host: host(),
            allowed: self.options.allow_target.clone(),
            max_rate: self.options.max_rate,
            max_connections: self.options.max_connections,
            max_duration_s: self.options.max_duration.as_secs_f64(),
            busy: self.busy(),
        }
    }

    fn busy(&self) -> Option<String> {
        self.busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Becomes part of a run, unless the worker is part of one already.
    fn take_up(&self, run: &str) -> Answer {
        if let Err(why) = protocol::check_name(run) {
            return Answer::Refused(format!("run {run:?}: {why}"));
        }
        let mut busy = self.busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*busy {
            Some(other) => Answer::Refused(format!("{} carries out run {other}", self.name)),
            None => {
                *busy = Some(run.to_owned());
                Answer::Joining
            }
        }
    }

    async fn carry_out(self: Arc<Self>, run: String) -> Result<(), Failure> {
        let result = self.part_of(&run).await;
        *self.busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        result
    }

    async fn part_of(&self, run: &str) -> Result<(), Failure> {
        let bucket = self.link.jetstream.get_key_value(protocol::bucket(run)).await;
        let bucket = bucket.map_err(|error| self.link.failed("cannot open the run", &error))?;
        let key = format!("worker.{}", self.name);
        let part = match self.join_run(run, &bucket).await {
            Ok(part) => part,
            Err(failure) => {
                let state =
                    WorkerState::Failed { message: failure.to_string(), exit: failure.exit as i32 };
                let _ = bucket.create(&key, encode(&state)).await;
                return Err(failure);
            }
        };
        let joined = WorkerState::Joined {
            plan_digest: part.digest.clone(),
            clock_error_ns: part.offset.error_ns,
            clock_offset_ns: part.offset.ahead_ns,
            cores: cores(),
            host: host(),
        };
        let revision = bucket.create(&key, encode(&joined)).await.map_err(|error| {
            let message = format!("run {run} knows a worker {} already: {error}", self.name);
            Failure::new(Exit::Usage, message)
        })?;
        let mut state = State { bucket, key, revision };
        let frames = Frames::default();
        // The heartbeat goes on until the result is sent.
        let beats = frames.clone().beat(&self.link, protocol::live(run, &self.name));
        let ended = tokio::select! {
            ended = self.run_part(run, &part, &mut state, &frames) => ended,
            never = beats => match never {},
        };
        match ended {
            Ok(own) => own,
            Err(failure) => {
                let message = failure.to_string();
                state.set(&WorkerState::Failed { message, exit: failure.exit as i32 }).await;
                Err(failure)
            }
        }
    }

    /// Carries out the load, and sends its result. Returns a failure of this worker alone, such as a record
    /// that it could not keep, beside one of its part of the run: the coordinator has the result of the first.
    async fn run_part(
        &self,
        run: &str,
        part: &Part,
        state: &mut State,
        frames: &Frames,
    ) -> Result<Result<(), Failure>, Failure> {
        // A run that is stopped before its start has no result.
        let Some((ended, begun_ns)) = self.load(part, state, frames).await? else {
            return Ok(Ok(()));
        };
        self.send_result(run, &ended, begun_ns).await?;
        state.set(&WorkerState::Final).await;
        match ended.not_kept {
            Some(why) => {
                say(&format!("run {run}: exit {}, the result is sent", ended.exit));
                Ok(Err(Failure::new(Exit::Output, why)))
            }
            None => {
                let path = ended.path.display();
                say(&format!("run {run}: exit {}, the record is {path}", ended.exit));
                Ok(Ok(()))
            }
        }
    }

    /// Checks the plan by this worker's limits, and compares the clocks.
    async fn join_run(&self, run: &str, bucket: &Store) -> Result<Part, Failure> {
        let plan = bucket.get("plan").await;
        let plan = plan.map_err(|error| self.link.failed("cannot read the plan", &error))?;
        let plan = plan.ok_or_else(|| refused(format!("run {run} has no plan")))?;
        let signed: SignedPlan = decode(&plan, "the plan")?;
        let digest = keys::digest(&signed);
        let plan = keys::verify(&signed, &self.options.coordinator)?;
        let index = self.position(run, &plan)?;
        let extra = vec![
            format!("--share={}/{}", index + 1, plan.workers.len()),
            format!("--only={}", self.options.allow_target.join(",")),
        ];
        let description = load::check(&plan.arguments, &extra).await?;
        self.check_limits(&description, plan.workers.len())?;
        let offset = self.compare_clocks(run).await?;
        // A load that ends by itself, within the limit, has time to end in order.
        let grace = if description.duration_s.is_some() { GRACE } else { Duration::ZERO };
        let longest = self.options.max_duration + grace;
        Ok(Part { plan, digest, extra, offset, longest })
    }

    /// Returns the position of this worker in the plan, which has to be of this run, version and time.
    fn position(&self, run: &str, plan: &RunPlan) -> Result<usize, Failure> {
        if plan.run != run {
            return Err(refused(format!("the plan is of run {}, not of {run}", plan.run)));
        }
        let number = |version: &str| version.split(" (").next().unwrap_or_default().to_owned();
        if plan.protocol != PROTOCOL || number(&plan.version) != number(&self.version) {
            return Err(refused(format!(
                "the coordinator is {}, protocol {}, and worker {} is {}, protocol {PROTOCOL}; \
                 install the same version on all machines",
                plan.version, plan.protocol, self.name, self.version
            )));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now > plan.expires_unix_s {
            return Err(refused(format!(
                "the plan of run {run} expired {} s ago; start the run again, or set the clock",
                now - plan.expires_unix_s
            )));
        }
        let position = plan.workers.iter().position(|worker| *worker == self.name);
        position
            .ok_or_else(|| refused(format!("the plan of run {run} has no worker {}", self.name)))
    }

    fn check_limits(&self, description: &Description, workers: usize) -> Result<(), Failure> {
        let limits = &self.options;
        let over = |what: &str, asked: f64, limit: f64, name: &str| {
            refused(format!(
                "worker {}: {asked} {what} of {} are more than its {name} {limit}",
                self.name, description.url
            ))
        };
        let share = f64::from(u32::try_from(workers).unwrap_or(u32::MAX));
        // The connections of the description are this worker's share already.
        let connections = description.connections;
        if connections > limits.max_connections {
            let limit = limits.max_connections as f64;
            return Err(over("connections", connections as f64, limit, "--max-connections"));
        }
        match description.peak_rate.map(|rate| rate / share) {
            Some(rate) if rate > limits.max_rate => {
                return Err(over("requests/s", rate, limits.max_rate, "--max-rate"));
            }
            _ => {}
        }
        // A load that ends by -n alone is ended at --max-duration.
        let longest = limits.max_duration.as_secs_f64();
        let seconds = description.duration_s.unwrap_or(0.0) + description.warm_up_s;
        if seconds > longest {
            return Err(over("seconds", seconds, longest, "--max-duration"));
        }
        Ok(())
    }

    async fn compare_clocks(&self, run: &str) -> Result<Offset, Failure> {
        let mut trips = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let sent_ns = monotonic_ns();
            let reply = self.link.client.request(protocol::clock(run), "".into()).await;
            let received_ns = monotonic_ns();
            let reply = reply.map_err(|error| self.link.failed("no clock to compare", &error))?;
            let other_ns = decode(&reply.payload, "the coordinator's clock")?;
            trips.push(RoundTrip { sent_ns, other_ns, received_ns });
        }
        Offset::of(&trips).ok_or_else(|| Failure::new(Exit::Failed, "no clock was compared"))
    }

    /// Waits for the start, then carries out the load. Returns how it ended, and when it began by the
    /// coordinator's clock; `None` if the run was stopped before.
    async fn load(
        &self,
        part: &Part,
        state: &mut State,
        frames: &Frames,
    ) -> Result<Option<(Ended, Option<i64>)>, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| self.link.failed("cannot watch the run", &error);
        let stops = state.bucket.watch_with_history("stop").await;
        let mut stops = stops.map_err(|error| failed(&error))?;
        let Some(start) = self.wait_for_start(part, &state.bucket, &mut stops).await? else {
            return Ok(None);
        };
        let mut signals = self.signals.clone();
        let record = self.record_path(&part.plan.run);
        let begin_at = part.offset.to_own(start.at_ns);
        let mut load = RunningLoad::start(&part.plan.arguments, &part.extra, begin_at, &record)?;
        let (mut begun, mut ended_by) = (None, None);
        let mut ticks = interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected = Instant::now();
        let until_start = Duration::from_nanos(begin_at.saturating_sub(monotonic_ns()));
        let longest = sleep(until_start + part.longest);
        tokio::pin!(longest);
        loop {
            tokio::select! {
                line = load.next_line() => match line {
                    None => break,
                    Some(Line::Begun { monotonic_ns }) => {
                        let begun_ns = part.offset.to_other(monotonic_ns);
                        begun = Some(begun_ns);
                        state.set(&WorkerState::Running { begun_ns }).await;
                    }
                    Some(Line::Second(second)) => frames.take(&second),
                    Some(Line::Record(_)) => {}
                },
                _ = ticks.tick() => {
                    if self.link.is_connected() {
                        connected = Instant::now();
                    } else if connected.elapsed() > self.options.orphan {
                        ended_by = end(&load, "the server was gone for too long (--orphan): the load ends");
                        connected = Instant::now();
                    }
                }
                Some(Ok(entry)) = stops.next() => {
                    load.interrupt();
                    if decode(&entry.value, "the stop") == Ok(StopKind::Abort) {
                        load.interrupt();
                    }
                }
                Ok(()) = signals.changed() => ended_by = end(&load, "interrupted at the worker"),
                () = &mut longest => {
                    ended_by = end(&load, "the load takes longer than --max-duration: it ends");
                    longest.set(sleep(GRACE));
                }
            }
        }
        let mut ended = load.wait().await?;
        if let Some(why) = ended_by {
            ended.message = format!("{}\n{why}", ended.message).trim_start().to_owned();
        }
        Ok(Some((ended, begun)))
    }

    /// Waits for the start; `None` if the run is stopped before.
    async fn wait_for_start(
        &self,
        part: &Part,
        bucket: &Store,
        stops: &mut Watch,
    ) -> Result<Option<Start>, Failure> {
        let starts = bucket.watch_with_history("start").await;
        let mut starts =
            starts.map_err(|error| self.link.failed("cannot watch the run", &error))?;
        let mut signals = self.signals.clone();
        tokio::select! {
            Some(Ok(entry)) = starts.next() => decode(&entry.value, "the start").map(Some),
            Some(Ok(_)) = stops.next() => Ok(None),
            Ok(()) = signals.changed() => Err(Failure::new(Exit::Interrupted, "interrupted")),
            () = sleep(GRACE) => {
                let message = format!("run {} did not start within {GRACE:?}", part.plan.run);
                Err(Failure::new(Exit::Unreachable, message))
            }
        }
    }

    /// Returns a path for a run's record at which no earlier one is.
    fn record_path(&self, run: &str) -> PathBuf {
        let name = format!("{run}-{}", self.name);
        let later = (2_u32..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(later);
        let path = names.find_map(|name| {
            let path = self.directory.join(format!("{name}.json"));
            (!path.exists()).then_some(path)
        });
        path.unwrap_or_else(|| self.directory.join(name))
    }

    /// Sends the record until the stream has it. The record stays in the worker's directory.
    async fn send_result(
        &self,
        run: &str,
        ended: &Ended,
        begun_ns: Option<i64>,
    ) -> Result<(), Failure> {
        let mut result = Final {
            worker: self.name.clone(),
            exit: ended.exit,
            message: ended.message.clone(),
            begun_ns,
            not_kept: ended.not_kept.clone(),
            record: RecordPlace::None,
        };
        let mut record = bytes::Bytes::new();
        if let Some(text) = &ended.record {
            match packed::read_record(text.as_bytes()) {
                Ok(own) => {
                    record = packed::pack(&own);
                    let fits = record.len() <= MAX_INLINE;
                    result.record = if fits { RecordPlace::Inline } else { RecordPlace::Object };
                }
                Err(why) => result.message += &format!("\n{}: {why}", ended.path.display()),
            }
        }
        let deadline = Instant::now() + RESULT_PATIENCE;
        loop {
            let sent = timeout(Duration::from_secs(10), self.offer(run, &result, &record)).await;
            let why = match sent {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => "it does not answer".to_owned(),
            };
            if Instant::now() > deadline || *self.signals.borrow() > 1 {
                let message = format!(
                    "the result of run {run} cannot be sent ({why}); it is {}, and `keepwarm merge` \
                     unites the records of all workers",
                    ended.path.display()
                );
                return Err(Failure::new(Exit::Output, message));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn offer(&self, run: &str, result: &Final, record: &[u8]) -> Result<(), String> {
        let jetstream = &self.link.jetstream;
        let behind = match result.record {
            RecordPlace::None => &[],
            RecordPlace::Inline => record,
            RecordPlace::Object => {
                let store = jetstream.get_object_store(protocol::records(run)).await;
                let store = store.map_err(|error| error.to_string())?;
                let mut bytes = record;
                let put = store.put(self.name.as_str(), &mut bytes).await;
                put.map_err(|error| error.to_string())?;
                &[]
            }
        };
        let mut headers = HeaderMap::new();
        // The stream drops a second message of this id: a result counts once however often it is sent.
        headers.insert("Nats-Msg-Id", format!("{run}/{}/0", self.name));
        let subject = protocol::results(run, &self.name);
        let ack = jetstream.publish_with_headers(subject, headers, result.message(behind)).await;
        let ack = ack.map_err(|error| error.to_string())?;
        ack.await.map(drop).map_err(|error| error.to_string())
    }
}

/// Ends a load on this worker's own account, in order; returns the reason.
fn end(load: &RunningLoad, why: &'static str) -> Option<&'static str> {
    say(why);
    load.interrupt();
    Some(why)
}

fn refused(why: String) -> Failure {
    Failure::new(Exit::Usage, why)
}

/// A part of a run that this worker has accepted.
#[derive(Debug)]
struct Part {
    plan: RunPlan,
    digest: String,
    extra: Vec<String>,
    offset: Offset,
    /// Time from the start after which the load is ended.
    longest: Duration,
}

/// This worker's entry in the bucket.
#[derive(Debug)]
struct State {
    bucket: Store,
    key: String,
    revision: u64,
}

impl State {
    /// Replaces the entry, if it is still the one that this worker wrote.
    async fn set(&mut self, state: &WorkerState) {
        let update = self.bucket.update(&self.key, encode(state), self.revision);
        if let Ok(Ok(revision)) = timeout(Duration::from_secs(5), update).await {
            self.revision = revision;
        }
    }
}

/// The latest frame of one run.
#[derive(Clone, Debug, Default)]
struct Frames(Arc<Mutex<Frame>>);

impl Frames {
    fn latest(&self) -> std::sync::MutexGuard<'_, Frame> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(&self, second: &load::Second) {
        let mut frame = self.latest();
        *frame = Frame {
            sequence: frame.sequence,
            second: Some(second.second),
            completed: second.completed,
            failed: second.failed,
            p99_us: second.p99_us,
            open: second.open,
        };
    }

    /// Sends a frame each second: the heartbeat.
    async fn beat(self, link: &Link, subject: String) -> std::convert::Infallible {
        let mut ticks = interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A frame that waits for a server that is gone would be late anyway.
            if link.is_connected() {
                let frame = encode(&*self.latest());
                let publish = link.client.publish(subject.clone(), frame);
                let _ = timeout(Duration::from_millis(500), publish).await;
            }
            self.latest().sequence += 1;
        }
    }
}
