//! Running the tool as people do, with a bound on everything.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod nginx;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use keepwarm_testkit::kernel::is_named;
use keepwarm_testkit::mortal;

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The tool, which ends with the thread that starts it. In order if the signal comes once: a watch
/// has things of the kernel's to put back, which else the next one does.
pub(crate) fn keepwarm() -> Command {
    uncoloured(mortal::command(env!("CARGO_BIN_EXE_keepwarm"), "TERM"))
}

/// The tool, for a thread that ends before it.
pub(crate) fn keepwarm_alone() -> Command {
    uncoloured(Command::new(env!("CARGO_BIN_EXE_keepwarm")))
}

fn uncoloured(mut command: Command) -> Command {
    command.env("NO_COLOR", "1");
    command
}

/// Returns true if a watch reaches level L2 here, as it says itself: traces take root, or
/// `CAP_DAC_OVERRIDE`, and a mounted tracefs. Tried once a test program.
pub(crate) fn reaches_level_l2() -> bool {
    static REACHED: OnceLock<bool> = OnceLock::new();
    *REACHED.get_or_init(|| {
        let watch = run(keepwarm().args(["watch", ":1", "--for", "10ms", "--format", "json"]));
        let record = serde_json::from_str::<serde_json::Value>(&watch.exits_with(0).stdout);
        record.expect("JSON")["level"] == "L2"
    })
}

/// Makes a folder for what a test builds: beside Cargo's own output, or where this user may not
/// write there, with the temporary files.
pub(crate) fn folder(name: &str) -> PathBuf {
    let parents = [PathBuf::from(env!("CARGO_TARGET_TMPDIR")), std::env::temp_dir()];
    let made = parents.map(|parent| parent.join(name)).into_iter().find(|folder| {
        let probe = folder.join(format!(".probe-{}", std::process::id()));
        std::fs::create_dir_all(folder).is_ok()
            && std::fs::write(&probe, "").is_ok()
            && std::fs::remove_file(&probe).is_ok()
    });
    made.expect("a folder that this user may write to")
}

/// Returns true if this user may make a network namespace.
pub(crate) fn makes_namespaces() -> bool {
    Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    #[track_caller]
    pub(crate) fn exits_with(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that a load ran to its end. On a busy machine a load may call its own measurement
    /// invalid (exit code 4), which says nothing against the connections that it made.
    #[track_caller]
    pub(crate) fn completes(&self) -> &Self {
        let late = self.stderr.contains("the load itself was");
        if !(self.status.code() == Some(4) && late) {
            self.exits_with(0);
        }
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }
}

/// Runs to the end, or kills it and panics.
pub(crate) fn run(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    finish(child)
}

pub(crate) fn finish(mut child: Child) -> Output {
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait(&mut child);
    let status = status.unwrap_or_else(|| {
        child.kill().expect("killable");
        panic!("still running after {PATIENCE:?}: {}", stderr.recv().unwrap_or_default())
    });
    Output {
        status,
        stdout: stdout.recv().expect("the reader ends"),
        stderr: stderr.recv().expect("the reader ends"),
    }
}

pub(crate) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    let ended = until(|| {
        status = child.try_wait().expect("a child to wait for");
        status.is_some()
    });
    ended.then_some(status).flatten()
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    receiver
}

/// Polls a condition until it holds; false if it does not within [`PATIENCE`].
pub(crate) fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// A running `keepwarm serve`, killed when dropped.
pub(crate) struct Service {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Listens on a port that no socket of an earlier owner names, so that what is counted on it is
    /// the test's own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        std::iter::repeat_with(|| Self::start_anywhere(arguments))
            .take(100)
            .find(|service| !is_named(service.address.port()))
            .expect("one port of a hundred that nobody's socket names")
    }

    fn start_anywhere(arguments: &[&str]) -> Self {
        let mut child = keepwarm()
            .arg("serve")
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.split('/').next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { child, address, _stdout: stdout }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(self.child.id(), signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a watch, and returns when it has said that it watches.
pub(crate) fn start_watch(command: &mut Command) -> Child {
    let mut watch = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keepwarm starts");
    let mut stderr = BufReader::new(watch.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of text");
    watch.stderr = Some(stderr.into_inner());
    assert!(line.starts_with("watching"), "{line}");
    watch
}

/// Reads the address of its page from the first line of a `watch --listen`, which ends when the returned
/// reader is dropped.
pub(crate) fn page_address(watch: &mut Child) -> (SocketAddr, BufReader<ChildStdout>) {
    let mut stdout = BufReader::new(watch.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line of text");
    let address = line.trim().strip_prefix("listening on http://");
    let address = address.and_then(|rest| rest.strip_suffix("/metrics")?.parse().ok());
    (address.unwrap_or_else(|| panic!("no address in {line:?}")), stdout)
}

/// Reads the status (proc(5)) of each thread of a process; one that ends meanwhile is left out.
pub(crate) fn thread_statuses(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("procfs").flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).collect()
}

/// Ends a watch by SIGINT, and returns its document.
pub(crate) fn end_watch(watch: Child) -> serde_json::Value {
    kill(watch.id(), "INT");
    let output = finish(watch);
    output.exits_with(0);
    serde_json::from_str(&output.stdout).expect("JSON")
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "cannot signal {pid}");
}

/// One exchange over a socket of its own: the whole response, as text.
pub(crate) fn exchange(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a service");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// A port that nobody listens on: it was ours a moment ago.
pub(crate) fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Starts a server that accepts, and never reads or answers; returns its URL.
pub(crate) fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        kept.extend(listener.incoming());
    });
    url
}

/// The processes whose parent is `pid`, from /proc.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("procfs").flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if parent_of(id) == Some(pid) {
            children.push(id);
        }
    }
    children
}

/// Returns true if a process exists and is not a zombie waiting to be reaped.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

fn parent_of(pid: u32) -> Option<u32> {
    stat(pid).map(|(_, parent)| parent)
}

/// State and parent: the fields after the name, which is in parentheses (proc(5)).
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
