//! Interim responses (1xx, RFC 9110, 15.2): their listener, and the request body that waits for
//! one.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};

use super::body::Body;
use super::gate::Gate;
use crate::deadline::Deadline;

/// Limit on the bytes up to the end of the final head: interim responses and that head together.
/// Go's `MaxResponseHeaderBytes` counts the same.
pub(crate) const MAX_BYTES_BEFORE_HEAD: u64 = 1 << 20;

/// A caller's function that is called for each interim response.
#[derive(Clone)]
pub(crate) struct InterimListener(Arc<Listen>);

type Listen = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl InterimListener {
    pub(crate) fn new(listen: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }
}

impl fmt::Debug for InterimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterimListener")
    }
}

/// Prepares a request for interim responses. A request without `Expect: 100-continue` and without a
/// listener is left unchanged.
pub(crate) fn prepare(request: &mut Request<Body>, expect_continue_timeout: Duration) {
    let listener = request.extensions().get::<InterimListener>().cloned();
    let waits = !expect_continue_timeout.is_zero()
        && !http_body::Body::is_end_stream(request.body())
        && expects_continue(request.headers());
    let gate = waits.then(|| request.body_mut().hold());
    if listener.is_none() && gate.is_none() {
        return;
    }
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE
            && let Some(gate) = &gate
        {
            gate.open();
        }
        if let Some(InterimListener(listen)) = &listener {
            listen(response.status(), response.headers());
        }
    });
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(EXPECT).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A request that waits for permission to send its body, with the time limit of that wait.
pub(crate) struct Expectation {
    gate: Arc<Gate>,
    limit: Duration,
    /// Runs since the head was written.
    timer: Option<Deadline>,
}

impl Expectation {
    pub(crate) fn of(body: &Body, limit: Duration) -> Option<Self> {
        body.gate().map(|gate| Self { gate: Arc::clone(gate), limit, timer: None })
    }

    /// Returns true once the time is over: the gate is open then, and the body can be sent.
    pub(crate) fn poll_over(&mut self, head_is_written: bool, cx: &mut Context<'_>) -> bool {
        if !head_is_written || self.gate.is_open() {
            return false;
        }
        let limit = self.limit;
        let over = self.timer.get_or_insert_with(|| Deadline::after(Some(limit))).poll_expired(cx);
        if over {
            self.gate.open();
        }
        over
    }

    /// Returns true if the body is still held back.
    pub(crate) fn is_held(&self) -> bool {
        !self.gate.is_open()
    }
}
