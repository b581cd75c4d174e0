//! Connections that are followed from their first segment to their last, to learn how the connections
//! of a destination begin and end.
//!
//! Owns what a followed socket showed, and what its messages were. The kernel counts the segments of a
//! handshake of TLS as it counts those of requests, and its last word on a connection is their sum. A
//! socket that is looked up every millisecond or so while it is young shows them one by one. Pure: when
//! and how often it is looked up is decided in `watch`.
//!
//! ```text
//!  client ─ hello ──────────── Finished, request ───────────────── request ─ ... ─ close_notify
//!  server ────────── certificate ───────────────── tickets, answer ───────── ...
//! ```
//! Between two lookups in which one side alone has sent, the order is known. Where both have, it is too if
//! less than half of a round trip has passed: nothing that the other side sent in that time can be an answer
//! to what this side sent in it. A connection with a gap that may hide more is not used, and neither is one
//! that lost a segment.

use std::time::Duration;

use super::Tracker;
use super::destinations::DestinationId;
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::{Side, Socket, State, TcpInfo};
use crate::kernel::wire::diag::SocketLookup;

/// Messages beyond which a connection is not followed to its end.
const MAX_MESSAGES: usize = 64;

/// Segments and bytes of data, by the client and by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    asked: Message,
    answered: Message,
}

/// Segments and bytes that one side sent before the other sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Message {
    segments: u32,
    bytes: u64,
}

impl Counts {
    /// Reads the counts of a socket on this side; `None` where something was sent twice.
    fn of(side: Side, state: State, info: &TcpInfo) -> Option<Counts> {
        // The peer's FIN counts as a byte.
        let fin = matches!(state, State::CloseWait | State::LastAck | State::Closing);
        if info.total_retrans != Some(0) {
            return None;
        }
        let sent = Message { segments: info.data_segs_out?, bytes: info.bytes_sent? };
        let received = Message {
            segments: info.data_segs_in?,
            bytes: info.bytes_received?.checked_sub(fin.into())?,
        };
        Some(match side {
            Side::Client => Counts { asked: sent, answered: received },
            Side::Server => Counts { asked: received, answered: sent },
        })
    }
}

impl Message {
    fn since(self, earlier: Message) -> Option<Message> {
        Some(Message {
            segments: self.segments.checked_sub(earlier.segments)?,
            bytes: self.bytes.checked_sub(earlier.bytes)?,
        })
    }
}

/// A young connection that is followed by the socket on this host.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub(crate) lookup: SocketLookup,
    cookie: u64,
    destination: DestinationId,
    side: Side,
    /// Kind of beginning that its first messages showed.
    begun: Option<Beginning>,
    /// By the client and by the server in turn; the client's first.
    messages: Vec<Message>,
    last: Counts,
    /// When the lookup before was asked for.
    since: Duration,
    was_found: bool,
    /// Least round trip, in microseconds.
    round_trip: Option<Duration>,
    state: Following,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Following {
    /// Nothing was found yet that has counts.
    Unmet,
    Open,
    /// One side has closed. What comes now is a farewell.
    Closing,
    /// The socket has gone, or a part of its messages is not known.
    Lost,
}

impl Newborn {
    pub(super) fn new(row: &Socket, destination: DestinationId, side: Side) -> Newborn {
        let (local, remote) = (row.local, row.remote);
        let lookup = SocketLookup { local, remote, interface: row.interface, with_info: true };
        Newborn {
            lookup,
            cookie: 0,
            destination,
            side,
            begun: None,
            messages: Vec::new(),
            last: Counts::default(),
            since: Duration::ZERO,
            was_found: false,
            round_trip: None,
            state: Following::Unmet,
        }
    }

    /// Returns whether more lookups can show more.
    pub(crate) fn is_followed(&self) -> bool {
        self.state != Following::Lost
    }

    fn end(&mut self) {
        self.state = Following::Lost;
    }

    /// Returns whether it began with a handshake, as far as is known.
    fn may_be_tls(&self) -> bool {
        self.begun != Some(Beginning::Plain)
    }

    /// Returns the least round trip, where it is known.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Takes the socket that a lookup has found. Returns whether it is this one.
    pub(crate) fn handle_found(&mut self, row: &Socket, asked_at: Duration, now: Duration) -> bool {
        let is_it = row.local == self.lookup.local && row.remote == self.lookup.remote;
        if !is_it || !self.is_followed() {
            return is_it;
        }
        self.was_found = true;
        if matches!(row.state, State::SynSent | State::SynReceived) {
            return true;
        }
        let counts = row.info.filter(|_| !row.is_minisocket()).and_then(|info| {
            let least = info.min_rtt_us.filter(|us| *us > 0 && *us < u32::MAX);
            self.round_trip = least.map(|us| Duration::from_micros(us.into()));
            Counts::of(self.side, row.state, &info)
        });
        let Some(counts) = counts else {
            self.state = Following::Lost;
            return true;
        };
        match self.state {
            Following::Unmet => self.meet(row, counts),
            _ => self.step(counts, now.saturating_sub(self.since)),
        }
        self.since = asked_at;
        if self.state == Following::Open && row.state != State::Established {
            self.state = Following::Closing;
        }
        true
    }

    /// Takes the end of a round of lookups.
    pub(crate) fn end_round(&mut self) {
        if !std::mem::take(&mut self.was_found) {
            self.state = Following::Lost;
        }
    }

    /// Takes the first counts, in which the client's first message can be told from the second.
    fn meet(&mut self, row: &Socket, counts: Counts) {
        let is_young = counts.answered.segments == 0 || counts.asked.segments == 1;
        if !is_young || row.state != State::Established {
            self.state = Following::Lost;
            return;
        }
        self.state = Following::Open;
        self.cookie = row.cookie;
        self.messages.push(counts.asked);
        self.add(false, counts.answered);
        self.last = counts;
    }

    fn step(&mut self, counts: Counts, gap: Duration) {
        let asked = counts.asked.since(self.last.asked);
        let answered = counts.answered.since(self.last.answered);
        let (Some(asked), Some(answered)) = (asked, answered) else {
            self.state = Following::Lost;
            return;
        };
        self.last = counts;
        let both = asked.segments > 0 && answered.segments > 0;
        if both && self.round_trip.is_none_or(|round_trip| gap * 2 >= round_trip) {
            self.state = Following::Lost;
            return;
        }
        // What came from the other side in this time came first.
        match self.side {
            Side::Client => {
                self.add(false, answered);
                self.add(true, asked);
            }
            Side::Server => {
                self.add(true, asked);
                self.add(false, answered);
            }
        }
        if self.messages.len() > MAX_MESSAGES {
            self.state = Following::Lost;
        }
    }

    fn add(&mut self, by_client: bool, more: Message) {
        if more.segments == 0 {
            return;
        }
        let last_is_by_client = self.messages.len() % 2 == 1;
        match self.messages.last_mut().filter(|_| last_is_by_client == by_client) {
            Some(last) => {
                last.segments += more.segments;
                last.bytes += more.bytes;
            }
            None => self.messages.push(more),
        }
    }

    /// Returns what its first messages show, once.
    fn take_beginning(&mut self) -> Option<Beginning> {
        if self.begun.is_some() || !matches!(self.state, Following::Open | Following::Closing) {
            return None;
        }
        let is_over = self.state == Following::Closing;
        self.begun = Beginning::of(&self.messages, is_over);
        self.begun
    }

    /// Returns what it has shown, if it was followed until a side closed. It holds if no more segments
    /// were counted when the socket died.
    pub(super) fn shown(&self) -> Option<Shown> {
        if self.state != Following::Closing {
            return None;
        }
        let requests = requests_behind_handshake(&self.messages)?;
        Some(Shown { cookie: self.cookie, asked: self.last.asked.segments, requests })
    }
}

/// Facts that a connection followed to its end has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) cookie: u64,
    /// Segments with data from the client.
    pub(super) asked: u32,
    /// Requests among them, behind a handshake of TLS.
    pub(super) requests: u32,
}

/// Kind of a connection's beginning, by its first messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It began with a request.
    Plain,
    /// It began with a handshake of TLS. Segments of each side that hold no requests and no answers, those of
    /// farewells not counted.
    Tls { asked: u32, answered: u32 },
}

impl Beginning {
    fn of(messages: &[Message], is_over: bool) -> Option<Beginning> {
        /// No hello is as long, and no certificate with all that is above it.
        const MOST_HELLO: u64 = 8_000;
        const MOST_FLIGHT: u64 = 20_000;
        let [hello, flight, rest @ ..] = messages else { return None };
        if hello.bytes > MOST_HELLO || (flight.bytes > MOST_FLIGHT && hello.segments > 0) {
            return Some(Beginning::Plain);
        }
        let [second, answer, third, more @ ..] = rest else { return None };
        if more.is_empty() && !is_over {
            return None;
        }
        if hello.bytes == second.bytes && second.bytes == third.bytes {
            return Some(Beginning::Plain);
        }
        if hello.bytes < HELLO || flight.bytes < FLIGHT || third.bytes < LEAST_REQUEST {
            return None;
        }
        let (asked, answered) =
            (hello.segments + second.segments, flight.segments + answer.segments);
        match Second::of(second.bytes, Some(answer.bytes), Some(third.bytes), false) {
            Second::Handshake => Some(Beginning::Tls { asked, answered }),
            Second::WithRequest { is_certain: true } => {
                Some(Beginning::Tls { asked: asked - 1, answered: answered - 1 })
            }
            Second::WithRequest { .. } | Second::Unknown => None,
        }
    }
}

/// Bytes of a hello, at least (RFC 8446, section 4.1.2: random, suites, extensions that no client lacks).
const HELLO: u64 = 150;
/// Bytes of a server's first flight, at least. A HelloRetryRequest is shorter, and a second hello follows it.
const FLIGHT: u64 = 150;
/// Shortest request, in a record of TLS 1.3: `GET / HTTP/1.0` and an empty line. Farewells are shorter.
const LEAST_REQUEST: u64 = 40;

/// Returns the requests of a whole connection, if its messages are those of HTTP/1.1 behind a handshake of
/// TLS for certain.
fn requests_behind_handshake(messages: &[Message]) -> Option<u32> {
    /// OpenSSL pads its hello to this length, for the sake of servers that hang at shorter ones.
    const PADDED_HELLO: u64 = 517;
    /// Segments of a ChangeCipherSpec, a Finished, and a request written in two parts, each by itself.
    const MOST_SECOND: u32 = 4;
    let [hello, flight, second, rest @ ..] = messages else { return None };
    if hello.bytes < HELLO || flight.bytes < FLIGHT {
        return None;
    }
    let later: Vec<Message> = rest.iter().skip(1).step_by(2).copied().collect();
    let (farewell, asked) = match later.split_last() {
        Some((last, asked)) if last.bytes < LEAST_REQUEST => (true, asked),
        _ => (false, later.as_slice()),
    };
    // A short message in the middle is a frame of another protocol. Of several that are not as long as each
    // other one may be a part of a request: the server's tickets came between.
    let first = asked.first().copied();
    let is_like_first = |one: &Message| {
        one.segments == 1 && one.bytes >= LEAST_REQUEST && first.is_some_and(|first| first == *one)
    };
    if second.segments > MOST_SECOND || !asked.iter().all(is_like_first) {
        return None;
    }
    let more = u32::try_from(asked.len()).ok()?;
    let answer = rest.first().map(|answer| answer.bytes);
    let is_of_13 = farewell && later.last().is_some_and(|last| last.bytes == CLOSE_NOTIFY_13);
    match Second::of(second.bytes, answer, first.map(|first| first.bytes), is_of_13) {
        Second::Handshake => (more > 0).then_some(more),
        // The first request is behind the Finished. Another one of the same length, a farewell or the hello
        // of OpenSSL show that it is no plain request.
        Second::WithRequest { is_certain } => {
            let is_tls = is_certain || farewell || hello.bytes == PADDED_HELLO;
            let is_alone = is_certain || more == 0;
            let is_other = hello.bytes != second.bytes && answer.is_some();
            (is_tls && is_alone && is_other).then_some(more + 1)
        }
        Second::Unknown => None,
    }
}

/// The second message of the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    /// The rest of the handshake.
    Handshake,
    /// The Finished of TLS 1.3 with the first request behind it.
    WithRequest {
        /// The next request shows it.
        is_certain: bool,
    },
    Unknown,
}

/// Bytes of a ChangeCipherSpec.
const CHANGE_CIPHER_SPEC: u64 = 6;
/// Bytes of a Finished of TLS 1.3, with SHA-256 and SHA-384.
const FINISHED_13: [u64; 2] = [58, 74];
/// Bytes of a Finished of TLS 1.2: with GCM, ChaCha20, and with CBC and each MAC, before encryption or after.
const FINISHED_12: [u64; 7] = [45, 37, 69, 85, 101, 73, 101];
/// Bytes of a ClientKeyExchange: X25519, P-256, P-384, P-521, RSA or DHE of 2,048, 3,072 and 4,096 bits, and
/// DHE of 1,024.
const KEY_EXCHANGES: [u64; 8] = [42, 75, 107, 143, 267, 395, 523, 139];
/// Bytes of a close_notify of TLS 1.3; no cipher of TLS 1.2 has the same.
const CLOSE_NOTIFY_13: u64 = 24;
/// Bytes of a request, at least, of all but a few clients.
const MOST_REQUESTS: u64 = 100;
/// From here on it may have a client's certificate, up to the longest chain of them that is usual.
const CERTIFICATE: std::ops::Range<u64> = 600..8_000;

impl Second {
    /// Reads it by its length; `answer`: what the server sent then, `next`: what the client sent next.
    fn of(bytes: u64, answer: Option<u64>, next: Option<u64>, is_of_13: bool) -> Second {
        let finished = |bytes: u64| {
            FINISHED_13.iter().any(|one| bytes == *one || bytes == *one + CHANGE_CIPHER_SPEC)
        };
        if finished(bytes) {
            return Second::Handshake;
        }
        let is_of_12 = KEY_EXCHANGES.iter().any(|key| {
            FINISHED_12.iter().any(|finished| key + CHANGE_CIPHER_SPEC + finished == bytes)
        });
        let follows_finished = next.is_some_and(|next| bytes > next && finished(bytes - next));
        if is_of_12 && !is_of_13 {
            // The server's Finished alone answers it, where there is no ticket: shorter than any answer. The
            // Finished of TLS 1.3 and a request are as long only if that is shorter than most.
            let is_finished =
                |answer: u64| FINISHED_12.iter().any(|one| one + CHANGE_CIPHER_SPEC == answer);
            let is_handshake = answer.is_some_and(is_finished)
                || next.is_some_and(|next| !follows_finished && next >= MOST_REQUESTS);
            return if is_handshake { Second::Handshake } else { Second::Unknown };
        }
        if follows_finished {
            return Second::WithRequest { is_certain: true };
        }
        if CERTIFICATE.contains(&bytes) {
            return Second::Unknown;
        }
        Second::WithRequest { is_certain: false }
    }
}

/// Young connections that the last dump met, and what followed ones have shown.
#[derive(Debug, Default)]
pub(super) struct Newborns {
    /// Connections of the dump under way are to be followed.
    is_following: bool,
    met: Vec<Newborn>,
    /// By the cookie of the socket, whose death comes later.
    shown: Map<u64, Shown>,
}

impl Newborns {
    /// Connections of one dump: all are looked up once, and most turn out to be old.
    const MOST_MET: usize = 64;
    /// Sockets that have shown something and have not died.
    const MOST_SHOWN: usize = 256;

    /// Connections of one dump and one destination.
    const MOST_OF_ONE: usize = 6;

    fn has_room(&self, destination: DestinationId) -> bool {
        let of_it = self.met.iter().filter(|one| one.destination == destination).count();
        self.is_following && self.met.len() < Newborns::MOST_MET && of_it < Newborns::MOST_OF_ONE
    }

    pub(super) fn meet(&mut self, row: &Socket, destination: DestinationId, side: Side) {
        self.met.push(Newborn::new(row, destination, side));
    }

    fn put(&mut self, shown: Shown) {
        // What is left of earlier dumps has lost its event.
        if self.shown.len() >= Newborns::MOST_SHOWN {
            self.shown.clear();
        }
        self.shown.insert(shown.cookie, shown);
    }

    /// Takes what a socket has shown that has died with so many segments of the client's.
    pub(super) fn take(&mut self, cookie: u64, asked: u32) -> Option<Shown> {
        self.shown.remove(&cookie).filter(|shown| shown.asked == asked)
    }
}

/// Returns whether a row of a dump may be a connection on which the client has sent no second message.
pub(super) fn may_be_newborn(side: Side, row: &Socket) -> bool {
    let states = [State::SynSent, State::SynReceived, State::Established];
    let is_young = row.info.is_none_or(|info| {
        let (asked, answered) = match side {
            Side::Client => (info.data_segs_out, info.data_segs_in),
            Side::Server => (info.data_segs_in, info.data_segs_out),
        };
        answered.unwrap_or(0) == 0 || asked == Some(1)
    });
    states.contains(&row.state) && !row.is_minisocket() && is_young
}

impl Tracker {
    /// Takes a row of a dump that was not met before.
    pub(super) fn handle_newborn(&mut self, own: DestinationId, side: Side, row: &Socket) {
        let is_in_window = self.opened_at.is_some() && !self.is_closing;
        if is_in_window
            && self.newborns.has_room(own)
            && may_be_newborn(side, row)
            && self.destinations.get_mut(self.destinations.current(own)).may_follow()
        {
            self.newborns.meet(row, own, side);
        }
    }

    /// Announces whether young connections of the next dump are to be followed.
    pub(crate) fn expect_newborns(&mut self, is_following: bool) {
        self.newborns.is_following = is_following;
    }

    /// Takes the young connections that the last dump met, to be followed.
    pub(crate) fn take_newborns(&mut self) -> Vec<Newborn> {
        self.newborns.is_following = false;
        std::mem::take(&mut self.newborns.met)
    }

    /// Takes what a followed connection has shown until now.
    pub(crate) fn handle_followed(&mut self, newborn: &mut Newborn) {
        if let Some(beginning) = newborn.take_beginning() {
            let id = self.destinations.current(newborn.destination);
            self.destinations.get_mut(id).learn_beginning(beginning);
            if !newborn.may_be_tls() {
                newborn.end();
            }
        }
        if let Some(shown) = newborn.shown() {
            self.newborns.put(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages by their bytes, each in one segment, the client's first.
    fn requests(bytes: &[u64]) -> Option<u32> {
        let messages: Vec<_> =
            bytes.iter().map(|bytes| Message { segments: 1, bytes: *bytes }).collect();
        requests_behind_handshake(&messages)
    }

    #[test]
    fn messages_show_requests_behind_a_handshake() {
        assert_eq!(requests(&[517, 1_290, 80 + 90, 700]), Some(1), "TLS 1.3 of OpenSSL");
        assert_eq!(requests(&[1_730, 1_290, 64 + 90, 700, 24]), Some(1), "a farewell of TLS 1.3");
        assert_eq!(
            requests(&[517, 1_290, 64 + 90, 700]),
            None,
            "the length of a handshake of TLS 1.2"
        );
        assert_eq!(requests(&[1_730, 1_290, 64 + 99, 700, 99, 700, 99, 650]), Some(3));
        assert_eq!(requests(&[280, 3_100, 126, 51, 210, 500, 210, 500, 31]), Some(2), "TLS 1.2");
        assert_eq!(requests(&[280, 3_100, 126, 258, 210, 500]), Some(1), "TLS 1.2 with a ticket");
        assert_eq!(requests(&[1_730, 1_290, 64, 510, 90, 700]), Some(1), "opened in advance");
    }

    #[test]
    fn other_messages_show_nothing() {
        assert_eq!(requests(&[200, 1_290, 200, 1_290, 200, 1_290]), None, "plain requests");
        assert_eq!(requests(&[200, 1_290, 300, 700]), None, "two plain requests");
        assert_eq!(requests(&[517, 99, 523, 1_290, 80 + 90, 700]), None, "HelloRetryRequest");
        assert_eq!(requests(&[517, 1_290, 80 + 90, 510, 31, 700, 60]), None, "HTTP/2");
        assert_eq!(requests(&[517, 1_290, 80 + 200, 510, 3_000, 700]), None, "a part of a request");
        assert_eq!(requests(&[517, 1_290, 126, 258, 62, 500]), None, "TLS 1.2 or 1.3");
        assert_eq!(requests(&[517, 1_290]), None, "nothing was asked");
        assert_eq!(requests(&[517, 1_290, 80]), None, "a probe");
    }

    #[test]
    fn first_messages_show_a_handshake_or_none() {
        let of = |bytes: &[u64]| {
            let messages: Vec<_> =
                bytes.iter().map(|bytes| Message { segments: 1, bytes: *bytes }).collect();
            Beginning::of(&messages, false)
        };
        let tls = |asked, answered| Some(Beginning::Tls { asked, answered });
        assert_eq!(of(&[30_000, 90]), Some(Beginning::Plain), "no hello is as long");
        assert_eq!(of(&[517, 30_000]), Some(Beginning::Plain), "no certificate is as long");
        assert_eq!(of(&[517, 700, 517, 900, 517, 700]), Some(Beginning::Plain), "all are alike");
        assert_eq!(of(&[517, 700, 517, 900, 517]), None, "the third may go on");
        assert_eq!(of(&[1_730, 1_290, 64 + 99, 1_210, 99, 700]), tls(1, 1), "in two segments");
        assert_eq!(of(&[1_730, 1_290, 64, 510, 99, 700]), tls(2, 2), "opened in advance");
        assert_eq!(of(&[1_730, 1_290, 300, 510, 99, 700]), None, "requests of any length");
    }

    fn row(side: Side, state: State, asked: Message, answered: Message) -> Socket {
        let (out, back) = if side == Side::Client { (asked, answered) } else { (answered, asked) };
        let info = TcpInfo {
            data_segs_out: Some(out.segments),
            bytes_sent: Some(out.bytes),
            data_segs_in: Some(back.segments),
            bytes_received: Some(back.bytes),
            total_retrans: Some(0),
            min_rtt_us: Some(10_000),
            ..TcpInfo::default()
        };
        Socket { state, ..crate::tracker::dead::tests::event(info) }
    }

    const NONE: Message = Message { segments: 0, bytes: 0 };
    const HELLO: Message = Message { segments: 1, bytes: 517 };
    const FLIGHT: Message = Message { segments: 1, bytes: 1_290 };
    const ASKED: Message = Message { segments: 3, bytes: 517 + 80 + 90 };
    const ANSWERED: Message = Message { segments: 4, bytes: 1_290 + 510 + 700 };

    /// Follows a client's socket through these states, a lookup each so many milliseconds.
    fn follow(every_ms: u64, states: &[(State, Message, Message)]) -> Option<u32> {
        let first = row(Side::Client, State::Established, NONE, NONE);
        let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
        for ((state, asked, answered), number) in states.iter().zip(1..) {
            let at = Duration::from_millis(number * every_ms);
            newborn.handle_found(&row(Side::Client, *state, *asked, *answered), at, at);
            newborn.end_round();
        }
        newborn.shown().map(|shown| shown.requests)
    }

    #[test]
    fn followed_socket_shows_its_requests() {
        let open = State::Established;
        let all = [
            (open, HELLO, NONE),
            (open, ASKED, FLIGHT),
            (open, ASKED, ANSWERED),
            (State::FinWait1, ASKED, ANSWERED),
        ];
        assert_eq!(follow(3, &all), Some(1));
        assert_eq!(follow(5, &all), None, "in half a round trip a turn may be hidden");
        assert_eq!(follow(3, &all[1..]), None, "its hello was not met alone");
        assert_eq!(follow(3, &all[..3]), None, "it has not ended");
    }

    #[test]
    fn socket_that_vanishes_shows_nothing() {
        let first = row(Side::Client, State::Established, NONE, NONE);
        let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
        assert!(newborn.is_followed());
        newborn.end_round();
        assert!(!newborn.is_followed());
        assert_eq!(newborn.shown(), None);
    }
}
