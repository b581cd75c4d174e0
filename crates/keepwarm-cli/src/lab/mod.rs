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
use crate::output_file::OutputFile;
use crate::show::numbers::thousands;
use crate::{interrupt, limits, output, show};
use play::Stage;

pub(crate) fn run(options: &LabOptions) -> Result<(), Failure> {
    // The front holds a connection to the load and one to the data service for each request.
    limits::make_room(2 * u64::from(options.concurrency), "ask for less at once with -c")?;
    let file = options.output.as_deref().map(OutputFile::create).transpose()?;
    interrupt::watch(2)?;
    let stage = Stage::new(options)?;
    let mut progress = Progress::new();
    let mut runs = Vec::new();
    for (index, policy) in policies(options).into_iter().enumerate() {
        let run = stage.play(policy)?;
        progress.note(&format!(
            "{}. {policy}: {} requests/s, {} upstream connections",
            index + 1,
            thousands(run.load.requests_per_second.round() as u64),
            thousands(run.upstream.opened),
        ));
        runs.push(run);
    }
    let record = LabRecord::new(runs);
    if let Some(file) = file {
        file.write(|to| output::write_json(&record, to))?;
    }
    match options.format {
        LabFormat::Json => output::print_with(|to| output::write_json(&record, to)),
        LabFormat::Text => output::print(&show::lab::render(&record, output::colour())),
    }?;
    judge(&record)
}

/// Returns the policies that were asked for, each once; all by default.
fn policies(options: &LabOptions) -> Vec<Policy> {
    let mut policies = Vec::new();
    for policy in if options.policies.is_empty() { &Policy::ALL[..] } else { &options.policies } {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// Fails if the numbers of a run contradict each other.
pub(crate) fn judge(record: &LabRecord) -> Result<(), Failure> {
    let invalid = |run: &&LabRun| !run.doubts.is_empty();
    let Some(run) = record.runs.iter().find(invalid) else { return Ok(()) };
    let why = run.doubts.join("; ");
    Err(Failure::new(Exit::Invalid, format!("the measurement of {} is invalid: {why}", run.policy)))
}
