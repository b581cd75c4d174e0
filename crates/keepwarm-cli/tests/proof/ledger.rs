//! The ledger of a load, the kernel's account of its port, and the packets: three counts of the
//! same connections, made in three ways.

use serde_json::Value;

use crate::packets::{Capture, Packets};
use crate::servers::{self, Manner};
use crate::{count, load, namespace};

/// Five connections with ten requests each. Ten is no multiple of four or five, so that no server
/// closes a connection just as the run ends.
const LOAD: [&str; 6] = ["-n", "50", "-c", "5", "-t", "5"];

struct Seen {
    ledger: Value,
    hop: Value,
    packets: Packets,
    /// TIME_WAITs by ss: with the port as the local one, and as the peer's.
    time_waits: (u64, u64),
}

fn play(manner: Manner, more: &[&str]) -> Seen {
    let port = servers::start(manner);
    let capture = Capture::start("lo");
    let watch = port.to_string();
    let arguments = [&LOAD[..], &["--watch", &watch], more].concat();
    let record = load(&arguments, &format!("http://127.0.0.1:{port}/"));
    let time_waits = namespace::ss("time-wait", port);
    let packets = capture.finish(port);
    assert_eq!(record["connections"]["balanced"], true);
    Seen {
        ledger: record["connections"].clone(),
        hop: record["hops"][0].clone(),
        packets,
        time_waits,
    }
}

/// Asserts the counts that must be equal in every manner of the server.
#[track_caller]
fn agree(manner: Manner, seen: &Seen) {
    let Seen { ledger, hop, packets, .. } = seen;
    let context = format!("{manner:?}: {packets:?}\n{ledger}\n{hop}");
    assert_eq!(count(&ledger["attempts"]), packets.attempts, "{context}");
    assert_eq!(count(&ledger["opened"]), packets.opened, "{context}");
    assert_eq!(count(&hop["opened"]), packets.opened, "{context}");
    assert_eq!(packets.endless, 0, "{context}");
    let waits = &hop["time_wait"]["after"];
    let told = (count(&waits["server"]), count(&waits["client"]));
    assert_eq!(told, seen.time_waits, "TIME_WAIT, server's and client's: {context}");
}

fn by_us(ledger: &Value) -> u64 {
    let causes = ledger["closed_by_us"].as_object().expect("an object");
    let closed: u64 = causes.values().map(count).sum();
    closed + count(&ledger["timed_out"]) + count(&ledger["still_open"])
}

/// Every way of closing that is in order: one side is clearly first.
#[test]
fn the_ledger_equals_the_packets_whatever_way_the_server_closes() {
    let name = "ledger::the_ledger_equals_the_packets_whatever_way_the_server_closes";
    if !namespace::enter(name, &["tcpdump", "ss"]) {
        return;
    }
    for (manner, more) in [
        (Manner::Keep, &[][..]),
        (Manner::FinAfterFour, &[]),
        (Manner::RstAfterFour, &[]),
        (Manner::HalfCloseAfterFour, &[]),
        (Manner::FinWithinBody, &[]),
        (Manner::RstWithinBody, &[]),
        (Manner::UntilFin, &[]),
        // Asked to close, the server is waited for.
        (Manner::SaysClose, &["--close"]),
        (Manner::Silent, &["--timeout", "50ms"]),
        (Manner::Garbage, &[]),
    ] {
        let seen = play(manner, more);
        agree(manner, &seen);
        let Seen { ledger, hop, packets, .. } = &seen;
        let context = format!("{manner:?}: {packets:?}\n{ledger}\n{hop}");
        assert_eq!(count(&ledger["peer_fin"]), packets.server_fin, "{context}");
        assert_eq!(count(&ledger["peer_rst"]), packets.server_rst, "{context}");
        assert_eq!(by_us(ledger), packets.client_first(), "{context}");
        let closed = &hop["closed"];
        let of_kernel = ["client_fin", "server_fin", "client_rst", "server_rst"]
            .map(|kind| count(&closed[kind]));
        let of_packets =
            [packets.client_fin, packets.server_fin, packets.client_rst, packets.server_rst];
        assert_eq!(of_kernel, of_packets, "{context}");
        let expected = match manner {
            Manner::Keep | Manner::Silent | Manner::Garbage => packets.client_first(),
            Manner::RstAfterFour | Manner::RstWithinBody => packets.server_rst,
            _ => packets.server_fin,
        };
        assert!(expected > 0, "the server did what it is for: {context}");
    }
}

/// Both sides close at once: which FIN left first is a race, and no count of it may be lost. A FIN
/// that has come is the peer's; one that comes between the last look and our own is not seen. What
/// is no race, because both are kept from arriving, is `crossing`'s.
#[test]
fn connections_closed_by_both_at_once_are_counted_once() {
    let name = "ledger::connections_closed_by_both_at_once_are_counted_once";
    if !namespace::enter(name, &["tcpdump", "ss"]) {
        return;
    }
    let seen = play(Manner::SaysClose, &[]);
    agree(Manner::SaysClose, &seen);
    let Seen { ledger, packets, .. } = &seen;
    let context = format!("{packets:?}\n{ledger}");
    assert_eq!(packets.opened, 50, "{context}");
    assert_eq!(by_us(ledger) + count(&ledger["peer_fin"]), 50, "{context}");
    assert!(count(&ledger["peer_fin"]) <= packets.server_fin, "{context}");
    assert!(by_us(ledger) >= packets.client_fin, "{context}");
}
