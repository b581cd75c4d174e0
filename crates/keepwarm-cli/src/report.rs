//! `keepwarm report`: a run again, from its record.

use std::fs;

use crate::args::ReportOptions;
use crate::exit::{Exit, Failure};
use crate::load;
use crate::record::{RunRecord, SCHEMA};

/// The largest record that is read; an hour with everything in it has about a tenth of this.
const MAX_BYTES: u64 = 256 << 20;

pub(crate) fn run(options: &ReportOptions) -> Result<(), Failure> {
    let path = options.file.display();
    let unusable = |why: String| Failure::new(Exit::Usage, format!("cannot use {path}: {why}"));
    let length = fs::metadata(&options.file).map_err(|error| unusable(error.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(unusable(format!("{length} bytes are more than any run record has")));
    }
    let text = fs::read_to_string(&options.file).map_err(|error| unusable(error.to_string()))?;
    let mut record = parse(&text).map_err(unusable)?;
    if !options.assertions.is_empty() {
        record.judge(&options.assertions);
    }
    load::show(&record, options.format)?;
    load::judge_assertions(&record)
}

fn parse(text: &str) -> Result<RunRecord, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => serde_json::from_value(value)
            .map_err(|error| format!("it says {SCHEMA}, and differs from it: {error}")),
        Some(other) => Err(format!("it is a {other}, and this reads {SCHEMA}")),
        None => Err(format!("it has no schema; this reads {SCHEMA}")),
    }
}
