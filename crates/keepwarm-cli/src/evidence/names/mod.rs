//! Names that a person can act on: the pod, namespace and container of a process, or its systemd unit.
//!
//! Owns the way from a process to its names, and the names of addresses by the hosts file. `cgroup`
//! reads the paths, `files` what stands beside them. A name that is not found is `None`; the pod then
//! has its UID and the container its short id.

mod cgroup;
mod files;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use keepwarm_sockets::process;

/// Digits of a container's id where it has no name, as docker shows it.
const SHORT_ID: usize = 12;
/// Lines of the hosts file that are read.
const MAX_HOSTS: usize = 1 << 14;
/// Bytes of a host's name (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// Names of a process; one that is not known, or does not exist, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The pod's namespace.
    pub(crate) namespace: Option<String>,
    /// The pod's name, or its UID where no file has the name.
    pub(crate) pod: Option<String>,
    /// The container's name, or the first digits of its id.
    pub(crate) container: Option<String>,
    /// The systemd unit.
    pub(crate) unit: Option<String>,
}

/// Finds names beneath a root: that of the host, which is elsewhere in a container.
#[derive(Clone, Debug)]
pub(crate) struct NameFinder {
    root: PathBuf,
}

impl NameFinder {
    pub(crate) fn new(root: Option<&Path>) -> Self {
        Self { root: root.unwrap_or(Path::new("/")).to_owned() }
    }

    /// Finds the names of a process.
    pub(crate) fn find(&self, pid: u32) -> Names {
        self.find_in(&process::cgroups(pid))
    }

    /// Finds the names of a process in these cgroups.
    fn find_in(&self, cgroups: &[String]) -> Names {
        let place = cgroup::place(cgroups);
        let mut found = match (&place.container_id, place.user) {
            (Some(id), None) => files::of_container(&self.root, id),
            (Some(id), Some(user)) => files::home(&self.root, user)
                .map(|home| files::of_users_container(&self.root, id, &home))
                .unwrap_or_default(),
            (None, _) => files::Found::default(),
        };
        if let (Some(uid), None) = (&place.pod_uid, &found.pod) {
            let of_pod = match place.user {
                None => files::of_pod(&self.root, uid),
                Some(_) => files::Found::default(),
            };
            found.namespace = of_pod.namespace;
            found.pod = of_pod.pod.or_else(|| Some(uid.clone()));
            found.container = found.container.or(of_pod.container);
        }
        let short = || place.container_id.as_deref().map(|id| id[..SHORT_ID].to_owned());
        Names {
            namespace: found.namespace,
            pod: found.pod,
            container: found.container.or_else(short),
            unit: place.unit,
        }
    }

    /// Reads the configuration of the resolver (resolv.conf(5)).
    pub(crate) fn name_servers(&self) -> String {
        files::text(&self.root.join("etc/resolv.conf")).unwrap_or_default()
    }

    /// Reads the hosts file: the first name of each address.
    pub(crate) fn hosts(&self) -> HashMap<IpAddr, String> {
        hosts(&files::text(&self.root.join("etc/hosts")).unwrap_or_default())
    }
}

/// Parses a hosts file (hosts(5)). The first line of an address counts.
fn hosts(text: &str) -> HashMap<IpAddr, String> {
    let mut names = HashMap::new();
    for line in text.lines().take(MAX_HOSTS) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if let (Some(address), Some(name)) = (address, words.next())
            && name.len() <= MAX_HOST
        {
            names.entry(address.to_canonical()).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user may give the cgroups of the user's own manager any name.
    #[test]
    fn user_cannot_pose_as_a_pod() {
        let root = std::env::temp_dir().join(format!("keepwarm-pose-{}", std::process::id()));
        let id = "3f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f";
        let uid = "0b6a1c7e-2f3d-4c5b-8a9e-1d2c3b4a5f60";
        let log = root.join(format!("var/log/pods/shop_checkout-7d9_{uid}/api"));
        std::fs::create_dir_all(log).unwrap();
        let finder = NameFinder::new(Some(&root));
        let pod = format!("kubepods-pod{}.slice/cri-containerd-{id}.scope", uid.replace('-', "_"));
        let names = |slice: &str| finder.find_in(&[format!("/{slice}/{pod}")]);
        let of_kubelet = names("kubepods.slice");
        assert_eq!(
            (of_kubelet.namespace.as_deref(), of_kubelet.pod.as_deref()),
            (Some("shop"), Some("checkout-7d9"))
        );
        let of_user = names("user.slice/user-1000.slice/user@1000.service");
        assert_eq!((of_user.namespace.as_deref(), of_user.pod.as_deref()), (None, Some(uid)));
        assert_eq!(of_user.container.as_deref(), Some(&id[..SHORT_ID]));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn first_name_of_an_address_counts() {
        let text = "127.0.0.1\tlocalhost api # here\n10.0.0.5 db.internal db\n10.0.0.5 other\n\
                    ::1 ip6\nnonsense x\n10.0.0.6\n::ffff:10.0.0.7 mapped\n";
        let names = hosts(text);
        let of = |address: &str| names.get(&address.parse().unwrap()).map(String::as_str);
        assert_eq!(of("127.0.0.1"), Some("localhost"));
        assert_eq!(of("10.0.0.5"), Some("db.internal"));
        assert_eq!(
            (of("::1"), of("10.0.0.7"), of("10.0.0.6")),
            (Some("ip6"), Some("mapped"), None)
        );
    }
}
