//! `keepwarm compare`: two records, or two targets that are loaded in turn.
//!
//! Owns the two ways and the exit code. `turns` runs the loads, `show` writes the result, the record
//! crate compares.

mod show;
mod turns;

use std::path::Path;

use keepwarm_record::compare::{Comparison, differing_settings};
use keepwarm_record::load::Trust;

use crate::args::records::{CompareFormat, CompareOptions};
use crate::exit::{Exit, Failure};
use crate::{output, record_file};

pub(crate) fn run(options: &CompareOptions) -> Result<(), Failure> {
    let arms = turns::arms(options)?;
    let comparison = match &arms {
        Some(arms) => turns::compare(arms, options)?,
        None => of_records(options)?,
    };
    let text = match options.format {
        CompareFormat::Text => show::text(&comparison, output::colour(), output::columns()),
        CompareFormat::Github => show::github(&comparison),
    };
    output::print(&text)?;
    let failures: Vec<String> =
        options.assertions.iter().filter_map(|one| one.failure(&comparison)).collect();
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Assertion, failures.join("; ")))
}

/// Compares two files.
fn of_records(options: &CompareOptions) -> Result<Comparison, Failure> {
    let files = [&options.base, &options.new].map(Path::new);
    record_file::refuse_twice(&files)?;
    let [base, new] = files.map(|file| record_file::open_load(file, "a comparison"));
    let (base, new) = (base?, new?);
    let differing = differing_settings(&base.settings, &new.settings);
    if !differing.is_empty() && !options.anyway {
        let message = format!(
            "the loads were not the same, and neither are their numbers: they differ in {}; --anyway \
             compares them all the same",
            differing.join(", ")
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    for (file, record) in files.iter().zip([&base, &new]) {
        if record.verdict.trust == Trust::Invalid {
            let why = record.verdict.reasons.first().map_or("", String::as_str);
            let place = record_file::place(file);
            let message =
                format!("nothing can be compared: {place} is an invalid measurement: {why}");
            return Err(Failure::new(Exit::Invalid, message));
        }
    }
    let [one, other] = files.map(record_file::place);
    let mut comparison = Comparison::of_records([one, other], &base, &new);
    if !differing.is_empty() {
        comparison.notes.push(format!("the loads were not the same: {}", differing.join(", ")));
    }
    Ok(comparison)
}
