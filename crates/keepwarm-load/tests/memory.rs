//! Claim: memory does not grow with the number of requests. The test counts allocations, so that
//! the result does not depend on time or on the allocator. Alone in its process, because the count
//! is global.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{plan, run_and_compare};
use keepwarm_testkit::http_server::HttpServer;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations that a second of the timeline may cost, for both threads: its slice and the merging.
const A_SECOND: u64 = 100;

/// Returns the allocations of one run, and the number that its seconds may have cost. Includes the
/// server, which allocates nothing per request either.
fn allocations(requests: u64) -> (u64, u64) {
    let before = ALLOCATIONS.load(Relaxed);
    let server = HttpServer::start(|conn| {
        while conn.read_request() {
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        }
    });
    let builder = plan(&server).requests(requests).concurrency(8).threads(2);
    let (summary, _) = run_and_compare(server, builder);
    assert_eq!((summary.completed, summary.ledger.opened), (requests, 8));
    let seconds = summary.timeline.slices().len() as u64;
    (ALLOCATIONS.load(Relaxed) - before, seconds * A_SECOND)
}

/// Four times the requests cost no further allocation.
#[test]
fn more_requests_allocate_nothing_more() {
    allocations(100);
    let (few, _) = allocations(50_000);
    let (many, for_seconds) = allocations(200_000);
    // The harness and the start of the threads may differ by a handful; 150,000 requests may not.
    let allowed = few + 50 + for_seconds;
    assert!(allowed < 100_000, "a machine so slow proves nothing");
    assert!(many < allowed, "{few} allocations for 50,000 requests, {many} for 200,000");
}
