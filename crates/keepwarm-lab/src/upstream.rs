//! The front's way to the data service, under a policy.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use keepwarm::{Client, CloseReason, Closer, MAX_REPLY_BYTES};

use crate::account::Account;
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

impl Upstream {
    pub(crate) fn new(url: &str, policy: Policy) -> Result<Self, keepwarm::Error> {
        let client = policy.client()?;
        client.get(url).check()?;
        let retired = Account { policy: policy.name().to_owned(), ..Account::default() };
        Ok(Self { url: url.to_owned(), policy, client, retired: Mutex::new(retired) })
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
        let mut account = self.retired.lock().unwrap_or_else(PoisonError::into_inner).clone();
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

async fn fetch(client: &Client, url: &str, timeout: Duration) -> Result<Reply, keepwarm::Error> {
    let response = client.get(url).timeout(timeout).send().await?;
    let status = response.status();
    let body = response.bytes_up_to(MAX_REPLY_BYTES).await?;
    Ok(Reply { status, body })
}
