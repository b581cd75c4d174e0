//! Messages of a connection: whether they begin with a handshake of TLS, and how many are requests.
//!
//! Owns what the lengths of messages show. Pure: who sent which is found in `newborns`.

use super::learned::{Besides, Range, Sizes};

/// Segments and bytes that one side sent before the other sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) segments: u32,
    pub(super) bytes: u64,
}

impl Message {
    pub(super) fn since(self, earlier: Message) -> Option<Message> {
        Some(Message {
            segments: self.segments.checked_sub(earlier.segments)?,
            bytes: self.bytes.checked_sub(earlier.bytes)?,
        })
    }
}

/// Kind of a connection's beginning, by its first messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It began with a request.
    Plain,
    /// It began with a handshake of TLS, with so much besides requests and answers, farewells not counted.
    Tls(Besides, Sizes),
    /// It began with a handshake of TLS, and segments were sent again: the bounds of what it has besides are wide.
    TlsWithLosses(Besides, Sizes),
}

impl Beginning {
    /// Reads it from the first messages. `is_over`: a side has closed; `is_lossy`: segments may be counted that
    /// were sent again.
    pub(super) fn of(messages: &[Message], is_over: bool, is_lossy: bool) -> Option<Beginning> {
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
        let kind = Second::of(second.bytes, Some(answer.bytes), Some(third.bytes), false);
        let start = match (kind, more) {
            (Second::Handshake, _) => Start::Handshake,
            // The first request is as long as the next.
            (Second::WithRequest { is_certain: true }, _) => Start::WithRequest,
            (_, [_, fourth, _, ..]) => {
                // A long request, and the server's tickets come while it is sent.
                let parts = second.bytes + third.bytes;
                let finished = parts.checked_sub(fourth.bytes).filter(|one| is_finished(*one))?;
                Start::Parted { finished, request: fourth.bytes }
            }
            _ => return None,
        };
        let (behind_hello, request) = match start {
            Start::Handshake => (second.bytes, third.bytes),
            Start::WithRequest => (second.bytes.checked_sub(third.bytes)?, third.bytes),
            Start::Parted { finished, request } => (finished, request),
        };
        let sizes = Sizes { before: hello.bytes + behind_hello, request };
        if is_lossy {
            let besides = Besides {
                asked: (1, hello.segments + MOST_BEHIND_HELLO),
                answered: (1, flight.segments + TICKETS),
            };
            return Some(Beginning::TlsWithLosses(besides, sizes));
        }
        let (asked, answered) = match start {
            Start::Handshake => (second.segments, flight.segments + answer.segments),
            // Of long requests one may be cut into a few segments more than another.
            Start::WithRequest if third.segments > 1 => {
                (MOST_BEHIND_HELLO, with_tickets(*flight, *answer).1)
            }
            Start::WithRequest => {
                (second.segments.checked_sub(1)?, with_tickets(*flight, *answer).1)
            }
            Start::Parted { .. } => (MOST_BEHIND_HELLO, flight.segments + answer.segments),
        };
        // In other connections the network interface was busy, and the kernel joined what follows the first
        // message of a side with a request or an answer.
        let besides = Besides {
            asked: (hello.segments, hello.segments + asked),
            answered: (flight.segments, answered),
        };
        Some(Beginning::Tls(besides, sizes))
    }
}

/// How a client goes on after its hello.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// The second message is the rest of the handshake.
    Handshake,
    /// The first request is behind it.
    WithRequest,
    /// The first request is behind it, and the server's tickets came before its end.
    Parted { finished: u64, request: u64 },
}

/// Returns the segments of a server's first flight and of the tickets in front of its first answer.
fn with_tickets(flight: Message, answer: Message) -> Range {
    /// Segments of a short answer and of the tickets, at most.
    const SHORT: u32 = 4;
    let others = answer.segments.saturating_sub(1);
    if answer.segments <= SHORT {
        return (flight.segments + others, flight.segments + others);
    }
    (flight.segments, flight.segments + TICKETS)
}

/// Segments of tickets, at most: OpenSSL writes two, Go and Java one. A Finished of TLS 1.2 has one ticket.
const TICKETS: u32 = 2;
/// Segments of a client between its hello and its first request, at most: key exchange, ChangeCipherSpec and
/// Finished of TLS 1.2, each written by itself.
const MOST_BEHIND_HELLO: u32 = 3;

/// Bytes of a hello, at least (RFC 8446, section 4.1.2: random, suites, extensions that no client lacks).
const HELLO: u64 = 150;
/// Bytes of a server's first flight, at least. A HelloRetryRequest is shorter, and a second hello follows it.
const FLIGHT: u64 = 150;
/// Shortest request, in a record of TLS 1.3: `GET / HTTP/1.0` and an empty line. Farewells are shorter.
pub(super) const LEAST_REQUEST: u64 = 40;

/// Returns the requests of a whole connection and what it has besides, if its messages are those of
/// HTTP/1.1 behind a handshake of TLS for certain.
pub(super) fn behind_handshake(messages: &[Message]) -> Option<(u32, Besides)> {
    /// OpenSSL pads its hello to this length, for the sake of servers that hang at shorter ones.
    const PADDED_HELLO: u64 = 517;
    /// Segments of a ChangeCipherSpec, a Finished, and a request written in two parts, each by itself.
    const MOST_SECOND: u32 = 4;
    /// A request of this length fits a segment, with a Finished before it.
    const FITS: u64 = 1_200;
    let [hello, flight, second, rest @ ..] = messages else { return None };
    if hello.bytes < HELLO || flight.bytes < FLIGHT {
        return None;
    }
    let later: Vec<Message> = rest.iter().skip(1).step_by(2).copied().collect();
    let (farewell, asked) = match later.split_last() {
        Some((last, asked)) if last.bytes < LEAST_REQUEST => (Some(*last), asked),
        _ => (None, later.as_slice()),
    };
    // A short message in the middle is a frame of another protocol. Of several that are not as long as each
    // other one may be a part of a request: the server's tickets came between.
    let first = asked.first().copied();
    let is_like_first = |one: &Message| {
        one.bytes >= LEAST_REQUEST && first.is_some_and(|first| first.bytes == one.bytes)
    };
    let of_request = first.map_or(1, |first| first.segments);
    let are_alike = asked.iter().all(is_like_first);
    let are_long = asked.iter().all(|one| one.bytes >= MOST_REQUESTS);
    if second.segments >= MOST_SECOND + of_request || !(are_alike || are_long) {
        return None;
    }
    let more = u32::try_from(asked.len()).ok()?;
    let answer = rest.first().copied();
    let is_of_13 = farewell.is_some_and(|last| last.bytes == CLOSE_NOTIFY_13);
    let (answer_bytes, next) = (answer.map(|one| one.bytes), first.map(|first| first.bytes));
    let second_is = Second::of(second.bytes, answer_bytes, next, is_of_13);
    // Where the first request is as long as the next, the server's tickets did not cut it in two.
    if !are_alike && second_is != (Second::WithRequest { is_certain: true }) {
        return None;
    }
    let (requests, with_finished) = match second_is {
        Second::Handshake => (more, second.segments),
        // The first request is behind the Finished. Another one of the same length, a farewell or the hello
        // of OpenSSL show that it is no plain request.
        Second::WithRequest { is_certain } => {
            let is_tls = is_certain || farewell.is_some() || hello.bytes == PADDED_HELLO;
            let is_alone = is_certain || (more == 0 && second.bytes <= FITS);
            let is_other = hello.bytes != second.bytes && answer.is_some();
            if !(is_tls && is_alone && is_other) {
                return None;
            }
            (more + 1, second.segments.checked_sub(of_request)?)
        }
        Second::Unknown => return None,
    };
    let asked = hello.segments + with_finished + farewell.map_or(0, |last| last.segments);
    let answers = rest.iter().step_by(2);
    let is_short = |one: &Message| one.segments == 1;
    let answered = match answer.filter(|_| requests > more) {
        // Behind the tickets.
        Some(answer) if answers.clone().skip(1).all(is_short) => with_tickets(*flight, answer),
        Some(_) => (flight.segments, flight.segments + MOST_BEHIND_ANSWERS),
        None => {
            let tickets = answer.map_or(0, |answer| answer.segments);
            let most = if answers.skip(1).all(is_short) { 0 } else { 1 };
            (flight.segments + tickets, flight.segments + tickets + most)
        }
    };
    // The server says farewell behind the client's.
    let said_back = match rest.last() {
        Some(last) if farewell.is_some() && rest.len() % 2 == 1 => last.segments,
        _ => 0,
    };
    let answered = (answered.0 + said_back, answered.1 + said_back);
    (requests > 0).then_some((requests, Besides { asked: (asked, asked), answered }))
}

/// Segments of tickets and of a farewell that may be among long answers.
const MOST_BEHIND_ANSWERS: u32 = 3;

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

/// Returns whether a Finished of TLS 1.3 has so many bytes, a ChangeCipherSpec before it or not.
fn is_finished(bytes: u64) -> bool {
    FINISHED_13.iter().any(|one| bytes == *one || bytes == *one + CHANGE_CIPHER_SPEC)
}

impl Second {
    /// Reads it by its length; `answer`: what the server sent then, `next`: what the client sent next.
    fn of(bytes: u64, answer: Option<u64>, next: Option<u64>, is_of_13: bool) -> Second {
        if is_finished(bytes) {
            return Second::Handshake;
        }
        let is_of_12 = KEY_EXCHANGES.iter().any(|key| {
            FINISHED_12.iter().any(|finished| key + CHANGE_CIPHER_SPEC + finished == bytes)
        });
        let follows_finished = next.is_some_and(|next| bytes > next && is_finished(bytes - next));
        if is_of_12 && !is_of_13 {
            // The server's Finished alone answers it, where there is no ticket: shorter than any answer. The
            // Finished of TLS 1.3 and a request are as long only if that is shorter than most.
            let is_finished_12 =
                |answer: u64| FINISHED_12.iter().any(|one| one + CHANGE_CIPHER_SPEC == answer);
            let is_handshake = answer.is_some_and(is_finished_12)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages by their bytes, each in one segment, the client's first.
    fn requests(bytes: &[u64]) -> Option<u32> {
        let messages: Vec<_> =
            bytes.iter().map(|bytes| Message { segments: 1, bytes: *bytes }).collect();
        behind_handshake(&messages).map(|(requests, _)| requests)
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
        assert_eq!(requests(&[1_730, 1_290, 64 + 199, 700, 199, 700, 230, 650, 24]), Some(3));
        assert_eq!(requests(&[280, 3_100, 126, 51, 210, 500, 210, 500, 31]), Some(2), "TLS 1.2");
        assert_eq!(requests(&[280, 3_100, 126, 258, 210, 500]), Some(1), "TLS 1.2 with a ticket");
        assert_eq!(requests(&[1_730, 1_290, 64, 510, 90, 700]), Some(1), "opened in advance");
    }

    #[test]
    fn farewell_of_the_server_is_no_answer() {
        let besides = |bytes: &[u64]| {
            let messages: Vec<_> =
                bytes.iter().map(|bytes| Message { segments: 1, bytes: *bytes }).collect();
            behind_handshake(&messages).map(|(_, besides)| besides.answered)
        };
        assert_eq!(besides(&[1_730, 1_290, 64 + 90, 700, 24]), Some((1, 1)));
        assert_eq!(besides(&[1_730, 1_290, 64 + 90, 700, 24, 24]), Some((2, 2)));
        assert_eq!(besides(&[1_730, 1_290, 64 + 99, 700, 99, 700, 24, 24]), Some((2, 2)));
    }

    #[test]
    fn other_messages_show_nothing() {
        assert_eq!(requests(&[200, 1_290, 200, 1_290, 200, 1_290]), None, "plain requests");
        assert_eq!(requests(&[200, 1_290, 300, 700]), None, "two plain requests");
        assert_eq!(requests(&[517, 99, 523, 1_290, 80 + 90, 700]), None, "HelloRetryRequest");
        assert_eq!(requests(&[517, 1_290, 80 + 90, 510, 31, 700, 60]), None, "HTTP/2");
        assert_eq!(requests(&[517, 1_290, 80 + 200, 510, 3_000, 700]), None, "a part of a request");
        assert_eq!(requests(&[517, 1_290, 126, 258, 62, 500]), None, "TLS 1.2 or 1.3");
        assert_eq!(
            requests(&[517, 1_290, 80 + 199, 700, 230, 700, 199, 650]),
            None,
            "no two alike"
        );
        assert_eq!(requests(&[517, 1_290]), None, "nothing was asked");
        assert_eq!(requests(&[517, 1_290, 80]), None, "a probe");
    }

    #[test]
    fn first_messages_show_a_handshake_or_none() {
        let of = |bytes: &[u64]| {
            let messages: Vec<_> =
                bytes.iter().map(|bytes| Message { segments: 1, bytes: *bytes }).collect();
            Beginning::of(&messages, false, false)
        };
        let tls = |asked, answered| {
            let besides = Besides { asked: (1, asked), answered: (1, answered) };
            Some(Beginning::Tls(besides, Sizes { before: 1_730 + 64, request: 99 }))
        };
        assert_eq!(of(&[30_000, 90]), Some(Beginning::Plain), "no hello is as long");
        assert_eq!(of(&[517, 30_000]), Some(Beginning::Plain), "no certificate is as long");
        assert_eq!(of(&[517, 700, 517, 900, 517, 700]), Some(Beginning::Plain), "all are alike");
        assert_eq!(of(&[517, 700, 517, 900, 517]), None, "the third may go on");
        assert_eq!(of(&[1_730, 1_290, 64 + 99, 1_210, 99, 700]), tls(1, 1), "in two segments");
        assert_eq!(of(&[1_730, 1_290, 64, 510, 99, 700]), tls(2, 2), "opened in advance");
        assert_eq!(of(&[1_730, 1_290, 300, 510, 99, 700]), None, "requests of any length");
        let parted = Some(Beginning::Tls(
            Besides { asked: (1, 4), answered: (1, 2) },
            Sizes { before: 517 + 80, request: 30_000 },
        ));
        let upload = [517, 1_290, 14_560, 510, 15_520, 90, 30_000, 90];
        assert_eq!(of(&upload), parted, "the tickets came before the end of the first request");
        assert_eq!(of(&upload[..7]), None, "the next request may go on");
    }
}
