//! `keepwarm lab`: plays the whole experiment, one policy after the other.
//!
//! Owns the order of the runs and the exit code. `play` runs one policy, the record crate makes the
//! record, `show` its text.

mod child;
mod play;

use keepwarm_lab::Policy;
use keepwarm_record::lab::{LabRecord, LabRun};

use crate::args::{LabFormat, LabOptions};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::output_file::Output;
use crate::show::numbers::thousands;
use crate::{interrupt, limits, output, show};
use play::Stage;

pub(crate) fn run(options: &LabOptions) -> Result<(), Failure> {
    refuse(options)?;
    // The front holds a connection to the load and one to the data service for each request.
    limits::make_room(2 * u64::from(options.concurrency), "ask for less at once with -c")?;
    let output = Output::create(options.output.as_deref())?;
    interrupt::watch(2)?;
    let stage = Stage::new(options)?;
    let (runs, failure) = play(&stage, options);
    let failure = failure.map_or(Ok(()), Err);
    if runs.is_empty() {
        // The file was to have a measurement, and there is none.
        return failure;
    }
    let record = LabRecord::new(options.upstream_timeout.as_secs_f64(), runs);
    let kept = output.write(&record, false);
    let printed = match options.format {
        LabFormat::Json if !output.is_stdout() => {
            output::print_with(|to| output::write_json(&record, to))
        }
        LabFormat::Json => Ok(()),
        LabFormat::Text => {
            output.print_text(|colour, columns| show::lab::render(&record, colour, columns))
        }
    };
    // Each report is out before the first failure ends the command.
    failure?;
    kept?;
    printed?;
    judge(&record)
}

/// Refuses one port for both services, and a policy that is given twice.
fn refuse(options: &LabOptions) -> Result<(), Failure> {
    let usage = |message: String| Err(Failure::new(Exit::Usage, message));
    for (index, policy) in options.policies.iter().enumerate() {
        if options.policies[..index].contains(policy) {
            return usage(format!("--policy {policy}: it is given twice; each is played once"));
        }
    }
    if let (Some(data), Some(front)) = (options.data_port, options.front_port)
        && data == front
    {
        return usage(format!("--front-port {front}: it is the --data-port too; choose another"));
    }
    Ok(())
}

/// Plays the policies until all are played, or one fails. The runs before a failure are kept.
fn play(stage: &Stage, options: &LabOptions) -> (Vec<LabRun>, Option<Failure>) {
    let mut progress = Progress::new();
    let mut runs = Vec::new();
    for (index, policy) in policies(options).into_iter().enumerate() {
        let run = match stage.play(policy) {
            Ok(run) => run,
            Err(failure) => return (runs, Some(failure)),
        };
        let errors = match run.load.failed + run.load.http_errors {
            0 => String::new(),
            errors => format!(", {} errors", thousands(errors)),
        };
        progress.note(&format!(
            "{}. {policy}: {} requests/s{errors}, {} upstream connections",
            index + 1,
            thousands(run.load.requests_per_second.round() as u64),
            thousands(run.upstream.opened),
        ));
        runs.push(run);
    }
    (runs, None)
}

/// Returns the policies that were asked for, each once; those of the story by default.
fn policies(options: &LabOptions) -> Vec<Policy> {
    let mut policies = Vec::new();
    for policy in if options.policies.is_empty() { &Policy::STORY[..] } else { &options.policies } {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// Fails if the numbers of a run contradict each other, or say nothing of its policy.
pub(crate) fn judge(record: &LabRecord) -> Result<(), Failure> {
    for run in &record.runs {
        let mut doubts = run.doubts.clone();
        doubts.extend(run.load.record.imbalance().filter(|sum| !run.doubts.contains(sum)));
        if !doubts.is_empty() {
            let why = doubts.join("; ");
            let message = format!("the measurement of {} is invalid: {why}", run.policy);
            return Err(Failure::new(Exit::Invalid, message));
        }
        if run.means_nothing() {
            let why = record.cause_of_errors(run).unwrap_or_default();
            let message = format!("{} was not measured: {why}", run.policy);
            return Err(Failure::new(Exit::Invalid, message));
        }
    }
    Ok(())
}
