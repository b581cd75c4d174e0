//! Numbers as people read them: the same words as those in records.

pub(crate) use keepwarm_record::numbers::{counted, millis, thousands};
