//! Dead sockets: those whose destroy event has come and whose close is not counted yet.
//!
//! Owns what is known of one, and the order of several on one pair of addresses.

use std::net::IpAddr;
use std::time::Duration;

use super::classify::{AT_ONCE_MS, Evidence, TimeWait, may_have_got_fin};
use super::death_time::DeathTime;
use super::exchange::{Exchange, FAREWELL_BYTES};
use super::handshakes::{BehindTls, Shape};
use super::open::{Farewell, OpenSocket};
use super::pair::Member;
use super::small_queue::SmallQueue;
use crate::kernel::socket::{Side, Socket};

/// How much older than the death of its socket a TIME_WAIT may look: a jiffy, and the time between
/// the kernel's answer and the tracking thread's look at its clock.
const FIT_SLACK: Duration = Duration::from_secs(1);

/// Segments that a receiver may leave without an acknowledgement until the next one comes (RFC 9293,
/// section 3.8.6.3).
const DELAYED_ACK: u32 = 2;

/// Messages that a subscription takes at most, a handshake of TLS and a farewell included.
const ONE_EACH: u32 = 6;

/// A socket that died.
#[derive(Debug, Clone)]
pub(super) struct DeadSocket {
    /// When its event was read.
    pub(super) at: Duration,
    /// It died after this, see [`DeathTime`].
    pub(super) not_before: Duration,
    pub(super) event: Socket,
    /// State that dumps had of it.
    pub(super) open: Option<OpenSocket>,
    /// How many searches for TIME_WAITs, or readings of the trace, had begun when it became known:
    /// only a later one can find what it left.
    pub(super) known_at: u64,
    /// Its TIME_WAIT has been searched for, or decides nothing.
    pub(super) searched: bool,
    pub(super) time_wait: TimeWait,
    /// How long its file stayed open after the connection was over.
    pub(super) silent: Duration,
    /// tcp_disconnect() went over it: this socket sent an RST.
    pub(super) disconnected: bool,
    /// A dump met it without the peer's FIN, and no segment has come since.
    pub(super) is_quiet_since_dump: bool,
}

impl DeadSocket {
    pub(super) fn new(
        event: Socket,
        disconnected: bool,
        open: Option<OpenSocket>,
        died: DeathTime,
    ) -> DeadSocket {
        let silent = event.info.filter(|_| !disconnected).and_then(|info| info.last_ack_recv_ms);
        DeadSocket {
            at: died.read_at,
            not_before: died.not_before,
            event,
            open,
            known_at: 0,
            searched: false,
            time_wait: TimeWait::Unknown,
            silent: Duration::from_millis(silent.unwrap_or(0).into()),
            disconnected,
            is_quiet_since_dump: false,
        }
    }

    /// Takes the end of the last dump that met the socket.
    pub(super) fn handle_last_dump(&mut self, ended: Duration) {
        // A dump takes some milliseconds; the kernel's clock ticks every four, or ten.
        const SLACK: Duration = Duration::from_millis(200);
        let last = self.event.info.and_then(|info| info.last_ack_recv_ms).unwrap_or(0);
        let came = self.at.saturating_sub(Duration::from_millis(last.into()));
        self.is_quiet_since_dump = came + SLACK < ended;
    }

    pub(super) fn ips(&self) -> [IpAddr; 2] {
        [self.event.local.ip(), self.event.remote.ip()]
    }

    /// Takes the result of a search for its TIME_WAIT.
    pub(super) fn handle_search(&mut self, time_wait: TimeWait) {
        self.searched = true;
        self.time_wait = time_wait;
    }

    /// Returns whether a TIME_WAIT entered at `entered` (`None`: it is in FIN_WAIT2 still) can be
    /// this socket's. The socket may have died long before its event was read.
    pub(super) fn fits(&self, entered: Option<Duration>) -> bool {
        entered.is_none_or(|entered| entered + self.silent + FIT_SLACK >= self.not_before)
    }

    /// Returns the socket as it was when the window began, if it was open then.
    pub(super) fn at_start(&self) -> Option<&OpenSocket> {
        self.open.as_ref().filter(|open| open.was_open_at_start())
    }

    /// Returns whether unread data was left when it was closed. A FIN not read counts as one byte.
    pub(super) fn has_unread_data(&self) -> bool {
        !self.disconnected && self.event.rqueue > 1
    }

    /// Returns whether no more was left unread than a farewell of TLS and a FIN take. One segment of the
    /// client's is no handshake, and what is unread after it is a body.
    pub(super) fn has_unread_farewell(&self, side: Side) -> bool {
        // What is cheap comes first: most sockets have nothing unread.
        self.has_unread_data()
            && self.event.rqueue <= FAREWELL_BYTES + 1
            && Exchange::of(side, &self.event).is_some_and(|one| one.asked_segments > 1)
    }

    /// Returns the evidence of its event and of dumps, if it is on this side.
    pub(super) fn evidence(&self, side: Side) -> Evidence {
        let mut evidence = Evidence::of(side, &self.event);
        evidence.disconnected = self.disconnected;
        if evidence.disconnected {
            evidence.fin_acked = Some(false);
            (evidence.sent, evidence.received) = (None, None);
            (evidence.fin_sent, evidence.unanswered) = (false, false);
            let may_have_got_fin = self.event.info.as_ref().is_some_and(may_have_got_fin);
            evidence.fin_possible = may_have_got_fin && !self.is_quiet_since_dump;
            evidence.in_flight = None;
        }
        evidence.fin_seen |= self.met_fin();
        evidence.time_wait = self.time_wait;
        evidence
    }

    /// Returns whether a dump met it in CLOSE_WAIT, so that the time of the peer's FIN is known.
    pub(super) fn met_fin(&self) -> bool {
        self.open.is_some_and(|open| open.idle_at_fin_ms().is_some())
    }

    /// Returns the bytes of data that the peer has acknowledged.
    fn delivered(&self, side: Side) -> Option<u64> {
        let syn = u64::from(side == Side::Client);
        let acked = self.event.info?.bytes_acked?.saturating_sub(syn);
        Evidence::of(side, &self.event).sent.map(|sent| sent.min(acked))
    }

    /// Returns how long the connection on this side had been idle when it was closed, by `closer` if that
    /// is known. A farewell before the FIN is data, too, and ends no idle time. `None` if the last data
    /// may be the server's farewell, or its answer.
    pub(super) fn idle_ms(&self, side: Side, closer: Option<Side>) -> Option<u32> {
        if let Some(idle) = self.open.and_then(|open| open.idle_at_fin_ms()) {
            return Some(idle);
        }
        let info = self.event.info.filter(|_| !self.disconnected)?;
        // The kernel's clock says when the last FIN was acknowledged; the event may be made late.
        let evidence = Evidence::of(side, &self.event);
        let is_acked = evidence.fin_acked == Some(true);
        // Of a client that has gone nothing comes after its FIN but a reset, which counts as no segment here.
        let has_gone = side == Side::Server && closer == Some(Side::Client) && evidence.fin_seen;
        let over = info.last_ack_recv_ms.filter(|_| is_acked || has_gone).unwrap_or(0);
        let (sent, received) = (info.last_data_sent_ms, info.last_data_recv_ms);
        // The server had begun the close, after the time between the last request and its farewell.
        if side == Side::Client && self.has_unread_farewell(side) {
            return Some(sent?.saturating_sub(received?));
        }
        let exchange = Exchange::of(side, &self.event);
        // What was sent long after the last segment of the peer's came after its FIN. What came with that
        // FIN may be a farewell.
        let is_late_answer = closer == Some(side.other())
            && sent
                .zip(info.last_ack_recv_ms)
                .is_some_and(|(sent, last)| sent.saturating_add(AT_ONCE_MS) < last);
        if is_late_answer {
            let before = received?.saturating_sub(info.last_ack_recv_ms?);
            let may_say_farewell = exchange.is_some_and(|one| one.shape.is_possible());
            return Some(before).filter(|before| *before > AT_ONCE_MS || !may_say_farewell);
        }
        let farewell = match (self.open, exchange) {
            (Some(open), Some(now)) => open.farewell(&now),
            _ => Farewell::Unknown,
        };
        let may_say_farewell = exchange.is_some_and(|one| one.shape.is_possible());
        let (asked, answered) =
            if side == Side::Client { (sent, received) } else { (received, sent) };
        let is_later = |one: Option<u32>, other: Option<u32>| {
            one.zip(other).is_some_and(|(one, other)| one.saturating_add(AT_ONCE_MS) < other)
        };
        let last_data = match (farewell, closer) {
            // A client may close long after the server's farewell and FIN have come.
            (Farewell::Said, Some(Side::Server)) if is_later(answered, asked) => {
                return asked.zip(answered).map(|(asked, answered)| asked - answered);
            }
            (Farewell::Said, _) => sent.max(received),
            // A client that closes says its farewell last; it may have given a request up.
            (Farewell::Unknown, Some(Side::Client))
                if may_say_farewell && is_later(asked, answered) =>
            {
                answered
            }
            (Farewell::Unknown, Some(Side::Server))
                if may_say_farewell && is_later(answered, asked) =>
            {
                // The FIN behind a farewell is acknowledged a round trip later.
                let farewell = AT_ONCE_MS + info.rtt_us.unwrap_or(0) / 1_000;
                let is_own = |answered: &u32| answered.saturating_sub(over) > farewell;
                answered.filter(|answered| side == Side::Server && is_own(answered))
            }
            _ => received.into_iter().chain(sent).min(),
        }?;
        Some(last_data.saturating_sub(over))
    }

    /// Returns what this socket knows of the requests on its connection. An abort by
    /// tcp_disconnect() clears that.
    pub(super) fn asked(&self, side: Side) -> Asked {
        let exchange = Exchange::of(side, &self.event).filter(|_| !self.disconnected);
        let Some(exchange) = exchange else { return Asked::default() };
        let (requests, at_most) = match &self.open {
            Some(open) => (open.in_window(exchange.requests), open.at_most_in_window(&exchange)),
            None => (Some(exchange.requests), Some(exchange.at_most)),
        };
        // A server may keep its file open for long after the client has closed.
        let since_fin = self.open.and_then(|open| open.idle_at_fin_ms());
        let evidence = Evidence::of(side, &self.event);
        let waiting = exchange.waiting_ms.map(|waiting| {
            // A client's socket ends when its FIN is acknowledged, a round trip after the close. A server's ends
            // some time after the client's FIN has come, and the kernel may tell it much later.
            let rtt = self.event.info.and_then(|info| info.rtt_us).unwrap_or(0) / 1_000;
            let is_over =
                side == Side::Client || evidence.fin_seen || evidence.fin_acked == Some(true);
            let over = if is_over { self.silent } else { Duration::ZERO };
            let over = u32::try_from(over.as_millis()).unwrap_or(u32::MAX);
            let over = over.saturating_add(if side == Side::Client { rtt } else { 0 });
            let waited = waiting.saturating_sub(over);
            since_fin.map_or(waited, |idle| idle.min(waited))
        });
        let cut = exchange.in_flight.and_then(|part| {
            let has_begun = exchange.delivered() >= exchange.messages;
            // Two segments may have come, and been read, before their acknowledgement was due.
            let is_cut = !has_begun || part.with_unsent > DELAYED_ACK;
            is_cut.then_some(CutAnswer { after_ms: part.after_ms, has_begun })
        });
        Asked {
            requests,
            at_most,
            is_unanswered: Some(exchange.is_unanswered()),
            waited_ms: waiting,
            still_waits: self.open.and_then(|open| open.still_waits(&exchange)),
            met_idle: self.open.is_some_and(|open| open.farewell(&exchange) != Farewell::Unknown),
            cut,
            delivered: self.delivered(side),
            is_stream: exchange.is_stream && exchange.messages <= ONE_EACH,
            behind_tls: exchange.behind_tls,
            shape: if self.at_start().is_none() { exchange.shape } else { Shape::Unknown },
        }
    }
}

/// Answer that the client left before it came, or before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CutAnswer {
    /// Milliseconds between the client's last data and the server's.
    pub(super) after_ms: u32,
    /// Something of it had arrived.
    pub(super) has_begun: bool,
}

/// Requests on a connection that is over, as one of its sockets knew them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked {
    /// Requests within the window, at least.
    pub(super) requests: Option<u32>,
    /// Requests within the window, at most.
    pub(super) at_most: Option<u32>,
    /// The client sent data, and nothing came back.
    pub(super) is_unanswered: Option<bool>,
    /// How long the client had waited for an answer; `None` if none was due.
    pub(super) waited_ms: Option<u32>,
    /// True if a dump met the client waiting for an answer of which nothing came any more, false if
    /// it came; `None` if no dump met it waiting.
    pub(super) still_waits: Option<bool>,
    /// A dump met the connection with nothing due, and no more than a farewell was said since.
    pub(super) met_idle: bool,
    /// Known at the server's socket.
    pub(super) cut: Option<CutAnswer>,
    /// Bytes of data that the peer has acknowledged.
    pub(super) delivered: Option<u64>,
    /// One request or none, and a stream of answers.
    pub(super) is_stream: bool,
    /// Reading of the whole connection as one that began with a handshake of TLS.
    pub(super) behind_tls: BehindTls,
    /// Whether it may have; unknown if it began before the window.
    pub(super) shape: Shape,
}

impl Asked {
    /// Adds what the other socket of the connection knew; `side`: that of this one.
    pub(super) fn or(self, side: Side, peer: Asked) -> Asked {
        // The client waits while an answer is under way, too.
        let (client, server) = if side == Side::Client { (self, peer) } else { (peer, self) };
        let waits = if client.is_unanswered.is_some() { client } else { server };
        Asked {
            requests: self.requests.or(peer.requests),
            at_most: self.at_most.or(peer.at_most),
            is_unanswered: waits.is_unanswered,
            waited_ms: waits.waited_ms,
            still_waits: waits.still_waits,
            met_idle: self.met_idle || peer.met_idle,
            cut: self.cut,
            delivered: self.delivered,
            is_stream: self.is_stream || peer.is_stream,
            // An abort clears the counts.
            behind_tls: if self.requests.is_some() { self.behind_tls } else { peer.behind_tls },
            shape: self.shape.or(peer.shape),
        }
    }
}

/// The dead sockets of one pair of addresses, at each address oldest first.
#[derive(Debug, Default)]
pub(super) struct DeadPair {
    pub(super) low: SmallQueue<DeadSocket>,
    pub(super) high: SmallQueue<DeadSocket>,
}

impl DeadPair {
    pub(super) fn get(&self, member: Member) -> &SmallQueue<DeadSocket> {
        match member {
            Member::Low => &self.low,
            Member::High => &self.high,
        }
    }

    pub(super) fn get_mut(&mut self, member: Member) -> &mut SmallQueue<DeadSocket> {
        match member {
            Member::Low => &mut self.low,
            Member::High => &mut self.high,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.low.is_empty() && self.high.is_empty()
    }

    /// Returns whether the oldest socket has been searched for and only waits for its peer.
    pub(super) fn is_waiting(&self) -> bool {
        self.low.front().or(self.high.front()).is_some_and(|dead| dead.searched)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut DeadSocket> {
        self.low.iter_mut().chain(self.high.iter_mut())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::kernel::socket::{State, TcpInfo};

    pub(crate) fn event(info: TcpInfo) -> Socket {
        Socket {
            state: State::Close,
            local: SocketAddr::from(([10, 0, 0, 1], 40_000)),
            remote: SocketAddr::from(([10, 0, 0, 2], 80)),
            cookie: 1,
            rqueue: 0,
            wqueue: 0,
            inode: 0,
            uid: 0,
            timer: 0,
            expires_ms: 0,
            interface: 0,
            info: Some(info),
        }
    }

    /// A socket that was closed with so many bytes unread, after so many messages in each direction.
    fn unread(rqueue: u32, messages: u32) -> DeadSocket {
        let info = TcpInfo {
            data_segs_out: Some(messages),
            data_segs_in: Some(messages),
            bytes_sent: Some(u64::from(messages) * 200),
            bytes_retrans: Some(0),
            last_data_sent_ms: Some(1_000),
            last_data_recv_ms: Some(0),
            ..TcpInfo::default()
        };
        let read_at = Duration::from_secs(9);
        let died = DeathTime { read_at, not_before: read_at };
        DeadSocket::new(Socket { rqueue, ..event(info) }, false, None, died)
    }

    #[test]
    fn unread_close_notify_is_a_farewell() {
        let is_farewell =
            |rqueue, messages| unread(rqueue, messages).has_unread_farewell(Side::Client);
        assert!(is_farewell(25, 4), "24 bytes of TLS 1.3, and the FIN behind them");
        assert!(is_farewell(86, 4), "the longest of TLS 1.2, and a FIN");
        assert!(!is_farewell(87, 4), "a part of a body");
        assert!(!is_farewell(25, 1), "one segment is no handshake: a part of a short body");
        assert!(!is_farewell(1, 4), "a FIN alone is no data");
    }
}
