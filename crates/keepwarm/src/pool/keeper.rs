//! The keeper: one background task a client that inspects idle connections whose sockets became
//! ready, closes expired connections, and keeps the idle connections of all origins within their
//! limit.
//!
//! The task is started when first needed, on the runtime of the caller that needs it, and started
//! again on another runtime if that one ends. It keeps nothing alive: when the client is dropped it
//! ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use keepwarm_pool::{ConnectionId, Moment};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::pool::origin::Origin;
use crate::pool::origins::Origins;
use crate::wire::waker::NotifyIdle;

/// Handle on the keeper task: the messages to it, and its state.
#[derive(Debug)]
pub(crate) struct Keeper {
    origins: OnceLock<Weak<Origins>>,
    bell: Notify,
    /// The moment until which the task sleeps. `NEVER` while it works, so that no deadline is
    /// missed.
    armed: AtomicU64,
    running: AtomicBool,
    /// Idle connections whose sockets became ready. At most one entry for each wake-up.
    ready: Mutex<Vec<(Weak<Origin>, ConnectionId)>>,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            origins: OnceLock::new(),
            bell: Notify::new(),
            armed: AtomicU64::new(Moment::NEVER.as_nanos()),
            running: AtomicBool::new(false),
            ready: Mutex::new(Vec::new()),
        }
    }

    /// Sets the origins that the keeper serves. Called once.
    pub(crate) fn serve(&self, origins: &Arc<Origins>) {
        let first = self.origins.set(Arc::downgrade(origins)).is_ok();
        debug_assert!(first, "a keeper serves one client");
    }

    /// Returns the origins that the keeper serves; `None` if the client is gone.
    pub(crate) fn origins(&self) -> Option<Arc<Origins>> {
        self.origins.get().and_then(Weak::upgrade)
    }

    /// Announces that an origin has idle connections, the first of which expires at `deadline`.
    /// Idle connections that never expire are announced too: the keeper inspects them.
    pub(crate) fn expect(self: &Arc<Self>, deadline: Moment) {
        self.ensure_running();
        if deadline.as_nanos() < self.armed.load(Ordering::SeqCst) {
            self.bell.notify_one();
        }
    }

    /// Wakes the keeper: there is work now.
    pub(crate) fn call(self: &Arc<Self>) {
        self.ensure_running();
        self.bell.notify_one();
    }

    /// Has an idle connection inspected.
    fn inspect(&self, origin: Weak<Origin>, connection: ConnectionId) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push((origin, connection));
        self.bell.notify_one();
    }

    /// Wakes the keeper so that it ends: the client is gone.
    pub(crate) fn dismiss(&self) {
        self.bell.notify_one();
    }

    fn ensure_running(self: &Arc<Self>) {
        if self.running.load(Ordering::Relaxed) {
            return;
        }
        // Outside a runtime there is nowhere to run; the next call inside a runtime starts the
        // task.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.running.swap(true, Ordering::SeqCst) {
            runtime.spawn(run(Arc::clone(self), OnDuty(Arc::clone(self))));
        }
    }

    fn take_ready(&self) -> Vec<(Weak<Origin>, ConnectionId)> {
        std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Passes the wake-ups of one idle connection on to the keeper. Made once for each connection.
#[derive(Debug)]
pub(crate) struct IdleWakeup {
    keeper: Arc<Keeper>,
    origin: Weak<Origin>,
    connection: ConnectionId,
}

impl IdleWakeup {
    pub(crate) const fn new(
        keeper: Arc<Keeper>,
        origin: Weak<Origin>,
        connection: ConnectionId,
    ) -> Self {
        Self { keeper, origin, connection }
    }
}

impl NotifyIdle for IdleWakeup {
    fn notify(&self) {
        self.keeper.inspect(self.origin.clone(), self.connection);
    }
}

/// Resets `running` however the task ends, also by the end of its runtime.
struct OnDuty(Arc<Keeper>);

impl Drop for OnDuty {
    fn drop(&mut self) {
        self.0.armed.store(Moment::NEVER.as_nanos(), Ordering::SeqCst);
        self.0.running.store(false, Ordering::SeqCst);
    }
}

async fn run(keeper: Arc<Keeper>, _on_duty: OnDuty) {
    loop {
        keeper.armed.store(Moment::NEVER.as_nanos(), Ordering::SeqCst);
        for (origin, connection) in keeper.take_ready() {
            if let Some(origin) = origin.upgrade() {
                origin.inspect(connection);
            }
        }
        let Some(origins) = keeper.origins() else {
            return;
        };
        origins.enforce_idle_limit();
        let deadline = origins.tick();
        let alarm = origins.shared().clock.instant(deadline);
        drop(origins);

        keeper.armed.store(deadline.as_nanos(), Ordering::SeqCst);
        match alarm {
            None => keeper.bell.notified().await,
            Some(instant) => {
                tokio::select! {
                    () = keeper.bell.notified() => {}
                    () = tokio::time::sleep_until(instant) => {}
                }
            }
        }
    }
}
