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
//! to what this side sent in it. A connection with a gap that may hide more is not used. One that lost a
//! segment shows how it began, and how many segments that took within wide bounds.

use std::time::Duration;

use super::Tracker;
use super::destinations::DestinationId;
use super::learned::Besides;
use super::messages::{Beginning, LEAST_REQUEST, Message, behind_handshake};
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::{Side, Socket, State, TcpInfo};
use crate::kernel::wire::diag::SocketLookup;

/// Messages beyond which a connection is not followed to its end.
const MAX_MESSAGES: usize = 64;

/// Longer round trips are those of a path that is full, or of a peer that hangs.
const LONGEST_TRIP: Duration = Duration::from_millis(250);

/// Segments and bytes of data, by the client and by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    asked: Message,
    answered: Message,
    /// This side has sent some segments again: they are counted, and their bytes are not.
    is_lossy: bool,
}

impl Counts {
    /// Reads the counts of a socket on this side; `None` where the kernel does not count.
    fn of(side: Side, state: State, info: &TcpInfo) -> Option<Counts> {
        // The peer's FIN counts as a byte.
        let fin = matches!(state, State::CloseWait | State::LastAck | State::Closing);
        let is_lossy = info.total_retrans? > 0;
        let again = if is_lossy { info.bytes_retrans? } else { 0 };
        let bytes = info.bytes_sent?.checked_sub(again)?;
        let sent = Message { segments: info.data_segs_out?, bytes };
        let received = Message {
            segments: info.data_segs_in?,
            bytes: info.bytes_received?.checked_sub(fin.into())?,
        };
        Some(match side {
            Side::Client => Counts { asked: sent, answered: received, is_lossy },
            Side::Server => Counts { asked: received, answered: sent, is_lossy },
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
    /// When the first lookup was asked for that found counts.
    met_at: Duration,
    /// When the last was that found others than the one before.
    changed_at: Duration,
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
            met_at: Duration::MAX,
            changed_at: Duration::ZERO,
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
        let is_it = self.is_of(row);
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
        let is_unmet = self.state == Following::Unmet;
        if is_unmet || counts != self.last {
            self.changed_at = asked_at;
        }
        match is_unmet {
            true => self.meet(row, counts),
            false => self.step(counts, now.saturating_sub(self.since)),
        }
        self.since = asked_at;
        self.met_at = self.met_at.min(asked_at);
        if self.state == Following::Open && row.state != State::Established {
            self.state = Following::Closing;
        }
        true
    }

    /// Takes the end of a round of lookups that was asked for at this time.
    pub(crate) fn end_round(&mut self, asked_at: Duration) {
        /// A connection is followed for this time after it was met and after each change, and for so many
        /// round trips: its first messages take four, and a few requests as many.
        const FOLLOWED_FOR: (Duration, u32) = (Duration::from_millis(150), 8);
        /// A connection that waits for an answer is followed for so much longer.
        const ANSWER: Duration = Duration::from_millis(350);
        /// A connection on which long messages are under way is followed for so much longer.
        const LONG: Duration = Duration::from_secs(2);
        let trips = self.round_trip.unwrap_or_default().min(LONGEST_TRIP) * FOLLOWED_FOR.1;
        let is_due = self.messages.len() % 2 == 1;
        let most = FOLLOWED_FOR.0 + trips + if is_due { ANSWER } else { Duration::ZERO };
        let is_late = asked_at.saturating_sub(self.changed_at) > most
            || asked_at.saturating_sub(self.met_at) > most + LONG;
        if !std::mem::take(&mut self.was_found) || is_late {
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
        let both = asked.bytes > 0 && answered.bytes > 0;
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
        if more.bytes == 0 {
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
        self.begun = Beginning::of(&self.messages, is_over, self.last.is_lossy);
        self.begun
    }

    /// Returns what it has shown, if it was followed until a side closed. It holds if no more segments
    /// were counted when the socket died.
    pub(super) fn shown(&self) -> Option<Shown> {
        if self.state != Following::Closing || self.last.is_lossy {
            return None;
        }
        let (_, besides) = behind_handshake(&self.messages)?;
        let last_is_by_client = self.messages.len() % 2 == 1;
        let last_is_farewell = self.messages.last().is_some_and(|last| last.bytes < LEAST_REQUEST);
        Some(Shown {
            cookie: self.cookie,
            asked: self.last.asked.segments,
            answered: self.last.answered.segments,
            is_answered: !last_is_by_client || last_is_farewell,
            besides,
        })
    }

    /// Returns whether this is the socket of a row.
    pub(super) fn is_of(&self, row: &Socket) -> bool {
        row.local == self.lookup.local && row.remote == self.lookup.remote
    }
}

/// Facts that a connection followed to its end has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) cookie: u64,
    /// Segments with data from the client.
    pub(super) asked: u32,
    /// Segments with data from the server.
    answered: u32,
    /// All requests are answered: what the server sends now is a farewell.
    is_answered: bool,
    pub(super) besides: Besides,
}

impl Shown {
    /// Returns what it has shown when it has died with so many segments of each side; `None` if they hold more
    /// than the server's farewell, which may come behind the client's FIN.
    fn at_death(self, asked: u32, answered: u32) -> Option<Shown> {
        /// Segments of a farewell.
        const FAREWELL: u32 = 2;
        let farewell = answered.checked_sub(self.answered)?;
        let is_farewell = farewell == 0 || (self.is_answered && farewell <= FAREWELL);
        let (least, most) = self.besides.answered;
        let besides = Besides { answered: (least + farewell, most + farewell), ..self.besides };
        (asked == self.asked && is_farewell).then_some(Shown { besides, ..self })
    }
}

/// Young connections that the last dump met, and what followed ones have shown.
#[derive(Debug, Default)]
pub(super) struct Newborns {
    /// A connection has closed to a service of which more can be learned.
    pub(super) is_wanted: bool,
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

    /// Takes what a socket has shown that has died with so many segments of each side.
    pub(super) fn take(&mut self, cookie: u64, asked: u32, answered: u32) -> Option<Shown> {
        self.shown.remove(&cookie).and_then(|shown| shown.at_death(asked, answered))
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

    /// Takes a row of a search for young connections; `followed`: those that were found before.
    pub(crate) fn handle_young(&mut self, row: &Socket, followed: &[Newborn]) {
        let is_known = followed.iter().chain(&self.newborns.met).any(|one| one.is_of(row));
        if row.remote.port() == 0 || is_known || !self.concerns(&row.local, &row.remote) {
            return;
        }
        if let Some((side, _)) =
            self.side_evidence(row).filter(|(side, _)| may_be_newborn(*side, row))
        {
            let service = if side == Side::Client { row.remote } else { row.local };
            let own = self.destination_id(service, side);
            self.handle_newborn(own, side, row);
        }
    }

    /// Returns whether a connection has closed, since this was asked last, to a service of which more can be
    /// learned.
    pub(crate) fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.newborns.is_wanted)
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
    use crate::tracker::learned::Sizes;

    fn exactly(asked: u32, answered: u32) -> Besides {
        Besides { asked: (asked, asked), answered: (answered, answered) }
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
    fn follow(every_ms: u64, states: &[(State, Message, Message)]) -> Option<Besides> {
        let first = row(Side::Client, State::Established, NONE, NONE);
        let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
        for ((state, asked, answered), number) in states.iter().zip(1..) {
            let at = Duration::from_millis(number * every_ms);
            newborn.handle_found(&row(Side::Client, *state, *asked, *answered), at, at);
            newborn.end_round(at);
        }
        newborn.shown().map(|shown| shown.besides)
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
        assert_eq!(follow(3, &all), Some(exactly(2, 3)), "one request, one answer");
        assert_eq!(follow(5, &all), None, "in half a round trip a turn may be hidden");
        assert_eq!(follow(3, &all[1..]), None, "its hello was not met alone");
        assert_eq!(follow(3, &all[..3]), None, "it has not ended");
    }

    #[test]
    fn answers_are_waited_for() {
        let lost_after = |answered: Message| {
            let first = row(Side::Client, State::Established, NONE, NONE);
            let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
            let seen = row(Side::Client, State::Established, HELLO, answered);
            let ends = |ms: &u64| {
                let at = Duration::from_millis(*ms);
                newborn.handle_found(&seen, at, at);
                newborn.end_round(at);
                !newborn.is_followed()
            };
            (0..3_000).find(ends)
        };
        assert_eq!(lost_after(FLIGHT), Some(231), "eight round trips of 10 ms, and 150 ms");
        assert_eq!(lost_after(NONE), Some(581), "and 350 ms for an answer");
    }

    #[test]
    fn lossy_beginning_shows_bounds() {
        let again = |bytes: u64, count: u32, socket: Socket| {
            let info = socket.info.map(|info| TcpInfo {
                total_retrans: Some(count),
                bytes_retrans: Some(bytes),
                bytes_sent: info.bytes_sent.map(|sent| sent + bytes),
                data_segs_out: info.data_segs_out.map(|sent| sent + count),
                ..info
            });
            Socket { info, ..socket }
        };
        let open = State::Established;
        let message = |segments, bytes| Message { segments, bytes };
        let states = [
            row(Side::Client, open, HELLO, NONE),
            again(517, 1, row(Side::Client, open, HELLO, FLIGHT)),
            again(517, 1, row(Side::Client, open, message(3, 517 + 80 + 90), FLIGHT)),
            again(517, 1, row(Side::Client, open, message(3, 517 + 80 + 90), ANSWERED)),
            again(517, 1, row(Side::Client, open, message(4, 517 + 80 + 180), ANSWERED)),
            again(517, 1, row(Side::Client, open, message(4, 517 + 80 + 180), message(5, 3_200))),
        ];
        let first = row(Side::Client, State::Established, NONE, NONE);
        let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
        let mut begun = None;
        for (row, number) in states.iter().zip(1..) {
            let at = Duration::from_millis(number * 3);
            newborn.handle_found(row, at, at);
            newborn.end_round(at);
            begun = begun.or(newborn.take_beginning());
        }
        let wide = Besides { asked: (1, 4), answered: (1, 3) };
        let sizes = Sizes { before: 517 + 80, request: 90 };
        assert_eq!(
            begun,
            Some(Beginning::TlsWithLosses(wide, sizes)),
            "a hello that was sent twice"
        );
        assert_eq!(newborn.shown(), None);
    }

    #[test]
    fn farewell_behind_a_fin_is_no_answer() {
        let shown = |is_answered| Shown {
            cookie: 1,
            asked: 3,
            answered: 4,
            is_answered,
            besides: exactly(2, 3),
        };
        let besides = |one: Option<Shown>| one.map(|shown| shown.besides);
        assert_eq!(besides(shown(true).at_death(3, 4)), Some(exactly(2, 3)));
        assert_eq!(besides(shown(true).at_death(3, 5)), Some(exactly(2, 4)), "a farewell");
        assert_eq!(shown(false).at_death(3, 5), None, "an answer, perhaps");
        assert_eq!(shown(true).at_death(3, 7), None, "more than a farewell");
        assert_eq!(shown(true).at_death(4, 4), None, "another request");
    }

    #[test]
    fn socket_that_vanishes_shows_nothing() {
        let first = row(Side::Client, State::Established, NONE, NONE);
        let mut newborn = Newborn::new(&first, DestinationId::default(), Side::Client);
        assert!(newborn.is_followed());
        newborn.end_round(Duration::ZERO);
        assert!(!newborn.is_followed());
        assert_eq!(newborn.shown(), None);
    }
}
