//! A response as events, out of the buffer that its bytes were read into.

use alloc::vec::Vec;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};

use crate::chunked::Chunked;
use crate::head::{self, Attempts, Head};
use crate::{Asked, Error, Framing, Persistence, Refusal, Result, Rules};

/// The head of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseHead {
    /// The status code.
    pub status: StatusCode,
    /// HTTP/1.1 or HTTP/1.0.
    pub version: Version,
    /// The fields. Their values are slices of the buffer.
    pub headers: HeaderMap,
    /// The framing of the body that follows.
    pub framing: Framing,
}

/// A part of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An interim response (1xx but 101).
    Interim(ResponseHead),
    /// The head of the final response.
    Head(ResponseHead),
    /// Data of the body, at least a byte: a slice of the buffer.
    Data(Bytes),
    /// The trailers of a chunked body, at least one.
    Trailers(HeaderMap),
}

/// The part of the response that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilEnd,
    Complete,
}

/// Reads one response after another on a connection. [`begin`](Self::begin) prepares it for each.
///
/// ```
/// use bytes::BytesMut;
/// use keepwarm_http1::{Asked, Decoder, Event, Persistence, Rules};
///
/// let mut decoder = Decoder::new(Rules::default());
/// decoder.begin(Asked::Plain);
/// let mut read = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
/// let Some(Event::Head(head)) = decoder.decode(&mut read)? else { panic!("a whole head") };
/// assert_eq!(head.status, 200);
/// assert_eq!(decoder.decode(&mut read)?, Some(Event::Data("hello".into())));
/// assert!(decoder.is_complete() && read.is_empty());
/// assert_eq!(decoder.persistence(), Persistence::Persistent);
/// # Ok::<(), keepwarm_http1::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    asked: Asked,
    expected: Expected,
    persistence: Persistence,
    is_http_1_0: bool,
    has_keep_alive: bool,
    attempts: Attempts,
    interim: u32,
    /// Bytes of this response that have been taken out of the buffer.
    offset: u64,
    /// The trailer section, as far as it has arrived.
    trailers: Vec<u8>,
}

impl Decoder {
    /// Creates a decoder. No response is expected before [`begin`](Self::begin).
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            asked: Asked::Plain,
            expected: Expected::Complete,
            persistence: Persistence::Persistent,
            is_http_1_0: false,
            has_keep_alive: false,
            attempts: Attempts::new(),
            interim: 0,
            offset: 0,
            trailers: Vec::new(),
        }
    }

    /// Expects the response to a request.
    pub fn begin(&mut self, asked: Asked) {
        self.asked = asked;
        self.expected = Expected::Head;
        self.persistence = Persistence::Persistent;
        self.attempts = Attempts::new();
        self.interim = 0;
        self.offset = 0;
        self.trailers.clear();
    }

    /// Takes the next part of the response out of `input`. `None` if more bytes are needed, or the
    /// response [is complete](Self::is_complete).
    ///
    /// # Errors
    ///
    /// The response is refused. The decoder must not be used before the next `begin`.
    #[inline]
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Event>> {
        match self.expected {
            Expected::Head if input.is_empty() => Ok(None),
            Expected::Head => self.decode_head(input),
            Expected::Complete if self.trailers.is_empty() => Ok(None),
            _ => self.decode_body(input),
        }
    }

    #[inline(never)]
    fn decode_body(&mut self, input: &mut BytesMut) -> Result<Option<Event>> {
        match self.expected {
            Expected::Length(left) => {
                let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let left = left - taken as u64;
                self.expected = if left == 0 { Expected::Complete } else { Expected::Length(left) };
                Ok(self.data(input, taken))
            }
            Expected::Chunked(chunked) => self.decode_chunked(chunked, input),
            Expected::UntilEnd => {
                let taken = input.len();
                Ok(self.data(input, taken))
            }
            Expected::Head | Expected::Complete => self.take_trailers(),
        }
    }

    /// Ends the input: the peer has ended its side. `rest` are the bytes that are left in the buffer,
    /// and are not enough for an event.
    ///
    /// # Errors
    ///
    /// The response is not complete with that, or its last line is refused, which is read now.
    pub fn end(&mut self, rest: &[u8]) -> Result<()> {
        if self.expected == Expected::Head && !rest.is_empty() {
            head::parse(rest, self.rules.doubt, |_, _| {}).map_err(|error| self.fail(error))?;
        }
        let rest = rest.len();
        let refusal = match self.expected {
            Expected::Complete => return Ok(()),
            Expected::UntilEnd => {
                self.expected = Expected::Complete;
                return Ok(());
            }
            Expected::Head if rest == 0 && self.offset == 0 => Refusal::EndBeforeHead,
            Expected::Head => Refusal::EndWithinHead,
            Expected::Length(_) | Expected::Chunked(_) => Refusal::EndWithinBody,
        };
        Err(Error { refusal, offset: self.offset + rest as u64 })
    }

    /// Returns true if every byte of the response has been taken. Bytes that are left in the buffer
    /// belong to no response, or to another protocol. Trailers may be left to
    /// [`decode`](Self::decode).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.expected == Expected::Complete
    }

    /// Returns true if no final head has been decoded since [`begin`](Self::begin).
    #[must_use]
    pub fn expects_head(&self) -> bool {
        self.expected == Expected::Head
    }

    /// Returns the persistence that the final head announced.
    #[must_use]
    pub const fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Returns true if the last final head has a field `Keep-Alive`, which
    /// [`keep_alive`](crate::fields::keep_alive) reads.
    #[must_use]
    pub const fn has_keep_alive(&self) -> bool {
        self.has_keep_alive
    }

    /// Returns true if the last head was in HTTP/1.0.
    #[must_use]
    pub const fn is_http_1_0(&self) -> bool {
        self.is_http_1_0
    }

    /// Returns the bytes of the body that are certain to come; `None` if the body ends otherwise.
    #[must_use]
    pub const fn length_left(&self) -> Option<u64> {
        match self.expected {
            Expected::Length(left) => Some(left),
            Expected::Complete => Some(0),
            _ => None,
        }
    }

    fn data(&mut self, input: &mut BytesMut, taken: usize) -> Option<Event> {
        self.offset += taken as u64;
        (taken > 0).then(|| Event::Data(input.split_to(taken).freeze()))
    }

    fn fail(&self, error: Error) -> Error {
        Error { offset: self.offset + error.offset, ..error }
    }

    #[inline(never)]
    fn decode_head(&mut self, input: &mut BytesMut) -> Result<Option<Event>> {
        if matches!(input[0], b'\r' | b'\n') && !self.skip_empty_lines(input)? {
            return Ok(None);
        }
        let room = self.rules.limits.head.saturating_sub(self.offset as usize);
        let bytes = &input[..input.len().min(room)];
        let too_large = Error { refusal: Refusal::HeadTooLarge, offset: room as u64 };
        if bytes.is_empty() {
            return Err(self.fail(too_large));
        }
        let mut spans = Spans::new();
        let parsed = if self.attempts.is_due(bytes) {
            let base = bytes.as_ptr().addr();
            head::parse(bytes, self.rules.doubt, |name, value| spans.push(base, name, value))
                .map_err(|error| self.fail(error))?
        } else {
            None
        };
        let Some(head) = parsed else {
            return if input.len() > room { Err(self.fail(too_large)) } else { Ok(None) };
        };
        self.take_head(head, &spans, input)
    }

    /// Takes the empty lines before a head out of `input`, so that none is looked at twice. Returns
    /// true if something is left that may be one.
    #[cold]
    fn skip_empty_lines(&mut self, input: &mut BytesMut) -> Result<bool> {
        let mut skipped = 0;
        loop {
            match &input[skipped..] {
                [b'\n', ..] => skipped += 1,
                [b'\r', b'\n', ..] => skipped += 2,
                [b'\r', _, ..] => {
                    let offset = skipped as u64 + 1;
                    return Err(self.fail(Error { refusal: Refusal::LineEnd, offset }));
                }
                _ => break,
            }
        }
        let room = self.rules.limits.head.saturating_sub(self.offset as usize);
        if skipped > room {
            return Err(self.fail(Error { refusal: Refusal::HeadTooLarge, offset: room as u64 }));
        }
        input.advance(skipped);
        self.offset += skipped as u64;
        self.attempts = Attempts::new();
        Ok(!matches!(input[..], [] | [b'\r']))
    }

    fn take_head(
        &mut self,
        head: Head,
        spans: &Spans,
        input: &mut BytesMut,
    ) -> Result<Option<Event>> {
        let bytes = input.split_to(head.len).freeze();
        let mut headers = HeaderMap::new();
        spans.add_to(&mut headers, &bytes).map_err(|error| self.fail(error))?;
        self.offset += head.len as u64;
        self.attempts = Attempts::new();
        let at_end = |refusal| Error { refusal, offset: self.offset };
        let status = StatusCode::from_u16(head.status).map_err(|_| at_end(Refusal::StatusLine))?;
        let version = if head.is_http_1_0 { Version::HTTP_10 } else { Version::HTTP_11 };
        if head.is_interim() {
            self.interim += 1;
            if self.interim > self.rules.limits.interim {
                return Err(at_end(Refusal::TooManyInterim));
            }
            let framing = Framing::Empty;
            return Ok(Some(Event::Interim(ResponseHead { status, version, headers, framing })));
        }
        if head.status == 101 && self.asked != Asked::Upgrade {
            return Err(at_end(Refusal::UnaskedUpgrade));
        }
        let framing = head.framing(self.asked).map_err(at_end)?;
        self.is_http_1_0 = head.is_http_1_0;
        self.has_keep_alive = head.has_keep_alive;
        self.persistence = head.persistence(framing);
        self.expected = match framing {
            Framing::Empty | Framing::Switched => Expected::Complete,
            Framing::Length(length) => Expected::Length(length),
            Framing::Chunked => Expected::Chunked(Chunked::new()),
            Framing::UntilEnd => Expected::UntilEnd,
        };
        Ok(Some(Event::Head(ResponseHead { status, version, headers, framing })))
    }

    fn decode_chunked(
        &mut self,
        mut chunked: Chunked,
        input: &mut BytesMut,
    ) -> Result<Option<Event>> {
        self.skip(&mut chunked, input)?;
        let taken = chunked.take_data(input.len());
        let event = self.data(input, taken);
        // The end of the body may have arrived with its last data. What is wrong behind the data is
        // refused by the next call.
        if event.is_some() {
            let (mut ahead, trailers) = (chunked, self.trailers.len());
            match self.skip(&mut ahead, input) {
                Ok(()) => chunked = ahead,
                Err(_) => self.trailers.truncate(trailers),
            }
        }
        if chunked.is_complete() {
            self.expected = Expected::Complete;
            return if event.is_some() { Ok(event) } else { self.take_trailers() };
        }
        self.expected = Expected::Chunked(chunked);
        Ok(event)
    }

    fn skip(&mut self, chunked: &mut Chunked, input: &mut BytesMut) -> Result<()> {
        let trailers = &mut self.trailers;
        let skipped = chunked.skip(input, &self.rules.limits, |byte| trailers.push(byte));
        match skipped {
            Ok(skipped) => {
                input.advance(skipped);
                self.offset += skipped as u64;
                Ok(())
            }
            Err((refusal, at)) => Err(self.fail(Error { refusal, offset: at as u64 })),
        }
    }

    /// Parses the trailer section. Its shape has been checked byte by byte.
    fn take_trailers(&mut self) -> Result<Option<Event>> {
        if self.trailers.len() <= 2 {
            // There are no trailers, only the empty line. The buffer is kept for the next response.
            self.trailers.clear();
            return Ok(None);
        }
        let section = core::mem::take(&mut self.trailers);
        let refused = self.fail(Error { refusal: Refusal::Trailer, offset: 0 });
        // The CR LF behind the last line.
        let lines = &section[..section.len().saturating_sub(2)];
        let mut headers = HeaderMap::new();
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|&byte| byte == b':').ok_or(refused)?;
            let value = crate::fields::blanks_trimmed(line[colon + 1..].trim_ascii_end());
            let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| refused)?;
            let value = HeaderValue::from_bytes(value).map_err(|_| refused)?;
            headers.try_append(name, value).map_err(|_| refused)?;
        }
        Ok((!headers.is_empty()).then_some(Event::Trailers(headers)))
    }
}

/// Places of a field in its head: start and end of the name, start and end of the value.
type Span = [u32; 4];

/// Places of the fields of a head. Only those of large heads are allocated.
struct Spans {
    on_stack: [Span; Self::ON_STACK],
    len: usize,
    more: Vec<Span>,
}

impl Spans {
    const ON_STACK: usize = 24;

    const fn new() -> Self {
        Self { on_stack: [[0; 4]; Self::ON_STACK], len: 0, more: Vec::new() }
    }

    #[inline]
    fn push(&mut self, base: usize, name: &str, value: &[u8]) {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr() - base;
            (start as u32, (start + part.len()) as u32)
        };
        let ((a, b), (c, d)) = (place(name.as_bytes()), place(value));
        match self.on_stack.get_mut(self.len) {
            Some(span) => *span = [a, b, c, d],
            None => self.more.push([a, b, c, d]),
        }
        self.len += 1;
    }

    /// Adds the fields as slices of their head.
    fn add_to(&self, headers: &mut HeaderMap, head: &Bytes) -> Result<()> {
        let too_many = |_| Error { refusal: Refusal::TooManyFields, offset: 0 };
        // Room for most heads at once. A head of many fields has few names, as a rule.
        headers.try_reserve(self.len.min(Self::ON_STACK)).map_err(too_many)?;
        let on_stack = self.on_stack.iter().take(self.len);
        for span in on_stack.chain(&self.more) {
            let [a, b, c, d] = span.map(|place| place as usize);
            let refused = |refusal| Error { refusal, offset: a as u64 };
            let name = HeaderName::from_bytes(&head[a..b]);
            let name = name.map_err(|_| refused(Refusal::FieldName))?;
            let value = HeaderValue::from_maybe_shared(head.slice(c..d));
            let value = value.map_err(|_| refused(Refusal::FieldValue))?;
            headers.try_append(name, value).map_err(too_many)?;
        }
        Ok(())
    }
}
