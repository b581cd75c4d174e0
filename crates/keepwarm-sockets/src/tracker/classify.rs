//! Classifies a closed connection: from what its two sockets left behind to one [`CloseKind`].
//!
//! Owns the rules and nothing else; a pure function of its evidence.
//!
//! Evidence that the kernel leaves behind:
//!
//! * **TIME_WAIT** is held by the side that closed first, and only by it (RFC 9293, section
//!   3.10.7.8 and figure 12); by both if the FINs crossed (figure 13). It may be gone early: a
//!   connect(2) from the same port may reuse it (on loopback after one second,
//!   `net.ipv4.tcp_tw_reuse` = 2), an RST kills it (RFC 1337; `net.ipv4.tcp_rfc1337` = 0), and there
//!   is none beyond `net.ipv4.tcp_max_tw_buckets`.
//! * **An acknowledged FIN**: the FIN takes a sequence number that `tcpi_bytes_acked` counts and
//!   `tcpi_bytes_sent` does not. So does the SYN of the socket that connected. At the peer's socket,
//!   `tcpi_bytes_received` counts the FIN.
//! * **tcp_disconnect()**, which is how SO_LINGER 0 closes: it sends an RST and clears the remote
//!   port and all counters (net/ipv4/tcp.c), but not the times of the last data sent and of the last
//!   acknowledgement, which the peer's FIN is too.
//! * **close_notify**, the last record of TLS: 24 bytes in TLS 1.3, 31 in TLS 1.2 with AES-GCM. One
//!   byte more that is unread is the FIN behind it.
//! * **A farewell in return**: what a server sends within less than a round trip of a segment of its
//!   client's, when all else was acknowledged, was sent because of that segment: the client's FIN.
//! * **A FIN without an acknowledgement** is in `idiag_wqueue`, beside data that is not acknowledged.
//! * **Silence**: a socket that gave up has retransmissions or probes behind it without an answer
//!   (`tcpi_retransmits`, `tcpi_probes`).
//! * **Unread data** at close(2): the kernel answers it with an RST (RFC 2525, section 2.17).

use std::ops::RangeInclusive;

use crate::kernel::socket::{Side, Socket, State, TcpInfo};
use crate::report::closes::CloseKind;

/// Result of a search for the TIME_WAIT of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TimeWait {
    /// Not searched for, or too late to mean anything.
    #[default]
    Unknown,
    /// Found (or FIN_WAIT2 as a minisocket, its first stage).
    Present,
    /// Not found, although it would have been there.
    Absent,
}

/// Evidence that one socket left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// tcp_disconnect() went over it: this socket sent an RST.
    pub(crate) disconnected: bool,
    /// True if the peer acknowledged this socket's FIN; unknown before Linux 4.19.
    pub(crate) fin_acked: Option<bool>,
    /// Bytes received and not read; a FIN not read counts as one.
    pub(crate) unread: u32,
    /// Bytes of data sent, each counted once; unknown before Linux 4.19 and if disconnected.
    pub(crate) sent: Option<u64>,
    /// Sequence numbers received in order: data and the FIN.
    pub(crate) received: Option<u64>,
    /// The local FIN was sent, acknowledged or not.
    pub(crate) fin_sent: bool,
    /// The peer's FIN came first: a dump or a trace met this socket in CLOSE_WAIT.
    pub(crate) fin_seen: bool,
    /// The peer's FIN may have come before: a segment came later than what this socket could count.
    /// With SO_LINGER 0, that is an answer or a FIN; with data on its way, an acknowledgement or a FIN.
    pub(crate) fin_possible: bool,
    /// Whether data was sent that the peer has not acknowledged; unknown before Linux 4.19 and if
    /// disconnected.
    pub(crate) in_flight: Option<bool>,
    /// The peer sent as many messages as a handshake of TLS, a request and a farewell take.
    pub(crate) may_say_farewell: bool,
    /// True if the local FIN left before the peer's came; only a trace shows that.
    pub(crate) closed_first: Option<bool>,
    /// Both FINs were under way at once; only a trace shows that of one socket.
    pub(crate) crossed: bool,
    /// True if an RST came; only a trace shows that.
    pub(crate) reset: Option<bool>,
    /// The peer had stopped answering.
    pub(crate) unanswered: bool,
    pub(crate) time_wait: TimeWait,
}

impl Evidence {
    /// Reads the evidence in a destroy event, without TIME_WAIT.
    pub(crate) fn of(side: Side, event: &Socket) -> Evidence {
        let disconnected = is_disconnected(event);
        let info = event.info.filter(|_| !disconnected).unwrap_or_default();
        let sent = info.bytes_sent.zip(info.bytes_retrans);
        let sent = sent.map(|(sent, again)| sent.saturating_sub(again));
        let syn = u64::from(side == Side::Client);
        let pure = sent.map(|sent| sent.saturating_add(syn));
        let fin_acked = info.bytes_acked.zip(pure).map(|(acked, pure)| acked > pure);
        let in_flight = info.bytes_acked.zip(pure).map(|(acked, pure)| pure.saturating_sub(acked));
        let fin_pending =
            in_flight.is_some_and(|data| u64::from(event.wqueue) == data.saturating_add(1));
        Evidence {
            disconnected,
            fin_acked: if disconnected { Some(false) } else { fin_acked },
            unread: event.rqueue,
            sent,
            received: info.bytes_received,
            fin_sent: !disconnected && (fin_acked == Some(true) || fin_pending),
            fin_seen: !disconnected
                && (CLOSE_NOTIFY_AND_FIN.contains(&event.rqueue)
                    || (side == Side::Server && got_fin_before_answer(&info))
                    || (side == Side::Client
                        && got_fin_about_request(&info, in_flight.unwrap_or(0)))
                    || (side == Side::Server
                        && event.rqueue == 0
                        && answered_fin_with_farewell(&info, in_flight.unwrap_or(0)))),
            fin_possible: in_flight.is_some_and(|data| match data {
                0 => false,
                _ => {
                    is_farewell(&info, data)
                        || got_segment_after_data(&info)
                        || (side == Side::Server && answered_farewell_perhaps(&info))
                }
            }),
            in_flight: in_flight.filter(|_| !disconnected).map(|data| data > 0),
            may_say_farewell: info.data_segs_in >= Some(FEWEST_WITH_FAREWELL),
            closed_first: None,
            crossed: false,
            reset: None,
            unanswered: is_unanswered(&info, in_flight.unwrap_or(0)),
            time_wait: TimeWait::Unknown,
        }
    }

    /// Returns whether this socket received the peer's FIN itself.
    fn received_fin_of(&self, peer: &Evidence) -> Option<bool> {
        self.received.zip(peer.sent).map(|(received, sent)| received > sent)
    }

    /// Returns whether this socket's FIN reached the peer. The acknowledgement may be missing: it is
    /// delayed, and an RST overtakes it.
    fn fin_arrived_at(&self, peer: &Evidence) -> Option<bool> {
        match (self.fin_acked, self.sent.zip(peer.received)) {
            // The peer was met with this FIN, whatever SO_LINGER has cleared since.
            _ if peer.fin_seen => Some(true),
            (Some(true), _) => Some(true),
            (_, Some((sent, received))) => Some(received > sent),
            (acked, None) => acked,
        }
    }
}

/// Bytes of a close_notify, in any version and cipher. A program sends it right before its FIN, if it
/// closes first and if it closes second.
const CLOSE_NOTIFY: RangeInclusive<u64> = 23..=85;

/// Returns whether so many bytes in flight may be a farewell: a close_notify, or behind data that was
/// acknowledged anything as short (GOAWAY of HTTP/2 takes 17 bytes).
fn is_farewell(info: &TcpInfo, in_flight: u64) -> bool {
    let follows = info.bytes_acked > Some(0) && (1..=*CLOSE_NOTIFY.end()).contains(&in_flight);
    follows || CLOSE_NOTIFY.contains(&in_flight)
}

/// Returns whether the client's last data may have been its farewell, with its FIN behind it: it came long
/// before the server's last, and after as many messages as a handshake and a request take.
fn answered_farewell_perhaps(info: &TcpInfo) -> bool {
    const WITH_HANDSHAKE: u32 = 4;
    let late = info.last_data_recv_ms.zip(info.last_data_sent_ms);
    let is_late = late.is_some_and(|(came, sent)| came.saturating_sub(sent) > AT_ONCE_MS);
    is_late && info.data_segs_in >= Some(WITH_HANDSHAKE)
}

/// Returns whether a server's farewell, which is in flight, went out as it answered a segment of its
/// client's. It acknowledged nothing of that farewell, for it came sooner than a round trip, and all
/// other data had been acknowledged: so it was the client's FIN, or its own farewell with the FIN behind
/// it. Where the FIN was left unread, it may have come after the server's own.
fn answered_fin_with_farewell(info: &TcpInfo, in_flight: u64) -> bool {
    /// Two ticks of the kernel's clock.
    const TICKS_MS: u32 = 8;
    let (Some(sent), Some(came)) = (info.last_data_sent_ms, info.last_ack_recv_ms) else {
        return false;
    };
    let Some(apart) = came.checked_sub(sent) else { return false };
    let is_sooner = apart.saturating_add(TICKS_MS) < info.rtt_us.unwrap_or(0) / 1_000;
    is_sooner && info.bytes_acked > Some(0) && is_farewell(info, in_flight)
}

/// Unread bytes of a close_notify and the FIN behind it: TLS 1.3, and TLS 1.2 with AES-GCM.
const CLOSE_NOTIFY_AND_FIN: [u32; 2] = [25, 32];
/// Unread bytes of such a close_notify, before the FIN behind it.
const CLOSE_NOTIFY_ALONE: [u32; 2] = [24, 31];

/// Returns whether the last segment from the peer may have been a FIN, at a socket that was closed with
/// SO_LINGER 0; an answer that took as long looks the same. The times outlast tcp_disconnect(), but for
/// that of the last data received.
///
/// A program closes as soon as it has read the FIN: then the segment came right before the close, and
/// not before the last data was sent. One that came long before the close was a FIN only if it was no
/// acknowledgement of that data.
pub(crate) fn may_have_got_fin(info: &TcpInfo) -> bool {
    let times = info.last_data_sent_ms.zip(info.last_ack_recv_ms);
    times.is_some_and(|(sent, last)| match last {
        ..=AT_ONCE_MS => sent >= last,
        _ => sent.saturating_sub(last) > AT_ONCE_MS,
    })
}

/// Returns whether a server's socket got a segment without data after the request and before any of its
/// answer was acknowledged: an acknowledgement of the answer it was not, so it was the client's FIN.
fn got_fin_before_answer(info: &TcpInfo) -> bool {
    let is_unacknowledged = info.bytes_acked == Some(0) && info.bytes_sent > Some(0);
    let has_asked = info.data_segs_in > Some(0);
    is_unacknowledged && has_asked && got_segment_after_data(info)
}

/// Returns whether a client's socket, whose short request is in flight, got a segment without data that
/// did not acknowledge it, long after the last answer: it was the server's FIN, before the request or
/// across it.
fn got_fin_about_request(info: &TcpInfo, in_flight: u64) -> bool {
    /// Probes of a server may come from here on: 15 seconds are a usual setting.
    const PROBES_MS: u32 = 14_000;
    /// A farewell of TLS is no request.
    const FAREWELLS: [u64; 2] = [24, 31];
    let mss = u64::from(info.send_mss.unwrap_or(0));
    let segments = u64::from(info.data_segs_out.unwrap_or(0));
    let are_short = info.bytes_sent.is_some_and(|sent| sent < segments.saturating_mul(mss) / 2);
    let is_request = (1..=mss).contains(&in_flight) && !FAREWELLS.contains(&in_flight);
    let times = info.last_data_recv_ms.zip(info.last_ack_recv_ms);
    let apart = times.map_or(0, |(answer, segment)| answer.saturating_sub(segment));
    are_short && is_request && (AT_ONCE_MS..PROBES_MS).contains(&apart)
}

/// Messages that a client sends at least in TLS with a farewell: its hello, Finished with the request
/// behind it, close_notify.
const FEWEST_WITH_FAREWELL: u32 = 3;

/// Returns whether a segment without data came so long after the last data from the peer that it may
/// have been a FIN.
fn got_segment_after_data(info: &TcpInfo) -> bool {
    let late = info.last_data_recv_ms.zip(info.last_ack_recv_ms);
    late.is_some_and(|(data, last)| data.saturating_sub(last) > AT_ONCE_MS)
}

/// Segments that come within this time of each other belong together: the kernel's clock ticks every
/// four milliseconds, or ten.
pub(super) const AT_ONCE_MS: u32 = 20;

/// Returns whether tcp_disconnect() aborted an established connection here.
///
/// It moves `write_seq` ahead by the largest window the peer ever offered plus 2, which shows as
/// unacknowledged bytes. A connect(2) that failed was offered no window: 3 with its SYN. A
/// listener, or a socket that was never connected, has 0.
pub(crate) fn is_disconnected(event: &Socket) -> bool {
    event.remote.port() == 0 && event.state == State::Close && event.wqueue > 3
}

/// Returns whether the peer had stopped answering, even by an RST. A reset is recognised by its time:
/// it comes a round trip after what it answers, and the kernel waits for longer before it gives up.
/// The time of the last transmission is known for data alone; without data in flight, one
/// repetition proves nothing.
fn is_unanswered(info: &TcpInfo, in_flight: u64) -> bool {
    const SCHEDULING_MS: u32 = 50;
    let round_trip = 2 * (info.rtt_us.unwrap_or(0) / 1000);
    let waited = info.last_data_sent_ms.is_some_and(|ms| ms > round_trip + SCHEDULING_MS);
    match info.retransmits.unwrap_or(0) {
        0 => info.probes.is_some_and(|probes| probes > 1),
        _ if in_flight > 0 => waited,
        repeated => repeated > 1,
    }
}

/// Returns whether this socket died in SYN_SENT: its SYN is not acknowledged, and nothing was
/// measured.
pub(crate) fn is_failed_attempt(event: &Socket) -> bool {
    let silent = |info: TcpInfo| {
        let [acked, received] = [info.bytes_acked, info.bytes_received];
        acked == Some(0) && received == Some(0) && info.rtt_us == Some(0)
    };
    event.state == State::Close && event.wqueue == 1 && event.info.is_some_and(silent)
}

/// Returns whether a socket's handshake was ever completed: a client's SYN was acknowledged.
pub(crate) fn was_established(side: Side, event: &Socket) -> bool {
    side == Side::Server
        || is_disconnected(event)
        || event.info.and_then(|info| info.bytes_acked).is_none_or(|acked| acked > 0)
}

/// Returns whether the numbers of both sockets decide how they closed, so that TIME_WAIT need not be
/// searched for.
pub(crate) fn decides_together(client: &Evidence, server: &Evidence) -> bool {
    match (client.fin_arrived_at(server), server.fin_arrived_at(client)) {
        (Some(true), Some(true)) => by_last_fin(client, server).is_some(),
        (Some(_), Some(_)) => true,
        _ => false,
    }
}

/// Returns whether the numbers of one socket decide how it closed, if it is alone.
pub(crate) fn decides_alone(socket: &Evidence) -> bool {
    socket.fin_acked == Some(false)
}

/// Returns whether the only evidence of who closed a socket's connection is that it left no
/// TIME_WAIT, its peer being unknown. An RST removes a TIME_WAIT: the peer sends one if it had unread
/// data, and this host sends one if data came after its FIN (close_notify of TLS, the answer to a
/// cancelled request). Then the socket that seems to have closed second was the first.
pub(crate) fn rests_on_absence(socket: &Evidence) -> bool {
    let has_order = socket.fin_seen || socket.closed_first.is_some();
    !has_order
        && socket.fin_acked == Some(true)
        && socket.time_wait == TimeWait::Absent
        && !was_closed_unread_after_fin(socket)
}

/// Returns whether a socket shows by itself which side closed first, so that its peer cannot show
/// another: a dump or a trace saw the order, or it holds TIME_WAIT.
pub(crate) fn shows_order(socket: &Evidence) -> bool {
    socket.fin_seen || socket.closed_first.is_some() || socket.time_wait == TimeWait::Present
}

/// Returns whether unread data made the kernel abort although the local FIN had gone out: the program
/// had shut its sending half down, before the peer's FIN or after it. Such a socket leaves no
/// TIME_WAIT in either case.
fn was_closed_unread_after_fin(socket: &Evidence) -> bool {
    socket.fin_acked == Some(true) && socket.unread > 1
}

/// Returns whether a close certainly entered one TIME_WAIT on this host, and whether it may have, of
/// sockets whose TIME_WAIT was not found. An abort on data counts as one, see `removed_time_waits`.
pub(crate) fn entered_time_wait(known: [Option<&Evidence>; 2]) -> (bool, bool) {
    if let [Some(one), Some(other)] = known {
        let arrived = [one.fin_arrived_at(other), other.fin_arrived_at(one)];
        let both = arrived == [Some(true); 2];
        let aborted = [one, other].iter().any(|it| it.disconnected || it.unread > 1);
        return (both && !aborted, arrived.contains(&Some(true)));
    }
    let possible = |one: &Evidence| {
        let was_second = one.fin_seen || one.closed_first == Some(false);
        one.fin_sent && !was_second && !rests_on_absence(one)
    };
    (false, known.into_iter().flatten().any(possible))
}

/// Classifies one connection by the evidence of its sockets; at least one of them should be known.
pub(crate) fn classify(client: Option<&Evidence>, server: Option<&Evidence>) -> CloseKind {
    match (client, server) {
        (Some(client), Some(server)) => both(client, server),
        (Some(client), None) => alone(Side::Client, client),
        (None, Some(server)) => alone(Side::Server, server),
        (None, None) => CloseKind::Unclassified,
    }
}

fn both(client: &Evidence, server: &Evidence) -> CloseKind {
    if client.crossed || server.crossed {
        return CloseKind::CrossedFin;
    }
    match (client.fin_arrived_at(server), server.fin_arrived_at(client)) {
        // A single FIN arrived: it was the first, whatever the peer answered.
        (Some(true), Some(false)) => CloseKind::ClientFin,
        (Some(false), Some(true)) => CloseKind::ServerFin,
        (Some(false), Some(false)) => aborted(client, server),
        (Some(true), Some(true)) => orderly(client, server),
        // A kernel without the numbers: TIME_WAIT still proves a FIN.
        _ if client.time_wait == TimeWait::Present || server.time_wait == TimeWait::Present => {
            orderly(client, server)
        }
        _ => by_order(client, server).unwrap_or(CloseKind::Unclassified),
    }
}

/// Decides by the order of the FINs, where a dump or a trace has seen it. A socket that closed first
/// proves nothing alone: the FINs may have crossed.
fn by_order(client: &Evidence, server: &Evidence) -> Option<CloseKind> {
    match (client.fin_seen, server.fin_seen) {
        (true, false) => Some(CloseKind::ServerFin),
        (false, true) => Some(CloseKind::ClientFin),
        _ if [client, server].iter().all(|one| one.closed_first == Some(true)) => {
            Some(CloseKind::CrossedFin)
        }
        _ => None,
    }
}

fn orderly(client: &Evidence, server: &Evidence) -> CloseKind {
    use TimeWait::{Absent, Present};
    if let Some(first) = by_last_fin(client, server).or_else(|| by_order(client, server)) {
        return first;
    }
    match (client.time_wait, server.time_wait) {
        (Present, Present) => CloseKind::CrossedFin,
        (Present, _) => CloseKind::ClientFin,
        (_, Present) => CloseKind::ServerFin,
        // A server's TIME_WAIT dies with the next SYN from the same address, a client's does not.
        // But either dies by an RST (RFC 1337; seen on loopback when a late acknowledgement of the
        // side that closed second is answered by the TIME_WAIT, and its socket is gone by then). So
        // the client's absence decides only where the unread bytes do not contradict it.
        (Absent, _) => by_unread(client, server).unwrap_or(CloseKind::ServerFin),
        (_, Absent) => by_unread(client, server).unwrap_or(CloseKind::ClientFin),
        // Too late for TIME_WAIT.
        _ => by_unread(client, server).unwrap_or(CloseKind::Unclassified),
    }
}

/// Decides by the last FIN, where both FINs were acknowledged: the socket that closed first is gone
/// as soon as its own FIN is, unless its program still holds it or the peer's FIN came with the
/// acknowledgement. Then its minisocket in FIN_WAIT2 answers for it (`tcp_time_wait`,
/// net/ipv4/tcp_minisocks.c), so the peer's FIN is not among what the socket received. `None` where
/// both sockets received the peer's FIN themselves.
fn by_last_fin(client: &Evidence, server: &Evidence) -> Option<CloseKind> {
    match (client.received_fin_of(server)?, server.received_fin_of(client)?) {
        (false, true) => Some(CloseKind::ClientFin),
        (true, false) => Some(CloseKind::ServerFin),
        _ => None,
    }
}

/// Decides by the unread FIN: the side that closed first did not read the peer's FIN, and the peer
/// read its. `None` where both did, or neither: a side may shut down its sending half first and read
/// on.
fn by_unread(client: &Evidence, server: &Evidence) -> Option<CloseKind> {
    match (client.unread, server.unread) {
        (1, 0) => Some(CloseKind::ClientFin),
        (0, 1) => Some(CloseKind::ServerFin),
        _ => None,
    }
}

fn aborted(client: &Evidence, server: &Evidence) -> CloseKind {
    match (client.disconnected, server.disconnected) {
        (true, false) => return CloseKind::ClientRst,
        (false, true) => return CloseKind::ServerRst,
        (true, true) => return CloseKind::Unclassified,
        (false, false) => {}
    }
    match (client.reset, server.reset) {
        (Some(true), Some(false)) => return CloseKind::ServerRst,
        (Some(false), Some(true)) => return CloseKind::ClientRst,
        _ => {}
    }
    if client.unanswered || server.unanswered {
        return CloseKind::TimedOut;
    }
    match (client.unread > 0, server.unread > 0) {
        (true, false) => CloseKind::ClientRst,
        (false, true) => CloseKind::ServerRst,
        _ => by_fin_on_its_way(client, server).unwrap_or(CloseKind::Unclassified),
    }
}

/// Decides by a FIN that was sent and never arrived: the RST that ended the connection met it.
fn by_fin_on_its_way(client: &Evidence, server: &Evidence) -> Option<CloseKind> {
    match (client.fin_sent, server.fin_sent) {
        (true, false) => Some(CloseKind::ClientFin),
        (false, true) => Some(CloseKind::ServerFin),
        _ => None,
    }
}

/// Classifies by one socket, without its peer. Evidence of which FIN was first is asked before all
/// other, for it holds however the connection ended afterwards.
fn alone(side: Side, socket: &Evidence) -> CloseKind {
    match (socket.fin_acked, socket.time_wait) {
        _ if socket.crossed => CloseKind::CrossedFin,
        // An RST ended it (with SO_LINGER 0, perhaps), or it timed out, but a FIN came before that.
        _ if socket.fin_seen || socket.closed_first == Some(false) => CloseKind::fin(side.other()),
        (Some(false), _) if is_silent(socket) => CloseKind::TimedOut,
        _ if socket.closed_first == Some(true) => CloseKind::fin(side),
        (Some(false), _) => alone_without_acknowledgement(side, socket),
        (_, TimeWait::Present) => CloseKind::fin(side),
        _ if was_closed_unread_after_fin(socket) => CloseKind::Unclassified,
        // Or an RST has killed it since (RFC 1337), see `rests_on_absence`.
        (Some(true), TimeWait::Absent) => CloseKind::fin(side.other()),
        _ => CloseKind::Unclassified,
    }
}

/// Returns whether a socket gave up: it met neither an answer nor an RST, and sent none.
fn is_silent(socket: &Evidence) -> bool {
    let sent_reset = socket.disconnected || socket.unread > 1;
    socket.unanswered && !sent_reset && socket.reset != Some(true)
}

/// Classifies by one socket whose FIN was not acknowledged, so that an RST ended it.
fn alone_without_acknowledgement(side: Side, socket: &Evidence) -> CloseKind {
    match socket {
        _ if socket.disconnected && socket.fin_possible => CloseKind::Unclassified,
        _ if socket.disconnected => CloseKind::rst(side),
        // The peer's farewell alone was left unread: its FIN may have come as this side closed.
        _ if CLOSE_NOTIFY_ALONE.contains(&socket.unread)
            && socket.may_say_farewell
            && socket.reset.is_none() =>
        {
            CloseKind::Unclassified
        }
        // Without a trace, data that an RST left unread looks like data that a close left unread.
        _ if socket.unread > 1 && socket.reset != Some(true) => CloseKind::rst(side),
        // Data on its way with the FIN: the peer had closed and answered the data with an RST, or it
        // aborted while both were under way. It cannot be known which.
        _ if socket.fin_sent && (socket.fin_possible || socket.in_flight == Some(true)) => {
            CloseKind::Unclassified
        }
        // The client may have said farewell and closed, and its host resets what is said after that.
        _ if side == Side::Server && socket.fin_sent && socket.may_say_farewell => {
            CloseKind::Unclassified
        }
        _ if socket.fin_sent => CloseKind::fin(side),
        // One byte of data was left unread, for all that was sent had been acknowledged.
        _ if socket.unread == 1
            && socket.in_flight == Some(false)
            && socket.reset != Some(true) =>
        {
            CloseKind::rst(side)
        }
        // A FIN that was not read counts as one byte: it came, and late data was answered with an
        // RST.
        _ if socket.unread == 1 => CloseKind::fin(side.other()),
        // A client that leaves in the middle of an answer sends a FIN, and resets what comes after it; if
        // some of it was unread, it sends the RST alone.
        _ if side == Side::Server && (socket.fin_possible || socket.in_flight == Some(true)) => {
            CloseKind::Unclassified
        }
        _ => CloseKind::rst(side.other()),
    }
}

#[cfg(test)]
mod tests;
