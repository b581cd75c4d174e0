//! Processes that own sockets: their names, and the listeners they have.
//!
//! Owns what is remembered of processes, and passes what was found to the destinations. The search
//! through `/proc` is `kernel::proc`'s, its schedule `watch`'s.

use std::collections::{HashMap, HashSet};

use super::Tracker;
use crate::kernel::proc::owners::{Owner, OwnerEvidence, Sightings};
use crate::kernel::socket::Side;

/// Processes whose name is remembered, and listeners whose process is.
const MAX_NAMES: usize = 1 << 12;

/// Processes that were found so far.
#[derive(Debug, Default)]
pub(super) struct Processes {
    names: HashMap<u32, String>,
    /// Process of each listener's inode.
    listening: HashMap<u32, u32>,
}

impl Processes {
    /// Remembers the name of a process.
    pub(super) fn learn_name(&mut self, pid: u32, name: Option<String>) {
        if self.names.len() < MAX_NAMES || self.names.contains_key(&pid) {
            self.names.extend(name.map(|name| (pid, name)));
        }
    }

    pub(super) fn owners(&self, sightings: &Sightings) -> Vec<Owner> {
        sightings.owners(&self.names)
    }

    /// Forgets the listeners of processes that have ended: another process may have their files.
    fn forget_listeners(&mut self, name: &impl Fn(u32) -> Option<String>) {
        if self.listening.len() >= MAX_NAMES {
            self.listening.clear();
        }
        let pids: HashSet<u32> = self.listening.values().copied().collect();
        let ended: HashSet<u32> = pids.into_iter().filter(|pid| name(*pid).is_none()).collect();
        self.listening.retain(|_, pid| !ended.contains(pid));
    }
}

impl Tracker {
    /// Returns the inodes of open sockets and of listeners whose process is not known yet.
    pub(crate) fn nameless_inodes(&self) -> Vec<u32> {
        let alive = self.open.alive().filter(|open| open.pid.get().is_none());
        let servers = self.destinations.iter().filter(|one| one.side() == Side::Server);
        let services = servers.filter_map(|one| one.key().0);
        let listeners = services.flat_map(|service| self.listeners.inodes(&service).to_vec());
        let listeners = listeners.filter(|inode| !self.processes.listening.contains_key(inode));
        alive.map(|open| open.inode).chain(listeners).filter(|inode| *inode != 0).collect()
    }

    /// Takes the processes that a search has found, by inode, and a way to ask for their names.
    pub(crate) fn handle_processes(
        &mut self,
        pids: &HashMap<u32, u32>,
        name: impl Fn(u32) -> Option<String>,
    ) {
        let Tracker { open, destinations, processes, listeners, .. } = self;
        for one in open.alive_mut() {
            if one.pid.get().is_none() {
                one.pid = pids.get(&one.inode).copied().into();
            }
            if let Some(pid) = one.pid.get() {
                let sightings = &mut destinations.get_mut(one.destination).sightings;
                sightings.see(pid, OwnerEvidence::Sampled);
            }
        }
        processes.forget_listeners(&name);
        destinations.for_each_mut(|one| {
            let (Some(service), Side::Server) = one.key() else { return };
            for inode in listeners.inodes(&service) {
                if let Some(pid) = pids.get(inode) {
                    processes.listening.insert(*inode, *pid);
                }
                if let Some(pid) = processes.listening.get(inode) {
                    one.sightings.see(*pid, OwnerEvidence::Listener);
                }
            }
        });
        let pids: HashSet<u32> = destinations.iter().flat_map(|one| one.sightings.pids()).collect();
        for pid in pids {
            if !processes.names.contains_key(&pid) {
                processes.learn_name(pid, name(pid));
            }
        }
    }
}
