//! Shared by the socket tests: runs a plan against a scripted server, and compares the ledger with
//! the server's own truth.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod frames;
pub(crate) mod tls;

use std::time::Duration;

use keepwarm_load::{Plan, PlanBuilder, Run, Summary};
use keepwarm_testkit::http_server::{HttpServer, ServerTruth};

/// The bound of every run in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Runs to the end, or stops and fails if that takes too long. Checks that all sums hold.
pub(crate) fn run(builder: PlanBuilder) -> Summary {
    wait(Run::start(builder.build().expect("a valid plan")).expect("threads start"))
}

/// Waits for the end of a run that has begun, or stops it and fails.
pub(crate) fn wait(run: Run) -> Summary {
    if !run.wait_at_most(LIMIT) {
        run.stop().abort();
        panic!("the run did not end: {:#?}", run.wait());
    }
    let progress = run.progress();
    let summary = run.wait();
    summary.check().expect("the sums hold");
    assert_eq!(progress.completed, summary.completed);
    assert_eq!(progress.failed, summary.failed);
    assert_eq!(progress.open_connections, 0);
    assert_eq!(summary.failed, summary.errors.total());
    assert_eq!(summary.completed, summary.latency.count());
    assert_eq!(summary.completed, summary.statuses.values().sum::<u64>());
    assert_eq!(summary.ledger.opened, summary.connect_time.count());
    summary
}

/// A plan for a server.
pub(crate) fn plan(server: &HttpServer) -> PlanBuilder {
    Plan::builder(server.url())
}

/// Runs against `server`, and compares what both sides saw.
pub(crate) fn run_and_compare(server: HttpServer, builder: PlanBuilder) -> (Summary, ServerTruth) {
    let summary = run(builder);
    let truth = server.finish();
    let ledger = &summary.ledger;
    assert_eq!(ledger.opened, truth.connections, "{ledger:#?} {truth:#?}");
    assert_eq!(ledger.peer_fin, truth.server_fin_first, "{ledger:#?} {truth:#?}");
    assert_eq!(ledger.peer_rst, truth.server_rst_first, "{ledger:#?} {truth:#?}");
    let by_us = ledger.closed_by_us_total() + ledger.timed_out + ledger.still_open;
    let by_client = truth.client_fin_first + truth.client_rst_first;
    assert_eq!(by_us, by_client, "{ledger:#?} {truth:#?}");
    assert_eq!(truth.stuck, 0);
    (summary, truth)
}
