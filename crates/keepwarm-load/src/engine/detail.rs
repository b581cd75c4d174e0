//! Details of single requests: rows by request and by address, expectations, the slowest and
//! the first that failed. Owns what is noted of a slot; a plan that asks for none of it pays two
//! comparisons per request.

use std::time::Instant;

use keepwarm_http2::{Block, Fields};

use super::Engine;
use super::capture::MAX_REQUEST;
use super::exchange::ConnectionEnd;
use crate::counts::{ErrorClass, Notable, micros};
use crate::plan::{Part, traceparent};

impl Engine {
    /// Counts a complete response in the rows of the plan, and judges it by its expectations.
    #[cold]
    pub(super) fn count_details(
        &mut self,
        index: usize,
        (status, body_bytes): (u16, u64),
        service_us: u64,
        now: Instant,
    ) {
        let missed = self.judge(index, (status, body_bytes), now);
        self.tally.ledger.missed += u64::from(missed);
        let slot = &self.slots[index];
        let row = self.plan.prepared()[slot.current.which].row;
        if self.plan.keeps_rows() {
            self.tally.by_request.of(row).complete(status, service_us, missed);
        }
        if self.plan.keeps_addresses() {
            let row = self.tally.by_address.of(slot.endpoint);
            row.complete(status, service_us, missed);
        }
    }

    /// Counts the first expectation that a response has missed, if it missed any.
    fn judge(&mut self, index: usize, (status, length): (u16, u64), now: Instant) -> bool {
        for (at, expectation) in self.plan.expectations().iter().enumerate() {
            let capture = self.slots[index].capture.as_ref();
            let found = capture.is_some_and(|capture| capture.has_found(at));
            if !expectation.is_met(status, length, found) {
                let slot = &self.slots[index];
                self.tally.misses.record(at, now - self.started, || {
                    format!(
                        "status {status}, {length} bytes of content, request {} of connection {}",
                        slot.current.nth, slot.connection
                    )
                });
                return true;
            }
        }
        false
    }

    /// Keeps one of the slowest requests.
    #[cold]
    pub(super) fn note_slow(&mut self, index: usize, status: u16, service_us: u64, now: Instant) {
        let mut notable = self.notable(index, now);
        notable.status = Some(status);
        notable.service_us = service_us;
        self.tally.notables.keep_slow(notable);
    }

    /// Keeps one of the first requests that failed.
    #[cold]
    pub(super) fn note_failure(
        &mut self,
        index: usize,
        class: ErrorClass,
        example: String,
        now: Instant,
    ) {
        let mut notable = self.notable(index, now);
        notable.failure = Some((class, example));
        self.tally.notables.failures.push(notable);
    }

    fn notable(&self, index: usize, now: Instant) -> Notable {
        let slot = &self.slots[index];
        let is_written = slot.current.written > 0;
        let due = now.saturating_duration_since(slot.current.due_at);
        let since = if is_written { slot.current.sent_at } else { slot.current.due_at };
        let at = if is_written { slot.current.sent_at } else { now };
        let trace = self.plan.trace().filter(|_| is_written);
        Notable {
            at: at.saturating_duration_since(self.started),
            row: self.plan.prepared()[slot.current.which].row,
            connection: slot.connection,
            nth: if is_written { slot.current.nth } else { 0 },
            address: slot.endpoint,
            service_us: micros(now.saturating_duration_since(since)),
            response_us: self.is_open_loop().then(|| micros(due)),
            status: None,
            failure: None,
            traceparent: trace.map(|seed| traceparent(seed, slot.current.number)),
        }
    }

    /// Counts a failed request in the rows of the plan.
    #[cold]
    pub(super) fn count_failed_row(&mut self, index: usize) {
        let slot = &self.slots[index];
        if self.plan.keeps_rows() {
            let row = self.plan.prepared()[slot.current.which].row;
            self.tally.by_request.of(row).failed += 1;
        }
        if self.plan.keeps_addresses() {
            self.tally.by_address.of(slot.endpoint).failed += 1;
        }
    }

    /// Keeps the request of a plan that shows its exchange.
    #[cold]
    pub(super) fn keep_request(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(kept) = slot.capture.as_mut().and_then(|capture| capture.kept.as_mut()) else {
            return;
        };
        let prepared = &self.plan.prepared()[slot.current.which];
        let request = prepared.message(slot.current.is_last).outgoing(&slot.rendered);
        while kept.request.len() < MAX_REQUEST {
            let part = match request.after(kept.request.len()) {
                Part::Memory(bytes) => bytes,
                // The body is read while it is sent; its head is enough.
                Part::File(..) => break,
            };
            if part.is_empty() {
                break;
            }
            let room = MAX_REQUEST - kept.request.len();
            kept.request.extend_from_slice(&part[..part.len().min(room)]);
        }
        self.keep_handshake(index);
    }

    /// Keeps the fields of a request of HTTP/2, one a line, as far as they fit.
    #[cold]
    pub(super) fn keep_fields(&mut self, index: usize, block: &Block) {
        let slot = &mut self.slots[index];
        let Some(kept) = slot.capture.as_mut().and_then(|capture| capture.kept.as_mut()) else {
            return;
        };
        // Sent again, it is kept once.
        kept.request.clear();
        for field in Fields::of(block.bytes()).flatten() {
            let _ = field.decode_name(MAX_REQUEST, &mut kept.request);
            kept.request.extend_from_slice(b": ");
            let _ = field.decode_value(MAX_REQUEST, &mut kept.request);
            kept.request.extend_from_slice(b"\r\n");
        }
        kept.request.extend_from_slice(b"\r\n");
        kept.request.truncate(MAX_REQUEST);
        self.keep_handshake(index);
    }

    /// Notes the TLS of a plan that shows its exchange.
    fn keep_handshake(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(kept) = slot.capture.as_mut().and_then(|capture| capture.kept.as_mut()) else {
            return;
        };
        kept.handshake = slot.tls.is_some().then(|| slot.current.sent_at - slot.opened_at);
        kept.tls = slot.tls.as_ref().and_then(|tls| {
            let (version, suite) = (tls.protocol_version()?, tls.negotiated_cipher_suite()?);
            Some(format!("{:?}, {:?}", version, suite.suite()))
        });
    }

    /// Notes the opening of the connection of a plan that shows its exchange.
    #[cold]
    pub(super) fn keep_opened(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(kept) = slot.capture.as_mut().and_then(|capture| capture.kept.as_mut()) else {
            return;
        };
        kept.connect = Some(slot.opened_at - slot.dialed_at);
        "it is open".clone_into(&mut kept.closed);
        if let Some(socket) = &slot.socket {
            let name = |address| std::net::SocketAddr::try_from(address).ok();
            kept.local = rustix::net::getsockname(socket).ok().and_then(name);
            kept.peer = rustix::net::getpeername(socket).ok().flatten().and_then(name);
        }
    }

    /// Notes the last byte of the response of a plan that shows its exchange.
    #[cold]
    pub(super) fn keep_times(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let Some(capture) = slot.capture.as_mut() else { return };
        let first = capture.first_byte_at;
        let Some(kept) = &mut capture.kept else { return };
        if let Some(first) = first {
            kept.first_byte = Some(first.saturating_duration_since(slot.current.sent_at));
            kept.last_byte = Some(now.saturating_duration_since(first));
        }
    }

    /// Notes how the connection of a plan that shows its exchange has ended.
    #[cold]
    pub(super) fn keep_end(&mut self, index: usize, end: ConnectionEnd) {
        let slot = &mut self.slots[index];
        let Some(kept) = slot.capture.as_mut().and_then(|capture| capture.kept.as_mut()) else {
            return;
        };
        kept.closed = match end {
            ConnectionEnd::ByUs(cause) => format!("closed by the load ({cause})"),
            ConnectionEnd::PeerFin => "closed by the server's FIN".to_owned(),
            ConnectionEnd::PeerRst => "reset by the server (RST)".to_owned(),
            ConnectionEnd::TimedOut => "closed by the load, because the time was over".to_owned(),
            ConnectionEnd::StillOpen => {
                "kept open by the server, until the load closed it at the end".to_owned()
            }
        };
    }
}
