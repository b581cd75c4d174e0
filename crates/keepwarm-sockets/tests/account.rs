//! The account of a port against connections whose truth is known by construction.

use std::time::Duration;

use keepwarm_sockets::{Closes, PortAccount, PortWatch};
use keepwarm_testkit::churn::{Family, Truth, Upstream, Way};

const N: u64 = 50;
const SETTLE: Duration = Duration::from_secs(20);

fn closes(truth: &Truth) -> Closes {
    Closes {
        client_fin: truth.client_fin,
        server_fin: truth.server_fin,
        crossed_fin: truth.crossed_fin,
        client_rst: truth.client_rst,
        server_rst: truth.server_rst,
        unclassified: 0,
    }
}

/// The numbers that must match whatever was played.
#[track_caller]
fn assert_exact(account: &PortAccount, truth: &Truth) {
    assert_eq!(account.closed, closes(truth), "{account:#?}");
    assert_eq!(account.opened, truth.opened, "{account:#?}");
    assert_eq!(
        account.opened + account.alive_at_start,
        account.closed.total() + account.alive_at_end,
        "{account:#?}"
    );
    assert_eq!(account.lost_events, 0, "{account:#?}");
    assert_eq!(account.overflowed, 0, "{account:#?}");
    assert!(account.settled, "{account:#?}");
}

fn played(way: Way, family: Family, count: u64, requests: u64) -> (PortAccount, Truth) {
    let mut upstream = Upstream::listen(family).unwrap();
    let watch = PortWatch::start(upstream.port()).unwrap();
    let truth = upstream.play(way, count, requests).unwrap();
    (watch.finish(SETTLE).unwrap(), truth)
}

#[test]
fn every_way_of_closing_is_counted_exactly_over_every_family() {
    for family in Family::ALL {
        for way in Way::ALL {
            let (account, truth) = played(way, family, N, 2);
            eprintln!("{family:?} {way:?}");
            assert_exact(&account, &truth);
            assert_eq!(account.established.client + account.established.server, 0);
            if way != Way::Crossed {
                assert_eq!(
                    account.requests.total, truth.client_segments,
                    "{account:#?}"
                );
                assert_eq!(account.requests.connections, N, "{account:#?}");
            }
        }
    }
}
