//! The front's access to the data service, under a policy.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use keepwarm::{Client, CloseReason, Closer, MAX_REPLY_BYTES};

use crate::account::Account;
use crate::policy::Policy;

/// The data service, with the client or clients that call it.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: String,
    policy: Policy,
    timeout: Duration,
    /// The client that all requests share. Under a policy with a client per request, the client
    /// that proved the settings valid.
    client: Client,
    retired: Mutex<Retired>,
}

/// Clients of requests that have ended, under the policy that makes a client per request.
#[derive(Debug)]
struct Retired {
    /// Sum over the clients that were dropped.
    account: Account,
    /// Clients whose request gave up during a dial. The dial may still open a connection, which
    /// would be missed if the client were dropped before the dial ends.
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
        let retired = Mutex::new(Retired { account, dialing: Vec::new() });
        Ok(Self { url: url.to_owned(), policy, timeout, client, retired })
    }

    /// Sends a GET and reads its body to the end.
    pub(crate) async fn fetch(&self) -> Result<Reply, keepwarm::Error> {
        if self.policy.shares_client() {
            return self.fetch_with(&self.client).await;
        }
        let client = self.policy.client()?;
        let result = self.fetch_with(&client).await;
        self.retired().retire(Some(client));
        result
    }

    pub(crate) fn account(&self) -> Account {
        let mut retired = self.retired();
        retired.retire(None);
        let mut account = retired.account.clone();
        for client in &retired.dialing {
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

    fn retired(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retired {
    /// Drops a client, which closes its open connections, and keeps its numbers. Also drops clients
    /// that have finished dialing since the last call.
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
