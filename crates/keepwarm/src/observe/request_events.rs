//! One request as the observers see it, from its beginning to its end, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use keepwarm_pool::Moment;

use crate::error::Error;
use crate::observe::observer::{EventKind, Outcome};
use crate::observe::spans::RequestSpan;
use crate::pool::origin::Origin;
use crate::wire::body::Body;

/// The events of one request, and its span. Free, if nobody asks for either. Dropped before its end,
/// the request was dropped.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// If somebody observes.
    steps: Option<Box<Steps>>,
    span: RequestSpan,
}

#[derive(Debug)]
struct Steps {
    origin: Arc<Origin>,
    request: u64,
    began: Moment,
    method: Method,
    status: Option<StatusCode>,
    /// Bytes of the body, counted by whoever takes them.
    sent: Arc<AtomicU64>,
    received: u64,
    ended: bool,
}

impl Trail {
    pub(crate) fn begin(origin: &Arc<Origin>, method: &Method) -> Self {
        let span = RequestSpan::new(origin.name(), method);
        let Some(outbox) = &origin.shared().outbox else {
            return Self { steps: None, span };
        };
        let request = outbox.number_request();
        let steps = Steps {
            origin: Arc::clone(origin),
            request,
            began: origin.shared().clock.now(),
            method: method.clone(),
            status: None,
            sent: Arc::default(),
            received: 0,
            ended: false,
        };
        origin.tell(|| EventKind::RequestBegan { request, method: method.clone() });
        Self { steps: Some(Box::new(steps)), span }
    }

    pub(crate) const fn span(&self) -> &RequestSpan {
        &self.span
    }

    /// Its number; 0 if nobody asks.
    pub(crate) fn request(&self) -> u64 {
        self.steps.as_ref().map_or(0, |steps| steps.request)
    }

    /// The request is handed to a connection, with this body.
    pub(crate) fn attempt(&self, attempt: u32, body: &mut Body) {
        let Some(steps) = &self.steps else { return };
        steps.sent.store(0, Ordering::Relaxed);
        body.count_into(Arc::clone(&steps.sent));
        if attempt > 1 {
            steps.origin.tell(|| EventKind::RequestRetried { request: steps.request, attempt });
        }
    }

    pub(crate) fn head(&mut self, status: StatusCode) {
        self.span.head(status);
        let Some(steps) = &mut self.steps else { return };
        steps.status = Some(status);
        steps.origin.tell(|| EventKind::HeadReceived { request: steps.request, status });
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        if let Some(steps) = &mut self.steps {
            steps.received += bytes as u64;
        }
    }

    pub(crate) fn complete(&mut self) {
        self.span.end();
        if let Some(mut steps) = self.steps.take() {
            steps.end(Outcome::Complete);
        }
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        self.span.fail(error);
        self.span.end();
        if let Some(mut steps) = self.steps.take() {
            steps.end(Outcome::Failed(error.clone()));
        }
    }
}

impl Steps {
    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        let took = self.origin.shared().clock.now().since(self.began);
        self.origin.tell(|| EventKind::RequestEnded {
            request: self.request,
            method: self.method.clone(),
            status: self.status,
            outcome,
            took,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received,
        });
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Dropped);
        }
    }
}
