//! Allocations of dumps and counts: none for each socket, and a dump only its rows.

// Counting allocations takes an allocator of our own.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use keepwarm_sockets::{Filter, Scope, State, count, dump};
use keepwarm_testkit::churn::{Connection, Family, Upstream};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns the allocations and bytes of one call, and its result.
fn allocated<T>(call: impl FnOnce() -> T) -> (usize, usize, T) {
    let before = (ALLOCATIONS.get(), BYTES.get());
    let given = call();
    (ALLOCATIONS.get() - before.0, BYTES.get() - before.1, given)
}

#[test]
fn count_allocates_nothing_per_socket() {
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let port = upstream.port();
    let filter = Filter::of_states(State::Established).with_either_port(port);
    let scope = Scope::of_port(port);
    let number = || allocated(|| count(&filter, &scope).unwrap());
    let mut held: Vec<Connection> = vec![upstream.connect().unwrap()];
    let few = number();
    held.extend((0..300).map(|_| upstream.connect().unwrap()));
    let many = number();
    assert_eq!((few.2, many.2), (2, 602));
    assert_eq!((few.0, few.1), (many.0, many.1), "allocations and bytes");
    assert!(many.0 < 20 && many.1 < 64 << 10, "{} allocations, {} bytes", many.0, many.1);
    // A vector that doubles is allocated anew ten times on its way.
    let (allocations, _, rows) = allocated(|| dump(&filter).unwrap());
    assert_eq!(rows.len(), 602);
    assert!(allocations < 40, "{allocations} for {} rows", rows.len());
}
