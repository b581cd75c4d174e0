//! The clock that the pools are fed from: tokio's, so that tests can stop it.

use keepwarm_pool::Moment;
use tokio::time::Instant;

/// Turns instants into the pool's moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// When a timer for `moment` fires; `None` for a moment that never comes.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        if moment.is_never() {
            return None;
        }
        self.zero.checked_add(moment.since(Moment::ZERO))
    }

    fn moment(&self, instant: Instant) -> Moment {
        let nanos = instant.saturating_duration_since(self.zero).as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
