//! TLS on the same loop: rustls makes records of bytes and bytes of records, this file moves them.
//! Owns the handshake and the order of reading and writing; the exchange and the framing own the
//! meaning of the bytes.
//!
//! A connection counts as opened when TCP is established; its handshake is measured apart. A failed
//! handshake is a failed request with a class of its own, on a connection that carried no request.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::{AlertDescription, ClientConnection, HandshakeKind};

use super::exchange::{ConnectionEnd, quoted};
use super::slot::{State, request};
use super::{CALLS_PER_BATCH, Engine};
use crate::counts::{self, CloseCause, ErrorClass, ErrorKey, Protocol, micros};
use crate::plan::{Outgoing, Part, describe_tls};

/// Time for which the FIN of a peer that has sent close_notify is waited for. Servers send the two
/// together. Closing between them would make this side the first one on TCP, and move the TIME_WAIT
/// here; a server that keeps TCP open costs its connection this time.
const WAIT_FOR_FIN: Duration = Duration::from_millis(5);

/// The failure of a handshake by which no HTTP/2 was agreed on.
const NOT_CHOSEN: &str = "the server did not choose HTTP/2 in the TLS handshake (ALPN h2)";

/// The socket as rustls writes to it: without a signal (SIGPIPE) when the peer is gone.
pub(super) struct TlsSocket<'a>(pub(super) &'a OwnedFd);

impl Write for TlsSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Engine {
    /// Begins the handshake on an established connection, or the exchange without TLS.
    pub(super) fn established(&mut self, index: usize, now: Instant) {
        let Some((config, name)) = &self.tls else {
            return self.begin_exchange(index, now);
        };
        match ClientConnection::new(config.clone(), name.clone()) {
            Ok(connection) => {
                let slot = &mut self.slots[index];
                slot.tls = Some(Box::new(connection));
                slot.state = State::Handshaking;
                slot.write_error = None;
                self.write_secure(index);
            }
            Err(error) => self.handshake_failed(index, &error, &[]),
        }
    }

    /// Writes the bytes of the handshake, of the request and of the TLS protocol.
    pub(super) fn write_secure(&mut self, index: usize) {
        for _ in 0..CALLS_PER_BATCH {
            let slot = &mut self.slots[index];
            let request = match slot.state {
                State::Exchanging => {
                    request(&self.plan, slot.current.which, slot.current.is_last, &slot.rendered)
                }
                _ => Outgoing::NOTHING,
            };
            let (Some(socket), Some(tls)) = (&slot.socket, &mut slot.tls) else { return };
            if slot.current.written < request.len() {
                let bytes = match request.after(slot.current.written) {
                    Part::Memory(bytes) => bytes,
                    Part::File(file, offset) => {
                        match file.read_at(offset, &mut self.buffers.body) {
                            Ok(bytes) => bytes,
                            Err(error) => return self.body_failed(index, &error),
                        }
                    }
                };
                // Written into a buffer of rustls, which takes less only at its limit.
                let taken = tls.writer().write(bytes).unwrap_or(0);
                if slot.current.written == 0 && taken > 0 {
                    slot.requests += 1;
                    slot.current.nth = slot.requests;
                    self.tally.ledger.requests_written += 1;
                    self.tally.ledger.reused += u64::from(slot.requests > 1);
                }
                slot.current.written += taken;
            } else if !tls.wants_write() {
                return;
            }
            match tls.write_tls(&mut TlsSocket(socket)) {
                Ok(count) => self.tally.bytes_written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // A response or an alert may have arrived before the error; reading shows it.
                    slot.write_error = Some(Errno::from_io_error(&error).unwrap_or(Errno::IO));
                    slot.hangup = true;
                    return self.read(index);
                }
            }
        }
        self.queues.again.push(index);
    }

    /// Handles encrypted bytes from the socket.
    pub(super) fn take_secure(&mut self, index: usize, bytes: &[u8], now: Instant) {
        let mut wire = bytes;
        let mut plain = std::mem::take(&mut self.buffers.plain);
        let (mut failed, mut ended) = (None, false);
        while !wire.is_empty() && failed.is_none() && !ended {
            let Some(tls) = &mut self.slots[index].tls else { break };
            let processed = match tls.read_tls(&mut wire) {
                Ok(_) => tls.process_new_packets(),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            };
            match processed {
                // Bytes behind close_notify are ignored (RFC 8446, section 6.1).
                Ok(state) => ended = state.peer_has_closed(),
                Err(error) => failed = Some(error),
            }
            if self.slots[index].state != State::Handshaking {
                self.take_plain(index, &mut plain, now);
            }
        }
        self.buffers.plain = plain;
        if let Some(error) = failed {
            return self.secure_failed(index, &error, bytes, now);
        }
        self.answer_secure(index, now);
        if ended {
            self.on_end_announced(index, now);
        }
    }

    /// Writes what the bytes just read have made possible: the first request, or an answer of TLS.
    fn answer_secure(&mut self, index: usize, now: Instant) {
        let slot = &self.slots[index];
        let Some(tls) = &slot.tls else { return };
        if slot.write_error.is_some() {
            // The bytes that are left to read decide.
            return;
        }
        if slot.state == State::Handshaking && !tls.is_handshaking() {
            self.handshaken(index, now);
            // A server may answer before it is asked, in the flight that ends the handshake.
            let mut plain = std::mem::take(&mut self.buffers.plain);
            self.take_plain(index, &mut plain, now);
            self.buffers.plain = plain;
        } else if tls.wants_write() {
            self.write_secure(index);
        }
    }

    /// Gives the bytes that rustls has decrypted to the exchange.
    fn take_plain(&mut self, index: usize, plain: &mut [u8], now: Instant) {
        loop {
            let Some(tls) = &mut self.slots[index].tls else { return };
            match tls.reader().read(plain) {
                Ok(count @ 1..) => self.take(index, &plain[..count], now),
                // No more bytes, or the peer's end: with close_notify `take_secure` sees it,
                // without it the FIN shows it.
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Handles the peer's close_notify: the end of its bytes, even if it keeps the TCP connection
    /// (RFC 8446, section 6.1). A request on this connection would have no answer.
    fn on_end_announced(&mut self, index: usize, now: Instant) {
        self.slots[index].end_announced = true;
        let end = match self.slots[index].state {
            State::Vacant | State::BackingOff | State::Dialing => return,
            State::Handshaking => {
                return self.handshake_ended(index, ConnectionEnd::PeerFin, None);
            }
            State::Exchanging => self.settle_ended(index, now),
            State::Open | State::Leaving { .. } => ConnectionEnd::PeerFin,
        };
        if !matches!(end, ConnectionEnd::PeerFin) {
            return self.close(index, end);
        }
        if !matches!(self.slots[index].state, State::Leaving { wait: true, .. }) {
            self.gauges.waiting += 1;
        }
        self.arm(index, now + WAIT_FOR_FIN);
        let cause = CloseCause::PeerKeptOpen;
        self.slots[index].state = State::Leaving { cause, wait: true };
    }

    /// Counts a finished handshake, and begins the exchange.
    fn handshaken(&mut self, index: usize, now: Instant) {
        self.tick(now);
        let slot = &mut self.slots[index];
        let resumed = slot.tls.as_ref().and_then(|tls| tls.handshake_kind());
        self.tally.handshakes_resumed += u64::from(resumed == Some(HandshakeKind::Resumed));
        self.tally.handshake_time.record(micros(now - slot.opened_at));
        let protocol = slot.tls.as_ref().and_then(|tls| tls.alpn_protocol());
        if self.plan.is_http2() && protocol != Some(b"h2") {
            let protocol = Some(Protocol::Http1);
            let key = ErrorKey { class: ErrorClass::Tls, errno: None, protocol };
            self.fail_as(index, key, now, || NOT_CHOSEN.to_owned());
            return self.end_handshake(index, ConnectionEnd::ByUs(CloseCause::TlsFailed), now);
        }
        slot.failed_dials = 0;
        self.begin_exchange(index, now);
    }

    /// Handles bytes that are not TLS, and a refused peer or certificate.
    fn secure_failed(&mut self, index: usize, error: &rustls::Error, bytes: &[u8], now: Instant) {
        // An alert gives the peer the reason. A failure to write it changes nothing.
        let slot = &mut self.slots[index];
        if let (Some(socket), Some(tls)) = (&slot.socket, &mut slot.tls) {
            let _ = tls.write_tls(&mut TlsSocket(socket));
        }
        match slot.state {
            State::Handshaking => self.handshake_failed(index, error, bytes),
            State::Exchanging => {
                if self.slots[index].http2.is_some() {
                    let key = ErrorKey { class: ErrorClass::Tls, errno: None, protocol: None };
                    self.fail_all(index, now, |_, _| (key, describe_tls(error)));
                } else {
                    self.fail(index, ErrorClass::Tls, None, now, || describe_tls(error));
                }
                self.leave(index, CloseCause::BadResponse, None);
            }
            _ => self.leave_stray(index),
        }
    }

    fn handshake_failed(&mut self, index: usize, error: &rustls::Error, bytes: &[u8]) {
        let now = Instant::now();
        // The first bytes of a server that does not speak TLS are no record of TLS.
        let protocol = match error {
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                if self.plan.is_http2() =>
            {
                Some(Protocol::Http1)
            }
            rustls::Error::InvalidMessage(_) => {
                Some(Protocol::of(bytes)).filter(|protocol| *protocol != Protocol::Tls)
            }
            _ => None,
        };
        let key = ErrorKey { class: ErrorClass::Tls, errno: None, protocol };
        self.fail_as(index, key, now, || match protocol {
            Some(Protocol::Http1) => NOT_CHOSEN.to_owned(),
            Some(_) => format!("the server does not speak TLS: {}", quoted(bytes)),
            None => format!("the handshake failed: {}", describe_tls(error)),
        });
        self.end_handshake(index, ConnectionEnd::ByUs(CloseCause::TlsFailed), now);
    }

    /// Handles a handshake that was ended by the peer or by the timeout.
    pub(super) fn handshake_ended(
        &mut self,
        index: usize,
        end: ConnectionEnd,
        errno: Option<Errno>,
    ) {
        let now = Instant::now();
        let timeout = self.plan.timeout();
        let (class, example) = match end {
            ConnectionEnd::TimedOut => {
                (ErrorClass::ConnectTimeout, format!("no end of the TLS handshake in {timeout:?}"))
            }
            _ => (ErrorClass::Tls, "the server ended the TLS handshake".to_owned()),
        };
        let protocol = match end {
            ConnectionEnd::PeerFin | ConnectionEnd::TimedOut => self.guess_by_port(),
            _ => None,
        };
        let errno = errno.map(counts::Errno::from_rustix);
        self.fail_as(index, ErrorKey { class, errno, protocol }, now, || example);
        self.end_handshake(index, end, now);
    }

    /// Closes the connection, and lets the slot pause before it tries again, so that a server that
    /// refuses handshakes is not dialed in a tight loop.
    fn end_handshake(&mut self, index: usize, end: ConnectionEnd, now: Instant) {
        self.close(index, end);
        let last = self.queues.ready.pop_back();
        debug_assert_eq!(last, Some(index));
        self.back_off(index, now);
    }

    /// Sends GOAWAY, if the connection speaks HTTP/2, and close_notify, if TLS, before this side closes a connection that the peer has not closed.
    pub(super) fn announce_end(&mut self, index: usize) {
        self.announce_goaway(index);
        let slot = &mut self.slots[index];
        if let (Some(socket), Some(tls)) = (&slot.socket, &mut slot.tls) {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut TlsSocket(socket));
        }
    }
}
