//! Timers of one request: the total timeout, from the wait for a connection to the end of the body,
//! and the watch for a peer that has come to a standstill.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that may be absent.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Returns no timer.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Starts the timer now. `None` never expires.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))))
    }

    /// Returns true if there is a timer.
    pub(crate) const fn is_set(&self) -> bool {
        self.0.is_some()
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

/// Watch for a peer with which no byte passes in either direction. Absent if there is no limit.
#[derive(Debug, Default)]
pub(crate) struct StallWatch(Option<Box<Watched>>);

#[derive(Debug)]
struct Watched {
    limit: Duration,
    /// Bytes that had passed at the last look, and the moment of the last progress, once there was a
    /// look.
    bytes: u64,
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl StallWatch {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let watched = |limit| Box::new(Watched { limit, bytes: 0, since: None, sleep: None });
        Self(limit.map(watched))
    }

    /// Returns true if there is a limit.
    pub(crate) const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Returns true if no byte has passed for the time of the limit; otherwise the task is woken
    /// when that is over. `bytes` is the number that have passed so far; while the caller is waited
    /// for, and not the peer, the time starts again.
    pub(crate) fn poll_stalled(
        &mut self,
        bytes: u64,
        waits_for_peer: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        self.0.as_mut().is_some_and(|watched| watched.poll_stalled(bytes, waits_for_peer, cx))
    }
}

impl Watched {
    fn poll_stalled(&mut self, bytes: u64, waits_for_peer: bool, cx: &mut Context<'_>) -> bool {
        if bytes != self.bytes || !waits_for_peer || self.sleep.is_none() {
            (self.bytes, self.since) = (bytes, Some(Instant::now()));
        }
        if !waits_for_peer {
            return false;
        }
        let end = self.since.and_then(|since| since.checked_add(self.limit));
        let Some(end) = end else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // The timer is moved only when it has fired: progress costs no change of it.
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return true;
            }
            sleep.as_mut().reset(end);
        }
        false
    }
}
