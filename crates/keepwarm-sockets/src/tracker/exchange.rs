//! Requests and answers on one connection, as far as the counters of one socket show them.
//!
//! Owns the arithmetic from `tcp_info` to bounds of the number of requests, and to what the client
//! waited for when the connection ended. Pure.
//!
//! A **request** is a message from client to server. The kernel counts segments with data: a message
//! longer than the MSS takes several, and under loss a segment is sent again. So the number of
//! messages is bounded from both directions:
//!
//! * Messages ≤ segments with data, without those that were sent again.
//! * In a protocol where each request is answered before the next one (HTTP/1.1, and most database
//!   protocols), requests ≤ segments that came back, and one more if the last was not answered.
//! * A message of several segments fills each but the last. So there are at least as many messages
//!   as segments, less the full ones: `bytes / MSS`.

use std::cmp::Ordering;

use crate::kernel::socket::{Side, Socket, TcpInfo};

/// Longest farewell of a protocol that says one before its FIN: an alert of TLS 1.2 with 5 bytes of
/// head, an initialization vector of 16, and 64 of alert, SHA-384 and padding (RFC 5246, section
/// 6.2.3.2). TLS 1.3 takes 24; QUIT and the like are shorter.
pub(super) const FAREWELL_BYTES: u32 = 85;

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
    /// Segments with data from the server.
    pub(super) answers: u32,
    /// For how long the client has waited for an answer, in milliseconds; `None` if none is due:
    /// the last data came from the server.
    pub(super) waiting_ms: Option<u32>,
    /// At the server's socket, more than a farewell that the client has not acknowledged.
    pub(super) in_flight: Option<InFlight>,
}

/// Part of an answer that is not acknowledged. Where the connection is over, the client left before
/// it came: an RST took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Its segments, at most.
    segments: u32,
    /// Milliseconds between the client's last data and the server's.
    pub(super) after_ms: u32,
}

impl Exchange {
    /// Reads the exchange from a socket on this side; `None` if the kernel does not count segments.
    pub(super) fn of(side: Side, socket: &Socket) -> Option<Exchange> {
        let info = socket.info?;
        let (asked, answers) = segments(side, &info)?;
        let messages = messages(side, &info, asked);
        let waiting_ms = waiting_ms(side, &info, messages, answers);
        let answered = answers.saturating_add(u32::from(waiting_ms.is_some()));
        // Without any answer the other direction bounds nothing.
        let at_most = if answers > 0 { asked.min(answered) } else { asked };
        let requests = messages.at_least().min(at_most);
        let messages = messages.at_least();
        let in_flight = InFlight::of(&info).filter(|_| side == Side::Server);
        Some(Exchange { requests, at_most, messages, answers, waiting_ms, in_flight })
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
    fn of(info: &TcpInfo) -> Option<InFlight> {
        let sent = info.bytes_sent?.saturating_sub(info.bytes_retrans?);
        let bytes = sent.saturating_sub(info.bytes_acked?);
        let mss = u64::from(info.send_mss.filter(|mss| *mss > 0)?);
        let after = info.last_data_recv_ms?.saturating_sub(info.last_data_sent_ms?);
        (bytes > FAREWELL_BYTES.into()).then(|| InFlight {
            segments: u32::try_from(bytes.div_ceil(mss)).unwrap_or(u32::MAX),
            after_ms: after,
        })
    }
}

/// Returns the segments with data in both directions: from the client, and from the server. Those
/// sent again count once where they were sent; where they were received they are not told apart.
fn segments(side: Side, info: &TcpInfo) -> Option<(u32, u32)> {
    // SYNs and FINs sent again are among `total_retrans`, and carry no data.
    let again = match info.bytes_retrans {
        Some(bytes) => {
            info.total_retrans.unwrap_or(0).min(u32::try_from(bytes).unwrap_or(u32::MAX))
        }
        None => 0,
    };
    let (sent, received) = (info.data_segs_out?.saturating_sub(again), info.data_segs_in?);
    Some(match side {
        Side::Client => (sent, received),
        Side::Server => (received, sent),
    })
}

/// Returns how long the client has waited for an answer.
fn waiting_ms(side: Side, info: &TcpInfo, asked: Messages, answers: u32) -> Option<u32> {
    let (sent, received) = (info.last_data_sent_ms?, info.last_data_recv_ms?);
    let (since_asked, since_answered) = match side {
        Side::Client => (sent, received),
        Side::Server => (received, sent),
    };
    let asked_last = match since_asked.cmp(&since_answered) {
        Ordering::Less => true,
        // Within the same jiffy of the kernel the number decides: of small messages there is one more.
        Ordering::Equal => matches!(asked, Messages::Short(count) if count > answers),
        Ordering::Greater => false,
    };
    (asked.at_least() > 0 && (answers == 0 || asked_last)).then_some(since_asked)
}

/// Messages in some segments.
#[derive(Debug, Clone, Copy)]
enum Messages {
    /// Most segments are less than half full: each is taken for a message.
    Short(u32),
    /// Bulk data, of at least so many messages.
    Long(u32),
}

impl Messages {
    fn at_least(self) -> u32 {
        let (Messages::Short(count) | Messages::Long(count)) = self;
        count
    }
}

/// Returns the messages in so many segments from the client.
fn messages(side: Side, info: &TcpInfo, segments: u32) -> Messages {
    let (bytes, segment) = match side {
        Side::Client => {
            let sent = info.bytes_sent.zip(info.bytes_retrans);
            (sent.map(|(sent, again)| sent.saturating_sub(again)), info.send_mss)
        }
        Side::Server => (info.bytes_received, info.receive_mss),
    };
    let Some((bytes, segment)) = bytes.zip(segment.filter(|segment| *segment > 0)) else {
        return Messages::Short(segments);
    };
    let full = bytes / u64::from(segment);
    if full * 2 < u64::from(segments) || segments == 0 {
        return Messages::Short(segments);
    }
    let least = segments.saturating_sub(u32::try_from(full).unwrap_or(u32::MAX));
    Messages::Long(least.max(u32::from(segments > 0)))
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
    fn bounds_hold_from_both_directions() {
        assert_eq!(bounds(client(10, 10, 1000)), (10, 10), "small requests, small answers");
        assert_eq!(bounds(client(10, 90, 1000)), (10, 10), "small requests, large answers");
        assert_eq!(bounds(client(1049, 1, 1_048_576)), (1, 1), "one large request");
        assert_eq!(bounds(client(210, 20, 205_000)), (5, 20), "between");
        assert_eq!(bounds(client(3, 0, 300)), (3, 3), "nothing came back");
        assert_eq!(bounds(client(0, 5, 0)), (0, 0), "the server alone sends");
    }

    #[test]
    fn retransmissions_are_no_requests() {
        let again =
            TcpInfo { total_retrans: Some(3), bytes_retrans: Some(200), ..client(12, 10, 1200) };
        assert_eq!(bounds(again), (9, 9));
        let syn_again = TcpInfo { total_retrans: Some(3), ..client(12, 12, 1200) };
        assert_eq!(bounds(syn_again), (12, 12));
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
        let late = InFlight { segments: 4, after_ms: 320 };
        assert_eq!((one.in_flight, one.delivered()), (Some(late), 0));
        assert_eq!(exchange(Side::Server, server(2_000)).delivered(), 2);
        let farewell = exchange(Side::Server, server(3_200 - 24));
        assert_eq!((farewell.in_flight, farewell.delivered()), (None, 4));
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
