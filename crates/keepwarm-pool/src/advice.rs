//! What a server says of how long it keeps a connection.

use core::time::Duration;

/// The most that is taken off the server's idle timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// What the server said in a response of the connection that carried it: the `Keep-Alive` field.
/// `None` where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// How long the server keeps the connection open after this exchange if nobody uses it.
    pub idle_timeout: Option<Duration>,
    /// How many more exchanges the server will serve on it.
    pub exchanges_left: Option<u64>,
}

impl Advice {
    /// How long the connection may be used after an exchange: what the server said, less a second
    /// or the half of it, whichever is less. A request that is sent later may meet the server's FIN
    /// on its way.
    #[must_use]
    pub fn usable_for(&self) -> Option<Duration> {
        self.idle_timeout.map(|timeout| timeout - MARGIN.min(timeout / 2))
    }
}
