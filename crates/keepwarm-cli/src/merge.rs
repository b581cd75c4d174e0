//! `keepwarm merge`: records of loads that ran as parts of one, as one record.
//!
//! Owns the files in and out. The record crate merges and judges.

use std::path::Path;

use keepwarm_record::load::{LoadRecord, MergeError, merge};

use crate::args::LoadFormat;
use crate::args::records::MergeOptions;
use crate::exit::{Exit, Failure};
use crate::output_file::Output;
use crate::{load, record_file, show};

pub(crate) fn run(options: &MergeOptions) -> Result<(), Failure> {
    let files: Vec<&Path> = options.files.iter().map(AsRef::as_ref).collect();
    record_file::refuse_twice(&files)?;
    let output = Output::create(options.output.as_deref())?;
    let parts: Result<Vec<LoadRecord>, Failure> =
        files.iter().map(|file| record_file::open_load(file, "a merge")).collect();
    let mut record = merge(&parts?).map_err(|error| refused(&error, &files))?;
    if !options.assertions.is_empty() {
        record.judge(&options.assertions);
    }
    let kept = output.write(&record, load::is_private(&record));
    let printed = match options.format {
        LoadFormat::Json if output.is_stdout() => Ok(()),
        LoadFormat::Text => {
            output.print_text(|colour, columns| show::load::render(&record, colour, columns))
        }
        LoadFormat::Ab => output.print_text(|_, _| show::ab::render(&record)),
        format => load::print(&record, format),
    };
    // The report is out before the first failure ends the command.
    kept?;
    printed?;
    load::judge(&record, None)
}

/// Returns the failure for records that cannot be merged, with the names of their files.
fn refused(error: &MergeError, files: &[&Path]) -> Failure {
    let name =
        |part: usize| files.get(part - 1).map_or_else(String::new, |file| record_file::place(file));
    let named = match error {
        MergeError::Twice(one, other) => {
            format!("part {one} is {}, part {other} is {}", name(*one), name(*other))
        }
        MergeError::Differs { part, .. } => {
            format!("part 1 is {}, part {part} is {}", name(1), name(*part))
        }
        _ => return Failure::new(Exit::Usage, format!("cannot merge: {error}")),
    };
    Failure::new(Exit::Usage, format!("cannot merge: {error} ({named})"))
}
