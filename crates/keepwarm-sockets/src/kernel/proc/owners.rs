//! Owners of a destination's connections: how often each process was seen with one of its sockets.
//!
//! Owns the counts per process and the choice of the surest kind of evidence among them. Reads
//! nothing: [`socket_search`](super::socket_search) and the traces find the processes.

use std::collections::HashMap;

/// Bits of a process id (`PID_MAX_LIMIT`, include/linux/threads.h).
const PID_BITS: u32 = 22;
const PID_MASK: u32 = (1 << PID_BITS) - 1;
/// Processes of one id that are told apart; a later one counts as the last of them.
const MAX_LIVES: u32 = 1 << 9;

/// A process: its id, and how many others were met under that id before. In one number, as there is
/// one for each open socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessKey(u32);

impl ProcessKey {
    /// Returns the first process of an id.
    pub(crate) fn first(pid: u32) -> ProcessKey {
        ProcessKey(pid & PID_MASK)
    }

    /// Returns the next process of the same id.
    pub(crate) fn next(self) -> ProcessKey {
        let life = ((self.0 >> PID_BITS) + 1).min(MAX_LIVES - 1);
        ProcessKey(life << PID_BITS | self.pid())
    }

    pub(crate) fn pid(self) -> u32 {
        self.0 & PID_MASK
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Returns the process of a [`number`](Self::number).
    pub(crate) fn of_number(number: u32) -> ProcessKey {
        ProcessKey(number)
    }
}

/// Facts about a process that outlive it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    pub(crate) name: Option<String>,
    pub(crate) started_at: Option<u64>,
}

/// Processes that are told apart for one destination; further ones are not named.
const MAX_PIDS: usize = 64;
/// Connections with a known process for each one without, from which they tell the owners: on a busy
/// host some traces are always lost.
const UNSEEN: u64 = 100;

/// A process that a destination's connections belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// The process id.
    pub pid: u32,
    /// The time at which it started, in clock ticks since the boot
    /// ([`process::started_at`](crate::process::started_at)): with the id it names one process, for ids
    /// are given again. `None` if the process had ended by the time it was met.
    pub started_at: Option<u64>,
    /// The process name (`/proc/<pid>/comm`), if it could be read in time. For a traced process
    /// that was never met alive, it is the name of the thread that the kernel traced.
    pub process: Option<String>,
    /// Its part of the connections, from 0 to 1.
    pub share: f64,
    /// The evidence that the share rests on.
    pub how: OwnerEvidence,
}

/// How a connection was assigned to its process, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerEvidence {
    /// The kernel traced nearly all connections that closed to the processes that opened or closed them.
    Traced,
    /// The process holds the listening socket: so all connections of the service belong to it or to
    /// its children.
    Listener,
    /// Before nearly all connections closed, an earlier search had found their sockets, by the kernel's
    /// cookie, among the open files of this process.
    Cookie,
    /// Some connections had been seen alive, or the processes of some that closed are known; the share is
    /// that of those.
    Sampled,
}

impl OwnerEvidence {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OwnerEvidence::Traced => "tracepoint",
            OwnerEvidence::Listener => "listener",
            OwnerEvidence::Cookie => "cookie",
            OwnerEvidence::Sampled => "sampled",
        }
    }
}

/// Sockets of one destination that were seen as files of processes, counted per process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings {
    sampled: HashMap<ProcessKey, u64>,
    closed: HashMap<ProcessKey, u64>,
    listening: HashMap<ProcessKey, u64>,
    /// Closed connections with a known process, those beyond [`MAX_PIDS`] included.
    closed_seen: u64,
    closed_unseen: u64,
    /// The process of at least one closed connection is known from a trace.
    is_traced: bool,
}

impl Sightings {
    /// Counts a socket that was found as a file of this process.
    pub(crate) fn see(&mut self, process: ProcessKey, how: OwnerEvidence) {
        let table =
            if how == OwnerEvidence::Listener { &mut self.listening } else { &mut self.sampled };
        count(table, process, 1);
    }

    /// Counts a closed connection that had been seen as a file of this process.
    pub(crate) fn closed(&mut self, process: ProcessKey) {
        self.closed_seen += 1;
        count(&mut self.closed, process, 1);
    }

    /// Counts a closed connection that this process opened or closed, according to a trace.
    pub(crate) fn traced(&mut self, process: ProcessKey) {
        self.is_traced = true;
        self.closed(process);
    }

    /// Counts a closed connection whose process is not known.
    pub(crate) fn closed_unseen(&mut self) {
        self.closed_unseen += 1;
    }

    pub(crate) fn merge(&mut self, other: &Sightings) {
        other.sampled.iter().for_each(|(pid, n)| count(&mut self.sampled, *pid, *n));
        other.closed.iter().for_each(|(pid, n)| count(&mut self.closed, *pid, *n));
        other.listening.iter().for_each(|(pid, n)| count(&mut self.listening, *pid, *n));
        self.closed_seen += other.closed_seen;
        self.closed_unseen += other.closed_unseen;
        self.is_traced |= other.is_traced;
    }

    /// Returns every process seen in any way; one that was seen in two ways comes twice.
    pub(crate) fn processes(&self) -> Vec<ProcessKey> {
        let tables = [&self.sampled, &self.listening, &self.closed];
        tables.into_iter().flat_map(HashMap::keys).copied().collect()
    }

    /// Returns the owners by the surest evidence there is, the one with the largest share first.
    pub(crate) fn owners(&self, known: &HashMap<ProcessKey, ProcessFacts>) -> Vec<Owner> {
        let how = self.evidence();
        let table = match how {
            OwnerEvidence::Listener => &self.listening,
            OwnerEvidence::Sampled if !self.sampled.is_empty() => &self.sampled,
            OwnerEvidence::Traced | OwnerEvidence::Cookie | OwnerEvidence::Sampled => &self.closed,
        };
        // Closed connections of processes beyond the bound are no part of the table.
        let is_closed = std::ptr::eq(table, &self.closed);
        let total = if is_closed { self.closed_seen } else { table.values().sum() };
        let owner = |(process, n): (&ProcessKey, &u64)| {
            let facts = known.get(process).cloned().unwrap_or_default();
            Owner {
                pid: process.pid(),
                started_at: facts.started_at,
                process: facts.name,
                share: *n as f64 / total as f64,
                how,
            }
        };
        let mut owners: Vec<Owner> = table.iter().map(owner).collect();
        owners.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.pid.cmp(&b.pid)));
        owners
    }

    /// Chooses the surest kind of evidence that covers the destination: `Traced` and `Cookie` if they
    /// know the process of nearly all connections that closed.
    fn evidence(&self) -> OwnerEvidence {
        let known = self.closed_unseen <= self.closed_seen / UNSEEN && !self.closed.is_empty();
        if known && self.is_traced {
            OwnerEvidence::Traced
        } else if !self.listening.is_empty() {
            OwnerEvidence::Listener
        } else if known {
            OwnerEvidence::Cookie
        } else {
            OwnerEvidence::Sampled
        }
    }
}

fn count(table: &mut HashMap<ProcessKey, u64>, process: ProcessKey, n: u64) {
    if table.len() < MAX_PIDS || table.contains_key(&process) {
        *table.entry(process).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_evidence_names_the_owners() {
        let key = ProcessKey::first;
        let facts = ProcessFacts { name: Some("go".to_owned()), started_at: Some(70) };
        let names = HashMap::from([(key(7), facts)]);
        let first = |seen: &Sightings| {
            let owners = seen.owners(&names);
            (owners[0].pid, owners[0].how)
        };
        let mut seen = Sightings::default();
        assert!(seen.owners(&names).is_empty());
        for _ in 0..3 {
            seen.see(key(7), OwnerEvidence::Sampled);
        }
        seen.see(key(8), OwnerEvidence::Sampled);
        seen.closed(key(7));
        seen.closed_unseen();
        let owners = seen.owners(&names);
        assert_eq!(first(&seen), (7, OwnerEvidence::Sampled));
        assert_eq!(owners[0].share, 0.75);
        assert_eq!((owners[0].process.as_deref(), &owners[1].process), (Some("go"), &None));
        assert_eq!((owners[0].started_at, owners[1].started_at), (Some(70), None));
        seen.closed_unseen = 0;
        assert_eq!(first(&seen), (7, OwnerEvidence::Cookie));
        seen.see(key(9), OwnerEvidence::Listener);
        assert_eq!(first(&seen), (9, OwnerEvidence::Listener));
        seen.traced(key(7));
        assert_eq!(first(&seen), (7, OwnerEvidence::Traced));
        seen.closed_unseen();
        assert_eq!(first(&seen), (9, OwnerEvidence::Listener), "one of three has no known process");
        (0..98).for_each(|_| seen.traced(key(7)));
        assert_eq!(first(&seen), (7, OwnerEvidence::Traced), "one of 101");
        let mut few = Sightings::default();
        few.traced(key(7));
        (0..3).for_each(|_| few.closed_unseen());
        assert_eq!(first(&few), (7, OwnerEvidence::Sampled));
    }

    #[test]
    fn processes_of_one_id_are_told_apart() {
        let first = ProcessKey::first(PID_MASK);
        let second = first.next();
        assert!(first != second && second != second.next());
        assert_eq!([first.pid(), second.pid(), second.next().pid()], [PID_MASK; 3]);
        assert_eq!(ProcessKey::of_number(second.number()), second);
        let last = (0..2 * MAX_LIVES).fold(first, |process, _| process.next());
        assert_eq!((last, last.pid()), (last.next(), PID_MASK));
        assert!(last.number() < u32::MAX - 1, "room for an unknown process");
    }

    #[test]
    fn at_most_64_processes_are_named() {
        let mut seen = Sightings::default();
        (0..1000).for_each(|pid| seen.see(ProcessKey::first(pid), OwnerEvidence::Sampled));
        assert_eq!(seen.owners(&HashMap::new()).len(), MAX_PIDS);
        let mut seen = Sightings::default();
        (0..1000).for_each(|pid| seen.traced(ProcessKey::first(pid)));
        let owners = seen.owners(&HashMap::new());
        let named = (owners.len(), owners[0].share);
        assert_eq!(named, (MAX_PIDS, 0.001), "shares are those of all that closed");
    }
}
