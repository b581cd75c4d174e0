//! Connections that may have begun with a handshake of TLS.
//!
//! Owns the two readings of such a connection, and the decision for a destination which of them is
//! told. The kernel counts segments, and the segments of a handshake look like requests. So a reading
//! without a handshake and one with it are kept apart until the destination is reported: one service
//! speaks one protocol, and of many connections some may show which.

use std::net::SocketAddr;

use super::learned::{AskedBytes, Besides, Learned, Range, SegmentsOfBoth};
use super::messages::Beginning;
use crate::kernel::keyed_hash::Map;
use crate::report::destination::Handshake;
use crate::report::histogram::Histogram;

/// Ports of services that speak TLS from the first byte (IANA: https, ldaps, imaps, pop3s, smtps, DNS
/// over TLS, amqps, secure MQTT), and those that it is usual at besides (8443, 6443, 9443).
const TLS_PORTS: [u16; 12] = [443, 465, 636, 853, 993, 995, 5671, 6443, 8443, 8883, 9443, 2376];

/// Returns whether connections to this port begin with a handshake of TLS.
fn is_usual(port: u16) -> bool {
    TLS_PORTS.contains(&port)
}

/// How a connection began, as far as its counters show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// Nothing to go by: no data, or no answer.
    #[default]
    Unknown,
    /// Without a handshake: too few segments or bytes.
    Plain,
    /// Without one, too: each message may be as long as the next, so that each is a request.
    Alike,
    /// A handshake is possible. `small`: what came to the client is too short for a certificate, as a
    /// whole or each segment, so that it would be a session that is resumed.
    Possible { small: bool },
}

impl Shape {
    /// Returns whether the connection may have begun with a handshake.
    pub(super) fn is_possible(self) -> bool {
        matches!(self, Shape::Possible { .. })
    }

    /// Returns what both sockets of a connection show together.
    pub(super) fn or(self, peer: Shape) -> Shape {
        match (self, peer) {
            (Shape::Alike, _) | (_, Shape::Alike) => Shape::Alike,
            (Shape::Plain, _) | (_, Shape::Plain) => Shape::Plain,
            (Shape::Possible { small: one }, Shape::Possible { small: other }) => {
                Shape::Possible { small: one || other }
            }
            (Shape::Unknown, shape) | (shape, Shape::Unknown) => shape,
        }
    }
}

/// Reading of a connection as one that began with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct BehindTls {
    /// Its requests, whatever client and server they are.
    pub(super) requests: Range,
    /// Its segments, where they are counted.
    pub(super) segments: Option<SegmentsOfBoth>,
    /// The client's bytes, once it is over.
    pub(super) asked_bytes: Option<AskedBytes>,
}

/// Requests of some connections, at least and at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    pub(super) least: Histogram,
    pub(super) most: Histogram,
}

impl Ranges {
    fn add(&mut self, (least, most): Range) {
        self.least.add(least);
        self.most.add(most);
    }

    fn add_many(&mut self, (least, most): Range, count: u64) {
        self.least.add_many(least, count);
        self.most.add_many(most, count);
    }

    fn merge(&mut self, other: &Ranges) {
        self.least.merge(&other.least);
        self.most.merge(&other.most);
    }
}

/// Connections of one destination that may have begun with a handshake, each read in both ways.
#[derive(Debug, Clone, Default)]
pub(super) struct Handshakes {
    plain: Ranges,
    behind: Ranges,
    server_only_plain: Ranges,
    server_only_behind: Ranges,
    /// Connections that are in neither `behind` nor `server_only_behind` (where the flag is set): what
    /// is learned later counts for them.
    open_to_learn: Map<(BehindTls, bool), u64>,
    learned: Learned,
    /// Connections that found no room there.
    by_size: BySize,
    /// Connections that show that there was none.
    without: u64,
    /// The subset of those here with a [`Shape::Alike`].
    alike: u64,
    /// The subset of those here with a `small` [`Shape::Possible`].
    small: u64,
    /// Bytes of the client on some of these, where its messages are unequal.
    sizes: Vec<u64>,
    /// The subset of `small` that met its own number among these: what comes first is always as long,
    /// and is not as long as the rest. So it may be a handshake.
    introduced: u64,
}

/// Numbers of bytes that are kept of a destination.
const MAX_SIZES: usize = 8;

/// Connections whose bytes are those of connections with requests that are all as long, and others.
#[derive(Debug, Clone, Copy, Default)]
struct BySize {
    fitting: u64,
    others: u64,
}

impl BySize {
    fn count(&mut self, fits: bool, count: u64) {
        *(if fits { &mut self.fitting } else { &mut self.others }) += count;
    }

    /// Returns whether the requests of the service are all as long, but for those of a few connections in
    /// each hundred: by chance alone, few connections fit.
    fn is_regular(self) -> bool {
        const PART: u64 = 4;
        self.fitting * PART >= (self.fitting + self.others) * (PART - 1)
    }
}

/// Additions to the counts of a destination.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) all: Ranges,
    pub(super) server_only: Ranges,
}

impl Handshakes {
    /// Takes a connection that was opened within the window. Returns whether it is counted here: one
    /// that cannot have begun with a handshake is counted elsewhere.
    pub(super) fn take(
        &mut self,
        shape: Shape,
        plain: Range,
        behind: BehindTls,
        server_only: bool,
    ) -> bool {
        if let (Shape::Possible { small: true }, Some(asked)) = (shape, behind.asked_bytes) {
            self.compare_sizes(plain, asked.most);
        }
        match shape {
            Shape::Unknown => false,
            Shape::Plain => {
                self.without += 1;
                false
            }
            Shape::Alike | Shape::Possible { .. } => {
                self.alike += u64::from(shape == Shape::Alike);
                self.small += u64::from(shape == Shape::Possible { small: true });
                self.plain.add(plain);
                self.add_behind(behind, false, 1);
                if server_only {
                    self.take_server_only(plain, behind);
                }
                true
            }
        }
    }

    /// Compares the bytes of so many messages of a client with those of the connections before.
    fn compare_sizes(&mut self, (least, most): Range, bytes: u64) {
        /// Numbers of messages beyond which losses leave too many.
        const NUMBERS: u32 = 64;
        let numbers = least.max(1)..=most.min(least.saturating_add(NUMBERS));
        if most < 2 || numbers.into_iter().any(|number| bytes.is_multiple_of(u64::from(number))) {
            return;
        }
        if self.sizes.contains(&bytes) {
            self.introduced += 1;
        } else if self.sizes.len() < MAX_SIZES {
            self.sizes.push(bytes);
        }
    }

    /// Takes a connection, which was taken before, at its server: no client stands for it.
    pub(super) fn take_server_only(&mut self, plain: Range, behind: BehindTls) {
        self.server_only_plain.add(plain);
        self.add_behind(behind, true, 1);
    }

    fn add_behind(&mut self, behind: BehindTls, server_only: bool, count: u64) {
        /// Kinds of connections that are kept apart, some 70 bytes each.
        const MOST: usize = 96;
        /// Kinds up to which connections are told apart by the client's bytes too.
        const MOST_OF_BYTES: usize = 64;
        if self.keep(behind, server_only, count, MOST_OF_BYTES) {
            return;
        }
        let by_size = self.learned.requests_by_size(&behind);
        if behind.asked_bytes.is_some() && self.learned.knows_sizes() {
            self.by_size.count(by_size.is_some(), count);
        }
        let by_size = by_size.filter(|_| self.by_size.is_regular());
        let without = BehindTls { asked_bytes: None, ..behind };
        if by_size.is_none() && self.keep(without, server_only, count, MOST) {
            return;
        }
        let requests = by_size.unwrap_or_else(|| self.learned.requests(&behind));
        let ranges = if server_only { &mut self.server_only_behind } else { &mut self.behind };
        ranges.add_many(requests, count);
    }

    /// Keeps some connections until more is learned. Returns whether there was room.
    fn keep(&mut self, behind: BehindTls, server_only: bool, count: u64, most: usize) -> bool {
        let key = (behind, server_only);
        let has_room = self.open_to_learn.len() < most || self.open_to_learn.contains_key(&key);
        let is_kept = behind.segments.is_some() && has_room;
        if is_kept {
            *self.open_to_learn.entry(key).or_default() += count;
        }
        is_kept
    }

    /// Returns whether the requests of this service are all as long, as far as is known.
    fn is_regular(&self) -> bool {
        let mut all = self.by_size;
        for ((behind, _), count) in &self.open_to_learn {
            if behind.asked_bytes.is_some() {
                all.count(self.learned.requests_by_size(behind).is_some(), *count);
            }
        }
        all.is_regular()
    }

    /// Takes a connection that was followed from its first segment to its last: the segments of each side
    /// that held no requests and no answers.
    pub(super) fn learn(&mut self, besides: Besides) {
        self.learned.add(besides);
    }

    /// Takes what the first messages of a connection have shown.
    pub(super) fn learn_beginning(&mut self, beginning: Beginning) {
        self.learned.add_beginning(beginning);
    }

    /// Returns whether it is worth a search to follow connections to this service.
    pub(super) fn is_curious(&self, service: Option<SocketAddr>) -> bool {
        self.learned.is_curious() && self.handshake(service) != Handshake::None
    }

    /// Returns whether further connections may be followed, and counts one.
    pub(super) fn may_follow(&mut self) -> bool {
        self.learned.may_follow()
    }

    pub(super) fn merge(&mut self, other: &Handshakes) {
        self.plain.merge(&other.plain);
        self.behind.merge(&other.behind);
        self.server_only_plain.merge(&other.server_only_plain);
        self.server_only_behind.merge(&other.server_only_behind);
        self.without += other.without;
        self.alike += other.alike;
        self.small += other.small;
        self.introduced += other.introduced;
        self.learned.merge(&other.learned);
        self.by_size.fitting += other.by_size.fitting;
        self.by_size.others += other.by_size.others;
        for ((behind, server_only), count) in &other.open_to_learn {
            self.add_behind(*behind, *server_only, *count);
        }
    }

    /// Returns the connections of which each message is a request.
    pub(super) fn alike(&self) -> u64 {
        self.alike
    }

    /// Decides how connections to a service begin.
    pub(super) fn handshake(&self, service: Option<SocketAddr>) -> Handshake {
        /// Share of the connections without a handshake, a quarter, from which a service expects
        /// none: strangers and health checks speak another protocol now and then.
        const PART: u64 = 4;
        let possible = self.plain.least.count();
        let all = possible + self.without;
        // By chance some handshakes look alike too, where their sizes vary by a byte or two.
        let is_alike = self.alike * PART >= all * (PART - 1);
        if self.without * PART > all || possible == 0 || self.learned.is_plain() {
            Handshake::None
        } else if self.learned.is_sure() || service.is_some_and(|service| is_usual(service.port()))
        {
            Handshake::Tls
        } else if is_alike
            || (self.small + self.alike == possible && self.introduced * 2 < self.small.max(1))
        {
            // A certificate does not fit, and of all these connections not one was the first: all would
            // have to resume a session. Then they begin with messages that are always as long.
            Handshake::None
        } else {
            Handshake::Possible
        }
    }

    /// Returns the requests of these connections, if they began in this way; `all`: the destination's, whose
    /// learning counts.
    pub(super) fn told(&self, handshake: Handshake, all: &Handshakes) -> Told {
        let mut behind = self.behind.clone();
        let mut server_only_behind = self.server_only_behind.clone();
        if handshake != Handshake::None {
            let is_regular = all.is_regular();
            for ((connection, server_only), count) in &self.open_to_learn {
                let ranges = if *server_only { &mut server_only_behind } else { &mut behind };
                let by_size = all.learned.requests_by_size(connection).filter(|_| is_regular);
                let requests = by_size.unwrap_or_else(|| all.learned.requests(connection));
                ranges.add_many(requests, *count);
            }
        }
        let bounds = |plain: &Ranges, behind: Ranges| match handshake {
            Handshake::None => plain.clone(),
            Handshake::Tls => behind,
            Handshake::Possible => Ranges { least: behind.least, most: plain.most.clone() },
        };
        Told {
            all: bounds(&self.plain, behind),
            server_only: bounds(&self.server_only_plain, server_only_behind),
        }
    }
}

/// Segments of a client that are no requests, at most: hello, key exchange, ChangeCipherSpec and
/// Finished of TLS 1.2, where each is written by itself, and close_notify.
const NO_REQUESTS: u32 = 5;

/// Segments of a client that hold no request, at least: its hello. What comes next may have the first
/// request behind it.
const HELLO: u32 = 1;

/// Takes a handshake of TLS and its farewell off the bounds of a connection: of `messages` by the client
/// at least, of its segments, or the answers to them, at most. `has_long_hello`: it may take two segments,
/// as those with post-quantum keys do. A client that sent more than hello and Finished has asked.
pub(super) fn without_handshake(messages: u32, at_most: u32, has_long_hello: bool) -> Range {
    let most = at_most.saturating_sub(HELLO);
    let taken = NO_REQUESTS + u32::from(has_long_hello);
    let least = messages.saturating_sub(taken).max(u32::from(at_most > 2));
    (least.min(most), most)
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::super::learned::{Run, Sizes};
    use super::*;

    #[test]
    fn handshake_is_no_request() {
        let without = |messages| without_handshake(messages, messages, false);
        assert_eq!(without(3), (1, 2), "hello, Finished, request; or two, one behind the Finished");
        assert_eq!(without(2), (0, 1), "no request, or one behind the Finished");
        assert_eq!(without(104), (99, 103));
        assert_eq!(without(0), (0, 0));
        assert_eq!(without_handshake(9, 9, true), (3, 8));
    }

    const BEHIND: BehindTls = BehindTls { requests: (1, 3), segments: None, asked_bytes: None };
    const POSSIBLE: Shape = Shape::Possible { small: false };

    fn handshake(shapes: &[Shape], port: u16) -> Handshake {
        let mut all = Handshakes::default();
        for shape in shapes {
            all.take(*shape, (4, 4), BEHIND, false);
        }
        all.handshake(Some(SocketAddr::from(([10, 0, 0, 1], port))))
    }

    #[test]
    fn connections_of_a_service_decide_together() {
        assert_eq!(handshake(&[POSSIBLE; 4], 8_080), Handshake::Possible);
        assert_eq!(handshake(&[POSSIBLE; 4], 443), Handshake::Tls);
        let some = [POSSIBLE, POSSIBLE, Shape::Plain];
        assert_eq!(handshake(&some, 443), Handshake::None, "a third is without");
        let chance = [POSSIBLE, POSSIBLE, Shape::Alike];
        assert_eq!(handshake(&chance, 8_080), Handshake::Possible);
        let alike = [POSSIBLE, Shape::Alike, Shape::Alike, Shape::Alike];
        assert_eq!(handshake(&alike, 8_080), Handshake::None);
        assert_eq!(handshake(&alike, 443), Handshake::Tls, "chance is likelier than plain data");
        let stray = [POSSIBLE, POSSIBLE, POSSIBLE, POSSIBLE, POSSIBLE, Shape::Plain];
        assert_eq!(handshake(&stray, 443), Handshake::Tls, "a stranger");
        let small = Shape::Possible { small: true };
        assert_eq!(handshake(&[small; 3], 8_080), Handshake::None);
        assert_eq!(handshake(&[small, POSSIBLE], 8_080), Handshake::Possible, "others are resumed");
        assert_eq!(handshake(&[Shape::Unknown], 443), Handshake::None, "nothing is counted here");
    }

    #[test]
    fn resumed_sessions_show_in_equal_sizes() {
        let small = Shape::Possible { small: true };
        let of = |sizes: &[u64]| {
            let mut all = Handshakes::default();
            for bytes in sizes {
                let asked_bytes = Some(AskedBytes { most: *bytes, may_count_fin: false });
                all.take(small, (4, 4), BehindTls { asked_bytes, ..BEHIND }, false);
            }
            all.handshake(Some(SocketAddr::from(([10, 0, 0, 1], 8_080))))
        };
        assert_eq!(of(&[721; 5]), Handshake::Possible, "hello, Finished, request and farewell");
        assert_eq!(of(&[720; 5]), Handshake::None, "four requests of 180 bytes");
        assert_eq!(of(&[721, 735, 689, 702, 719]), Handshake::None, "requests of any length");
    }

    #[test]
    fn doubt_is_told_as_bounds() {
        let mut all = Handshakes::default();
        assert!(all.take(POSSIBLE, (4, 4), BEHIND, true));
        assert!(!all.take(Shape::Plain, (1, 1), BehindTls::default(), true));
        let ends =
            |told: Told| [told.all, told.server_only].map(|one| (one.least.max(), one.most.max()));
        assert_eq!(ends(all.told(Handshake::None, &all)), [(Some(4), Some(4)); 2]);
        assert_eq!(ends(all.told(Handshake::Tls, &all)), [(Some(1), Some(3)); 2]);
        assert_eq!(ends(all.told(Handshake::Possible, &all)), [(Some(1), Some(4)); 2]);
    }

    /// A connection of so many segments each way, and the requests that it has by itself.
    fn segments(asked: u32, answered: u32) -> BehindTls {
        let [asked_run, answered] = [asked, answered].map(|one| Run::short(one, one));
        let both = SegmentsOfBoth { asked: asked_run, answered, is_due: false };
        BehindTls {
            requests: without_handshake(asked, asked, true),
            segments: Some(both),
            asked_bytes: None,
        }
    }

    fn exactly(asked: u32, answered: u32) -> Besides {
        Besides { asked: (asked, asked), answered: (answered, answered) }
    }

    /// Returns the requests that are told of one connection, after so many were followed to their end.
    fn told(followed: u32, one: BehindTls) -> Range {
        let mut all = Handshakes::default();
        // Hello, Finished and farewell; certificate and a ticket.
        (0..followed).for_each(|_| all.learn(exactly(3, 2)));
        told_by(&mut all, one)
    }

    fn told_by(all: &mut Handshakes, one: BehindTls) -> Range {
        all.take(POSSIBLE, (one.requests.1, one.requests.1), one, false);
        let handshake = all.handshake(Some(SocketAddr::from(([10, 0, 0, 1], 443))));
        let told = all.told(handshake, all).all;
        (told.least.max().unwrap(), told.most.max().unwrap())
    }

    /// Returns a connection of as many segments, of which a message takes several: there are at least so many
    /// messages of the client's, and of the server's. `None`: each takes one.
    fn long(one: BehindTls, asked: Option<u32>, answered: Option<u32>) -> BehindTls {
        let both = one.segments.unwrap();
        let both = SegmentsOfBoth {
            asked: Run { messages: asked.and_then(NonZero::new), ..both.asked },
            answered: Run { messages: answered.and_then(NonZero::new), ..both.answered },
            ..both
        };
        let requests = (1, one.requests.1);
        BehindTls { requests, segments: Some(both), asked_bytes: None }
    }

    #[test]
    fn followed_connections_make_others_exact() {
        assert_eq!(told(0, segments(4, 3)), (1, 3));
        assert_eq!(told(2, segments(4, 3)), (1, 3), "too few were followed");
        assert_eq!(told(3, segments(4, 3)), (1, 1));
        assert_eq!(told(3, segments(8, 7)), (5, 5));
        assert_eq!(told(3, segments(7, 7)), (1, 6), "another kind: without a farewell, perhaps");
        assert_eq!(
            told(3, segments(13, 7)),
            (7, 12),
            "another kind: requests of two segments each"
        );
        let answers = long(segments(8, 90), None, Some(1));
        assert_eq!(told(3, answers), (1, 7), "long answers");
        assert_eq!(told(8, answers), (4, 6), "long answers, and many were followed");
        let requests = long(segments(90, 7), Some(1), None);
        assert_eq!(told(8, requests), (2, 6), "long requests, and answers of one segment or two");
        let in_flight = SegmentsOfBoth { is_due: true, ..requests.segments.unwrap() };
        let in_flight = BehindTls { segments: Some(in_flight), ..requests };
        assert_eq!(told(8, in_flight), (2, 7), "an answer is due");
        assert_eq!(told(8, segments(2, 1)), (0, 1), "none of them: no more than a handshake");
        let lossy = SegmentsOfBoth { asked: Run::short(8, 9), ..segments(9, 7).segments.unwrap() };
        let lossy = BehindTls { segments: Some(lossy), ..segments(9, 7) };
        assert_eq!(told(3, lossy), (5, 5), "as many answers came");
    }

    /// Bytes before the first request, and of each.
    const SIZES: Sizes = Sizes { before: 597, request: 90 };

    /// A long upload behind a handshake: nothing but its bytes tells how many requests it was.
    fn upload(bytes: u64) -> BehindTls {
        let one = long(segments(90, 80), Some(1), Some(1));
        let asked_bytes = Some(AskedBytes { most: bytes, may_count_fin: true });
        BehindTls { asked_bytes, ..one }
    }

    #[test]
    fn equal_requests_are_counted_by_bytes() {
        let regular = |learned: usize| {
            let mut all = Handshakes::default();
            let beginning = Beginning::TlsWithLosses(exactly(2, 2), SIZES);
            (0..learned).for_each(|_| all.learn_beginning(beginning));
            all
        };
        assert_eq!(told_by(&mut regular(3), upload(597 + 7 * 90)), (7, 7));
        assert_eq!(told_by(&mut regular(3), upload(597 + 7 * 90 + 24 + 1)), (7, 7), "a farewell");
        let (least, most) = told_by(&mut regular(3), upload(597 + 7 * 90 + 30));
        assert!(least < 7 && most > 7, "other sizes: {least} to {most}");
        let (least, _) = told_by(&mut regular(2), upload(597 + 7 * 90));
        assert!(least < 7, "too few were followed: {least}");
        let (least, _) = told_by(&mut regular(3), upload(597 + 900 * 90));
        assert!(least < 900, "more than its segments: {least}");
        let mut mixed = regular(3);
        assert!(told_by(&mut mixed, upload(1_250)).0 < 7);
        assert!(told_by(&mut mixed, upload(1_260)).0 < 7);
        let (least, _) = told_by(&mut mixed, upload(597 + 7 * 90));
        assert!(least < 7, "requests of any length, and of one by chance: {least}");
    }

    #[test]
    fn segment_that_came_twice_is_no_request() {
        let mut all = Handshakes::default();
        // In some connections the kernel joined a ticket with the answer.
        (0..3).for_each(|_| all.learn(exactly(3, 3)));
        all.learn(exactly(3, 2));
        (0..3).for_each(|_| all.learn_beginning(Beginning::Tls(exactly(2, 2), SIZES)));
        let of = |bytes| AskedBytes { most: bytes, may_count_fin: true };
        // Of uneven lengths, so that the bytes alone count nothing.
        let ten = BehindTls { asked_bytes: Some(of(597 + 10 * 90 + 37)), ..segments(14, 13) };
        let (least, most) = told_by(&mut all.clone(), ten);
        assert!(least <= 10 && most >= 10, "{least} to {most}");
        let eleven = BehindTls { asked_bytes: Some(of(597 + 11 * 90 + 37)), ..segments(14, 13) };
        assert_eq!(told_by(&mut all, eleven), (11, 11));
    }

    #[test]
    fn equal_requests_without_room_are_counted_by_bytes() {
        let mut all = Handshakes::default();
        (0..3).for_each(|_| all.learn_beginning(Beginning::Tls(exactly(2, 2), SIZES)));
        for asked in 0..1_000 {
            let one = BehindTls {
                asked_bytes: upload(597 + 7 * 90).asked_bytes,
                ..long(segments(20 + asked, 9), Some(1), None)
            };
            all.take(POSSIBLE, (1, 20 + asked), one, false);
        }
        let told = all.told(Handshake::Tls, &all).all;
        assert_eq!((told.least.total(), told.most.total()), (7_000, 7_000));
        // Closes from before anything was known speak neither for nor against it.
        let mut late = Handshakes::default();
        let close = |late: &mut Handshakes, asked: u32| {
            let asked_bytes = upload(597 + 7 * 90).asked_bytes;
            let one = BehindTls { asked_bytes, ..long(segments(20 + asked, 9), Some(1), None) };
            late.take(POSSIBLE, (1, 20 + asked), one, false);
        };
        (0..1_000).for_each(|asked| close(&mut late, asked));
        (0..3).for_each(|_| late.learn_beginning(Beginning::Tls(exactly(2, 2), SIZES)));
        (1_000..1_100).for_each(|asked| close(&mut late, asked));
        assert!(late.by_size.is_regular() && late.by_size.fitting == 100);
    }

    #[test]
    fn first_messages_narrow_the_bounds() {
        let mut all = Handshakes::default();
        let one = segments(9, 7);
        all.take(POSSIBLE, (9, 9), one, false);
        let service = Some(SocketAddr::from(([10, 0, 0, 1], 8_080)));
        (0..3).for_each(|_| all.learn_beginning(Beginning::Tls(exactly(2, 2), SIZES)));
        assert_eq!(all.handshake(service), Handshake::Tls);
        let told = all.told(Handshake::Tls, &all).all;
        // Up to two farewells of the client's, and one of the server's.
        assert_eq!((told.least.max(), told.most.max()), (Some(5), Some(5)));
        let answers = long(segments(9, 90), None, Some(1));
        assert_eq!(told_by(&mut all.clone(), answers).1, 7, "long answers, and no farewell");
        let mut plain = Handshakes::default();
        plain.take(POSSIBLE, (9, 9), one, false);
        (0..3).for_each(|_| plain.learn_beginning(Beginning::Plain));
        assert_eq!(plain.handshake(service), Handshake::None);
        plain.learn_beginning(Beginning::Tls(exactly(2, 2), SIZES));
        assert_eq!(plain.handshake(service), Handshake::Possible, "both are spoken");
    }

    #[test]
    fn followed_connections_show_a_handshake() {
        let mut all = Handshakes::default();
        let service = Some(SocketAddr::from(([10, 0, 0, 1], 8_080)));
        all.take(POSSIBLE, (4, 4), segments(4, 3), false);
        assert_eq!(all.handshake(service), Handshake::Possible);
        (0..3).for_each(|_| all.learn(exactly(3, 2)));
        assert_eq!(all.handshake(service), Handshake::Tls);
    }

    #[test]
    fn kinds_of_connections_are_bounded() {
        let mut all = Handshakes::default();
        for asked in 4..1_000 {
            all.take(POSSIBLE, (1, asked), segments(asked, 3), false);
        }
        assert!(all.open_to_learn.len() <= 96);
        let told = all.told(Handshake::Tls, &all).all;
        assert_eq!(told.least.count(), 996, "each is counted once");
        let followed = (0..1_000).filter(|_| all.may_follow()).count();
        assert_eq!(followed, 512);
    }
}
