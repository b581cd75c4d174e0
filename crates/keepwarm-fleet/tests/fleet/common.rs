//! Processes of the tests: servers of NATS, workers, coordinators; all end with their values.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keepwarm_record::load::{LoadRecord, Trust};
use keepwarm_testkit::http_server::HttpServer;
use keepwarm_testkit::skipped;

/// Longer than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Targets on this machine.
pub(crate) const LOOPBACK: [&str; 2] = ["--allow-target", "127.0.0.0/8:*"];

/// Ends a child with the test.
pub(crate) struct Ends(pub(crate) Child);

impl Ends {
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, pid.as_str()]).status().unwrap().success());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_keepwarm-fleet"))
}

pub(crate) fn fleet() -> Command {
    Command::new(program())
}

/// A program by way of the words of `prefix`.
pub(crate) fn prefixed(prefix: &[String], program: &Path) -> Command {
    let Some((first, rest)) = prefix.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

/// A directory with keepwarm-fleet, and a `keepwarm` of the test's own that can start the real one as
/// `$real`. Returns the path of that keepwarm-fleet.
pub(crate) fn other_keepwarm(script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let directory = scratch();
    std::fs::copy(program(), directory.join("keepwarm-fleet")).unwrap();
    let text = format!("#!/bin/sh\nreal='{}'\n{script}\n", keepwarm().display());
    let path = directory.join("keepwarm");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory.join("keepwarm-fleet")
}

/// The program `keepwarm` beside `keepwarm-fleet`.
pub(crate) fn keepwarm() -> PathBuf {
    program().with_file_name("keepwarm")
}

/// Returns every nats-server: the one of KEEPWARM_NATS_SERVER, and the one in PATH.
pub(crate) fn nats_servers() -> Vec<PathBuf> {
    let given = std::env::var_os("KEEPWARM_NATS_SERVER").map(PathBuf::from);
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&dirs).chain(["/usr/sbin".into()]).collect::<Vec<_>>();
    let in_path = dirs.iter().map(|dir| dir.join("nats-server")).find(|path| path.is_file());
    let mut servers: Vec<PathBuf> = in_path.into_iter().collect();
    for server in given.into_iter().filter(|path| path.is_file()) {
        let is_there = |one: &PathBuf| one.canonicalize().ok() == server.canonicalize().ok();
        if !servers.iter().any(is_there) {
            servers.push(server);
        }
    }
    servers
}

/// Returns false, after a loud word, if the test cannot run here.
pub(crate) fn can_run() -> bool {
    if !keepwarm().is_file() {
        skipped::because("no keepwarm beside keepwarm-fleet: cargo build -p keepwarm-cli");
        return false;
    }
    if nats_servers().is_empty() {
        skipped::because("no nats-server: apt install nats-server");
        return false;
    }
    true
}

/// Returns false, after a loud word, without root.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped::because("no root: namespaces and small disks need it");
    }
    is_root
}

pub(crate) fn scratch() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir();
    let path = path.join(format!("keepwarm-fleet-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub(crate) fn wait_for<T>(what: &str, mut of: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = of() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        // Files and processes of others: there is no event to wait for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A nats-server, and its URL.
pub(crate) struct Nats {
    server: Option<Ends>,
    program: PathBuf,
    arguments: Vec<String>,
    /// Words before every program: those that enter a namespace.
    prefix: Vec<String>,
    address: String,
    pub(crate) url: String,
    pub(crate) directory: PathBuf,
}

impl Nats {
    /// Starts the first server that is there, with JetStream.
    pub(crate) fn start() -> Self {
        Self::of(&nats_servers()[0])
    }

    /// Starts a server with JetStream.
    pub(crate) fn of(program: &Path) -> Self {
        let directory = scratch();
        let store = directory.join("js").display().to_string();
        Self::with(program, directory, &["--jetstream", "--store_dir", &store])
    }

    /// The server of another value, with a directory of its own.
    pub(crate) fn same(nats: &Self, directory: PathBuf) -> Self {
        Self {
            server: None,
            program: nats.program.clone(),
            arguments: Vec::new(),
            prefix: nats.prefix.clone(),
            address: nats.address.clone(),
            url: nats.url.clone(),
            directory,
        }
    }

    /// Starts a server with these arguments.
    pub(crate) fn with(program: &Path, directory: PathBuf, arguments: &[&str]) -> Self {
        Self::at(program, directory, arguments, &[], "127.0.0.1")
    }

    /// Starts a server by way of `prefix`, at an address.
    pub(crate) fn at(
        program: &Path,
        directory: PathBuf,
        arguments: &[&str],
        prefix: &[String],
        address: &str,
    ) -> Self {
        let mut nats = Self {
            server: None,
            program: program.to_owned(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            prefix: prefix.to_vec(),
            address: address.to_owned(),
            url: String::new(),
            directory,
        };
        nats.go("-1");
        nats
    }

    /// Starts a server with a configuration.
    pub(crate) fn configured(program: &Path, directory: PathBuf, config: &str) -> Self {
        let path = directory.join("nats-server.conf");
        std::fs::write(&path, config).unwrap();
        let path = path.display().to_string();
        Self::with(program, directory, &["--config", &path])
    }

    fn go(&mut self, port: &str) {
        let mut command = prefixed(&self.prefix, &self.program);
        command.args(["--addr", &self.address, "--port", port]).args(&self.arguments);
        command.arg("--ports_file_dir").arg(&self.directory);
        command.arg("--log").arg(self.directory.join("nats-server.log"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ports = format!("nats-server_{}.ports", child.id());
        let ports = self.directory.join(ports);
        self.server = Some(Ends(child));
        self.url = wait_for("port of nats-server", || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(ports["nats"][0].as_str()?.to_owned())
        });
    }

    /// Ends the server by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// Starts the server again, on its port.
    pub(crate) fn restart(&mut self) {
        let port = self.url.rsplit(':').next().unwrap().to_owned();
        self.go(&port);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.server.as_ref().unwrap().signal(name);
    }

    /// Starts a worker, and waits until it waits.
    pub(crate) fn worker(&self, name: &str, more: &[&str]) -> Worker {
        self.worker_by(fleet(), name, more)
    }

    /// Starts a worker by a command of the test's own.
    pub(crate) fn worker_by(&self, mut command: Command, name: &str, more: &[&str]) -> Worker {
        let log = self.directory.join(format!("{name}.log"));
        command.args(["worker", "--name", name]).args(more);
        if !more.contains(&"--nats") {
            command.args(["--nats", &self.url]);
        }
        if !more.contains(&"--directory") {
            command.arg("--directory").arg(&self.directory);
        }
        command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
        let mut worker = Worker { child: Ends(command.spawn().unwrap()), log };
        wait_for("waiting worker", || {
            if let Some(status) = worker.child.0.try_wait().unwrap() {
                panic!("worker {name}: {status}: {}", worker.said());
            }
            worker.said().contains("waits at").then_some(())
        });
        worker
    }

    pub(crate) fn run(&self, more: &[&str]) -> Command {
        let mut command = prefixed(&self.prefix, program());
        command.args(["run", "--nats", &self.url]);
        if !more.contains(&"--wait") {
            command.args(["--wait", "20s"]);
        }
        command.arg("--output").arg(self.directory.join("run.json")).args(more);
        command
    }

    /// Reads the record that a run has written.
    pub(crate) fn record(&self) -> LoadRecord {
        read_record(&self.directory.join("run.json"))
    }
}

/// A worker, and what it says.
pub(crate) struct Worker {
    pub(crate) child: Ends,
    log: PathBuf,
}

impl Worker {
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the worker's end.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("end of a worker", || self.child.0.try_wait().unwrap());
        (status.code(), self.said())
    }
}

/// A run whose stderr is read line by line.
pub(crate) struct Watched {
    pub(crate) child: Ends,
    lines: std::io::Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Watched {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child: Ends(child), lines, said: String::new() }
    }

    /// Reads until a line has `words`.
    pub(crate) fn until(&mut self, words: &str) {
        while !self.said.lines().last().is_some_and(|line| line.contains(words)) {
            let line = self.lines.next().unwrap_or_else(|| panic!("{words}: {}", self.said));
            self.said += &(line.unwrap() + "\n");
        }
    }

    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        for line in self.lines.by_ref() {
            self.said += &(line.unwrap() + "\n");
        }
        (self.child.0.wait().unwrap().code(), self.said)
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn read_record(path: &Path) -> LoadRecord {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns true for a run that went as it should: on a busy machine the load itself may be late, which
/// makes its times invalid, not its counts.
pub(crate) fn is_good(code: Option<i32>, record: &LoadRecord) -> bool {
    let verdict = &record.verdict;
    let is_late = |why: &&String| why.contains("late") || why.contains("load's own");
    let only_late = verdict.reasons.iter().any(|why| is_late(&why));
    code == Some(0) || (code == Some(4) && verdict.trust == Trust::Invalid && only_late)
}

/// A server that answers every request.
pub(crate) fn server() -> HttpServer {
    HttpServer::start(|conn| {
        while conn.read_request() {
            conn.respond("ok");
        }
    })
}

/// Keeps `client` of the library on a runtime of the test's own.
pub(crate) fn with_client<T>(url: &str, work: impl AsyncFnOnce(async_nats::Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(url).await.unwrap();
        work(client).await
    })
}

/// The state and the parent of a process (proc(5)).
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub(crate) fn is_over(pid: u32) -> bool {
    state(pid).is_none_or(|(state, _)| state == 'Z')
}

/// The children of a process, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children = all.filter(|one| state(*one).is_some_and(|(_, parent)| parent == pid));
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Inodes of the sockets that listen, in this network namespace (proc(5)).
pub(crate) fn listening_sockets() -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/net/{name}")));
    let text = tables.into_iter().flatten().collect::<String>();
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(3) == Some(&LISTEN)).map(|row| row[9].to_owned()).collect()
}

/// Inodes of the sockets of a process.
pub(crate) fn sockets_of(pid: u32) -> BTreeSet<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let inode = |link: PathBuf| {
        let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        Some(text)
    };
    links.filter_map(inode).collect()
}
