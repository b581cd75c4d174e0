//! Whose sockets they are.
//!
//! Owns the sightings of processes and the search through `/proc/<pid>/fd`. What may not be read
//! (another user's processes, without CAP_SYS_PTRACE) is simply not found.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

/// Processes that are told apart for one destination; the rest is not named.
const MAX_PIDS: usize = 64;
/// Descriptors looked at in one search.
const MAX_DESCRIPTORS: usize = 1 << 17;
/// A search may take this share of a core: after one that took a millisecond comes a pause of 20.
const PAUSE: u32 = 20;
/// What a socket that was wanted weighs, beside one that was not.
const WANTED_WEIGHT: usize = 1 << 10;
/// What was not found is searched for again after as long: a file may change hands.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);
/// And at most so often.
const SEARCH_EVERY: Duration = Duration::from_millis(200);

/// A process that a destination's connections belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// Its name (`/proc/<pid>/comm`), if it could be read in time. Of a traced process that was gone by
    /// then, `pid` and name are those of the thread that the kernel traced.
    pub process: Option<String>,
    /// Its part of the connections, from 0 to 1.
    pub share: f64,
    /// What the share rests on.
    pub how: OwnerEvidence,
}

/// How a connection was brought together with its process, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerEvidence {
    /// The kernel traced every connection that closed to the process that opened or closed it.
    Traced,
    /// It holds the listening socket: so all connections of the service are its own, or its
    /// children's.
    Listener,
    /// Every connection that closed had been seen alive before, in its hands.
    Cookie,
    /// Some had; its share is that of the sightings.
    Sampled,
}

impl OwnerEvidence {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OwnerEvidence::Traced => "tracepoint",
            OwnerEvidence::Listener => "listener",
            OwnerEvidence::Cookie => "cookie",
            OwnerEvidence::Sampled => "sampled",
        }
    }
}

/// Who was seen with a destination's sockets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings {
    sampled: HashMap<u32, u64>,
    closed: HashMap<u32, u64>,
    listening: HashMap<u32, u64>,
    /// Of all processes, also those that are not told apart.
    closed_seen: u64,
    closed_unseen: u64,
    /// Some of those closed were known by tracing.
    is_traced: bool,
}

impl Sightings {
    pub(crate) fn see(&mut self, pid: u32, how: OwnerEvidence) {
        let table =
            if how == OwnerEvidence::Listener { &mut self.listening } else { &mut self.sampled };
        count(table, pid, 1);
    }

    /// A connection of this process was closed.
    pub(crate) fn closed(&mut self, pid: u32) {
        self.closed_seen += 1;
        count(&mut self.closed, pid, 1);
    }

    /// A connection that this process opened or closed was closed.
    pub(crate) fn traced(&mut self, pid: u32) {
        self.is_traced = true;
        self.closed(pid);
    }

    /// A connection was closed that nobody had been seen with.
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

    pub(crate) fn pids(&self) -> Vec<u32> {
        let tables = [&self.sampled, &self.listening, &self.closed];
        tables.into_iter().flat_map(HashMap::keys).copied().collect()
    }

    /// Those with the greatest share first.
    pub(crate) fn owners(&self, names: &HashMap<u32, String>) -> Vec<Owner> {
        let all_seen = self.closed_unseen == 0 && !self.closed.is_empty();
        let (table, how) = if all_seen && self.is_traced {
            (&self.closed, OwnerEvidence::Traced)
        } else if !self.listening.is_empty() {
            (&self.listening, OwnerEvidence::Listener)
        } else if all_seen {
            (&self.closed, OwnerEvidence::Cookie)
        } else {
            (&self.sampled, OwnerEvidence::Sampled)
        };
        let total = match how {
            OwnerEvidence::Traced | OwnerEvidence::Cookie => self.closed_seen,
            OwnerEvidence::Listener | OwnerEvidence::Sampled => table.values().sum(),
        };
        let owner = |(pid, n): (&u32, &u64)| Owner {
            pid: *pid,
            process: names.get(pid).cloned(),
            share: *n as f64 / total as f64,
            how,
        };
        let mut owners: Vec<Owner> = table.iter().map(owner).collect();
        owners.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.pid.cmp(&b.pid)));
        owners
    }
}

fn count(table: &mut HashMap<u32, u64>, pid: u32, n: u64) {
    if table.len() < MAX_PIDS || table.contains_key(&pid) {
        *table.entry(pid).or_default() += n;
    }
}

/// The search for the process that has a file open.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// How many sockets each process was last seen with, and more for one whose socket was wanted.
    /// Those with the most are asked first: what lives for milliseconds is found at once or never.
    weights: HashMap<u32, usize>,
    rest_until: Option<Instant>,
    /// Files that a whole search did not find: of processes that may not be read, mostly.
    in_vain: HashSet<u32>,
    forget_at: Option<Instant>,
}

impl Processes {
    /// The processes of these files, as far as they can be found; nothing while it rests from the
    /// last search.
    pub(crate) fn find(&mut self, wanted: &[u32]) -> HashMap<u32, u32> {
        let now = Instant::now();
        if wanted.is_empty() || self.rest_until.is_some_and(|until| now < until) {
            return HashMap::new();
        }
        if self.forget_at.is_none_or(|at| at <= now) {
            self.in_vain.clear();
            self.forget_at = Some(now + SEARCH_AGAIN);
        }
        let mut wanted: HashSet<u32> =
            wanted.iter().copied().filter(|inode| !self.in_vain.contains(inode)).collect();
        if wanted.is_empty() {
            return HashMap::new();
        }
        let mut found = HashMap::new();
        let mut budget = MAX_DESCRIPTORS;
        let mut pids = all_pids();
        pids.sort_by_key(|pid| std::cmp::Reverse(self.weights.get(pid).copied()));
        self.weights.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            if wanted.is_empty() || budget == 0 {
                break;
            }
            let before = found.len();
            let sockets = search(pid, &mut wanted, &mut found, &mut budget);
            self.weights.insert(pid, sockets + (found.len() - before) * WANTED_WEIGHT);
        }
        if budget > 0 {
            let room = MAX_DESCRIPTORS.saturating_sub(self.in_vain.len());
            self.in_vain.extend(wanted.into_iter().take(room));
        }
        let pause = (now.elapsed() * PAUSE).max(SEARCH_EVERY);
        self.rest_until = Some(Instant::now() + pause);
        found
    }
}

/// The name of a process.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// Looks through the files of one process; gives the number of sockets among them.
fn search(
    pid: u32,
    wanted: &mut HashSet<u32>,
    found: &mut HashMap<u32, u32>,
    budget: &mut usize,
) -> usize {
    let mut sockets = 0;
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    for entry in entries.flatten() {
        if *budget == 0 || wanted.is_empty() {
            break;
        }
        *budget -= 1;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let Some(inode) = target.to_str().and_then(socket_inode) else { continue };
        sockets += 1;
        if wanted.remove(&inode) {
            found.insert(inode, pid);
        }
    }
    sockets
}

/// `socket:[12345]`
fn socket_inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    #[test]
    fn only_sockets_have_a_socket_inode() {
        assert_eq!(socket_inode("socket:[12345]"), Some(12345));
        for other in ["pipe:[12345]", "socket:[]", "/tmp/socket:[1]", "socket:[1", ""] {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }

    #[test]
    fn hostile_links_name_a_file_or_none() {
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let link = mutate::text(&mut dice, "socket:[12345]");
            if let Some(inode) = socket_inode(&link) {
                assert!(link.contains(&inode.to_string()) || link.contains("[+"), "{link:?}");
            }
        }
    }

    #[test]
    fn the_surest_kind_of_sighting_speaks() {
        let names = HashMap::from([(7, "go".to_owned())]);
        let mut seen = Sightings::default();
        assert!(seen.owners(&names).is_empty());
        for _ in 0..3 {
            seen.see(7, OwnerEvidence::Sampled);
        }
        seen.see(8, OwnerEvidence::Sampled);
        seen.closed(7);
        seen.closed_unseen();
        let owners = seen.owners(&names);
        assert_eq!(
            (owners[0].pid, owners[0].share, owners[0].how),
            (7, 0.75, OwnerEvidence::Sampled)
        );
        assert_eq!((owners[0].process.as_deref(), &owners[1].process), (Some("go"), &None));
        seen.closed_unseen = 0;
        assert_eq!(seen.owners(&names)[0].how, OwnerEvidence::Cookie);
        seen.see(9, OwnerEvidence::Listener);
        assert_eq!(
            (seen.owners(&names)[0].pid, seen.owners(&names)[0].how),
            (9, OwnerEvidence::Listener)
        );
        seen.traced(7);
        assert_eq!(
            (seen.owners(&names)[0].pid, seen.owners(&names)[0].how),
            (7, OwnerEvidence::Traced)
        );
        seen.closed_unseen();
        assert_eq!(
            seen.owners(&names)[0].how,
            OwnerEvidence::Listener,
            "one that nobody knows spoils it"
        );
    }

    #[test]
    fn more_processes_than_can_be_told_apart_are_not_named() {
        let mut seen = Sightings::default();
        (0..1000).for_each(|pid| seen.see(pid, OwnerEvidence::Sampled));
        assert_eq!(seen.owners(&HashMap::new()).len(), MAX_PIDS);
        let mut seen = Sightings::default();
        (0..1000).for_each(|pid| seen.traced(pid));
        let owners = seen.owners(&HashMap::new());
        assert_eq!((owners.len(), owners[0].share), (MAX_PIDS, 0.001), "of all that were closed");
    }

    #[test]
    fn what_nobody_has_is_searched_for_once_a_minute() {
        let mut processes = Processes::default();
        let nobodys = [u32::MAX];
        assert!(processes.find(&nobodys).is_empty());
        assert!(processes.rest_until.take().is_some(), "it was searched for");
        assert!(processes.find(&nobodys).is_empty());
        assert!(processes.rest_until.is_none(), "no second search");
        processes.forget_at = Some(Instant::now());
        processes.find(&nobodys);
        assert!(processes.rest_until.is_some(), "a minute later it is");
    }

    #[test]
    fn our_own_socket_is_found_in_our_hands() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        let mut processes = Processes::default();
        assert_eq!(processes.find(&[inode]), HashMap::from([(inode, std::process::id())]));
        // And it rests.
        assert!(processes.find(&[inode]).is_empty());
    }
}
