//! Reads a record of any kind from text.
//!
//! Owns what is accepted: which schemas, which numbers, and how much of a truncated text. A record
//! may come from anywhere, so its numbers are bounded and its texts are made safe to print. Opens
//! no file.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::lab::{self, LabRecord};
use crate::load::{self, LoadRecord};
use crate::watch::{self, WatchRecord};

/// The largest whole number that readers of JSON agree on (RFC 8259, section 6). No run has counted
/// more, and sums have room.
const MAX_COUNT: u64 = 1 << 53;

/// A record, by its schema.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyRecord {
    /// `keepwarm.load/1`.
    Load(Box<LoadRecord>),
    /// `keepwarm.lab/2`, or `keepwarm.lab/1` with its loads counted anew.
    Lab(Box<LabRecord>),
    /// `keepwarm.watch/2`, or `keepwarm.watch/1` with what it lacks unknown.
    Watch(Box<WatchRecord>),
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReadRecord {
    /// The record; of JSON lines, the last complete one.
    pub record: AnyRecord,
    /// True if the text breaks off within a line after that record.
    pub is_truncated: bool,
}

/// Reason why a text cannot be used as a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The text is empty.
    Empty,
    /// The text ends before its first document does, at this line and column.
    Truncated(usize, usize),
    /// The text is not UTF-8.
    NotUtf8,
    /// The text is not JSON.
    NotJson(serde_json::Error),
    /// The document has no `schema`.
    NoSchema,
    /// The document has a schema that this version does not read.
    OtherSchema(String),
    /// The document differs from its schema.
    Differs(String, serde_json::Error),
    /// The document has a number that no run has counted.
    TooGreat(String),
    /// The text has several documents of a schema that has one.
    Several(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Truncated(line, column) => write!(
                f,
                "it is truncated: it ends within its record, at line {line} column {column}; was \
                 the command that wrote it interrupted, or the copy cut short?"
            ),
            Self::NotUtf8 => f.write_str("it is not JSON: it is not UTF-8"),
            Self::NotJson(error) => write!(f, "it is not JSON: {error}"),
            Self::NoSchema => write!(f, "it has no schema; this reads {}", readable()),
            Self::OtherSchema(other) => write!(f, "it is a {other}, and this reads {}", readable()),
            Self::Differs(schema, error) => {
                write!(f, "it says {schema}, and differs from it: {error}")
            }
            Self::TooGreat(number) => write!(f, "{number} is more than any run has counted"),
            Self::Several(schema) => write!(f, "it has several documents, and a {schema} has one"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Schemas that are read, as people list them.
fn readable() -> String {
    let [others @ .., last] =
        [load::SCHEMA, lab::SCHEMA_1, lab::SCHEMA, watch::SCHEMA_1, watch::SCHEMA];
    format!("{} and {last}", others.join(", "))
}

/// Reads a record from the bytes of a document or of JSON lines.
///
/// # Errors
///
/// If there is no complete record that this version can use.
pub fn read(bytes: &[u8]) -> Result<ReadRecord, ReadError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A text that ends within a character was cut there.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Err(ReadError::NotUtf8),
    };
    let mut last = None;
    let mut documents = 0;
    let mut is_truncated = false;
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match document {
            Ok(document) => last = Some(document),
            Err(error) if error.is_eof() && documents > 0 => is_truncated = true,
            Err(error) if error.is_eof() => {
                return Err(ReadError::Truncated(error.line(), error.column()));
            }
            Err(error) => return Err(ReadError::NotJson(error)),
        }
        documents += 1;
    }
    let record = of_value(last.ok_or(ReadError::Empty)?, documents > 1)?;
    Ok(ReadRecord { record, is_truncated })
}

fn of_value(mut value: Value, is_one_of_several: bool) -> Result<AnyRecord, ReadError> {
    clean(&mut value)?;
    let schema = value.get("schema").and_then(Value::as_str).ok_or(ReadError::NoSchema)?.to_owned();
    let is_of_a_watch = [watch::SCHEMA, watch::SCHEMA_1].contains(&schema.as_str());
    if is_one_of_several && !is_of_a_watch {
        return Err(ReadError::Several(schema));
    }
    match schema.as_str() {
        load::SCHEMA => Ok(AnyRecord::Load(typed(schema, value)?)),
        lab::SCHEMA | lab::SCHEMA_1 => {
            let record: LabRecord = typed(schema, value)?;
            Ok(AnyRecord::Lab(Box::new(record.recounted())))
        }
        _ if is_of_a_watch => WatchRecord::from_json(value)
            .map(|record| AnyRecord::Watch(Box::new(record)))
            .map_err(|error| ReadError::Differs(schema, error)),
        _ => Err(ReadError::OtherSchema(schema)),
    }
}

fn typed<T: DeserializeOwned>(schema: String, value: Value) -> Result<T, ReadError> {
    serde_json::from_value(value).map_err(|error| ReadError::Differs(schema, error))
}

/// Returns true if a terminal may obey the character: a control character, or one that changes the
/// direction of the text around it, so that it reads as another text (Unicode Standard Annex 9).
#[must_use]
pub fn is_obeyed(letter: char) -> bool {
    let is_of_direction = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    letter.is_control() || is_of_direction
}

/// Rejects numbers that no run has counted, and replaces characters that a terminal would obey. A
/// seed counts nothing, so it may be any number.
fn clean(value: &mut Value) -> Result<(), ReadError> {
    match value {
        Value::Number(number) if is_too_great(number) => {
            Err(ReadError::TooGreat(number.to_string()))
        }
        Value::String(text) => {
            if text.contains(is_obeyed) {
                *text = text.replace(is_obeyed, "\u{fffd}");
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(clean),
        Value::Object(fields) => {
            let names: Vec<String> =
                fields.keys().filter(|name| name.contains(is_obeyed)).cloned().collect();
            for name in names {
                if let Some(value) = fields.remove(&name) {
                    fields.insert(name.replace(is_obeyed, "\u{fffd}"), value);
                }
            }
            fields.iter_mut().filter(|(name, _)| *name != "seed").try_for_each(|(_, v)| clean(v))
        }
        _ => Ok(()),
    }
}

/// Returns true for a count, or another number, beyond all that a run counts or measures.
fn is_too_great(number: &serde_json::Number) -> bool {
    let is_great_count = number.as_u64().is_some_and(|count| count > MAX_COUNT);
    is_great_count || number.as_f64().is_some_and(|value| value.abs() > MAX_COUNT as f64)
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    const LOAD: &str = include_str!("../records/load.json");

    #[test]
    fn every_cut_is_called_truncated() {
        let whole = LOAD.trim_end();
        for length in 1..whole.len() {
            let error = read(&whole.as_bytes()[..length]).expect_err("it is cut");
            assert!(matches!(error, ReadError::Truncated(..)), "{length} bytes: {error}");
        }
        assert!(!read(whole.as_bytes()).expect("a whole record").is_truncated);
        let within = "{\"schema\": \"é".as_bytes();
        let error = read(&within[..within.len() - 1]).expect_err("cut within a character");
        assert!(error.to_string().starts_with("it is truncated"), "{error}");
    }

    #[test]
    fn unusable_texts_say_why() {
        for (text, why) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("{", "it is truncated"),
            ("x", "it is not JSON"),
            ("{}", "it has no schema"),
            (
                r#"{"schema":"keepwarm.load/9"}"#,
                "it is a keepwarm.load/9, and this reads keepwarm.",
            ),
            (r#"{"schema":"keepwarm.load/1"}"#, "missing field"),
            (r#"{"schema":"keepwarm.lab/1"}"#, "missing field"),
            (r#"{"schema":"keepwarm.load/1"}{"schema":"keepwarm.load/1"}"#, "several documents"),
            (r#"{"count":9007199254740993}"#, "more than any run has counted"),
            (r#"{"elapsed_s":1e308}"#, "more than any run has counted"),
            (r#"{"at_s":-1e308}"#, "more than any run has counted"),
        ] {
            let error = read(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(matches!(read(b"{\xff}"), Err(ReadError::NotUtf8)));
    }

    #[test]
    fn any_seed_can_be_read() {
        let seed = format!(r#""schedule":{{"rate":1.0,"stages":[],"seed":{}}}"#, u64::MAX);
        let text = LOAD.replace(r#""schedule":null"#, &seed);
        assert!(text.contains(&seed) && read(text.as_bytes()).is_ok());
    }

    #[test]
    fn control_characters_are_replaced() {
        let text = LOAD.replace(r#""method":"GET""#, r#""method":"\u001b[2J\u009b31m\u202e""#);
        let read = read(text.as_bytes()).expect("a record");
        let AnyRecord::Load(record) = read.record else { panic!("it is a load") };
        assert_eq!(record.settings.method, "\u{fffd}[2J\u{fffd}31m\u{fffd}");
    }

    #[test]
    fn scribbled_files_are_rejected_or_read() {
        let mut dice = Dice::new(1);
        let rejected =
            (0..300).filter(|_| read(mutate::text(&mut dice, LOAD).as_bytes()).is_err()).count();
        assert!(rejected > 200, "{rejected}");
    }
}
