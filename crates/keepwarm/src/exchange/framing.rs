//! Framing of a request body: by a length or by chunks (RFC 9112, 6), and the check that the body
//! is as long as declared.
//!
//! A server that sees another end of a request than its sender wrote takes the rest for the next
//! request. So contradictory fields are rejected before sending, and a body that turns out longer
//! or shorter than declared is broken off: its connection ends, and no server takes it for
//! complete.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HOST, HeaderName, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body as _, Frame, SizeHint};
use keepwarm_http1::encode::RequestFraming;

use super::outgoing::Outgoing;
use crate::error::{BoxError, Error, Result};
use crate::wire::body::{Body, BodyStream};

/// Fields on framing, routing and authorization, not allowed in trailers (RFC 9110, 6.5.1).
const NO_TRAILERS: [HeaderName; 14] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Framing of one body.
struct Framing {
    chunked: bool,
    /// Bytes that the body must have; `None` for any number.
    length: Option<u64>,
    trailers: Vec<HeaderName>,
}

/// Rejects fields that contradict the body, before any work is done for the request. Otherwise
/// returns true if the request needs a server that understands chunks; also true where the length
/// of the body is not known yet.
pub(crate) fn check(outgoing: &Outgoing) -> Result<bool> {
    if outgoing.headers.is_empty() && outgoing.body().is_some_and(Body::is_in_memory) {
        return Ok(false);
    }
    // RFC 9112, 3.2: a server answers 400, and one that does not may read either of them.
    if outgoing.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Error::invalid("Host is set twice"));
    }
    match outgoing.body() {
        Some(body) => plan(&outgoing.headers, body).map(|framing| framing.chunked),
        None => Ok(false),
    }
}

/// Prepares a body for sending, and returns its framing on the wire.
pub(crate) fn apply(
    method: &Method,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<RequestFraming> {
    if body.is_end_stream() && headers.is_empty() {
        return Ok(undeclared(method));
    }
    let is_in_memory = body.is_in_memory();
    body.make();
    let Framing { chunked, length, trailers } = plan(headers, body)?;
    if body.is_end_stream() {
        let is_declared = headers.contains_key(CONTENT_LENGTH);
        return Ok(if is_declared { RequestFraming::Length(0) } else { undeclared(method) });
    }
    if !is_in_memory {
        let measured = |stream| Measured { stream, left: length, trailers, held: None, last: None };
        body.wrap(measured);
    }
    Ok(match length {
        Some(length) if !chunked => RequestFraming::Length(length),
        _ => RequestFraming::Chunked,
    })
}

/// Returns the framing of a request without a body. Some servers demand a length even then (411),
/// if the method gives a body a meaning (RFC 9110, 8.6).
fn undeclared(method: &Method) -> RequestFraming {
    if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        RequestFraming::Length(0)
    } else {
        RequestFraming::Undeclared
    }
}

fn plan(headers: &HeaderMap, body: &Body) -> Result<Framing> {
    let declared = declared_length(headers)?;
    let asks_for_chunks = asks_for_chunks(headers)?;
    if body.is_end_stream() {
        if let Some(length @ 1..) = declared {
            return Err(Error::invalid(format!(
                "Content-Length is {length}, and there is no body"
            )));
        }
        return Ok(Framing { chunked: false, length: Some(0), trailers: Vec::new() });
    }
    let known = body.size_hint().exact();
    if let (Some(declared), Some(known)) = (declared, known)
        && declared != known
    {
        return Err(Error::invalid(format!(
            "Content-Length is {declared}, and the body has {known} bytes"
        )));
    }
    let trailers = announced_trailers(headers)?;
    let length = declared.or(known);
    let has_trailers = !trailers.is_empty() && !body.is_in_memory();
    Ok(Framing { chunked: asks_for_chunks || length.is_none() || has_trailers, length, trailers })
}

/// Returns the value of `Content-Length`, which may be repeated with the same number (RFC 9110,
/// 8.6).
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let length = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let length = length.and_then(|text| text.parse::<u64>().ok());
        let Some(length) = length else {
            return Err(Error::invalid("Content-Length is no number of bytes"));
        };
        if declared.is_some_and(|declared| declared != length) {
            return Err(Error::invalid("Content-Length is set twice, and differs"));
        }
        declared = Some(length);
    }
    Ok(declared)
}

/// Returns true if the caller wants chunks. No other coding is supported.
fn asks_for_chunks(headers: &HeaderMap) -> Result<bool> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let members = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut codings = members.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Error::invalid(
            "Transfer-Encoding is set to something else than chunked, which is all that is spoken; \
             remove it",
        )),
    }
}

/// Returns a field's value without the whitespace around it, which HTTP/1.1 passes over and HTTP/2
/// forbids (RFC 9113, 8.2.1).
pub(super) fn trimmed(value: &HeaderValue) -> Cow<'_, HeaderValue> {
    let bytes = value.as_bytes();
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if !is_space(bytes.first()) && !is_space(bytes.last()) {
        return Cow::Borrowed(value);
    }
    let mut shorter = HeaderValue::from_bytes(bytes.trim_ascii()).expect("a part of a value");
    shorter.set_sensitive(value.is_sensitive());
    Cow::Owned(shorter)
}

fn announced_trailers(headers: &HeaderMap) -> Result<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(TRAILER) {
        let members = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // Empty members mean nothing (RFC 9110, 5.6.1).
        for name in members.filter(|name| !name.is_empty()) {
            let name = HeaderName::from_bytes(name)
                .map_err(|_| Error::invalid("Trailer has something that is no field name"))?;
            if NO_TRAILERS.contains(&name) {
                return Err(Error::invalid(format!(
                    "Trailer announces {name}, which cannot be one"
                )));
            }
            names.push(name);
        }
    }
    Ok(names)
}

/// A stream that ends in an error unless it is as long as declared, and its trailers announced.
struct Measured {
    stream: BodyStream,
    /// Bytes still due; `None` if any number may come.
    left: Option<u64>,
    trailers: Vec<HeaderName>,
    /// The last bytes that are due, held back until the stream has ended: with them the request
    /// would be complete, and the server would take further bytes for the next request.
    held: Option<Bytes>,
    /// Trailers, if any, once the stream has ended.
    last: Option<Option<HeaderMap>>,
}

impl Measured {
    fn take(&mut self, data: Bytes) -> Result<Option<Bytes>, BoxError> {
        let Some(left) = &mut self.left else { return Ok(Some(data)) };
        let Some(rest) = left.checked_sub(data.len() as u64).filter(|_| self.held.is_none()) else {
            return Err("the body is longer than was declared".into());
        };
        *left = rest;
        if rest > 0 || self.stream.is_end_stream() {
            return Ok(Some(data));
        }
        self.held = Some(data);
        Ok(None)
    }

    fn end(&mut self, mut trailers: Option<HeaderMap>) -> Result<(), BoxError> {
        if let Some(left @ 1..) = self.left {
            return Err(format!("the body ended {left} bytes before the length declared").into());
        }
        let mut names = trailers.iter().flat_map(HeaderMap::keys);
        if let Some(name) = names.find(|name| !self.trailers.contains(name)) {
            return Err(format!("the trailer {name} was not announced in Trailer").into());
        }
        for value in trailers.iter_mut().flat_map(HeaderMap::values_mut) {
            if let Cow::Owned(shorter) = trimmed(value) {
                *value = shorter;
            }
        }
        self.last = Some(trailers);
        Ok(())
    }

    /// Returns the next held frame once the stream has ended.
    fn next_of_last(&mut self) -> Option<Frame<Bytes>> {
        let held = self.held.take().map(Frame::data);
        held.or_else(|| self.last.as_mut()?.take().map(Frame::trailers))
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while self.last.is_none() {
            match ready!(self.stream.as_mut().poll_frame(cx)).transpose()? {
                None => self.end(None)?,
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        if let Some(data) = self.take(data)? {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.end(Some(trailers))?;
                        }
                    }
                },
            }
        }
        Poll::Ready(self.next_of_last().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.last {
            Some(trailers) => self.held.is_none() && trailers.is_none(),
            // Bytes that are still due (`left`) are reported as an error by the next poll: not the
            // end yet.
            None => {
                self.held.is_none() && self.left.unwrap_or(0) == 0 && self.stream.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, Bytes::len) as u64;
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}
