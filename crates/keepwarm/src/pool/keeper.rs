//! The housekeeper of one client: a task that looks at idle sockets that have spoken, closes what
//! has expired, and keeps the idle connections of all origins within their limit.
//!
//! It is started when first needed, on the runtime of whoever needs it, and started again elsewhere
//! if that runtime ends. It keeps nothing alive: when the client is dropped it ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use keepwarm_pool::{ConnectionId, Moment};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::pool::origin::Origin;
use crate::pool::origins::Origins;

/// The housekeeper's letter box.
#[derive(Debug)]
pub(crate) struct Keeper {
    origins: OnceLock<Weak<Origins>>,
    bell: Notify,
    /// The moment the task sleeps until. `NEVER` while it works, so that nothing is missed.
    armed: AtomicU64,
    running: AtomicBool,
    /// Idle connections whose sockets have spoken. At most one entry for each wake-up.
    spoken: Mutex<Vec<(Weak<Origin>, ConnectionId)>>,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            origins: OnceLock::new(),
            bell: Notify::new(),
            armed: AtomicU64::new(Moment::NEVER.as_nanos()),
            running: AtomicBool::new(false),
            spoken: Mutex::new(Vec::new()),
        }
    }

    /// Tells the keeper whose house it keeps. Once.
    pub(crate) fn serve(&self, origins: &Arc<Origins>) {
        let first = self.origins.set(Arc::downgrade(origins)).is_ok();
        debug_assert!(first, "a keeper serves one client");
    }

    /// The house.
    pub(crate) fn origins(&self) -> Option<Arc<Origins>> {
        self.origins.get().and_then(Weak::upgrade)
    }

    /// An origin has idle connections, the first of which expires at `deadline`. Those that never
    /// expire are watched too.
    pub(crate) fn expect(self: &Arc<Self>, deadline: Moment) {
        self.ensure_running();
        if deadline.as_nanos() < self.armed.load(Ordering::SeqCst) {
            self.bell.notify_one();
        }
    }

    /// Come and look: something is to be done now.
    pub(crate) fn call(self: &Arc<Self>) {
        self.ensure_running();
        self.bell.notify_one();
    }

    /// The socket of an idle connection has spoken.
    pub(crate) fn look_at(&self, origin: Weak<Origin>, connection: ConnectionId) {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner).push((origin, connection));
        self.bell.notify_one();
    }

    /// The client is gone.
    pub(crate) fn dismiss(&self) {
        self.bell.notify_one();
    }

    fn ensure_running(self: &Arc<Self>) {
        if self.running.load(Ordering::Relaxed) {
            return;
        }
        // Outside a runtime there is nowhere to run; whoever comes next from inside one starts it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.running.swap(true, Ordering::SeqCst) {
            runtime.spawn(run(Arc::clone(self), OnDuty(Arc::clone(self))));
        }
    }

    fn take_spoken(&self) -> Vec<(Weak<Origin>, ConnectionId)> {
        std::mem::take(&mut *self.spoken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Resets `running` however the task ends, the end of its runtime included.
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
        for (origin, connection) in keeper.take_spoken() {
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
