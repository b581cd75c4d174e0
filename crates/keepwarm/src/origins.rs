//! The origins of one client: a map that is read at every request and written at every new host.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use keepwarm_pool::Moment;

use crate::key::{OriginKey, OriginRef};
use crate::origin::{Origin, Shared};

/// Origins by their canonical names.
#[derive(Debug)]
pub(crate) struct Origins {
    shared: Arc<Shared>,
    map: RwLock<HashMap<OriginKey, Arc<Origin>>>,
}

impl Origins {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, map: RwLock::new(HashMap::new()) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The origin of that name, made on first use.
    pub(crate) fn get(&self, wanted: OriginRef<'_>) -> Arc<Origin> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = map.get(wanted.as_lookup()) {
            return Arc::clone(origin);
        }
        drop(map);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let key = wanted.to_key();
        let origin =
            map.entry(key.clone()).or_insert_with(|| Origin::new(key, Arc::clone(&self.shared)));
        Arc::clone(origin)
    }

    /// All origins, in no particular order. The map's lock is not held while they are used.
    pub(crate) fn all(&self) -> Vec<Arc<Origin>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Closes what has expired; returns the next deadline of all.
    pub(crate) fn tick(&self) -> Moment {
        self.all().iter().map(Origin::tick).min().unwrap_or(Moment::NEVER)
    }

    /// Closes the oldest idle connections of any origin until the limit is kept.
    pub(crate) fn enforce_idle_limit(&self) {
        while self.shared.budget.is_exceeded() {
            let oldest = self
                .all()
                .into_iter()
                .filter_map(|origin| origin.oldest_idle().map(|since| (since, origin)))
                .min_by_key(|(since, _)| *since);
            let Some((_, origin)) = oldest else { return };
            origin.evict_oldest();
        }
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
