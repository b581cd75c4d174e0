//! Allocations of a watch that has warmed up: it allocates for time that passes, and not for sockets
//! that die. Counted at the allocator, in every thread.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to write")]
// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keepwarm_sockets::{Scope, Watch};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to `System` with the arguments it came with, so a caller that keeps the
// contract of this allocator keeps that of `System`. The counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connections that are opened and closed in a row.
const BURST: u64 = 5_000;
const BURSTS: u64 = 4;

fn play(listener: &TcpListener, watch: &Watch, closed: &mut u64) {
    let address = listener.local_addr().unwrap();
    for _ in 0..BURST {
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        drop(server);
    }
    // Both sockets of each.
    *closed += 2 * BURST;
    let begun = Instant::now();
    let seen =
        || -> u64 { watch.snapshot().destinations.iter().map(|one| one.closed.total()).sum() };
    while seen() < *closed {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {closed}", seen());
        // Reports come by time, and nothing signals one.
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn dying_socket_costs_no_allocation() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for traced in [false, true] {
        let scope = Scope::of_port(port);
        let watch = if traced { Watch::start_traced(scope) } else { Watch::start(scope) }.unwrap();
        let mut closed = 0;
        // Tables and buffers grow to their size.
        play(&listener, &watch, &mut closed);
        play(&listener, &watch, &mut closed);
        let (before, begun) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
        for _ in 0..BURSTS {
            play(&listener, &watch, &mut closed);
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        let died = 2 * BURST * BURSTS;
        // Dumps, reports, snapshots and searches through /proc allocate, so many times a second,
        // however slow the machine is.
        let by_time = 400 * (begun.elapsed().as_secs() + 1);
        assert!(
            allocations < died / 4 + by_time,
            "{allocations} for {died} sockets in {:?}, traced: {traced}",
            begun.elapsed()
        );
    }
}
