//! Claim: the timeline counts each event in its second, and adds up to the ledger.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use common::{plan, run_and_compare};
use keepwarm_load::{CloseCause, Count, ErrorClass, Run};
use keepwarm_testkit::http_server::{Gate, HttpServer};

#[test]
fn frozen_second_is_an_empty_slice() {
    let gate = Gate::new();
    let (held, answered) = (gate.clone(), Arc::new(AtomicU64::new(0)));
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            if answered.fetch_add(1, Relaxed) >= 100 {
                held.wait();
            }
            conn.respond("ok");
        }
    });
    let builder = plan(&server).requests(400).concurrency(4).threads(2);
    let run = Run::start(builder.build().unwrap()).unwrap();
    let begun = std::time::Instant::now();
    let frozen = loop {
        if let Some((second, slice)) = run.last_second()
            && slice.count(Count::Completed) == 0
        {
            break second;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        // A second of the run ends by time, and nothing signals it.
        std::thread::sleep(Duration::from_millis(10));
    };
    gate.open();
    let summary = run.wait();
    summary.check().unwrap();
    let completed: Vec<u64> =
        summary.timeline.slices().iter().map(|slice| slice.count(Count::Completed)).collect();
    let frozen = usize::try_from(frozen).unwrap();
    assert_eq!(completed[frozen], 0);
    assert_eq!(completed[..frozen].iter().sum::<u64>(), 100);
    assert_eq!(completed[frozen + 1..].iter().sum::<u64>(), 300);
    assert!(summary.timeline.open_connections().all(|open| open <= 4));
    assert_eq!(summary.timeline.open_connections().nth(frozen), Some(4));
    // The four delayed requests are the slowest ones, and completed in the last slices.
    let slowest = summary.timeline.slices()[frozen + 1..].iter().filter_map(|s| s.latency.max());
    assert_eq!(slowest.max(), summary.latency.max());
    assert_eq!(server.finish().requests, 400);
}

#[test]
fn slices_have_closes_errors_and_statuses() {
    let server = HttpServer::start(|conn| {
        let nth = conn.nth() % 4;
        if nth == 0 || !conn.read_request() {
            return conn.rst();
        }
        match nth {
            1 => conn.send(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            2 => return conn.fin(),
            _ => conn.send(b"what?"),
        }
        conn.wait_for_client();
    });
    let builder = plan(&server).requests(80).concurrency(2).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    let slices = summary.timeline.slices();
    let sum = |of: &dyn Fn(&keepwarm_load::Slice) -> u64| slices.iter().map(of).sum::<u64>();
    assert_eq!(sum(&|slice| slice.count(Count::PeerRst)), 20);
    assert_eq!(sum(&|slice| slice.count(Count::PeerFin)), 20);
    assert_eq!(sum(&|slice| slice.closed_by_us(CloseCause::ResponseSaidClose)), 20);
    assert_eq!(sum(&|slice| slice.closed_by_us(CloseCause::BadResponse)), 20);
    assert_eq!(sum(&|slice| slice.errors(ErrorClass::BadFraming)), 20);
    assert_eq!(sum(&|slice| slice.errors(ErrorClass::EofOnNew)), 20);
    assert_eq!(sum(&|slice| slice.statuses(5)), 20);
    assert_eq!(summary.ledger.lifetimes.count(), 80);
    assert_eq!(summary.timeline.total(Count::Scheduled), 80);
}

#[test]
fn loader_reports_its_own_use() {
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            conn.respond("ok");
        }
    });
    let builder = plan(&server).requests(2000).concurrency(4).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    let loader = &summary.loader;
    assert_eq!((loader.threads, loader.per_thread.len()), (2, 2));
    let cpu: Duration = loader.per_thread.iter().map(|thread| thread.cpu_time).sum();
    assert_eq!(cpu, loader.cpu_time);
    let in_slices: Duration = summary.timeline.slices().iter().map(|slice| slice.cpu_time).sum();
    assert!(in_slices <= cpu && !in_slices.is_zero(), "{in_slices:?} of {cpu:?}");
    for thread in &loader.per_thread {
        assert!(thread.events >= thread.wakeups && thread.wakeups > 0, "{thread:?}");
        assert!(thread.cpu_time <= thread.ran, "{thread:?}");
    }
    let wakeups: u64 = loader.per_thread.iter().map(|thread| thread.wakeups).sum();
    assert_eq!(loader.batch_times.count(), wakeups);
}
