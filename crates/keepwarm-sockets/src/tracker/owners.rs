//! Processes that own sockets: their names, and the listeners they have.
//!
//! Owns what is remembered of processes, and passes what was found to the destinations. An id is given
//! to another process sooner or later: processes are told apart by the time at which they started. The
//! search through `/proc` is `kernel::proc`'s, its schedule `watch`'s.

use std::collections::{HashMap, HashSet};

use super::Tracker;
use super::open::OpenSocket;
use crate::kernel::proc::owners::{Owner, OwnerEvidence, ProcessFacts, ProcessKey, Sightings};
use crate::kernel::proc::socket_search::SocketHolders;
use crate::kernel::socket::Side;
use crate::kernel::trace::ThreadOwner;

/// Processes whose name is remembered, and listeners whose process is.
const MAX_KNOWN: usize = 1 << 12;

/// A reader of what can be asked about a process while it lives: [`process`](crate::process), or a
/// test's.
pub(crate) trait ReadProcess {
    fn name(&self, pid: u32) -> Option<String>;
    fn started_at(&self, pid: u32) -> Option<u64>;
}

/// Processes that were met so far.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<ProcessKey, ProcessFacts>,
    /// The last process of each id.
    last: HashMap<u32, ProcessKey>,
    /// Process of each listener's inode.
    listening: HashMap<u32, ProcessKey>,
}

impl Processes {
    pub(super) fn owners(&self, sightings: &Sightings) -> Vec<Owner> {
        sightings.owners(&self.known)
    }

    /// Meets the process that has an id, with the time at which it started; `None` if it has ended
    /// since it was found.
    fn meet(&mut self, pid: u32, started_at: Option<u64>) -> ProcessKey {
        let Some(last) = self.last.get(&pid).copied() else {
            return self.add(ProcessKey::first(pid), ProcessFacts { name: None, started_at });
        };
        let known = self.known.get(&last).and_then(|facts| facts.started_at);
        if started_at.is_none() || known == started_at {
            return last;
        }
        self.add(last.next(), ProcessFacts { name: None, started_at })
    }

    /// Meets a process that has ended: the one that was met under its id before, unless the name of
    /// its main thread shows that this is another.
    fn meet_ended(&mut self, ended: &ThreadOwner) -> ProcessKey {
        let facts = ProcessFacts { name: ended.name.clone(), started_at: None };
        let Some(last) = self.last.get(&ended.pid).copied() else {
            return self.add(ProcessKey::first(ended.pid), facts);
        };
        let known = self.known.entry(last).or_default();
        match (&known.name, &ended.name) {
            (Some(known), Some(name)) if ended.is_main && known != name => {
                self.add(last.next(), facts)
            }
            (Some(_), _) => last,
            (None, name) => {
                known.name.clone_from(name);
                last
            }
        }
    }

    fn add(&mut self, process: ProcessKey, facts: ProcessFacts) -> ProcessKey {
        if !self.is_full() || self.known.contains_key(&process) {
            self.known.insert(process, facts);
            self.last.insert(process.pid(), process);
        }
        process
    }

    /// Meets the processes of a trace. Returns them by their ids.
    pub(super) fn meet_traced(
        &mut self,
        traced: &mut Vec<ThreadOwner>,
    ) -> HashMap<u32, ProcessKey> {
        // The main thread of a process that has ended has its name, another thread one of its own.
        traced.sort_by_key(|one| !one.is_main);
        let mut met = HashMap::new();
        for one in traced.drain(..) {
            let process = match one.started_at {
                Some(_) => self.meet(one.pid, one.started_at),
                None => self.meet_ended(&one),
            };
            if let Some(facts) = self.known.get_mut(&process).filter(|_| one.started_at.is_some()) {
                facts.name = one.name.or(facts.name.take());
            }
            met.entry(one.pid).or_insert(process);
        }
        met
    }

    /// Returns true if a process lives: its id may be another's.
    fn lives(&self, process: &ProcessKey, read: &impl ReadProcess) -> bool {
        let started_at = self.known.get(process).and_then(|facts| facts.started_at);
        started_at.is_some() && read.started_at(process.pid()) == started_at
    }

    /// Forgets the listeners of processes that have ended: another process may have their files.
    fn forget_listeners(&mut self, read: &impl ReadProcess) {
        if self.listening.len() >= MAX_KNOWN {
            self.listening.clear();
        }
        let all: HashSet<ProcessKey> = self.listening.values().copied().collect();
        let is_there = |process: &ProcessKey| {
            let Some(known) = self.known.get(process) else { return false };
            // The name is read at a fraction of the cost, and hardly ever changes.
            let name = read.name(process.pid());
            name.is_some() && (name == known.name || self.lives(process, read))
        };
        let there: HashSet<ProcessKey> = all.into_iter().filter(is_there).collect();
        self.listening.retain(|_, process| there.contains(process));
    }

    /// Reads the names of processes that have none so far, while they live.
    fn learn_names(&mut self, of: &HashSet<ProcessKey>, read: &impl ReadProcess) {
        let is_nameless =
            |one: &&ProcessKey| self.known.get(one).is_some_and(|facts| facts.name.is_none());
        let nameless: Vec<ProcessKey> = of.iter().filter(is_nameless).copied().collect();
        for process in nameless {
            if self.lives(&process, read)
                && let Some(facts) = self.known.get_mut(&process)
            {
                facts.name = read.name(process.pid());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.known.len() >= MAX_KNOWN
    }

    /// Makes room for other processes by those that nothing refers to any more.
    fn forget_all_but(&mut self, kept: &HashSet<ProcessKey>) {
        self.known.retain(|process, _| kept.contains(process));
        self.last.clear();
        for process in self.known.keys() {
            let last = self.last.entry(process.pid()).or_insert(*process);
            *last = (*last).max(*process);
        }
    }
}

impl Tracker {
    /// Returns the inodes of open sockets and of listeners whose process is not known yet.
    pub(crate) fn nameless_inodes(&self) -> Vec<u32> {
        let alive = self.open.alive().filter(|open| open.process().is_none());
        let servers = self.destinations.iter().filter(|one| one.side() == Side::Server);
        let services = servers.filter_map(|one| one.key().0);
        let listeners = services.flat_map(|service| self.listeners.inodes(&service).to_vec());
        let listeners = listeners.filter(|inode| !self.processes.listening.contains_key(inode));
        alive.map(|open| open.inode).chain(listeners).filter(|inode| *inode != 0).collect()
    }

    /// Takes the processes that a search has found, by inode, and a way to ask about them.
    pub(crate) fn handle_processes(&mut self, holders: &SocketHolders, read: &impl ReadProcess) {
        let Tracker { open, destinations, processes, listeners, .. } = self;
        let found: HashSet<u32> = holders.iter().map(|(_, pid)| pid).collect();
        let met = |pid| (pid, processes.meet(pid, read.started_at(pid)));
        let met: HashMap<u32, ProcessKey> = found.into_iter().map(met).collect();
        let of_inode = |inode: &u32| met.get(&holders.get(*inode)?).copied();
        for one in open.alive_mut() {
            if one.process().is_none() {
                one.process = of_inode(&one.inode).map(ProcessKey::number).into();
            }
            if let Some(process) = one.process() {
                let sightings = &mut destinations.get_mut(one.destination).sightings;
                sightings.see(process, OwnerEvidence::Sampled);
            }
        }
        processes.forget_listeners(read);
        destinations.for_each_mut(|one| {
            let (Some(service), Side::Server) = one.key() else { return };
            for inode in listeners.inodes(&service) {
                if let Some(process) = of_inode(inode) {
                    processes.listening.insert(*inode, process);
                }
                if let Some(process) = processes.listening.get(inode) {
                    one.sightings.see(*process, OwnerEvidence::Listener);
                }
            }
        });
        let seen = destinations.iter().flat_map(|one| one.sightings.processes());
        let mut seen: HashSet<ProcessKey> = seen.collect();
        processes.learn_names(&seen, read);
        if processes.is_full() {
            seen.extend(open.alive().filter_map(OpenSocket::process));
            processes.forget_all_but(&seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that are there: their id, start and name.
    struct There(Vec<(u32, u64, &'static str)>);

    impl ReadProcess for There {
        fn name(&self, pid: u32) -> Option<String> {
            self.0.iter().find(|one| one.0 == pid).map(|one| one.2.to_owned())
        }

        fn started_at(&self, pid: u32) -> Option<u64> {
            self.0.iter().find(|one| one.0 == pid).map(|one| one.1)
        }
    }

    fn ended(pid: u32, name: &str, is_main: bool) -> ThreadOwner {
        ThreadOwner::ended(pid, Some(name.to_owned()), is_main)
    }

    fn name(processes: &Processes, process: ProcessKey) -> Option<&str> {
        processes.known.get(&process)?.name.as_deref()
    }

    #[test]
    fn reused_id_is_another_process() {
        let mut processes = Processes::default();
        let first = processes.meet(7, Some(100));
        processes.learn_names(&HashSet::from([first]), &There(vec![(7, 100, "first")]));
        assert_eq!(processes.meet(7, Some(100)), first);
        assert_eq!(processes.meet(7, None), first, "it has ended since");
        processes.listening.insert(1, first);
        let second = processes.meet(7, Some(200));
        assert!(second != first && second.pid() == 7);
        let later = There(vec![(7, 200, "second")]);
        processes.learn_names(&HashSet::from([first, second]), &later);
        let names = [first, second].map(|one| name(&processes, one));
        assert_eq!(names, [Some("first"), Some("second")]);
        processes.forget_listeners(&later);
        assert!(processes.listening.is_empty(), "the listener was the first one's");
    }

    #[test]
    fn late_name_is_of_no_other_process() {
        let mut processes = Processes::default();
        let first = processes.meet(7, Some(100));
        processes.learn_names(&HashSet::from([first]), &There(vec![(7, 200, "second")]));
        assert_eq!(name(&processes, first), None);
    }

    #[test]
    fn ended_process_keeps_the_name_it_had() {
        let mut processes = Processes::default();
        let met = processes.meet(7, Some(100));
        processes.learn_names(&HashSet::from([met]), &There(vec![(7, 100, "server")]));
        let mut traced = vec![ended(7, "worker-1", false), ended(8, "worker-2", false)];
        let owners = processes.meet_traced(&mut traced);
        assert_eq!(owners[&7], met, "known from a look at it");
        assert_eq!(name(&processes, met), Some("server"));
        assert_eq!(name(&processes, owners[&8]), Some("worker-2"), "never met alive");
        let owners = processes.meet_traced(&mut vec![ended(7, "other", true)]);
        assert_ne!(owners[&7], met, "the main thread of another process");
        assert_eq!(name(&processes, owners[&7]), Some("other"));
        let owners = processes.meet_traced(&mut vec![ended(9, "a", false), ended(9, "main", true)]);
        assert_eq!(name(&processes, owners[&9]), Some("main"));
    }

    #[test]
    fn full_table_forgets_what_is_gone() {
        let mut processes = Processes::default();
        for pid in 0..MAX_KNOWN as u32 + 9 {
            processes.meet(pid, Some(1));
        }
        assert!(processes.is_full() && processes.known.len() == MAX_KNOWN);
        let kept = ProcessKey::first(3);
        processes.forget_all_but(&HashSet::from([kept]));
        assert_eq!((processes.known.len(), processes.last.len()), (1, 1));
        assert_eq!(processes.meet(3, Some(1)), kept);
    }
}
