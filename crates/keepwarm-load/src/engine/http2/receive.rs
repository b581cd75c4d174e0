//! Bytes from the peer, as outcomes of streams. Owns the order of handling; the meaning of a frame is
//! `keepwarm-http2`'s.

use std::time::Instant;

use keepwarm_http2::{Code, Connection, Counts, Event, Fault, Fields, Refusal};

use super::super::Engine;
use super::super::slot::State;
use super::Http2;
use crate::counts::{CloseCause, ErrorClass, ErrorKey};

/// Times that a request is sent again because the server has not processed it (RFC 9113, 8.7).
const MOST_GIVEN_BACK: u8 = 32;

/// The longest field that is kept of the first response.
const LONGEST_FIELD: usize = 4096;

impl Http2 {
    /// Keeps the fields that describe the server.
    #[cold]
    fn note(&mut self, block: &[u8]) {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        for field in Fields::of(block).flatten() {
            let (mut name, mut value) = (Vec::new(), Vec::new());
            let decoded = field.decode_name(LONGEST_FIELD, &mut name);
            if decoded.and_then(|()| field.decode_value(LONGEST_FIELD, &mut value)).is_none() {
                continue;
            }
            match &name[..] {
                b"server" => self.noted.0 = Some(text(value)),
                b"location" => self.noted.1 = Some(text(value)),
                _ => {}
            }
        }
    }
}

impl Engine {
    /// Handles bytes of a connection of HTTP/2.
    pub(in super::super) fn take_http2(&mut self, index: usize, bytes: &[u8], now: Instant) {
        if !matches!(self.slots[index].state, State::Open | State::Exchanging) {
            // The peer may still send SETTINGS and PINGs to a connection that is left.
            return;
        }
        let Some(mut http2) = self.slots[index].http2.take() else { return };
        http2.read_at = now;
        http2.was_heard = true;
        // Apart from the streams, so that an event may point into it while they change.
        let mut connection = std::mem::take(&mut http2.connection);
        let mut rest = bytes;
        let refused = loop {
            let event = match connection.next(&mut rest, &mut http2.out) {
                Ok(Some(event)) => event,
                Ok(None) => break None,
                Err(refusal) => break Some(refusal),
            };
            match self.on_frame(index, &mut http2, event, now) {
                Ok(true) => connection.advance(),
                Ok(false) => {}
                Err(refusal) => break Some(refusal),
            }
        };
        http2.connection = connection;
        if std::mem::take(&mut http2.has_settings) {
            let limits = [self.tally.ledger.streams.limit, http2.connection.limit()];
            self.tally.ledger.streams.limit = limits.into_iter().flatten().min();
        }
        self.slots[index].http2 = Some(http2);
        match refused {
            Some(refusal) => self.refuse_connection(index, refusal, bytes, now),
            None => self.go_on(index, now),
        }
    }

    /// Handles one event. Returns true if it has brought a response forward.
    #[inline]
    fn on_frame(
        &mut self,
        index: usize,
        http2: &mut Http2,
        event: Event<'_>,
        now: Instant,
    ) -> Result<bool, Refusal> {
        match event {
            Event::Headers { stream, block, is_last } => {
                let Some(at) = http2.streams.find(stream) else { return Ok(false) };
                http2.has_answered = true;
                if let Some(block) = block {
                    self.look_at(http2, at, block, now);
                }
                let read = http2.streams.places[at].response.headers(block, is_last);
                self.on_read(index, http2, at, read, now)
            }
            Event::Data { stream, bytes, flow, is_last } => {
                let Some(at) = http2.streams.find(stream) else { return Ok(false) };
                let place = &mut http2.streams.places[at];
                if let Some(capture) = &mut place.capture {
                    capture.take_content(bytes, now);
                }
                if let Some(by) = place.inflow.take(flow)?
                    && !is_last
                {
                    Connection::write_window(&mut http2.out, stream, by);
                }
                let read = place.response.data(bytes.len(), is_last);
                self.on_read(index, http2, at, read, now)?;
                Ok(!bytes.is_empty() || is_last)
            }
            Event::Reset { stream, code } => {
                let Some(at) = http2.streams.find(stream) else { return Ok(false) };
                self.on_reset(index, http2, at, code, now);
                Ok(true)
            }
            Event::GoAway { last, code } => {
                self.on_goaway(index, http2, last, code, now);
                Ok(false)
            }
            Event::Settings { window } => {
                http2.widen_all(window)?;
                http2.has_settings = true;
                Ok(false)
            }
            Event::StreamWindow { stream, by } => {
                http2.widen(stream, by)?;
                Ok(false)
            }
            Event::Window | Event::Nothing => Ok(false),
        }
    }

    /// Keeps what the plan, or the first response, is to show of a head.
    #[inline]
    fn look_at(&mut self, http2: &mut Http2, at: usize, block: &[u8], now: Instant) {
        if self.tally.first_response.is_none() {
            http2.note(block);
        }
        if let Some(capture) = &mut http2.streams.places[at].capture {
            capture.take_fields(block, now);
        }
    }

    /// Handles what a part of a response has led to.
    #[inline]
    fn on_read(
        &mut self,
        index: usize,
        http2: &mut Http2,
        at: usize,
        read: Result<Option<Counts>, Fault>,
        now: Instant,
    ) -> Result<bool, Refusal> {
        match read {
            Ok(None) => Ok(true),
            Ok(Some(counts)) => {
                self.stream_complete(index, http2, at, counts, now);
                Ok(true)
            }
            Err(Fault::Compression) => Err(Refusal::Compression),
            Err(fault) => {
                let class = match fault {
                    Fault::TooLarge => ErrorClass::TooLarge,
                    _ => ErrorClass::BadFraming,
                };
                let failure =
                    (ErrorKey { class, errno: None, protocol: None }, Some(Code::PROTOCOL_ERROR));
                self.fail_stream(index, http2, at, failure, now, || fault.to_string());
                self.tally.ledger.streams.cancelled += 1;
                Ok(true)
            }
        }
    }

    /// Counts a complete response.
    #[inline]
    fn stream_complete(
        &mut self,
        index: usize,
        http2: &mut Http2,
        at: usize,
        counts: Counts,
        now: Instant,
    ) {
        self.enter(index, http2, at);
        let noted = |http2: &mut Http2| std::mem::take(&mut http2.noted);
        let fields = if self.tally.first_response.is_none() { noted(http2) } else { (None, None) };
        self.answered(index, counts.status, counts.body_bytes, fields, now);
        let stream = &http2.streams.places[at];
        let (id, is_early) = (stream.id, stream.is_uploading());
        self.exit(index, http2, at);
        if is_early {
            // The server has answered without the whole body, and needs no more of it.
            Connection::write_reset(&mut http2.out, id, Code::NO_ERROR);
            self.tally.ledger.streams.cancelled += 1;
        }
        if let Some(age) = self.plan.max_lifetime()
            && now.saturating_duration_since(self.slots[index].opened_at) >= age
        {
            http2.leaving = http2.leaving.or(Some(CloseCause::MaxLifetime));
        }
    }

    fn on_reset(&mut self, index: usize, http2: &mut Http2, at: usize, code: Code, now: Instant) {
        let class = if code == Code::REFUSED_STREAM {
            self.tally.ledger.streams.refused += 1;
            ErrorClass::StreamRefused
        } else {
            self.tally.ledger.streams.reset += 1;
            ErrorClass::StreamReset
        };
        let part = match http2.streams.places[at].response.received() {
            true => "within the response",
            false => "before the response",
        };
        let key = ErrorKey { class, errno: None, protocol: None };
        self.fail_stream(index, http2, at, (key, None), now, || {
            format!("the server reset the stream {part}: {code}")
        });
    }

    /// Handles the announcement that the server will end the connection: streams that it has not
    /// processed are sent again on another connection, the others go on. A request that is sent again
    /// keeps its times: its service time counts from its first byte.
    fn on_goaway(&mut self, index: usize, http2: &mut Http2, last: u32, code: Code, now: Instant) {
        self.tally.ledger.streams.goaways += 1;
        http2.leaving = Some(CloseCause::GoAway);
        if code != Code::NO_ERROR {
            http2.farewell = Some(code);
        }
        let key = ErrorKey { class: ErrorClass::Unprocessed, errno: None, protocol: None };
        for at in http2.streams.open() {
            let stream = &http2.streams.places[at];
            if stream.id <= last {
                continue;
            }
            self.tally.ledger.streams.unprocessed += 1;
            if stream.current.given_back < MOST_GIVEN_BACK {
                let (mut request, deadline) = (stream.current, stream.deadline);
                request.given_back += 1;
                request.written = 0;
                self.queues.given_back.push_back((request, deadline));
                self.tally.ledger.streams.sent_again += 1;
                if self.plan.shows_exchange() {
                    // What is shown goes with the request.
                    self.enter(index, http2, at);
                }
                http2.drop_stream(at);
            } else {
                self.fail_stream(index, http2, at, (key, None), now, || {
                    format!("by GOAWAY the server gave it back unprocessed once more: {code}")
                });
            }
        }
    }
}
