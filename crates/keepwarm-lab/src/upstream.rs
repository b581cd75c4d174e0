//! The front's way to the data service, under a policy, and the account of what its client did.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use keepwarm::{Client, CloseReason, Closer, MAX_REPLY_BYTES, Stats};
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// The data service as the front sees it.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: String,
    policy: Policy,
    /// The client that all requests share, or the one that shows that the settings are good.
    client: Client,
    /// What clients that are gone have done.
    retired: Mutex<Account>,
}

/// An answer of the upstream.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// What the client of the front service says it did: `GET /account`.
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

impl Upstream {
    pub(crate) fn new(url: &str, policy: Policy) -> Result<Self, keepwarm::Error> {
        let client = policy.client()?;
        client.get(url).check()?;
        let retired = Account {
            policy: policy.name().to_owned(),
            ..Account::default()
        };
        Ok(Self {
            url: url.to_owned(),
            policy,
            client,
            retired: Mutex::new(retired),
        })
    }

    /// One GET, its body read to the end.
    pub(crate) async fn fetch(&self, timeout: Duration) -> Result<Reply, keepwarm::Error> {
        if self.policy.shares_client() {
            return fetch(&self.client, &self.url, timeout).await;
        }
        let client = self.policy.client()?;
        let result = fetch(&client, &self.url, timeout).await;
        self.retire(client);
        result
    }

    pub(crate) fn account(&self) -> Account {
        let mut account = self
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        account.add(&self.client.stats());
        account
    }

    /// Keeps the numbers of a client and drops it, which closes what it has open.
    fn retire(&self, client: Client) {
        let stats = client.stats();
        drop(client);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let open_before = retired.open;
        retired.add(&stats);
        let open = retired.open - open_before;
        retired.open = open_before;
        retired.count_closed(CloseReason::ShutDown, Closer::Client, open);
    }
}

impl Account {
    fn add(&mut self, stats: &Stats) {
        for origin in &stats.origins {
            self.opened += origin.opened;
            self.reused += origin.reused;
            self.open += (origin.idle + origin.active) as u64;
            for close in &origin.closes {
                self.count_closed(close.reason, close.closer, close.count);
            }
        }
    }

    fn count_closed(&mut self, reason: CloseReason, closer: Closer, count: u64) {
        if count == 0 {
            return;
        }
        let mut counts: BTreeMap<(String, String), u64> = std::mem::take(&mut self.closed)
            .into_iter()
            .map(|closed| ((closed.reason, closed.closer), closed.count))
            .collect();
        *counts
            .entry((reason.name().to_owned(), closer.name().to_owned()))
            .or_default() += count;
        self.closed = counts
            .into_iter()
            .map(|((reason, closer), count)| ClosedCount {
                reason,
                closer,
                count,
            })
            .collect();
        self.closed
            .sort_by_key(|closed| std::cmp::Reverse(closed.count));
    }
}

async fn fetch(client: &Client, url: &str, timeout: Duration) -> Result<Reply, keepwarm::Error> {
    let response = client.get(url).timeout(timeout).send().await?;
    let status = response.status();
    let body = response.bytes_up_to(MAX_REPLY_BYTES).await?;
    Ok(Reply { status, body })
}
