//! What Linux says of this process and of its sockets, by way of /proc.

use std::fs;

/// The sockets connected to a port of 127.0.0.1 that the kernel calls established or half-closed by
/// their peer: what the side that connected has open. The kernel writes its table page by page, so a
/// connection that takes another one's place meanwhile may stand in it beside the other.
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

/// Whether any socket of this namespace, a TIME_WAIT for instance, has this port at either end. One
/// that is only bound is in no table of the kernel, and one that listens does not count.
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

/// Files and sockets that this process has open.
#[must_use]
pub fn open_files() -> usize {
    // One of them is the directory that is being read.
    fs::read_dir("/proc/self/fd").expect("Linux").count() - 1
}

/// Memory of this process that is in use, in KiB.
#[must_use]
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Lets this process have so many files open at once.
///
/// # Errors
/// If the limit that only root may raise is lower.
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
