//! File tables: when a process whose connections stay open may open no more files (EMFILE).
//!
//! Owns the samples of the tables of processes whose connections grow. A table is read itself, not
//! derived from connections: sockets of several destinations fill it, and those that another process
//! has passed on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use keepwarm_sockets::{Destination, Owner, process};

use super::growth::{SAMPLED_FROM, Samples};
use super::is_there;

/// Processes whose connections are counted.
const MAX_PROCESSES: usize = 1 << 10;
/// Processes whose file tables are read.
const MAX_TABLES: usize = 64;

/// File table of a process that connections fill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Files {
    pub(crate) pid: u32,
    /// Files that are open.
    pub(crate) used: u64,
    /// The soft limit.
    pub(crate) limit: u64,
    /// Time until it is reached and no connection can be opened or accepted.
    pub(crate) exhausted_in: Duration,
}

/// A process: its id, and when it started.
type Key = (u32, Option<u64>);

fn key(owner: &Owner) -> Key {
    (owner.pid, owner.started_at)
}

/// Connections of a process and the files that it has open, in the last minute.
#[derive(Debug, Default)]
struct Table {
    connections: Samples,
    files: Samples,
}

/// File tables of the processes whose connections grow.
#[derive(Debug, Default)]
pub(super) struct FileTables {
    tables: HashMap<Key, Table>,
}

impl FileTables {
    /// Takes a sample of each process that has connections enough; reads the table of those that are new or
    /// have more than a minute ago, by `open_files`.
    pub(super) fn observe<'a>(
        &mut self,
        all: impl Iterator<Item = &'a Destination>,
        at: Instant,
        open_files: impl Fn(u32) -> Option<u64>,
    ) {
        let mut open: HashMap<Key, (&Owner, f64)> = HashMap::new();
        for one in all {
            for owner in owners(one) {
                let sum = open.entry(key(owner)).or_insert((owner, 0.0));
                sum.1 += one.alive as f64 * owner.share;
            }
        }
        open.retain(|key, (_, sum)| self.tables.contains_key(key) || *sum >= SAMPLED_FROM as f64);
        self.tables.retain(|key, _| open.contains_key(key));
        let mut growing = Vec::new();
        for (key, (owner, sum)) in open {
            if self.tables.len() >= MAX_PROCESSES && !self.tables.contains_key(&key) {
                continue;
            }
            let table = self.tables.entry(key).or_default();
            table.connections.add(at, sum.round() as u64);
            if table.connections.grown() > 0 || table.files.last().is_none() {
                growing.push((owner, table.connections.grown()));
            }
        }
        growing.sort_by_key(|(_, grown)| std::cmp::Reverse(*grown));
        for (owner, _) in growing.into_iter().take(MAX_TABLES) {
            if let Some(table) = self.tables.get_mut(&key(owner)).filter(|_| is_there(owner))
                && let Some(used) = open_files(owner.pid)
            {
                table.files.add(at, used);
            }
        }
    }

    /// Returns the table that runs out first, of the processes that have a destination's open
    /// connections.
    pub(super) fn of(&self, one: &Destination) -> Option<Files> {
        let forecasts = owners(one).iter().filter_map(|owner| self.of_process(owner));
        forecasts.min_by_key(|files| files.exhausted_in)
    }

    fn of_process(&self, owner: &Owner) -> Option<Files> {
        let table = self.tables.get(&key(owner))?;
        let growth = table.files.growth()?;
        // Other files than those of connections are another fault.
        if table.connections.grown() * 2 < table.files.grown() {
            return None;
        }
        let (used, limit) = (table.files.last()?, process::open_files_limit(owner.pid)?);
        let left = limit.saturating_sub(used) as f64 / growth;
        let exhausted_in = Duration::try_from_secs_f64(left).ok()?;
        is_there(owner).then_some(Files { pid: owner.pid, used, limit, exhausted_in })
    }
}

/// Returns the processes that a destination's open connections belong to, as far as is known.
fn owners(one: &Destination) -> &[Owner] {
    if one.owners_open.is_empty() { one.owners.get(..1).unwrap_or(&[]) } else { &one.owners_open }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use keepwarm_sockets::{OwnerEvidence, Side};

    use super::*;

    fn this(share: f64) -> Owner {
        let (pid, how) = (std::process::id(), OwnerEvidence::Sampled);
        Owner { pid, started_at: process::started_at(pid), process: None, share, how }
    }

    /// The forecasts of two destinations of this process after twelve seconds, in which each has so many
    /// connections, and the process so many files.
    fn forecasts(
        connections: impl Fn(u64) -> u64,
        files: impl Fn(u64) -> u64,
        share: f64,
    ) -> [Option<Files>; 2] {
        let mut tables = FileTables::default();
        let mut both = [1, 2].map(|n| {
            let mut one = Destination::new(Some(([10, 0, 0, n], 443).into()), Side::Client);
            one.owners_open = vec![this(share)];
            one
        });
        let begun = Instant::now();
        for second in 0..=12 {
            both.iter_mut().for_each(|one| one.alive = connections(second));
            let at = begun + Duration::from_secs(second);
            tables.observe(both.iter(), at, |_| Some(files(second)));
        }
        both.map(|one| tables.of(&one))
    }

    #[test]
    fn connections_of_all_destinations_fill_a_table() {
        // Neither destination has connections enough by itself.
        let [one, other] = forecasts(|second| 8 + 2 * second, |second| 30 + 4 * second, 1.0);
        let files = one.expect("its files grow by four a second");
        assert_eq!((files.pid, files.used, other), (std::process::id(), 78, one));
        let left = (files.limit - files.used) as f64 / 4.0;
        assert!((files.exhausted_in.as_secs_f64() - left).abs() < 0.001, "{files:?}");
    }

    #[test]
    fn two_processes_share_a_destination() {
        // Half of the connections are another process's, and fill its table.
        let [one, _] = forecasts(|second| 40 + 4 * second, |second| 30 + 4 * second, 0.5);
        let files = one.expect("its files grow by four a second");
        let left = (files.limit - files.used) as f64 / 4.0;
        assert!((files.exhausted_in.as_secs_f64() - left).abs() < 0.001, "{files:?}");
    }

    #[test]
    fn other_files_are_no_leak_of_connections() {
        assert_eq!(forecasts(|_| 40, |second| 30 + 9 * second, 1.0), [None, None]);
        assert_eq!(forecasts(|second| 40 + second, |second| 30 + 9 * second, 1.0), [None, None]);
        assert_eq!(forecasts(|second| 40 + 9 * second, |_| 30, 1.0), [None, None]);
    }
}
