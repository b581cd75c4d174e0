//! A response as counts: for a load, which needs the end of each response and no byte of it.
//!
//! A head that equals the last one, byte by byte, is recognised instead of parsed. Most servers
//! change their head once a second, with the date; a comparison is cheaper than parsing and has the
//! same result, because the meaning of a head depends only on its bytes up to the empty line.

use alloc::string::String;
use alloc::vec::Vec;

use crate::chunked::Chunked;
use crate::head::{self, Attempts, Head, PREFIX};
use crate::{Asked, Error, Framing, Persistence, Refusal, Result, Rules};

/// The longest head that is remembered, to recognise it when it comes again. Each connection keeps
/// one.
const MAX_KNOWN: usize = 1024;

/// A complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The status code.
    pub status: u16,
    /// Bytes of content; chunk framing and trailers are not content.
    pub body_bytes: u64,
    /// Fitness of the connection for another exchange.
    pub persistence: Persistence,
}

/// The result of a call to [`Counter::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fed {
    /// Bytes that belong to this response. Fewer than given only if it is complete.
    pub consumed: usize,
    /// The response, once it is complete.
    pub complete: Option<Counts>,
}

/// The part of the response that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountedPart {
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilEnd,
}

/// Reads one response after another. [`begin`](Self::begin) prepares it for each. A response starts
/// where the last one ended: unlike [`Decoder`](crate::Decoder), it takes no empty line before a
/// head, which a load has to report.
///
/// ```
/// use keepwarm_http1::{Asked, Counter, Rules};
///
/// let mut counter = Counter::new(Rules::default());
/// counter.begin(Asked::Plain, false);
/// let fed = counter.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
/// assert_eq!(fed.complete.map(|counts| (counts.status, counts.body_bytes)), Some((200, 2)));
/// # Ok::<(), keepwarm_http1::Error>(())
/// ```
#[derive(Debug)]
pub struct Counter {
    rules: Rules,
    expected: CountedPart,
    /// The part of a head that earlier calls brought; empty while heads come in one piece.
    partial: Vec<u8>,
    attempts: Attempts,
    asked: Asked,
    interim: u32,
    /// Bytes of this response.
    offset: u64,
    counts: Counts,
    wants_origin: bool,
    server: Option<String>,
    location: Option<String>,
    /// The last head that came in one piece.
    known: Vec<u8>,
    /// The facts that were parsed from the known head.
    known_head: Option<Head>,
}

impl Counter {
    /// Creates a counter.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        let counts = Counts { status: 0, body_bytes: 0, persistence: Persistence::Persistent };
        Self {
            rules,
            expected: CountedPart::Head,
            partial: Vec::new(),
            attempts: Attempts::new(),
            asked: Asked::Plain,
            interim: 0,
            offset: 0,
            counts,
            wants_origin: false,
            server: None,
            location: None,
            known: Vec::new(),
            known_head: None,
        }
    }

    /// Forgets the last response, and expects the response to a request. `wants_origin` keeps its
    /// `Server` and `Location` fields for [`take_server`](Self::take_server) and
    /// [`take_location`](Self::take_location); that allocates, so it is for once a run, not for
    /// each request.
    #[inline]
    pub fn begin(&mut self, asked: Asked, wants_origin: bool) {
        self.asked = asked;
        self.expected = CountedPart::Head;
        self.partial.clear();
        self.attempts = Attempts::new();
        self.offset = 0;
        self.interim = 0;
        self.counts.body_bytes = 0;
        self.wants_origin = wants_origin;
    }

    /// Returns true if a byte of this response has arrived.
    #[must_use]
    pub fn received(&self) -> bool {
        self.offset > 0 || !self.partial.is_empty()
    }

    /// Takes the `Server` field of the final response, if it was wanted and the response had one.
    pub fn take_server(&mut self) -> Option<String> {
        self.server.take()
    }

    /// Takes the `Location` field of the final response, as [`take_server`](Self::take_server).
    pub fn take_location(&mut self) -> Option<String> {
        self.location.take()
    }

    /// Reads the next bytes. Must not be called again once the response is complete or refused.
    ///
    /// # Errors
    ///
    /// The response is refused.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed> {
        let mut consumed = 0;
        while self.expected == CountedPart::Head {
            let Some(head) = self.feed_head(&bytes[consumed..])? else {
                return Ok(Fed { consumed: bytes.len(), complete: None });
            };
            consumed += head.len;
            self.offset += head.len as u64;
            if self.begin_body(&head)? {
                return Ok(Fed { consumed, complete: Some(self.counts) });
            }
        }
        self.feed_body(bytes, consumed)
    }

    /// Handles the end of the peer's stream, which completes a response without another delimiter.
    pub fn end(&mut self) -> Option<Counts> {
        (self.expected == CountedPart::UntilEnd).then_some(self.counts)
    }

    fn fail(&self, error: Error) -> Error {
        Error { offset: self.offset + error.offset, ..error }
    }

    /// Searches the end of the head in earlier bytes and `bytes`. `Head::len` counts bytes of
    /// `bytes` only.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<Head>> {
        if let Some(head) = self.recognise(bytes) {
            return Ok(Some(head));
        }
        let room = self.rules.limits.head.saturating_sub(self.offset as usize);
        if self.partial.is_empty() {
            let within = &bytes[..bytes.len().min(room)];
            let head = if within.is_empty() { None } else { self.parse(within)? };
            match &head {
                Some(head) => self.remember(&bytes[..head.len], head),
                None if bytes.len() > room => return Err(self.too_large(room)),
                None => {
                    self.partial.extend_from_slice(bytes);
                    self.attempts.is_due(bytes);
                }
            }
            return Ok(head);
        }
        let before = self.partial.len();
        let fitting = (room - before).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..fitting]);
        let partial = core::mem::take(&mut self.partial);
        let due = fitting > 0 && self.attempts.is_due(&partial);
        let head = if due { self.parse(&partial) } else { Ok(None) };
        self.partial = partial;
        match head? {
            Some(mut head) => {
                head.len -= before;
                self.offset += before as u64;
                self.partial.clear();
                self.attempts = Attempts::new();
                Ok(Some(head))
            }
            None if fitting < bytes.len() => Err(self.too_large(room)),
            None => Ok(None),
        }
    }

    fn too_large(&self, room: usize) -> Error {
        self.fail(Error { refusal: Refusal::HeadTooLarge, offset: room as u64 })
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<Head>> {
        let seen = bytes.len().min(PREFIX.len());
        if bytes[..seen] != PREFIX[..seen] {
            return Err(self.fail(Error { refusal: Refusal::NotHttp, offset: 0 }));
        }
        let wants_origin = self.wants_origin;
        let (mut server, mut location) = (None, None);
        let head = head::parse(bytes, self.rules.doubt, |name, value| {
            if wants_origin && name.eq_ignore_ascii_case("server") {
                server = Some(String::from_utf8_lossy(value).into_owned());
            }
            if wants_origin && name.eq_ignore_ascii_case("location") {
                location = Some(String::from_utf8_lossy(value).into_owned());
            }
        });
        let head = head.map_err(|error| self.fail(error))?;
        if head.is_some() {
            self.server = server.or_else(|| self.server.take());
            self.location = location.or_else(|| self.location.take());
        }
        Ok(head)
    }

    /// Returns the head if it equals the last one.
    #[inline]
    fn recognise(&self, bytes: &[u8]) -> Option<Head> {
        let head = self.known_head?;
        let same = !self.wants_origin && self.partial.is_empty() && bytes.starts_with(&self.known);
        // Interim responses count towards the same limit, so a head that fitted before may exceed it.
        let fits = self.offset as usize + head.len <= self.rules.limits.head;
        (same && fits).then_some(head)
    }

    fn remember(&mut self, bytes: &[u8], head: &Head) {
        self.known_head = None;
        if bytes.len() <= MAX_KNOWN {
            self.known.clear();
            self.known.extend_from_slice(bytes);
            self.known_head = Some(*head);
        }
    }

    /// Decides how the body ends. Returns true if there is no body: the response is complete.
    #[inline]
    fn begin_body(&mut self, head: &Head) -> Result<bool> {
        let refused = |refusal| Error { refusal, offset: self.offset };
        if head.is_interim() {
            self.interim += 1;
            if self.interim > self.rules.limits.interim {
                return Err(refused(Refusal::TooManyInterim));
            }
            return Ok(false);
        }
        if head.status == 101 && self.asked != Asked::Upgrade {
            return Err(refused(Refusal::UnaskedUpgrade));
        }
        let framing = head.framing(self.asked).map_err(refused)?;
        self.counts.status = head.status;
        self.counts.persistence = head.persistence(framing);
        self.expected = match framing {
            Framing::Empty | Framing::Switched => return Ok(true),
            Framing::Length(left) => CountedPart::Length(left),
            Framing::Chunked => CountedPart::Chunked(Chunked::new()),
            Framing::UntilEnd => CountedPart::UntilEnd,
        };
        Ok(false)
    }

    /// Counts body bytes of `bytes[at..]`.
    #[inline]
    fn feed_body(&mut self, bytes: &[u8], at: usize) -> Result<Fed> {
        let rest = &bytes[at..];
        let (used, complete) = match &mut self.expected {
            CountedPart::Head => (0, false),
            CountedPart::UntilEnd => {
                self.counts.body_bytes += rest.len() as u64;
                (rest.len(), false)
            }
            CountedPart::Length(left) => {
                let used = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= used as u64;
                self.counts.body_bytes += used as u64;
                (used, *left == 0)
            }
            CountedPart::Chunked(chunked) => {
                let mut used = 0;
                while used < rest.len() && !chunked.is_complete() {
                    let skipped = chunked.skip(&rest[used..], &self.rules.limits, |_| {});
                    used += skipped.map_err(|(refusal, at)| Error {
                        refusal,
                        offset: self.offset + (used + at) as u64,
                    })?;
                    let data = chunked.take_data(rest.len() - used);
                    used += data;
                    self.counts.body_bytes += data as u64;
                }
                (used, chunked.is_complete())
            }
        };
        self.offset += used as u64;
        Ok(Fed { consumed: at + used, complete: complete.then_some(self.counts) })
    }
}
