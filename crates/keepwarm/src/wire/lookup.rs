//! Look-ups of an origin's name: one at a time, and answers that are kept for some seconds.
//!
//! Owns what one origin knows of its addresses. A look-up by the platform takes a thread of tokio's
//! blocking pool until getaddrinfo(3) returns, whether or not a dial still waits for it; with one
//! look-up at a time a slow resolver takes one thread an origin.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{BoxError, Error, Result, Stage};
use crate::observe::spans;
use crate::wire::connect::{Name, Resolver};
use crate::wire::tcp::KnownFamily;

/// Addresses of an origin, as far as its dials have learned them.
#[derive(Debug, Default)]
pub(crate) struct KnownAddresses {
    pub(crate) family: KnownFamily,
    pub(crate) lookups: Lookups,
    /// Dials so far, where each begins with the next address.
    dials: AtomicUsize,
}

impl KnownAddresses {
    /// Returns how many addresses of a family the next dial passes over.
    pub(crate) fn next_turn(&self, spread: bool) -> usize {
        if spread { self.dials.fetch_add(1, Ordering::Relaxed) } else { 0 }
    }

    /// Forgets everything: the network has changed.
    pub(crate) fn forget(&self) {
        self.family.forget();
        self.lookups.forget();
    }
}

/// Look-ups of one origin's name.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<Option<watch::Receiver<Option<LookedUp>>>>);

#[derive(Clone, Debug)]
struct LookedUp {
    at: Instant,
    found: Result<Arc<[SocketAddr]>, Arc<dyn StdError + Send + Sync>>,
}

/// How a name is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'a> {
    /// `None`: by the platform.
    pub(crate) resolver: Option<&'a Resolver>,
    /// Time for which an answer is used again. Zero: for no other dial than those that waited.
    pub(crate) keep: Duration,
    /// Time that a caller's resolver may take. The platform's has a limit of its own.
    pub(crate) limit: Duration,
}

impl Lookups {
    /// Returns the addresses of a host, of the latest answer or of a look-up that is under way.
    pub(crate) async fn addresses(
        &self,
        host: &str,
        port: u16,
        how: How<'_>,
    ) -> Result<Vec<SocketAddr>> {
        loop {
            let mut latest = self.latest(host, how);
            // The sender is gone without an answer if its runtime ended, or the resolver took too
            // long. The next look-up has the time that is left of this dial.
            let Ok(answer) = latest.wait_for(Option::is_some).await.map(|answer| answer.clone())
            else {
                continue;
            };
            let Some(answer) = answer else { continue };
            let found = answer.found.map_err(|error| {
                let failed = Error::failed_with(Stage::Resolve, error);
                failed.with_message(format!("cannot resolve {host}"))
            })?;
            if found.is_empty() {
                return Err(Error::failed(
                    Stage::Resolve,
                    format!("{host} resolves to no address"),
                ));
            }
            return Ok(found.iter().map(|address| with_port(*address, port)).collect());
        }
    }

    /// Forgets the latest answer. The next dial looks the name up.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the latest look-up if it is still of use, else begins one.
    fn latest(&self, host: &str, how: How<'_>) -> watch::Receiver<Option<LookedUp>> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.as_ref().filter(|known| is_of_use(known, how.keep)) {
            return known.clone();
        }
        let begun = begin(host, how);
        *latest = Some(begun.clone());
        begun
    }
}

/// Returns whether a look-up is under way, or has an answer that is young enough. A failure is only
/// for those who waited for it.
fn is_of_use(lookup: &watch::Receiver<Option<LookedUp>>, keep: Duration) -> bool {
    match &*lookup.borrow() {
        Some(answer) => answer.found.is_ok() && answer.at.elapsed() < keep,
        None => lookup.has_changed().is_ok(),
    }
}

/// Begins a look-up, which no dial that gives up can end.
fn begin(host: &str, how: How<'_>) -> watch::Receiver<Option<LookedUp>> {
    let (answered, answer) = watch::channel(None);
    let (host, resolver) = (host.to_owned(), how.resolver.cloned());
    let limit = how.limit;
    tokio::spawn(spans::inherit(async move {
        let found = match resolver {
            None => system(&host).await,
            Some(resolver) => {
                let called = resolver.call(Name::new(&host));
                let Ok(found) = tokio::time::timeout(limit, called).await else { return };
                found
            }
        };
        let found = found.map(Arc::from).map_err(Arc::from);
        let _ = answered.send(Some(LookedUp { at: Instant::now(), found }));
    }));
    answer
}

async fn system(host: &str) -> Result<Vec<SocketAddr>, BoxError> {
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}
