//! Paths of cgroups, and the files in which kubelet and the runtimes of containers leave names.
#![no_main]
// The files are private to the tool: they are read here as they stand there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm-cli/src/evidence/names/cgroup.rs"]
mod cgroup;
#[path = "../../crates/keepwarm-cli/src/evidence/names/files.rs"]
mod files;

#[path = "../../crates/keepwarm-cli/src/evidence/regular_file.rs"]
mod regular_file;

/// The folder that the files stand in.
mod evidence {
    pub(crate) use crate::regular_file;
}

use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;

const ID: &str = "3f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f";

thread_local! {
    /// A root of this process's own, with the folders of each runtime.
    static ROOT: PathBuf = root();
}

const FILES: [&str; 6] = [
    "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
    "var/lib/docker/containers/ID/config.v2.json",
    "var/lib/containers/storage/overlay-containers/containers.json",
    "home/user/.local/share/docker/containers/ID/config.v2.json",
    "home/user/.local/share/containers/storage/overlay-containers/containers.json",
    "etc/passwd",
];

fn root() -> PathBuf {
    let root = std::env::temp_dir().join(format!("keepwarm-fuzz-containers-{}", std::process::id()));
    for file in FILES {
        let path = root.join(file.replace("ID", ID));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    }
    root
}

fn short(name: &Option<String>) -> bool {
    name.as_ref().is_none_or(|name| (1..=253).contains(&name.len()))
}

fn read(root: &Path, which: usize, bytes: &[u8]) {
    let path = root.join(FILES[which].replace("ID", ID));
    fs::write(&path, bytes).expect("written");
    let home = Path::new("/home/user");
    for found in [files::of_container(root, ID), files::of_users_container(root, ID, home)] {
        assert!([&found.namespace, &found.pod, &found.container].into_iter().all(short), "{found:?}");
    }
    let _ = files::home(root, 1000);
    fs::remove_file(path).expect("removed");
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let paths: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    let place = cgroup::place(&paths);
    assert!(place.pod_uid.is_none_or(|uid| uid.len() <= 36));
    assert!(place.container_id.is_none_or(|id| id.len() == 64));
    assert!(place.unit.is_none_or(|unit| unit.len() <= 255));
    ROOT.with(|root| read(root, usize::from(which) % FILES.len(), bytes));
});
