//! Numbers about this process and its sockets, as Linux reports them in /proc.

use std::fs;

/// Counts the client's open sockets to a port of 127.0.0.1: those that the kernel calls
/// established, or half-closed by the peer (CLOSE_WAIT). The kernel writes its table page by page,
/// so a connection that replaces another one meanwhile may be listed beside it.
#[must_use]
pub fn open_sockets_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let remote = format!("0100007F:{port:04X}");
    table
        .lines()
        .skip(1)
        .filter(|line| line.contains(&remote))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2] == remote && [ESTABLISHED, CLOSE_WAIT].contains(&fields[3]))
        .count()
}

/// Returns true if a socket of this namespace, including TIME_WAIT, has this port as its local or
/// remote port. A socket that is only bound is in no table of the kernel; a listener does not
/// count.
#[must_use]
pub fn is_named(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].iter().any(|table| {
        let table = fs::read_to_string(table).expect("Linux");
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let ends = [fields.next(), fields.next()];
            let named = ends.iter().flatten().any(|address| address.ends_with(&end));
            named && fields.next() != Some(LISTEN)
        })
    })
}

/// Counts the open files and sockets of this process.
#[must_use]
pub fn open_files() -> usize {
    // Without the directory that is being read.
    fs::read_dir("/proc/self/fd").expect("Linux").count() - 1
}

/// Returns the resident memory of this process, in KiB.
#[must_use]
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Allows this process to have `count` files open at once.
///
/// # Errors
/// The hard limit is lower, and only root may raise it.
#[cfg(target_os = "linux")]
pub fn allow_open_files(count: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        limit.current = Some(count);
        limit.maximum = limit.maximum.map(|maximum| maximum.max(count));
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}
