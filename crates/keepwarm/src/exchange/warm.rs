//! Opens connections ahead of the first request.

use std::future::poll_fn;
use std::sync::Arc;

use http::{Method, Uri};
use tokio::task::JoinSet;

use super::acquire::Acquirer;
use super::outgoing::Outgoing;
use super::route::route;
use crate::deadline::Deadline;
use crate::error::{Error, Result, Stage};
use crate::pool::origins::Origins;

/// Number of the request that warming has in events: requests are counted from 1.
const NO_REQUEST: u64 = 0;

/// Takes connections out of the pool until `connections` are held at once, and lets them return.
pub(crate) async fn warm(origins: &Origins, uri: &Uri, connections: usize) -> Result<usize> {
    let shared = origins.shared();
    shared.closing.admit()?;
    let origin = route(origins, &mut Outgoing::new(Method::GET, uri.clone()))?;
    let settings = &shared.settings;
    if !settings.pool.keeps_connections || settings.pool.idle_timeout.is_zero() {
        return Ok(0);
    }
    let limits = [
        settings.pool.max_connections,
        settings.pool.max_idle,
        settings.max_connections,
        settings.max_idle,
    ];
    let most = limits.into_iter().filter_map(|limit| limit.get()).min();
    let wanted = most.map_or(connections, |most| connections.min(most as usize));
    let _all = match settings.max_connections.get() {
        Some(_) => Some(shared.warming.lock().await),
        None => None,
    };
    let _own = origin.warming().lock().await;
    let mut refusals = origin.refusals();
    let mut dials = JoinSet::new();
    for _ in 0..wanted {
        let (mut own, timeout) = (Some(Arc::clone(&origin)), settings.timeout);
        let mut acquirer = Acquirer::new(&origin, NO_REQUEST, false);
        dials.spawn(async move {
            let mut deadline = Deadline::after(timeout);
            poll_fn(|cx| acquirer.poll_connection(&mut own, &mut deadline, cx)).await
        });
    }
    // Held until the last one is there, so that none serves two of them.
    let mut held = Vec::new();
    loop {
        tokio::select! {
            biased;
            dialed = dials.join_next() => {
                let Some(dialed) = dialed else { return Ok(held.len()) };
                let granted = dialed.map_err(|error| Error::failed(Stage::Connect, error))??;
                held.push(granted.lease);
                origin.note_warmed(1);
            }
            // Its waiter would wait for one of those that are held here.
            Ok(()) = refusals.changed() => {
                if let Some(error) = refusals.borrow().clone() {
                    return Err(error);
                }
            }
        }
    }
}
