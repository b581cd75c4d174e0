//! The origins of one client: a map that is read for every request and written for every new host.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use keepwarm_pool::{CloseReason, Moment};

use crate::error::Result;
use crate::observe::recent_count::RecentCount;
use crate::observe::snapshot::Snapshot;
use crate::observe::stats::{OriginStats, PoolStats, Stats};
use crate::origin_key::{OriginKey, OriginRef};
use crate::pool::origin::{Origin, Shared};

/// Number of known origins at which the unused ones are forgotten for the first time. A client that
/// sends requests to ever new hosts holds at most this many, or twice as many as it has connections
/// to.
const FIRST_SWEEP: usize = 1024;

/// Number of origins up to which comparing their names costs less than hashing the wanted one.
const FEW: usize = 4;

/// Origins by their canonical names.
///
/// Aligned, so that its reference count, which each request changes, is in no cache line that a
/// request of another thread reads.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Origins {
    shared: Arc<Shared>,
    /// The first origins, which are found without the lock. They are never forgotten.
    first: [OnceLock<Arc<Origin>>; FEW],
    known: RwLock<KnownOrigins>,
}

#[derive(Debug)]
struct KnownOrigins {
    map: HashMap<OriginKey, Arc<Origin>>,
    forgotten: Forgotten,
    /// Number of origins at which the next sweep is due.
    sweep_at: usize,
}

/// Sums of the origins that were forgotten. All of their connections were closed.
#[derive(Clone, Copy, Debug, Default)]
struct Forgotten {
    origins: u64,
    /// All numbers but `opened_lately`.
    all: Snapshot,
    opened_lately: RecentCount,
}

impl KnownOrigins {
    fn find(&self, wanted: OriginRef<'_>) -> Option<&Arc<Origin>> {
        if self.map.len() <= FEW {
            return self.map.values().find(|origin| wanted.is(origin.key()));
        }
        self.map.get(wanted.as_lookup())
    }

    /// Forgets the unused origins: no connection, no waiter, no handle elsewhere.
    fn sweep(&mut self) {
        let forgotten = &mut self.forgotten;
        self.map.retain(|_, origin| {
            // The map's own handle is the only one, and none can be cloned while the map is locked.
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
        let known = KnownOrigins {
            map: HashMap::new(),
            forgotten: Forgotten::default(),
            sweep_at: FIRST_SWEEP,
        };
        Self { shared, first: Default::default(), known: RwLock::new(known) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the origin of a URL, made on first use.
    pub(crate) fn of(&self, uri: &http::Uri) -> Result<Arc<Origin>> {
        match self.find_as_written(uri) {
            Some(origin) => Ok(Arc::clone(origin)),
            None => Ok(self.get(OriginRef::of(uri)?)),
        }
    }

    /// Finds one of the first origins by a URL whose authority is written as `Host` writes it, without
    /// reading it part by part.
    #[inline]
    fn find_as_written(&self, uri: &http::Uri) -> Option<&Arc<Origin>> {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
        let mut first = self.first.iter().map_while(OnceLock::get);
        first.find(|origin| origin.is_written(scheme, authority))
    }

    /// Returns the origin of that name, made on first use.
    pub(crate) fn get(&self, wanted: OriginRef<'_>) -> Arc<Origin> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = known.find(wanted) {
            return Arc::clone(origin);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.map.len() >= known.sweep_at {
            known.sweep();
        }
        let key = wanted.to_key();
        let entry = known.map.entry(key.clone());
        let origin = entry.or_insert_with(|| {
            let origin = Origin::new(key, Arc::clone(&self.shared));
            if let Some(vacant) = self.first.iter().find(|first| first.get().is_none()) {
                // Under the lock of the map, so that no other thread fills it.
                let _ = vacant.set(Arc::clone(&origin));
            }
            origin
        });
        Arc::clone(origin)
    }

    /// Returns all origins, in no particular order. The map's lock is not held while they are used.
    pub(crate) fn all(&self) -> Vec<Arc<Origin>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.map.values().map(Arc::clone).collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        // Both under one lock: an origin is either listed or forgotten. Listed origins are held,
        // and so not forgotten meanwhile.
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
            origins.push(OriginStats::new(origin.name(), &snapshot));
        }
        origins.sort_by(|a, b| a.origin.cmp(&b.origin));
        let events_lost = self.shared.events.as_ref().map_or(0, |events| events.lost());
        let total = PoolStats::of(&total);
        Stats { total, origins, forgotten_origins: forgotten.origins, events_lost }
    }

    /// Closes expired connections; returns the next deadline of all origins.
    pub(crate) fn tick(&self) -> Moment {
        self.all().iter().map(Origin::tick).min().unwrap_or(Moment::NEVER)
    }

    /// Closes the connections of any origin that have been idle the longest, until the limit holds.
    pub(crate) fn enforce_idle_limit(&self) {
        while self.shared.idle_limit.is_exceeded() && self.evict_oldest(CloseReason::TotalIdleLimit)
        {
        }
    }

    /// Closes the connection of any origin that has been idle the longest. False if none is idle.
    pub(crate) fn evict_oldest(&self, reason: CloseReason) -> bool {
        while self.shared.idle_limit.any() {
            let oldest = self
                .all()
                .into_iter()
                .filter_map(|origin| origin.oldest_idle().map(|since| (since, origin)))
                .min_by_key(|(since, _)| *since);
            let Some((_, origin)) = oldest else { return false };
            if origin.evict_oldest(reason) {
                return true;
            }
            // A request has taken it meanwhile.
        }
        false
    }

    pub(crate) fn close_idle(&self) {
        for origin in self.all() {
            origin.close_idle();
        }
    }

    /// Returns the number of requests that wait or hold a connection.
    pub(crate) fn under_way(&self) -> usize {
        let snapshots = self.all().into_iter().map(|origin| origin.snapshot());
        snapshots.map(|one| one.active + one.waiting).sum()
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

    #[test]
    fn spelling_of_host_leads_to_its_own_origin() {
        // Those with a zone and with a proxy first: `Host` names neither.
        let urls = ["http://[fe80::1%25eth0]:81/", "http://[fe80::1]:81/", "http://a.test/"];
        for order in [urls, [urls[1], urls[0], urls[2]]] {
            let client = Client::new();
            let origins = client.origins();
            for url in order.iter().chain(&["http://A.test:80/", "http://a.test:81/"]) {
                let uri: http::Uri = url.parse().expect("a URI");
                for _ in 0..2 {
                    let found = origins.of(&uri).expect("an origin");
                    let known = origins.get(OriginRef::of(&uri).expect("an origin"));
                    assert!(Arc::ptr_eq(&found, &known), "{url}");
                }
            }
            assert_eq!(origins.all().len(), 4);
        }
    }

    #[tokio::test]
    async fn forgotten_origins_stay_in_the_total() {
        let server = Server::saying("x");
        let client = Client::builder().max_idle_per_origin(0).build().expect("a client");
        let fetch = async |url: &str| {
            let response = within("a response", client.get(url).send()).await.expect("a response");
            response.text().await.expect("a body");
        };
        let origins = client.origins();
        for number in 0..FEW {
            let uri = format!("http://first-{number}.test/").parse().expect("a URI");
            origins.get(OriginRef::of(&uri).expect("an origin"));
        }
        fetch(&server.url("/")).await;
        let uris: Vec<http::Uri> = (0..3 * FIRST_SWEEP)
            .map(|number| format!("http://host-{number}.test/").parse().expect("a URI"))
            .collect();
        for uri in &uris {
            origins.get(OriginRef::of(uri).expect("an origin"));
            assert!(origins.all().len() <= FIRST_SWEEP);
            assert!(origins.all().len() >= FEW);
        }
        let stats = client.stats();
        assert_eq!(stats.origin(&server.origin()), None, "it has no connection any more");
        assert_eq!((stats.total.opened, stats.total.closed()), (1, 1));
        assert_eq!((stats.total.checkouts, stats.total.new, stats.total.opened_lately), (1, 1, 1));
        assert_eq!(stats.total.closed_for(keepwarm_pool::CloseReason::IdleLimit), 1);
        let counted = stats.origins.len() as u64 + stats.forgotten_origins;
        assert_eq!(counted, (3 * FIRST_SWEEP + FEW) as u64 + 1);

        // An origin that is held is not forgotten, however many come.
        let held = origins.get(OriginRef::of(&uris[0]).expect("an origin"));
        for uri in &uris {
            origins.get(OriginRef::of(uri).expect("an origin"));
        }
        let again = origins.get(OriginRef::of(&uris[0]).expect("an origin"));
        assert!(Arc::ptr_eq(&held, &again));
    }
}
