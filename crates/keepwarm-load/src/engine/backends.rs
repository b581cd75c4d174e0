//! The addresses of the target while a run goes on. Owns the list that a repeated lookup changes;
//! each thread owns its turn among them.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::{Endpoint, MAX_ADDRESSES};

/// The addresses of a run.
#[derive(Debug)]
pub(crate) struct Backends {
    /// Number of the last lookup.
    version: AtomicU64,
    inner: Mutex<Known>,
}

/// All addresses that were ever found, and those that were found last.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) all: Vec<Endpoint>,
    /// Indexes of the addresses that new connections go to; never empty.
    pub(super) active: Vec<usize>,
}

impl Backends {
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        let known = Known { all: endpoints.to_vec(), active: (0..endpoints.len()).collect() };
        Self { version: AtomicU64::new(0), inner: Mutex::new(known) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic cannot leave half a list behind: lists are replaced as a whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the addresses of another lookup. An address beyond [`MAX_ADDRESSES`] is not used.
    pub(crate) fn replace(&self, found: &[Endpoint]) {
        let mut known = self.lock();
        let mut active = Vec::with_capacity(found.len());
        for endpoint in found {
            match known.all.iter().position(|one| one == endpoint) {
                Some(index) => active.push(index),
                None if known.all.len() < MAX_ADDRESSES => {
                    known.all.push(endpoint.clone());
                    active.push(known.all.len() - 1);
                }
                None => {}
            }
        }
        if !active.is_empty() {
            known.active = active;
            self.version.fetch_add(1, Release);
        }
    }

    /// Returns the number of the last lookup.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Lists all addresses that were ever found.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Unix(address) => {
                let path = address.path().map(|path| path.to_string_lossy().into_owned());
                path.unwrap_or_default()
            }
        };
        self.lock().all.iter().map(name).collect()
    }
}

/// A set of addresses, by index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried([u64; MAX_ADDRESSES / 64]);

impl Tried {
    pub(super) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Endpoint {
        Endpoint::Tcp(text.parse().unwrap())
    }

    #[test]
    fn lookups_keep_the_index_of_an_address() {
        let backends = Backends::new(&[tcp("127.0.0.1:1"), tcp("127.0.0.2:1")]);
        backends.replace(&[tcp("127.0.0.3:1"), tcp("127.0.0.2:1")]);
        assert_eq!((backends.version(), backends.known().active), (1, vec![2, 1]));
        backends.replace(&[]);
        assert_eq!((backends.version(), backends.known().active), (1, vec![2, 1]));
        assert_eq!(backends.names(), ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]);
    }

    #[test]
    fn addresses_beyond_the_limit_are_not_used() {
        let backends = Backends::new(&[tcp("127.0.0.1:1")]);
        let many: Vec<_> = (1..400).map(|port| tcp(&format!("127.0.0.2:{port}"))).collect();
        backends.replace(&many);
        assert_eq!(backends.known().all.len(), MAX_ADDRESSES);
        let mut tried = Tried::default();
        tried.insert(MAX_ADDRESSES - 1);
        assert!(tried.has(MAX_ADDRESSES - 1) && !tried.has(0));
    }
}
