//! The origins of one client: a map that is read at every request and written at every new host.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use keepwarm_pool::{CloseReason, Moment};

use crate::observe::recent_count::Lately;
use crate::observe::stats::{OriginStats, PoolStats, Stats};
use crate::pool::origin::{Origin, Shared, Snapshot};
use crate::wire::origin_key::{OriginKey, OriginRef};

/// Origins known before those that are not in use are forgotten for the first time. A client that
/// speaks to ever new hosts holds at most this many, or twice as many as it has connections to.
const FIRST_SWEEP: usize = 1024;

/// Origins by their canonical names.
#[derive(Debug)]
pub(crate) struct Origins {
    shared: Arc<Shared>,
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    map: HashMap<OriginKey, Arc<Origin>>,
    forgotten: Forgotten,
    /// How many origins there may be before the next sweep.
    sweep_at: usize,
}

/// What origins that were forgotten had done. All of their connections were closed.
#[derive(Clone, Copy, Debug, Default)]
struct Forgotten {
    origins: u64,
    /// But for what was opened lately.
    all: Snapshot,
    opened_lately: Lately,
}

impl Known {
    /// Forgets the origins that nobody uses: no connection, no waiter, no handle elsewhere.
    fn sweep(&mut self) {
        let forgotten = &mut self.forgotten;
        self.map.retain(|_, origin| {
            // The map's own handle is the only one, and nobody can take another while it is locked.
            let used = Arc::strong_count(origin) > 1 || origin.is_in_use();
            if !used {
                forgotten.origins += 1;
                forgotten.all.absorb(&origin.snapshot());
                forgotten.opened_lately.absorb(&origin.opened_lately());
            }
            used
        });
        self.sweep_at = FIRST_SWEEP.max(2 * self.map.len());
    }
}

impl Origins {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let known =
            Known { map: HashMap::new(), forgotten: Forgotten::default(), sweep_at: FIRST_SWEEP };
        Self { shared, known: RwLock::new(known) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The origin of that name, made on first use.
    pub(crate) fn get(&self, wanted: OriginRef<'_>) -> Arc<Origin> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = known.map.get(wanted.as_lookup()) {
            return Arc::clone(origin);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.map.len() >= known.sweep_at {
            known.sweep();
        }
        let key = wanted.to_key();
        let origin = known.map.entry(key.clone());
        Arc::clone(origin.or_insert_with(|| Origin::new(key, Arc::clone(&self.shared))))
    }

    /// All origins, in no particular order. The map's lock is not held while they are used.
    pub(crate) fn all(&self) -> Vec<Arc<Origin>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.map.values().map(Arc::clone).collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        // Both in one look: an origin is listed or forgotten. Those that are listed are held, and so
        // not forgotten meanwhile.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let listed: Vec<Arc<Origin>> = known.map.values().map(Arc::clone).collect();
        let forgotten = known.forgotten;
        drop(known);

        let opened_lately = forgotten.opened_lately.count(self.shared.clock.now());
        let mut total = Snapshot { opened_lately, ..forgotten.all };
        let mut origins = Vec::with_capacity(listed.len());
        for origin in listed {
            let snapshot = origin.snapshot();
            total.absorb(&snapshot);
            origins.push(OriginStats::new(&origin, &snapshot));
        }
        origins.sort_by(|a, b| a.origin.cmp(&b.origin));
        let events_lost = self.shared.outbox.as_ref().map_or(0, |outbox| outbox.lost());
        let total = PoolStats::of(&total);
        Stats { total, origins, forgotten_origins: forgotten.origins, events_lost }
    }

    /// Closes what has expired; returns the next deadline of all.
    pub(crate) fn tick(&self) -> Moment {
        self.all().iter().map(Origin::tick).min().unwrap_or(Moment::NEVER)
    }

    /// Closes the oldest idle connections of any origin until the limit is kept.
    pub(crate) fn enforce_idle_limit(&self) {
        while self.shared.budget.is_exceeded() && self.evict_oldest(CloseReason::TotalIdleLimit) {}
    }

    /// Closes the connection that has been idle the longest, of any origin. Returns whether there was
    /// one.
    pub(crate) fn evict_oldest(&self, reason: CloseReason) -> bool {
        while self.shared.budget.any() {
            let oldest = self
                .all()
                .into_iter()
                .filter_map(|origin| origin.oldest_idle().map(|since| (since, origin)))
                .min_by_key(|(since, _)| *since);
            let Some((_, origin)) = oldest else { return false };
            if origin.evict_oldest(reason) {
                return true;
            }
            // Somebody has taken it meanwhile.
        }
        false
    }

    pub(crate) fn close_idle(&self) {
        for origin in self.all() {
            origin.close_idle();
        }
    }

    pub(crate) fn shut_down(&self) {
        for origin in self.all() {
            origin.shut_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::Client;
    use keepwarm_testkit::scripted::{Server, within};

    use super::*;

    #[tokio::test]
    async fn origins_that_nobody_uses_are_forgotten_and_their_connections_still_counted() {
        let server = Server::saying("x");
        let client = Client::builder().max_idle_per_origin(0).build().expect("a client");
        let fetch = async |url: &str| {
            let response = within("a response", client.get(url).send()).await.expect("a response");
            response.text().await.expect("a body");
        };
        fetch(&server.url("/")).await;
        let origins = client.origins();
        let uris: Vec<http::Uri> = (0..3 * FIRST_SWEEP)
            .map(|number| format!("http://host-{number}.test/").parse().expect("a URI"))
            .collect();
        for uri in &uris {
            origins.get(OriginRef::of(uri).expect("an origin"));
            assert!(origins.all().len() <= FIRST_SWEEP);
        }
        let stats = client.stats();
        assert_eq!(stats.origin(&server.origin()), None, "it has no connection any more");
        assert_eq!((stats.total.opened, stats.total.closed()), (1, 1));
        assert_eq!((stats.total.checkouts, stats.total.new, stats.total.opened_lately), (1, 1, 1));
        assert_eq!(stats.total.closed_for(keepwarm_pool::CloseReason::IdleLimit), 1);
        let told = stats.origins.len() as u64 + stats.forgotten_origins;
        assert_eq!(told, 3 * FIRST_SWEEP as u64 + 1);

        // One that is held is kept, however many come.
        let held = origins.get(OriginRef::of(&uris[0]).expect("an origin"));
        for uri in &uris {
            origins.get(OriginRef::of(uri).expect("an origin"));
        }
        let again = origins.get(OriginRef::of(&uris[0]).expect("an origin"));
        assert!(Arc::ptr_eq(&held, &again));
    }
}
