//! Whose connections are shown: `--pid`, `--process`, `--cgroup`.

use std::fs;

use super::observe::Judged;
use crate::args::WatchOptions;

/// Conditions on a destination's owners; all that are given must hold for one of them.
#[derive(Debug)]
pub(crate) struct Whose {
    pid: Option<u32>,
    process: Option<String>,
    cgroup: Option<String>,
}

impl Whose {
    pub(crate) fn new(options: &WatchOptions) -> Self {
        Self { pid: options.pid, process: options.process.clone(), cgroup: options.cgroup.clone() }
    }

    /// Whether a destination belongs, at least in part, to whom is asked for.
    pub(crate) fn owns(&self, judged: &Judged) -> bool {
        if self.pid.is_none() && self.process.is_none() && self.cgroup.is_none() {
            return true;
        }
        judged.destination.owners.iter().any(|owner| {
            self.pid.is_none_or(|pid| pid == owner.pid)
                && self.process.as_ref().is_none_or(|name| owner.process.as_ref() == Some(name))
                && self.cgroup.as_ref().is_none_or(|part| is_in(owner.pid, part))
        })
    }
}

/// Whether a process is in a cgroup whose path has this part (cgroups(7), /proc/pid/cgroup).
fn is_in(pid: u32, part: &str) -> bool {
    let Ok(lines) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.contains(part))
}
