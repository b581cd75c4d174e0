//! The client's account of its connections, as sent by the front service: `GET /account`.

use std::net::SocketAddr;
use std::time::Duration;

use keepwarm::{CloseReason, Closer, Stats};
use serde::{Deserialize, Serialize};

/// Time for which [`read_account`] waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The account of the front service's client: its connections to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The policy's name.
    pub policy: String,
    /// Connections established.
    pub opened: u64,
    /// Requests sent on a connection that had served a request before.
    pub reused: u64,
    /// Connections that are idle or in use now.
    pub open: u64,
    /// Connections closed, by reason and closer, most frequent first.
    pub closed: Vec<ClosedCount>,
}

/// Connections closed for one reason by one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedCount {
    /// See [`keepwarm::CloseReason::name`].
    pub reason: String,
    /// `client` or `server`.
    pub closer: String,
    /// Number of connections.
    pub count: u64,
}

impl Account {
    pub(crate) fn add(&mut self, stats: &Stats) {
        self.opened += stats.total.opened;
        self.reused += stats.total.reused;
        self.open += stats.total.open() as u64;
        for close in &stats.total.closes {
            self.count_closed(close.reason, close.closer, close.count);
        }
    }

    pub(crate) fn count_closed(&mut self, reason: CloseReason, closer: Closer, count: u64) {
        if count == 0 {
            return;
        }
        let (reason, closer) = (reason.name(), closer.name());
        match self.closed.iter_mut().find(|known| known.reason == reason && known.closer == closer)
        {
            Some(known) => known.count += count,
            None => self.closed.push(ClosedCount {
                reason: reason.to_owned(),
                closer: closer.to_owned(),
                count,
            }),
        }
        self.closed.sort_by_key(|closed| std::cmp::Reverse(closed.count));
    }
}

/// Asks a front service for its client's account.
///
/// # Errors
///
/// A message for people: the service cannot be reached, or its answer is not an account.
pub async fn read_account(front: SocketAddr) -> Result<Account, String> {
    let url = format!("http://{front}/account");
    let reply = keepwarm::get(&url, PATIENCE).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("{url} answered {}", reply.status));
    }
    serde_json::from_slice(&reply.body).map_err(|error| format!("{url}: {error}"))
}
