//! How a wake-up reaches whoever has a connection, and none is lost.
//!
//! hyper and tokio know one waker of a connection, for as long as it lives. Whom it wakes changes:
//! nobody while the owner looks for itself, the owner's task while that waits, the keeper while the
//! connection is idle. Anybody may [`ring`](Signal::ring) at any time, from any thread; everything
//! else is done by the one that owns the connection.
//!
//! ```text
//!             take                    wait                  ring: wakes the task
//!   idle ───────────────► looking ───────────► waiting ─────────────────┐
//!    ▲  ring: keeper      ▲  │  ▲  ring: remembered                     │
//!    └────────────────────┼──┘  └──────────────────────────────────────┘
//!             leave       └ look
//! ```
//!
//! What must hold: **whoever rings has made what it rings for visible before; then the owner looks
//! again after that, or its task is woken after that, or the keeper is called after that.** Why it
//! does: let a ring come while the connection is not idle.
//!
//! * If the owner looks (or takes, or leaves) afterwards, its swap reads what the ring wrote, and so
//!   everything before the ring is visible to it.
//! * If not, the owner has looked before. It waits next by putting its waker in, and then reading
//!   whether somebody rang. The ring writes that first, and then takes the waker out. Putting in and
//!   taking out are in some order, by the lock. Put in first: the ring finds the waker and wakes the
//!   task, or somebody else has taken it, who is about to wake the same task. Taken out first: then
//!   what the ring wrote before is visible to the owner, who reads it, and wakes its task itself.
//! * A ring that finds another one not yet looked at does nothing: the same look will see both.
//!
//! Whoever takes a waker out wakes it, even if the connection has passed to somebody else meanwhile:
//! that is one wake-up for nothing, and its task, looking again, puts another one in.

use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicU8, Mutex, Ordering};

/// Nobody has the connection: the keeper is to be called.
const IDLE: u8 = 1;
/// Somebody has rung since the owner looked last.
const RUNG: u8 = 2;

/// Whom a ring is to call, who is not called by the ring itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Call {
    Nobody,
    Keeper,
}

#[derive(Debug)]
pub(crate) struct Signal {
    state: AtomicU8,
    /// The owner's, from when it waits until somebody rings.
    task: Mutex<Option<Waker>>,
}

impl Signal {
    /// Not idle.
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(0), task: Mutex::new(None) }
    }

    /// Something has happened. By anybody.
    pub(crate) fn ring(&self) -> Call {
        let before = self.state.fetch_or(RUNG, Ordering::AcqRel);
        if before & IDLE != 0 {
            return Call::Keeper;
        }
        if before & RUNG == 0
            && let Some(task) = self.exchange(None)
        {
            task.wake();
        }
        Call::Nobody
    }

    /// The owner is about to look at everything. True if somebody has rung since it did so last: then
    /// its waker has been taken out, or is about to be.
    pub(crate) fn look(&self) -> bool {
        self.state.swap(0, Ordering::AcqRel) & RUNG != 0
    }

    /// The owner has looked and found nothing to do: `task` is woken at the next ring, or now if
    /// there was one.
    pub(crate) fn wait(&self, task: Waker) {
        // Dropped outside the lock, as everything is.
        drop(self.exchange(Some(task)));
        if self.state.load(Ordering::Acquire) & RUNG != 0
            && let Some(task) = self.exchange(None)
        {
            task.wake();
        }
    }

    /// The owner waits no more.
    pub(crate) fn forget(&self) {
        drop(self.exchange(None));
    }

    /// The owner leaves the connection idle. True if somebody has rung since it looked last.
    pub(crate) fn leave(&self) -> bool {
        self.state.swap(IDLE, Ordering::AcqRel) & RUNG != 0
    }

    /// Somebody owns the connection again. True if somebody has rung while it was idle.
    pub(crate) fn take(&self) -> bool {
        self.look()
    }

    /// Whether it is idle and somebody has rung. What rings while it is owned is the owner's.
    pub(crate) fn has_rung_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE | RUNG
    }

    fn exchange(&self, task: Option<Waker>) -> Option<Waker> {
        std::mem::replace(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner), task)
    }
}
