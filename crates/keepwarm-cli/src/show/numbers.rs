//! Numbers as people read them: the same words as those in records.

pub(crate) use keepwarm_record::numbers::{capitalised, counted, millis, tenths, thousands};

/// Microseconds as milliseconds; a dash where there are too few samples.
pub(crate) fn millis_or_dash(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), millis)
}
