//! What the front's client says it did, as it crosses the wire: `GET /account`.

use std::net::SocketAddr;
use std::time::Duration;

use keepwarm::{CloseReason, Closer, Stats};
use serde::{Deserialize, Serialize};

/// How long a front service may take to answer for its account.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the client of the front service says it did to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The policy's name.
    pub policy: String,
    /// Connections established.
    pub opened: u64,
    /// Requests that went out on a connection which had served one before.
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
    /// How many.
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
/// In words: the service cannot be reached, or its answer is not an account.
pub async fn read_account(front: SocketAddr) -> Result<Account, String> {
    let url = format!("http://{front}/account");
    let reply = keepwarm::get(&url, PATIENCE).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("{url} answered {}", reply.status));
    }
    serde_json::from_slice(&reply.body).map_err(|error| format!("{url}: {error}"))
}
