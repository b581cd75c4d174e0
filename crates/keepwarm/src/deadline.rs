//! The total timeout of one request, carried from the wait for a connection to the body's end.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that may be absent.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Starts now. `None` never expires.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))))
    }

    /// Whether it has expired.
    ///
    /// To be asked before each step that may succeed at once: a peer that always has something to
    /// say would never let the timer be polled.
    pub(crate) fn has_passed(&self) -> bool {
        self.0.as_ref().is_some_and(|sleep| sleep.deadline() <= Instant::now())
    }

    /// Whether it has expired; if not, the task is woken when it does.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        // The clock first: tokio lets no timer fire in a task that has used up its budget.
        self.has_passed() || self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}
