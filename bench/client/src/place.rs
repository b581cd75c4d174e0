//! Where a process runs, and what it is allowed: cores, open files, and no life after its parent's.

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// The first core.
pub(crate) fn server_core() -> usize {
    cores()[0]
}

/// One thread: the second core. Two threads: both, one of them the server's.
pub(crate) fn client_cores(threads: usize) -> Vec<usize> {
    let cores = cores();
    match threads {
        1 => vec![cores.get(1).copied().unwrap_or(cores[0])],
        _ => cores.into_iter().take(threads).collect(),
    }
}

/// Keeps this process, and what it starts from now on, on these cores. Best effort: a machine that
/// refuses it measures without.
pub(crate) fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        eprintln!("not pinned to cores {cores:?}: {error}");
    }
}

/// 1000 connections need more than the usual soft limit of 1024 files.
pub(crate) fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit of open files stays {:?}: {error}", limit.current);
    }
}

/// Ends this process when its parent ends, however that comes about.
pub(crate) fn end_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("this process may outlive its parent: {error}");
    }
}
