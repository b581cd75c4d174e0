//! The reader of watch records: one document, or the last complete line of JSON lines.
//!
//! Owns what is accepted: both schemas, and of a truncated file as much as is whole. A record may
//! come from anywhere, so numbers and texts are checked before they are used.

use serde_json::Value;

use super::{Level, SCHEMA, SCHEMA_1, WatchRecord};

/// The largest whole number that readers of JSON agree on (RFC 8259, section 6). No watch has
/// counted more, and sums have room.
const MAX_COUNT: u64 = 1 << 53;

/// Keys of `keepwarm.watch/1` and their names today.
const RENAMED: [(&str, &str); 2] = [("blind_to", "limitations"), ("refused", "level_refused")];
/// The same, of level L0's part.
const RENAMED_OF_LOOKS: (&str, &str) = ("way_up", "hint");

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRecord {
    /// The record; a file of JSON lines has it on its last complete line.
    pub record: WatchRecord,
    /// Whether the file breaks off in the middle of a line after that.
    pub is_truncated: bool,
}

/// Reads a record from a document or from JSON lines. `None`: the text is no watch record, but
/// may be another one.
///
/// # Errors
///
/// In words: the text is a watch record and cannot be used.
pub fn read(text: &str) -> Result<Option<ReadRecord>, String> {
    if let Ok(document) = serde_json::from_str(text) {
        return Ok(of_value(document)?.map(|record| ReadRecord { record, is_truncated: false }));
    }
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    let (Some(last), before) = (lines.next(), lines.next()) else { return Ok(None) };
    let (value, is_truncated) = match (parse(last), before.and_then(parse)) {
        (Some(last), _) => (last, false),
        (None, Some(before)) => (before, true),
        (None, None) if begins_like_a_record(last) => {
            return Err("it is truncated: not even its first line is complete".to_owned());
        }
        (None, None) => return Ok(None),
    };
    Ok(of_value(value)?.map(|record| ReadRecord { record, is_truncated }))
}

fn begins_like_a_record(line: &str) -> bool {
    line.starts_with("{\"schema\":\"keepwarm.watch/")
}

/// Reads a record from its JSON; `None` where it is of another kind.
fn of_value(mut value: Value) -> Result<Option<WatchRecord>, String> {
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(SCHEMA_1) => upgrade(&mut value),
        Some(other) if other.starts_with("keepwarm.watch/") => {
            return Err(format!("it is a {other}, and this reads {SCHEMA_1} and {SCHEMA}"));
        }
        _ => return Ok(None),
    }
    clean(&mut value)?;
    let record: WatchRecord = serde_json::from_value(value)
        .map_err(|error| format!("it says {SCHEMA}, and differs from it: {error}"))?;
    if (record.level == Level::L0) != record.polls.is_some() {
        return Err(format!("it says level {}, and its `looks` contradict that", record.level));
    }
    Ok(Some(record))
}

/// Gives a document of `keepwarm.watch/1` the keys of today. What it does not have stays unknown.
fn upgrade(value: &mut Value) {
    let rename = |fields: &mut Value, (old, new): (&str, &str)| {
        let Some(fields) = fields.as_object_mut() else { return };
        if let Some(value) = fields.remove(old) {
            fields.insert(new.to_owned(), value);
        }
    };
    RENAMED.into_iter().for_each(|names| rename(value, names));
    if let Some(looks) = value.get_mut("looks") {
        rename(looks, RENAMED_OF_LOOKS);
    }
    value["schema"] = SCHEMA.into();
}

/// Rejects numbers that no watch has counted, and takes from texts what a terminal would obey.
fn clean(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|count| count > MAX_COUNT) => {
            Err(format!("{number} is more than any watch has counted"))
        }
        Value::String(text) => {
            if text.contains(char::is_control) {
                *text = text.replace(char::is_control, "\u{fffd}");
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(clean),
        Value::Object(fields) => {
            fields.iter_mut().try_for_each(|(name, value)| match name.contains(char::is_control) {
                true => Err("a name in it has control characters".to_owned()),
                false => clean(value),
            })
        }
        _ => Ok(()),
    }
}
