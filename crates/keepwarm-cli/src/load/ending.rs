//! The exit code of a load, from its record: of a run that has just ended, and of a run from a
//! file.

use keepwarm_record::assertion;
use keepwarm_record::load::{LoadRecord, Trust};

use crate::exit::{Exit, Failure};
use crate::show::numbers::thousands;

/// Fails for the first reason that applies. `interrupted` is the failure of a run that a signal has
/// just ended; it comes before all that the signal may have caused.
pub(crate) fn judge(record: &LoadRecord, interrupted: Option<Failure>) -> Result<(), Failure> {
    judge_connecting(record)?;
    interrupted.map_or(Ok(()), Err)?;
    judge_measurement(record)?;
    judge_assertions(record)?;
    judge_outcome(record)
}

/// Fails if connections could not be opened, or the measurement is not valid.
pub(super) fn judge_warm_up(
    record: &LoadRecord,
    interrupted: Option<Failure>,
) -> Result<(), Failure> {
    judge_connecting(record)?;
    interrupted.map_or(Ok(()), Err)?;
    judge_measurement(record)
}

fn judge_connecting(record: &LoadRecord) -> Result<(), Failure> {
    let of_table = ["EMFILE", "ENFILE"].map(|errno| record.connections.failed.get(errno));
    let full: u64 = of_table.into_iter().flatten().sum();
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
    if record.is_unreachable() {
        let why = record.errors.first().map(|error| error.example.clone());
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "{} cannot be reached: {}",
                record.settings.url,
                why.unwrap_or_else(|| "no connection could be opened".to_owned())
            ),
        ));
    }
    Ok(())
}

fn judge_measurement(record: &LoadRecord) -> Result<(), Failure> {
    if record.verdict.trust == Trust::Invalid {
        let why = record.verdict.reasons.join("; ");
        return Err(Failure::new(Exit::Invalid, format!("the measurement is invalid: {why}")));
    }
    // A verdict from a file may be older than an edit of its numbers.
    record.imbalance().map_or(Ok(()), |sum| {
        Err(Failure::new(Exit::Invalid, format!("the record contradicts itself: {sum}")))
    })
}

/// Fails if a condition has aborted the run, or an assertion does not hold, or could not be judged.
fn judge_assertions(record: &LoadRecord) -> Result<(), Failure> {
    if let Some(why) = &record.aborted {
        return Err(Failure::new(Exit::Assertion, format!("the run was aborted: {why}")));
    }
    let failures = assertion::failures(&record.assertions);
    failures.map_or(Ok(()), |why| Err(Failure::new(Exit::Assertion, why)))
}

/// Fails if no request was answered with 2xx or 3xx, nor as `--expect` has the status, although every
/// assertion holds.
fn judge_outcome(record: &LoadRecord) -> Result<(), Failure> {
    if record.wanted() > 0 || record.requests.scheduled == 0 {
        return Ok(());
    }
    if record.ended() == 0 {
        let due = thousands(record.requests.scheduled);
        let message = format!("not one of {due} requests was begun: is the run long enough?");
        return Err(Failure::new(Exit::Failed, message));
    }
    if record.requests.completed > 0 {
        let all = record.answers();
        let answers: Vec<String> = all.iter().map(|one| one.describe(record.ended())).collect();
        let answers = answers.join(", ");
        let message = format!(
            "not one of {} requests was answered with 2xx or 3xx ({answers}): is the path of the \
             URL right?",
            thousands(record.ended())
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    let most = record.errors.iter().max_by_key(|error| error.count);
    let why = most.map(|error| error.example.as_str()).unwrap_or_default();
    let failed = thousands(record.requests.failed);
    let message = format!("not one request completed, and {failed} failed: {why}");
    Err(Failure::new(Exit::Failed, message))
}
