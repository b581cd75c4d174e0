//! Opening connections. Owns the addresses' order, the back-off and the account of attempts; a
//! request whose dial fails at every address fails, and nothing shrinks silently.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Engine;
use super::slot::State;
use super::tally::micros;
use crate::failure::{self, ErrorClass};
use crate::plan::Endpoint;

/// The pause after the first failed dial of a slot; it doubles with each one that follows.
const FIRST_BACK_OFF: Duration = Duration::from_millis(1);

/// The longest pause.
const LONGEST_BACK_OFF: Duration = Duration::from_millis(100);

impl Engine {
    /// Starts to dial for the request that the slot has just got.
    pub(super) fn dial(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.first_endpoint = self.preferred_endpoint;
        slot.endpoints_tried = 0;
        self.dial_next(index, Errno::CONNREFUSED);
    }

    /// Calls connect(2) for the next endpoint; `before` is why the last one failed.
    fn dial_next(&mut self, index: usize, before: Errno) {
        let mut reason = before;
        while self.slots[index].endpoints_tried < self.plan.endpoints().len() {
            let slot = &mut self.slots[index];
            slot.endpoints_tried += 1;
            let slot = &mut self.slots[index];
            slot.dialed_at = Instant::now();
            self.tally.ledger.connect_attempts += 1;
            match self.register(index) {
                Ok(socket) => {
                    let slot = &mut self.slots[index];
                    slot.socket = Some(socket);
                    slot.hangup = false;
                    slot.tls = None;
                    slot.end_announced = false;
                    slot.requests = 0;
                    slot.state = State::Dialing;
                    return;
                }
                Err(errno) => {
                    self.count_failed_attempt(errno);
                    reason = errno;
                }
            }
        }
        self.dial_failed(index, reason);
    }

    /// The endpoint tried last: the first one is that which answered last, then the others follow
    /// in their order.
    fn endpoint_index(&self, index: usize) -> usize {
        let slot = &self.slots[index];
        (slot.first_endpoint + slot.endpoints_tried - 1) % self.plan.endpoints().len()
    }

    /// A socket that is connecting, registered once for everything it will ever announce.
    fn register(&mut self, index: usize) -> Result<OwnedFd, Errno> {
        let endpoint = &self.plan.endpoints()[self.endpoint_index(index)];
        let family = match endpoint {
            Endpoint::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Endpoint::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Endpoint::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let connected = match endpoint {
            Endpoint::Tcp(address) => {
                sockopt::set_tcp_nodelay(&socket, true)?;
                if let Some(source) = self.plan.route().source_for(*address, self.sourced) {
                    self.sourced += 1;
                    // Else bind(2) would take a port that no other socket can have, whatever it
                    // connects to. It is missing only before Linux 4.2, and then costs ports.
                    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
                    rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
                }
                rustix::net::connect(&socket, address)
            }
            Endpoint::Unix(address) => rustix::net::connect(&socket, address),
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        // After connect(2): a socket that is not connecting yet would announce a hang-up.
        let interest = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), interest)?;
        Ok(socket)
    }

    /// The first event of a connecting socket.
    pub(super) fn on_dialed(&mut self, index: usize, hangup: bool, readable: bool) {
        let Some(socket) = &self.slots[index].socket else {
            return;
        };
        let result =
            if hangup { sockopt::socket_error(socket).unwrap_or_else(Err) } else { Ok(()) };
        match result {
            Ok(()) => {
                let now = self.opened(index);
                self.established(index, now);
                if readable {
                    self.read(index);
                }
            }
            // Not refused: the handshake was complete, and what came with it was an RST (after a
            // FIN for EPIPE). The kernel reports the error once, so that no read would see it.
            Err(errno @ (Errno::CONNRESET | Errno::PIPE)) => {
                self.opened(index);
                self.slots[index].framing.reset(false, false);
                self.slots[index].state = State::Exchanging;
                self.receive_failed(index, errno);
            }
            Err(errno) => {
                self.slots[index].socket = None;
                self.count_failed_attempt(errno);
                self.dial_next(index, errno);
            }
        }
    }

    /// Accounts for an established connection; returns when it was seen to be one.
    fn opened(&mut self, index: usize) -> Instant {
        let now = Instant::now();
        self.tick(now);
        self.preferred_endpoint = self.endpoint_index(index);
        let slot = &mut self.slots[index];
        // With TLS it has not succeeded yet.
        if self.tls.is_none() {
            slot.failed_dials = 0;
        }
        slot.opened_at = now;
        let connect_time = now - slot.dialed_at;
        self.tally.connect_time.record(micros(connect_time));
        self.tally.ledger.opened += 1;
        self.open += 1;
        self.shared.note_opened();
        now
    }

    fn count_failed_attempt(&mut self, errno: Errno) {
        let errno = failure::Errno::from_rustix(errno);
        *self.tally.ledger.connect_failed.entry(errno).or_default() += 1;
    }

    /// Every address has failed, and with them the request.
    fn dial_failed(&mut self, index: usize, errno: Errno) {
        let now = Instant::now();
        let (host, port) = (self.plan.host().to_owned(), self.plan.port());
        self.fail(index, ErrorClass::Connect, Some(errno), now, || {
            format!("connect to {host}, port {port}: {}", std::io::Error::from(errno))
        });
        self.back_off(index, now);
    }

    pub(super) fn dial_timed_out(&mut self, index: usize, now: Instant) {
        self.slots[index].socket = None;
        self.tally.ledger.connect_timed_out += 1;
        let timeout = self.plan.timeout();
        self.fail(index, ErrorClass::ConnectTimeout, None, now, || {
            format!("no answer to connect within {timeout:?}")
        });
        self.back_off(index, now);
    }

    pub(super) fn back_off(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let doubled = FIRST_BACK_OFF * 2u32.saturating_pow(slot.failed_dials.min(16));
        slot.failed_dials += 1;
        slot.state = State::BackingOff;
        // Between half of it and all of it, so that slots which failed together do not try together.
        let half = doubled.min(LONGEST_BACK_OFF) / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_micros(self.random.next_u64() % micros);
        self.arm(index, now + half + jitter);
        self.shared.failed_dials.fetch_add(1, Relaxed);
        self.shared.stop_if_unreachable();
    }
}
