//! The end of a run: the merged record, its file, its text, and the exit code. `keepwarm report` shows
//! and judges the record, so that a fleet's result reads as any other.

use std::path::{Path, PathBuf};

use keepwarm_record::load::{LoadRecord, merge};
use tokio::process::Command;

use super::course::Finished;
use crate::args::{Format, RunOptions};
use crate::exit::{Exit, Failure};
use crate::protocol::RunPlan;
use crate::{load, print, say};

/// Writes and shows the merged record. Returns the exit code of the run.
pub(super) async fn show(
    finished: &Finished,
    plan: &RunPlan,
    options: &RunOptions,
    assertions: &[String],
) -> Result<u8, Failure> {
    for (result, record) in &finished.results {
        if record.is_none() || !matches!(result.exit, 0 | 4 | 130) {
            say(&format!("worker {}: exit {}: {}", result.worker, result.exit, result.message));
        }
    }
    let records: Vec<LoadRecord> =
        finished.results.iter().filter_map(|(_, record)| record.clone()).collect();
    let is_lost = |name: &String| finished.lost.iter().any(|(lost, _)| lost == name);
    let has_record = |name: &String| {
        finished.results.iter().any(|(result, record)| result.worker == *name && record.is_some())
    };
    let missing = plan.workers.iter().filter(|name| is_lost(name) || !has_record(name)).count();
    if records.is_empty() {
        let message = format!("no worker of run {} has sent a record", plan.run);
        return Err(Failure::new(Exit::Invalid, message));
    }
    let mut record = merge(&records).map_err(|error| {
        Failure::new(Exit::Invalid, format!("the records cannot be merged: {error}"))
    })?;
    let spread = format!(
        "{} workers began within {:.1} ms, by clocks that agree within {:.1} ms",
        records.len(),
        finished.start_spread.as_secs_f64() * 1e3,
        finished.clock_error.as_secs_f64() * 1e3
    );
    say(&spread);
    let losses: Vec<String> =
        finished.lost.iter().map(|(name, at)| format!("worker {name} lost at {at:.1} s")).collect();
    if let Some(merged) = &mut record.merged {
        merged.notes.push(spread);
        merged.notes.extend(losses.iter().cloned());
    }
    let path = options.output.clone().unwrap_or_else(|| format!("run-{}.json", plan.run).into());
    write(&record, &path)?;
    let exit = report(&path, options.format, assertions).await?;
    if missing > usize::from(options.tolerate_loss) {
        let why = if losses.is_empty() { "a worker failed".to_owned() } else { losses.join(", ") };
        let message = format!(
            "INVALID: {why}; the record of the other {} is {}",
            records.len(),
            path.display()
        );
        return Err(Failure::new(Exit::Invalid, message));
    }
    if options.format == Format::Text {
        print(&format!("\nThe record is {}\n", path.display()))?;
    }
    Ok(if finished.interrupted { Exit::Interrupted as u8 } else { exit })
}

fn write(record: &LoadRecord, path: &PathBuf) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Output, format!("cannot write {}: {error}", path.display()))
    };
    let text = serde_json::to_vec(record).map_err(|error| failed(&error))?;
    let file = std::fs::File::create(path).map_err(|error| failed(&error))?;
    use std::io::Write;
    (&file).write_all(&text).map_err(|error| failed(&error))?;
    file.sync_all().map_err(|error| failed(&error))
}

async fn report(path: &Path, format: Format, assertions: &[String]) -> Result<u8, Failure> {
    let mut command = Command::new(load::program());
    command.arg("report").arg(path);
    if format == Format::Json {
        command.args(["--format", "json"]);
    }
    for assertion in assertions {
        command.arg("--assert").arg(assertion);
    }
    let status = command.status().await.map_err(|error| {
        let program = load::program();
        Failure::new(Exit::Child, format!("cannot start {}: {error}", program.display()))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Child as u8))
}
