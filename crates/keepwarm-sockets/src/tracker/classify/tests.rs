use std::net::SocketAddr;

use super::*;

fn end(fin_acked: bool, unread: u32, time_wait: TimeWait) -> Evidence {
    Evidence {
        disconnected: false,
        fin_acked: Some(fin_acked),
        unread,
        sent: None,
        received: None,
        fin_sent: fin_acked,
        fin_seen: false,
        fin_possible: false,
        in_flight: None,
        may_say_farewell: false,
        closed_first: None,
        crossed: false,
        reset: None,
        unanswered: false,
        time_wait,
    }
}

fn disconnected() -> Evidence {
    Evidence { disconnected: true, ..end(false, 0, TimeWait::Absent) }
}

use TimeWait::{Absent, Present, Unknown};

/// The kind with client and server exchanged: the rules favour neither.
fn mirrored(kind: CloseKind) -> CloseKind {
    match kind {
        CloseKind::ClientFin => CloseKind::ServerFin,
        CloseKind::ServerFin => CloseKind::ClientFin,
        CloseKind::ClientRst => CloseKind::ServerRst,
        CloseKind::ServerRst => CloseKind::ClientRst,
        same => same,
    }
}

#[test]
fn time_wait_holder_closed_first() {
    let first = end(true, 1, Present);
    let second = end(true, 0, Absent);
    assert_eq!(classify(Some(&first), Some(&second)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&second), Some(&first)), CloseKind::ServerFin);
    assert_eq!(classify(Some(&first), None), CloseKind::ClientFin);
    assert_eq!(classify(None, Some(&first)), CloseKind::ServerFin);
    assert_eq!(classify(Some(&second), None), CloseKind::ServerFin);
    assert_eq!(classify(None, Some(&second)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&first), Some(&first)), CloseKind::CrossedFin);
}

#[test]
fn late_search_leaves_the_unread_fin() {
    let first = end(true, 1, Unknown);
    let second = end(true, 0, Unknown);
    assert_eq!(classify(Some(&first), Some(&second)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&second), Some(&first)), CloseKind::ServerFin);
    assert_eq!(classify(Some(&second), Some(&second)), CloseKind::Unclassified);
    assert_eq!(classify(Some(&first), None), CloseKind::Unclassified);
    assert_eq!(classify(None, Some(&first)), CloseKind::Unclassified);
}

#[test]
fn socket_without_the_peers_fin_closed_first() {
    let closed = Evidence { sent: Some(20), received: Some(8), ..end(true, 0, Unknown) };
    let answered = Evidence { sent: Some(8), received: Some(21), ..end(true, 0, Unknown) };
    assert_eq!(classify(Some(&closed), Some(&answered)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&answered), Some(&closed)), CloseKind::ServerFin);
    // A TIME_WAIT may belong to another connection of the pair; the numbers do not.
    let misled = Evidence { time_wait: Present, ..answered };
    assert_eq!(classify(Some(&closed), Some(&misled)), CloseKind::ClientFin);
    // A program that held its socket until the peer's FIN came: only TIME_WAIT decides.
    let held = Evidence { received: Some(9), ..closed };
    assert!(!decides_together(&held, &answered));
    assert_eq!(classify(Some(&held), Some(&answered)), CloseKind::Unclassified);
}

#[test]
fn time_wait_changes_no_decided_close() {
    let mut sockets = Vec::new();
    for fin_acked in [None, Some(false), Some(true)] {
        for unread in [0, 1, 5] {
            for (sent, received) in [(4, 4), (4, 5), (5, 4), (4, 3)] {
                for (sent, received) in [(Some(sent), Some(received)), (None, None)] {
                    let numbers = end(true, unread, Unknown);
                    sockets.push(Evidence { fin_acked, sent, received, ..numbers });
                }
            }
        }
    }
    let states = [Unknown, Present, Absent];
    let mut decided = 0;
    for (a, b) in sockets.iter().flat_map(|a| sockets.iter().map(move |b| (a, b))) {
        if !decides_together(a, b) {
            continue;
        }
        decided += 1;
        let pairs = states.iter().flat_map(|of_a| states.iter().map(move |of_b| (of_a, of_b)));
        for (of_a, of_b) in pairs {
            let with_a = Evidence { time_wait: *of_a, ..*a };
            let with_b = Evidence { time_wait: *of_b, ..*b };
            assert_eq!(
                classify(Some(&with_a), Some(&with_b)),
                classify(Some(a), Some(b)),
                "{with_a:?} {with_b:?}"
            );
        }
    }
    assert!(decided > 1000, "{decided} of {}", sockets.len().pow(2));
    for end in sockets.iter().filter(|end| decides_alone(end)) {
        let kinds = states.map(|time_wait| classify(Some(&Evidence { time_wait, ..*end }), None));
        assert!(kinds[0] == kinds[1] && kinds[1] == kinds[2], "{end:?}: {kinds:?}");
    }
}

/// Every combination of what one socket can leave behind.
fn combinations() -> Vec<Evidence> {
    let truths = [None, Some(false), Some(true)];
    let mut all = vec![end(false, 0, Unknown)];
    let mut each = |of: &mut dyn FnMut(&Evidence) -> Vec<Evidence>| {
        all = all.iter().flat_map(of).collect();
    };
    each(&mut |e| truths.map(|fin_acked| Evidence { fin_acked, ..*e }).into());
    each(&mut |e| [0, 1, 5, 24].map(|unread| Evidence { unread, ..*e }).into());
    each(&mut |e| [Unknown, Present, Absent].map(|time_wait| Evidence { time_wait, ..*e }).into());
    each(&mut |e| truths.map(|closed_first| Evidence { closed_first, ..*e }).into());
    each(&mut |e| truths.map(|reset| Evidence { reset, ..*e }).into());
    each(&mut |e| [false, true].map(|fin_seen| Evidence { fin_seen, ..*e }).into());
    each(&mut |e| [false, true].map(|unanswered| Evidence { unanswered, ..*e }).into());
    each(&mut |e| [false, true].map(|sent| Evidence { fin_sent: sent, ..*e }).into());
    each(&mut |e| [false, true].map(|it| Evidence { fin_possible: it, ..*e }).into());
    each(&mut |e| truths.map(|in_flight| Evidence { in_flight, ..*e }).into());
    each(&mut |e| [false, true].map(|it| Evidence { may_say_farewell: it, ..*e }).into());
    each(&mut |e| [false, true].map(|crossed| Evidence { crossed, ..*e }).into());
    let lingers = |e: &Evidence| Evidence { disconnected: true, fin_sent: false, ..*e };
    let cleared = all.iter().filter(|e| e.fin_acked == Some(false)).map(lingers);
    let cleared: Vec<_> = cleared.collect();
    all.extend(cleared);
    // A FIN that was acknowledged was sent, and a trace that says who was first agrees with what
    // a dump saw.
    all.retain(|e| e.fin_acked != Some(true) || e.fin_sent);
    all.retain(|e| !(e.fin_seen && e.closed_first == Some(true)));
    all.retain(|e| !e.crossed || e.closed_first == Some(true));
    all
}

/// The answer to each combination of evidence of a client that is alone, and its reason.
#[test]
fn every_combination_has_one_answer() {
    let not_acked = |e: &Evidence| e.fin_acked == Some(false);
    type Row<'a> = (&'a str, &'a dyn Fn(&Evidence) -> bool, CloseKind);
    let table: [Row<'_>; 20] = [
        ("traced: both FINs were under way", &|e| e.crossed, CloseKind::CrossedFin),
        ("met in CLOSE_WAIT: the peer's FIN came first", &|e| e.fin_seen, CloseKind::ServerFin),
        ("traced: second", &|e| e.closed_first == Some(false), CloseKind::ServerFin),
        (
            "no FIN acknowledged, silence, and no RST either way",
            &|e| not_acked(e) && is_silent(e),
            CloseKind::TimedOut,
        ),
        ("traced: first", &|e| e.closed_first == Some(true), CloseKind::ClientFin),
        (
            "SO_LINGER 0, after an answer or a FIN",
            &|e| e.disconnected && e.fin_possible,
            CloseKind::Unclassified,
        ),
        ("SO_LINGER 0, no FIN before", &|e| e.disconnected, CloseKind::ClientRst),
        (
            "no FIN acknowledged, a farewell of TLS unread, no trace: an RST, or before it a FIN",
            &|e| not_acked(e) && e.unread == 24 && e.may_say_farewell && e.reset.is_none(),
            CloseKind::Unclassified,
        ),
        (
            "no FIN acknowledged, unread data, no RST came: it sent one",
            &|e| not_acked(e) && e.unread > 1 && e.reset != Some(true),
            CloseKind::ClientRst,
        ),
        (
            "its FIN and data were on their way: which of them met an RST?",
            &|e| not_acked(e) && e.fin_sent && (e.fin_possible || e.in_flight == Some(true)),
            CloseKind::Unclassified,
        ),
        (
            "its FIN alone was on its way when the RST came",
            &|e| not_acked(e) && e.fin_sent,
            CloseKind::ClientFin,
        ),
        (
            "all was acknowledged, a byte of data was not read: it sent an RST",
            &|e| {
                let is_data = e.unread == 1 && e.in_flight == Some(false);
                not_acked(e) && is_data && e.reset != Some(true)
            },
            CloseKind::ClientRst,
        ),
        (
            "a FIN was not read, and late data met an RST",
            &|e| not_acked(e) && e.unread == 1,
            CloseKind::ServerFin,
        ),
        ("no FIN: the RST was the peer's", &not_acked, CloseKind::ServerRst),
        ("it holds TIME_WAIT", &|e| e.time_wait == Present, CloseKind::ClientFin),
        (
            "its FIN acknowledged, and data unread: it sent an RST too, after either's FIN",
            &|e| e.fin_acked == Some(true) && e.unread > 1,
            CloseKind::Unclassified,
        ),
        (
            "acknowledged, and no TIME_WAIT: second, if none was removed",
            &rests_on_absence,
            CloseKind::ServerFin,
        ),
        ("searched too late", &|e| e.time_wait == Unknown, CloseKind::Unclassified),
        (
            "no numbers, and an RST may have come",
            &|e| e.fin_acked.is_none(),
            CloseKind::Unclassified,
        ),
        ("none is left", &|_| true, CloseKind::Unclassified),
    ];
    let all = combinations();
    let mut met = [0; 20];
    for evidence in &all {
        let row = table.iter().position(|(_, holds, _)| holds(evidence)).unwrap();
        met[row] += 1;
        let (why, _, kind) = table[row];
        assert_eq!(classify(Some(evidence), None), kind, "{why}: {evidence:?}");
        // The two cases that differ by side, see `reset_in_mid_answer_may_follow_a_fin`.
        let may_answer = evidence.fin_possible || evidence.in_flight == Some(true);
        let is_open = (why.starts_with("no FIN:") && may_answer)
            || (why.starts_with("its FIN alone") && evidence.may_say_farewell);
        let at_server = if is_open { CloseKind::Unclassified } else { mirrored(kind) };
        assert_eq!(classify(None, Some(evidence)), at_server, "{why}: {evidence:?}");
        let doubtful = why.starts_with("acknowledged, and no TIME_WAIT");
        assert_eq!(rests_on_absence(evidence), doubtful, "{why}: {evidence:?}");
    }
    assert!(met[..19].iter().all(|count| *count > 0) && met[19] == 0, "{met:?}");
}

#[test]
fn only_fin_was_first_despite_an_rst() {
    let closed = end(true, 0, Absent);
    let answered_with_rst = end(false, 7, Absent);
    assert_eq!(classify(Some(&closed), Some(&answered_with_rst)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&answered_with_rst), Some(&closed)), CloseKind::ServerFin);
}

#[test]
fn killed_time_wait_does_not_mislead() {
    let closed = end(true, 1, Absent);
    let read_the_end = end(true, 0, Absent);
    assert_eq!(classify(Some(&closed), Some(&read_the_end)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&read_the_end), Some(&closed)), CloseKind::ServerFin);
    // Neither read the peer's FIN: the client's TIME_WAIT would have outlived a new SYN.
    assert_eq!(classify(Some(&closed), Some(&closed)), CloseKind::ServerFin);
}

#[test]
fn arrived_fin_needs_no_acknowledgement() {
    let closed = Evidence { sent: Some(20), received: Some(8), ..end(false, 0, Absent) };
    let answered = Evidence { sent: Some(8), received: Some(21), ..end(false, 7, Absent) };
    assert_eq!(classify(Some(&closed), Some(&answered)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&answered), Some(&closed)), CloseKind::ServerFin);
    let before_the_fin = Evidence { received: Some(20), ..answered };
    assert_eq!(classify(Some(&closed), Some(&before_the_fin)), CloseKind::ServerRst);
}

#[test]
fn disconnect_or_unread_data_names_the_aborter() {
    let reset = end(false, 0, Absent);
    let reset_with_unread = end(false, 9, Absent);
    let unread = end(false, 5, Absent);
    assert_eq!(classify(Some(&disconnected()), Some(&reset)), CloseKind::ClientRst);
    assert_eq!(classify(Some(&disconnected()), Some(&reset_with_unread)), CloseKind::ClientRst);
    assert_eq!(classify(Some(&unread), Some(&reset)), CloseKind::ClientRst);
    assert_eq!(classify(Some(&reset), None), CloseKind::ServerRst);
    assert_eq!(classify(Some(&unread), None), CloseKind::ClientRst);
    assert_eq!(classify(Some(&disconnected()), None), CloseKind::ClientRst);
    assert_eq!(classify(Some(&end(false, 1, Absent)), None), CloseKind::ServerFin);
    assert_eq!(classify(Some(&unread), Some(&unread)), CloseKind::Unclassified);
}

#[test]
fn fin_before_an_rst_was_first() {
    let reset = end(false, 0, Absent);
    let after_ours = Evidence { fin_sent: true, ..reset };
    let after_theirs = Evidence { fin_seen: true, ..reset };
    assert_eq!(classify(Some(&after_ours), None), CloseKind::ClientFin);
    assert_eq!(classify(None, Some(&after_ours)), CloseKind::ServerFin);
    assert_eq!(classify(Some(&after_theirs), None), CloseKind::ServerFin);
    // The peer's FIN was answered with ours, and that with an RST.
    let after_both = Evidence { fin_sent: true, ..after_theirs };
    assert_eq!(classify(Some(&after_both), None), CloseKind::ServerFin);
}

#[test]
fn traced_reset_is_the_peers() {
    let reset = Evidence { reset: Some(true), ..end(false, 5, Absent) };
    assert_eq!(classify(Some(&reset), None), CloseKind::ServerRst);
    assert_eq!(classify(None, Some(&reset)), CloseKind::ClientRst);
    let repeated = Evidence { unanswered: true, unread: 0, ..reset };
    assert_eq!(classify(Some(&repeated), None), CloseKind::ServerRst);
    // An RST killed the TIME_WAIT, or the search came late: the trace decides.
    for (time_wait, first) in [(Absent, true), (Unknown, true), (Unknown, false)] {
        let traced = Evidence { closed_first: Some(first), ..end(true, 0, time_wait) };
        let expected = if first { CloseKind::ClientFin } else { CloseKind::ServerFin };
        assert_eq!(classify(Some(&traced), None), expected);
    }
    let own = Evidence { reset: Some(false), ..end(false, 5, Absent) };
    assert_eq!(classify(Some(&own), None), CloseKind::ClientRst);
}

#[test]
fn unanswered_socket_timed_out() {
    let silent = Evidence { unanswered: true, ..end(false, 0, Absent) };
    let with_fin = Evidence { fin_sent: true, ..silent };
    for end in [&silent, &with_fin] {
        assert_eq!(classify(Some(end), None), CloseKind::TimedOut);
        assert_eq!(classify(None, Some(end)), CloseKind::TimedOut);
        assert_eq!(classify(Some(end), Some(end)), CloseKind::TimedOut);
    }
    // Unread data is how it ended, and an acknowledged FIN came before the silence.
    let unread = Evidence { unread: 5, ..silent };
    assert_eq!(classify(Some(&unread), None), CloseKind::ClientRst);
    let closed = Evidence { unanswered: true, ..end(true, 0, Present) };
    assert_eq!(classify(Some(&closed), None), CloseKind::ClientFin);
}

#[test]
fn quick_reset_is_no_timeout() {
    let after = |retransmits, probes, last_data_sent_ms| TcpInfo {
        retransmits: Some(retransmits),
        probes: Some(probes),
        last_data_sent_ms: Some(last_data_sent_ms),
        rtt_us: Some(40_000),
        ..TcpInfo::default()
    };
    assert!(!is_unanswered(&after(0, 0, 9000), 4), "a reset of the first transmission");
    assert!(!is_unanswered(&after(1, 0, 45), 4), "a reset of the second");
    assert!(is_unanswered(&after(1, 0, 400), 4));
    assert!(is_unanswered(&after(15, 0, 120_000), 4));
    assert!(!is_unanswered(&after(1, 0, 9000), 0), "a FIN sent twice may have been reset");
    assert!(is_unanswered(&after(2, 0, 9000), 0));
    assert!(!is_unanswered(&after(0, 1, 9000), 0), "and so may a keep-alive probe");
    assert!(is_unanswered(&after(0, 9, 9000), 0));
}

#[test]
fn old_kernel_leaves_only_time_wait() {
    let first = Evidence { fin_acked: None, ..end(true, 1, Present) };
    let second = Evidence { fin_acked: None, ..end(true, 0, Absent) };
    assert_eq!(classify(Some(&first), Some(&second)), CloseKind::ClientFin);
    assert_eq!(classify(Some(&first), None), CloseKind::ClientFin);
    assert_eq!(classify(Some(&second), Some(&second)), CloseKind::Unclassified);
    assert_eq!(classify(Some(&second), None), CloseKind::Unclassified);
}

#[test]
fn swapped_sockets_swap_the_kind() {
    let mut sockets = vec![None];
    for fin_acked in [None, Some(false), Some(true)] {
        for unread in [0, 1, 5] {
            for time_wait in [Unknown, Present, Absent] {
                for disconnected in [false, true] {
                    sockets.push(Some(Evidence {
                        disconnected,
                        fin_acked,
                        ..end(false, unread, time_wait)
                    }));
                }
            }
        }
    }
    for a in &sockets {
        for b in &sockets {
            // The one rule that prefers the client on purpose: neither has a TIME_WAIT.
            let gone = |e: &Option<Evidence>| e.is_some_and(|e| e.time_wait == Absent);
            if gone(a) && gone(b) {
                continue;
            }
            let (there, back) =
                (classify(a.as_ref(), b.as_ref()), classify(b.as_ref(), a.as_ref()));
            assert_eq!(back, mirrored(there), "{a:?} {b:?}");
        }
    }
}

fn event(remote_port: u16, wqueue: u32, info: TcpInfo) -> Socket {
    Socket {
        state: State::Close,
        local: SocketAddr::from(([127, 0, 0, 1], 40000)),
        remote: SocketAddr::from(([127, 0, 0, 1], remote_port)),
        cookie: 1,
        rqueue: 0,
        wqueue,
        inode: 0,
        uid: 0,
        timer: 0,
        expires_ms: 0,
        interface: 0,
        info: Some(info),
    }
}

#[test]
fn segment_right_before_an_abort_may_be_a_fin() {
    let may = |sent, last| {
        may_have_got_fin(&TcpInfo {
            last_data_sent_ms: Some(sent),
            last_ack_recv_ms: Some(last),
            ..TcpInfo::default()
        })
    };
    assert!(may(12, 0), "a round trip after the answer");
    assert!(may(0, 0), "within one tick of the clock");
    assert!(!may(0, 12), "the request, and the answer to it since");
    assert!(!may(1_010, 1_000), "an acknowledgement, long before");
    assert!(may(1_100, 1_000), "no acknowledgement takes as long");
}

#[test]
fn only_the_clients_syn_counts() {
    let info = |acked, sent, again| TcpInfo {
        bytes_acked: Some(acked),
        bytes_sent: Some(sent),
        bytes_retrans: Some(again),
        ..TcpInfo::default()
    };
    let fin = |side, info| Evidence::of(side, &event(80, 0, info)).fin_acked;
    assert_eq!(fin(Side::Client, info(8, 6, 0)), Some(true));
    assert_eq!(fin(Side::Client, info(7, 6, 0)), Some(false));
    assert_eq!(fin(Side::Server, info(7, 6, 0)), Some(true));
    assert_eq!(fin(Side::Server, info(6, 6, 0)), Some(false));
    assert_eq!(fin(Side::Server, info(2, 6, 0)), Some(false));
    assert_eq!(fin(Side::Server, info(7, 9, 3)), Some(true));
    let old = TcpInfo { bytes_sent: None, ..info(8, 0, 0) };
    assert_eq!(fin(Side::Client, old), None);
}

#[test]
fn late_answer_and_farewell_leave_order_open() {
    let info = |acked, sent, data_age, last_age| TcpInfo {
        bytes_acked: Some(acked),
        bytes_sent: Some(sent),
        bytes_retrans: Some(0),
        data_segs_in: Some(1),
        last_data_recv_ms: Some(data_age),
        last_ack_recv_ms: Some(last_age),
        ..TcpInfo::default()
    };
    let of = |info, wqueue| Evidence::of(Side::Server, &event(80, wqueue, info));
    // The client's FIN came 250 ms after its request, the answer went out later and met an RST.
    let late = of(info(0, 300, 700, 450), 300);
    assert_eq!(classify(None, Some(&late)), CloseKind::ClientFin);
    let prompt = of(info(0, 300, 12, 12), 300);
    assert_eq!(classify(None, Some(&prompt)), CloseKind::Unclassified, "a FIN may have been first");
    let acknowledged = of(info(300, 300, 12, 12), 0);
    assert_eq!(classify(None, Some(&acknowledged)), CloseKind::ClientRst);
    // A close_notify and a FIN: whether the client's FIN had come is not known.
    let farewell = of(info(300, 324, 8, 4), 25);
    assert_eq!(classify(None, Some(&farewell)), CloseKind::Unclassified);
    let answer = of(info(300, 700, 8, 4), 401);
    assert_eq!(classify(None, Some(&answer)), CloseKind::Unclassified);
    let alone = of(info(700, 700, 8, 4), 1);
    assert_eq!(classify(None, Some(&alone)), CloseKind::ServerFin);
}

/// A late request of a client met the server's FIN: it came a while after the last answer, and did not
/// acknowledge the request.
#[test]
fn fin_about_a_request_was_the_servers() {
    let info = |answer_ago, segment_ago, request_ago| TcpInfo {
        bytes_acked: Some(101),
        bytes_sent: Some(200),
        bytes_retrans: Some(0),
        data_segs_out: Some(2),
        send_mss: Some(1_448),
        last_data_recv_ms: Some(answer_ago),
        last_ack_recv_ms: Some(segment_ago),
        last_data_sent_ms: Some(request_ago),
        ..TcpInfo::default()
    };
    let of = |info| {
        // A FIN is in the queue behind the request.
        classify(Some(&Evidence::of(Side::Client, &event(80, 101, info))), None)
    };
    assert_eq!(of(info(1_010, 10, 8)), CloseKind::ServerFin);
    assert_eq!(of(info(1_010, 8, 10)), CloseKind::ServerFin, "it crossed the request");
    let long = TcpInfo { bytes_sent: Some(2_000), bytes_acked: Some(1_901), ..info(1_010, 8, 10) };
    assert_ne!(of(long), CloseKind::ServerFin, "it may acknowledge a part of a body");
    assert_ne!(of(info(20, 10, 8)), CloseKind::ServerFin, "it may belong to the answer");
    assert_eq!(of(info(15_010, 10, 8)), CloseKind::Unclassified, "it may be a probe");
}

/// A client that leaves in the middle of an answer may have sent its FIN before the RST; a server
/// that leaves a request unread sends the RST alone.
#[test]
fn reset_in_mid_answer_may_follow_a_fin() {
    let of = |fin_possible| Evidence { fin_possible, ..end(false, 0, Unknown) };
    assert_eq!(classify(None, Some(&of(true))), CloseKind::Unclassified);
    assert_eq!(classify(None, Some(&of(false))), CloseKind::ClientRst);
    assert_eq!(classify(Some(&of(true)), None), CloseKind::ServerRst);
}

#[test]
fn farewell_in_return_follows_the_clients_fin() {
    let info = |sent_ago, came_ago| TcpInfo {
        bytes_acked: Some(2_056),
        bytes_sent: Some(2_080),
        bytes_retrans: Some(0),
        data_segs_in: Some(7),
        last_data_recv_ms: Some(64),
        last_data_sent_ms: Some(sent_ago),
        last_ack_recv_ms: Some(came_ago),
        rtt_us: Some(16_000),
        ..TcpInfo::default()
    };
    let of = |info, rqueue| {
        let event = Socket { rqueue, ..event(80, 25, info) };
        classify(None, Some(&Evidence::of(Side::Server, &event)))
    };
    assert_eq!(of(info(52, 52), 0), CloseKind::ClientFin);
    assert_eq!(of(info(52, 52), 1), CloseKind::Unclassified, "the FIN may have come later");
    assert_eq!(of(info(52, 40), 0), CloseKind::Unclassified, "it may be an acknowledgement");
    let near = TcpInfo { rtt_us: Some(6_000), ..info(52, 52) };
    assert_eq!(of(near, 0), CloseKind::Unclassified, "the clock is too coarse");
    let client = Evidence::of(Side::Client, &event(80, 25, info(52, 52)));
    assert_eq!(classify(Some(&client), None), CloseKind::ServerRst);
}

#[test]
fn failed_connect_was_never_established() {
    let acked = |n| TcpInfo { bytes_acked: Some(n), ..TcpInfo::default() };
    assert!(!was_established(Side::Client, &event(80, 1, acked(0))));
    assert!(was_established(Side::Client, &event(80, 0, acked(1))));
    assert!(!is_disconnected(&event(0, 3, acked(0))));
    assert!(!is_disconnected(&event(0, 0, acked(0))));
    assert!(is_disconnected(&event(0, 65_538, acked(0))));
}
