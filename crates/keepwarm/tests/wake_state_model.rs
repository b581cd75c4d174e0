//! No ring of a [`WakeState`](wake_state::WakeState) is lost: every interleaving of the ringing
//! threads with the owner, in the C11 memory model, by loom. The file under test is the product's
//! own; only its locks and atomics are loom's.

#[path = "../src/wire/wake_state.rs"]
mod wake_state;

/// The locks and atomics that the product's file is compiled with here.
mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
}

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wake_state::{Call, WakeState};

/// A task that can be woken, and waits for it. One that is never woken is a deadlock, which loom
/// reports.
struct Task(Notify);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// A connection, as seen by those who make it ring.
struct Bench {
    state: WakeState,
    /// The events so far, made visible with relaxed ordering alone.
    happened: [AtomicBool; 2],
    keeper_called: AtomicUsize,
}

impl Bench {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: WakeState::new(),
            happened: [AtomicBool::new(false), AtomicBool::new(false)],
            keeper_called: AtomicUsize::new(0),
        })
    }

    fn happen(&self, which: usize) {
        self.happened[which].store(true, Ordering::Relaxed);
        if self.state.ring() == Call::Keeper {
            // After what happened, as a letter in the keeper's box is.
            self.keeper_called.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn has_happened(&self, count: usize) -> bool {
        self.happened[..count].iter().all(|one| one.load(Ordering::Relaxed))
    }

    fn in_threads(self: &Arc<Self>, count: usize) -> Vec<loom::thread::JoinHandle<()>> {
        let start = |which| {
            let bench = Arc::clone(self);
            loom::thread::spawn(move || bench.happen(which))
        };
        (0..count).map(start).collect()
    }

    /// Acts as the task of a request: looks, and waits until there is more to see.
    fn run_until_happened(&self, count: usize) {
        loop {
            let task = Arc::new(Task(Notify::new()));
            self.state.look();
            if self.has_happened(count) {
                return;
            }
            self.state.wait(Waker::from(Arc::clone(&task)));
            task.0.wait();
        }
    }
}

#[test]
fn waiting_task_sees_every_ring() {
    // One ring in every interleaving; two in all those with up to two switches away from a thread
    // that could have gone on: without that limit it takes hours.
    for (count, preemptions) in [(1, None), (2, Some(2))] {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = preemptions;
        model.check(move || {
            let bench = Bench::new();
            let threads = bench.in_threads(count);
            bench.run_until_happened(count);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

/// The task is polled for another reason, a timer's, while its waker is with the signal.
#[test]
fn spurious_look_loses_nothing() {
    loom::model(|| {
        let bench = Bench::new();
        let threads = bench.in_threads(1);
        bench.state.look();
        if !bench.has_happened(1) {
            bench.state.wait(Waker::noop().clone());
        }
        bench.run_until_happened(1);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// From one task's hands through the pool into another's: a ring is seen by the first before it
/// leaves, or the keeper is called, or the second is told as it takes the connection.
#[test]
fn rings_follow_a_connection_to_its_next_owner() {
    loom::model(|| {
        let bench = Bench::new();
        let threads = bench.in_threads(1);
        bench.state.look();
        let mut seen = bench.has_happened(1);
        if !seen {
            bench.state.wait(Waker::noop().clone());
        }
        if bench.state.leave() {
            // The owner looks once more before it lets go.
            seen = bench.has_happened(1);
            assert!(seen, "who is told of a ring sees what it rang for");
        }
        bench.state.forget();
        if bench.state.take() {
            assert!(bench.has_happened(1), "who is told of a ring sees what it rang for");
            seen = true;
        }
        if !seen {
            bench.run_until_happened(1);
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn idle_ring_calls_keeper_or_is_known() {
    loom::model(|| {
        let bench = Bench::new();
        let threads = bench.in_threads(1);
        bench.state.look();
        let seen = bench.has_happened(1);
        let told = bench.state.leave();
        for thread in threads {
            thread.join().unwrap();
        }
        let called = bench.keeper_called.load(Ordering::Acquire) > 0;
        assert!(seen || told || called, "a ring is lost");
        assert_eq!(called, bench.state.has_rung_idle(), "what the keeper is called for is known");
        if told {
            assert!(bench.has_happened(1));
        }
    });
}
