//! Requests with fields that change: `{n}`, `{uuid}`, `{random:1-100}`. Owns their syntax and the
//! rendering into bytes with the right Content-Length; sends nothing.

use std::ops::Range;
use std::sync::Arc;

use super::PlanError;
use super::csv::{Column, Tables};
use crate::pacer::SplitMix;

/// A field that changes from request to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// The number of the request, from 0. A run uses each number once.
    Number,
    /// A random UUID (RFC 9562, version 4).
    Uuid,
    /// A random number from `low` to `high`, both included.
    Random { low: u64, high: u64 },
    /// The length of the rendered body.
    BodyLength,
    /// The value of a `traceparent` field.
    Trace,
    /// A value of this column of the template, in turn.
    Csv(usize),
}

/// The longest `FILE.column` of a field.
const MAX_CSV_NAME: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Literal(Range<usize>),
    Field(Field),
}

/// A head and a body with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    head: Vec<TemplatePart>,
    body: Vec<TemplatePart>,
    columns: Vec<Arc<Column>>,
}

/// Stands for the length of the body in the head of a template. A control character, which no
/// checked head contains otherwise.
pub(crate) const BODY_LENGTH: &str = "\u{1}";

/// Stands for the value of a `traceparent` field, likewise.
pub(crate) const TRACE: &str = "\u{2}";

impl Template {
    /// Finds the fields of `head` and `body`: those that are typed if `named`, and else those that
    /// the head itself has. Returns `None` if there is no field.
    ///
    /// # Errors
    ///
    /// A file of a `{csv:…}` field cannot be used.
    pub(crate) fn find(
        head: &[u8],
        body: &[u8],
        named: bool,
        tables: &Tables,
    ) -> Result<Option<Self>, PlanError> {
        let mut bytes = Vec::with_capacity(head.len() + body.len());
        let mut columns = Columns { tables, found: Vec::new() };
        let line = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
        let head = split(head, Place::Head { line }, named, &mut columns, &mut bytes)?;
        let body = split(body, Place::Body, named, &mut columns, &mut bytes)?;
        let columns = columns.found;
        let changes = |part: &TemplatePart| {
            !matches!(part, TemplatePart::Literal(_) | TemplatePart::Field(Field::BodyLength))
        };
        let any = head.iter().chain(&body).any(changes);
        Ok(any.then_some(Self { bytes, head, body, columns }))
    }

    /// Replaces the content of `out` by request `number`.
    pub(crate) fn render(
        &self,
        number: u64,
        trace: Option<u64>,
        random: &mut SplitMix,
        out: &mut Vec<u8>,
    ) {
        // The body is rendered first, because the head contains its length; then both change
        // places.
        out.clear();
        self.render_parts(&self.body, number, trace, random, 0, out);
        let body_length = out.len();
        self.render_parts(&self.head, number, trace, random, body_length, out);
        out.rotate_left(body_length);
    }

    fn render_parts(
        &self,
        parts: &[TemplatePart],
        number: u64,
        trace: Option<u64>,
        random: &mut SplitMix,
        body_length: usize,
        out: &mut Vec<u8>,
    ) {
        for part in parts {
            match part {
                TemplatePart::Literal(range) => out.extend_from_slice(&self.bytes[range.clone()]),
                TemplatePart::Field(Field::Number) => push_number(out, number),
                TemplatePart::Field(Field::BodyLength) => push_number(out, body_length as u64),
                TemplatePart::Field(Field::Trace) => {
                    out.extend_from_slice(traceparent(trace.unwrap_or(0), number).as_bytes());
                }
                TemplatePart::Field(Field::Csv(column)) => {
                    out.extend_from_slice(self.columns[*column].value(number));
                }
                TemplatePart::Field(Field::Uuid) => push_uuid(out, random),
                TemplatePart::Field(Field::Random { low, high }) => {
                    push_number(out, between(random, *low, *high));
                }
            }
        }
    }
}

/// Returns the value of the `traceparent` field of request `number` (W3C Trace Context, 3.2). The
/// ids of a run are random, and each request has its own.
pub(crate) fn traceparent(seed: u64, number: u64) -> String {
    let mut ids = SplitMix::new(seed, number);
    let (high, low, span) = (ids.next_u64(), ids.next_u64(), ids.next_u64().max(1));
    format!("00-{high:016x}{low:016x}-{span:016x}-01")
}

/// The columns of a template, while it is made.
struct Columns<'a> {
    tables: &'a Tables,
    found: Vec<Arc<Column>>,
}

/// The part of a request that is cut.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The head, whose first line ends there.
    Head {
        line: usize,
    },
    Body,
}

impl Columns<'_> {
    /// Returns the field that `name` says (`FILE.column`), whose values fit into `place`.
    fn field(&mut self, name: &str, place: Place, at: usize) -> Result<Field, PlanError> {
        let column = match place {
            Place::Head { line } if at < line => self.tables.in_path(name)?,
            Place::Head { .. } => self.tables.in_field(name)?,
            Place::Body => self.tables.in_body(name)?,
        };
        self.found.push(column);
        Ok(Field::Csv(self.found.len() - 1))
    }
}

/// Cuts `text` at its fields. Appends literals to `bytes`. Only a head contains the length.
fn split(
    text: &[u8],
    place: Place,
    named: bool,
    columns: &mut Columns<'_>,
    bytes: &mut Vec<u8>,
) -> Result<Vec<TemplatePart>, PlanError> {
    let mut parts = Vec::new();
    let mut literal = bytes.len();
    let mut at = 0;
    while at < text.len() {
        let csv = csv_at(&text[at..]).filter(|_| named);
        let field = match csv {
            Some((name, length)) => Some((columns.field(name, place, at)?, length)),
            None => field_at(&text[at..]).filter(|(field, _)| match field {
                Field::BodyLength | Field::Trace => place != Place::Body,
                _ => named,
            }),
        };
        let Some((field, length)) = field else {
            bytes.push(text[at]);
            at += 1;
            continue;
        };
        if literal < bytes.len() {
            parts.push(TemplatePart::Literal(literal..bytes.len()));
        }
        parts.push(TemplatePart::Field(field));
        literal = bytes.len();
        at += length;
    }
    if literal < bytes.len() {
        parts.push(TemplatePart::Literal(literal..bytes.len()));
    }
    Ok(parts)
}

/// Returns the name in a `{csv:FILE.column}` at the start of `text`, and the length of the field.
fn csv_at(text: &[u8]) -> Option<(&str, usize)> {
    let inside = text.strip_prefix(b"{csv:")?;
    let end = inside.iter().take(MAX_CSV_NAME).position(|byte| *byte == b'}')?;
    let name = std::str::from_utf8(&inside[..end]).ok()?;
    (!name.is_empty()).then_some((name, end + "{csv:}".len()))
}

/// Returns the field at the start of `text`, and its length. Text that is not exactly a field stays
/// text.
fn field_at(text: &[u8]) -> Option<(Field, usize)> {
    if text.starts_with(BODY_LENGTH.as_bytes()) {
        return Some((Field::BodyLength, BODY_LENGTH.len()));
    }
    if text.starts_with(TRACE.as_bytes()) {
        return Some((Field::Trace, TRACE.len()));
    }
    let inside = text.strip_prefix(b"{")?;
    // The longest field has two numbers of twenty digits.
    let end = inside.iter().take(50).position(|b| *b == b'}')?;
    let name = std::str::from_utf8(&inside[..end]).ok()?;
    let field = match name {
        "n" => Field::Number,
        "uuid" => Field::Uuid,
        _ => {
            let (low, high) = name.strip_prefix("random:")?.split_once('-')?;
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            if !digits(low) || !digits(high) {
                return None;
            }
            let (low, high) = (low.parse().ok()?, high.parse().ok()?);
            (low <= high).then_some(Field::Random { low, high })?
        }
    };
    Some((field, end + 2))
}

/// Returns text that looks like a field and is none, such as `{random:5-1}` or, in a head, `{foo}`.
/// A body may have braces of its own, so there only a wrong range counts.
pub(crate) fn nearly_a_field(text: &[u8], is_head: bool) -> Option<String> {
    for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'{') {
        let rest = &text[at..];
        if field_at(rest).is_some() || csv_at(rest).is_some() {
            continue;
        }
        let inside = &rest[1..];
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b":_.+-".contains(b);
        let length = inside.iter().take(50).take_while(|b| plain(b)).count();
        let name = &inside[..length];
        let closed = inside.get(length) == Some(&b'}');
        let wrong_range = name
            .strip_prefix(b"random:")
            .is_some_and(|range| range.iter().all(|b| b.is_ascii_digit() || b"+-".contains(b)));
        let known = name == b"n" || name == b"uuid" || name.starts_with(b"random");
        if wrong_range || (is_head && (known || (closed && !name.is_empty()))) {
            let end = 1 + length + usize::from(closed);
            return Some(String::from_utf8_lossy(&rest[..end]).into_owned());
        }
    }
    None
}

/// Returns true if `text` has a field.
pub(crate) fn has_field(text: &[u8]) -> bool {
    let mut braces = text.iter().enumerate().filter(|(_, byte)| **byte == b'{');
    braces.any(|(at, _)| field_at(&text[at..]).is_some() || csv_at(&text[at..]).is_some())
}

/// Returns the first field of `text`, as written.
pub(crate) fn first_field(text: &str) -> Option<&str> {
    let fields = text.match_indices('{').filter_map(|(at, _)| {
        let rest = &text.as_bytes()[at..];
        let csv = csv_at(rest).map(|(_, length)| length);
        let length = csv.or_else(|| field_at(rest).map(|(_, length)| length))?;
        Some(&text[at..at + length])
    });
    { fields }.next()
}

fn between(random: &mut SplitMix, low: u64, high: u64) -> u64 {
    let drawn = random.next_u64();
    match (high - low).checked_add(1) {
        // Upper half of the product: as even as 64 bits allow, and without a division.
        Some(count) => {
            low + u64::try_from((u128::from(drawn) * u128::from(count)) >> 64).unwrap_or(0)
        }
        None => drawn,
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn push_uuid(out: &mut Vec<u8>, random: &mut SplitMix) {
    let mut value = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
    // Version 4, and the variant of RFC 9562.
    value = (value & !(0xf << 76)) | (4 << 76);
    value = (value & !(0b11 << 62)) | (0b10 << 62);
    for digit in 0..32u32 {
        if matches!(digit, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        let nibble = usize::try_from((value >> (124 - 4 * digit)) & 0xf).unwrap_or(0);
        out.push(b"0123456789abcdef"[nibble]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(head: &[u8], body: &[u8]) -> Option<Template> {
        Template::find(head, body, true, &Tables::default()).unwrap()
    }

    fn render(head: &str, body: &str, number: u64) -> String {
        let template = find(head.as_bytes(), body.as_bytes()).unwrap();
        let mut out = b"leftover".to_vec();
        template.render(number, None, &mut SplitMix::new(1, 0), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn content_length_is_of_rendered_body() {
        let head = format!("/x/{{n}}\r\nLength: {BODY_LENGTH}\r\n\r\n");
        assert_eq!(render(&head, "a{n}b{n}", 7), "/x/7\r\nLength: 4\r\n\r\na7b7");
        let long = u64::MAX;
        assert_eq!(render(&head, "{n}", long), format!("/x/{long}\r\nLength: 20\r\n\r\n{long}"));
    }

    #[test]
    fn misspelt_fields_are_found() {
        let in_head =
            ["{foo}", "{random:5-1}", "{n", "{random:1-}", "{randon:1-2}", "{random:+1-2}", "{N}"];
        for text in in_head {
            let head = format!("/a/{text} b");
            assert_eq!(nearly_a_field(head.as_bytes(), true).as_deref(), Some(text));
        }
        for text in ["{random:5-1}", "{random:1-}"] {
            assert_eq!(nearly_a_field(text.as_bytes(), false).as_deref(), Some(text));
        }
        let bodies =
            ["{}", "{\"n\":1}", "{foo}", "query{user{id}}", "{n: 1}", "{n}{uuid}{", "{random}"];
        for text in bodies {
            assert_eq!(nearly_a_field(text.as_bytes(), false), None, "{text}");
        }
        for text in ["{", "{}", "{n}", "{random:1-2}", "{ a }"] {
            assert_eq!(nearly_a_field(text.as_bytes(), true), None, "{text}");
        }
        assert_eq!(first_field("/{a}/{uuid}/{n}"), Some("{uuid}"));
    }

    #[test]
    fn near_fields_stay_text() {
        for text in
            ["{", "{}", "{N}", "{n", "{\"n\":1}", "{random:5-1}", "{random:+1-2}", "{random:1-}"]
        {
            assert_eq!(find(b"", text.as_bytes()), None, "{text}");
        }
        assert_eq!(render("{{n}}", "", 3), "{3}");
        assert_eq!(find(BODY_LENGTH.as_bytes(), b"plain"), None);
        assert_eq!(render("{n}", BODY_LENGTH, 3), format!("3{BODY_LENGTH}"));
    }

    #[test]
    fn each_request_has_its_own_trace() {
        let head = format!("traceparent: {TRACE}");
        let tables = Tables::default();
        let template = Template::find(head.as_bytes(), b"{n}", false, &tables).unwrap().unwrap();
        let text = |number| {
            let mut out = Vec::new();
            template.render(number, Some(7), &mut SplitMix::new(1, 0), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(3), format!("traceparent: {}{{n}}", traceparent(7, 3)));
        assert_ne!(text(3), text(4));
        let parts: Vec<_> = traceparent(7, 3).split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2]);
    }

    #[test]
    fn uuids_are_well_formed_and_differ() {
        let text = render("{uuid} {uuid}", "", 0);
        let (a, b) = text.split_once(' ').unwrap();
        assert_ne!(a, b);
        for uuid in [a, b] {
            assert_eq!(uuid.len(), 36);
            assert_eq!(uuid.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
            assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        }
    }

    #[test]
    fn random_numbers_meet_both_limits() {
        let mut random = SplitMix::new(5, 0);
        let drawn: std::collections::BTreeSet<_> =
            (0..1000).map(|_| between(&mut random, 3, 7)).collect();
        assert_eq!(drawn, (3..=7).collect());
        assert_eq!(between(&mut random, 9, 9), 9);
        between(&mut random, 0, u64::MAX);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_length_fits(
            text in "([{}n:0-9a-]|\\{n\\}|\\{uuid\\}|\\{random:[0-9]{1,3}-[0-9]{1,3}\\}|x){0,30}",
            number in any::<u64>(),
        ) {
            let head = format!("{BODY_LENGTH}|");
            if let Some(template) = find(head.as_bytes(), text.as_bytes()) {
                let mut out = Vec::new();
                template.render(number, None, &mut SplitMix::new(number, 1), &mut out);
                let out = String::from_utf8(out).unwrap();
                let (length, body) = out.split_once('|').unwrap();
                prop_assert_eq!(length.parse::<usize>().unwrap(), body.len());
            }
        }
    }
}
