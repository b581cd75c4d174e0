//! Interim responses (1xx, RFC 9110, 15.2): their listener, and the time that a request body waits
//! for one.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, StatusCode};
use keepwarm_http1::fields::listed;

use super::connection::Connection;
use crate::deadline::Deadline;

/// A caller's function that is called for each interim response.
#[derive(Clone)]
pub(crate) struct InterimListener(Arc<Listen>);

type Listen = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl InterimListener {
    pub(crate) fn new(listen: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    pub(crate) fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        (self.0)(status, headers);
    }
}

impl fmt::Debug for InterimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterimListener")
    }
}

/// Returns true if the request expects `100 Continue` before its body is sent.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    listed(headers, &EXPECT).any(|member| member.eq_ignore_ascii_case(b"100-continue"))
}

/// The time limit of a request that waits for permission to send its body.
#[derive(Debug)]
pub(crate) struct Expectation {
    limit: Duration,
    /// Runs since the head was written.
    timer: Option<Deadline>,
}

impl Expectation {
    pub(crate) const fn within(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Returns true once the time is over; the body is then sent without `100 Continue`.
    pub(crate) fn poll_over(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> bool {
        if !connection.has_flushed() || !connection.is_held() {
            return false;
        }
        let limit = self.limit;
        let over = self.timer.get_or_insert_with(|| Deadline::after(Some(limit))).poll_expired(cx);
        if over {
            connection.release();
        }
        over
    }
}
