//! From JSON to a watch record: both schemas.
//!
//! Owns the keys that were renamed, and the check that a record does not contradict itself. Reading
//! a file is the room of [`read`](crate::read::read).

use serde::de::Error;
use serde_json::Value;

use super::{Level, SCHEMA, SCHEMA_1, WatchRecord};

/// Keys of `keepwarm.watch/1` and their names today.
const RENAMED: [(&str, &str); 2] = [("blind_to", "limitations"), ("refused", "level_refused")];
/// A key that was renamed in level L0's part.
const RENAMED_IN_LOOKS: (&str, &str) = ("way_up", "hint");

impl WatchRecord {
    /// Reads a record of `keepwarm.watch/2` or `keepwarm.watch/1`.
    ///
    /// # Errors
    ///
    /// If the value differs from the schema, or its level contradicts its evidence.
    pub fn from_json(mut value: Value) -> serde_json::Result<Self> {
        if value.get("schema").and_then(Value::as_str) == Some(SCHEMA_1) {
            upgrade(&mut value);
        }
        let record: Self = serde_json::from_value(value)?;
        if (record.level == Level::L0) != record.polls.is_some() {
            let why = format!("level {} contradicts what stands under `looks`", record.level);
            return Err(serde_json::Error::custom(why));
        }
        Ok(record)
    }
}

/// Gives a document of `keepwarm.watch/1` the keys of today. Values that it lacks stay unknown.
fn upgrade(value: &mut Value) {
    let rename = |fields: &mut Value, (old, new): (&str, &str)| {
        let Some(fields) = fields.as_object_mut() else { return };
        if let Some(value) = fields.remove(old) {
            fields.insert(new.to_owned(), value);
        }
    };
    RENAMED.into_iter().for_each(|names| rename(value, names));
    if let Some(looks) = value.get_mut("looks") {
        rename(looks, RENAMED_IN_LOOKS);
    }
    value["schema"] = SCHEMA.into();
}
