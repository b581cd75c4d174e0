//! The names of owners: processes in cgroups that are named as kubelet and systemd name them, with the
//! files that kubelet and docker leave.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::{mortal, skipped};
use serde_json::Value;

use crate::common::{Service, folder, keepwarm, kill, run, until, wait};

const ID: &str = "3f4e0a5b9c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f";
const UID: &str = "0b6a1c7e-2f3d-4c5b-8a9e-1d2c3b4a5f60";

/// A cgroup of the test's own, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one of this path and moves a process there; `None`, with a note, where that is not
    /// permitted.
    fn of(path: &str, pid: u32) -> Option<Cgroup> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let made = root.map(|root| {
            let cgroup = Cgroup(root.join(format!("keepwarm-{}", std::process::id())).join(path));
            let moved = fs::create_dir_all(&cgroup.0)
                .and_then(|()| fs::write(cgroup.0.join("cgroup.procs"), pid.to_string()));
            moved.map(|()| cgroup)
        });
        match made {
            Some(Ok(cgroup)) => Some(cgroup),
            Some(Err(error)) => {
                skipped::because(&format!("no cgroup can be made: {error}"));
                None
            }
            None => {
                skipped::because("there is no cgroup of version 2");
                None
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails where another test's cgroup is beside it, which is removed with that one.
        for folder in self.0.ancestors() {
            if folder.file_name().is_none_or(|name| name == "cgroup" || name == "unified")
                || fs::remove_dir(folder).is_err()
            {
                break;
            }
        }
    }
}

/// A service in a cgroup, and a connection to it.
struct Placed {
    service: Service,
    _client: TcpStream,
    cgroup: Cgroup,
}

impl Placed {
    fn in_cgroup(path: &str) -> Option<Placed> {
        let service = Service::start(&["data"]);
        let cgroup = Cgroup::of(path, service.child.id())?;
        let client = TcpStream::connect(service.address).unwrap();
        Some(Placed { service, _client: client, cgroup })
    }

    fn watch(&self, root: &Path, arguments: &[&str]) -> Value {
        let filter = format!("src :{}", self.service.address.port());
        let mut watch = keepwarm();
        watch.args(["watch", &filter, "--once", "--format", "json"]).args(arguments);
        let output = run(watch.arg("--rootfs").arg(root));
        serde_json::from_str(&output.exits_with(0).stdout).unwrap()
    }

    fn owner(&self, root: &Path) -> Value {
        let record = self.watch(root, &[]);
        record["destinations"][0]["owners"][0].clone()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // A cgroup with a process cannot be removed.
        let _ = self.service.child.kill();
        let _ = self.service.child.wait();
        let procs = self.cgroup.0.join("cgroup.procs");
        assert!(common::until(|| fs::read_to_string(&procs).is_ok_and(|text| text.is_empty())));
    }
}

fn names(owner: &Value) -> [&str; 4] {
    ["namespace", "pod", "container", "unit"].map(|name| owner[name].as_str().unwrap_or("-"))
}

#[test]
fn pod_is_named_by_kubelets_files() {
    let under = UID.replace('-', "_");
    let path = format!(
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope"
    );
    let Some(placed) = Placed::in_cgroup(&path) else { return };
    let root = folder("watch-names-kubelet");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["-", UID, &ID[..12], "-"], "without a file");
    let pod = root.join(format!("var/log/pods/shop_api-6d8f_{UID}"));
    fs::create_dir_all(pod.join("api")).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["shop", "api-6d8f", "api", "-"], "by its only log");
    fs::create_dir_all(pod.join("sidecar")).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["shop", "api-6d8f", &ID[..12], "-"], "one of two");
    let logs = root.join("var/log/containers");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join(format!("api-6d8f_shop_sidecar-{ID}.log")), "").unwrap();
    assert_eq!(names(&placed.owner(&root)), ["shop", "api-6d8f", "sidecar", "-"]);
    for (arguments, found) in [
        (["--pod", "api-6d8f"], 1),
        (["--pod", "shop/api-6d8f"], 1),
        (["--pod", "other/api-6d8f"], 0),
        (["--container", "sidecar"], 1),
        (["--container", "api"], 0),
        (["--unit", "nginx"], 0),
    ] {
        let record = placed.watch(&root, &arguments);
        assert_eq!(record["destinations"].as_array().unwrap().len(), found, "{arguments:?}");
    }
    // An assertion is about what the filter admits.
    let assertion = format!("hop.{}.established<1", placed.service.address.port());
    let mut watch = keepwarm();
    watch.args(["watch", "--once", "--assert", &assertion, "--rootfs"]).arg(&root);
    run(watch.args(["--pod", "shop/api-6d8f"])).exits_with(10);
    let mut watch = keepwarm();
    watch.args(["watch", "--once", "--assert", &assertion, "--rootfs"]).arg(&root);
    run(watch.args(["--pod", "shop/other"])).exits_with(0);
    // The pod is gone, and its files with it.
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["-", UID, &ID[..12], "-"]);
}

/// A watch that goes on keeps the names of a pod that ends, with its processes, cgroup and files.
#[test]
fn gone_pod_keeps_its_name() {
    let path = format!("kubepods.slice/pod{UID}/{ID}");
    let Some(placed) = Placed::in_cgroup(&path) else { return };
    let root = folder("watch-names-gone");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join(format!("var/log/pods/shop_api-6d8f_{UID}/api"))).unwrap();
    let filter = format!("src :{}", placed.service.address.port());
    let mut command = keepwarm();
    command.args(["watch", &filter, "--level", "l1", "--format", "jsonl", "--rootfs"]).arg(&root);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    let mut owner = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        record["destinations"][0]["owners"][0].clone()
    };
    assert!(until(|| names(&owner()) == ["shop", "api-6d8f", "api", "-"]));
    drop(placed);
    fs::remove_dir_all(&root).unwrap();
    kill(watch.id(), "INT");
    assert!(wait(&mut watch).unwrap().success());
    let mut last = String::new();
    lines.read_to_string(&mut last).unwrap();
    let record: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    let one = &record["destinations"][0];
    assert_eq!(names(&one["owners"][0]), ["shop", "api-6d8f", "api", "-"], "{one:#}");
    assert_eq!(one["closed"]["local_fin"], 1, "the end of the pod is in the window: {one:#}");
}

/// A shell in a namespace of process ids of its own, where an id can be given again.
struct Shell {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Shell {
    /// Starts one; `None`, with a note, where that is not permitted.
    fn start() -> Option<Shell> {
        let mut command = mortal::command("unshare", "KILL");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut shell = Shell { child, said };
        if shell.ask("echo $$") == "1" {
            return Some(shell);
        }
        skipped::because("no namespace of process ids, which takes root");
        None
    }

    /// Runs a line that prints one; returns that, or nothing from a shell that has ended.
    fn ask(&mut self, line: &str) -> String {
        let _ = writeln!(self.child.stdin.as_mut().unwrap(), "{line}");
        let mut answer = String::new();
        self.said.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Starts a program in the background; returns its process id.
    fn start_program(&mut self, program: &str) -> u32 {
        self.ask(&format!("{program} & echo $!")).parse().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process ends, and the next one gets its id while the watch goes on: each is named for its own
/// connections.
#[test]
fn reused_process_id_names_two_processes() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(error) => return skipped::because(&error.to_string()),
    };
    namespace.enter().unwrap();
    let Some(mut shell) = Shell::start() else { return };
    let folder = folder("watch-names-reused");
    let lines = folder.join("lines");
    let connecting = |shell: &mut Shell, name: &str, before: &str| {
        let program = folder.join(name);
        let _ = fs::remove_file(&program);
        std::os::unix::fs::symlink("/bin/bash", &program).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -u 3 line", to.port());
        let pid = shell.start_program(&format!("{before}{} -c '{script}'", program.display()));
        let kept = listener.accept().unwrap().0;
        (pid, to, (listener, kept))
    };
    let watch = format!("{} watch --level l1 --format jsonl", env!("CARGO_BIN_EXE_keepwarm"));
    let watch = shell.start_program(&format!("{watch} >{}", lines.display()));
    let owners_of = |to: &std::net::SocketAddr| -> Vec<(String, u64)> {
        let text = fs::read_to_string(&lines).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let Some(line) = whole.lines().last() else { return Vec::new() };
        let record: Value = serde_json::from_str(line).unwrap();
        let is_it = |one: &&Value| one["remote"] == to.to_string() && one["side"] == "client";
        let all = record["destinations"].as_array().unwrap().iter().find(is_it).cloned();
        let owners = all.map(|one| one["owners"].as_array().unwrap().clone()).unwrap_or_default();
        let named = |one: &Value| {
            (one["process"].as_str().unwrap_or("-").to_owned(), one["pid"].as_u64().unwrap())
        };
        owners.iter().map(named).collect()
    };
    let (pid, first, _kept) = connecting(&mut shell, "first", "");
    let by_first = vec![("first".to_owned(), u64::from(pid))];
    assert!(until(|| owners_of(&first) == by_first), "{:?}", owners_of(&first));
    // The kernel gives the id after this one next.
    let again = format!("kill {pid}; wait {pid}; echo {} >/proc/sys/kernel/ns_last_pid; ", pid - 1);
    let (second_pid, second, _kept) = connecting(&mut shell, "second", &again);
    if second_pid != pid {
        return skipped::because("this kernel gives no process id again on request");
    }
    let by_second = vec![("second".to_owned(), u64::from(pid))];
    assert!(until(|| owners_of(&second) == by_second), "{:?}", owners_of(&second));
    assert_eq!(owners_of(&first), by_first, "the dead one's connections stay its own");
    assert_eq!(shell.ask(&format!("kill -INT {watch}; wait {watch}; echo $?")), "0");
    assert_eq!((owners_of(&first), owners_of(&second)), (by_first, by_second));
}

#[test]
fn docker_and_podman_containers_are_named() {
    let Some(placed) = Placed::in_cgroup(&format!("system.slice/docker-{ID}.scope")) else {
        return;
    };
    let root = folder("watch-names-docker");
    let store = root.join("var/lib/docker/containers").join(ID);
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("config.v2.json"), r#"{"Name":"/web","ID":"x"}"#).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["-", "-", "web", "-"]);
    // A name that a terminal would obey does not reach it.
    fs::write(store.join("config.v2.json"), r#"{"Name":"/a\u001b[31mb"}"#).unwrap();
    let filter = format!("src :{}", placed.service.address.port());
    let text = run(keepwarm().args(["watch", &filter, "--once", "--rootfs"]).arg(&root));
    assert!(!text.exits_with(0).stdout.contains('\u{1b}'), "{}", text.stdout);
    drop(placed);
    let path = format!("user.slice/user@12345.service/user.slice/libpod-{ID}.scope");
    let Some(placed) = Placed::in_cgroup(&path) else { return };
    let root = folder("watch-names-podman");
    let store = root.join("home/x/.local/share/containers/storage/overlay-containers");
    fs::create_dir_all(&store).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:\nx:x:12345:12345::/home/x:\n").unwrap();
    let list = format!(r#"[{{"id":"0","names":["no"]}},{{"id":"{ID}","names":["db"]}}]"#);
    fs::write(store.join("containers.json"), list).unwrap();
    assert_eq!(names(&placed.owner(&root)), ["-", "-", "db", "user@12345.service"]);
}

#[test]
fn units_and_hosts_are_named() {
    let Some(placed) = Placed::in_cgroup("system.slice/api@1.service") else { return };
    let root = folder("watch-names-unit");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/hosts"), "127.0.0.1 here.example\n").unwrap();
    assert_eq!(names(&placed.owner(&root)), ["-", "-", "-", "api@1.service"]);
    let record = placed.watch(&root, &["--unit", "api@1"]);
    assert_eq!(record["destinations"][0]["remote_name"], "here.example");
    let filter = format!("src :{}", placed.service.address.port());
    let text = run(keepwarm().args(["watch", &filter, "--once", "--unit", "api@1.service"]));
    assert!(text.exits_with(0).stdout.contains("] api@1.service\n"), "{}", text.stdout);
}

/// A cgroup may have any name without a slash or a line feed, and its process chose it.
#[test]
fn hostile_cgroup_reaches_no_terminal() {
    let hostile = "a\u{1b}[31m\\\"}\u{202e} evil 1\t.service";
    let Some(placed) = Placed::in_cgroup(&format!("system.slice/{hostile}")) else { return };
    let root = folder("watch-names-hostile");
    let record = placed.watch(&root, &[]);
    assert_eq!(names(&record["destinations"][0]["owners"][0]), ["-", "-", "-", hostile]);
    let filter = format!("src :{}", placed.service.address.port());
    let text = run(keepwarm().args(["watch", &filter, "--once"]));
    let shown = &text.exits_with(0).stdout;
    assert!(shown.contains("evil 1") && !shown.contains(['\u{1b}', '\u{202e}', '\t']), "{shown:?}");
    // As long as a file system lets a name be, and no more a pod than a name that looks like one.
    drop(placed);
    let long = "x".repeat(247) + ".service";
    let Some(placed) = Placed::in_cgroup(&format!("system.slice/{long}")) else { return };
    assert_eq!(names(&placed.owner(&root))[3], long);
}

/// A container of podman, removed when dropped.
struct Podman {
    store: [String; 4],
    name: String,
}

impl Podman {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(&self.store).args(["--cgroup-manager=cgroupfs", "--log-level=fatal"]);
        // crun refuses a host with cgroups of both versions.
        if Path::new("/usr/sbin/runc").exists() {
            command.args(["--runtime", "runc"]);
        }
        command.args(arguments);
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = run(&mut self.command(&["rm", "-f", "-t", "0", &self.name]));
        let _ = fs::remove_dir_all(&self.store[3]);
    }
}

#[test]
fn real_podman_container_is_named() {
    if Command::new("podman").arg("--version").output().is_err() {
        return skipped::because("podman is not installed");
    }
    let root = folder("watch-names-real-podman");
    let _ = fs::remove_dir_all(&root);
    let inside = root.join("inside");
    let store = root.join("var/lib/containers/storage").display().to_string();
    // Podman takes no longer path for it.
    let running = std::env::temp_dir().join(format!("kw-{}", std::process::id()));
    let running = running.display().to_string();
    for folder in ["usr", "bin", "lib", "lib64"] {
        fs::create_dir_all(inside.join(folder)).unwrap();
    }
    let name = format!("keepwarm-{}", std::process::id());
    let store = ["--root".to_owned(), store, "--runroot".to_owned(), running];
    let podman = Podman { store, name };
    let port = common::dead_port().to_string();
    let mut start = podman.command(&["run", "-d", "--name", &podman.name, "--network=host"]);
    start.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]);
    start.args(["--security-opt", "seccomp=unconfined"]);
    for folder in ["/usr", "/lib", "/lib64"] {
        start.args(["-v", &format!("{folder}:{folder}:ro")]);
    }
    start.arg("--rootfs").arg(&inside).args(["/usr/bin/python3", "-m", "http.server", &port]);
    let started = run(&mut start);
    if !started.status.success() {
        return skipped::because(&format!("podman runs no container here: {}", started.stderr));
    }
    let address = format!("127.0.0.1:{port}");
    assert!(common::until(|| TcpStream::connect(&address).is_ok()), "the container listens");
    let _client = TcpStream::connect(&address).unwrap();
    let owner = || {
        let filter = format!("src :{port}");
        let mut watch = keepwarm();
        watch.args(["watch", &filter, "--once", "--format", "json", "--rootfs"]).arg(&root);
        let record: Value = serde_json::from_str(&run(&mut watch).exits_with(0).stdout).unwrap();
        record["destinations"][0]["owners"][0].clone()
    };
    let id = started.stdout.trim();
    if !owner()["cgroup"].as_str().is_some_and(|cgroup| cgroup.contains(id)) {
        return skipped::because("podman makes no cgroups here: a container has no name in one");
    }
    assert_eq!(owner()["container"], *podman.name, "{}", owner());
    // The container's files are gone, and its process is not.
    fs::remove_file(root.join("var/lib/containers/storage/overlay-containers/containers.json"))
        .unwrap();
    assert_eq!(owner()["container"], id[..12], "{}", owner());
}
