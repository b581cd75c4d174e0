//! Judges a destination by numbers that were counted elsewhere, and prints finding and fix.
//! `cargo run --example judge`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

use keepwarm_diagnose::{Evidence, Idle, Level, Requests, Side, judge};

fn main() {
    // Ten seconds at the client: 6,428 connections opened, all closed by the client within moments
    // of their last byte; two stay open.
    let mut evidence = Evidence::new(Side::Client, Level::Counted);
    evidence.window = Duration::from_secs(10);
    evidence.opened = 6_428;
    evidence.local_fin = 6_426;
    evidence.alive = 2;
    evidence.established = 2;
    evidence.idle_set = Some(2);
    evidence.requests = Some(Requests {
        connections: 6_428,
        total: 10_000,
        p50: 1,
        max: 18,
        none_share: 0.0,
        common: 1,
        common_share: 0.8,
    });
    evidence.idle_local = Some(Idle { closes: 6_426, p50_ms: 1, common_ms: 1, common_share: 0.9 });
    for finding in judge(&evidence) {
        println!(
            "{:?}, {:.0} % sure: {}",
            finding.cause,
            finding.confidence * 100.0,
            finding.summary
        );
        if let Some(advice) = &finding.advice {
            println!("fix: {advice}");
        }
    }
}
