//! An orderly end of a client: no new request, and time for those that are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::error::{Error, Kind, Result, Stage};

/// Whether a client is closing, and who has to know of the end of its last request.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    is_requested: AtomicBool,
    /// Requests that have no connection at the moment, and will ask for one: between two hops of a
    /// redirect, or before they go again without an expectation.
    between_hops: AtomicUsize,
    changed: Notify,
}

impl Closing {
    /// Refuses a request that begins now if the client is closing.
    pub(crate) fn admit(&self) -> Result<()> {
        if !self.is_requested.load(Ordering::Relaxed) {
            return Ok(());
        }
        let words = "the client is shutting down (Client::shutdown)";
        Err(Error::new(Stage::Wait, Kind::ShutDown).with_message(words))
    }

    /// Begins the end.
    pub(crate) fn request(&self) {
        self.is_requested.store(true, Ordering::SeqCst);
    }

    /// Notes that a connection may have come free, or a waiter have gone.
    pub(crate) fn note_change(&self) {
        if self.is_requested.load(Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }

    /// Notes that a request goes on to another hop or goes again, until the guard is dropped.
    pub(crate) fn hold(this: &Arc<Self>) -> Hold {
        this.between_hops.fetch_add(1, Ordering::SeqCst);
        Hold(Arc::clone(this))
    }

    /// Waits until no request is under way. `is_busy` says whether a pool knows of one.
    pub(crate) async fn quiet(&self, is_busy: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.between_hops.load(Ordering::SeqCst) == 0 && !is_busy() {
                return;
            }
            changed.await;
        }
    }
}

/// A request between two hops.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Closing>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.between_hops.fetch_sub(1, Ordering::SeqCst);
        self.0.note_change();
    }
}
