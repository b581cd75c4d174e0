//! `keepwarm load`: one URL, one load, one account.

mod ab;
mod record;
mod text;

pub(crate) use record::Latency;
pub(crate) use text::millis;

use std::time::Duration;

use keepwarm_load::{Plan, PlanError, Progress as Sample, Run, Summary};

use crate::args::{LoadFormat, LoadOptions};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::{interrupt, limits, output};
use keepwarm_diagnose::thousands;

/// ab's own default is 1; a load that says something takes more.
const DEFAULT_REQUESTS: u64 = 200;

/// How often a running load is looked at.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &LoadOptions) -> Result<(), Failure> {
    limits::make_room(options.concurrency.into(), "ask for fewer connections with -c")?;
    let plan = plan(options)?;
    interrupt::watch()?;
    let report = drive(plan.clone(), "load", || Ok(()))?;
    let text = match options.format {
        LoadFormat::Text => text::render(&plan, &report, output::colour()),
        LoadFormat::Json => record::to_json(&plan, &report)?,
        LoadFormat::Ab => ab::render(&plan, &report),
    };
    output::print(&text)?;
    judge(&plan, &report)
}

/// Runs a plan to its end, or until interrupted, telling stderr how far it is.
///
/// `check` is asked all along whether to go on; its failure ends the run, and is returned.
pub(crate) fn drive(
    plan: Plan,
    name: &str,
    mut check: impl FnMut() -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let wanted = plan.requests();
    let duration = plan.duration();
    let run = Run::start(plan).map_err(|error| match error.raw_os_error() {
        Some(code) if limits::is_file_table_full(code) => {
            Failure::new(Exit::FileTable, format!("the file table is full: {error}"))
        }
        _ => Failure::new(Exit::Failed, format!("cannot start the load: {error}")),
    })?;
    let stop = run.stop();
    let mut progress = Progress::new();
    let mut verdict = Ok(());
    while !run.is_finished() {
        std::thread::sleep(GLANCE);
        if verdict.is_ok() {
            verdict = check();
        }
        if verdict.is_err() || interrupt::happened() {
            stop.stop();
        }
        progress.update(&describe(name, &run.progress(), wanted, duration));
    }
    progress.clear();
    let summary = run.wait();
    verdict.map(|()| summary)
}

fn describe(name: &str, now: &Sample, wanted: Option<u64>, duration: Option<Duration>) -> String {
    let done = thousands(now.completed + now.failed);
    let of = match (wanted, duration) {
        (Some(wanted), _) => format!("{done} of {} requests", thousands(wanted)),
        (None, Some(duration)) => {
            format!(
                "{done} requests, {:.0} of {:.0} s",
                now.elapsed.as_secs_f64(),
                duration.as_secs_f64()
            )
        }
        (None, None) => format!("{done} requests"),
    };
    let failed =
        if now.failed > 0 { format!(", {} failed", thousands(now.failed)) } else { String::new() };
    format!("{name}  {of}{failed}  {} connections", thousands(now.open_connections))
}

fn plan(options: &LoadOptions) -> Result<Plan, Failure> {
    let mut builder = Plan::builder(options.url.as_str())
        .concurrency(options.concurrency as usize)
        .keep_alive(!options.close)
        .method(options.method.as_str())
        .timeout(options.timeout);
    match (options.requests, options.duration) {
        (Some(requests), _) => builder = builder.requests(requests),
        (None, None) => builder = builder.requests(DEFAULT_REQUESTS),
        (None, Some(_)) => {}
    }
    if let Some(duration) = options.duration {
        builder = builder.duration(duration);
    }
    if let Some(threads) = options.threads {
        builder = builder.threads(threads as usize);
    }
    for (name, value) in &options.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    if let Some(body) = body(options)? {
        builder = builder.body(body);
    }
    builder.build().map_err(|error| refused(&error))
}

fn body(options: &LoadOptions) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &options.body_file else {
        return Ok(options.body.as_ref().map(|body| body.clone().into_bytes()));
    };
    let read = std::fs::read(path);
    let failed =
        |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    Ok(Some(read.map_err(failed)?))
}

pub(crate) fn refused(error: &PlanError) -> Failure {
    let exit = if error.is_unresolved() { Exit::Unreachable } else { Exit::Usage };
    Failure::new(exit, error.to_string())
}

/// What the numbers mean for the exit code, worst first.
fn judge(plan: &Plan, summary: &Summary) -> Result<(), Failure> {
    if let Err(imbalance) = summary.ledger.check() {
        return Err(Failure::new(Exit::Invalid, imbalance.to_string()));
    }
    let full: u64 = summary
        .ledger
        .connect_failed
        .iter()
        .filter(|(errno, _)| limits::is_file_table_full(errno.raw()))
        .map(|(_, count)| count)
        .sum();
    if full > 0 {
        return Err(Failure::new(
            Exit::FileTable,
            format!(
                "the file table was full: {} connects failed for want of a descriptor; raise the \
                 limit with `ulimit -n`, or ask for fewer connections with -c",
                thousands(full)
            ),
        ));
    }
    if summary.is_unreachable() {
        let why = summary.errors.iter().next().map(|(_, error)| error.example.clone());
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "{} cannot be reached: {}",
                plan.url(),
                why.unwrap_or_else(|| "no connection could be opened".to_owned())
            ),
        ));
    }
    if interrupt::happened() {
        return Err(interrupt::failure());
    }
    Ok(())
}
