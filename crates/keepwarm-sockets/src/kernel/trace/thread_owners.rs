//! Processes of the threads that events name.
//!
//! Owns the lookup in `/proc`, and, for threads that have ended, in the tables that tracefs keeps
//! of them. Remembers the process of a thread for a second: on a busy host the same few threads close
//! sockets, in several readings a second.

use std::fs;

use crate::kernel::keyed_hash::{Map, Set};
use crate::kernel::proc::process;

/// Link of the first process-id namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h), whose ids
/// stand in events.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Process that a thread belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThreadOwner {
    pub(crate) pid: u32,
    pub(crate) name: Option<String>,
    /// The start of the process ([`process::started_at`]); `None` if it has ended.
    pub(crate) started_at: Option<u64>,
    /// The name is that of the process, not of another of its threads.
    pub(crate) is_main: bool,
    /// Start of the thread, or of the process where the thread has ended; `None` if both have.
    since: Option<u64>,
}

impl ThreadOwner {
    /// Makes a process that has ended, with the name of a thread of it.
    #[cfg(test)]
    pub(crate) fn ended(pid: u32, name: Option<String>, is_main: bool) -> ThreadOwner {
        ThreadOwner { pid, name, started_at: None, is_main, since: None }
    }

    /// Returns true if the process may have been there at a time in clock ticks since the boot. An id
    /// is given again: the process that has it now may be a later one.
    pub(super) fn was_there(&self, ticks: u64) -> bool {
        // Two clocks are read a moment apart.
        self.since.is_none_or(|since| since <= ticks + 1)
    }
}

/// Time for which the process of a thread is remembered: it may get another name by exec(2).
const REMEMBERED_NS: u64 = 1_000_000_000;
/// Threads that are remembered.
const MAX_REMEMBERED: usize = 1 << 12;

/// Lookup from threads to processes.
#[derive(Debug)]
pub(super) struct ThreadOwners {
    /// False in another process-id namespace, whose `/proc` has other ids than events have. Then no
    /// process is named.
    readable: bool,
    /// Threads that were there, and when they were looked up.
    known: Map<u32, (u64, ThreadOwner)>,
}

impl ThreadOwners {
    pub(super) fn new() -> ThreadOwners {
        let namespace = fs::read_link("/proc/self/ns/pid");
        let readable = namespace.is_ok_and(|link| link.as_os_str() == FIRST_NAMESPACE);
        ThreadOwners { readable, known: Map::default() }
    }

    /// Returns the processes of `threads`; `now_ns` is the time, by any clock. `read_table` reads a file
    /// of tracefs.
    pub(super) fn find(
        &mut self,
        threads: Set<u32>,
        now_ns: u64,
        read_table: impl Fn(&str) -> String,
    ) -> Map<u32, ThreadOwner> {
        let mut found = Map::default();
        if !self.readable {
            return found;
        }
        let is_fresh = |(at, _): &(u64, ThreadOwner)| now_ns.saturating_sub(*at) < REMEMBERED_NS;
        self.known.retain(|_, known| is_fresh(known));
        let mut ended = Vec::new();
        for thread in threads {
            let known = self.known.get(&thread).map(|(_, owner)| owner);
            // Another thread may have its id by now.
            let is_same = |owner: &&ThreadOwner| {
                owner.since.is_some() && process::started_at(thread) == owner.since
            };
            let known = known.filter(is_same).cloned();
            let Some(owner) = known.or_else(|| there(thread)) else {
                ended.push(thread);
                continue;
            };
            match self.known.get(&thread) {
                Some((_, known)) if *known == owner => {}
                _ if self.known.len() >= MAX_REMEMBERED => {}
                _ => drop(self.known.insert(thread, (now_ns, owner.clone()))),
            }
            found.insert(thread, owner);
        }
        if ended.is_empty() {
            return found;
        }
        let processes = read_table("saved_tgids");
        let names = read_table("saved_cmdlines");
        for thread in ended {
            let process = saved(&processes, thread).and_then(|text| text.parse().ok());
            let Some(pid) = process.filter(|pid| *pid != 0) else { continue };
            // A process that still exists has its present name. For one that has ended, the name of
            // the thread was saved with its event; the name saved under the process's own id may be
            // that of an earlier process, if nothing of the later one was traced.
            let started_at = process::started_at(pid);
            let present = process::name(pid);
            let is_main = present.is_some() || pid == thread;
            let name = present.or_else(|| saved(&names, thread).map(str::to_owned));
            let since = started_at;
            found.insert(thread, ThreadOwner { pid, name, started_at, is_main, since });
        }
        found
    }
}

/// Returns the process of a thread that is there.
fn there(thread: u32) -> Option<ThreadOwner> {
    let pid = process::of_thread(thread)?;
    let since = process::started_at(thread);
    let started_at = if pid == thread { since } else { process::started_at(pid) };
    Some(ThreadOwner { pid, name: process::name(pid), started_at, is_main: true, since })
}

/// Returns the text after a thread's id in `saved_tgids` or `saved_cmdlines`.
fn saved(table: &str, thread: u32) -> Option<&str> {
    let line = |line: &'_ str| -> Option<(u32, usize)> {
        let (id, _) = line.trim_start().split_once(' ')?;
        Some((id.parse().ok()?, line.len() - line.trim_start().len() + id.len()))
    };
    table.lines().find_map(|text| {
        let (id, end) = line(text)?;
        (id == thread).then(|| text[end..].trim())
    })
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    const ENDED: u32 = u32::MAX;

    #[test]
    fn saved_tables_know_ended_threads() {
        let mut owners = ThreadOwners { readable: true, known: Map::default() };
        let tables = |name: &str| match name {
            "saved_tgids" => format!("1 1\n{ENDED} {}\n", ENDED - 1),
            _ => format!("1 init\n{} of an earlier process\n{ENDED} a worker\n", ENDED - 1),
        };
        let found = owners.find(Set::from_iter([ENDED]), 0, tables);
        let process = ThreadOwner::ended(ENDED - 1, Some("a worker".to_owned()), false);
        assert_eq!(found, Map::from_iter([(ENDED, process)]));
        assert!(owners.find(Set::from_iter([ENDED]), 0, |_| String::new()).is_empty());
        let mut elsewhere = ThreadOwners { readable: false, known: Map::default() };
        assert!(elsewhere.find(Set::from_iter([std::process::id()]), 0, tables).is_empty());
    }

    #[test]
    fn hostile_tables_invent_no_text() {
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let table = mutate::text(&mut dice, " 1 init\n 4711 a worker\n 4712 bash\n");
            for thread in [1, 4711, 4712, 65536] {
                let found = saved(&table, thread);
                assert!(found.is_none_or(|text| table.contains(text)), "{table:?}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_of_ours_belongs_to_us() {
        let thread = std::thread::spawn(|| {
            let link = fs::read_link("/proc/thread-self").unwrap();
            let thread: u32 = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let mut owners = ThreadOwners { readable: true, known: Map::default() };
            let mut find = |at| owners.find(Set::from_iter([thread]), at, |_| String::new());
            let found = find(0);
            assert_eq!((find(1), find(REMEMBERED_NS)), (found.clone(), found.clone()));
            // Another thread gets the id.
            owners.known.get_mut(&thread).unwrap().1.since = Some(1);
            let again = owners.find(Set::from_iter([thread]), 2, |_| String::new());
            assert_eq!(again, found, "it is looked up anew");
            (thread, found)
        });
        let (thread, found) = thread.join().unwrap();
        assert_ne!(thread, std::process::id());
        let owner = &found[&thread];
        assert_eq!((owner.pid, owner.is_main), (std::process::id(), true));
        let started = process::started_at(std::process::id()).unwrap();
        assert_eq!(owner.started_at, Some(started));
        assert!(owner.was_there(u64::MAX / 2) && !owner.was_there(started - 2), "{owner:?}");
    }
}
