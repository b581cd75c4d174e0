//! Trace records that wait for the destroy event of the same socket.
//!
//! Owns the join by addresses, and how long records and resets are kept. Records of other network
//! namespaces match no event and are dropped after a while. A socket of another namespace with the
//! very same pair of addresses within that time would be taken for ours.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::small_queue::SmallQueue;
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::State;
use crate::kernel::trace::TracedSocket;

/// Local and remote address of a socket.
pub(super) type Addresses = (SocketAddr, SocketAddr);

/// Records that wait, 144 bytes each: those of 8,000 closes a second for more than three seconds. Those
/// of other network namespaces are among them, as many as there are. Half of them fit a table of 2^14 places,
/// of which seven in eight are used: 5 MB in two tables.
const MAX_RECORDS: usize = 28_000;
/// Resets that wait, some 100 bytes each. Those of other network namespaces are among them, as many as
/// there are: the oldest go first.
const MAX_RESETS: usize = 1 << 15;
/// Shortest time that they wait: a close is counted at most some two seconds after the death.
const KEEP_NS: u64 = 5_000_000_000;

/// Trace records and resets without an event so far.
#[derive(Debug, Default)]
pub(super) struct TraceRecords {
    younger: Generation,
    older: Generation,
    /// When the older generation was dropped last.
    dropped_ns: u64,
    readings: u64,
    resets: Resets,
    older_resets: Resets,
}

/// Reason of the last reset from the first address to the second.
type Resets = Map<Addresses, Arc<str>>;

/// Trace record without its addresses, which are the key that it is kept under.
#[derive(Debug, Clone, Copy)]
struct Kept {
    owner: Option<u32>,
    owned_ns: u64,
    lifetime_ns: Option<u64>,
    ended_ns: u64,
    reset_in: Option<State>,
    closed_first: Option<bool>,
    crossed: bool,
    ended_established: bool,
}

impl Kept {
    fn of(record: &TracedSocket) -> Kept {
        Kept {
            owner: record.owner,
            owned_ns: record.owned_ns,
            lifetime_ns: record.lifetime_ns,
            ended_ns: record.ended_ns,
            reset_in: record.reset_in,
            closed_first: record.closed_first,
            crossed: record.crossed,
            ended_established: record.ended_established,
        }
    }

    fn with(self, (local, remote): Addresses) -> TracedSocket {
        TracedSocket {
            local,
            remote,
            owner: self.owner,
            owned_ns: self.owned_ns,
            lifetime_ns: self.lifetime_ns,
            ended_ns: self.ended_ns,
            reset_in: self.reset_in,
            closed_first: self.closed_first,
            crossed: self.crossed,
            ended_established: self.ended_established,
        }
    }
}

impl TraceRecords {
    /// Begins a reading of the trace at this time, and drops what has waited for long enough.
    pub(super) fn begin_reading(&mut self, now_ns: u64) {
        self.readings += 1;
        if now_ns.saturating_sub(self.dropped_ns) < KEEP_NS {
            return;
        }
        self.dropped_ns = now_ns;
        self.drop_older();
        self.drop_older_resets();
    }

    /// Number of readings; 0 without a trace.
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    pub(super) fn put(&mut self, record: &TracedSocket) {
        if self.younger.count >= MAX_RECORDS / 2 {
            self.drop_older();
        }
        self.younger.put(record);
    }

    pub(super) fn put_reset(&mut self, from_to: Addresses, reason: Arc<str>) {
        if self.resets.len() >= MAX_RESETS / 2 {
            self.drop_older_resets();
        }
        self.resets.insert(from_to, reason);
    }

    /// Takes the oldest record of a socket with these addresses.
    pub(super) fn take(&mut self, addresses: &Addresses) -> Option<TracedSocket> {
        self.older.take(addresses).or_else(|| self.younger.take(addresses))
    }

    /// Returns the record that [`take`](TraceRecords::take) would take.
    pub(super) fn peek(&self, addresses: &Addresses) -> Option<TracedSocket> {
        let tables = [&self.older.by_addresses, &self.younger.by_addresses];
        let kept = tables.into_iter().find_map(|table| table.get(addresses))?.front()?;
        Some(kept.with(*addresses))
    }

    /// Returns why a reset was sent from the first address to the second.
    pub(super) fn reset_reason(&self, from_to: &Addresses) -> Option<&str> {
        self.resets.get(from_to).or_else(|| self.older_resets.get(from_to)).map(|reason| &**reason)
    }

    /// Returns the addresses of sockets that sent a reset, by the part of them that an abort leaves
    /// in its event: the local port and the remote host.
    pub(super) fn aborted(&self) -> HashMap<(u16, IpAddr), VecDeque<Addresses>> {
        let mut aborted: HashMap<_, VecDeque<Addresses>> = HashMap::new();
        let all = self.older.by_addresses.keys().chain(self.younger.by_addresses.keys());
        for addresses in all.filter(|addresses| self.reset_reason(addresses).is_some()) {
            let key = (addresses.0.port(), addresses.1.ip());
            aborted.entry(key).or_default().push_back(*addresses);
        }
        aborted
    }

    fn drop_older(&mut self) {
        std::mem::swap(&mut self.younger, &mut self.older);
        self.younger.clear();
    }

    fn drop_older_resets(&mut self) {
        self.older_resets = std::mem::take(&mut self.resets);
    }
}

/// Records of one stretch of time. They are dropped together, so that the age of each need not be
/// kept.
#[derive(Debug, Default)]
struct Generation {
    by_addresses: Map<Addresses, SmallQueue<Kept>>,
    count: usize,
    /// The most pairs of addresses at once since it began.
    most: usize,
}

/// Pairs of addresses for which a generation keeps memory in any case.
const KEPT_PAIRS: usize = 1 << 10;

impl Generation {
    fn put(&mut self, record: &TracedSocket) {
        self.count += 1;
        let addresses = (record.local, record.remote);
        self.by_addresses.entry(addresses).or_default().push_back(Kept::of(record));
        self.most = self.most.max(self.by_addresses.len());
    }

    fn take(&mut self, addresses: &Addresses) -> Option<TracedSocket> {
        if self.count == 0 {
            return None;
        }
        let Entry::Occupied(mut queue) = self.by_addresses.entry(*addresses) else { return None };
        let record = queue.get_mut().pop_front();
        if queue.get().is_empty() {
            queue.remove();
        }
        self.count -= usize::from(record.is_some());
        record.map(|kept| kept.with(*addresses))
    }

    /// Drops the records, and the memory of a moment that was much busier than the generation was.
    fn clear(&mut self) {
        self.by_addresses.clear();
        let needed = self.most.max(KEPT_PAIRS);
        if self.by_addresses.capacity() > needed.saturating_mul(4) {
            self.by_addresses.shrink_to(needed);
        }
        (self.count, self.most) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(port: u16, ended_ns: u64) -> TracedSocket {
        let local = SocketAddr::from(([10, 0, 0, 1], port));
        let remote = SocketAddr::from(([10, 0, 0, 2], 80));
        let (owner, lifetime_ns, reset_in) = (Some(1), Some(1), None);
        let (closed_first, crossed, ended_established) = (None, false, false);
        TracedSocket {
            local,
            remote,
            owner,
            owned_ns: ended_ns,
            lifetime_ns,
            ended_ns,
            reset_in,
            closed_first,
            crossed,
            ended_established,
        }
    }

    fn addresses(port: u16) -> Addresses {
        (record(port, 0).local, record(port, 0).remote)
    }

    #[test]
    fn records_are_taken_in_order_and_dropped_by_age() {
        let mut records = TraceRecords::default();
        // A pair of addresses that was used twice.
        records.put(&record(1, 100));
        records.put(&record(1, 200));
        let key = addresses(1);
        assert_eq!(records.take(&key), Some(record(1, 100)));
        records.begin_reading(KEEP_NS);
        records.put(&record(1, KEEP_NS + 1));
        assert_eq!(records.take(&key), Some(record(1, 200)), "the later one is spared");
        assert_eq!(records.take(&key), Some(record(1, KEEP_NS + 1)));
        assert_eq!(records.take(&key), None);
        records.put(&record(1, KEEP_NS + 2));
        records.begin_reading(KEEP_NS + 3);
        records.begin_reading(2 * KEEP_NS);
        records.begin_reading(3 * KEEP_NS);
        assert_eq!(records.take(&key), None, "it has waited for long enough");
    }

    #[test]
    fn record_takes_144_bytes_with_its_key() {
        assert!(size_of::<(Addresses, SmallQueue<Kept>)>() <= 144);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut generation = Generation::default();
        (0..40_000).for_each(|n| generation.put(&record(n, 0)));
        generation.clear();
        assert!(generation.by_addresses.capacity() >= 40_000, "it was needed a moment ago");
        generation.put(&record(1, 0));
        generation.clear();
        assert!(generation.by_addresses.capacity() < 4 * KEPT_PAIRS);
        assert_eq!(generation.take(&addresses(1)), None);
    }

    #[test]
    fn full_table_drops_the_oldest() {
        let mut records = TraceRecords::default();
        (0..2 * MAX_RECORDS as u64).for_each(|n| records.put(&record((n % 60_000) as u16, n)));
        assert!(records.younger.count + records.older.count <= MAX_RECORDS);
        let mut left = Vec::new();
        for port in 0..60_000 {
            while let Some(record) = records.take(&addresses(port)) {
                left.push(record.ended_ns);
            }
        }
        left.sort_unstable();
        assert!(left.len() >= MAX_RECORDS / 2 && left[0] >= MAX_RECORDS as u64, "{}", left[0]);
    }

    /// A trace has the resets of every network namespace: those of a busy one must not displace ours.
    #[test]
    fn flood_of_resets_spares_the_latest() {
        let mut records = TraceRecords::default();
        let reset = |n: u32| {
            let remote = SocketAddr::from((n.to_be_bytes(), 80));
            (SocketAddr::from(([10, 9, 9, 9], 40_000)), remote)
        };
        (0..3 * MAX_RESETS as u32).for_each(|n| records.put_reset(reset(n), "foreign".into()));
        records.put_reset(addresses(1), "ours".into());
        (0..MAX_RESETS as u32 / 2 - 1).for_each(|n| records.put_reset(reset(n), "foreign".into()));
        assert_eq!(records.reset_reason(&addresses(1)), Some("ours"));
        assert!(records.resets.len() + records.older_resets.len() <= MAX_RESETS);
        records.begin_reading(KEEP_NS);
        records.begin_reading(2 * KEEP_NS);
        assert_eq!(records.reset_reason(&addresses(1)), None, "it has waited for long enough");
    }
}
