//! The two sockets in two namespaces, with a wire between them: each socket is judged alone, and
//! the wire forces the races that loopback leaves to chance.

use std::sync::Arc;

use keepwarm_sockets::Counters;
use keepwarm_testkit::churn::{Family, Lost, Silence, Truth, Upstream, Way};
use keepwarm_testkit::kernel::allow_open_files;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;
use serde_json::Value;

use crate::common::makes_namespaces;
use crate::counters::{Counts, Races, UNANSWERED, of, of_silence};
use crate::{Copy, Played, SIDES, Watches, check_whole, closes, end, expected, take_turn};

/// Connections of each way over each family.
const N: u64 = 340;
/// Limit on files: both sockets of the connections that lose each other are open at once.
const FILES: u64 = 2 * N * 9 + N * 3 + 500;

#[test]
fn sockets_seen_alone_are_classified() {
    if !makes_namespaces() {
        skipped::because("this user may not make a network namespace");
        return;
    }
    let _turn = take_turn();
    let wire = match Wire::lay() {
        Ok(wire) => Arc::new(wire),
        Err(error) => {
            skipped::because(&format!("a wire takes /dev/net/tun: {error}"));
            return;
        }
    };
    allow_open_files(FILES).unwrap();
    wire.hurry().unwrap();
    let program = Copy::make();
    let hosts = [&wire.client, &wire.server];
    let watches = hosts.map(|host| Watches::start(host, &program));
    let read = || hosts.map(|host| host.inside(|| Ok(Counters::read().unwrap())).unwrap());
    let before = read();
    let mut all = All::default();
    for family in Family::ALL {
        all.play_in_order(&wire, family);
    }
    all.play_lost(&wire);
    let (after, resets) = (read(), wire.resets());
    for (index, watches) in watches.into_iter().enumerate() {
        let (counted, expected) =
            (Counts::between(&before[index], &after[index]), all.kernel[index]);
        let races = Races::of(&counted, &expected, N * 3);
        // On a wire an acknowledgement may be under way to an end that has just aborted, and is
        // answered with an RST of its own: so they are counted there, and are those at least.
        assert_eq!(counted.out_resets, resets[index]);
        assert!(counted.out_resets >= expected.out_resets, "{counted:?} {expected:?}");
        let out_resets = counted.out_resets;
        assert_eq!(counted, races.apply(Counts { out_resets, ..expected }));
        for document in &watches.finish() {
            check_whole(document);
            let (mut unnamed, side) = (0, SIDES[index]);
            for played in &all.played {
                let aborted = document["level"] == "L1"
                    && played.ends[index].contains_key("local_rst")
                    && (side == "client" || played.what.ends_with("V4Mapped"));
                if aborted {
                    unnamed += played.opened - named(played, document, side);
                } else {
                    played.check(document, side);
                }
            }
            let said = document["unattributed_aborts"].as_u64().unwrap();
            assert_eq!(said, unnamed, "aborts of sockets that no dump had shown open");
            let failed = all.failed.iter().filter(|_| SIDES[index] == "client");
            failed.for_each(|played| played.check(document, "client"));
        }
    }
}

/// Everything that was played, and the growth that the counters of each host should have.
#[derive(Default)]
struct All {
    played: Vec<Played>,
    /// Services to which no connect succeeded.
    failed: Vec<Played>,
    kernel: [Counts; 2],
    /// Listeners that stay, so that a dump shows them.
    listening: Vec<Upstream>,
}

impl All {
    fn count(&mut self, each: [Counts; 2], times: u64) {
        for (sum, one) in self.kernel.iter_mut().zip(each) {
            *sum += one * times;
        }
    }

    fn play_in_order(&mut self, wire: &Arc<Wire>, family: Family) {
        for way in Way::ALL {
            let mut upstream = Upstream::across(wire, family).unwrap();
            let truth = match way {
                Way::Crossed => upstream.cross(N, 1).unwrap(),
                _ => upstream.play(way, N, 1).unwrap(),
            };
            self.count(of(way), truth.opened);
            let ends = SIDES.map(|side| expected(side, way, &truth));
            let what = format!("{way:?} {family:?}");
            let (port, opened, alike) = (upstream.port(), truth.opened, alike(way));
            self.played.push(Played { what, port, opened, ends, alike });
            self.listening.push(upstream);
        }
    }

    /// Plays all at once: they end with the kernel's timers.
    fn play_lost(&mut self, wire: &Arc<Wire>) {
        let mut lost = Lost::on(wire);
        for family in Family::ALL {
            for silence in Silence::ALL {
                let mut upstream = Upstream::across(wire, family).unwrap();
                let truth = lost.add(&mut upstream, silence, N).unwrap();
                self.count(of_silence(silence), N);
                let ends = SIDES.map(|_| closes(&[("timed_out", truth.timed_out)]));
                let what = format!("{silence:?} {family:?}");
                let port = upstream.port();
                self.played.push(Played { what, port, opened: N, ends, ..Played::default() });
                self.listening.push(upstream);
            }
        }
        let unreachable = Family::ALL.map(|family| Upstream::across(wire, family).unwrap());
        for upstream in &unreachable {
            self.count(UNANSWERED, N);
            let ends = SIDES.map(|_| closes(&[("connect_failed", N)]));
            let what = "a connect without an answer".to_owned();
            self.failed.push(Played { what, port: upstream.port(), ends, ..Played::default() });
        }
        lost.play(N, &unreachable).unwrap();
    }
}

/// Returns the aborts that are attributed. At level L1 a client's abort loses its service, and the
/// abort of a server that listens on every address loses which address it was, with no other source
/// for it. Aborts of sockets that a dump had shown open are attributed; whose they were may be open.
fn named(played: &Played, document: &Value, side: &str) -> u64 {
    let Some(end) = end(document, played.port, side) else { return 0 };
    let told = played.told(end);
    let count = |kind| told.get(kind).copied().unwrap_or(0);
    let (aborted, open) = (count("local_rst"), count("unclassified"));
    let attributed = closes(&[("local_rst", aborted), ("unclassified", open)]);
    assert_eq!(told, attributed, "{}", played.what);
    assert_eq!(end["opened"], aborted + open, "{}", played.what);
    aborted + open
}

/// Returns the kinds of closes that one socket alone cannot distinguish without a trace.
///
/// Among these are ways whose TIME_WAIT an RST removes. Counters say how many were removed of all, and
/// not towards which service: so a close without TIME_WAIT may be unclassified, and is never another's.
/// So may be an abort within a tick of the clock after the last segment, which may have been a FIN.
fn alike(way: Way) -> Vec<(&'static str, [&'static str; 2])> {
    let mut alike = told_apart_by_traces(way);
    let truth = Truth::of_close(way);
    for side in SIDES {
        let of_peer = if side == "client" { truth.server_fin } else { truth.client_fin };
        let was_removed = alike.iter().any(|(of, [was, _])| *of == side && *was == "local_fin");
        if of_peer > 0 {
            alike.push((side, ["remote_fin", "unclassified"]));
        } else if was_removed {
            alike.push((side, ["local_fin", "unclassified"]));
        }
        let aborted = if side == "client" { truth.client_rst } else { truth.server_rst };
        if aborted > 0 {
            alike.push((side, ["local_rst", "unclassified"]));
        }
    }
    alike
}

fn told_apart_by_traces(way: Way) -> Vec<(&'static str, [&'static str; 2])> {
    match way {
        // The races of the equations: the FIN was acknowledged, and an RST killed the TIME_WAIT.
        Way::ServerFinClientWrites => {
            vec![("client", ["remote_fin", "remote_rst"]), ("server", ["local_fin", "remote_fin"])]
        }
        Way::ClientFinServerUnread => {
            vec![("server", ["remote_fin", "undrained"]), ("client", ["local_fin", "remote_fin"])]
        }
        Way::ClientRstOnUnreadServer => vec![("server", ["remote_rst", "undrained"])],
        _ => Vec::new(),
    }
}
