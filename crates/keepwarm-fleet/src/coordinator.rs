//! The coordinator: gathers workers, lets them begin at one instant, watches them, merges their
//! records.
//!
//! Owns the course of a run. Percentiles and assertions are those of the merged record alone; a lost
//! worker makes the run invalid, because the load was not the one that was declared.

mod course;
mod outcome;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::{object_store, stream};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::args::RunOptions;
use crate::clock::monotonic_ns;
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::load::{self, Description};
use crate::local::Local;
use crate::protocol::{self, Answer, PROTOCOL, RunPlan, StopKind, WorkerState, decode, encode};
use crate::{keys, look, say, signals};
use course::Course;

/// How long bucket, stream and store of a run stay at the server if its coordinator does not remove them.
const KEPT: Duration = Duration::from_secs(3600);

/// How long a plan may be taken up.
const EXPIRES: Duration = Duration::from_secs(120);

/// Time that workers have to join once they are called.
const JOINING: Duration = Duration::from_secs(30);

/// From the last join to the start, without a warm-up.
const LEAD: Duration = Duration::from_secs(2);

/// Workers that join at a time. Each then measures its clock against the coordinator's by round trips. More
/// workers at once would wait longer for each answer, and longer round trips make the clock less certain.
const AT_ONCE: usize = 16;

/// The most bytes of all results of a run at the server.
const MAX_RESULTS: i64 = 1 << 30;

/// Consumers of a run's bucket: two a worker, for the start and the stop, and what a coordinator asks
/// beside them. A server from 2.15 on allows 1,000 where nothing is said.
const MAX_CONSUMERS: i32 = 3 * protocol::MAX_WORKERS as i32;

/// The greatest uncertainty of a worker's clock; a twentieth of the load, if that is more.
const MAX_CLOCK_ERROR: Duration = Duration::from_millis(5);

/// Coordinates one run; returns the exit code.
pub(crate) async fn run(mut options: RunOptions) -> Result<u8, Failure> {
    let signals = signals::count()?;
    let (arguments, assertions) = split_assertions(&options.load);
    let description = load::check(&arguments, &[]).await?;
    let task = Task { arguments, assertions, description, signals };
    let Some(count) = options.local else { return coordinate(&options, &task).await };
    let local = Local::start(count, &task.description.addresses).await?;
    options.server = local.server.clone();
    options.workers = count;
    let result = coordinate(&options, &task).await;
    local.end().await;
    result
}

/// A load to carry out, and the signals that end it.
#[derive(Debug)]
pub(crate) struct Task {
    arguments: Vec<String>,
    assertions: Vec<String>,
    description: Description,
    signals: watch::Receiver<u32>,
}

impl Task {
    /// Returns the time from the last join to the start: each worker warms up before it.
    fn lead(&self) -> Duration {
        LEAD + Duration::try_from_secs_f64(self.description.warm_up_s).unwrap_or_default()
    }

    /// Does `work`, unless a signal comes before it is done.
    async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut signals = self.signals.clone();
        tokio::select! {
            biased;
            Ok(_) = signals.wait_for(|count| *count > 0) => {
                Err(Failure::new(Exit::Interrupted, "interrupted before the start"))
            }
            done = work => done,
        }
    }
}

/// Takes `--assert` out of the arguments of a load: assertions are judged by the merged record.
fn split_assertions(load: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut arguments, mut assertions) = (Vec::new(), Vec::new());
    let mut rest = load.iter();
    while let Some(argument) = rest.next() {
        if argument == "--assert" {
            assertions.extend(rest.next().cloned());
        } else if let Some(assertion) = argument.strip_prefix("--assert=") {
            assertions.push(assertion.to_owned());
        } else {
            arguments.push(argument.clone());
        }
    }
    (arguments, assertions)
}

async fn coordinate(options: &RunOptions, task: &Task) -> Result<u8, Failure> {
    let link = Link::open(&options.server, "keepwarm coordinator").await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run =
        options.run.clone().unwrap_or_else(|| format!("{}-{}", now.as_secs(), std::process::id()));
    let workers = task.unless_interrupted(gather(&link, options)).await?;
    let plan = RunPlan {
        run: run.clone(),
        protocol: PROTOCOL,
        version: load::version().await?,
        arguments: task.arguments.clone(),
        workers: workers.clone(),
        expires_unix_s: (now + options.wait + EXPIRES).as_secs(),
    };
    let places = Places::make(&link, &plan).await?;
    let result = follow(&link, &places, &plan, options, task).await;
    if result.is_err() {
        let stop = places.bucket.create("stop", encode(&StopKind::Abort));
        let _ = tokio::time::timeout(Duration::from_secs(2), stop).await;
        // Workers read it before the bucket is gone.
        sleep(Duration::from_millis(300)).await;
    }
    let removal = places.remove(&link);
    let _ = tokio::time::timeout(Duration::from_secs(5), removal).await;
    result
}

/// From the call of the workers to the report.
async fn follow(
    link: &Link,
    places: &Places,
    plan: &RunPlan,
    options: &RunOptions,
    task: &Task,
) -> Result<u8, Failure> {
    let joined = task.unless_interrupted(join(link, places, plan, &task.description)).await?;
    let mut course = Course::new(link, places, plan, options, task, joined).await?;
    course.start().await?;
    let finished = course.watch().await?;
    outcome::show(finished, places, plan, options, &task.assertions).await
}

/// Waits for enough free workers, and returns their names in order.
async fn gather(link: &Link, options: &RunOptions) -> Result<Vec<String>, Failure> {
    let wanted = usize::from(options.workers);
    let deadline = Instant::now() + options.wait;
    loop {
        let window = Duration::from_secs(1).min(deadline - Instant::now());
        let workers = look::ask(link, window, wanted).await?;
        let others = workers.values().find(|worker| worker.protocol != PROTOCOL);
        let free = workers.values().filter(|worker| worker.busy.is_none());
        let free: Vec<String> =
            free.filter(|one| one.protocol == PROTOCOL).map(|one| one.worker.clone()).collect();
        if free.len() >= wanted {
            return Ok(free.into_iter().take(wanted).collect());
        }
        if Instant::now() >= deadline {
            if workers.is_empty() {
                return Err(look::no_worker(link));
            }
            let busy = workers.values().filter(|worker| worker.busy.is_some()).count();
            let mut message = format!(
                "{} of {wanted} workers are free, {busy} are busy; start more, or ask for fewer by \
                 --workers",
                free.len()
            );
            if let Some(other) = others {
                message += &format!("; {} is {}, of another protocol", other.worker, other.version);
            }
            return Err(Failure::new(Exit::Unreachable, message));
        }
    }
}

/// The bucket, the stream and the store of one run.
pub(crate) struct Places {
    run: String,
    /// Digest of the plan that every worker has to have accepted.
    digest: String,
    pub(crate) bucket: Store,
    pub(crate) results: stream::Stream,
    pub(crate) records: object_store::ObjectStore,
}

impl Places {
    /// Makes the places, and creates the plan: a second coordinator of the run is refused by that.
    async fn make(link: &Link, plan: &RunPlan) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| link.failed(what, &error);
        let run = &plan.run;
        let bucket = protocol::bucket(run);
        // A bucket is a stream with these settings. The library's own way to make one first asks for the
        // account, and cannot read a server 2.9's answer.
        let stream = stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            max_age: KEPT,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            max_consumers: MAX_CONSUMERS,
            ..stream::Config::default()
        };
        let made = link.jetstream.create_stream(stream).await;
        made.map_err(|error| failed("cannot make the run's bucket", &error))?;
        let bucket = link.jetstream.get_key_value(bucket).await;
        let bucket = bucket.map_err(|error| failed("cannot open the run's bucket", &error))?;
        let signed = keys::sign(plan, link.seed.as_deref())?;
        bucket.create("plan", encode(&signed)).await.map_err(|error| match error.kind() {
            kv::CreateErrorKind::AlreadyExists => Failure::new(
                Exit::Usage,
                format!("run {run} has a coordinator already; give another name by --run"),
            ),
            _ => failed("cannot create the plan", &error),
        })?;
        let results = stream::Config {
            name: protocol::results_stream(run),
            subjects: vec![protocol::results(run, "*")],
            max_age: KEPT,
            max_bytes: MAX_RESULTS,
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        };
        let results = link.jetstream.create_stream(results).await;
        let results = results.map_err(|error| failed("cannot make the run's stream", &error))?;
        let records = object_store::Config {
            bucket: protocol::records(run),
            max_age: KEPT,
            ..object_store::Config::default()
        };
        let records = link.jetstream.create_object_store(records).await;
        let records = records.map_err(|error| failed("cannot make the run's store", &error))?;
        Ok(Self { run: run.clone(), digest: keys::digest(&signed), bucket, results, records })
    }

    async fn remove(&self, link: &Link) {
        let _ = link.jetstream.delete_key_value(protocol::bucket(&self.run)).await;
        let _ = link.jetstream.delete_stream(protocol::results_stream(&self.run)).await;
        let _ = link.jetstream.delete_object_store(protocol::records(&self.run)).await;
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The store of objects has no Debug.
        f.debug_struct("Places").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Joined workers: the greatest uncertainty of a clock, and the cores of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    pub(crate) clock_error: Duration,
    pub(crate) cores: u64,
}

/// Calls the workers, answers their questions for the clock, and waits until all have joined.
async fn join(
    link: &Link,
    places: &Places,
    plan: &RunPlan,
    description: &Description,
) -> Result<Joined, Failure> {
    let failed = |error: &dyn std::fmt::Display| link.failed("cannot call the workers", &error);
    let states = places.bucket.watch_with_history("worker.*").await;
    let mut states = states.map_err(|error| failed(&error))?;
    answer_clocks(link, plan).await?;
    let mut joined = Joined { clock_error: Duration::ZERO, cores: 0 };
    let mut uncalled = plan.workers.iter();
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    let mut deadline = Instant::now() + JOINING;
    loop {
        while missing.len() < AT_ONCE
            && let Some(worker) = uncalled.next()
        {
            call(link, plan, worker).await?;
            missing.insert(worker);
        }
        if missing.is_empty() {
            break;
        }
        let Ok(Some(Ok(entry))) = timeout_at(deadline, states.next()).await else {
            let names: Vec<&str> = missing.into_iter().collect();
            let message = format!("not joined within {JOINING:?}: {}", names.join(", "));
            return Err(Failure::new(Exit::Unreachable, message));
        };
        let name = entry.key.trim_start_matches("worker.");
        match decode(&entry.value, "the state of a worker")? {
            WorkerState::Failed { message, exit } => {
                let exit = if exit == 8 { Exit::Child } else { Exit::Usage };
                return Err(Failure::new(exit, format!("worker {name} refuses: {message}")));
            }
            WorkerState::Joined { clock_error_ns, cores, plan_digest, .. } => {
                if plan_digest != places.digest {
                    let message = format!(
                        "worker {name} has accepted another plan: its digest is {plan_digest}, not {}",
                        places.digest
                    );
                    return Err(Failure::new(Exit::Usage, message));
                }
                joined.clock_error = joined.clock_error.max(Duration::from_nanos(clock_error_ns));
                joined.cores += cores;
                missing.remove(name);
                deadline = Instant::now() + JOINING;
            }
            WorkerState::Running { .. } | WorkerState::Final => {}
        }
    }
    refuse_uncertain(joined.clock_error, description)?;
    say(&format!(
        "run {}: {} of {} workers joined ({} cores), plans agree, clocks within {:.1} ms, start in {:.0} s",
        plan.run,
        plan.workers.len(),
        plan.workers.len(),
        joined.cores,
        joined.clock_error.as_secs_f64() * 1e3,
        LEAD.as_secs_f64() + description.warm_up_s
    ));
    Ok(joined)
}

/// Answers the workers' questions for the coordinator's clock, until the end of the process.
async fn answer_clocks(link: &Link, plan: &RunPlan) -> Result<(), Failure> {
    let clock = link.client.subscribe(protocol::clock(&plan.run)).await;
    let mut clock = clock.map_err(|error| link.failed("cannot answer for the clock", &error))?;
    let client = link.client.clone();
    tokio::spawn(async move {
        while let Some(question) = clock.next().await {
            if let Some(reply) = question.reply {
                let _ = client.publish(reply, encode(&monotonic_ns())).await;
            }
        }
    });
    Ok(())
}

/// Calls one worker.
async fn call(link: &Link, plan: &RunPlan, worker: &str) -> Result<(), Failure> {
    let reply = link.client.request(protocol::call(worker), plan.run.clone().into()).await;
    let reply = reply.map_err(|error| {
        Failure::new(Exit::Unreachable, format!("worker {worker} does not answer: {error}"))
    })?;
    match decode(&reply.payload, "the answer of a worker")? {
        Answer::Joining => Ok(()),
        Answer::Refused(why) => Err(Failure::new(Exit::Unreachable, why)),
    }
}

/// Refuses a start whose instant the workers' clocks cannot agree on.
fn refuse_uncertain(clock_error: Duration, description: &Description) -> Result<(), Failure> {
    let twentieth = description.duration_s.unwrap_or(0.0) / 20.0;
    let most = MAX_CLOCK_ERROR.max(Duration::try_from_secs_f64(twentieth).unwrap_or_default());
    if clock_error <= most {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Invalid,
        format!(
            "clocks are uncertain by {:.1} ms, more than {:.1} ms: the network to the server is too \
             slow for a common start; use a server nearer to all, or a longer load",
            clock_error.as_secs_f64() * 1e3,
            most.as_secs_f64() * 1e3
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_leave_the_workers_arguments() {
        let load = ["-n", "9", "--assert", "p99<1s", "--assert=rps>1", "http://host/"];
        let load: Vec<String> = load.map(str::to_owned).into();
        let (arguments, assertions) = split_assertions(&load);
        assert_eq!(arguments, ["-n", "9", "http://host/"]);
        assert_eq!(assertions, ["p99<1s", "rps>1"]);
    }
}
