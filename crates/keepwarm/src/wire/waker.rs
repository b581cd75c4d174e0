//! Waker of a connection: wakes the task that owns it, or reports an idle one to the pool.
//!
//! The rules are [`WakeState`]'s. This module adds the [`Waker`] that the driver is polled with,
//! the owner's handle, and the trait through which the pool is told. It knows no pool.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

use super::wake_state::{Call, WakeState};

/// Receiver of the wake-ups of one connection while it is idle.
pub(crate) trait NotifyIdle: fmt::Debug + Send + Sync {
    /// Called on any thread when the socket of the idle connection became ready. Must not block.
    fn notify(&self);
}

/// Waker target of one connection, for as long as the connection lives.
#[derive(Debug)]
pub(crate) struct ConnectionWaker {
    state: WakeState,
    /// Set when a pool has taken the connection in.
    pool: OnceLock<Box<dyn NotifyIdle>>,
}

impl ConnectionWaker {
    /// Sets the receiver of idle wake-ups. Called once, when the pool has named the connection.
    pub(crate) fn set_pool(&self, pool: Box<dyn NotifyIdle>) {
        let first = self.pool.set(pool).is_ok();
        debug_assert!(first, "one pool takes a connection in, once");
    }

    /// Repeats a wake-up that came before the pool knew the connection as idle. The keeper found no
    /// idle connection then. Called after each suspension, when the pool knows of it.
    pub(crate) fn recheck(&self) {
        if self.has_rung() {
            self.notify_pool();
        }
    }

    /// Returns true if the socket became ready since the connection is idle.
    pub(crate) fn has_rung(&self) -> bool {
        self.state.has_rung_idle()
    }

    fn notify_pool(&self) {
        if let Some(pool) = self.pool.get() {
            pool.notify();
        }
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.state.ring() {
            Call::Done => {}
            Call::Keeper => self.notify_pool(),
        }
    }
}

/// The owner's handle on the waker of its connection.
#[derive(Debug)]
pub(crate) struct WakerOwner {
    target: Arc<ConnectionWaker>,
    waker: Waker,
    /// A task's waker is stored in the wake state, unless a ring has just taken it.
    waiting: bool,
}

impl WakerOwner {
    pub(crate) fn new() -> Self {
        let target = Arc::new(ConnectionWaker { state: WakeState::new(), pool: OnceLock::new() });
        Self { waker: Waker::from(Arc::clone(&target)), target, waiting: false }
    }

    pub(crate) const fn target(&self) -> &Arc<ConnectionWaker> {
        &self.target
    }

    /// Begins a poll of everything by the owner. True if there was a wake-up since the last one.
    pub(crate) fn look(&mut self) -> bool {
        let rung = self.target.state.look();
        if rung {
            self.waiting = false;
        }
        rung
    }

    /// Returns the context that the stream and the body are polled with.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Has the task of `cx` woken by the connection.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        self.target.state.wait(cx.waker().clone());
        self.waiting = true;
    }

    /// Makes the connection idle. True if its socket became ready already.
    pub(crate) fn leave(&mut self) -> bool {
        let rung = self.target.state.leave();
        if std::mem::take(&mut self.waiting) && !rung {
            // The last poll had another reason, a timer. Without this the connection would keep the
            // task alive as long as it lives itself.
            self.target.state.forget();
        }
        rung
    }

    /// Takes the connection over again. True if its socket became ready while it was idle.
    pub(crate) fn take(&mut self) -> bool {
        self.target.state.take()
    }
}
