//! How long a server keeps an idle connection, learned from those it closed.
//!
//! This module owns what was observed and what follows from it. It knows no connections.
//!
//! ```text
//!              five closes in a row at the same idle age
//!   unknown ────────────────────────────────────────────► known ◄───┐ one more close at that age
//!      ▲                                                    │       │
//!      │  a connection, or a close, older than that         │ ten minutes
//!      └─────────────────────────────────────── on trial ◄──┘
//! ```
//!
//! Idle ages agree when a timeout makes them. What closes everything at once (a restart) makes ages
//! that differ, or one close of many: closes that come together count as one. What closes at random
//! makes ages that differ.

use core::time::Duration;

use crate::{Advice, Moment};

/// Closes that have to agree, one after the other.
const EVENTS: usize = 5;

/// A timeout below it would be learned from closes that have other reasons.
const SHORTEST: Duration = Duration::from_millis(500);

/// How far ages may lie apart that are called the same: a sixteenth, and what a busy client adds.
const SLACK: Duration = Duration::from_millis(25);

/// Closes within this part of their age are one event.
const APART: u32 = 8;

/// How long what was learned holds before it has to be seen again: for by closing first, we do not see
/// it any more.
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

/// What is known of one server's idle timeout.
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

    /// The server has closed a connection that had been idle for so long.
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

    /// A connection that had been idle for so long has served another exchange.
    pub(crate) fn outlived(&mut self, age: Duration) {
        if let Belief::Known { timeout, .. } | Belief::OnTrial { timeout } = self.belief
            && age > timeout + slack(timeout)
        {
            self.forget();
        }
    }

    /// How long a connection may be idle, with the margin of the server's own word.
    pub(crate) fn usable_for(&mut self, now: Moment) -> Option<Duration> {
        if let Belief::Known { timeout, until } = self.belief
            && until <= now
        {
            self.belief = Belief::OnTrial { timeout };
        }
        let advice = Advice { idle_timeout: self.timeout(), exchanges_left: None };
        advice.usable_for()
    }

    /// The server's timeout, as far as it is believed.
    pub(crate) const fn timeout(&self) -> Option<Duration> {
        match self.belief {
            Belief::Known { timeout, .. } => Some(timeout),
            Belief::Unknown | Belief::OnTrial { .. } => None,
        }
    }

    /// The smallest of the latest ages, if they are as many as needed, and the same.
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
