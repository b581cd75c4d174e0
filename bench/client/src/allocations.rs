//! Counts heap allocations, so that a row can say how many a request costs.
//!
//! Each thread counts in a place of its own: a counter that two threads shared would charge the
//! clients that allocate most for the bouncing of its cache line.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More threads than any scenario has. Threads beyond share places, and may lose a count.
const PLACES: usize = 64;

#[repr(align(128))]
struct Place(AtomicU64);

static COUNTS: [Place; PLACES] = [const { Place(AtomicU64::new(0)) }; PLACES];
static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN_PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Allocations and reallocations of all threads since the process began.
pub(crate) fn so_far() -> u64 {
    COUNTS.iter().map(|place| place.0.load(Ordering::Relaxed)).sum()
}

fn count() {
    let place = OWN_PLACE.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT_PLACE.fetch_add(1, Ordering::Relaxed) % PLACES);
        }
        own.get()
    });
    let count = &COUNTS[place].0;
    // Only this thread writes here: no locked instruction is needed.
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to `System` unchanged; counting touches no memory of the heap,
// since the thread-local is initialised by a constant and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}
