//! Whose connections are shown: `--pid`, `--process`, `--cgroup`.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;

use super::observe::Judged;
use crate::args::WatchOptions;
use crate::exit::{Exit, Failure};

/// Conditions on a destination's owners; all that are given must hold for one of them.
#[derive(Debug)]
pub(crate) struct Whose {
    pid: Option<u32>,
    process: Option<String>,
    cgroup: Option<String>,
    /// Whether a process was in the cgroup when it was first asked: it may have ended since.
    members: HashMap<u32, bool>,
}

/// Processes whose cgroup is remembered.
const MAX_MEMBERS: usize = 1 << 12;

impl Whose {
    pub(crate) fn new(options: &WatchOptions) -> Self {
        let WatchOptions { pid, process, cgroup, .. } = options;
        let (process, cgroup) = (process.clone(), cgroup.clone());
        Self { pid: *pid, process, cgroup, members: HashMap::new() }
    }

    /// Fails if what is asked for cannot be: one name may still come, an id that is not there may not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.pid {
            Some(pid) if !exists(pid) => {
                Err(Failure::new(Exit::Usage, format!("there is no process {pid}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is not known whose a destination is, where that matters.
    pub(crate) fn cannot_tell(&self, judged: &Judged) -> bool {
        !self.is_anybody() && judged.destination.owners.is_empty()
    }

    /// Whether a destination belongs, at least in part, to whom is asked for.
    pub(crate) fn owns(&mut self, judged: &Judged) -> bool {
        if self.is_anybody() {
            return true;
        }
        judged.destination.owners.iter().any(|owner| {
            self.pid.is_none_or(|pid| pid == owner.pid)
                && self.process.as_ref().is_none_or(|name| owner.process.as_ref() == Some(name))
                && self.is_member(owner.pid)
        })
    }

    fn is_anybody(&self) -> bool {
        self.pid.is_none() && self.process.is_none() && self.cgroup.is_none()
    }

    fn is_member(&mut self, pid: u32) -> bool {
        let Some(part) = &self.cgroup else { return true };
        if let Some(known) = self.members.get(&pid) {
            return *known;
        }
        let found = is_in(pid, part);
        if self.members.len() < MAX_MEMBERS {
            self.members.insert(pid, found);
        }
        found
    }

    /// Why there may be nothing to show of whom is asked for.
    pub(crate) fn nothing_of(&self) -> Option<String> {
        if self.is_anybody() {
            return None;
        }
        if let Some(pid) = self.pid.filter(|pid| !exists(*pid)) {
            return Some(format!("process {pid} has ended"));
        }
        let wanted: Vec<u32> = match self.pid {
            Some(pid) => vec![pid],
            None => all_pids().filter(|pid| self.is_of(*pid)).collect(),
        };
        if wanted.is_empty() {
            let whose = match (&self.process, &self.cgroup) {
                (Some(name), _) => format!("of the name {name:?}"),
                (None, part) => {
                    format!("in a cgroup with {:?} in its path", part.as_deref().unwrap_or(""))
                }
            };
            return Some(format!("there is no process {whose} now"));
        }
        let closed = wanted.iter().filter(|pid| !may_be_asked(**pid)).count();
        (closed > 0).then(|| {
            format!(
                "which sockets are those of {closed} other user's process{} takes root to know \
                 (CAP_SYS_PTRACE)",
                if closed == 1 { "" } else { "es" }
            )
        })
    }

    fn is_of(&self, pid: u32) -> bool {
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.process.as_ref().is_none_or(|wanted| name().trim_end() == wanted)
            && self.cgroup.as_ref().is_none_or(|part| is_in(pid, part))
    }
}

fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// Whether the process lets us see its files.
fn may_be_asked(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .err()
        .is_none_or(|error| error.kind() != ErrorKind::PermissionDenied)
}

fn all_pids() -> impl Iterator<Item = u32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The path of a process's cgroup: of version 2, or, where it is in the root of that, the longest
/// of version 1.
pub(crate) fn cgroup(pid: u32) -> Option<String> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = lines.lines().find(|line| line.starts_with("0::")).and_then(path);
    unified
        .filter(|path| path != "/")
        .or_else(|| lines.lines().filter_map(path).max_by_key(String::len))
}

/// Whether a process is in a cgroup whose path has this part (cgroups(7), /proc/pid/cgroup).
fn is_in(pid: u32, part: &str) -> bool {
    let Ok(lines) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.contains(part))
}
