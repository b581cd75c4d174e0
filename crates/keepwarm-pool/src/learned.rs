//! A server's idle timeout, learned from the idle connections that it closed.
//!
//! This module owns the observed closes and the conclusion from them. It knows no connections.
//!
//! ```text
//!              five closes in a row at the same idle age
//!   unknown ────────────────────────────────────────────► known ◄───┐ one more close at that age
//!      ▲                                                    │       │
//!      │  a connection, or a close, older than that         │ ten minutes
//!      └─────────────────────────────────────── on trial ◄──┘
//! ```
//!
//! Idle ages at the close agree if a timeout caused the closes. A restart closes all connections at
//! once, at ages that differ; closes that come together count as one. Random closes have ages that
//! differ.

use core::time::Duration;

use crate::{Advice, Moment};

/// Number of consecutive closes that have to agree.
const EVENTS: usize = 5;

/// Shortest timeout that is learned: shorter ages come from closes with other reasons.
const SHORTEST: Duration = Duration::from_millis(500);

/// Largest difference of ages that count as the same, beside a sixteenth: delays of a busy client.
const SLACK: Duration = Duration::from_millis(25);

/// Closes within this part of their age count as one event.
const APART: u32 = 8;

/// Time for which a learned timeout holds before it has to be seen again: a client that closes
/// first does not see the server's closes any more.
const HOLDS: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Close {
    age: Duration,
    at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Unknown,
    Known { timeout: Duration, until: Moment },
    OnTrial { timeout: Duration },
}

/// Knowledge of one server's idle timeout.
#[derive(Debug)]
pub(crate) struct Learned {
    /// The latest closes, the newest last.
    closes: [Option<Close>; EVENTS],
    belief: Belief,
}

fn slack(timeout: Duration) -> Duration {
    timeout / 16 + SLACK
}

impl Learned {
    pub(crate) const fn new() -> Self {
        Self { closes: [None; EVENTS], belief: Belief::Unknown }
    }

    /// Notes that the server has closed a connection that had been idle for `age`.
    pub(crate) fn observe(&mut self, age: Duration, now: Moment) {
        match &mut self.closes[EVENTS - 1] {
            Some(last) if now.since(last.at) <= age / APART => last.age = last.age.min(age),
            _ => {
                self.closes.rotate_left(1);
                self.closes[EVENTS - 1] = Some(Close { age, at: now });
            }
        }
        if let Belief::OnTrial { timeout } = self.belief {
            if age > timeout + slack(timeout) {
                return self.forget();
            }
            if age + slack(timeout) >= timeout {
                return self.believe(timeout.min(age), now);
            }
        }
        if let Some(timeout) = self.agreed() {
            self.believe(timeout, now);
        }
    }

    /// Notes that a connection that had been idle for `age` has served another exchange.
    pub(crate) fn outlived(&mut self, age: Duration) {
        if let Belief::Known { timeout, .. } | Belief::OnTrial { timeout } = self.belief
            && age > timeout + slack(timeout)
        {
            self.forget();
        }
    }

    /// Returns the time that a connection may be idle, with the same margin as for the server's
    /// advice.
    pub(crate) fn usable_for(&mut self, now: Moment) -> Option<Duration> {
        if let Belief::Known { timeout, until } = self.belief
            && until <= now
        {
            self.belief = Belief::OnTrial { timeout };
        }
        let advice = Advice { idle_timeout: self.timeout(), exchanges_left: None };
        advice.usable_for()
    }

    /// Returns the server's timeout, if it is known.
    pub(crate) const fn timeout(&self) -> Option<Duration> {
        match self.belief {
            Belief::Known { timeout, .. } => Some(timeout),
            Belief::Unknown | Belief::OnTrial { .. } => None,
        }
    }

    /// Returns the smallest of the latest ages, if there are enough of them, and they agree.
    fn agreed(&self) -> Option<Duration> {
        let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
        for close in self.closes {
            let age = close?.age;
            (least, most) = (least.min(age), most.max(age));
        }
        (least >= SHORTEST && most <= least + slack(least)).then_some(least)
    }

    fn believe(&mut self, timeout: Duration, now: Moment) {
        self.belief = Belief::Known { timeout, until: now.after(HOLDS) };
    }

    fn forget(&mut self) {
        *self = Self::new();
    }
}
