//! Connections with both sockets in one namespace.

use std::time::{Duration, Instant};

use keepwarm_sockets::Counters;
use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::makes_namespaces;
use crate::counters::{Counts, REFUSED, Races, of};
use crate::{Copy, Played, SIDES, Watches, check_whole, end, expected, take_turn};

/// Connections of each way over each family.
const N: u64 = 350;

#[test]
fn loopback_closes_match_kernel_counters() {
    if !makes_namespaces() {
        skipped::because("this user may not make a network namespace");
        return;
    }
    let _turn = take_turn();
    let (program, namespace) = (Copy::make(), Namespace::make().unwrap());
    namespace.enter().unwrap();
    // No TIME_WAIT is taken over by a connect that happens on its port a second later.
    namespace.set("tcp_tw_reuse", 0).unwrap();
    let watches = Watches::start(&namespace, &program);
    let (begun, before) = (Instant::now(), Counters::read().unwrap());
    let (mut played, mut kernel) = (Vec::new(), Counts::default());
    let mut listening = Vec::new();
    for family in Family::ALL {
        for way in Way::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            let truth = upstream.play(way, N, 1).unwrap();
            let [client, server] = of(way);
            kernel += client * truth.opened;
            kernel += server * truth.opened;
            played.push((
                way,
                Played {
                    what: format!("{way:?} {family:?}"),
                    port: upstream.port(),
                    opened: truth.opened,
                    ends: SIDES.map(|side| expected(side, way, &truth)),
                    alike: Vec::new(),
                },
            ));
            // The listener stays, so that a dump shows it.
            listening.push(upstream);
        }
        Upstream::listen(family).unwrap().refuse(N).unwrap();
        kernel += REFUSED[0] * N;
        kernel += REFUSED[1] * N;
    }
    let after = Counters::read().unwrap();
    let documents = watches.finish();
    // No other program is in this namespace, so its counters are of these connections.
    let counted = Counts::between(&before, &after);
    let races = Races::of(&counted, &kernel, N * 3);
    assert_eq!(counted, races.apply(kernel));
    for document in &documents {
        check_whole(document);
        for (_, played) in &played {
            SIDES.iter().for_each(|side| played.check(document, side));
        }
        check_totals(document, &played, &counted, races);
        if begun.elapsed() < Duration::from_secs(55) {
            let waiting: u64 = ends(document, &played).map(|end| number(end, "time_wait")).sum();
            let now = after.time_wait_now.unwrap() - before.time_wait_now.unwrap();
            assert_eq!(waiting, now, "TIME_WAIT, by destination and by sockstat");
        }
    }
    let [_, root] = &documents;
    if let Some(refused) = root["level_refused"].as_str() {
        skipped::because(&format!("L2: {refused}"));
        return;
    }
    assert_eq!((&root["level"], &root["lost_trace_events"]), (&"L2".into(), &0.into()));
    for (way, played) in &played {
        check_traces(root, *way, played, races);
    }
}

fn ends<'a>(document: &'a Value, played: &[(Way, Played)]) -> impl Iterator<Item = &'a Value> {
    let ends = played.iter().flat_map(|(_, played)| SIDES.map(|side| (played.port, side)));
    ends.filter_map(|(port, side)| end(document, port, side))
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap()
}

/// Checks that the sums of the report are those of the kernel.
fn check_totals(document: &Value, played: &[(Way, Played)], kernel: &Counts, races: Races) {
    let side = |side: &str, kind: &str| -> u64 {
        let of_side = ends(document, played).filter(|end| end["side"] == side);
        of_side.map(|end| number(&end["closed"], kind)).sum()
    };
    let both = |kind: &str| SIDES.iter().map(|one| side(one, kind)).sum::<u64>();
    let opened = |side: &str| -> u64 {
        let of_side = ends(document, played).filter(|end| end["side"] == side);
        of_side.map(|end| number(end, "opened")).sum()
    };
    // A connect that failed has lost its port: it is counted for its host, or for the port if the
    // program saw the failure first.
    let all = document["destinations"].as_array().unwrap().iter();
    let failed: u64 = all.map(|one| number(&one["closed"], "connect_failed")).sum();
    // The first watch may also have seen the self-test of the second one.
    let more = if document["level"] == "L1" { 2 } else { 0 };
    let expected = kernel.attempt_fails..=kernel.attempt_fails + more;
    assert!(expected.contains(&failed), "{failed} of {expected:?} failed");
    assert_eq!(opened("client") + kernel.attempt_fails, kernel.active_opens);
    assert_eq!(opened("server"), kernel.passive_opens);
    // A crossed close is counted at both sockets, and both enter TIME_WAIT. Where an RST followed a
    // FIN, the FIN was first; but no socket enters TIME_WAIT, and the kernel counts the RST.
    let of = |wanted: Way| -> u64 {
        played.iter().filter(|(way, _)| *way == wanted).map(|(_, one)| one.opened).sum()
    };
    let (unread, written) = (of(Way::ClientFinServerUnread), of(Way::ServerFinClientWrites));
    assert_eq!(both("local_fin") - unread - written + races.waited, kernel.time_waits);
    assert_eq!(both("undrained") + unread, kernel.abort_on_close);
    assert_eq!(both("local_rst") + written - races.answered, kernel.abort_on_data);
    assert_eq!(both("unclassified") + both("timed_out"), 0);
}

/// Checks that traces name this process for every client socket, and the reason of every reset.
fn check_traces(document: &Value, way: Way, played: &Played, races: Races) {
    for side in SIDES {
        let end = end(document, played.port, side).unwrap();
        let context = format!("{}: {end:#}", played.what);
        assert!(end["lifetime_ms"]["max"].as_u64().is_some(), "{context}");
        let owner = &end["owners"][0];
        if side == "client" {
            assert_eq!(owner["pid"], std::process::id(), "{context}");
            assert_eq!((&owner["share"], &owner["how"]), (&1.0.into(), &"tracepoint".into()));
        }
        let reason = match way {
            Way::ClientUnread | Way::ServerUnread | Way::ClientFinServerUnread => {
                Some("TCP_ABORT_ON_CLOSE")
            }
            Way::ServerFinClientWrites if side == "client" => Some("TCP_ABORT_ON_DATA"),
            _ => None,
        };
        if let Some(reason) = reason {
            let reasons = end["resets"]["reasons"].as_object().unwrap();
            let count = |reason: &str| reasons.get(reason).and_then(Value::as_u64).unwrap_or(0);
            // A TIME_WAIT may have been quicker.
            let raced = if way == Way::ServerFinClientWrites { "TCP_TIMEWAIT_SOCKET" } else { "" };
            let told = count(reason) + count(raced);
            // An RST that kills a TIME_WAIT meets no socket.
            let unheard = (way, side) == (Way::ClientFinServerUnread, "client");
            let unheard = if unheard { races.waited } else { 0 };
            assert!(told <= N && told + unheard >= N, "{told} {context}");
        }
        let wrote = (way, side) == (Way::ServerFinClientWrites, "client");
        let after_fin = if wrote { N } else { 0 };
        assert_eq!(end["resets"]["after_fin"], after_fin, "{context}");
    }
}
