//! Opens connections. Owns the order of addresses, the rate of dials, the back-off and the counting
//! of attempts. A request whose dial fails at every address fails; the number of connections never
//! shrinks silently.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepwarm_http1::Asked;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Engine;
use super::backends::{Backends, Known, Tried};
use super::slot::State;
use crate::counts::{self, ErrorClass, micros};
use crate::plan::{Endpoint, Plan};

/// The pause after the first failed dial of a slot. Each further failure doubles it.
const FIRST_BACK_OFF: Duration = Duration::from_millis(1);

/// The longest pause.
const LONGEST_BACK_OFF: Duration = Duration::from_millis(100);

/// Delay that a thread may make up for, behind its rate of dials.
const CATCH_UP: Duration = Duration::from_millis(10);

/// The next dial of this thread: when, to which endpoint and from which source.
#[derive(Debug)]
pub(super) struct Dialing {
    /// No slot dials before this instant. Moves only with a limit on the rate of dials.
    next: Instant,
    /// Time between two dials; zero without a limit on their rate.
    gap: Duration,
    /// The addresses, and those that new connections go to.
    known: Known,
    /// Lookup that the addresses are of.
    version: u64,
    /// Addresses whose last dial failed: they are tried after the others.
    down: Vec<bool>,
    /// Dials so far; each begins with the next address.
    turn: usize,
    /// Connections of this thread so far.
    connections: u64,
    /// Dials so far from one of the plan's sources.
    sourced: usize,
}

impl Dialing {
    pub(super) fn new(plan: &Plan, backends: &Backends, thread: usize, started: Instant) -> Self {
        let known = backends.known();
        let threads = f64::from(u32::try_from(plan.threads()).unwrap_or(u32::MAX));
        let gap = |rate| Duration::from_secs_f64(threads / rate);
        Self {
            next: started,
            gap: plan.connect_rate().map_or(Duration::ZERO, gap),
            down: vec![false; known.all.len()],
            known,
            version: backends.version(),
            // Each thread begins with another address.
            turn: thread,
            connections: 0,
            // Each thread begins with another source.
            sourced: thread,
        }
    }

    /// Takes the addresses of a lookup that has ended since.
    #[cold]
    fn refresh(&mut self, backends: &Backends) {
        self.version = backends.version();
        self.known = backends.known();
        self.down = vec![false; self.known.all.len()];
    }

    /// Returns the next address to try: one that is not down, else one that is. `first` is the place
    /// at which the dial began.
    fn next_endpoint(&self, first: usize, tried: &Tried) -> Option<usize> {
        let active = &self.known.active;
        let turn = |k: usize| active[(first + k) % active.len()];
        let mut untried = (0..active.len()).map(turn).filter(|index| !tried.has(*index));
        untried.clone().find(|index| !self.down[*index]).or_else(|| untried.next())
    }

    /// Returns true if the rate lets a slot dial now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns the time until the rate lets a slot dial.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Counts a dial against the rate.
    pub(super) fn spend(&mut self, now: Instant) {
        if !self.gap.is_zero() {
            // A late thread may catch up a little, but not with a burst.
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next = self.next.max(earliest) + self.gap;
        }
    }
}

impl Engine {
    /// Starts to dial for the request that the slot has just got.
    pub(super) fn dial(&mut self, index: usize) {
        if self.dialing.version != self.shared.backends.version() {
            self.dialing.refresh(&self.shared.backends);
        }
        let slot = &mut self.slots[index];
        slot.first_endpoint = self.dialing.turn;
        slot.tried = Tried::default();
        slot.connection = 0;
        self.dialing.turn = self.dialing.turn.wrapping_add(1);
        self.dial_next(index, Errno::CONNREFUSED);
    }

    /// Calls connect(2) for the next endpoint. `before` is the error of the previous one.
    fn dial_next(&mut self, index: usize, before: Errno) {
        let mut reason = before;
        loop {
            let slot = &mut self.slots[index];
            let next = self.dialing.next_endpoint(slot.first_endpoint, &slot.tried);
            let Some(endpoint) = next else { break };
            slot.tried.insert(endpoint);
            slot.endpoint = endpoint;
            slot.dialed_at = Instant::now();
            self.tally.ledger.connect_attempts += 1;
            match self.register(index) {
                Ok(socket) => {
                    let slot = &mut self.slots[index];
                    slot.socket = Some(socket);
                    slot.hangup = false;
                    slot.tls = None;
                    slot.write_error = None;
                    slot.end_announced = false;
                    slot.stray = false;
                    slot.requests = 0;
                    slot.state = State::Dialing;
                    return;
                }
                Err(errno) => {
                    self.count_failed_attempt(index, errno);
                    reason = errno;
                }
            }
        }
        self.dial_failed(index, reason);
    }

    /// Makes a socket that is connecting, registered once for all its events.
    fn register(&mut self, index: usize) -> Result<OwnedFd, Errno> {
        let endpoint = &self.dialing.known.all[self.slots[index].endpoint];
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
                if let Some(source) = self.plan.route().source_for(*address, self.dialing.sourced) {
                    self.dialing.sourced += 1;
                    // Without this, bind(2) takes a port that no other socket can have, even
                    // towards another address. Missing before Linux 4.2, at the price of ports.
                    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
                    let mut source = SocketAddr::new(source, 0);
                    // A link-local source needs the interface too; other sources ignore it.
                    if let (SocketAddr::V6(source), SocketAddr::V6(to)) = (&mut source, address) {
                        source.set_scope_id(to.scope_id());
                    }
                    rustix::net::bind(&socket, &source)?;
                }
                rustix::net::connect(&socket, address)
            }
            Endpoint::Unix(address) => rustix::net::connect(&socket, address),
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        // After connect(2), because a socket that is not connecting yet announces a hang-up.
        let interest = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), interest)?;
        Ok(socket)
    }

    /// Handles the first event of a connecting socket.
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
            // Not refused: the TCP handshake was complete, and an RST came with it (after a FIN if
            // EPIPE). The kernel reports the error only once, so a read would not see it.
            Err(errno @ (Errno::CONNRESET | Errno::PIPE)) => {
                self.opened(index);
                self.slots[index].response.begin(Asked::Plain, false);
                self.slots[index].state = State::Exchanging;
                self.receive_failed(index, errno);
            }
            Err(errno) => {
                self.slots[index].socket = None;
                self.count_failed_attempt(index, errno);
                self.dial_next(index, errno);
            }
        }
    }

    /// Counts an established connection. Returns the time at which it was seen.
    fn opened(&mut self, index: usize) -> Instant {
        let now = Instant::now();
        self.tick(now);
        let slot = &mut self.slots[index];
        let endpoint = slot.endpoint;
        self.dialing.down[endpoint] = false;
        let threads = self.plan.threads() as u64;
        slot.connection = self.dialing.connections * threads + self.thread as u64 + 1;
        self.dialing.connections += 1;
        // With TLS the dial has not succeeded yet.
        if self.tls.is_none() {
            slot.failed_dials = 0;
        }
        slot.opened_at = now;
        let connect_time = now - slot.dialed_at;
        self.tally.connect_time.record(micros(connect_time));
        self.tally.ledger.opened += 1;
        let is_for_streams = std::mem::take(&mut slot.is_for_streams);
        self.tally.ledger.streams.opened_for_streams += u64::from(is_for_streams);
        self.gauges.open += 1;
        self.shared.note_opened();
        if self.plan.keeps_addresses() {
            self.tally.by_address.of(endpoint).opened += 1;
        }
        if self.plan.shows_exchange() {
            self.keep_opened(index);
        }
        now
    }

    fn count_failed_attempt(&mut self, index: usize, errno: Errno) {
        self.count_down(index);
        let errno = counts::Errno::from_rustix(errno);
        *self.tally.ledger.connect_failed.entry(errno).or_default() += 1;
    }

    /// Notes that the address tried last has failed.
    fn count_down(&mut self, index: usize) {
        let endpoint = self.slots[index].endpoint;
        self.dialing.down[endpoint] = true;
        if self.plan.keeps_addresses() {
            self.tally.by_address.of(endpoint).connects_failed += 1;
        }
    }

    /// Fails the request, because every address has failed.
    fn dial_failed(&mut self, index: usize, errno: Errno) {
        let now = Instant::now();
        let plan = Arc::clone(&self.plan);
        self.fail(index, ErrorClass::Connect, Some(errno), now, || {
            let error = std::io::Error::from(errno);
            match &plan.route().unix_socket {
                Some(path) => format!("connect to the Unix socket {}: {error}", path.display()),
                None => format!("connect to {}, port {}: {error}", plan.host(), plan.port()),
            }
        });
        self.back_off(index, now);
    }

    pub(super) fn dial_timed_out(&mut self, index: usize, now: Instant) {
        self.slots[index].socket = None;
        self.tally.ledger.connect_timed_out += 1;
        self.count_down(index);
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
        // Jitter: between 50 % and 100 % of the back-off, so that slots that failed together do not
        // retry together.
        let half = doubled.min(LONGEST_BACK_OFF) / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_micros(self.random.next_u64() % micros);
        self.arm(index, now + half + jitter);
        self.shared.note_failed_dial();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(next: Instant, gap: Duration) -> Dialing {
        Dialing {
            next,
            gap,
            known: Known::default(),
            version: 0,
            down: Vec::new(),
            turn: 0,
            connections: 0,
            sourced: 0,
        }
    }

    #[test]
    fn addresses_take_turns_and_failed_ones_come_last() {
        let mut dialing = bare(Instant::now(), Duration::ZERO);
        dialing.known.active = vec![0, 1, 2];
        dialing.down = vec![false, true, false];
        let order = |first| {
            let mut tried = Tried::default();
            let next = || {
                let next = dialing.next_endpoint(first, &tried)?;
                tried.insert(next);
                Some(next)
            };
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        assert_eq!((order(0), order(1), order(2)), (vec![0, 2, 1], vec![2, 0, 1], vec![2, 0, 1]));
    }

    #[test]
    fn late_thread_catches_up_ten_milliseconds() {
        let (start, gap) = (Instant::now(), Duration::from_millis(5));
        let mut dialing = bare(start, gap);
        let late = start + Duration::from_secs(1);
        for dial in 0..3 {
            assert!(
                dialing.is_due(late),
                "10 ms make up for two dials beside the due one: dial {dial}"
            );
            dialing.spend(late);
        }
        assert_eq!((dialing.is_due(late), dialing.wait(late)), (false, gap));
    }

    #[test]
    fn without_a_rate_each_dial_is_due() {
        let start = Instant::now();
        let mut dialing = bare(start, Duration::ZERO);
        (0..100).for_each(|_| dialing.spend(start));
        assert!(dialing.is_due(start));
    }
}
