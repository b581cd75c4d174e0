//! Points in time for the pool: a number from a clock that its driver reads.

use core::time::Duration;

/// A point in time, in nanoseconds since a zero that the driver of the pool chooses.
///
/// The pool compares and adds moments; it never asks for the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The driver's zero.
    pub const ZERO: Self = Self(0);
    /// Later than every other moment: the value of an absent deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the moment `nanos` nanoseconds after the driver's zero.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the driver's zero.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the moment `span` later; [`Moment::NEVER`] when that is out of range.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Returns the time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns true if this is [`Moment::NEVER`].
    #[must_use]
    pub const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }
}
