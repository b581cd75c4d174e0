//! Retry policy: decides, after a failed attempt, if the request is sent once more, and on which
//! connection. Pure.
//!
//! A server may close an idle connection while a request is on its way to it. The bytes that passed
//! decide, as in Go:
//!
//! * nothing was written: the request goes to another connection, with any method;
//! * something was written, nothing came back, and the request may and can be repeated: once more,
//!   on a new connection;
//! * a byte came back, or the connection was new: no other attempt.

use http::{HeaderMap, Method};

/// A failed attempt, as far as the policy has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailedAttempt {
    pub(crate) failure: FailureKind,
    /// The connection had been idle or had served an exchange, so the server may have closed it
    /// meanwhile.
    pub(crate) may_be_stale: bool,
    /// The body is still there: it can be sent again.
    pub(crate) is_repeatable: bool,
    /// Sending the request twice has the effect of sending it once, see [`is_idempotent`].
    pub(crate) is_idempotent: bool,
    /// An earlier attempt has written bytes and failed.
    pub(crate) was_sent_before: bool,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No byte of the request was written, and its body is untouched.
    Unsent,
    /// The server said that it has not processed the request, or never got it; the body can be sent
    /// again.
    Unprocessed,
    /// The socket ended before a response.
    Cut {
        /// Bytes of the request were written.
        written: bool,
        /// Bytes of a response were read.
        read: bool,
    },
    /// Any other failure: a timeout, a violation of the protocol.
    Other,
}

/// Decision on the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No other attempt: the failure is the result.
    No,
    /// On any connection: the server cannot have seen the request.
    AnyConnection,
    /// On a fresh connection, at the cost of one retry of the origin's budget: the server may have
    /// seen the request.
    FreshConnection,
}

/// Decides if and how a failed request is sent once more.
pub(crate) const fn decide_retry(attempt: FailedAttempt) -> Retry {
    if matches!(attempt.failure, FailureKind::Unprocessed) {
        return Retry::AnyConnection;
    }
    if !attempt.may_be_stale {
        return Retry::No;
    }
    match attempt.failure {
        FailureKind::Unsent | FailureKind::Unprocessed => Retry::AnyConnection,
        FailureKind::Cut { read: false, written } if attempt.is_repeatable => {
            if !written {
                Retry::AnyConnection
            } else if attempt.is_idempotent && !attempt.was_sent_before {
                Retry::FreshConnection
            } else {
                Retry::No
            }
        }
        FailureKind::Cut { .. } | FailureKind::Other => Retry::No,
    }
}

/// Returns true if sending the request twice has the effect of sending it once: by its method, or
/// because the caller says so with a key. Go's list (`Request.isReplayable`): PUT and DELETE are
/// not on it.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
        || headers.contains_key("idempotency-key")
        || headers.contains_key("x-idempotency-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT_UNREAD_UNWRITTEN: FailureKind = FailureKind::Cut { written: false, read: false };
    const CUT_UNREAD_WRITTEN: FailureKind = FailureKind::Cut { written: true, read: false };

    const FAILURES: [FailureKind; 6] = [
        FailureKind::Unsent,
        CUT_UNREAD_UNWRITTEN,
        CUT_UNREAD_WRITTEN,
        FailureKind::Cut { written: false, read: true },
        FailureKind::Cut { written: true, read: true },
        FailureKind::Other,
    ];

    const ANY: [bool; 2] = [false, true];
    const YES: [bool; 1] = [true];
    const NO: [bool; 1] = [false];

    /// A row of the policy: the inputs that lead to another attempt. Every other combination is
    /// final.
    struct Row {
        failure: FailureKind,
        may_be_stale: &'static [bool],
        is_repeatable: &'static [bool],
        is_idempotent: &'static [bool],
        was_sent_before: &'static [bool],
        decision: Retry,
    }

    const POLICY: [Row; 3] = [
        Row {
            failure: FailureKind::Unsent,
            may_be_stale: &YES,
            is_repeatable: &ANY,
            is_idempotent: &ANY,
            was_sent_before: &ANY,
            decision: Retry::AnyConnection,
        },
        Row {
            failure: CUT_UNREAD_UNWRITTEN,
            may_be_stale: &YES,
            is_repeatable: &YES,
            is_idempotent: &ANY,
            was_sent_before: &ANY,
            decision: Retry::AnyConnection,
        },
        Row {
            failure: CUT_UNREAD_WRITTEN,
            may_be_stale: &YES,
            is_repeatable: &YES,
            is_idempotent: &YES,
            was_sent_before: &NO,
            decision: Retry::FreshConnection,
        },
    ];

    impl Row {
        fn covers(&self, attempt: FailedAttempt) -> bool {
            self.failure == attempt.failure
                && self.may_be_stale.contains(&attempt.may_be_stale)
                && self.is_repeatable.contains(&attempt.is_repeatable)
                && self.is_idempotent.contains(&attempt.is_idempotent)
                && self.was_sent_before.contains(&attempt.was_sent_before)
        }
    }

    fn all_attempts() -> Vec<FailedAttempt> {
        let mut all = Vec::new();
        for failure in FAILURES {
            for bits in 0..16_u8 {
                all.push(FailedAttempt {
                    failure,
                    may_be_stale: bits & 1 != 0,
                    is_repeatable: bits & 2 != 0,
                    is_idempotent: bits & 4 != 0,
                    was_sent_before: bits & 8 != 0,
                });
            }
        }
        all
    }

    #[test]
    fn policy_table_decides_every_combination() {
        let mut retried = 0;
        for attempt in all_attempts() {
            let rows: Vec<&Row> = POLICY.iter().filter(|row| row.covers(attempt)).collect();
            assert!(rows.len() <= 1, "one row at most: {attempt:?}");
            let expected = rows.first().map_or(Retry::No, |row| row.decision);
            assert_eq!(decide_retry(attempt), expected, "{attempt:?}");
            retried += usize::from(expected != Retry::No);
        }
        assert_eq!(retried, 8 + 4 + 1, "of 96 combinations");
    }

    #[test]
    fn method_or_key_makes_idempotent() {
        let none = HeaderMap::new();
        for (method, expected) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::TRACE, true),
            (Method::POST, false),
            (Method::PATCH, false),
            (Method::PUT, false),
            (Method::DELETE, false),
        ] {
            assert_eq!(is_idempotent(&method, &none), expected, "{method}");
        }
        for key in ["idempotency-key", "x-idempotency-key"] {
            let mut headers = HeaderMap::new();
            headers.insert(key, "7".parse().expect("a field value"));
            assert!(is_idempotent(&Method::POST, &headers), "{key}");
        }
    }
}
