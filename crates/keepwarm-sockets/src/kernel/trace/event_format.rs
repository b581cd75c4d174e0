//! Parser of tracefs' `format` files: the offsets of a record's fields, and the names of their
//! values.
//!
//! Owns the parsing of that text. Pure, and decodes no record. The layout of an event differs
//! between kernels, so it is read at run time; text that is not understood gives `None`.

use std::collections::BTreeMap;

/// Maximum number of fields in one event; real events have about twenty.
const MAX_FIELDS: usize = 128;
/// Maximum number of names for the values of one field; `sk_rst_reason` has about thirty.
const MAX_SYMBOLS: usize = 256;

/// Layout of one event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Format {
    /// Value of `common_type` in records of this event; 0 if the text has no id.
    pub(crate) id: u64,
    fields: Vec<(String, Field)>,
}

/// Position of a field in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Format {
        let id = text.lines().find_map(|line| line.strip_prefix("ID:")?.trim().parse().ok());
        let fields = text.lines().filter_map(parse_field).take(MAX_FIELDS).collect();
        Format { id: id.unwrap_or(0), fields }
    }

    pub(crate) fn field(&self, name: &str) -> Option<Field> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, field)| *field)
    }
}

/// Parses `\tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;`
fn parse_field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let declaration = parts.next()?;
    let name = declaration.rsplit([' ', '*']).next()?.split('[').next()?;
    let mut number = |label: &str| {
        let part = parts.next()?.strip_prefix(label)?;
        part.parse::<u16>().ok().map(usize::from)
    };
    let (offset, size) = (number("offset:")?, number("size:")?);
    (!name.is_empty()).then(|| (name.to_owned(), Field { offset, size }))
}

/// Reads the names of a field's values from the line that formats the event for printing:
/// `__print_symbolic(REC->reason, { 8, "TCP_ABORT_ON_DATA" }, ...)`.
pub(crate) fn symbols(text: &str, field: &str) -> BTreeMap<u64, String> {
    let start = format!("__print_symbolic(REC->{field},");
    let Some((_, rest)) = text.split_once(&start) else { return BTreeMap::new() };
    let mut names = BTreeMap::new();
    for pair in rest.split('{').skip(1).take(MAX_SYMBOLS) {
        let Some((inside, after)) = pair.split_once('}') else { break };
        if let Some((value, name)) = inside.split_once(',') {
            let name = name.trim().trim_matches('"');
            if let Ok(value) = value.trim().parse() {
                names.insert(value, name.to_owned());
            }
        }
        // A parenthesis closes the call; later braces belong to another field.
        if after.trim_start().starts_with(')') {
            break;
        }
    }
    names
}

impl Field {
    /// Returns the bytes of the field; `None` if the record is too short.
    pub(crate) fn bytes<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        record.get(self.offset..)?.get(..self.size)
    }

    /// Returns the value of the field, read in the byte order of the machine.
    pub(crate) fn number(&self, record: &[u8]) -> Option<u64> {
        let bytes = self.bytes(record)?;
        Some(match *bytes {
            [one] => one.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            _ => u64::from_ne_bytes(bytes.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::captured_trace as captured;

    #[test]
    fn the_captured_formats_are_parsed() {
        let format = Format::parse(captured::SET_STATE);
        let at = |offset, size| Some(Field { offset, size });
        assert_eq!(format.id, 2287);
        assert_eq!(format.field("common_pid"), at(4, 4));
        assert_eq!(
            format.field("skaddr"),
            at(8, 8),
            "the star of a pointer is no part of the name"
        );
        assert_eq!(format.field("saddr_v6"), at(40, 16));
        assert_eq!(format.field("sock_cookie"), None);
        let reasons = symbols(captured::SEND_RESET, "reason");
        assert_eq!(reasons.len(), 26);
        assert_eq!(reasons.get(&11).map(String::as_str), Some("TCP_ABORT_ON_CLOSE"));
        assert!(symbols(captured::SET_STATE, "reason").is_empty());
    }

    #[test]
    fn nonsense_is_empty_and_limited() {
        for text in
            ["", "ID:", "field:", "field:;offset:0;size:4;", "\tfield:int a;\toffset:99999;"]
        {
            assert_eq!(Format::parse(text), Format::default(), "{text:?}");
        }
        let many = "field:int a;offset:0;size:4;\n".repeat(10_000);
        assert_eq!(Format::parse(&many).fields.len(), MAX_FIELDS);
        let many = format!("__print_symbolic(REC->reason, {}", "{ 1, \"x\" }, ".repeat(10_000));
        assert_eq!(symbols(&many, "reason").len(), 1);
        assert_eq!(Field { offset: 65_535, size: 65_535 }.bytes(&[0; 8]), None);
        assert_eq!(Field { offset: 0, size: 3 }.number(&[0; 8]), None);
    }
}
