//! What a finding rests on.

use std::time::Duration;

/// The account of one destination port over one window, seen from the client's host.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Requests that were carried.
    pub requests: u64,
    /// Requests that were in flight at once.
    pub concurrency: u64,
    /// How long it took.
    pub window: Duration,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed by FIN, the client's first.
    pub closed_by_client: u64,
    /// Connections closed by FIN, the server's first.
    pub closed_by_server: u64,
    /// Connections closed by RST, from either side.
    pub reset: u64,
    /// Connections still open at the end.
    pub established: u64,
    /// Ephemeral ports that exist; `None` where it is not known.
    pub ports: Option<u64>,
}

impl Evidence {
    /// Connections closed, by any means.
    #[must_use]
    pub const fn closed(&self) -> u64 {
        self.closed_by_client + self.closed_by_server + self.reset
    }

    /// Requests for each connection opened; `None` if none was opened.
    #[must_use]
    pub fn requests_per_connection(&self) -> Option<f64> {
        (self.opened > 0).then(|| self.requests as f64 / self.opened as f64)
    }

    /// Connections that the client closed first, a second: each holds a local port for a minute.
    #[must_use]
    pub fn client_closes_per_second(&self) -> f64 {
        let seconds = self.window.as_secs_f64();
        if seconds > 0.0 { self.closed_by_client as f64 / seconds } else { 0.0 }
    }
}
