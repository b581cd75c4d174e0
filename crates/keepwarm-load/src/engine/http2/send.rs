//! Frames to the peer. Owns the buffer of a connection, the order of bodies and their windows; a
//! body comes from the plan.

use std::io::{ErrorKind, Write};
use std::time::Instant;

use keepwarm_http1::Asked;
use keepwarm_http2::{MAX_FRAME, MAX_WINDOW, Refusal, Response, write_data_header};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::super::capture::Capture;
use super::super::secure::TlsSocket;
use super::super::slot::State;
use super::super::{CALLS_PER_BATCH, Engine};
use super::Http2;
use super::streams::Stream;
use crate::counts::{CloseCause, ErrorClass, ErrorKey, micros};
use crate::plan::{Part, Start, encode};

/// Bytes in the buffer of a connection above which no more of a body is put into it.
const BUFFERED: usize = 64 * 1024;

impl Http2 {
    /// Frees the part of the buffer that is written, once it is all of it, or a large half: so a peer that
    /// reads slowly costs no more than twice what waits for it.
    #[inline]
    fn forget_written(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
        } else if self.written >= BUFFERED.max(self.out.len() / 2) {
            self.out.drain(..self.written);
        } else {
            return;
        }
        self.written = 0;
        self.connection.flushed();
    }

    /// Changes the window of every stream.
    pub(super) fn widen_all(&mut self, by: i64) -> Result<(), Refusal> {
        for at in self.streams.open() {
            self.widen_at(at, by)?;
        }
        Ok(())
    }

    /// Changes the window of a stream, if it is open.
    pub(super) fn widen(&mut self, stream: u32, by: i64) -> Result<(), Refusal> {
        match self.streams.find(stream) {
            Some(at) => self.widen_at(at, by),
            None => Ok(()),
        }
    }

    fn widen_at(&mut self, at: usize, by: i64) -> Result<(), Refusal> {
        let stream = &mut self.streams.places[at];
        stream.window += by;
        if stream.window > MAX_WINDOW {
            return Err(Refusal::Window);
        }
        if stream.is_uploading() && stream.window > 0 && !stream.is_queued {
            stream.is_queued = true;
            self.uploads.push_back(at);
        }
        Ok(())
    }
}

impl Engine {
    /// Opens a stream for the slot's new request.
    #[inline]
    pub(in super::super) fn open_stream(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let Some(http2) = &mut slot.http2 else { return };
        slot.state = State::Exchanging;
        let deadline = slot.wake_at.unwrap_or(now + self.plan.timeout());
        http2.wake_at = Some(http2.wake_at.map_or(deadline, |before| before.min(deadline)));
        slot.wake_at = http2.wake_at;
        slot.requests += 1;
        self.tally.ledger.requests_written += 1;
        self.tally.ledger.reused += u64::from(slot.requests > 1);
        slot.current.nth = slot.requests;
        if slot.current.given_back == 0 {
            slot.current.sent_at = now;
        }
        slot.current.is_last = false;
        if self.plan.requests_per_connection() == Some(slot.requests) {
            http2.leaving = http2.leaving.or(Some(CloseCause::RequestLimit));
        }
        let (id, window) = http2.connection.open();
        let at = http2.streams.insert(id, || Stream::new(now, Capture::of(&self.plan)));
        let stream = &mut http2.streams.places[at];
        let prepared = &self.plan.prepared()[slot.current.which];
        if let Some(capture) = &mut stream.capture {
            capture.begin(Asked::Plain);
        }
        stream.inflow = keepwarm_http2::Inflow::STREAM;
        stream.response = Response::to(prepared.is_head);
        (stream.deadline, stream.window, stream.sent) = (deadline, window, 0);
        stream.opened_at = now;
        let before = http2.out.len();
        let block = match (&prepared.usual.start, &prepared.encoded) {
            (Start::Changing(template), _) => {
                let trace = self.plan.trace();
                let number = slot.current.number;
                template.render(number, trace, &mut self.random, &mut stream.rendered);
                stream.head = encode(&stream.rendered, self.plan.scheme(), &mut self.block);
                &self.block
            }
            (_, Some((block, head))) => {
                stream.head = *head;
                block
            }
            (_, None) => unreachable!("a plan of HTTP/2 encodes its requests"),
        };
        stream.body = prepared.usual.outgoing(&stream.rendered).len() - stream.head;
        http2.connection.write_request(block, &mut http2.out, id, stream.body == 0);
        slot.current.written = http2.out.len() - before;
        stream.current = slot.current;
        if stream.body > 0 && stream.window > 0 {
            stream.is_queued = true;
            http2.uploads.push_back(at);
        }
        http2.peak = http2.peak.max(http2.streams.len());
        if self.plan.shows_exchange() {
            self.show_request(index, at);
        }
        if self.is_open_loop() && self.slots[index].current.given_back == 0 {
            let lag_us = micros(now.saturating_duration_since(self.slots[index].current.due_at));
            self.tally.send_lag.record(lag_us);
            self.tally.second_send_lag.record(lag_us);
        }
        if self.slots[index].http2.as_ref().is_some_and(|http2| !http2.is_gathering) {
            self.flush(index);
        }
    }

    /// Keeps the request of a plan that shows its exchange, and lets its stream keep the response.
    #[cold]
    fn show_request(&mut self, index: usize, at: usize) {
        let plan = std::sync::Arc::clone(&self.plan);
        match &plan.prepared()[self.slots[index].current.which].encoded {
            Some((block, _)) => self.keep_fields(index, block),
            None => {
                let block = std::mem::take(&mut self.block);
                self.keep_fields(index, &block);
                self.block = block;
            }
        }
        let slot = &mut self.slots[index];
        if let Some(http2) = &mut slot.http2 {
            http2.streams.places[at].capture = slot.capture.take();
        }
    }

    /// Puts bytes of bodies into the buffer, in turn, as far as the windows allow.
    fn fill_buffer(&mut self, index: usize) {
        let Some(mut http2) = self.slots[index].http2.take() else { return };
        while http2.out.len() - http2.written < BUFFERED {
            let connection_window = http2.connection.send_window();
            let Some(&at) = http2.uploads.front().filter(|_| connection_window > 0) else { break };
            http2.uploads.pop_front();
            let stream = &mut http2.streams.places[at];
            let allowed = usize::try_from(connection_window.min(stream.window)).unwrap_or(0);
            let wanted = allowed.min(MAX_FRAME).min(stream.body - stream.sent);
            let prepared = &self.plan.prepared()[stream.current.which];
            let outgoing = prepared.usual.outgoing(&stream.rendered);
            let bytes = match outgoing.after(stream.head + stream.sent) {
                Part::Memory(bytes) => Ok(bytes),
                Part::File(file, offset) => file.read_at(offset, &mut self.buffers.body),
            };
            let bytes = match bytes {
                Ok(bytes) => &bytes[..bytes.len().min(wanted)],
                Err(error) => {
                    stream.is_queued = false;
                    let errno = Errno::from_io_error(&error).map(crate::counts::Errno::from_rustix);
                    let key = ErrorKey { class: ErrorClass::Body, errno, protocol: None };
                    let code = Some(keepwarm_http2::Code::CANCEL);
                    let example = || format!("reading the body from its file: {error}");
                    self.fail_stream(index, &mut http2, at, (key, code), Instant::now(), example);
                    self.tally.ledger.streams.cancelled += 1;
                    continue;
                }
            };
            stream.sent += bytes.len();
            stream.window -= i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            write_data_header(&mut http2.out, stream.id, bytes.len(), !stream.is_uploading());
            http2.out.extend_from_slice(bytes);
            http2.connection.sent(bytes.len());
            stream.current.written += bytes.len();
            stream.is_queued = stream.is_uploading() && stream.window > 0;
            if stream.is_queued {
                http2.uploads.push_back(at);
            }
        }
        self.slots[index].http2 = Some(http2);
    }

    /// Writes what waits, once, on a connection that ends: an error changes nothing any more.
    pub(super) fn flush_last(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let (Some(socket), Some(http2)) = (&slot.socket, &mut slot.http2) else { return };
        let waiting = &http2.out[http2.written..];
        let sent = match &mut slot.tls {
            None => rustix::net::send(socket, waiting, SendFlags::NOSIGNAL).unwrap_or(0),
            Some(tls) => {
                let _ = tls.writer().write(waiting);
                tls.write_tls(&mut TlsSocket(socket)).unwrap_or(0)
            }
        };
        self.tally.bytes_written += sent as u64;
        http2.written = http2.out.len();
    }

    /// Writes until nothing waits, the socket is full, or [`CALLS_PER_BATCH`] calls were made.
    #[inline]
    pub(in super::super) fn flush(&mut self, index: usize) {
        if self.slots[index].write_error.is_some() {
            return;
        }
        for _ in 0..CALLS_PER_BATCH {
            let has_uploads = |http2: &Http2| !http2.uploads.is_empty();
            if self.slots[index].http2.as_deref().is_some_and(has_uploads) {
                self.fill_buffer(index);
            }
            let slot = &mut self.slots[index];
            let (Some(socket), Some(http2)) = (&slot.socket, &mut slot.http2) else { return };
            let waiting = &http2.out[http2.written..];
            let sent = match &mut slot.tls {
                None if waiting.is_empty() => Ok(0),
                None => rustix::net::send(socket, waiting, SendFlags::NOSIGNAL),
                Some(tls) => {
                    if !waiting.is_empty() {
                        // Written into a buffer of rustls, which takes less only at its limit.
                        http2.written += tls.writer().write(waiting).unwrap_or(0);
                    }
                    match tls.wants_write() {
                        true => tls.write_tls(&mut TlsSocket(socket)).map_err(|error| match error
                            .kind()
                        {
                            ErrorKind::WouldBlock => Errno::AGAIN,
                            ErrorKind::Interrupted => Errno::INTR,
                            _ => Errno::from_io_error(&error).unwrap_or(Errno::IO),
                        }),
                        false => Ok(0),
                    }
                }
            };
            match sent {
                Ok(count) => {
                    self.tally.bytes_written += count as u64;
                    if slot.tls.is_none() {
                        http2.written += count;
                    }
                    http2.forget_written();
                    let has_more = slot.tls.as_ref().is_some_and(|tls| tls.wants_write());
                    if !has_more && !http2.is_writing() {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // Bytes may have arrived before the error; reading shows them.
                    slot.write_error = Some(errno);
                    slot.hangup = true;
                    return self.read(index);
                }
            }
        }
        self.queues.again.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_reader_costs_twice_what_waits() {
        let mut http2 = Http2::new(Instant::now());
        let mut most = 0;
        for round in 1..1000 {
            http2.out.resize(http2.out.len() + 10_000, 0);
            http2.written += if round < 100 { 1_000 } else { 10_000 };
            http2.forget_written();
            let waits = http2.out.len() - http2.written;
            assert!(http2.out.len() <= 2 * waits + BUFFERED, "{waits}");
            most = most.max(http2.out.len());
        }
        assert!(most < 2_000_000, "{most} of 10 MB");
    }
}
