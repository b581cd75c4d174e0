//! Whose connections are shown: `--pid`, `--process`, `--cgroup`.

use std::collections::HashMap;

use keepwarm_sockets::process;

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
            Some(pid) if !process::exists(pid) => {
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
        if let Some(pid) = self.pid.filter(|pid| !process::exists(*pid)) {
            return Some(format!("process {pid} has ended"));
        }
        let wanted: Vec<u32> = match self.pid {
            Some(pid) => vec![pid],
            None => process::pids().into_iter().filter(|pid| self.is_of(*pid)).collect(),
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
        let closed = wanted.iter().filter(|pid| !process::may_list_files(**pid)).count();
        (closed > 0).then(|| {
            format!(
                "which sockets are those of {closed} other user's process{} takes root to know \
                 (CAP_SYS_PTRACE)",
                if closed == 1 { "" } else { "es" }
            )
        })
    }

    fn is_of(&self, pid: u32) -> bool {
        let name = || process::name(pid).unwrap_or_default();
        self.process.as_ref().is_none_or(|wanted| name() == *wanted)
            && self.cgroup.as_ref().is_none_or(|part| is_in(pid, part))
    }
}

/// Returns true if one of the process's cgroups has this part in its path.
fn is_in(pid: u32, part: &str) -> bool {
    process::cgroups(pid).iter().any(|path| path.contains(part))
}
