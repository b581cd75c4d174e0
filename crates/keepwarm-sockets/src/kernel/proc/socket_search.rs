//! Search for the processes that hold sockets open, through `/proc/<pid>/fd`.
//!
//! Owns the order of the search, its limits and its pauses. A socket of a process that may not be
//! read (another user's, without `CAP_SYS_PTRACE`) is not found. Counts no sightings: see
//! [`owners`](super::owners).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use super::process;

/// Descriptors read in one search.
const MAX_DESCRIPTORS: usize = 1 << 17;
/// Pause after a search, as a multiple of its duration: after one of 1 ms come 20 ms, so searches
/// take at most a twentieth of a core.
const PAUSE: u32 = 20;
/// Shortest pause after a search.
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// Weight of a socket whose owner was asked for, beside 1 for one whose owner was not.
const WANTED_WEIGHT: usize = 1 << 10;
/// Time until a socket without a known owner is searched for again: a socket can be passed to
/// another process.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);

/// Finds the process that holds a socket, and remembers where searching paid.
#[derive(Debug, Default)]
pub(crate) struct SocketSearch {
    /// Weight per process: its sockets at the last search, and [`WANTED_WEIGHT`] for each whose
    /// owner was asked for. The heaviest are read first, because the socket of a connection that
    /// lives for milliseconds is found at once or never.
    weights: HashMap<u32, usize>,
    pause_until: Option<Instant>,
    /// Sockets that a complete search did not find, mostly of processes that may not be read.
    not_found: HashSet<u32>,
    forget_at: Option<Instant>,
}

/// Sockets that are searched for, by inode, and the processes that hold them: eight bytes each, for a host may
/// have 100,000.
#[derive(Debug, Default)]
pub(crate) struct SocketHolders {
    /// In order.
    inodes: Vec<u32>,
    /// The process of each; 0, which is none, where it was not found.
    pids: Vec<u32>,
    found: usize,
}

impl SocketHolders {
    /// Begins with no process known.
    pub(crate) fn of(mut inodes: Vec<u32>) -> SocketHolders {
        inodes.sort_unstable();
        inodes.dedup();
        let pids = vec![0; inodes.len()];
        SocketHolders { inodes, pids, found: 0 }
    }

    /// Takes the process of a socket. Returns true if the socket is one of these and its process was not known.
    pub(crate) fn insert(&mut self, inode: u32, pid: u32) -> bool {
        let Ok(place) = self.inodes.binary_search(&inode) else { return false };
        let is_new = self.pids[place] == 0 && pid != 0;
        if is_new {
            self.pids[place] = pid;
            self.found += 1;
        }
        is_new
    }

    /// Returns the process of a socket that was found.
    pub(crate) fn get(&self, inode: u32) -> Option<u32> {
        let place = self.inodes.binary_search(&inode).ok()?;
        Some(self.pids[place]).filter(|pid| *pid != 0)
    }

    /// Returns whether no process was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found == 0
    }

    fn is_complete(&self) -> bool {
        self.found == self.inodes.len()
    }

    /// Iterates over the sockets whose process was found, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let all = self.inodes.iter().copied().zip(self.pids.iter().copied());
        all.filter(|(_, pid)| *pid != 0)
    }

    fn missing(&self) -> impl Iterator<Item = u32> {
        let all = self.inodes.iter().zip(&self.pids);
        all.filter(|(_, pid)| **pid == 0).map(|(inode, _)| *inode)
    }
}

impl SocketSearch {
    /// Returns the process of each socket inode that was found. Finds nothing during the pause
    /// after the last search.
    pub(crate) fn find(&mut self, wanted: Vec<u32>) -> SocketHolders {
        self.find_unless_paused(wanted).unwrap_or_default()
    }

    /// Searches as [`find`](Self::find) does; `None` during the pause after the last search.
    pub(crate) fn find_unless_paused(&mut self, mut wanted: Vec<u32>) -> Option<SocketHolders> {
        let now = Instant::now();
        if self.pause_until.is_some_and(|until| now < until) {
            return None;
        }
        if wanted.is_empty() {
            return Some(SocketHolders::default());
        }
        if self.forget_at.is_none_or(|at| at <= now) {
            self.not_found.clear();
            self.forget_at = Some(now + SEARCH_AGAIN);
        }
        wanted.retain(|inode| !self.not_found.contains(inode));
        if wanted.is_empty() {
            return Some(SocketHolders::default());
        }
        let mut holders = SocketHolders::of(wanted);
        self.search(&mut holders);
        self.pause_until = Some(Instant::now() + (now.elapsed() * PAUSE).max(MIN_PAUSE));
        Some(holders)
    }

    /// Reads the descriptors of all processes, the heaviest first, until every socket is found or
    /// [`MAX_DESCRIPTORS`] are read.
    fn search(&mut self, holders: &mut SocketHolders) {
        let mut budget = MAX_DESCRIPTORS;
        let mut pids = process::pids();
        // This process first: a load observes its own sockets, and has few others. A process that has
        // just started, and so may have opened the sockets that are new, comes before those that had
        // none; among them the latest.
        let this = std::process::id();
        pids.sort_by_key(|pid| {
            std::cmp::Reverse((*pid == this, self.weights.get(pid).copied().unwrap_or(1), *pid))
        });
        self.weights.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            if holders.is_complete() || budget == 0 {
                break;
            }
            let before = holders.found;
            let sockets = search_process(pid, holders, &mut budget);
            self.weights.insert(pid, sockets + (holders.found - before) * WANTED_WEIGHT);
        }
        if budget > 0 {
            let room = MAX_DESCRIPTORS.saturating_sub(self.not_found.len());
            self.not_found.extend(holders.missing().take(room));
        }
    }
}

/// Reads the descriptors of one process and returns the number of sockets among them.
fn search_process(pid: u32, holders: &mut SocketHolders, budget: &mut usize) -> usize {
    let mut sockets = 0;
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    for entry in entries.flatten() {
        if *budget == 0 || holders.is_complete() {
            break;
        }
        *budget -= 1;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let Some(inode) = target.to_str().and_then(socket_inode) else { continue };
        sockets += 1;
        holders.insert(inode, pid);
    }
    sockets
}

/// Reads `socket:[12345]`.
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
    fn missing_sockets_are_searched_minutely() {
        let mut search = SocketSearch::default();
        let unknown = || vec![u32::MAX];
        assert!(search.find(unknown()).is_empty());
        assert!(search.pause_until.take().is_some(), "it was searched for");
        assert!(search.find(unknown()).is_empty());
        assert!(search.pause_until.is_none(), "no second search");
        search.forget_at = Some(Instant::now());
        search.find(unknown());
        assert!(search.pause_until.is_some(), "a minute later it is searched for again");
    }

    #[test]
    fn our_own_socket_is_found_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        let mut search = SocketSearch::default();
        let found: Vec<(u32, u32)> = search.find(vec![inode, inode]).iter().collect();
        assert_eq!(found, [(inode, std::process::id())]);
        assert!(search.find(vec![inode]).is_empty(), "it pauses after a search");
    }

    #[test]
    fn holders_are_found_by_inode() {
        let mut holders = SocketHolders::of(vec![7, 3, 7, 5]);
        assert!(holders.is_empty() && holders.get(5).is_none());
        assert!(holders.insert(5, 50) && !holders.insert(5, 51), "the first process counts");
        assert!(!holders.insert(4, 40), "it was not asked for");
        assert_eq!((holders.get(5), holders.get(4), holders.get(7)), (Some(50), None, None));
        assert_eq!(holders.missing().collect::<Vec<_>>(), [3, 7]);
        assert!(holders.insert(3, 30) && !holders.is_complete());
        assert!(holders.insert(7, 70) && holders.is_complete());
        assert_eq!(holders.iter().collect::<Vec<_>>(), [(3, 30), (5, 50), (7, 70)]);
    }
}
