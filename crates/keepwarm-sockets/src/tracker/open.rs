//! Open sockets: the state kept per socket between its first dump and its death.
//!
//! Owns the table by cookie, and which dump saw a socket last. Packed, because a host may have
//! 100,000 open sockets.

use std::net::SocketAddr;

use super::addresses::{AddressNumber, HostAddresses};
use super::classify::AT_ONCE_MS;
use super::destinations::DestinationId;
use super::exchange::Exchange;
use super::handshakes::{BehindTls, Shape, without_handshake};
use super::learned::{Run, SegmentsOfBoth};
use super::totals::OpenRequests;
use crate::kernel::keyed_hash::CookieTable;
use crate::kernel::proc::owners::ProcessKey;
use crate::kernel::socket::{Side, Socket, State, TcpInfo};

/// `Option<u32>` in four bytes. The greatest number is stored as the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedOption(u32);

impl PackedOption {
    const NONE: PackedOption = PackedOption(u32::MAX);

    pub(super) fn get(self) -> Option<u32> {
        (self != PackedOption::NONE).then_some(self.0)
    }
}

impl From<Option<u32>> for PackedOption {
    fn from(number: Option<u32>) -> PackedOption {
        number.map_or(PackedOption::NONE, |number| PackedOption(number.min(u32::MAX - 1)))
    }
}

/// A few facts in one byte.
#[derive(Debug, Clone, Copy, Default)]
struct Flags(u8);

impl Flags {
    /// The socket was open when the window began.
    const AT_START: u8 = 1;
    /// The client waited for an answer at the last dump that fetched the numbers.
    const WAITS: u8 = 2;
    /// The [`Shape`] of the connection at that dump.
    const PLAIN: u8 = 4;
    const ALIKE: u8 = 8;
    const POSSIBLE: u8 = 16;
    const SMALL: u8 = 32;

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }
}

/// State kept per open socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenSocket {
    /// The last dump that saw it.
    last_dump: u32,
    pub(super) destination: DestinationId,
    pub(super) inode: u32,
    /// The number of its [`ProcessKey`].
    pub(super) process: PackedOption,
    /// Messages from the client at the last dump that fetched them, at least.
    messages: PackedOption,
    /// Requests then, at most.
    at_most: PackedOption,
    requests_at_start: PackedOption,
    /// Segments with data from the server to the client, at the last dump that fetched them.
    answers: u32,
    answers_at_start: u32,
    /// In CLOSE_WAIT: how long the connection had been idle when the peer's FIN came.
    idle_at_fin_ms: PackedOption,
    local_address: Option<AddressNumber>,
    local_port: u16,
    remote_port: u16,
    flags: Flags,
    /// A server's socket whose client is not in this network namespace.
    pub(super) server_only: bool,
}

impl OpenSocket {
    /// Returns the process that was found with the socket among its files.
    pub(super) fn process(&self) -> Option<ProcessKey> {
        self.process.get().map(ProcessKey::of_number)
    }

    /// Returns whether the socket was open when the window began.
    pub(super) fn was_open_at_start(&self) -> bool {
        self.flags.has(Flags::AT_START)
    }

    /// Returns how the connection began, as the last dump has it; unknown if it was open before the
    /// window.
    fn shape(&self) -> Shape {
        match () {
            () if self.was_open_at_start() => Shape::Unknown,
            () if self.flags.has(Flags::PLAIN) => Shape::Plain,
            () if self.flags.has(Flags::ALIKE) => Shape::Alike,
            () if self.flags.has(Flags::POSSIBLE) => {
                Shape::Possible { small: self.flags.has(Flags::SMALL) }
            }
            () => Shape::Unknown,
        }
    }

    fn set_shape(&mut self, shape: Shape) {
        let small = Shape::Possible { small: true };
        self.flags.set(Flags::PLAIN, shape == Shape::Plain);
        self.flags.set(Flags::ALIKE, shape == Shape::Alike);
        self.flags.set(Flags::POSSIBLE, matches!(shape, Shape::Possible { .. }));
        self.flags.set(Flags::SMALL, shape == small);
    }

    /// Returns the requests within the window as of the last dump, read in both ways.
    pub(super) fn requests_now(&self) -> OpenRequests {
        let plain = self.requests_so_far().zip(self.at_most_so_far());
        let (messages, at_most) = plain.unwrap_or_default();
        let both = SegmentsOfBoth {
            asked: Run::short(messages, at_most),
            answered: Run::short(self.answers, self.answers),
            is_due: self.waits(),
        };
        OpenRequests {
            plain,
            behind_tls: BehindTls {
                // Its hello may be long: nothing is kept that shows it.
                requests: without_handshake(messages, at_most, true),
                segments: (messages == at_most).then_some(both),
                asked_bytes: None,
            },
            shape: self.shape(),
            answers: self.answers_so_far(),
            server_only: self.server_only,
        }
    }

    fn waits(&self) -> bool {
        self.flags.has(Flags::WAITS)
    }

    /// Returns how long the connection had been idle when a dump met it in CLOSE_WAIT.
    pub(super) fn idle_at_fin_ms(&self) -> Option<u32> {
        self.idle_at_fin_ms.get()
    }

    /// Returns the part within the window of `requests`; `None` if that is unknown, or if a socket
    /// that was open before carried none in it.
    pub(super) fn in_window(&self, requests: u32) -> Option<u32> {
        if !self.was_open_at_start() {
            return Some(requests);
        }
        requests.checked_sub(self.requests_at_start.get()?).filter(|more| *more > 0)
    }

    /// Returns the upper bound of the requests within the window, where
    /// [`in_window`](Self::in_window) gives the lower one.
    pub(super) fn at_most_in_window(&self, now: &Exchange) -> Option<u32> {
        let at_least = self.in_window(now.requests)?;
        if !self.was_open_at_start() {
            return Some(now.at_most);
        }
        let answered = now.answers.saturating_sub(self.answers_at_start);
        let bound = answered.saturating_add(u32::from(now.waiting_ms.is_some()));
        let sent = now.at_most.saturating_sub(self.requests_at_start.get()?);
        Some(if now.answers > 0 { sent.min(bound) } else { sent }.max(at_least))
    }

    /// Returns the upper bound of [`requests_so_far`](Self::requests_so_far).
    pub(super) fn at_most_so_far(&self) -> Option<u32> {
        let exchange = Exchange {
            requests: self.requests()?,
            at_most: self.at_most.get()?,
            messages: self.messages.get()?,
            behind_tls: BehindTls::default(),
            shape: Shape::Unknown,
            asked_segments: 0,
            answers: self.answers,
            is_stream: false,
            waiting_ms: Some(0),
            asked_last: true,
            in_flight: None,
        };
        self.at_most_in_window(&exchange)
    }

    /// Returns whether the last dump met the client waiting for an answer of which nothing has
    /// arrived until now; `None` if it did not wait then.
    pub(super) fn still_waits(&self, now: &Exchange) -> Option<bool> {
        self.waits().then(|| now.delivered() <= self.answers)
    }

    /// Returns whether a farewell was said since the last dump.
    pub(super) fn farewell(&self, now: &Exchange) -> Farewell {
        let Some(messages) = self.messages.get().filter(|_| !self.waits()) else {
            return Farewell::Unknown;
        };
        let more =
            [now.messages.saturating_sub(messages), now.answers.saturating_sub(self.answers)];
        match more {
            [0, 0] => Farewell::NotSaid,
            [..=1, ..=1] => Farewell::Said,
            _ => Farewell::Unknown,
        }
    }

    /// Returns the requests within the window as of the last dump, see [`in_window`](Self::in_window).
    pub(super) fn requests_so_far(&self) -> Option<u32> {
        self.in_window(self.requests()?)
    }

    /// Returns the requests at the last dump, at least: messages, as far as they were answered.
    fn requests(&self) -> Option<u32> {
        Some(self.messages.get()?.min(self.at_most.get()?))
    }

    /// Returns the client's messages within the window as of the last dump, answered or not.
    pub(super) fn messages_so_far(&self) -> u64 {
        let before =
            if self.was_open_at_start() { self.requests_at_start.get().unwrap_or(0) } else { 0 };
        self.messages.get().unwrap_or(0).saturating_sub(before).into()
    }

    /// Returns the server's segments with data within the window, as of the last dump.
    pub(super) fn answers_so_far(&self) -> u64 {
        self.answers.saturating_sub(self.answers_at_start).into()
    }

    /// Returns the local address and the remote port: all that is kept of the addresses.
    pub(super) fn addresses(&self, here: &HostAddresses) -> Option<LocalAndPort> {
        let ip = here.get(self.local_address?)?;
        Some((SocketAddr::new(ip, self.local_port), self.remote_port))
    }

    /// Returns the addresses of a socket before tcp_disconnect(), which clears the local address and
    /// the remote port that its event shows.
    pub(super) fn addresses_before(
        &self,
        here: &HostAddresses,
        event: &Socket,
    ) -> (SocketAddr, SocketAddr) {
        let ip = self.local_address.and_then(|number| here.get(number));
        let local = SocketAddr::new(ip.unwrap_or(event.local.ip()), self.local_port);
        (local, SocketAddr::new(event.remote.ip(), self.remote_port))
    }

    fn begin_window(&mut self) {
        self.flags.set(Flags::AT_START, true);
        self.requests_at_start = self.requests().into();
        self.answers_at_start = self.answers;
    }

    fn update(&mut self, side: Side, row: &Socket) {
        // An accepted connection gets its file, and so its inode, some time after it exists.
        if row.inode != 0 {
            self.inode = row.inode;
        }
        let Some(info) = row.info else { return };
        let exchange = Exchange::of(side, row);
        if row.state == State::CloseWait {
            // The last segment received is the FIN: how long before it came the last data?
            let idle = exchange.and_then(|now| idle_before_fin(&info, &now, self.farewell(&now)));
            self.idle_at_fin_ms = self.idle_at_fin_ms.get().or(idle).into();
        }
        // A program that has closed asks nothing more: what it sent since may be a farewell.
        let has_closed = !matches!(row.state, State::Established | State::CloseWait);
        if let Some(exchange) = exchange.filter(|_| !has_closed || self.messages.get().is_none()) {
            self.messages = Some(exchange.messages).into();
            self.at_most = Some(exchange.at_most).into();
            self.answers = exchange.answers;
            self.set_shape(exchange.shape);
            // A client that has left waits for nothing.
            let has_left = has_closed || (side == Side::Server && row.state == State::CloseWait);
            if !has_left {
                // Within one tick of the clock the numbers decide, and those of a handshake mislead.
                let may_have_handshake = exchange.shape.is_possible();
                let waits = exchange.asked_last || !may_have_handshake;
                self.flags.set(Flags::WAITS, waits && exchange.waiting_ms.is_some());
            }
        }
    }
}

/// Returns for how long a connection had been idle when the peer's FIN came, at a socket that is in
/// CLOSE_WAIT. `None` if data right before the FIN may be the peer's farewell, or an answer.
fn idle_before_fin(info: &TcpInfo, now: &Exchange, farewell: Farewell) -> Option<u32> {
    let (sent, received) = (info.last_data_sent_ms, info.last_data_recv_ms);
    let fin = info.last_ack_recv_ms?;
    let came_with_fin = received.is_some_and(|received| received.saturating_sub(fin) <= AT_ONCE_MS);
    let last_data = match farewell {
        Farewell::Said => sent.max(received),
        Farewell::Unknown if came_with_fin && now.shape.is_possible() && sent > received => {
            sent.filter(|sent| sent.saturating_sub(fin) <= AT_ONCE_MS)
        }
        _ => received.into_iter().chain(sent).min(),
    }?;
    Some(last_data.saturating_sub(fin))
}

/// Whether the last data on a connection was a farewell, as the last dump before shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// No dump met the connection idle, or more has been said since: the last of it may be one.
    Unknown,
    /// The connection was idle, and no more than a farewell has been said since.
    Said,
    /// Nothing has been said since.
    NotSaid,
}

/// Local address of a socket, and its remote port.
pub(super) type LocalAndPort = (SocketAddr, u16);

/// The open sockets in scope, by cookie.
///
/// A socket stays here until its event comes. One that a dump no longer shows is forgotten after
/// two further dumps, as its event may be on its way; if it was open when the window began, it stays
/// until the end.
#[derive(Debug, Default)]
pub(super) struct OpenSockets {
    by_cookie: CookieTable<OpenSocket>,
    /// Number of dumps, the one that is under way included.
    dumps: u32,
    /// The last dump that ended before the window did.
    current: u32,
}

impl OpenSockets {
    pub(super) fn begin_dump(&mut self) {
        self.dumps += 1;
    }

    /// Makes the dump that has just ended the current one.
    pub(super) fn end_dump(&mut self) {
        self.current = self.dumps;
        let dumps = self.dumps;
        self.by_cookie.retain(|open| open.last_dump + 2 > dumps || open.was_open_at_start());
    }

    /// Takes a row of the dump that is under way.
    pub(super) fn see(
        &mut self,
        destination: DestinationId,
        side: Side,
        row: &Socket,
        local_address: Option<AddressNumber>,
    ) -> &mut OpenSocket {
        let new = || OpenSocket {
            last_dump: 0,
            destination,
            inode: 0,
            process: PackedOption::NONE,
            messages: PackedOption::NONE,
            at_most: PackedOption::NONE,
            requests_at_start: PackedOption::NONE,
            answers: 0,
            answers_at_start: 0,
            idle_at_fin_ms: PackedOption::NONE,
            local_address,
            local_port: row.local.port(),
            remote_port: row.remote.port(),
            flags: Flags::default(),
            server_only: false,
        };
        let open = self.by_cookie.get_or_insert_with(row.cookie, new);
        open.last_dump = self.dumps;
        open.update(side, row);
        open
    }

    /// Returns whether the dump under way has seen the socket: it walks while sockets come and go,
    /// and may meet one twice.
    pub(super) fn is_seen(&self, open: &OpenSocket) -> bool {
        open.last_dump == self.dumps
    }

    pub(super) fn get(&self, cookie: u64) -> Option<&OpenSocket> {
        self.by_cookie.get(cookie)
    }

    pub(super) fn get_mut(&mut self, cookie: u64) -> Option<&mut OpenSocket> {
        self.by_cookie.get_mut(cookie)
    }

    pub(super) fn remove(&mut self, cookie: u64) {
        self.by_cookie.remove(cookie);
    }

    pub(super) fn len(&self) -> usize {
        self.by_cookie.len()
    }

    /// Returns whether the current dump saw the socket.
    pub(super) fn is_current(&self, open: &OpenSocket) -> bool {
        open.last_dump == self.current
    }

    /// Iterates over the sockets that the current dump, or a later one, saw.
    pub(super) fn alive(&self) -> impl Iterator<Item = &OpenSocket> {
        self.by_cookie.values().filter(|open| open.last_dump >= self.current)
    }

    /// Iterates over the sockets of [`alive`](OpenSockets::alive), to change them.
    pub(super) fn alive_mut(&mut self) -> impl Iterator<Item = &mut OpenSocket> {
        let current = self.current;
        self.by_cookie.values_mut().filter(move |open| open.last_dump >= current)
    }

    /// Makes the sockets of the current dump those that were open when the window began.
    pub(super) fn begin_window(&mut self) {
        self.alive_mut().for_each(OpenSocket::begin_window);
    }

    /// Returns the sockets that were open when the window began and are neither alive nor had an
    /// event.
    pub(super) fn vanished(&self) -> Vec<OpenSocket> {
        let all = self.by_cookie.values();
        all.filter(|open| open.last_dump < self.current && open.was_open_at_start())
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 100,000 sockets, and the moment the table doubles: 11 MB.
    #[test]
    fn open_socket_takes_56_bytes_with_its_key() {
        assert!(size_of::<(u64, OpenSocket)>() <= 56, "{}", size_of::<(u64, OpenSocket)>());
    }

    #[test]
    fn packed_option_keeps_numbers_and_none() {
        for number in [None, Some(0), Some(7), Some(u32::MAX - 1)] {
            assert_eq!(PackedOption::from(number).get(), number);
        }
        assert_eq!(PackedOption::from(Some(u32::MAX)).get(), Some(u32::MAX - 1));
    }
}
