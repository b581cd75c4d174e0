//! Connections that leave addresses which their name has lost.
//!
//! Owns when an origin's name is looked up again, and closes the connections to addresses that are
//! gone: idle ones at once, those in use when they return.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, ConnectionId, Moment};
use tokio::runtime::Handle;

use super::{Filed, Origin};
use crate::pool::freshness::Freshness;
use crate::pool::lease::Lease;
use crate::wire::lookup::How;
use crate::wire::transport;

/// The look-ups of one origin that no dial waits for.
#[derive(Debug)]
pub(super) struct AddressWatch {
    /// The moment of the next look-up. `NEVER`: one is under way, or there is nothing to look up.
    due: AtomicU64,
    freshness: Mutex<Freshness>,
    /// True while some address is gone, so that a return need not take the lock otherwise.
    some_gone: AtomicBool,
}

impl AddressWatch {
    pub(super) fn new() -> Self {
        Self {
            due: AtomicU64::new(Moment::NEVER.as_nanos()),
            freshness: Mutex::default(),
            some_gone: AtomicBool::new(false),
        }
    }

    /// Begins, at the first connection to an address that was looked up.
    fn begin(&self, now: Moment, interval: Duration) {
        let (never, due) = (Moment::NEVER.as_nanos(), now.after(interval).as_nanos());
        let _ = self.due.compare_exchange(never, due, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether the name is to be looked up now, once for each interval.
    fn is_due(&self, now: Moment) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let never = Moment::NEVER.as_nanos();
        let taken =
            |due| self.due.compare_exchange(due, never, Ordering::Relaxed, Ordering::Relaxed);
        due <= now.as_nanos() && taken(due).is_ok()
    }
}

/// A look-up that is under way. Dropped, it makes the next one due after the interval, also where its
/// runtime has ended under it.
struct Refresh(Weak<Origin>);

impl Drop for Refresh {
    fn drop(&mut self) {
        let Some(origin) = self.0.upgrade() else { return };
        if let Some(interval) = origin.shared.settings.dns_refresh {
            origin.address_watch.begin(origin.shared.clock.now(), interval);
        }
    }
}

impl Origin {
    /// Notes a connection to an address, or that the address is not known.
    pub(super) fn note_address(&self, address: Option<IpAddr>, now: Moment) {
        if let (Some(_), Some(interval)) = (address, self.shared.settings.dns_refresh) {
            self.address_watch.begin(now, interval);
        }
    }

    /// Returns whether the name is to be looked up again now. Asked while the origin is used; true once.
    pub(super) fn addresses_are_due(&self, now: Moment) -> bool {
        self.address_watch.is_due(now)
    }

    /// Looks the name up again.
    #[cold]
    pub(super) fn refresh_addresses(self: &Arc<Self>) {
        let refresh = Refresh(Arc::downgrade(self));
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let Some(origin) = refresh.0.upgrade() else { return };
            let (key, shared) = (&origin.key, &origin.shared);
            // An answer that is kept for dials would count as many.
            let how =
                How { keep: Duration::ZERO, ..transport::how(&shared.transport, &shared.settings) };
            let found = origin.addresses.lookups.addresses(key.host(), key.port(), how).await;
            drop(refresh);
            // A look-up that failed says nothing about an address.
            if let Ok(found) = found {
                origin.handle_answer(found.iter().map(|address| address.ip()).collect());
            }
        });
    }

    /// Closes idle connections to addresses that are gone with this answer.
    fn handle_answer(self: &Arc<Self>, answer: BTreeSet<IpAddr>) {
        let watch = &self.address_watch;
        let (idle, shared): (Vec<ConnectionId>, Vec<ConnectionId>) = {
            let state = self.lock();
            let connected = state.births.iter().filter_map(|birth| birth.address).collect();
            let mut freshness = watch.freshness.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = freshness.handle_answer(answer, &connected);
            watch.some_gone.store(!gone.is_empty(), Ordering::Relaxed);
            let is_gone = |address: Option<IpAddr>| address.is_some_and(|one| gone.contains(&one));
            let filed = || state.births.iter().zip(&state.connections);
            let shared = filed().filter(|(birth, filed)| {
                matches!(filed, Filed::Shared(_)) && is_gone(birth.address)
            });
            let shared = shared.map(|(birth, _)| birth.connection).collect();
            let idle = filed().filter(|(birth, filed)| {
                matches!(filed, Filed::Exclusive(_)) && is_gone(birth.address)
            });
            (idle.map(|(birth, _)| birth.connection).collect(), shared)
        };
        for connection in shared {
            self.draining(connection, CloseReason::AddressGone, Closer::Client);
        }
        for connection in idle {
            let (lease, _) = self.feed(None, |state, now| {
                let token = state.pool.inspect(connection, now)?;
                Some((token, state.take(connection)?))
            });
            if let Some((token, handle)) = lease {
                let lease = Lease::new(Arc::clone(self), token, handle);
                lease.close(CloseReason::AddressGone, Closer::Client);
            }
        }
    }

    /// Returns whether the name of the origin has lost a connection's address.
    pub(crate) fn is_address_gone(&self, connection: ConnectionId) -> bool {
        let watch = &self.address_watch;
        if !watch.some_gone.load(Ordering::Relaxed) {
            return false;
        }
        let state = self.lock();
        let Some(birth) = state.births.get(connection.index()) else { return false };
        let freshness = watch.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        birth.address.is_some_and(|address| freshness.gone().contains(&address))
    }

    /// Returns whether the answers about the name are parts of a larger set of addresses.
    pub(super) fn addresses_rotate(&self) -> bool {
        self.address_watch.freshness.lock().unwrap_or_else(PoisonError::into_inner).rotates()
    }
}
