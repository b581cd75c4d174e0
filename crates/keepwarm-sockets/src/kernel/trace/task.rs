//! From the thread that an event names to its process.
//!
//! Owns the look into /proc, and for threads that are gone into what the kernel's tracing
//! remembers of them.

use std::fs;

use crate::kernel::hash::{Map, Set};
use crate::kernel::process;

/// The first process-id namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h): the one whose
/// ids stand in events.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Who a thread belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tasks {
    /// In another namespace our /proc has other ids: then nobody is named.
    readable: bool,
}

impl Tasks {
    pub(super) fn new() -> Tasks {
        let namespace = fs::read_link("/proc/self/ns/pid");
        Tasks { readable: namespace.is_ok_and(|link| link.as_os_str() == FIRST_NAMESPACE) }
    }

    /// The processes of threads. `remembered` reads a file of tracefs.
    pub(super) fn find(
        &self,
        threads: Set<u32>,
        remembered: impl Fn(&str) -> String,
    ) -> Map<u32, Process> {
        let mut found = Map::default();
        if !self.readable {
            return found;
        }
        let mut gone = Vec::new();
        for thread in threads {
            match leader(thread) {
                Some(pid) => found.insert(thread, Process { pid, name: process::name(pid) }),
                None => {
                    gone.push(thread);
                    None
                }
            };
        }
        if gone.is_empty() {
            return found;
        }
        let leaders = remembered("saved_tgids");
        let names = remembered("saved_cmdlines");
        for thread in gone {
            let leader = saved(&leaders, thread).and_then(|text| text.parse().ok());
            let Some(pid) = leader.filter(|pid| *pid != 0) else { continue };
            // A process that is still there has the name it has now. Of one that is gone the thread's
            // was saved with its event; what stands behind the process's own id may be an earlier
            // process's, of which nothing was traced since.
            let name = process::name(pid).or_else(|| saved(&names, thread).map(str::to_owned));
            found.insert(thread, Process { pid, name });
        }
        found
    }
}

/// The process of a thread that is there.
fn leader(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// What stands behind a thread's id in `saved_tgids` or `saved_cmdlines`.
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

    const GONE: u32 = u32::MAX;

    #[test]
    fn a_thread_that_is_gone_is_looked_up_in_what_tracing_remembers() {
        let tasks = Tasks { readable: true };
        let tables = |name: &str| match name {
            "saved_tgids" => format!("1 1\n{GONE} {}\n", GONE - 1),
            _ => format!("1 init\n{} of an earlier process\n{GONE} a worker\n", GONE - 1),
        };
        let found = tasks.find(Set::from_iter([GONE]), tables);
        let process = Process { pid: GONE - 1, name: Some("a worker".to_owned()) };
        assert_eq!(found, Map::from_iter([(GONE, process)]));
        assert!(tasks.find(Set::from_iter([GONE]), |_| String::new()).is_empty());
        let elsewhere = Tasks { readable: false };
        assert!(elsewhere.find(Set::from_iter([std::process::id()]), tables).is_empty());
    }

    #[test]
    fn hostile_tables_give_what_stands_behind_a_thread_or_nothing() {
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
            (thread, Tasks { readable: true }.find(Set::from_iter([thread]), |_| String::new()))
        });
        let (thread, found) = thread.join().unwrap();
        assert_ne!(thread, std::process::id());
        assert_eq!(found[&thread].pid, std::process::id());
    }
}
