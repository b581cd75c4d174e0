//! Limits of this process: descriptors, threads, memory. Owns the checks before a command begins and
//! the words for a limit that was met; each command knows what it needs.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, RwLock};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::{Exit, Failure};

/// Descriptors for all but connections and the load's threads: standard streams, netlink, libraries.
const BESIDES: u64 = 64;

/// Memory in bytes that a command has to have left: an allocation that fails later would abort it.
const MEMORY: usize = 64 << 20;

/// Raises the soft limit on descriptors as far as the hard one, which any process may do, and refuses
/// to start if `needed` ones beside [`BESIDES`] still do not fit, or if there is next to no memory.
pub(crate) fn make_room(needed: u64, way_out: &str) -> Result<(), Failure> {
    // Reserved and given back: the kernel says whether it would fit.
    if Vec::<u8>::new().try_reserve_exact(MEMORY).is_err() {
        let mib = MEMORY >> 20;
        let message =
            format!("there is no memory: {mib} MiB are needed; raise the limit (ulimit -v)");
        return Err(Failure::new(Exit::Failed, message));
    }
    descriptors(needed, way_out)
}

fn descriptors(needed: u64, way_out: &str) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the soft limit as it was, and the check below uses that.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let needed = needed + BESIDES;
    match current {
        Some(current) if current < needed => Err(Failure::new(
            Exit::FileTable,
            format!(
                "the file table is too small: {needed} descriptors are needed and {current} \
                 allowed; raise the limit with `ulimit -n {needed}`, or {way_out}"
            ),
        )),
        _ => Ok(()),
    }
}

/// Returns the number of cores that this process may use: its threads, unless it is told another
/// number.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Fails unless `threads` threads can be had at once. For runtimes that panic when they cannot have a
/// thread (tokio does, for its workers and for the thread of a blocking read).
pub(crate) fn try_threads(threads: usize) -> io::Result<()> {
    // The gate stays closed until the last thread was started, so that all are there at once.
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write();
    let mut started = Vec::with_capacity(threads);
    let mut result = Ok(());
    for _ in 0..threads {
        let gate = Arc::clone(&gate);
        match std::thread::Builder::new().spawn(move || drop(gate.read())) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    drop(closed);
    for thread in started {
        // The child has nothing to say.
        let _ = thread.join();
    }
    result
}

/// The failure of a call that a limit of this process may have refused. Names the limit to raise.
pub(crate) fn refused(exit: Exit, what: &str, error: &io::Error) -> Failure {
    let Some(errno) = error.raw_os_error() else {
        return Failure::new(exit, format!("{what}: {error}"));
    };
    match way_out(errno) {
        Some(way_out) if is_file_table_full(errno) => {
            Failure::new(Exit::FileTable, format!("{what}: {error}; {way_out}"))
        }
        Some(way_out) => Failure::new(exit, format!("{what}: {error}; {way_out}")),
        None => Failure::new(exit, format!("{what}: {error}")),
    }
}

/// Returns the limit to raise after an error number that a limit causes.
pub(crate) fn way_out(errno: i32) -> Option<&'static str> {
    match Errno::from_raw_os_error(errno) {
        Errno::MFILE | Errno::NFILE => {
            Some("raise the limit on open files (ulimit -n, fs.file-max)")
        }
        // clone(2) for a thread, and mmap(2) for its stack.
        Errno::AGAIN => Some("raise the limit on processes (ulimit -u) or on memory (ulimit -v)"),
        Errno::NOMEM => Some("raise the limit on memory (ulimit -v)"),
        _ => None,
    }
}

/// Returns true if an error number says that the process or the host has no descriptor left.
pub(crate) fn is_file_table_full(errno: i32) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(errno))
}
