//! `keepwarm load`: puts a load on one URL, and accounts for every connection.
//!
//! Owns the order: plan, warm-up, watch, run, record, show, exit code. The engine runs the plan,
//! `fill` and `hop_record` make the record, `show` makes its text, `ending` the exit code.

mod ending;
mod fill;
mod hop_record;
mod hops;
mod live;
mod speaks_tls;

pub(crate) use ending::judge;
pub(crate) use hop_record::Cause;
pub(crate) use hops::Hops;

use std::time::{Duration, SystemTime};

use keepwarm_load::{ClosePolicy, Plan, PlanBuilder, PlanError, Run};
use keepwarm_record::load::{LoadRecord, Schedule};

use crate::args::engine::Spread;
use crate::args::{LoadFormat, LoadOptions};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::output_file::Output;
use crate::{interrupt, limits, output, show};

/// Duration of a load without -n and -z: long enough for a trustworthy p99 and for intervals.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Interval at which a running load is checked and its progress is drawn.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &LoadOptions) -> Result<(), Failure> {
    limits::make_room(options.concurrency.into(), "ask for fewer connections with -c")?;
    let plan = plan(options)?;
    refuse_unjudgeable(options)?;
    let output = Output::create(options.output.as_deref())?;
    // The first signal ends the load in order, the second one at once; both leave the account.
    interrupt::watch(3)?;
    warm_up(options)?;
    let hops = Hops::start(&options.watch)?;
    let record = drive(plan, "load", &hops, || Ok(()))?;
    let hops = hops.finish(&Cause::of(&record), speaks_tls::speaks_tls)?;
    let mut record = record.with_hops(hops);
    record.settings.schedule = schedule(options, &record);
    record.judge(&options.assertions);
    // The record's URL, or the place that a redirect names, may hold a token.
    let is_private = [Some(&record.settings.url), record.location.as_ref()]
        .into_iter()
        .flatten()
        .any(|url| url.contains(['?', '@']));
    let kept = output.write(&record, is_private);
    let printed = match options.format {
        LoadFormat::Json if output.is_stdout() => Ok(()),
        LoadFormat::Text => {
            output.print_text(|colour, columns| show::load::render(&record, colour, columns))
        }
        LoadFormat::Ab => output.print_text(|_, _| show::ab::render(&record)),
        format => print(&record, format),
    };
    // The report is out before the first failure ends the command.
    kept?;
    printed?;
    ending::judge(&record, interrupted())
}

/// Refuses assertions that this run could not judge, before it takes its time.
fn refuse_unjudgeable(options: &LoadOptions) -> Result<(), Failure> {
    let is_open = options.engine.rate.is_some() || !options.engine.stages.is_empty();
    for assertion in &options.assertions {
        let mut parts = assertion.name().as_str().split('.');
        let why = match (parts.next(), parts.next()) {
            (Some("hop"), Some(port)) => {
                let watched = options.watch.iter().any(|watched| port.parse() == Ok(*watched));
                (!watched).then(|| format!("port {port} was not watched: give --watch {port}"))
            }
            (Some("response" | "lag"), _) if !is_open => {
                Some("a closed loop has no instants to count from: give --rate".to_owned())
            }
            _ => None,
        };
        if let Some(why) = why {
            let message = format!("--assert {assertion}: it is not available here: {why}");
            return Err(Failure::new(Exit::Assertion, message));
        }
    }
    Ok(())
}

/// The failure of a run that a signal has ended.
fn interrupted() -> Option<Failure> {
    interrupt::happened().then(interrupt::failure)
}

/// Loads the server without counting. RST ends the connections, so that no connection and no
/// TIME_WAIT of the warm-up is left when counting begins.
fn warm_up(options: &LoadOptions) -> Result<(), Failure> {
    let Some(duration) = options.engine.warm_up else {
        return Ok(());
    };
    let plan = builder(options)?.without_count().duration(duration);
    let plan = plan.close_policy(ClosePolicy::Reset).build().map_err(|error| refused(&error))?;
    let record = drive(plan, "warm-up", &Hops::start(&[])?, || Ok(()))?;
    ending::judge_warm_up(&record, interrupted())
}

/// Prints a run, new or from a file.
pub(crate) fn print(record: &LoadRecord, format: LoadFormat) -> Result<(), Failure> {
    match format {
        LoadFormat::Text => {
            output::print(&show::load::render(record, output::colour(), output::columns()))
        }
        LoadFormat::Json => output::print_with(|to| output::write_json(record, to)),
        LoadFormat::Ab => output::print(&show::ab::render(record)),
    }
}

/// Runs a plan to its end, or until interrupted, and shows its progress on stderr.
///
/// `check` is called at each tick; its failure ends the run, and is returned.
pub(crate) fn drive(
    plan: Plan,
    name: &str,
    hops: &Hops,
    mut check: impl FnMut() -> Result<(), Failure>,
) -> Result<LoadRecord, Failure> {
    let started = SystemTime::now();
    let run = Run::start(plan.clone()).map_err(|error| match error.raw_os_error() {
        Some(code) if limits::is_file_table_full(code) => {
            Failure::new(Exit::FileTable, format!("the file table is full: {error}"))
        }
        _ => Failure::new(Exit::Failed, format!("cannot start the load: {error}")),
    })?;
    let stop = run.stop();
    let mut progress = Progress::new();
    let mut verdict = Ok(());
    while !run.is_finished() {
        std::thread::sleep(TICK);
        if verdict.is_ok() {
            verdict = check();
        }
        match interrupt::count() {
            0 if verdict.is_ok() => {}
            1 if verdict.is_ok() => stop.stop(),
            _ => stop.abort(),
        }
        progress.update(&live::line(name, &run, hops));
    }
    progress.clear();
    let summary = run.wait();
    verdict.map(|()| fill::record(&plan, &summary, started))
}

/// Returns the schedule as it was asked for; the plan keeps only its instants.
fn schedule(options: &LoadOptions, record: &LoadRecord) -> Option<Schedule> {
    let engine = &options.engine;
    let poisson = engine.arrivals == Spread::Poisson;
    let stages = engine.stages.iter().map(|stage| (stage.duration.as_secs_f64(), stage.rate));
    record.settings.open_loop.then(|| Schedule {
        rate: engine.rate,
        stages: stages.collect(),
        seed: poisson.then_some(engine.seed),
    })
}

fn plan(options: &LoadOptions) -> Result<Plan, Failure> {
    builder(options)?.build().map_err(|error| refused(&error))
}

fn builder(options: &LoadOptions) -> Result<PlanBuilder, Failure> {
    let mut builder = Plan::builder(options.url.as_str())
        .concurrency(options.concurrency as usize)
        .keep_alive(!options.close)
        .timeout(options.timeout);
    match (options.requests, options.duration) {
        (Some(requests), _) => builder = builder.requests(requests),
        (None, None) if !options.engine.ends_by_itself() => {
            builder = builder.duration(DEFAULT_DURATION);
        }
        (None, _) => {}
    }
    if let Some(duration) = options.duration {
        builder = builder.duration(duration);
    }
    if let Some(threads) = options.threads {
        builder = builder.threads(threads as usize);
    }
    if let Some(method) = &options.method {
        builder = builder.method(method.as_str());
    }
    for (name, value) in &options.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    if let Some(body) = body(options)? {
        builder = builder.body(body);
    }
    options.engine.apply(builder)
}

fn body(options: &LoadOptions) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &options.body_file else {
        return Ok(options.body.as_ref().map(|body| body.clone().into_bytes()));
    };
    let read = keepwarm_load::read_file(path);
    let failed =
        |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    Ok(Some(read.map_err(failed)?))
}

pub(crate) fn refused(error: &PlanError) -> Failure {
    let exit = if error.is_unresolved() { Exit::Unreachable } else { Exit::Usage };
    let option = match error.setting() {
        "url" => "url".to_owned(),
        "tls_roots" => "--ca-cert".to_owned(),
        "tls_identity" => "--cert and --key".to_owned(),
        "tls_server_name" => "--sni".to_owned(),
        "tls_insecure" => "--insecure".to_owned(),
        "tls_resumption" => "--no-resumption".to_owned(),
        "templates" => "--template".to_owned(),
        setting => format!("--{}", setting.replace('_', "-")),
    };
    let (value, reason, way_out) = (error.value(), error.reason(), error.way_out());
    Failure::new(exit, format!("{option} {value:?}: {reason}; {way_out}"))
}
