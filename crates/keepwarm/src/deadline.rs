//! Total timeout of one request, from the wait for a connection to the end of the body.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that may be absent.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Starts the timer now. `None` never expires.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))))
    }

    /// Returns true if the timer has expired.
    ///
    /// Called before each step that may succeed at once: with a peer that always has bytes to read,
    /// the timer would never be polled.
    pub(crate) fn has_passed(&self) -> bool {
        self.0.as_ref().is_some_and(|sleep| sleep.deadline() <= Instant::now())
    }

    /// Returns true if the timer has expired; otherwise the task is woken when it does.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        // The clock is read first: tokio fires no timer in a task that has used up its budget.
        self.has_passed() || self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}
