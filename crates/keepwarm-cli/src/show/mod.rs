//! Views of records for people: words, numbers, tables.

pub(crate) mod numbers;
