//! Interim responses (1xx, RFC 9110, 15.2): whom they are told to, and the request body that waits
//! for one of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};

use crate::deadline::Deadline;
use crate::wire::body::Body;

/// What a response may come to before its final head: interim ones, and the head itself. Go's
/// `MaxResponseHeaderBytes` counts the same.
pub(crate) const MAX_BYTES_BEFORE_HEAD: u64 = 1 << 20;

/// A caller who wants to know of interim responses.
#[derive(Clone)]
pub(crate) struct Listener(Arc<Tell>);

type Tell = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl Listener {
    pub(crate) fn new(tell: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Prepares a request for the interim responses that concern it. One that expects none and tells of
/// none is left as it is.
pub(crate) fn prepare(request: &mut Request<Body>, expect_continue_timeout: Duration) {
    let listener = request.extensions().get::<Listener>().cloned();
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
        if let Some(Listener(tell)) = &listener {
            tell(response.status(), response.headers());
        }
    });
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(EXPECT).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What a request body waits at, until it may be sent.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Passage>);

#[derive(Debug, Default)]
struct Passage {
    open: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn lock(&self) -> std::sync::MutexGuard<'_, Passage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) {
        let waiting = {
            let mut passage = self.lock();
            passage.open = true;
            passage.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Ready when it is open.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut passage = self.lock();
        if passage.open {
            return Poll::Ready(());
        }
        passage.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A request that waits for leave to send its body, and how long it does.
pub(crate) struct Expectation {
    gate: Arc<Gate>,
    limit: Duration,
    /// Since the head was written.
    timer: Option<Deadline>,
}

impl Expectation {
    pub(crate) fn of(body: &Body, limit: Duration) -> Option<Self> {
        body.gate().map(|gate| Self { gate: Arc::clone(gate), limit, timer: None })
    }

    /// True once the time is over: the gate is open then, and the body can go.
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

    /// Whether the body has not been let go.
    pub(crate) fn is_held(&self) -> bool {
        !self.gate.is_open()
    }
}
