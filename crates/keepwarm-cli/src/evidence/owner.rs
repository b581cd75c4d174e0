//! Filters destinations by their owners: `--pid`, `--process`, `--cgroup`, `--unit`, `--pod`,
//! `--container`.
//!
//! Owns the conditions, and the reason why no destination meets them.

use std::collections::HashMap;

use keepwarm_sockets::{Owner, process};

use super::names::{NameFinder, Names};
use super::{Judged, is_there};
use crate::args::WatchOptions;
use crate::exit::{Exit, Failure};

/// Processes whose cgroup is remembered.
const MAX_MEMBERS: usize = 1 << 12;

/// Conditions on the names of an owner.
#[derive(Debug, Clone, Default)]
struct Named {
    unit: Option<String>,
    pod: Option<String>,
    container: Option<String>,
}

impl Named {
    fn is_empty(&self) -> bool {
        self.unit.is_none() && self.pod.is_none() && self.container.is_none()
    }

    fn admits(&self, names: &Names) -> bool {
        let is = |name: &Option<String>, wanted: &str| name.as_deref() == Some(wanted);
        let is_unit = |wanted: &String| {
            is(&names.unit, wanted) || is(&names.unit, &format!("{wanted}.service"))
        };
        // NAMESPACE/POD, or the pod's name in any namespace.
        let is_pod = |wanted: &String| match wanted.split_once('/') {
            Some((namespace, pod)) => is(&names.namespace, namespace) && is(&names.pod, pod),
            None => is(&names.pod, wanted),
        };
        self.unit.as_ref().is_none_or(is_unit)
            && self.pod.as_ref().is_none_or(is_pod)
            && self.container.as_ref().is_none_or(|wanted| is(&names.container, wanted))
    }

    fn describe(&self) -> String {
        let parts = [("unit", &self.unit), ("pod", &self.pod), ("container", &self.container)];
        let parts = parts.into_iter().filter_map(|(what, name)| Some((what, name.as_ref()?)));
        parts.map(|(what, name)| format!("{what} {name:?}")).collect::<Vec<_>>().join(" and ")
    }
}

/// Conditions on a destination's owners; one owner has to meet all that are given.
#[derive(Debug)]
pub(crate) struct OwnerFilter {
    pid: Option<u32>,
    process: Option<String>,
    cgroup: Option<String>,
    named: Named,
    finder: NameFinder,
    /// Processes met, true for those in the cgroup at that time: they may have ended since.
    members: HashMap<(u32, Option<u64>), bool>,
}

impl OwnerFilter {
    pub(crate) fn new(options: &WatchOptions) -> Self {
        let WatchOptions { pid, process, cgroup, unit, pod, container, .. } = options;
        let (process, cgroup) = (process.clone(), cgroup.clone());
        let (unit, pod, container) = (unit.clone(), pod.clone(), container.clone());
        let named = Named { unit, pod, container };
        let finder = NameFinder::new(options.rootfs.as_deref());
        Self { pid: *pid, process, cgroup, named, finder, members: HashMap::new() }
    }

    /// Fails if no process can ever match: a name may still appear, a process id that does not
    /// exist may not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.pid {
            Some(pid) if !process::exists(pid) => {
                Err(Failure::new(Exit::Usage, format!("there is no process {pid}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns true if a destination without a known owner may be one that is filtered for.
    pub(crate) fn cannot_tell(&self, judged: &Judged) -> bool {
        !self.is_empty() && judged.destination.owners.is_empty()
    }

    /// Returns true if one of a destination's owners meets all conditions.
    pub(crate) fn admits(&mut self, judged: &Judged) -> bool {
        if self.is_empty() {
            return true;
        }
        judged.destination.owners.iter().enumerate().any(|(place, owner)| {
            self.pid.is_none_or(|pid| pid == owner.pid)
                && self.process.as_ref().is_none_or(|name| owner.process.as_ref() == Some(name))
                && judged.names.get(place).is_none_or(|names| self.named.admits(names))
                && self.is_member(owner)
        })
    }

    fn is_empty(&self) -> bool {
        self.pid.is_none()
            && self.process.is_none()
            && self.cgroup.is_none()
            && self.named.is_empty()
    }

    fn is_member(&mut self, owner: &Owner) -> bool {
        let Some(part) = &self.cgroup else { return true };
        let key = (owner.pid, owner.started_at);
        if let Some(known) = self.members.get(&key) {
            return *known;
        }
        let found = is_in(owner.pid, part) && is_there(owner);
        if self.members.len() < MAX_MEMBERS {
            self.members.insert(key, found);
        }
        found
    }

    /// Explains why no destination of the filtered processes may be known; `None` without a filter.
    pub(crate) fn why_nothing(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        if let Some(pid) = self.pid.filter(|pid| !process::exists(*pid)) {
            return Some(format!("process {pid} has ended"));
        }
        let wanted: Vec<u32> = match self.pid {
            Some(pid) => vec![pid],
            None => process::pids().into_iter().filter(|pid| self.matches(*pid)).collect(),
        };
        if wanted.is_empty() {
            let which = match (&self.process, &self.cgroup) {
                _ if !self.named.is_empty() => format!("in {}", self.named.describe()),
                (Some(name), _) => format!("of the name {name:?}"),
                (None, part) => {
                    format!("in a cgroup with {:?} in its path", part.as_deref().unwrap_or(""))
                }
            };
            return Some(format!("there is no process {which} now"));
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

    fn matches(&self, pid: u32) -> bool {
        self.process.as_ref().is_none_or(|wanted| process::name(pid).as_ref() == Some(wanted))
            && self.cgroup.as_ref().is_none_or(|part| is_in(pid, part))
            && (self.named.is_empty() || self.named.admits(&self.finder.find(pid)))
    }
}

/// Returns true if a process is in a cgroup whose path contains `part`.
fn is_in(pid: u32, part: &str) -> bool {
    process::cgroups(pid).iter().any(|path| path.contains(part))
}
