//! The end of a run: the merged record, its file, its text, and the exit code. `keepwarm report` shows
//! and judges the record, so that a fleet's result reads as any other.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use keepwarm_record::load::{FleetRecord, LoadRecord, LostWorker, Merger};
use keepwarm_record::numbers::counted;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Places;
use super::course::Finished;
use crate::args::{Format, RunOptions};
use crate::exit::{Exit, Failure};
use crate::protocol::{Final, RecordPlace, RunPlan};
use crate::{load, packed, print, say};

/// The largest packed record that is taken from the store.
const MAX_OBJECT: u64 = 1 << 28;

/// Writes and shows the merged record. Returns the exit code of the run.
pub(super) async fn show(
    mut finished: Finished,
    places: &Places,
    plan: &RunPlan,
    options: &RunOptions,
    assertions: &[String],
) -> Result<u8, Failure> {
    let mut lost: Vec<LostWorker> = Vec::new();
    for (name, at_s, why) in &finished.lost {
        lost.push(LostWorker { worker: name.clone(), at_s: *at_s, why: why.clone() });
    }
    let results = std::mem::take(&mut finished.results);
    let record = merge(results, &finished, places, &mut lost).await?;
    let count = record.merged.as_ref().map_or(0, |merged| merged.parts.len());
    let fleet = fleet_record(&finished, plan, options, lost);
    for note in fleet.notes() {
        say(&note);
    }
    let is_short = fleet.lost.len() > usize::from(options.tolerate_loss);
    let losses: Vec<String> = fleet
        .lost
        .iter()
        .map(|one| format!("worker {} lost at {:.1} s ({})", one.worker, one.at_s, one.why))
        .collect();
    let record = record.with_fleet(fleet);
    let kept = keep(&record, options, &plan.run)?;
    let exit = report(&kept.path, options.format, assertions).await?;
    if let Some(failure) = kept.instead_of {
        return Err(failure);
    }
    if is_short {
        let message = format!(
            "INVALID: {}; the record of {} is {}",
            losses.join(", "),
            counted(count as u64, "part"),
            kept.path.display()
        );
        return Err(Failure::new(Exit::Invalid, message));
    }
    if options.format == Format::Text {
        print(&format!("\nThe record is {}\n", kept.path.display()))?;
    }
    Ok(if finished.interrupted { Exit::Interrupted as u8 } else { exit })
}

/// Merges the records one by one. Workers without one are added to `lost`.
async fn merge(
    results: Vec<(Final, bytes::Bytes)>,
    finished: &Finished,
    places: &Places,
    lost: &mut Vec<LostWorker>,
) -> Result<LoadRecord, Failure> {
    let begun = began_us(finished);
    let first_us = begun.values().copied().min().unwrap_or(0);
    let mut merger = Merger::new(unix_ms(finished, first_us));
    let mut records = 0;
    for (result, packed) in results {
        let worker = &result.worker;
        let record = match read(&result, &packed, places).await {
            Ok(record) => record,
            Err(failure) => {
                say(&format!("worker {worker}: exit {}: {failure}", result.exit));
                if !lost.iter().any(|one| one.worker == *worker) {
                    let (at_s, why) = (finished.elapsed_s, failure.to_string());
                    lost.push(LostWorker { worker: worker.clone(), at_s, why });
                }
                continue;
            }
        };
        if !matches!(result.exit, 0 | 4 | 130) {
            say(&format!("worker {worker}: exit {}: {}", result.exit, result.message));
        }
        let began_us = begun.get(worker).copied();
        // By the coordinator's clock alone: a worker's wall clock may be set wrong.
        let started_unix_ms = unix_ms(finished, began_us.unwrap_or(first_us));
        let pushed = merger.push(LoadRecord { started_unix_ms, ..record }, worker, began_us);
        pushed.map_err(|error| {
            let message = format!("the record of worker {worker} cannot be merged: {error}");
            Failure::new(Exit::Invalid, message)
        })?;
        records += 1;
    }
    if records == 0 {
        let reasons: Vec<String> =
            lost.iter().map(|one| format!("worker {}: {}", one.worker, one.why)).collect();
        let message = format!("no worker has sent a record: {}", reasons.join("; "));
        return Err(Failure::new(Exit::Invalid, message));
    }
    merger.finish().map_err(|error| {
        Failure::new(Exit::Invalid, format!("the records cannot be merged: {error}"))
    })
}

/// Returns the record of a result.
async fn read(result: &Final, packed: &[u8], places: &Places) -> Result<LoadRecord, Failure> {
    match result.record {
        RecordPlace::Inline => packed::unpack(packed, &result.worker),
        RecordPlace::Object => {
            packed::unpack(&read_object(places, &result.worker).await?, &result.worker)
        }
        RecordPlace::None => {
            let said = if result.message.is_empty() { "no record" } else { &result.message };
            Err(Failure::new(Exit::Invalid, said))
        }
    }
}

async fn read_object(places: &Places, name: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Output, format!("the record of worker {name} cannot be read: {error}"))
    };
    let object = places.records.get(name).await.map_err(|error| failed(&error))?;
    let mut packed = Vec::new();
    let read = object.take(MAX_OBJECT).read_to_end(&mut packed).await;
    read.map(|_| packed).map_err(|error| failed(&error))
}

/// Returns the time from the declared start to each worker's own.
fn began_us(finished: &Finished) -> BTreeMap<String, i64> {
    let start = i128::from(finished.start_ns);
    let since = |begun: &i64| i64::try_from((i128::from(*begun) - start) / 1000).unwrap_or(0);
    finished.begun_ns.iter().map(|(name, begun)| (name.clone(), since(begun))).collect()
}

fn unix_ms(finished: &Finished, began_us: i64) -> u64 {
    finished.start_unix_ms.saturating_add_signed(began_us.div_euclid(1000))
}

fn fleet_record(
    finished: &Finished,
    plan: &RunPlan,
    options: &RunOptions,
    mut lost: Vec<LostWorker>,
) -> FleetRecord {
    lost.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let begun = finished.begun_ns.values();
    let spread = begun.clone().max().zip(begun.min()).map(|(last, first)| last.abs_diff(*first));
    FleetRecord {
        run: plan.run.clone(),
        workers: plan.workers.len() as u64,
        tolerated: u64::from(options.tolerate_loss),
        start_spread_us: spread.map(|ns| ns / 1000),
        clock_error_us: u64::try_from(finished.clock_error.as_micros()).unwrap_or(u64::MAX),
        lost,
    }
}

/// Place of the record.
struct Kept {
    path: PathBuf,
    /// Failure of the place that was asked for.
    instead_of: Option<Failure>,
}

/// Writes the record: where that fails, among temporary files, so that nothing is lost.
fn keep(record: &LoadRecord, options: &RunOptions, run: &str) -> Result<Kept, Failure> {
    let name = format!("run-{run}.json");
    let path = options.output.clone().unwrap_or_else(|| name.clone().into());
    let Err(error) = write(record, &path) else {
        return Ok(Kept { path, instead_of: None });
    };
    let elsewhere = std::env::temp_dir().join(name);
    let failed = |also: &str| {
        let message = format!("cannot write {}: {error}; {also}", path.display());
        Failure::new(Exit::Output, message)
    };
    match write(record, &elsewhere) {
        Ok(()) => {
            let failure = failed(&format!("the record is {}", elsewhere.display()));
            Ok(Kept { path: elsewhere, instead_of: Some(failure) })
        }
        Err(also) => Err(failed(&format!(
            "nor {}: {also}; the workers keep their own records (--directory), and `keepwarm merge` \
             unites them",
            elsewhere.display()
        ))),
    }
}

/// Writes the record beside its place, then renames it: a reader never sees half of it.
fn write(record: &LoadRecord, path: &Path) -> std::io::Result<()> {
    let is_device = std::fs::metadata(path).is_ok_and(|there| !there.is_file());
    let half = if is_device {
        path.to_owned()
    } else {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!(".{name}.{}", std::process::id()))
    };
    let written = std::fs::File::create(&half).and_then(|file| {
        let mut buffered = std::io::BufWriter::new(&file);
        serde_json::to_writer(&mut buffered, record)?;
        buffered.flush()?;
        if is_device { Ok(()) } else { file.sync_all().and_then(|()| std::fs::rename(&half, path)) }
    });
    if written.is_err() && !is_device {
        let _ = std::fs::remove_file(&half);
    }
    written
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
