//! Requests and answers on one connection, as far as the counters of one socket show them.
//!
//! Owns the arithmetic from `tcp_info` to bounds of the number of requests, and to what the client
//! waited for when the connection ended. Pure.
//!
//! A **request** is a message from client to server. The kernel counts segments with data: a message
//! longer than the MSS takes several, and under loss a segment is sent again. So the number of
//! messages is bounded from both directions:
//!
//! * Messages ≤ segments with data, without those that were sent again. Of these the kernel counts
//!   the bytes; their number lies between `bytes / MSS` and the count of all retransmissions, which
//!   has SYNs and FINs too. A receiver counts what it got twice, and does not say how often.
//! * In a protocol where each request is answered before the next one (HTTP/1.1, and most database
//!   protocols), requests ≤ segments that came back, and one more if the last was not answered.
//! * A message of several segments fills each but the last, and one in each 64 KiB perhaps. So there
//!   are at least as many messages as segments, less the full ones: `bytes / MSS`.
//! * Small answers take a segment each, or two if head and body are written apart: requests ≥ half
//!   of them; as many as segments in either direction, where those are equally many.

use std::cmp::Ordering;
use std::num::NonZero;

use super::handshakes::{BehindTls, Shape, without_handshake};
use super::learned::{AskedBytes, Run, SegmentsOfBoth};
use crate::kernel::socket::{Side, Socket, TcpInfo};

/// Longest farewell of a protocol that says one before its FIN: an alert of TLS 1.2 with 5 bytes of
/// head, an initialization vector of 16, and 64 of alert, SHA-384 and padding (RFC 5246, section
/// 6.2.3.2). TLS 1.3 takes 24; QUIT and the like are shorter.
pub(super) const FAREWELL_BYTES: u32 = 85;

/// Bytes that the kernel takes from a program at once, at least: a longer message is sent in parts, each
/// of which may end in a segment that is not full.
const SENT_AT_ONCE: u64 = 1 << 16;

/// Short messages of the server's for each of the client's from which they are a stream: an answer is
/// one, or a few where a program writes its head and the chunks of its body apart.
const STREAMED: u32 = 6;

/// Requests and answers on a connection since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Requests, at least.
    pub(super) requests: u32,
    /// Requests, at most.
    pub(super) at_most: u32,
    /// Messages from the client, at least, whatever was answered: more than the answers where a
    /// protocol sends without waiting.
    pub(super) messages: u32,
    /// Reading of the connection as one that began with a handshake of TLS.
    pub(super) behind_tls: BehindTls,
    /// Whether it may have begun so.
    pub(super) shape: Shape,
    /// Segments with data from the client, at most.
    pub(super) asked_segments: u32,
    /// Segments with data from the server.
    pub(super) answers: u32,
    /// The server sent again and again: many short messages for each of the client's.
    pub(super) is_stream: bool,
    /// For how long the client has waited for an answer, in milliseconds; `None` if none is due:
    /// the last data came from the server.
    pub(super) waiting_ms: Option<u32>,
    /// Whether its last data came later than the server's, so that it waits for certain.
    pub(super) asked_last: bool,
    /// At the server's socket, more than a farewell that the client has not acknowledged.
    pub(super) in_flight: Option<InFlight>,
}

/// Part of an answer that is not acknowledged. Where the connection is over, the client left before
/// it came: an RST took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Its segments, at most.
    segments: u32,
    /// Upper bound of its segments, those included that wait to be sent.
    pub(super) with_unsent: u32,
    /// Milliseconds between the client's last data and the server's.
    pub(super) after_ms: u32,
}

impl Exchange {
    /// Reads the exchange from a socket on this side; `None` if the kernel does not count segments.
    pub(super) fn of(side: Side, socket: &Socket) -> Option<Exchange> {
        let info = socket.info?;
        let (sent, received) = (Segments::sent(side, &info)?, Segments::received(&info)?);
        let (asked, answered) = match side {
            Side::Client => (sent, received),
            Side::Server => (received, sent),
        };
        let answers = answered.most;
        let messages = asked.messages();
        let waiting_ms = waiting_ms(side, &info, messages, answers);
        let asked_last = answers == 0 || asked_after_answer(side, &info) == Some(Ordering::Less);
        let and_due = |answers: u32| answers.saturating_add(u32::from(waiting_ms.is_some()));
        // Without any answer the other direction bounds nothing.
        let (at_most, is_sure) = match answers {
            0 => (asked.most, asked.most),
            _ => (asked.most.min(and_due(answers)), and_due(answered.least)),
        };
        let by_answers = match answered.messages() {
            // As many segments in both directions: one for each message.
            MessageCount::Short(count) if asked.least == answered.least => count,
            MessageCount::Short(count) => count.div_ceil(2).min(asked.most),
            MessageCount::Long(_) => 0,
        };
        let is_stream = match answered.messages() {
            MessageCount::Short(count) => count / STREAMED >= messages.at_least().max(1),
            MessageCount::Long(_) => false,
        };
        let messages = messages.at_least().max(by_answers);
        let requests = messages.min(at_most).min(is_sure);
        // The first of the server's segments is its hello.
        // Where an acknowledgement is late, a segment is sent twice, and the receiver counts both.
        let once = messages.max(paired(&asked, &answered));
        let once = once.saturating_sub(u32::from(side == Side::Server && once > 1));
        let answered_at_most = asked.most.min(and_due(answers));
        let run = |one: &Segments| Run {
            segments: (one.least, one.most),
            messages: match one.messages() {
                MessageCount::Short(_) => None,
                MessageCount::Long(least) => NonZero::new(least),
            },
        };
        let both = SegmentsOfBoth {
            asked: run(&asked),
            answered: run(&answered),
            is_due: waiting_ms.is_some(),
        };
        let behind_tls = BehindTls {
            requests: without_handshake(once, answered_at_most, asked.has_long_hello()),
            segments: Some(both),
            asked_bytes: asked
                .bytes
                .map(|most| AskedBytes { most, may_count_fin: asked.may_count_fin }),
        };
        // One segment is no handshake, so nothing after it is a farewell of TLS.
        let farewell = if asked.most > 1 { FAREWELL_BYTES } else { 0 };
        let in_flight = InFlight::of(socket, farewell).filter(|_| side == Side::Server);
        let shape = Shape::of(&asked, &answered, (side == Side::Client).then_some(&info));
        Some(Exchange {
            requests,
            at_most,
            messages,
            behind_tls,
            shape,
            asked_segments: asked.most,
            answers,
            is_stream,
            waiting_ms,
            asked_last,
            in_flight,
        })
    }

    /// Returns the segments of the server's that have arrived, at least.
    pub(super) fn delivered(&self) -> u32 {
        self.answers.saturating_sub(self.in_flight.map_or(0, |part| part.segments))
    }

    /// Returns whether the client has sent data and received none.
    pub(super) fn is_unanswered(&self) -> bool {
        self.at_most > 0 && self.answers == 0
    }
}

impl InFlight {
    /// Returns what is in flight or waits to be sent, if it is more than `farewell` bytes.
    fn of(socket: &Socket, farewell: u32) -> Option<InFlight> {
        let info = socket.info?;
        let sent = info.bytes_sent?.saturating_sub(info.bytes_retrans?);
        let in_flight = sent.saturating_sub(info.bytes_acked?);
        // A FIN is in the queue, too.
        let bytes = in_flight.max(socket.wqueue.saturating_sub(1).into());
        let mss = u64::from(info.send_mss.filter(|mss| *mss > 0)?);
        let after = info.last_data_recv_ms?.saturating_sub(info.last_data_sent_ms?);
        let segments = |bytes: u64| u32::try_from(bytes.div_ceil(mss)).unwrap_or(u32::MAX);
        (bytes > farewell.into()).then(|| InFlight {
            segments: segments(in_flight),
            with_unsent: segments(bytes),
            after_ms: after,
        })
    }
}

/// Segments with data in one direction, each counted once, and what they carried.
#[derive(Debug, Clone, Copy)]
struct Segments {
    least: u32,
    most: u32,
    bytes: Option<u64>,
    /// The largest segment.
    mss: Option<u64>,
    /// None is as large as the path allows, so that none is a part of a longer message.
    are_whole: bool,
    /// The bytes may count the peer's FIN as one.
    may_count_fin: bool,
    /// Some were sent again.
    is_lossy: bool,
}

impl Segments {
    fn sent(side: Side, info: &TcpInfo) -> Option<Segments> {
        let all = info.data_segs_out?;
        let mss = info.send_mss.filter(|mss| *mss > 0).map(u64::from);
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let (least_again, most_again) = match info.bytes_retrans {
            Some(bytes) => {
                let most = info.total_retrans.unwrap_or(0).min(small(bytes));
                (mss.map_or(0, |mss| small(bytes.div_ceil(mss))).min(most), most)
            }
            None => (0, 0),
        };
        let bytes = info.bytes_sent.zip(info.bytes_retrans);
        let bytes = bytes.map(|(sent, again)| sent.saturating_sub(again));
        let mut least = all.saturating_sub(most_again);
        let mut most = all.saturating_sub(least_again);
        if least < most
            && let Some(acknowledged) = bytes.and_then(|bytes| acknowledged(side, info, bytes))
        {
            // Segments sent again may have been joined.
            most = most.min(acknowledged.1);
            least = least.max(acknowledged.0).min(most);
        }
        Some(Segments {
            least,
            most,
            bytes,
            mss,
            are_whole: false,
            may_count_fin: false,
            is_lossy: most_again > 0,
        })
    }

    fn received(info: &TcpInfo) -> Option<Segments> {
        let all = info.data_segs_in?;
        // Where segments get lost on the way there, acknowledgements do on the way back, and what they
        // acknowledged comes again. Four times the share that this side sent again is more than chance
        // makes of it, and so is one of eight at a loss of 5 %.
        let again = info.bytes_retrans.map_or(0, |bytes| bytes.saturating_mul(4));
        let share = u128::from(all) * u128::from(again);
        let of_all = share.div_ceil(u128::from(info.bytes_sent.unwrap_or(1).max(1)));
        let most_twice = (all / 8).max(1);
        let of_all = u32::try_from(of_all).unwrap_or(u32::MAX).min(most_twice);
        // Where segments overtake others, some of those were lost, and some that follow come twice.
        let overtaken = info.received_out_of_order.unwrap_or(0).min(most_twice);
        let of_all = of_all.max(overtaken);
        let twice = if all > 0 && (again > 0 || overtaken > 0) { of_all.max(1) } else { 0 };
        // The kernel keeps the size of the largest that came lately, and 536 at least.
        const OPTIONS: u32 = 40;
        let largest = info.receive_mss.filter(|mss| *mss > 0);
        let are_whole = largest.zip(info.send_mss).is_some_and(|(in_, out)| in_ + OPTIONS < out);
        Some(Segments {
            least: (all - twice).max(u32::from(all > 0)),
            most: all,
            bytes: info.bytes_received,
            mss: largest.map(u64::from),
            are_whole,
            may_count_fin: true,
            is_lossy: twice > 0,
        })
    }

    /// Returns whether the client's hello may be longer than a segment.
    fn has_long_hello(&self) -> bool {
        // A server knows by the largest segment that came.
        self.bytes.zip(self.mss).is_none_or(|(bytes, mss)| bytes > mss) && !self.are_whole
    }

    /// Returns how unlikely it is that the bytes are a multiple of the segments' number by chance: one of
    /// so many. 1 if they are none, so that the segments have not the same length, and where losses leave
    /// their number open.
    fn are_alike(&self) -> u32 {
        let Some(bytes) = self.bytes.filter(|_| !self.is_lossy && self.most > 1) else {
            return 1;
        };
        let divides = |bytes: u64| bytes.is_multiple_of(u64::from(self.most));
        if self.may_count_fin {
            let is_multiple = divides(bytes) || divides(bytes.saturating_sub(1));
            return if is_multiple { (self.most / 2).max(1) } else { 1 };
        }
        if divides(bytes) { self.most } else { 1 }
    }

    /// Returns the messages in these segments.
    fn messages(&self) -> MessageCount {
        let Some((bytes, mss)) = self.bytes.zip(self.mss) else {
            return MessageCount::Short(self.least);
        };
        let full = bytes / mss;
        if self.are_whole {
            return MessageCount::Short(self.least);
        }
        if full * 2 < u64::from(self.most) || self.most == 0 {
            return MessageCount::Short(self.least);
        }
        // What is sent again may be cut elsewhere, and leave segments that are not full.
        let cut = if self.is_lossy { u64::from(self.most / 16) } else { 0 };
        let not_whole = full.saturating_add(bytes / SENT_AT_ONCE).saturating_add(cut);
        let least = self.least.saturating_sub(u32::try_from(not_whole).unwrap_or(u32::MAX));
        MessageCount::Long(least.max(1))
    }
}

/// Returns the messages of a client behind a handshake, at least, if there are about as many segments in
/// both directions, and the server's are short: one for each message. 0 if not.
fn paired(asked: &Segments, answered: &Segments) -> u32 {
    /// Segments of a handshake by which one side has more than the other, at most.
    const HANDSHAKE: u32 = 6;
    /// Of fewer, some messages may have two.
    const LEAST: u32 = 2 * HANDSHAKE;
    let both = asked.least.min(answered.least);
    let is_short = matches!(answered.messages(), MessageCount::Short(_));
    let are_as_many = asked.most.abs_diff(answered.most) <= HANDSHAKE;
    if is_short && are_as_many && both >= LEAST { both } else { 0 }
}

/// Returns the segments of data that the peer has acknowledged, at least and at most; `None` if not all
/// of the `bytes` were. The FIN is a segment of its own, or rides on the last.
fn acknowledged(side: Side, info: &TcpInfo, bytes: u64) -> Option<(u32, u32)> {
    let syn = u64::from(side == Side::Client);
    let beyond_data = info.bytes_acked?.checked_sub(bytes + syn)?;
    // What came twice counts twice where the peer said so.
    let but_syn = info.delivered?.checked_sub(1 + info.dsack_dups?)?;
    Some((but_syn.saturating_sub(u32::from(beyond_data > 0)), but_syn))
}

impl Shape {
    /// Reads the shape from what was asked and answered; `client`: the numbers of the client's socket.
    fn of(asked: &Segments, answered: &Segments, client: Option<&TcpInfo>) -> Shape {
        /// Bytes of a hello, a Finished and a request of the client, and of a hello, a Finished and an
        /// answer in a session that is resumed, at least.
        const LEAST: [u64; 2] = [300, 165];
        /// Bytes of a handshake of the server with a certificate, at least.
        const WITH_CERTIFICATE: u64 = 600;
        /// Chance that a handshake leaves messages that look alike: one in 16.
        const CHANCE: u32 = 16;
        /// The kernel's first estimate of the largest segment that will come (`TCP_MSS_DEFAULT`).
        const FIRST_ESTIMATE: u32 = 536;
        if asked.most == 0 || answered.most == 0 {
            return Shape::Unknown;
        }
        let both = [asked, answered];
        let is_short =
            |(one, least): (&Segments, u64)| one.bytes.is_some_and(|bytes| bytes < least);
        // In both directions: the numbers of one divide by chance now and then. Behind a handshake they
        // are as many in both by chance only.
        let [of_asked, of_answered] = both.map(Segments::are_alike);
        let chance = of_asked.saturating_mul(of_answered);
        let paired = if asked.most == answered.most { 2 } else { 1 };
        if of_asked.min(of_answered) > 1 && chance.saturating_mul(paired) >= CHANCE {
            return Shape::Alike;
        }
        if asked.most == 1 || both.into_iter().zip(LEAST).any(is_short) {
            return Shape::Plain;
        }
        let largest = client.and_then(|info| info.receive_mss);
        let small = largest.is_some_and(|largest| largest <= FIRST_ESTIMATE)
            || answered.bytes.is_some_and(|bytes| bytes < WITH_CERTIFICATE);
        Shape::Possible { small }
    }
}

/// Returns the times since the last data from the client and since the last from the server.
fn since_data(side: Side, info: &TcpInfo) -> Option<(u32, u32)> {
    let (sent, received) = (info.last_data_sent_ms?, info.last_data_recv_ms?);
    Some(match side {
        Side::Client => (sent, received),
        Side::Server => (received, sent),
    })
}

/// Compares these times: `Less` if the client's data is the last.
fn asked_after_answer(side: Side, info: &TcpInfo) -> Option<Ordering> {
    since_data(side, info).map(|(asked, answered)| asked.cmp(&answered))
}

/// Returns how long the client has waited for an answer.
fn waiting_ms(side: Side, info: &TcpInfo, asked: MessageCount, answers: u32) -> Option<u32> {
    let (since_asked, _) = since_data(side, info)?;
    let asked_last = match asked_after_answer(side, info)? {
        Ordering::Less => true,
        // Within the same jiffy of the kernel the number decides: of small messages there is one more.
        Ordering::Equal => matches!(asked, MessageCount::Short(count) if count > answers),
        Ordering::Greater => false,
    };
    (asked.at_least() > 0 && (answers == 0 || asked_last)).then_some(since_asked)
}

/// Messages in some segments.
#[derive(Debug, Clone, Copy)]
enum MessageCount {
    /// Most segments are less than half full, or none is full: each is taken for a message.
    Short(u32),
    /// Bulk data; the value is a lower bound of its messages.
    Long(u32),
}

impl MessageCount {
    fn at_least(self) -> u32 {
        let (MessageCount::Short(count) | MessageCount::Long(count)) = self;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's numbers: segments out and in, bytes out, MSS 1000.
    fn client(out: u32, back: u32, bytes: u64) -> TcpInfo {
        TcpInfo {
            data_segs_out: Some(out),
            data_segs_in: Some(back),
            bytes_sent: Some(bytes),
            bytes_retrans: Some(0),
            total_retrans: Some(0),
            send_mss: Some(1000),
            last_data_sent_ms: Some(20),
            last_data_recv_ms: Some(10),
            ..TcpInfo::default()
        }
    }

    fn exchange(side: Side, info: TcpInfo) -> Exchange {
        Exchange::of(side, &crate::tracker::dead::tests::event(info)).unwrap()
    }

    fn bounds(info: TcpInfo) -> (u32, u32) {
        let one = exchange(Side::Client, info);
        (one.requests, one.at_most)
    }

    #[test]
    fn segments_sent_again_may_be_cut() {
        let upload = TcpInfo {
            bytes_sent: Some(3_060_000),
            bytes_retrans: Some(60_000),
            total_retrans: Some(60),
            ..client(3_170, 3_060, 3_000_000)
        };
        let large = TcpInfo { bytes_received: Some(3_000_000), receive_mss: Some(1_000), ..upload };
        assert_eq!(bounds(large).0, 1, "60 segments that are not full are no messages");
    }

    #[test]
    fn overtaken_segments_may_have_come_twice() {
        // Uploads of 3 MB in all, of which 60 segments came twice.
        let server = TcpInfo {
            data_segs_in: Some(3_060),
            bytes_received: Some(3_000_000),
            receive_mss: Some(1_000),
            ..client(6, 0, 600)
        };
        let least = |overtaken| {
            let info = TcpInfo { received_out_of_order: overtaken, ..server };
            exchange(Side::Server, info).requests
        };
        assert_eq!(least(Some(0)), 7, "nothing was lost: six answers, and one is due");
        assert_eq!(least(Some(100)), 3, "by the answers alone");
    }

    #[test]
    fn about_as_many_segments_both_ways_are_messages() {
        let behind = |out, back| {
            exchange(Side::Client, client(out, back, u64::from(out) * 900)).behind_tls.requests
        };
        assert_eq!(behind(30, 28), (22, 27), "nearly full segments");
        assert_eq!(behind(30, 15), (2, 14), "each answer may be two");
        assert_eq!(behind(9, 8), (1, 7), "of few, some may be two");
    }

    #[test]
    fn bounds_hold_from_both_directions() {
        assert_eq!(bounds(client(10, 10, 1000)), (10, 10), "small requests, small answers");
        assert_eq!(bounds(client(10, 90, 1000)), (10, 10), "small requests, large answers");
        assert_eq!(bounds(client(1049, 1, 1_048_576)), (1, 1), "one large request");
        assert_eq!(bounds(client(210, 20, 205_000)), (10, 20), "by the answers");
        let large =
            |info| TcpInfo { bytes_received: Some(19_500), receive_mss: Some(1000), ..info };
        assert_eq!(bounds(large(client(210, 20, 205_000))), (2, 20), "large in both directions");
        assert_eq!(bounds(client(3, 0, 300)), (3, 3), "nothing came back");
        assert_eq!(bounds(client(0, 5, 0)), (0, 0), "the server alone sends");
    }

    #[test]
    fn handshake_shows_in_sizes() {
        // Hello, Finished, a request and close_notify; hello and certificate, a ticket, an answer.
        let handshake = TcpInfo {
            bytes_received: Some(1_333 + 510 + 162),
            receive_mss: Some(1_333),
            send_mss: Some(1_448),
            ..client(4, 3, 517 + 80 + 100 + 24)
        };
        let shape = |info| exchange(Side::Client, info).shape;
        assert_eq!(shape(handshake), Shape::Possible { small: false });
        let resumed = TcpInfo { bytes_received: Some(680), receive_mss: Some(536), ..handshake };
        assert_eq!(shape(resumed), Shape::Possible { small: true });
        assert_eq!(exchange(Side::Server, handshake).shape, Shape::Possible { small: false });
        let alike = TcpInfo { bytes_received: Some(1_600), ..client(4, 4, 400) };
        assert_eq!(shape(alike), Shape::Alike, "each request has 100 bytes, each answer 400");
        let few = TcpInfo { bytes_sent: Some(291), ..handshake };
        assert_eq!(shape(few), Shape::Plain, "a hello and a request have more");
        assert_eq!(shape(TcpInfo { data_segs_out: Some(1), ..handshake }), Shape::Plain);
        assert_eq!(shape(TcpInfo { data_segs_in: Some(0), ..handshake }), Shape::Unknown);
    }

    #[test]
    fn retransmissions_are_no_requests() {
        let again =
            TcpInfo { total_retrans: Some(3), bytes_retrans: Some(200), ..client(12, 10, 1200) };
        // Three segments, or one and two SYNs or FINs. Answers may have come twice.
        assert_eq!(bounds(again), (9, 10));
        let syn_again = TcpInfo { total_retrans: Some(3), ..client(12, 12, 1200) };
        assert_eq!(bounds(syn_again), (12, 12));
        let server =
            TcpInfo { data_segs_in: Some(40), data_segs_out: Some(400), ..client(0, 0, 0) };
        let lossy = TcpInfo {
            total_retrans: Some(20),
            bytes_retrans: Some(20_000),
            bytes_sent: Some(410_000),
            ..server
        };
        assert_eq!(exchange(Side::Server, lossy).requests, 35, "a request may have come twice");
    }

    #[test]
    fn answer_that_is_not_acknowledged_is_in_flight() {
        let server = |acked: u64| TcpInfo {
            data_segs_in: Some(1),
            data_segs_out: Some(4),
            bytes_sent: Some(3_200),
            bytes_acked: Some(acked),
            last_data_recv_ms: Some(330),
            last_data_sent_ms: Some(10),
            ..client(0, 0, 0)
        };
        let one = exchange(Side::Server, server(0));
        let late = InFlight { segments: 4, with_unsent: 4, after_ms: 320 };
        assert_eq!((one.in_flight, one.delivered()), (Some(late), 0));
        assert_eq!(exchange(Side::Server, server(2_000)).delivered(), 2);
        let asked = |data_segs_in| TcpInfo { data_segs_in, ..server(3_200 - 24) };
        let farewell = exchange(Side::Server, asked(Some(4)));
        assert_eq!((farewell.in_flight, farewell.delivered()), (None, 4));
        let plain = exchange(Side::Server, asked(Some(1)));
        assert_eq!(plain.delivered(), 3, "one message: there is no TLS");
        assert_eq!(exchange(Side::Client, server(0)).in_flight, None, "a request is no answer");
    }

    #[test]
    fn client_that_sent_last_waits() {
        let waits = TcpInfo { last_data_recv_ms: Some(900), ..client(10, 9, 1000) };
        let one = exchange(Side::Client, waits);
        assert_eq!((one.at_most, one.waiting_ms, one.is_unanswered()), (10, Some(20), false));
        assert_eq!(exchange(Side::Client, client(10, 10, 1000)).waiting_ms, None);
        let one = exchange(Side::Client, client(2, 0, 200));
        assert_eq!((one.waiting_ms, one.is_unanswered()), (Some(20), true));
        let at_server = TcpInfo { data_segs_in: Some(1), data_segs_out: Some(0), ..waits };
        assert!(exchange(Side::Server, at_server).is_unanswered());
        let idle = TcpInfo { data_segs_out: Some(0), data_segs_in: Some(0), ..waits };
        let one = exchange(Side::Client, idle);
        assert_eq!((one.waiting_ms, one.is_unanswered()), (None, false), "a probe asks nothing");
    }
}
