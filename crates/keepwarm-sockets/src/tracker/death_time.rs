//! Time of a socket's death, as far as a destroy event shows it.

use std::time::Duration;

/// Bounds of a death. An event carries no time, so all that is known is between which two readings
/// of the events the socket died. A watch that was stopped, or got no processor time, reads late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeathTime {
    /// The last reading that left no event behind, before the one that brought this event.
    pub(crate) not_before: Duration,
    /// The reading that brought the event.
    pub(crate) read_at: Duration,
}

/// A death that was read as it happened.
impl From<Duration> for DeathTime {
    fn from(at: Duration) -> DeathTime {
        DeathTime { not_before: at, read_at: at }
    }
}
