//! The place of a process among cgroups: its pod, its container, its systemd unit.
//!
//! Owns the names that kubelet, docker, podman, containerd, CRI-O and systemd give to cgroups. Pure:
//! the paths are given, and no file is read.
//!
//! ```text
//! kubelet, cgroupfs   /kubepods/burstable/pod<UID>/<ID>
//! kubelet, systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<U_I_D>.slice/cri-containerd-<ID>.scope
//! containerd alone    /system.slice/containerd.service/kubepods-burstable-pod<U_I_D>.slice:cri-containerd:<ID>
//! docker              /docker/<ID>, /system.slice/docker-<ID>.scope
//! podman              /machine.slice/libpod-<ID>.scope, ....service/libpod-payload-<ID>
//! systemd             /system.slice/nginx.service, /user.slice/.../session-3.scope
//! ```

/// Bytes of a name that is kept: a file's name, and so a cgroup's, has at most 255.
const MAX_NAME: usize = 255;

/// Place of a process; a part that the paths do not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The pod's UID, as Kubernetes writes it.
    pub(super) pod_uid: Option<String>,
    /// The container's id: 64 hexadecimal digits.
    pub(super) container_id: Option<String>,
    /// The systemd unit: a service or a scope.
    pub(super) unit: Option<String>,
    /// The user whose manager started it (`user@1000.service`): its files are in that user's home.
    pub(super) user: Option<u32>,
}

/// Reads the place from the paths of all cgroups of a process: a process is in one cgroup of
/// version 2 and in one of each hierarchy of version 1.
pub(super) fn place(paths: &[String]) -> Place {
    let mut found = Place::default();
    for path in paths {
        let one = of_path(path);
        found.pod_uid = found.pod_uid.or(one.pod_uid);
        found.container_id = found.container_id.or(one.container_id);
        found.unit = found.unit.or(one.unit);
        found.user = found.user.or(one.user);
    }
    found
}

fn of_path(path: &str) -> Place {
    let mut place = Place::default();
    // containerd without a driver joins slice, prefix and id by colons.
    for segment in path.split(['/', ':']).filter(|segment| segment.len() <= MAX_NAME) {
        let name = segment.strip_suffix(".scope").or_else(|| segment.strip_suffix(".slice"));
        let name = name.unwrap_or(segment);
        if let Some(uid) = pod_uid(name) {
            // The id before it is that of a node which is itself a container (kind, k3d).
            (place.pod_uid, place.container_id) = (Some(uid), None);
        } else if let Some(id) = container_id(name) {
            place.container_id = Some(id.to_owned());
        } else if is_unit(segment) {
            place.unit = Some(segment.to_owned());
            let user = segment.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
            // The outermost is systemd's; those beneath it are named by that user.
            place.user = place.user.or_else(|| user?.parse().ok());
        }
    }
    if place.pod_uid.is_some() {
        // The unit above a pod is kubelet's or the runtime's.
        place.unit = None;
    }
    place
}

/// Reads the UID of a pod: `pod<UID>`, or at the end of a slice's name with underscores for dashes.
fn pod_uid(name: &str) -> Option<String> {
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None => name.rsplit_once("-pod").filter(|(slice, _)| slice.contains("kubepods"))?.1,
    };
    let uid = uid.replace('_', "-");
    // A static pod has a hash without dashes.
    let is_uid = matches!(uid.len(), 32 | 36)
        && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

/// Reads the id of a container: the digits alone, or behind the name of the runtime.
fn container_id(name: &str) -> Option<&str> {
    let id = match name.rsplit_once('-') {
        // conmon watches a container, and is outside of it.
        Some((runtime, _)) if runtime.ends_with("conmon") => return None,
        Some((_, id)) => id,
        None => name,
    };
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn is_unit(segment: &str) -> bool {
    let name = segment.strip_suffix(".service").or_else(|| segment.strip_suffix(".scope"));
    name.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f";
    const UID: &str = "0b6a1c7e-2f3d-4c5b-8a9e-1d2c3b4a5f60";

    fn read(paths: &[&str]) -> (Option<String>, Option<String>, Option<String>) {
        let under = UID.replace('-', "_");
        let of = |path: &&str| path.replace("ID", ID).replace("U_U", &under).replace("UU", UID);
        let Place { pod_uid, container_id, unit, .. } =
            place(&paths.iter().map(of).collect::<Vec<_>>());
        (pod_uid, container_id, unit)
    }

    #[test]
    fn pods_are_read_from_both_drivers() {
        let pod = (Some(UID.to_owned()), Some(ID.to_owned()), None);
        for path in [
            "/kubepods/burstable/podUU/ID",
            "/kubepods/podUU/ID",
            "/kubepods/besteffort/podUU/ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_U.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podU_U.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-podU_U.slice/docker-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_U.slice/cri-containerd-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-podU_U.slice:cri-containerd:ID",
            "/../../kubepods-burstable-podU_U.slice/cri-containerd-ID.scope/init.scope",
            "/docker/1f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f/kubepods/podUU/ID",
        ] {
            assert_eq!(read(&[path]), pod, "{path}");
        }
        let hashed = "0b6a1c7e2f3d4c5b8a9e1d2c3b4a5f60";
        let of_static = read(&[&format!("/kubepods/burstable/pod{hashed}/ID")]);
        assert_eq!(of_static.0.as_deref(), Some(hashed));
    }

    #[test]
    fn containers_are_read_without_pods() {
        let container = |unit: Option<&str>| (None, Some(ID.to_owned()), unit.map(str::to_owned));
        for (path, unit) in [
            ("/docker/ID", None),
            ("/system.slice/docker-ID.scope", None),
            ("/machine.slice/libpod-ID.scope", None),
            ("/machine.slice/libpod-ID.scope/container", None),
            ("/libpod_parent/libpod-ID", None),
            ("/system.slice/web.service/libpod-payload-ID", Some("web.service")),
            ("/system.slice/nerdctl-ID.scope", None),
            ("/default/ID", None),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
                Some("user@1000.service"),
            ),
        ] {
            assert_eq!(read(&[path]), container(unit), "{path}");
        }
        assert_eq!(read(&["/machine.slice/libpod-conmon-ID.scope"]).1, None);
        let podman = place(&["/user.slice/user@1000.service/user.slice/x.scope".to_owned()]);
        assert_eq!(podman.user, Some(1000));
    }

    #[test]
    fn node_in_a_container_is_no_container_of_a_pod() {
        let node = "1f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f";
        let slices = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_U.slice";
        for (path, id) in [
            (
                format!("/system.slice/docker-{node}.scope/{slices}/cri-containerd-ID.scope"),
                Some(ID),
            ),
            (format!("/docker/{node}/kubelet/kubepods/besteffort/podUU/ID"), Some(ID)),
            // The pod's own cgroup, and CRI-O's watcher of a container.
            (format!("/system.slice/docker-{node}.scope/{slices}"), None),
            (format!("/docker/{node}/{slices}/crio-conmon-ID.scope"), None),
        ] {
            let found = read(&[&path]);
            assert_eq!(found, (Some(UID.to_owned()), id.map(str::to_owned), None), "{path}");
        }
        let of_node = read(&[&format!("/docker/{node}/system.slice/containerd.service")]);
        assert_eq!(of_node, (None, Some(node.to_owned()), Some("containerd.service".to_owned())));
    }

    #[test]
    fn last_unit_of_a_path_counts() {
        for (path, unit) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/system-pg.slice/pg@15-main.service", Some("pg@15-main.service")),
            ("/user.slice/user-0.slice/session-3.scope", Some("session-3.scope")),
            ("/user.slice/user-1.slice/user@1.service/app.slice/a.service/sub", Some("a.service")),
            ("/init.scope", Some("init.scope")),
            (r"/system.slice/a\x2db.service", Some(r"a\x2db.service")),
            ("/", None),
            ("/.service", None),
            ("/system.slice", None),
        ] {
            assert_eq!(read(&[path]), (None, None, unit.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn every_hierarchy_of_version_1_helps() {
        let paths = ["/", "/kubepods/podUU/ID", "/system.slice/kubelet.service"];
        assert_eq!(read(&paths).0.as_deref(), Some(UID));
    }

    #[test]
    fn hostile_names_are_no_pods() {
        let long = "x".repeat(300);
        for path in [
            "/kubepods/pod../ID",
            "/kubepods/pod/zz",
            "/kubepods-podgggggggg_gggg_gggg_gggg_gggggggggggg.slice",
            "/podium.service",
            &format!("/{long}.service"),
        ] {
            let (uid, _, _) = read(&[path]);
            assert_eq!(uid, None, "{path}");
        }
        assert_eq!(read(&[&format!("/{long}.service")]).2, None);
    }

    proptest! {
        #[test]
        fn any_path_has_a_bounded_place(path in "(/(\\PC{0,40}|pod[0-9a-f_-]{30,40}|[0-9a-f]{64}(.scope)?)){0,6}") {
            let place = place(&[path]);
            prop_assert!(place.pod_uid.is_none_or(|uid| uid.len() <= 36));
            prop_assert!(place.container_id.is_none_or(|id| id.len() == 64));
            prop_assert!(place.unit.is_none_or(|unit| unit.len() <= MAX_NAME));
        }
    }
}
