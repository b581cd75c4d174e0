//! Events and span of one request, from its beginning to its end, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use keepwarm_pool::Moment;

use super::event_queue::EventQueue;
use super::observer::{EventKind, Outcome};
use super::spans::RequestSpan;
use crate::clock::Clock;
use crate::error::Error;

/// The events of one request, and its span. Costs nothing if the client has neither observers nor
/// `tracing`. Dropped before the request's end, it reports the request as dropped.
#[derive(Debug, Default)]
pub(crate) struct RequestEvents {
    /// Set if the client has observers.
    observed: Option<Box<Observed>>,
    span: RequestSpan,
}

#[derive(Debug)]
struct Observed {
    queue: Arc<EventQueue>,
    clock: Clock,
    origin: Arc<str>,
    request: u64,
    began: Moment,
    method: Method,
    status: Option<StatusCode>,
    /// Bytes of the request's body, counted by the body itself.
    sent: Arc<AtomicU64>,
    received: u64,
    ended: bool,
}

impl RequestEvents {
    pub(crate) fn begin(
        queue: Option<&Arc<EventQueue>>,
        clock: &Clock,
        origin: &Arc<str>,
        method: &Method,
    ) -> Self {
        let span = RequestSpan::new(origin, method);
        let Some(queue) = queue else {
            return Self { observed: None, span };
        };
        let observed = Observed {
            queue: Arc::clone(queue),
            clock: clock.clone(),
            origin: Arc::clone(origin),
            request: queue.number_request(),
            began: clock.now(),
            method: method.clone(),
            status: None,
            sent: Arc::default(),
            received: 0,
            ended: false,
        };
        let request = observed.request;
        observed.report(EventKind::RequestBegan { request, method: method.clone() });
        Self { observed: Some(Box::new(observed)), span }
    }

    pub(crate) const fn span(&self) -> &RequestSpan {
        &self.span
    }

    /// Returns the request's number; 0 without observers.
    pub(crate) fn request(&self) -> u64 {
        self.observed.as_ref().map_or(0, |observed| observed.request)
    }

    /// Records that the request is handed to a connection. Returns the counter that its body has to
    /// count into.
    pub(crate) fn attempt(&self, attempt: u32) -> Option<Arc<AtomicU64>> {
        let observed = self.observed.as_ref()?;
        observed.sent.store(0, Ordering::Relaxed);
        if attempt > 1 {
            observed.report(EventKind::RequestRetried { request: observed.request, attempt });
        }
        Some(Arc::clone(&observed.sent))
    }

    pub(crate) fn head(&mut self, status: StatusCode) {
        self.span.head(status);
        let Some(observed) = &mut self.observed else { return };
        observed.status = Some(status);
        observed.report(EventKind::HeadReceived { request: observed.request, status });
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        if let Some(observed) = &mut self.observed {
            observed.received += bytes as u64;
        }
    }

    pub(crate) fn complete(&mut self) {
        self.span.end();
        if let Some(mut observed) = self.observed.take() {
            observed.end(Outcome::Complete);
        }
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        self.span.fail(error);
        self.span.end();
        if let Some(mut observed) = self.observed.take() {
            observed.end(Outcome::Failed(error.clone()));
        }
    }
}

impl Observed {
    /// Records an event and delivers it. Called while no lock is held.
    fn report(&self, kind: EventKind) {
        self.queue.record(self.clock.now(), &self.origin, kind);
        self.queue.deliver();
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.report(EventKind::RequestEnded {
            request: self.request,
            method: self.method.clone(),
            status: self.status,
            outcome,
            took: self.clock.now().since(self.began),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received,
        });
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Dropped);
        }
    }
}
