//! Evidence that the tests of several files are made of.

#![allow(dead_code, reason = "each test program uses a part")]

use keepwarm_diagnose::{Idle, Requests};

/// Connections that carried this number of requests each, `total` of them in all.
pub(crate) fn requests(each: u32, total: u64) -> Option<Requests> {
    Some(Requests {
        connections: total / u64::from(each.max(1)),
        total,
        p50: each,
        max: each,
        none_share: 0.0,
        common: each,
        common_share: 1.0,
    })
}

/// A thousand closes, this share of them after this idle time.
pub(crate) fn idle(ms: u32, common_share: f64) -> Option<Idle> {
    Some(Idle { closes: 1000, p50_ms: ms, common_ms: ms, common_share })
}
