//! Requests out, responses in, and how a connection ends. Owns the judgement who closed first and
//! which class a failure has; the bytes' meaning is the framing's.
//!
//! Who closed first: recv(2) returning zero is the peer's FIN, ECONNRESET its RST. Before closing
//! by ourselves the socket is read until empty, so that a FIN that is already here counts as the
//! peer's. EPIPE means that an RST came after a FIN: the peer closed first, in order.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::slot::{State, request};
use super::tally::micros;
use super::{CALLS_PER_TURN, Engine};
use crate::failure::{self, ErrorClass, ErrorKey};
use crate::framing::{Malformed, Response, Reuse};
use crate::ledger::CloseCause;
use crate::plan::{ClosePolicy, Message};
use crate::summary::FirstResponse;

/// How long a peer that is expected to close first may take.
const WAIT_FOR_PEER: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    ByUs(CloseCause),
    PeerFin,
    PeerRst,
    TimedOut,
    StillOpen,
}

impl Engine {
    /// Writes the request that the slot has got on its open connection.
    #[inline]
    pub(super) fn begin_exchange(&mut self, index: usize, now: Instant) {
        let want_server = self.tally.first_response.is_none();
        self.choose_request(index);
        let slot = &mut self.slots[index];
        slot.state = State::Exchanging;
        slot.write_error = None;
        slot.sent_at = now;
        slot.framing.reset(self.plan.prepared()[slot.which].is_head, want_server);
        if self.is_open_loop() {
            let lag_us = micros(now.saturating_duration_since(self.slots[index].due_at));
            self.tally.send_lag.record(lag_us);
            self.tally.second_send_lag.record(lag_us);
        }
        self.write(index);
    }

    /// Whose turn it is of the plan's requests, and what it says this time.
    #[inline]
    fn choose_request(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let prepared = self.plan.prepared();
        slot.is_last = self.plan.requests_per_connection() == Some(slot.requests + 1);
        // Threads take turns, so that each number is used once and each request equally often.
        let number = self.begun * self.plan.threads() as u64 + self.thread as u64;
        self.begun += 1;
        if prepared.len() > 1 {
            slot.which = usize::try_from(number % prepared.len() as u64).unwrap_or(0);
        }
        if let Message::Changing(template) = prepared[slot.which].message(slot.is_last) {
            template.render(number, &mut self.random, &mut slot.rendered);
        }
    }

    /// Writes until the request is out, the socket is full, or others should get a turn.
    #[inline]
    pub(super) fn write(&mut self, index: usize) {
        if self.tls.is_some() {
            return self.write_secure(index);
        }
        let slot = &mut self.slots[index];
        let request = request(&self.plan, slot.which, slot.is_last, &slot.rendered);
        let Some(socket) = &slot.socket else { return };
        for _ in 0..CALLS_PER_TURN {
            if slot.written == request.len() {
                return;
            }
            match rustix::net::send(socket, &request[slot.written..], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    if slot.written == 0 && count > 0 {
                        slot.requests += 1;
                        self.tally.ledger.requests_written += 1;
                        self.tally.ledger.reused += u64::from(slot.requests > 1);
                    }
                    slot.written += count;
                    self.tally.bytes_written += count as u64;
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // A response may have come before the error; reading tells.
                    slot.write_error = Some(errno);
                    slot.hangup = true;
                    return self.read(index);
                }
            }
        }
        self.again.push(index);
    }

    /// Reads until the socket is empty, its connection has ended, or others should get a turn.
    pub(super) fn read(&mut self, index: usize) {
        for _ in 0..CALLS_PER_TURN {
            let Some(socket) = &self.slots[index].socket else {
                return;
            };
            match rustix::net::recv(socket, &mut *self.buffer, RecvFlags::empty()) {
                Ok((0, _)) => return self.on_fin(index),
                Ok((count, _)) => {
                    let now = Instant::now();
                    self.tally.bytes_read += count as u64;
                    // Lent out, so that what it holds can be handed on.
                    let buffer = std::mem::take(&mut self.buffer);
                    if self.tls.is_some() {
                        self.buffer = self.spare.take().unwrap_or_default();
                        self.take_secure(index, &buffer[..count], now);
                        self.spare = Some(std::mem::replace(&mut self.buffer, buffer));
                    } else {
                        self.take(index, &buffer[..count], now);
                        self.buffer = buffer;
                    }
                    // A short read has emptied the socket: what comes later is a new edge.
                    let slot = &self.slots[index];
                    let empty = count < self.buffer.len() && !slot.hangup;
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
            // Whoever is to be left is not listened to for ever.
            State::Leaving { cause, .. } => self.close(index, End::ByUs(cause)),
            _ => self.again.push(index),
        }
    }

    /// Takes bytes that have come.
    #[inline]
    pub(super) fn take(&mut self, index: usize, bytes: &[u8], now: Instant) {
        let slot = &mut self.slots[index];
        match slot.state {
            State::Exchanging => match slot.framing.feed(bytes) {
                Ok(fed) => {
                    if let Some(response) = fed.complete {
                        self.complete(index, response, fed.consumed < bytes.len(), now);
                    }
                }
                Err(malformed) => self.bad_response(index, malformed, now),
            },
            State::Open => self.leave(index, CloseCause::StrayBytes, None),
            State::Leaving { wait: true, .. } => {
                self.waiting -= 1;
                self.slots[index].wake_at = None;
                self.leave(index, CloseCause::StrayBytes, None);
            }
            State::Leaving { .. }
            | State::Vacant
            | State::BackingOff
            | State::Dialing
            | State::Handshaking => {}
        }
    }

    /// Nothing more to read for now.
    fn on_empty(&mut self, index: usize) {
        let slot = &self.slots[index];
        match (slot.state, slot.write_error) {
            (State::Open, _) => self.proceed(index, Instant::now()),
            (State::Leaving { cause, wait: false }, _) => self.close(index, End::ByUs(cause)),
            (State::Handshaking, Some(errno)) => {
                let end = End::ByUs(CloseCause::SocketError);
                self.handshake_ended(index, end, Some(errno));
            }
            (State::Exchanging, Some(errno)) => {
                self.write_failed(index, errno);
                self.close(index, End::ByUs(CloseCause::SocketError));
            }
            _ => {}
        }
    }

    fn complete(&mut self, index: usize, response: Response, stray: bool, now: Instant) {
        self.tick(now);
        let slot = &mut self.slots[index];
        let service = now - slot.sent_at;
        self.nap.saw(service);
        let service_us = micros(service);
        self.tally.latency.record(service_us);
        self.tally.second_latency.record(service_us);
        let due_at = slot.due_at;
        if self.is_open_loop() {
            let response_us = micros(now.saturating_duration_since(due_at));
            self.tally.response.record(response_us);
            self.tally.second_response.record(response_us);
        }
        let slot = &mut self.slots[index];
        self.tally.body_bytes += response.body_bytes;
        self.tally.statuses[usize::from(response.status)] += 1;
        self.tally.ledger.completed += 1;
        if self.tally.first_response.is_none() {
            self.tally.first_response = Some(FirstResponse {
                at: now - self.started,
                server: slot.framing.take_server(),
                document_length: response.body_bytes,
            });
        }
        let early = slot.write_error.is_some() || self.is_writing(index);
        let slot = &mut self.slots[index];
        slot.state = State::Open;
        self.settle(index, now);
        if stray {
            self.leave(index, CloseCause::StrayBytes, None);
        } else if early {
            self.leave(index, CloseCause::EarlyResponse, None);
        } else if response.reuse == Reuse::Ambiguous {
            self.leave(index, CloseCause::AmbiguousFraming, None);
        } else if !self.plan.keep_alive() {
            self.leave(index, CloseCause::OnePerConnection, Some(now));
        } else if self.slots[index].is_last {
            self.leave(index, CloseCause::RequestLimit, Some(now));
        } else if response.reuse == Reuse::ServerCloses {
            self.leave(index, CloseCause::ResponseSaidClose, Some(now));
        }
    }

    /// Marks a connection as not to be used again. `polite_at`: the peer is expected to close too,
    /// and is waited for from then on if the plan says so.
    pub(super) fn leave(&mut self, index: usize, cause: CloseCause, polite_at: Option<Instant>) {
        let waits = self.plan.close_policy() == ClosePolicy::WaitPeer;
        let wait_from = polite_at.filter(|_| waits);
        if let Some(from) = wait_from {
            self.waiting += 1;
            self.arm(index, from + WAIT_FOR_PEER);
        }
        self.slots[index].state = State::Leaving { cause, wait: wait_from.is_some() };
    }

    /// Closes a connection between two requests, because what came on it cannot be read.
    pub(super) fn leave_broken(&mut self, index: usize) {
        if let State::Leaving { wait: true, .. } = self.slots[index].state {
            self.waiting -= 1;
            self.slots[index].wake_at = None;
        }
        self.leave(index, CloseCause::StrayBytes, None);
    }

    /// Whether some of the request is still to be written.
    #[inline]
    pub(super) fn is_writing(&self, index: usize) -> bool {
        let slot = &self.slots[index];
        slot.written < request(&self.plan, slot.which, slot.is_last, &slot.rendered).len()
            || slot.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// The peer was expected to close and did not.
    pub(super) fn stop_waiting(&mut self, index: usize) {
        self.close(index, End::ByUs(CloseCause::PeerKeptOpen));
    }

    /// The peer's FIN: the end of a response that has no other end, or of the connection only.
    fn on_fin(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.state == State::Handshaking {
            return self.handshake_ended(index, End::PeerFin, None);
        }
        if slot.state == State::Exchanging {
            let now = Instant::now();
            let truncated = slot.tls.is_some() && !slot.end_announced;
            if let Some(response) = slot.framing.end_of_input().filter(|_| !truncated) {
                self.complete(index, response, false, now);
                if let State::Leaving { wait: true, .. } = self.slots[index].state {
                    self.waiting -= 1;
                }
                self.slots[index].state = State::Open;
            } else if let Some(errno) = slot.write_error {
                self.write_failed(index, errno);
                // The error has been reported to the write, so that reading ends as if by FIN.
                let end = match errno {
                    Errno::PIPE => End::PeerFin,
                    Errno::CONNRESET => End::PeerRst,
                    _ => End::ByUs(CloseCause::SocketError),
                };
                return self.close(index, end);
            } else {
                let class = match (slot.framing.received(), slot.requests) {
                    (true, _) => ErrorClass::EofWithinResponse,
                    (false, 0 | 1) => ErrorClass::EofOnNew,
                    (false, _) => ErrorClass::EofOnReused,
                };
                let nth = slot.requests;
                self.fail(index, class, None, now, || {
                    format!("the server closed during request {nth} of its connection")
                });
            }
        }
        self.close(index, End::PeerFin);
    }

    /// recv(2) failed: RST, or an error of the network.
    pub(super) fn receive_failed(&mut self, index: usize, errno: Errno) {
        let end = match errno {
            Errno::CONNRESET => End::PeerRst,
            Errno::PIPE => End::PeerFin,
            _ => End::ByUs(CloseCause::SocketError),
        };
        if self.slots[index].state == State::Handshaking {
            return self.handshake_ended(index, end, Some(errno));
        }
        let slot = &self.slots[index];
        if slot.state == State::Exchanging {
            let class = match (errno, slot.framing.received(), slot.requests) {
                (Errno::CONNRESET, false, _) => ErrorClass::ResetBeforeResponse,
                (Errno::CONNRESET, true, _) => ErrorClass::ResetWithinResponse,
                (Errno::PIPE, true, _) => ErrorClass::EofWithinResponse,
                (Errno::PIPE, false, 0 | 1) => ErrorClass::EofOnNew,
                (Errno::PIPE, false, _) => ErrorClass::EofOnReused,
                _ => ErrorClass::Read,
            };
            let nth = slot.requests;
            // A FIN has no errno, however the kernel tells it.
            let said = (errno != Errno::PIPE).then_some(errno);
            self.fail(index, class, said, Instant::now(), || {
                let error = std::io::Error::from(errno);
                format!("reading the response to request {nth} of its connection: {error}")
            });
        }
        self.close(index, end);
    }

    fn write_failed(&mut self, index: usize, errno: Errno) {
        let slot = &self.slots[index];
        let request = request(&self.plan, slot.which, slot.is_last, &slot.rendered);
        let (written, length) = (slot.written, request.len());
        self.fail(index, ErrorClass::Write, Some(errno), Instant::now(), || {
            let error = std::io::Error::from(errno);
            format!("writing the request, after {written} of {length} bytes: {error}")
        });
    }

    fn bad_response(&mut self, index: usize, malformed: Malformed, now: Instant) {
        let class =
            if malformed.is_too_large() { ErrorClass::TooLarge } else { ErrorClass::BadFraming };
        self.fail(index, class, None, now, || malformed.describe());
        self.leave(index, CloseCause::BadResponse, None);
    }

    pub(super) fn exchange_timed_out(&mut self, index: usize, now: Instant) {
        let timeout = self.plan.timeout();
        let part = if self.slots[index].framing.received() { "a part" } else { "no byte" };
        self.fail(index, ErrorClass::Timeout, None, now, || {
            format!("{part} of the response came within {timeout:?}")
        });
        self.close(index, End::TimedOut);
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
        self.tick(now);
        let key = ErrorKey { class, errno: errno.map(failure::Errno::from_rustix) };
        self.tally.errors.record(key, now - self.started, example);
        self.tally.ledger.failed += 1;
        self.settle(index, now);
    }

    /// The slot's request has its outcome.
    #[inline]
    fn settle(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        slot.wake_at = None;
        self.tally.ledger.never_written += u64::from(slot.written == 0);
        self.in_flight -= 1;
        self.tally.last_outcome = now - self.started;
    }

    /// Closes the socket and accounts for its end; the slot is free for the next request.
    pub(super) fn close(&mut self, index: usize, end: End) {
        let now = Instant::now();
        self.tick(now);
        if matches!(end, End::ByUs(_) | End::StillOpen) {
            self.announce_end(index);
        }
        let slot = &mut self.slots[index];
        if let State::Leaving { wait: true, .. } = slot.state {
            self.waiting -= 1;
        }
        if self.plan.close_policy() == ClosePolicy::Reset
            && matches!(end, End::ByUs(_) | End::TimedOut | End::StillOpen)
            && let Some(socket) = &slot.socket
        {
            // Refused by a socket that is not TCP, which has no TIME_WAIT to avoid.
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        slot.socket = None;
        slot.tls = None;
        slot.state = State::Vacant;
        slot.wake_at = None;
        self.open -= 1;
        let ledger = &mut self.tally.ledger;
        ledger.requests_per_connection.record(slot.requests);
        ledger.unused += u64::from(slot.requests == 0);
        if !matches!(end, End::StillOpen) {
            ledger.lifetimes.record(micros(now - slot.opened_at));
        }
        match end {
            End::ByUs(cause) => *ledger.closed_by_us.entry(cause).or_default() += 1,
            End::PeerFin => ledger.peer_fin += 1,
            End::PeerRst => ledger.peer_rst += 1,
            End::TimedOut => ledger.timed_out += 1,
            End::StillOpen => ledger.still_open += 1,
        }
        self.ready.push_back(index);
    }

    /// Whether the peer has closed an idle connection that no event was read for yet.
    pub(super) fn last_look(&mut self, index: usize) -> End {
        let Some(socket) = &self.slots[index].socket else {
            return End::StillOpen;
        };
        match rustix::net::recv(socket, &mut *self.buffer, RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::PIPE) => End::PeerFin,
            Err(Errno::CONNRESET) => End::PeerRst,
            _ => End::StillOpen,
        }
    }
}
