//! The names that kubelet and the runtimes of containers leave in files.
//!
//! Owns which files those are, and the bounds on reading them. Asks no runtime: a socket of one would
//! be a way to start containers, and names are all that is wanted.
//!
//! | file | tells |
//! |---|---|
//! | `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` | all three of a container |
//! | `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/` | the pod; its container, if it has one |
//! | `/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json`, and beneath `/run/k3s` | annotations: all three |
//! | `/var/lib/docker/containers/ID/config.v2.json` | the container's name |
//! | `…/storage/overlay-containers/containers.json` of podman and CRI-O | the container's name |
//!
//! A user names the cgroups beneath the user's own manager. So a container there has the names that the
//! user's files give it, beneath `~/.local/share`, and never those of the host's.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::evidence::regular_file::open;

/// Entries of a folder that are read.
const MAX_ENTRIES: usize = 1 << 14;
/// Bytes of a file that are read; a larger one has no names.
const MAX_FILE: u64 = 4 << 20;
/// Folders in which containerd runs: its own, and that of k3s and RKE2.
const CONTAINERD: [&str; 2] = ["run/containerd", "run/k3s/containerd"];
/// Bytes of a name.
const MAX_NAME: usize = 253;

/// Names of a pod and a container; one that no file has is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) container: Option<String>,
}

/// Finds the names of a container of the host by its id.
pub(super) fn of_container(root: &Path, id: &str) -> Found {
    by_log(root, id)
        .or_else(|| by_annotations(root, id))
        .or_else(|| docker(&root.join("var/lib/docker"), id))
        .or_else(|| podman(&root.join("var/lib/containers"), id))
        .unwrap_or_default()
}

/// Finds the names of a user's own container by its id; `home` is the user's.
pub(super) fn of_users_container(root: &Path, id: &str, home: &Path) -> Found {
    let share = beneath(root, home).join(".local/share");
    podman(&share.join("containers"), id)
        .or_else(|| docker(&share.join("docker"), id))
        .unwrap_or_default()
}

/// Finds the names of a pod by its UID.
pub(super) fn of_pod(root: &Path, uid: &str) -> Found {
    let folder = root.join("var/log/pods");
    let suffix = format!("_{uid}");
    let Some(name) = names(&folder).find(|name| name.ends_with(&suffix)) else {
        return Found::default();
    };
    let pod = name.strip_suffix(&suffix).and_then(|rest| rest.split_once('_'));
    let Some((namespace, pod)) = pod else { return Found::default() };
    let mut containers = names(&folder.join(&name)).take(2);
    let container = containers.next().filter(|_| containers.next().is_none());
    Found {
        namespace: kept(namespace),
        pod: kept(pod),
        container: container.as_deref().and_then(kept),
    }
}

/// Reads the name that kubelet gives to the link to a container's log.
fn by_log(root: &Path, id: &str) -> Option<Found> {
    let suffix = format!("-{id}.log");
    let name = names(&root.join("var/log/containers")).find(|name| name.ends_with(&suffix))?;
    let mut parts = name.strip_suffix(&suffix)?.splitn(3, '_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Found { namespace: kept(namespace), pod: kept(pod), container: kept(container) })
}

/// Reads the annotations of the bundle that containerd runs.
fn by_annotations(root: &Path, id: &str) -> Option<Found> {
    let config = CONTAINERD.iter().find_map(|folder| {
        let bundles = root.join(folder).join("io.containerd.runtime.v2.task/k8s.io");
        json(&bundles.join(id).join("config.json"))
    })?;
    let of = |name: &str| {
        let name = format!("io.kubernetes.cri.{name}");
        config["annotations"][name.as_str()].as_str().and_then(kept)
    };
    Some(Found {
        namespace: of("sandbox-namespace"),
        pod: of("sandbox-name"),
        container: of("container-name"),
    })
}

/// Reads the configuration that docker keeps of a container.
fn docker(folder: &Path, id: &str) -> Option<Found> {
    let config = json(&folder.join("containers").join(id).join("config.v2.json"))?;
    // Docker writes a slash before it.
    let name = config["Name"].as_str()?.trim_start_matches('/');
    Some(Found { container: kept(name), ..Found::default() })
}

/// Reads the list of the containers that podman or CRI-O stores.
fn podman(folder: &Path, id: &str) -> Option<Found> {
    let list = json(&folder.join("storage/overlay-containers/containers.json"))?;
    let is_it = |one: &&Value| one["id"].as_str() == Some(id);
    let name = list.as_array()?.iter().find(is_it)?["names"][0].as_str().and_then(kept)?;
    Some(Found { container: Some(name), ..Found::default() })
}

/// Returns the home of a user by /etc/passwd.
pub(super) fn home(root: &Path, user: u32) -> Option<PathBuf> {
    let passwd = text(&root.join("etc/passwd"))?;
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let is_it = fields.next()?.parse::<u32>().ok()? == user;
        is_it.then(|| fields.nth(2)).flatten()
    })?;
    Some(home.into())
}

/// The names of a folder's entries, as many as are read.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES);
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok())
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&text(path)?).ok()
}

/// Reads a regular file that is not too large.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_FILE).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Joins an absolute path to the root.
fn beneath(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn kept(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX_NAME).then(|| name.to_owned())
}
