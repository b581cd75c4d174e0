//! The front's way to the data service, under a policy.

use std::sync::{Mutex, MutexGuard, PoisonError};
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
    timeout: Duration,
    /// The client that all requests share, or the one that shows that the settings are good.
    client: Client,
    gone: Mutex<Gone>,
}

/// The clients of requests that have ended, under the policy that makes one for each.
#[derive(Debug)]
struct Gone {
    /// What those that were dropped have done.
    account: Account,
    /// Those whose request gave up while they were dialling: the dial may still open a connection,
    /// and whoever drops the client before it ends never learns of it.
    dialing: Vec<Client>,
}

/// An answer of the upstream.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Upstream {
    pub(crate) fn new(
        url: &str,
        policy: Policy,
        timeout: Duration,
    ) -> Result<Self, keepwarm::Error> {
        let client = policy.client()?;
        client.get(url).timeout(timeout).check()?;
        let account = Account { policy: policy.name().to_owned(), ..Account::default() };
        let gone = Mutex::new(Gone { account, dialing: Vec::new() });
        Ok(Self { url: url.to_owned(), policy, timeout, client, gone })
    }

    /// One GET, its body read to the end.
    pub(crate) async fn fetch(&self) -> Result<Reply, keepwarm::Error> {
        if self.policy.shares_client() {
            return self.fetch_with(&self.client).await;
        }
        let client = self.policy.client()?;
        let result = self.fetch_with(&client).await;
        self.gone().retire(Some(client));
        result
    }

    pub(crate) fn account(&self) -> Account {
        let mut gone = self.gone();
        gone.retire(None);
        let mut account = gone.account.clone();
        for client in &gone.dialing {
            account.add(&client.stats());
        }
        account.add(&self.client.stats());
        account
    }

    async fn fetch_with(&self, client: &Client) -> Result<Reply, keepwarm::Error> {
        let response = client.get(&self.url).timeout(self.timeout).send().await?;
        let status = response.status();
        let body = response.bytes_up_to(MAX_REPLY_BYTES).await?;
        Ok(Reply { status, body })
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gone {
    /// Drops a client, which closes what it has open, and keeps its numbers; so too for those that
    /// have finished dialling meanwhile.
    fn retire(&mut self, client: Option<Client>) {
        let candidates = std::mem::take(&mut self.dialing).into_iter().chain(client);
        for client in candidates {
            let stats = client.stats();
            if stats.total.dialing > 0 {
                self.dialing.push(client);
                continue;
            }
            drop(client);
            let open_before = self.account.open;
            self.account.add(&stats);
            let open = self.account.open - open_before;
            self.account.open = open_before;
            self.account.count_closed(CloseReason::ShutDown, Closer::Client, open);
        }
    }
}
