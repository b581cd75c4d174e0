//! Facts about processes, read from `/proc/<pid>`: which exist, their names, their cgroups.
//!
//! Owns the list of process ids and the text of `comm`, `cgroup` and `status`. Keeps nothing: a
//! process may end, and its id may be given to another, between two calls. Outside Linux no process
//! is found.

use std::fs;
use std::io::ErrorKind;

/// Open files of a process that are counted one by one.
const MAX_FILES: usize = 1 << 20;

/// Returns the ids of all processes, as far as `/proc` lists them (a `hidepid` mount hides those of
/// other users).
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// Returns true if the process exists, and where that cannot be found out.
pub fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// Returns the name of a process or thread (`/proc/<pid>/comm`, at most 15 bytes); `None` if it has
/// ended or may not be read.
///
/// ```
/// # if cfg!(target_os = "linux") {
/// assert!(keepwarm_sockets::process::name(std::process::id()).is_some());
/// # }
/// ```
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Returns the time at which a process started, in clock ticks since the boot (field 22 of
/// `/proc/<pid>/stat`); `None` if it has ended. With the id it names one process: ids are given again.
pub fn started_at(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold blanks and parentheses.
    let behind_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(behind_name + 1..)?).ok()?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Returns the path of the cgroup that a process is in: the one of version 2, or, if that is the
/// root, the longest of version 1.
pub fn cgroup(pid: u32) -> Option<String> {
    main_cgroup(&read_cgroups(pid)?).map(str::to_owned)
}

/// Returns the paths of all cgroups that a process is in, of version 2 and of each hierarchy of
/// version 1 (cgroups(7), `/proc/<pid>/cgroup`). Empty if the process has ended or may not be read.
pub fn cgroups(pid: u32) -> Vec<String> {
    let text = read_cgroups(pid).unwrap_or_default();
    text.lines().filter_map(cgroup_path).map(str::to_owned).collect()
}

/// Returns false if the kernel refuses to list the files of a process, and with them its sockets:
/// those of another user need `CAP_SYS_PTRACE`.
pub fn may_list_files(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .err()
        .is_none_or(|error| error.kind() != ErrorKind::PermissionDenied)
}

/// Returns the number of files that a process has open; `None` if that may not be read, or beyond a
/// million of them on a kernel before 6.2, which has to list them.
pub fn open_files(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the folder's size is their number (`proc_fd_getattr`, fs/proc/fd.c).
    if let Some(count) = fs::metadata(&folder).ok().map(|found| found.len()).filter(|len| *len > 0)
    {
        return Some(count);
    }
    let count = fs::read_dir(folder).ok()?.take(MAX_FILES + 1).count();
    (count <= MAX_FILES).then_some(count as u64)
}

/// Returns the number of files that a process may have open: the soft `RLIMIT_NOFILE` of
/// `/proc/<pid>/limits`. `None` if that may not be read, or without a limit.
pub fn open_files_limit(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the process that a thread belongs to (`Tgid` of `/proc/<tid>/status`), while the thread
/// exists.
pub(crate) fn of_thread(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// Reads the lines; a name that is not UTF-8 has replacement characters.
fn read_cgroups(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Chooses among the lines of `/proc/<pid>/cgroup`. The line of version 2 begins with `0::`.
pub(crate) fn main_cgroup(text: &str) -> Option<&str> {
    let unified = text.lines().find(|line| line.starts_with("0::")).and_then(cgroup_path);
    unified
        .filter(|path| *path != "/")
        .or_else(|| text.lines().filter_map(cgroup_path).max_by_key(|path| path.len()))
}

/// Reads the path of one line: `hierarchy:controllers:path`, where the path may hold colons.
pub(crate) fn cgroup_path(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_beats_version_1() {
        let cgroup = |text| main_cgroup(text);
        assert_eq!(cgroup("0::/user.slice/a:b\n"), Some("/user.slice/a:b"));
        assert_eq!(cgroup("4:memory:/x/long\n0::/y\n"), Some("/y"));
        assert_eq!(cgroup("4:memory:/docker/1\n1:name=systemd:/\n0::/\n"), Some("/docker/1"));
        assert_eq!(cgroup("0::/\n"), Some("/"));
        for other in ["", "\n", "0:", "4:memory"] {
            assert_eq!(cgroup(other), None, "{other:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_listed_and_readable() {
        let pid = std::process::id();
        assert!(pids().contains(&pid) && exists(pid) && may_list_files(pid));
        assert!(name(pid).is_some_and(|name| !name.is_empty()));
        assert!(
            started_at(pid).is_some_and(|ticks| ticks > 0) && started_at(pid) == started_at(pid)
        );
        assert_eq!(cgroup(pid).is_some(), !cgroups(pid).is_empty());
    }

    #[test]
    fn a_missing_process_has_no_facts() {
        let none = u32::MAX;
        assert!(!exists(none) && !pids().contains(&none));
        assert_eq!((name(none), cgroup(none), of_thread(none)), (None, None, None));
        assert_eq!(
            (started_at(none), open_files(none), open_files_limit(none)),
            (None, None, None)
        );
        assert!(cgroups(none).is_empty());
        assert!(may_list_files(none), "a missing process is not a refusal");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_belongs_to_its_process() {
        let thread = std::thread::spawn(|| {
            let link = fs::read_link("/proc/thread-self").unwrap();
            let thread: u32 = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (thread, of_thread(thread))
        });
        let (thread, process) = thread.join().unwrap();
        assert_ne!(thread, std::process::id());
        assert_eq!(process, Some(std::process::id()));
    }
}
