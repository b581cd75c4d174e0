//! Writes requests, reads responses, and ends connections. Decides which side closed first and
//! which class a failure has; the framing decides what the bytes mean.
//!
//! Which side closed first: recv(2) returns zero for the peer's FIN, ECONNRESET for its RST. Before
//! this side closes, the socket is read until empty, so that a FIN that has already arrived counts
//! as the peer's. EPIPE means that an RST came after a FIN: the peer closed first, in order.

use std::io;
use std::time::{Duration, Instant};

use keepwarm_http1::{Asked, Counts, Error, Persistence, Refusal};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::slot::{State, request};
use super::{CALLS_PER_BATCH, Engine};
use crate::counts::{self, CloseCause, ErrorClass, ErrorKey, FirstResponse, Protocol, micros};
use crate::plan::{ClosePolicy, Part, Start};

/// Time for which a peer is expected to close first.
const WAIT_FOR_PEER: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum ConnectionEnd {
    ByUs(CloseCause),
    PeerFin,
    PeerRst,
    TimedOut,
    StillOpen,
}

/// Quotes the first bytes that a server has sent.
pub(super) fn quoted(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("\"{}{more}\"", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// Returns how a connection has ended whose write has failed: the kernel has reported the error to the
/// write, so reading ends as if by FIN.
fn end_by_write(errno: Errno) -> ConnectionEnd {
    match errno {
        Errno::PIPE => ConnectionEnd::PeerFin,
        Errno::CONNRESET => ConnectionEnd::PeerRst,
        _ => ConnectionEnd::ByUs(CloseCause::SocketError),
    }
}

impl Engine {
    /// Writes the slot's new request on its open connection.
    #[inline]
    pub(super) fn begin_exchange(&mut self, index: usize, now: Instant) {
        if self.plan.is_http2() {
            return match self.slots[index].http2 {
                Some(_) => self.open_stream(index, now),
                None => self.begin_http2(index, now),
            };
        }
        let want_server = self.tally.first_response.is_none();
        self.render_request(index);
        let slot = &mut self.slots[index];
        slot.state = State::Exchanging;
        slot.write_error = None;
        slot.current.sent_at = now;
        let prepared = &self.plan.prepared()[slot.current.which];
        slot.current.length = prepared.message(slot.current.is_last).outgoing(&slot.rendered).len();
        let asked = if prepared.is_head { Asked::Head } else { Asked::Plain };
        slot.response.begin(asked, want_server);
        if let Some(capture) = &mut slot.capture {
            capture.begin(asked);
            self.keep_request(index);
        }
        if self.is_open_loop() {
            let lag_us = micros(now.saturating_duration_since(self.slots[index].current.due_at));
            self.tally.send_lag.record(lag_us);
            self.tally.second_send_lag.record(lag_us);
        }
        self.write(index);
    }

    /// Renders the slot's request, if it is a template.
    #[inline]
    fn render_request(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let prepared = self.plan.prepared();
        slot.current.is_last = self.plan.requests_per_connection() == Some(slot.requests + 1);
        if let Start::Changing(template) =
            &prepared[slot.current.which].message(slot.current.is_last).start
        {
            let trace = self.plan.trace();
            template.render(slot.current.number, trace, &mut self.random, &mut slot.rendered);
        }
    }

    /// Writes until the request is out, the socket is full, or [`CALLS_PER_BATCH`] calls were made.
    #[inline]
    pub(super) fn write(&mut self, index: usize) {
        if self.slots[index].http2.is_some() {
            return self.flush(index);
        }
        if self.tls.is_some() {
            return self.write_secure(index);
        }
        let slot = &mut self.slots[index];
        let request = request(&self.plan, slot.current.which, slot.current.is_last, &slot.rendered);
        let Some(socket) = &slot.socket else { return };
        for _ in 0..CALLS_PER_BATCH {
            if slot.current.written == slot.current.length {
                return;
            }
            let bytes = match request.after(slot.current.written) {
                Part::Memory(bytes) => bytes,
                Part::File(file, offset) => match file.read_at(offset, &mut self.buffers.body) {
                    Ok(bytes) => bytes,
                    Err(error) => return self.body_failed(index, &error),
                },
            };
            match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    if slot.current.written == 0 && count > 0 {
                        slot.requests += 1;
                        slot.current.nth = slot.requests;
                        self.tally.ledger.requests_written += 1;
                        self.tally.ledger.reused += u64::from(slot.requests > 1);
                    }
                    slot.current.written += count;
                    self.tally.bytes_written += count as u64;
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // A response may have arrived before the error; reading shows it.
                    slot.write_error = Some(errno);
                    slot.hangup = true;
                    return self.read(index);
                }
            }
        }
        self.queues.again.push(index);
    }

    /// Reads until the socket is empty, its connection has ended, or [`CALLS_PER_BATCH`] calls were
    /// made.
    pub(super) fn read(&mut self, index: usize) {
        for _ in 0..CALLS_PER_BATCH {
            let Some(socket) = &self.slots[index].socket else {
                return;
            };
            match rustix::net::recv(socket, &mut *self.buffers.read, RecvFlags::empty()) {
                Ok((0, _)) => return self.on_fin(index),
                Ok((count, _)) => {
                    let now = Instant::now();
                    self.tally.bytes_read += count as u64;
                    // Taken out for the call, which needs the whole engine beside the bytes.
                    let buffer = std::mem::take(&mut self.buffers.read);
                    if self.tls.is_some() {
                        self.buffers.read = self.buffers.spare.take().unwrap_or_default();
                        self.take_secure(index, &buffer[..count], now);
                        self.buffers.spare =
                            Some(std::mem::replace(&mut self.buffers.read, buffer));
                    } else {
                        self.take(index, &buffer[..count], now);
                        self.buffers.read = buffer;
                    }
                    // A short read has emptied the socket. Later bytes bring a new edge.
                    let slot = &self.slots[index];
                    let empty = count < self.buffers.read.len() && !slot.hangup;
                    match slot.state {
                        State::Exchanging if empty => return,
                        State::Open if empty => return self.proceed(index, now),
                        _ => {}
                    }
                }
                Err(Errno::AGAIN) => return self.on_empty(index),
                Err(Errno::INTR) => {}
                Err(errno) => return self.receive_failed(index, errno),
            }
        }
        match self.slots[index].state {
            // A peer that is to be left may not send for ever.
            State::Leaving { cause, .. } => self.close(index, ConnectionEnd::ByUs(cause)),
            _ => self.queues.again.push(index),
        }
    }

    /// Handles bytes from the peer.
    #[inline]
    pub(super) fn take(&mut self, index: usize, bytes: &[u8], now: Instant) {
        let slot = &mut self.slots[index];
        if slot.http2.is_some() {
            return self.take_http2(index, bytes, now);
        }
        match slot.state {
            State::Exchanging => match slot.response.feed(bytes) {
                Ok(fed) => {
                    if let Some(capture) = &mut slot.capture {
                        capture.feed(&bytes[..fed.consumed], now);
                    }
                    if let Some(response) = fed.complete {
                        self.complete(index, response, fed.consumed < bytes.len(), now);
                    }
                }
                Err(error) => {
                    if let Some(capture) = &mut slot.capture {
                        capture.feed(bytes, now);
                    }
                    self.bad_response(index, error, bytes, now);
                }
            },
            State::Open | State::Leaving { wait: true, .. } => self.leave_stray(index),
            // Of a response that could not be read, the rest belongs to it.
            State::Leaving { cause, wait: false } => slot.stray |= cause != CloseCause::BadResponse,
            State::Vacant | State::BackingOff | State::Dialing | State::Handshaking => {}
        }
    }

    /// Handles a socket that has no more to read for now.
    fn on_empty(&mut self, index: usize) {
        let slot = &self.slots[index];
        match (slot.state, slot.write_error) {
            (State::Open, _) => self.proceed(index, Instant::now()),
            (State::Leaving { cause, wait: false }, _) => {
                self.close(index, ConnectionEnd::ByUs(cause))
            }
            (State::Handshaking, Some(errno)) => {
                let end = ConnectionEnd::ByUs(CloseCause::SocketError);
                self.handshake_ended(index, end, Some(errno));
            }
            (State::Exchanging, Some(errno)) => {
                self.write_failed(index, errno);
                self.close(index, ConnectionEnd::ByUs(CloseCause::SocketError));
            }
            _ => {}
        }
    }

    /// Counts a complete response, and decides whether its connection may carry another request.
    fn complete(&mut self, index: usize, response: Counts, stray: bool, now: Instant) {
        let fields = if self.tally.first_response.is_none() {
            let slot = &mut self.slots[index];
            (slot.response.take_server(), slot.response.take_location())
        } else {
            (None, None)
        };
        self.answered(index, response.status, response.body_bytes, fields, now);
        let slot = &mut self.slots[index];
        let early = slot.write_error.is_some() || self.is_writing(index);
        let slot = &mut self.slots[index];
        slot.state = State::Open;
        if stray {
            self.leave_stray(index);
        } else if early {
            self.leave(index, CloseCause::EarlyResponse, None);
        } else if response.persistence == Persistence::Ambiguous {
            self.leave(index, CloseCause::AmbiguousFraming, None);
        } else if !self.plan.keep_alive() {
            self.leave(index, CloseCause::OnePerConnection, Some(now));
        } else if self.slots[index].current.is_last {
            self.leave(index, CloseCause::RequestLimit, Some(now));
        } else if response.persistence == Persistence::ServerCloses {
            self.leave(index, CloseCause::ResponseSaidClose, Some(now));
        } else if let Some(age) = self.plan.max_lifetime()
            && now.saturating_duration_since(self.slots[index].opened_at) >= age
        {
            self.leave(index, CloseCause::MaxLifetime, Some(now));
        }
    }

    /// Counts the slot's current request as completed. `fields` are `Server` and `Location`, if no
    /// response was complete before.
    #[inline]
    pub(super) fn answered(
        &mut self,
        index: usize,
        status: u16,
        body_bytes: u64,
        fields: (Option<String>, Option<String>),
        now: Instant,
    ) {
        self.tick(now);
        let slot = &mut self.slots[index];
        let service = now - slot.current.sent_at;
        self.nap.saw(service);
        let service_us = micros(service);
        self.tally.latency.record(status, service_us);
        self.tally.second_latency.record(service_us);
        let due_at = slot.current.due_at;
        if self.is_open_loop() {
            let response_us = micros(now.saturating_duration_since(due_at));
            self.tally.response.record(response_us);
            self.tally.second_response.record(response_us);
        }
        self.tally.body_bytes += body_bytes;
        self.tally.statuses[usize::from(status)] += 1;
        self.tally.ledger.completed += 1;
        if self.tally.first_response.is_none() {
            self.tally.first_response = Some(FirstResponse {
                at: now - self.started,
                server: fields.0,
                location: fields.1.filter(|_| (300..400).contains(&status)),
                document_length: body_bytes,
            });
        }
        if self.tally.notables.is_slow(service_us) {
            self.note_slow(index, status, service_us, now);
        }
        if self.keeps_details {
            self.count_details(index, (status, body_bytes), service_us, now);
        }
        if self.plan.shows_exchange() {
            self.keep_times(index, now);
        }
        self.settle(index, now);
    }

    /// Marks a connection as not to be used again. With `polite_at` the peer is expected to close
    /// too, and the slot waits for it from that instant on if the plan says so.
    pub(super) fn leave(&mut self, index: usize, cause: CloseCause, polite_at: Option<Instant>) {
        let waits = self.plan.close_policy() == ClosePolicy::WaitPeer;
        let wait_from = polite_at.filter(|_| waits);
        if let Some(from) = wait_from {
            self.gauges.waiting += 1;
            self.arm(index, from + WAIT_FOR_PEER);
        }
        self.slots[index].state = State::Leaving { cause, wait: wait_from.is_some() };
    }

    /// Leaves a connection between two requests, because the bytes on it belong to no response.
    pub(super) fn leave_stray(&mut self, index: usize) {
        if let State::Leaving { wait: true, .. } = self.slots[index].state {
            self.gauges.waiting -= 1;
            self.slots[index].wake_at = None;
        }
        self.slots[index].stray = true;
        self.leave(index, CloseCause::StrayBytes, None);
    }

    /// Returns true if a part of the request is still to be written.
    #[inline]
    pub(super) fn is_writing(&self, index: usize) -> bool {
        let slot = &self.slots[index];
        if let Some(http2) = &slot.http2 {
            return http2.is_writing() || slot.tls.as_ref().is_some_and(|tls| tls.wants_write());
        }
        slot.current.written < slot.current.length
            || slot.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Closes a connection whose peer was expected to close and did not. A peer that has announced
    /// its end in TLS has closed as far as it wants to.
    pub(super) fn stop_waiting(&mut self, index: usize) {
        if self.slots[index].end_announced {
            self.announce_end(index);
            return self.close(index, ConnectionEnd::PeerFin);
        }
        self.close(index, ConnectionEnd::ByUs(CloseCause::PeerKeptOpen));
    }

    /// Handles the peer's FIN: the end of a response without another end, or of the connection
    /// only.
    fn on_fin(&mut self, index: usize) {
        let end = match self.slots[index].state {
            State::Handshaking => {
                return self.handshake_ended(index, ConnectionEnd::PeerFin, None);
            }
            State::Exchanging => self.settle_ended(index, Instant::now()),
            _ => ConnectionEnd::PeerFin,
        };
        self.close(index, end);
    }

    /// Gives the request in flight its outcome, because the peer has ended its side. The caller
    /// then gives the slot another state. Returns how the connection ended.
    pub(super) fn settle_ended(&mut self, index: usize, now: Instant) -> ConnectionEnd {
        if self.slots[index].http2.is_some() {
            return match self.slots[index].write_error {
                Some(errno) => {
                    self.streams_unwritten(index, errno, now);
                    end_by_write(errno)
                }
                None => {
                    self.streams_ended(index, None, now);
                    ConnectionEnd::PeerFin
                }
            };
        }
        let slot = &mut self.slots[index];
        let truncated = slot.tls.is_some() && !slot.end_announced;
        if let Some(response) = slot.response.end().filter(|_| !truncated) {
            self.complete(index, response, false, now);
            if let State::Leaving { wait: true, .. } = self.slots[index].state {
                self.gauges.waiting -= 1;
            }
            self.slots[index].state = State::Open;
        } else if let Some(errno) = slot.write_error {
            self.write_failed(index, errno);
            return end_by_write(errno);
        } else {
            let class = match (slot.response.received(), slot.requests) {
                (true, _) => ErrorClass::EofWithinResponse,
                (false, 0 | 1) => ErrorClass::EofOnNew,
                (false, _) => ErrorClass::EofOnReused,
            };
            let nth = slot.requests;
            let is_new = class == ErrorClass::EofOnNew;
            let protocol = if is_new { self.guess_by_port() } else { None };
            self.fail_as(index, ErrorKey { class, errno: None, protocol }, now, || {
                format!("the server closed during request {nth} of its connection")
            });
        }
        ConnectionEnd::PeerFin
    }

    /// Handles a failed recv(2): an RST, or an error of the network.
    pub(super) fn receive_failed(&mut self, index: usize, errno: Errno) {
        let end = match errno {
            Errno::CONNRESET => ConnectionEnd::PeerRst,
            Errno::PIPE => ConnectionEnd::PeerFin,
            _ => ConnectionEnd::ByUs(CloseCause::SocketError),
        };
        if self.slots[index].state == State::Handshaking {
            return self.handshake_ended(index, end, Some(errno));
        }
        if self.slots[index].http2.is_some() {
            self.streams_ended(index, Some(errno), Instant::now());
            return self.close(index, end);
        }
        let slot = &self.slots[index];
        if slot.state == State::Exchanging {
            let class = match (errno, slot.response.received(), slot.requests) {
                (Errno::CONNRESET, false, _) => ErrorClass::ResetBeforeResponse,
                (Errno::CONNRESET, true, _) => ErrorClass::ResetWithinResponse,
                (Errno::PIPE, true, _) => ErrorClass::EofWithinResponse,
                (Errno::PIPE, false, 0 | 1) => ErrorClass::EofOnNew,
                (Errno::PIPE, false, _) => ErrorClass::EofOnReused,
                _ => ErrorClass::Read,
            };
            let nth = slot.requests;
            // A FIN has no errno, even where the kernel reports EPIPE for it.
            let said = (errno != Errno::PIPE).then_some(errno);
            let is_new = !slot.response.received() && nth <= 1;
            let protocol = if is_new { self.guess_by_port() } else { None };
            let said = said.map(counts::Errno::from_rustix);
            let key = ErrorKey { class, errno: said, protocol };
            self.fail_as(index, key, Instant::now(), || {
                let error = std::io::Error::from(errno);
                format!("reading the response to request {nth} of its connection: {error}")
            });
        }
        self.close(index, end);
    }

    fn write_failed(&mut self, index: usize, errno: Errno) {
        if self.slots[index].http2.is_some() {
            return self.streams_unwritten(index, errno, Instant::now());
        }
        let slot = &self.slots[index];
        let request = request(&self.plan, slot.current.which, slot.current.is_last, &slot.rendered);
        let (written, length) = (slot.current.written, request.len());
        self.fail(index, ErrorClass::Write, Some(errno), Instant::now(), || {
            let error = std::io::Error::from(errno);
            format!("writing the request, after {written} of {length} bytes: {error}")
        });
    }

    /// Fails the request whose body cannot be read any further, and closes its connection: the
    /// server waits for bytes that will never come.
    #[cold]
    pub(super) fn body_failed(&mut self, index: usize, error: &io::Error) {
        let errno = Errno::from_io_error(error);
        self.fail(index, ErrorClass::Body, errno, Instant::now(), || {
            format!("reading the body from its file: {error}")
        });
        self.close(index, ConnectionEnd::ByUs(CloseCause::BodyFailed));
    }

    fn bad_response(&mut self, index: usize, error: Error, bytes: &[u8], now: Instant) {
        let class = match error.refusal {
            Refusal::HeadTooLarge | Refusal::TrailersTooLarge => ErrorClass::TooLarge,
            _ => ErrorClass::BadFraming,
        };
        let protocol = (error.refusal == Refusal::NotHttp).then(|| Protocol::of(bytes));
        self.fail_as(index, ErrorKey { class, errno: None, protocol }, now, || {
            match error.refusal {
                Refusal::NotHttp => format!("{}: {}", error.refusal, quoted(bytes)),
                Refusal::HeadTooLarge => "the response head is larger than 64 KiB".to_owned(),
                Refusal::TrailersTooLarge => "the trailers are larger than 64 KiB".to_owned(),
                Refusal::ChunkLineTooLong => "a chunk size line is longer than 4 KiB".to_owned(),
                Refusal::TooManyInterim => {
                    "more than 16 interim responses came before a final one".to_owned()
                }
                _ => error.to_string(),
            }
        });
        self.leave(index, CloseCause::BadResponse, None);
    }

    /// Returns the protocol that usually listens on the plan's port, if the server has closed a new
    /// connection without a byte, and has answered no request before.
    pub(super) fn guess_by_port(&self) -> Option<Protocol> {
        let secure = self.tls.is_some();
        let guess = || Protocol::usual_on(self.plan.port(), secure);
        if self.tally.first_response.is_some() { None } else { guess() }
    }

    pub(super) fn exchange_timed_out(&mut self, index: usize, now: Instant) {
        if self.slots[index].http2.is_some() {
            return self.streams_timed_out(index, now);
        }
        let timeout = self.plan.timeout();
        let part = if self.slots[index].response.received() { "a part" } else { "no byte" };
        self.fail(index, ErrorClass::Timeout, None, now, || {
            format!("{part} of the response came within {timeout:?}")
        });
        self.close(index, ConnectionEnd::TimedOut);
    }

    /// Counts the slot's request as failed.
    pub(super) fn fail(
        &mut self,
        index: usize,
        class: ErrorClass,
        errno: Option<Errno>,
        now: Instant,
        example: impl FnOnce() -> String,
    ) {
        let key = ErrorKey { class, errno: errno.map(counts::Errno::from_rustix), protocol: None };
        self.fail_as(index, key, now, example);
    }

    /// Counts the slot's request as failed, in a kind that the caller has determined.
    pub(super) fn fail_as(
        &mut self,
        index: usize,
        key: ErrorKey,
        now: Instant,
        example: impl FnOnce() -> String,
    ) {
        self.tick(now);
        if self.tally.notables.wants_failure() {
            let example = example();
            self.note_failure(index, key.class, example.clone(), now);
            self.tally.errors.record(key, now - self.started, || example);
        } else {
            self.tally.errors.record(key, now - self.started, example);
        }
        if self.keeps_details {
            self.count_failed_row(index);
        }
        self.tally.ledger.failed += 1;
        self.settle(index, now);
    }

    /// Ends the slot's request, which has its outcome.
    #[inline]
    fn settle(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        slot.wake_at = None;
        self.tally.ledger.never_written += u64::from(slot.current.written == 0);
        self.gauges.in_flight -= 1;
        self.tally.last_outcome = now - self.started;
    }

    /// Closes the socket and counts its end. The slot is free for the next request.
    pub(super) fn close(&mut self, index: usize, end: ConnectionEnd) {
        let now = Instant::now();
        self.tick(now);
        if matches!(end, ConnectionEnd::ByUs(_) | ConnectionEnd::StillOpen) {
            self.announce_end(index);
        }
        if self.plan.shows_exchange() {
            self.keep_end(index, end);
        }
        let slot = &mut self.slots[index];
        if let State::Leaving { wait: true, .. } = slot.state {
            self.gauges.waiting -= 1;
        }
        if self.plan.close_policy() == ClosePolicy::Reset
            && matches!(
                end,
                ConnectionEnd::ByUs(_) | ConnectionEnd::TimedOut | ConnectionEnd::StillOpen
            )
            && let Some(socket) = &slot.socket
        {
            // A socket other than TCP refuses, and has no TIME_WAIT to avoid.
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        if let Some(http2) = slot.http2.take() {
            self.tally.ledger.streams.at_once.record(http2.peak());
        } else if self.plan.is_http2() {
            self.tally.ledger.streams.at_once.record(0);
        }
        slot.socket = None;
        slot.tls = None;
        slot.state = State::Vacant;
        slot.wake_at = None;
        self.gauges.open -= 1;
        let ledger = &mut self.tally.ledger;
        ledger.requests_per_connection.record(slot.requests);
        ledger.unused += u64::from(slot.requests == 0);
        ledger.stray_bytes += u64::from(slot.stray);
        if !matches!(end, ConnectionEnd::StillOpen) {
            ledger.lifetimes.record(micros(now - slot.opened_at));
        }
        match end {
            ConnectionEnd::ByUs(cause) => *ledger.closed_by_us.entry(cause).or_default() += 1,
            ConnectionEnd::PeerFin => ledger.peer_fin += 1,
            ConnectionEnd::PeerRst => ledger.peer_rst += 1,
            ConnectionEnd::TimedOut => ledger.timed_out += 1,
            ConnectionEnd::StillOpen => ledger.still_open += 1,
        }
        self.queues.ready.push_back(index);
    }

    /// Returns whether the peer has closed an idle connection without an event being read yet.
    pub(super) fn check_for_close(&mut self, index: usize) -> ConnectionEnd {
        if self.slots[index].end_announced {
            return ConnectionEnd::PeerFin;
        }
        let Some(socket) = &self.slots[index].socket else {
            return ConnectionEnd::StillOpen;
        };
        match rustix::net::recv(socket, &mut *self.buffers.read, RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::PIPE) => ConnectionEnd::PeerFin,
            Err(Errno::CONNRESET) => ConnectionEnd::PeerRst,
            _ => ConnectionEnd::StillOpen,
        }
    }
}
