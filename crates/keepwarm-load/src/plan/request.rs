//! Requests, serialised once. Owns the bytes on the wire (RFC 9112, sections 3 and 5) and the
//! default fields; sends nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use keepwarm_http2::Block;

use super::body::{BodyFile, Content};
use super::csv::Tables;
use super::template::{self, BODY_LENGTH, TRACE, Template};
use super::{Body, PlanError};

/// Fields that follow from other settings, with the setting to use instead. Given by hand they
/// would contradict it.
const COMPUTED: [(&str, &str); 3] = [
    ("connection", "turn keep-alive on or off instead"),
    ("content-length", "set the body; its length is sent"),
    ("transfer-encoding", "set the body; it is sent with its length"),
];

/// Methods whose requests announce a body length even when it is zero (RFC 9110, section 8.6).
const EXPECTS_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

/// Bytes of a body that are copied behind the head, so that both go out in one send(2).
const COPIED: usize = 16 * 1024;

/// The methods of RFC 9110, section 9.3, and PATCH (RFC 5789).
const STANDARD_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The parts of a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestParts<'a> {
    pub(crate) method: &'a str,
    /// Value of the Host field.
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(String, String)],
    /// Default fields that are left out.
    pub(crate) omitted: &'a [String],
    pub(crate) body: &'a Body,
    pub(crate) keep_alive: bool,
    /// The request has a `traceparent` field of its own.
    pub(crate) trace: bool,
    /// The tables that fields of a template name.
    pub(crate) tables: &'a Tables,
}

impl RequestParts<'_> {
    /// Serialises the request, except for the fields of a template. `templates` allows them.
    pub(crate) fn prepare(&self, templates: bool) -> Result<Message, PlanError> {
        if !templates && let Some(field) = template::first_field(self.path) {
            let reason = "it would be sent as it stands, because templates are off";
            return Err(PlanError::new("templates", field, reason, "turn them on, or write %7B"));
        }
        let body = match self.body.content() {
            Content::Memory(body) => body,
            Content::File(file) => return self.prepare_streamed(file, templates),
        };
        let body_changes = templates && template::has_field(body);
        let length = body.len().to_string();
        let head = self.head(if body_changes { BODY_LENGTH } else { &length })?;
        if templates {
            let in_head = template::nearly_a_field(head.as_bytes(), true);
            let wrong = in_head.or_else(|| template::nearly_a_field(body, false));
            if let Some(text) = wrong {
                return Err(PlanError::new(
                    "templates",
                    text,
                    "it is no field of a template",
                    "write {n}, {uuid}, {random:LOW-HIGH} or {csv:FILE.column}; %7B is a brace in a path",
                ));
            }
        }
        // The start of a large body is sent with the head; the rest is shared, never copied.
        let copied = if body_changes { body.len() } else { body.len().min(COPIED) };
        let rest = Rest::Memory { body: Arc::clone(body), from: copied };
        let changing = self.changing(head.as_bytes(), &body[..copied], templates)?;
        if let Some(start) = changing {
            return Ok(Message { start: Start::Changing(start), rest });
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&body[..copied]);
        Ok(Message { start: Start::Fixed(bytes.into_boxed_slice()), rest })
    }

    /// Serialises the head of a request whose body is read while it is sent. Any byte of a body may
    /// belong to a field of a template, so templates are refused.
    fn prepare_streamed(
        &self,
        file: &Arc<BodyFile>,
        templates: bool,
    ) -> Result<Message, PlanError> {
        if templates {
            return Err(PlanError::new(
                "templates",
                "true",
                "the body is read from its file while it is sent, and would be sent as it stands",
                "read the body into memory",
            ));
        }
        let head = self.head(&file.len().to_string())?.into_bytes();
        let start = match self.changing(&head, &[], false)? {
            Some(start) => Start::Changing(start),
            None => Start::Fixed(head.into_boxed_slice()),
        };
        Ok(Message { start, rest: Rest::File(Arc::clone(file)) })
    }

    /// Finds what changes from request to request, if anything may.
    fn changing(
        &self,
        head: &[u8],
        body: &[u8],
        templates: bool,
    ) -> Result<Option<Template>, PlanError> {
        if !templates && !self.trace {
            return Ok(None);
        }
        Template::find(head, body, templates, self.tables)
    }

    fn head(&self, body_length: &str) -> Result<String, PlanError> {
        self.check_method()?;
        for (name, value) in self.headers {
            check_header(name, value)?;
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let defaults = [
            ("Host", self.authority),
            ("User-Agent", concat!("keepwarm/", env!("CARGO_PKG_VERSION"))),
            ("Accept", "*/*"),
        ];
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let omitted = |name: &str| self.omitted.iter().any(|one| one.eq_ignore_ascii_case(name));
        for (name, value) in defaults {
            if !given(name) && (name == "Host" || !omitted(name)) {
                push_field(&mut head, name, value);
            }
        }
        for (name, value) in self.headers {
            push_field(&mut head, name, value);
        }
        if !self.body.is_empty() || EXPECTS_BODY.contains(&self.method) {
            push_field(&mut head, "Content-Length", body_length);
        }
        if self.trace {
            if given("traceparent") {
                return Err(PlanError::new(
                    "trace",
                    "true",
                    "a header field traceparent is given too, and the request would have it twice",
                    "leave out one of the two",
                ));
            }
            push_field(&mut head, "traceparent", TRACE);
        }
        if !self.keep_alive {
            push_field(&mut head, "Connection", "close");
        }
        head.push_str("\r\n");
        Ok(head)
    }

    fn check_method(&self) -> Result<(), PlanError> {
        if !is_token(self.method) {
            return Err(PlanError::new(
                "method",
                self.method,
                "it is not a token",
                "use a method such as GET or POST",
            ));
        }
        // Methods are case-sensitive (RFC 9110, section 9.1), and servers refuse `get`.
        let upper = self.method.to_ascii_uppercase();
        if upper != self.method && STANDARD_METHODS.contains(&upper.as_str()) {
            return Err(PlanError::new(
                "method",
                self.method,
                format!("methods are case-sensitive, and this one is {upper}"),
                "write it in capital letters",
            ));
        }
        if self.method == "CONNECT" {
            return Err(PlanError::new(
                "method",
                self.method,
                "it asks for a tunnel, and what follows is not HTTP",
                "use a method with a response, such as GET",
            ));
        }
        Ok(())
    }
}

/// A request ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) start: Start,
    rest: Rest,
}

/// The head, and the body or its start.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    Fixed(Box<[u8]>),
    Changing(Template),
}

/// The end of a body that the start does not have.
#[derive(Debug, Clone)]
enum Rest {
    /// The bytes of `body` behind the first `from`.
    Memory { body: Arc<Vec<u8>>, from: usize },
    /// The whole body.
    File(Arc<BodyFile>),
}

/// The bytes of a request on its way: two parts, so that all connections share a large body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    start: &'a [u8],
    rest: OutgoingRest<'a>,
}

#[derive(Debug, Clone, Copy)]
enum OutgoingRest<'a> {
    Memory(&'a [u8]),
    File(&'a BodyFile),
}

/// The next part of a request that is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    /// Bytes in memory; none at the end of the request only.
    Memory(&'a [u8]),
    /// The bytes of a file from this offset on; at least one by the length that was announced.
    File(&'a BodyFile, usize),
}

impl<'a> Outgoing<'a> {
    pub(crate) const NOTHING: Self = Self { start: &[], rest: OutgoingRest::Memory(&[]) };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let rest = match self.rest {
            OutgoingRest::Memory(bytes) => bytes.len(),
            OutgoingRest::File(file) => file.len(),
        };
        self.start.len() + rest
    }

    /// Returns the part that follows the first `written` bytes.
    #[inline]
    pub(crate) fn after(&self, written: usize) -> Part<'a> {
        match self.start.get(written..) {
            Some(start) if !start.is_empty() => Part::Memory(start),
            _ => self.rest_after(written.saturating_sub(self.start.len())),
        }
    }

    fn rest_after(&self, written: usize) -> Part<'a> {
        match self.rest {
            OutgoingRest::Memory(bytes) => Part::Memory(&bytes[written.min(bytes.len())..]),
            OutgoingRest::File(file) if written < file.len() => Part::File(file, written),
            OutgoingRest::File(_) => Part::Memory(&[]),
        }
    }
}

impl Message {
    /// Returns the bytes to write. `rendered` has the start if it changes.
    #[inline]
    pub(crate) fn outgoing<'a>(&'a self, rendered: &'a [u8]) -> Outgoing<'a> {
        let start = match &self.start {
            Start::Fixed(bytes) => bytes,
            Start::Changing(_) => rendered,
        };
        let rest = match &self.rest {
            Rest::Memory { body, from } => OutgoingRest::Memory(&body[*from..]),
            Rest::File(file) => OutgoingRest::File(file),
        };
        Outgoing { start, rest }
    }

    /// Returns true if the body is read from its file while it is sent.
    pub(crate) fn streams_body(&self) -> bool {
        matches!(self.rest, Rest::File(_))
    }
}

/// A request that a plan sends in turn with others.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The method is HEAD: the response has no content, even if its fields announce one.
    pub(crate) is_head: bool,
    /// Index of its name among the plan's rows.
    pub(crate) row: usize,
    pub(crate) usual: Message,
    /// The head of `usual` in the form of HTTP/2, and its length in the form of HTTP/1.1; `None` with
    /// HTTP/1.1, and for a head that changes.
    pub(crate) encoded: Option<(Block, usize)>,
    /// The form for the last request of a connection, if only that one has `Connection: close`.
    pub(crate) last: Option<Message>,
}

impl Prepared {
    #[inline]
    pub(crate) fn message(&self, is_last: bool) -> &Message {
        match &self.last {
            Some(last) if is_last => last,
            _ => &self.usual,
        }
    }
}

/// Makes the value of an Authorization field (RFC 7617).
pub(crate) fn basic_auth(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// Encodes bytes in base 64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| usize::from(group.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..4 {
            let padding = digit > group.len();
            let value = DIGITS[(bits >> (18 - 6 * digit)) & 63];
            text.push(if padding { '=' } else { char::from(value) });
        }
    }
    text
}

/// Encodes pairs as a form does (`application/x-www-form-urlencoded`, URL Standard, section 5.2).
pub(crate) fn urlencoded(pairs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        push_encoded(&mut text, name);
        text.push('=');
        push_encoded(&mut text, value);
    }
    text
}

fn push_encoded(text: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            b' ' => text.push('+'),
            b'*' | b'-' | b'.' | b'_' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

fn push_field(head: &mut String, name: &str, value: &str) {
    // Writing into a String cannot fail.
    let _ = write!(head, "{name}: {value}\r\n");
}

fn check_header(name: &str, value: &str) -> Result<(), PlanError> {
    let bad = |reason: &str, way_out: &'static str| {
        PlanError::new("header", format!("{name}: {value}"), reason, way_out)
    };
    if !is_token(name) {
        return Err(bad("its name is not a token", "write NAME: VALUE"));
    }
    // RFC 9110, section 5.5: CR, LF and NUL must not pass. Other controls have no use.
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err(bad("its value has a control character", "remove it"));
    }
    for (computed, way_out) in COMPUTED {
        if name.eq_ignore_ascii_case(computed) {
            return Err(bad("it is computed from other settings", way_out));
        }
    }
    Ok(())
}

/// Returns true for a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)], body: &[u8], keep_alive: bool) -> String {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let parts = RequestParts {
            method,
            authority: "example.test:81",
            path: "/a?b",
            headers: &headers,
            omitted: &[],
            body: &body.into(),
            keep_alive,
            trace: false,
            tables: &Tables::default(),
        };
        let message = parts.prepare(false).unwrap();
        String::from_utf8(in_memory(message.outgoing(&[]).after(0)).into()).unwrap()
    }

    #[track_caller]
    fn in_memory(part: Part<'_>) -> &[u8] {
        match part {
            Part::Memory(bytes) => bytes,
            Part::File(..) => panic!("the part is in a file"),
        }
    }

    #[test]
    fn plain_request_has_default_fields_only() {
        let expected = format!(
            "GET /a?b HTTP/1.1\r\nHost: example.test:81\r\nUser-Agent: keepwarm/{}\r\nAccept: */*\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(request("GET", &[], b"", true), expected);
    }

    #[test]
    fn given_fields_replace_defaults_case_insensitively() {
        let text = request("GET", &[("host", "x"), ("ACCEPT", "y"), ("Via", "z")], b"", true);
        assert!(text.contains("\r\nhost: x\r\nACCEPT: y\r\nVia: z\r\n"));
        assert!(!text.contains("Host:") && !text.contains("Accept:"));
    }

    #[test]
    fn body_has_length_also_empty_post() {
        assert!(request("POST", &[], b"abc", true).ends_with("Content-Length: 3\r\n\r\nabc"));
        assert!(request("POST", &[], b"", true).ends_with("Content-Length: 0\r\n\r\n"));
        assert!(request("GET", &[], b"ab", true).ends_with("Content-Length: 2\r\n\r\nab"));
        assert!(!request("HEAD", &[], b"", true).contains("Content-Length"));
    }

    #[test]
    fn forms_and_credentials_are_encoded() {
        let pairs = [("a b", "c&d"), ("ü", "*-._~")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(urlencoded(&pairs), "a+b=c%26d&%C3%BC=*-._%7E");
        assert_eq!(basic_auth("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn request_without_keep_alive_says_close() {
        assert!(request("GET", &[], b"", false).ends_with("\r\nConnection: close\r\n\r\n"));
    }

    /// A large body is shared by every request that is made of it.
    #[test]
    fn large_body_is_not_copied() {
        let body = Body::from(vec![b'x'; 10 * COPIED]);
        let Content::Memory(shared) = body.content() else { panic!("it is in memory") };
        let parts = RequestParts {
            method: "POST",
            authority: "a",
            path: "/{n}",
            headers: &[],
            omitted: &[],
            body: &body,
            keep_alive: true,
            trace: false,
            tables: &Tables::default(),
        };
        for templates in [false, true] {
            let parts = if templates { parts } else { RequestParts { path: "/", ..parts } };
            let message = parts.prepare(templates).unwrap();
            let Rest::Memory { body, from } = &message.rest else { panic!("it is in memory") };
            assert!(Arc::ptr_eq(body, shared));
            assert_eq!(*from, COPIED);
            let rendered = b"start".to_vec();
            let outgoing = message.outgoing(&rendered);
            let mut written = 0;
            while !in_memory(outgoing.after(written)).is_empty() {
                written += in_memory(outgoing.after(written)).len().min(1000);
            }
            assert_eq!(written, outgoing.len());
        }
    }
}
