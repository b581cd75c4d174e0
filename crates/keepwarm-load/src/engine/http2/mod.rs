//! Connections of HTTP/2 on the same loop: several requests in flight on one socket. Owns the streams
//! of a connection, and what an event does to them; `keepwarm-http2` owns the frames, `exchange` the
//! counting of outcomes and the end of a connection.
//!
//! A slot is a connection, as with HTTP/1.1. It dials for one request; once it is established, it
//! takes further ones, as many at once as the plan asks for and the server allows: one before the
//! server has said how many. All that one read makes possible is written in one call.
//!
//! ```text
//!             stream opened, HEADERS           last frame of the response
//!   request ─────────────────────────► in flight ───────────────────────────► completed
//!                                          │  RST_STREAM, a fault, a timeout (RST_STREAM CANCEL)
//!                                          ├────────────────────────────────────► failed, alone
//!                                          │  FIN, RST, a broken frame
//!                                          └────────────► failed, with all of its connection
//! ```

mod receive;
mod send;
mod streams;

use std::collections::VecDeque;
use std::time::Instant;

use keepwarm_http2::{Code, Connection, Refusal};
use rustix::io::Errno;

use super::Engine;
use super::exchange::{ConnectionEnd, quoted};
use super::slot::State;
use crate::counts::{CloseCause, ErrorClass, ErrorKey, Protocol};
use crate::pacer::{Pacer, Step};
use streams::{Stream, Streams};

/// Memory of a stream in use: its place, its id in the table of ids, and its fields in the buffer.
pub(super) const BYTES_PER_STREAM: usize = size_of::<Stream>() + 64 + 256;

/// The HTTP/2 side of a connection.
#[derive(Debug)]
pub(super) struct Http2 {
    connection: Connection,
    pub(super) streams: Streams,
    /// Frames on their way to the socket, and the bytes of them that are written.
    out: Vec<u8>,
    written: usize,
    /// Places of streams that have a body to send, and a window for it.
    uploads: VecDeque<usize>,
    /// Why the connection takes no further request.
    leaving: Option<CloseCause>,
    /// The most streams at once so far.
    peak: usize,
    /// Further frames will follow before the buffer is written.
    is_gathering: bool,
    /// No stream times out before this instant.
    wake_at: Option<Instant>,
    /// Time at which bytes came last; before the first, that of the beginning.
    read_at: Instant,
    /// The peer's settings have come, and were not looked at.
    has_settings: bool,
    /// The last frame of this side is written, or in the buffer.
    said_goaway: bool,
    /// The peer has sent something.
    was_heard: bool,
    /// The peer has answered a request.
    has_answered: bool,
    /// The error of the peer's GOAWAY.
    farewell: Option<Code>,
    /// `Server` and `Location` of the head read last, while no response is complete.
    noted: (Option<String>, Option<String>),
}

impl Http2 {
    fn new(now: Instant) -> Box<Self> {
        let mut out = Vec::new();
        Connection::write_preface(&mut out);
        Box::new(Self {
            connection: Connection::default(),
            streams: Streams::default(),
            out,
            written: 0,
            uploads: VecDeque::new(),
            leaving: None,
            peak: 0,
            is_gathering: true,
            wake_at: None,
            read_at: now,
            has_settings: false,
            said_goaway: false,
            was_heard: false,
            has_answered: false,
            farewell: None,
            noted: (None, None),
        })
    }

    /// Frees the place of a stream.
    #[inline]
    fn drop_stream(&mut self, at: usize) {
        if std::mem::take(&mut self.streams.places[at].is_queued) {
            self.uploads.retain(|queued| *queued != at);
        }
        self.streams.remove(at);
    }

    /// Returns true if the connection takes no further request.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Returns the most streams that were open at once.
    pub(super) fn peak(&self) -> u64 {
        self.peak as u64
    }

    /// Returns true if bytes wait for the socket.
    pub(super) fn is_writing(&self) -> bool {
        self.written < self.out.len()
            || (!self.uploads.is_empty() && self.connection.send_window() > 0)
    }
}

impl Engine {
    /// Begins HTTP/2 on an established connection, with the request that it was dialed for.
    pub(super) fn begin_http2(&mut self, index: usize, now: Instant) {
        self.slots[index].http2 = Some(Http2::new(now));
        self.open_stream(index, now);
        self.go_on(index, now);
    }

    /// Returns how many requests the connection of a slot takes now.
    #[inline]
    pub(super) fn room(&self, index: usize) -> usize {
        let slot = &self.slots[index];
        let Some(http2) = &slot.http2 else { return usize::from(slot.state == State::Open) };
        if http2.leaving.is_some() || !matches!(slot.state, State::Open | State::Exchanging) {
            return 0;
        }
        let open = http2.streams.len();
        let wanted = self.plan.streams().saturating_sub(open);
        let left =
            self.plan.requests_per_connection().map_or(u64::MAX, |most| most - slot.requests);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        wanted.min(http2.connection.room(open)).min(left)
    }

    /// Takes further requests, writes what waits, and gives the slot the state of its streams.
    pub(super) fn go_on(&mut self, index: usize, now: Instant) {
        if let Some(http2) = &mut self.slots[index].http2 {
            http2.is_gathering = true;
        }
        self.refill(index, now);
        let slot = &mut self.slots[index];
        let Some(http2) = &mut slot.http2 else { return };
        http2.is_gathering = false;
        if http2.leaving.is_none() && http2.connection.is_used_up() {
            http2.leaving = Some(CloseCause::StreamsUsedUp);
            slot.is_for_streams = true;
        }
        let leaving = http2.leaving.filter(|_| http2.streams.is_empty());
        if http2.streams.is_empty() && slot.state == State::Exchanging {
            slot.state = State::Open;
        }
        let is_stuck = http2.streams.is_empty() && http2.connection.room(0) == 0;
        if http2.streams.is_empty() {
            http2.wake_at = None;
        }
        let wake_at = match (http2.wake_at, self.plan.max_lifetime()) {
            // Its timer is another one.
            _ if !matches!(slot.state, State::Open | State::Exchanging) => slot.wake_at,
            (Some(at), _) => Some(at),
            (None, _) if leaving.is_some() => None,
            // A server that allows no stream at all is not waited for without end.
            (None, _) if is_stuck => Some(now + self.plan.timeout()),
            (None, age) => age.map(|age| slot.opened_at + age),
        };
        slot.wake_at = wake_at;
        if let Some(at) = wake_at {
            self.arm(index, at);
        }
        self.flush(index);
        if let Some(cause) = leaving
            && matches!(self.slots[index].state, State::Open)
        {
            self.leave(index, cause, None);
        }
    }

    /// Gives the requests of a closed loop that a server has given back to connections with room, and lets
    /// slots without one dial: nothing else would wake either of them, once the pacer has no request.
    #[cold]
    pub(super) fn serve_given_back(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            if self.queues.given_back.is_empty() {
                return;
            }
            let is_vacant = self.slots[index].state == State::Vacant;
            if self.slots[index].http2.is_some() && self.room(index) > 0 {
                self.go_on(index, now);
            } else if is_vacant && !self.queues.ready.contains(&index) {
                self.queues.ready.push_back(index);
            }
        }
    }

    /// Gives the connection as many requests as it takes and the pacer has.
    fn refill(&mut self, index: usize, now: Instant) {
        while self.room(index) > 0
            && let Some(request) = self.queues.given_back.pop_front()
        {
            self.resume(index, request);
        }
        if self.is_open_loop() {
            if self.room(index) > 0 {
                self.offer(index);
            }
            return self.release_due(now);
        }
        for _ in 0..self.room(index) {
            let Pacer::Closed(pacer) = &self.pacing.pacer else { return };
            if pacer.next(now - self.started, self.tally.ledger.scheduled) != Step::Send {
                return;
            }
            self.tally.ledger.scheduled += 1;
            self.start(index, now, now);
        }
    }

    /// Puts the connection into the queue of those that take requests of an open loop.
    pub(super) fn offer(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.in_idle_queue {
            slot.in_idle_queue = true;
            self.queues.idle.push_back(index);
        }
    }

    /// Makes a stream's request the slot's current one, so that its outcome can be counted.
    #[inline]
    fn enter(&mut self, index: usize, http2: &mut Http2, at: usize) {
        let (slot, stream) = (&mut self.slots[index], &mut http2.streams.places[at]);
        slot.current = stream.current;
        std::mem::swap(&mut slot.capture, &mut stream.capture);
    }

    /// Frees the place of a stream whose outcome was counted.
    #[inline]
    fn exit(&mut self, index: usize, http2: &mut Http2, at: usize) {
        let (slot, stream) = (&mut self.slots[index], &mut http2.streams.places[at]);
        if !self.plan.shows_exchange() {
            std::mem::swap(&mut slot.capture, &mut stream.capture);
        }
        http2.drop_stream(at);
    }

    /// Fails one stream, and leaves the others alone. `code` is sent to a peer that still serves it.
    fn fail_stream(
        &mut self,
        index: usize,
        http2: &mut Http2,
        at: usize,
        failure: (ErrorKey, Option<Code>),
        now: Instant,
        example: impl FnOnce() -> String,
    ) {
        let (key, code) = failure;
        self.enter(index, http2, at);
        let id = http2.streams.places[at].id;
        self.fail_as(index, key, now, example);
        self.exit(index, http2, at);
        if let Some(code) = code {
            Connection::write_reset(&mut http2.out, id, code);
        }
    }

    /// Fails every stream of a connection that has ended.
    pub(super) fn fail_all(
        &mut self,
        index: usize,
        now: Instant,
        mut failure: impl FnMut(bool, u64) -> (ErrorKey, String),
    ) {
        let Some(mut http2) = self.slots[index].http2.take() else { return };
        for at in http2.streams.open() {
            let stream = &http2.streams.places[at];
            let (key, example) = failure(stream.response.received(), stream.current.nth);
            self.fail_stream(index, &mut http2, at, (key, None), now, || example);
        }
        http2.wake_at = None;
        self.slots[index].http2 = Some(http2);
    }

    /// Handles the peer's end of a connection with requests in flight. The caller closes it.
    pub(super) fn streams_ended(&mut self, index: usize, errno: Option<Errno>, now: Instant) {
        let Some(http2) = &self.slots[index].http2 else { return };
        let (is_new, was_heard) = (!http2.has_answered, http2.was_heard);
        let farewell = http2.farewell.map(|code| format!(" after GOAWAY with {code}"));
        let farewell = farewell.unwrap_or_default();
        let guess = if was_heard || errno.is_some() { None } else { self.guess_by_port() };
        let reset = errno == Some(Errno::CONNRESET);
        let said =
            errno.filter(|errno| *errno != Errno::PIPE).map(crate::counts::Errno::from_rustix);
        self.fail_all(index, now, |received, nth| {
            let class = match (reset, received) {
                (true, true) => ErrorClass::ResetWithinResponse,
                (true, false) => ErrorClass::ResetBeforeResponse,
                (false, _) if said.is_some() => ErrorClass::Read,
                (false, true) => ErrorClass::EofWithinResponse,
                (false, false) if is_new => ErrorClass::EofOnNew,
                (false, false) => ErrorClass::EofOnReused,
            };
            let protocol = guess.filter(|_| class == ErrorClass::EofOnNew);
            let example = match errno {
                Some(errno) => {
                    let error = std::io::Error::from(errno);
                    let read = format!("reading the response to request {nth} of its connection");
                    format!("{read}{farewell}: {error}")
                }
                None => {
                    format!("the server closed during request {nth} of its connection{farewell}")
                }
            };
            (ErrorKey { class, errno: said, protocol }, example)
        });
    }

    /// Fails what is in flight, because writing has failed.
    pub(super) fn streams_unwritten(&mut self, index: usize, errno: Errno, now: Instant) {
        let said = Some(crate::counts::Errno::from_rustix(errno));
        self.fail_all(index, now, |_, nth| {
            let error = std::io::Error::from(errno);
            let example = format!("writing request {nth} of its connection: {error}");
            (ErrorKey { class: ErrorClass::Write, errno: said, protocol: None }, example)
        });
    }

    /// Fails what is in flight at the end of the run.
    pub(super) fn streams_unanswered(&mut self, index: usize, now: Instant) {
        let last_outcome = self.tally.last_outcome;
        self.fail_all(index, now, |received, _| {
            let part = if received { "a part" } else { "no byte" };
            let example = format!("{part} of the response had come when the run ended");
            (ErrorKey { class: ErrorClass::Unanswered, errno: None, protocol: None }, example)
        });
        // Nothing happened while the run waited, so the wait must not lower the rate.
        self.tally.last_outcome = last_outcome;
    }

    /// Ends a connection whose frames cannot be understood.
    fn refuse_connection(&mut self, index: usize, refusal: Refusal, bytes: &[u8], now: Instant) {
        let not_http2 = refusal == Refusal::NotHttp2;
        let protocol = not_http2.then(|| match Protocol::of(bytes) {
            Protocol::PlainHttp | Protocol::Unknown => Protocol::Http1,
            protocol => protocol,
        });
        self.fail_all(index, now, |_, _| {
            let example = match protocol {
                Some(_) => format!("{refusal}: {}", quoted(bytes)),
                None => refusal.to_string(),
            };
            (ErrorKey { class: ErrorClass::BadFraming, errno: None, protocol }, example)
        });
        if let Some(http2) = &mut self.slots[index].http2
            && !not_http2
        {
            http2.said_goaway = true;
            Connection::write_goaway(&mut http2.out, refusal.code());
            self.flush_last(index);
        }
        if self.slots[index].http2.is_some() {
            self.leave(index, CloseCause::BadResponse, None);
        }
    }

    /// Says GOAWAY before this side closes a connection, unless it has a frame half written.
    pub(super) fn announce_goaway(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(http2) = slot.http2.as_mut().filter(|http2| !http2.is_writing()) else { return };
        if slot.write_error.is_none() && !http2.said_goaway {
            http2.said_goaway = true;
            Connection::write_goaway(&mut http2.out, Code::NO_ERROR);
            self.flush_last(index);
        }
    }

    /// Ends every stream whose time is over. A connection on which nothing came since such a stream
    /// was opened is dead, and closed.
    pub(super) fn streams_timed_out(&mut self, index: usize, now: Instant) {
        let timeout = self.plan.timeout();
        let Some(mut http2) = self.slots[index].http2.take() else { return };
        let mut is_dead = false;
        let key = ErrorKey { class: ErrorClass::Timeout, errno: None, protocol: None };
        for at in http2.streams.open() {
            let stream = &http2.streams.places[at];
            if stream.deadline > now {
                continue;
            }
            is_dead |= http2.read_at <= stream.opened_at;
            let part = if stream.response.received() { "a part" } else { "no byte" };
            self.fail_stream(index, &mut http2, at, (key, Some(Code::CANCEL)), now, || {
                format!("{part} of the response came within {timeout:?}")
            });
            self.tally.ledger.streams.cancelled += 1;
        }
        let open = http2.streams.open().into_iter();
        http2.wake_at = open.map(|at| http2.streams.places[at].deadline).min();
        self.slots[index].http2 = Some(http2);
        if is_dead {
            self.fail_all(index, now, |_, _| {
                let example = format!("nothing came on its connection within {timeout:?}");
                (key, example)
            });
            return self.close(index, ConnectionEnd::TimedOut);
        }
        self.go_on(index, now);
        if let State::Leaving { .. } = self.slots[index].state {
            // A FIN that has arrived is the peer's close.
            self.read(index);
        }
    }
}
