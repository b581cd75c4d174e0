//! State machine behind a connection's waker: decides whom a wake-up reaches, and loses none.
//!
//! A stream knows one waker of its connection, for as long as that lives. Its target changes: no
//! task while the owner polls the connection by itself, the owner's task while that waits, the
//! keeper while the connection is idle. Any thread may [`ring`](WakeState::ring) at any time; every
//! other method is called by the owner of the connection.
//!
//! ```text
//!             take                    wait                  ring: wakes the task
//!   idle ───────────────► looking ───────────► waiting ─────────────────┐
//!    ▲  ring: keeper      ▲  │  ▲  ring: remembered                     │
//!    └────────────────────┼──┘  └──────────────────────────────────────┘
//!             leave       └ look
//! ```
//!
//! Invariant: **a caller of `ring` has made its event visible before the call; afterwards the owner
//! looks again, or its task is woken, or the keeper is called.** Proof, for a ring that comes while
//! the connection is not idle:
//!
//! * If the owner looks (or takes, or leaves) afterwards, its swap reads what the ring wrote, and
//!   so everything before the ring is visible to it.
//! * If not, the owner has looked before. It waits next by storing its waker, and then reading
//!   whether there was a ring. The ring writes that flag first, and then takes the waker out.
//!   Storing and taking out are ordered by the lock. Stored first: the ring finds the waker and
//!   wakes the task, or another ring has taken it, which is about to wake the same task. Taken out
//!   first: then the flag that the ring wrote before is visible to the owner, which wakes its task
//!   itself.
//! * A ring that finds an earlier ring not yet looked at does nothing: the same look will see both.
//!
//! A thread that takes a waker out wakes it, even if the connection has passed to another owner
//! meanwhile: that is one spurious wake-up, and its task, looking again, stores another waker.

use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicU8, Mutex, Ordering};

/// No owner: a ring calls the keeper.
const IDLE: u8 = 1;
/// There was a ring since the owner looked last.
const RUNG: u8 = 2;

/// Target that the caller of [`WakeState::ring`] still has to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Call {
    /// Nothing to do: the owner's task was woken, or will look by itself.
    Done,
    /// The keeper is to be called.
    Keeper,
}

#[derive(Debug)]
pub(crate) struct WakeState {
    flags: AtomicU8,
    /// The owner's waker, from when it waits until the next ring.
    task: Mutex<Option<Waker>>,
}

impl WakeState {
    /// Creates the state of a connection that has an owner.
    pub(crate) fn new() -> Self {
        Self { flags: AtomicU8::new(0), task: Mutex::new(None) }
    }

    /// Reports an event. Called by any thread.
    pub(crate) fn ring(&self) -> Call {
        let before = self.flags.fetch_or(RUNG, Ordering::AcqRel);
        if before & IDLE != 0 {
            return Call::Keeper;
        }
        if before & RUNG == 0
            && let Some(task) = self.exchange(None)
        {
            task.wake();
        }
        Call::Done
    }

    /// Begins a poll of everything by the owner. True if there was a ring since its last look: then
    /// its waker has been taken out, or is about to be.
    pub(crate) fn look(&self) -> bool {
        self.flags.swap(0, Ordering::AcqRel) & RUNG != 0
    }

    /// Stores the owner's waker after a look that found nothing to do. `task` is woken at the next
    /// ring, or now if there was one.
    pub(crate) fn wait(&self, task: Waker) {
        // The old waker is dropped outside the lock, as everything is.
        drop(self.exchange(Some(task)));
        if self.flags.load(Ordering::Acquire) & RUNG != 0
            && let Some(task) = self.exchange(None)
        {
            task.wake();
        }
    }

    /// Removes the owner's waker: it waits no more.
    pub(crate) fn forget(&self) {
        drop(self.exchange(None));
    }

    /// Makes the connection idle. True if there was a ring since the owner looked last.
    pub(crate) fn leave(&self) -> bool {
        self.flags.swap(IDLE, Ordering::AcqRel) & RUNG != 0
    }

    /// Gives the connection an owner again. True if there was a ring while it was idle.
    pub(crate) fn take(&self) -> bool {
        self.look()
    }

    /// Returns true if the connection is idle and there was a ring. A ring while it has an owner is
    /// the owner's to look at.
    pub(crate) fn has_rung_idle(&self) -> bool {
        self.flags.load(Ordering::Acquire) == IDLE | RUNG
    }

    fn exchange(&self, task: Option<Waker>) -> Option<Waker> {
        std::mem::replace(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner), task)
    }
}
