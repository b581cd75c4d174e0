//! Spans of `tracing`, behind the feature of that name. Without it every type here is empty, and
//! every function hands back what it was given.
//!
//! ```text
//! request          from sending to the end of the body, as the caller sees it
//! ├── wait         for a connection, if none was idle
//! ├── write        until the whole request is with the kernel
//! ├── head         from then until the head of the response
//! └── read         from then until the end of the body
//! dial             follows from the request that caused it, and belongs to the pool
//! ├── resolve
//! ├── connect
//! └── tls
//! ```
//!
//! All have the target `keepwarm` and the level `DEBUG`.

#[cfg(feature = "tracing")]
pub(crate) use on::*;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::*;

#[cfg(feature = "tracing")]
mod on {
    use std::future::Future;

    use http::{Method, StatusCode};
    use tracing::field::{Empty, display};
    use tracing::{Instrument, Span, debug_span};

    use crate::error::{Error, Stage};

    /// Span of a request under way. It ends when the last handle is dropped.
    #[derive(Clone, Debug)]
    pub(crate) struct RequestSpan {
        request: Span,
        /// Set while the body is being read.
        read: Option<Span>,
    }

    impl Default for RequestSpan {
        fn default() -> Self {
            Self { request: Span::none(), read: None }
        }
    }

    impl RequestSpan {
        pub(crate) fn new(origin: &str, method: &Method) -> Self {
            let request = debug_span!(
                target: "keepwarm",
                "request",
                origin,
                method = method.as_str(),
                status = Empty,
                error = Empty,
            );
            Self { request, read: None }
        }

        /// Polls a step of the request in its span.
        pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
            self.request.in_scope(poll)
        }

        pub(crate) fn head(&mut self, status: StatusCode) {
            self.request.record("status", status.as_u16());
            let read = debug_span!(target: "keepwarm", parent: &self.request, "read");
            self.read = Some(read);
        }

        pub(crate) fn fail(&mut self, error: &Error) {
            self.request.record("error", display(error));
        }

        pub(crate) fn end(&mut self) {
            *self = Self::default();
        }
    }

    /// Span of an exchange before its response: first `write`, then `head`.
    pub(crate) struct SendSpan {
        span: Span,
        written: bool,
    }

    impl SendSpan {
        pub(crate) fn write() -> Self {
            Self { span: debug_span!(target: "keepwarm", "write"), written: false }
        }

        /// Ends the span.
        pub(crate) fn end(&mut self) {
            self.span = Span::none();
        }

        pub(crate) fn look(&mut self, is_written: impl FnOnce() -> bool) {
            if !self.written && is_written() {
                self.written = true;
                // `write` ends before `head` begins.
                self.span = Span::none();
                self.span = debug_span!(target: "keepwarm", "head");
            }
        }
    }

    /// Span of a wait for a connection.
    pub(crate) struct WaitSpan(Span);

    impl WaitSpan {
        pub(crate) fn new() -> Self {
            Self(debug_span!(target: "keepwarm", "wait"))
        }

        pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
            self.0.in_scope(poll)
        }
    }

    /// Span of a dial. Made where the dial is caused.
    pub(crate) struct DialSpan(Span);

    impl DialSpan {
        pub(crate) fn new(origin: &str) -> Self {
            let span = debug_span!(target: "keepwarm", parent: None, "dial", origin);
            span.follows_from(Span::current());
            Self(span)
        }

        pub(crate) fn around<F: Future>(self, dial: F) -> impl Future<Output = F::Output> {
            dial.instrument(self.0)
        }
    }

    /// Puts a task of its own into the span that it is started in.
    pub(crate) fn inherit<F: Future>(task: F) -> impl Future<Output = F::Output> {
        task.instrument(Span::current())
    }

    /// Puts one step of a dial into its span.
    pub(crate) fn step<F: Future>(stage: Stage, step: F) -> impl Future<Output = F::Output> {
        step.instrument(match stage {
            Stage::Resolve => debug_span!(target: "keepwarm", "resolve"),
            Stage::Tls => debug_span!(target: "keepwarm", "tls"),
            _ => debug_span!(target: "keepwarm", "connect"),
        })
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use http::{Method, StatusCode};

    use crate::error::{Error, Stage};

    #[derive(Clone, Debug, Default)]
    pub(crate) struct RequestSpan;

    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    impl RequestSpan {
        pub(crate) const fn new(_: &str, _: &Method) -> Self {
            Self
        }
        pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
            poll()
        }
        pub(crate) const fn head(&mut self, _: StatusCode) {}
        pub(crate) const fn fail(&mut self, _: &Error) {}
        pub(crate) const fn end(&mut self) {}
    }

    pub(crate) struct SendSpan;

    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    impl SendSpan {
        pub(crate) const fn write() -> Self {
            Self
        }
        pub(crate) const fn end(&mut self) {}
        pub(crate) fn look(&mut self, _: impl FnOnce() -> bool) {}
    }

    pub(crate) struct WaitSpan;

    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    impl WaitSpan {
        pub(crate) const fn new() -> Self {
            Self
        }
        pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
            poll()
        }
    }

    pub(crate) struct DialSpan;

    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    impl DialSpan {
        pub(crate) const fn new(_: &str) -> Self {
            Self
        }
        pub(crate) fn around<F>(self, dial: F) -> F {
            dial
        }
    }

    pub(crate) fn inherit<F>(task: F) -> F {
        task
    }

    pub(crate) fn step<F>(_: Stage, step: F) -> F {
        step
    }
}
