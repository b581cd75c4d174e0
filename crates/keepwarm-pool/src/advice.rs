//! A server's advice on how long it keeps a connection.

use core::time::Duration;

/// Limit on the margin that is taken off the server's idle timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// Content of the `Keep-Alive` field of a response: the server's advice on the connection that
/// carried it. `None` where a parameter is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Time for which the server keeps the connection open after this exchange while it is unused.
    pub idle_timeout: Option<Duration>,
    /// Further exchanges that the server will serve on the connection.
    pub exchanges_left: Option<u64>,
}

impl Advice {
    /// Returns the time for which the connection may be used after an exchange: the server's
    /// timeout, less a second or the half of it, the smaller of the two. A request that is sent
    /// later may cross the server's FIN on its way.
    #[must_use]
    pub fn usable_for(&self) -> Option<Duration> {
        self.idle_timeout.map(|timeout| timeout - MARGIN.min(timeout / 2))
    }
}
