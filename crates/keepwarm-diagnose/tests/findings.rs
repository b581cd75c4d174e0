//! Each rule on the evidence it is made for, and on what it must not mistake for it.

use std::time::Duration;

use keepwarm_diagnose::{Cause, Evidence, PortForecast, diagnose};

fn evidence() -> Evidence {
    Evidence {
        requests: 10_000,
        concurrency: 100,
        window: Duration::from_secs(2),
        opened: 100,
        closed_by_client: 0,
        closed_by_server: 0,
        reset: 0,
        established: 100,
        ports: Some(28_232),
    }
}

#[test]
fn connections_that_are_kept_are_healthy() {
    let finding = diagnose(&evidence());
    assert_eq!(finding.cause, Cause::Healthy);
    assert_eq!(finding.code, "healthy");
    assert_eq!(finding.advice, None);
    assert!(finding.remote.unwrap().contains("no port is held"));
}

#[test]
fn one_connection_for_each_request_is_a_client_for_each_request() {
    let finding = diagnose(&Evidence {
        opened: 10_000,
        closed_by_client: 10_000,
        established: 0,
        ..evidence()
    });
    assert_eq!((finding.code, finding.cause), ("D1", Cause::ClientPerRequest));
    assert!(
        finding.summary.contains("10,000 connections for 10,000 requests"),
        "{}",
        finding.summary
    );
    let remote = finding.remote.unwrap();
    assert!(remote.contains("5,000 closes a second"), "{remote}");
    assert!(remote.contains("28,232 ports / 60 s of TIME_WAIT bear 471 a second"), "{remote}");
    assert!(remote.contains("in 6 s"), "{remote}");
}

#[test]
fn two_left_idle_after_a_burst_name_the_setting() {
    let finding = diagnose(&Evidence {
        opened: 6_461,
        closed_by_client: 6_459,
        established: 2,
        ..evidence()
    });
    assert_eq!((finding.code, finding.cause), ("D2", Cause::IdlePoolTooSmall { idle: 2 }));
    assert!(finding.advice.unwrap().contains("at least 100"));
}

#[test]
fn the_server_closing_first_is_not_blamed_on_the_client() {
    let finding = diagnose(&Evidence {
        opened: 10_000,
        closed_by_server: 9_000,
        closed_by_client: 1_000,
        established: 0,
        ..evidence()
    });
    assert_eq!(finding.cause, Cause::ServerCloses);
    assert!((finding.confidence - 0.9).abs() < 1e-9);
}

#[test]
fn half_and_half_is_mixed() {
    let half = Evidence {
        opened: 10_000,
        closed_by_server: 5_000,
        closed_by_client: 5_000,
        established: 0,
        ..evidence()
    };
    assert_eq!(diagnose(&half).cause, Cause::Mixed);
}

#[test]
fn few_closes_are_not_enough_to_judge() {
    let few = Evidence { opened: 120, closed_by_client: 20, established: 100, ..evidence() };
    assert_eq!(diagnose(&few).cause, Cause::Mixed);
}

#[test]
fn nothing_opened_is_not_called_healthy() {
    let none = Evidence { opened: 0, established: 0, requests: 0, ..evidence() };
    assert_eq!(diagnose(&none).cause, Cause::Mixed);
}

#[test]
fn a_bearable_rate_never_exhausts_the_ports() {
    let calm = PortForecast { closes_per_second: 470.0, ports: 28_232 };
    assert_eq!(calm.exhausted_after(), None);
    let storm = PortForecast { closes_per_second: 471.0, ports: 28_232 };
    assert!((storm.exhausted_after().unwrap().as_secs_f64() - 59.94).abs() < 0.01);
}

#[test]
fn unknown_ports_are_not_zero_ports() {
    assert_eq!(diagnose(&Evidence { ports: None, ..evidence() }).remote, None);
}
