//! `keepwarm load` as a child process: the check of its arguments, its live lines, its record. Owns
//! the process; the load's own program owns the load.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::exit::{Exit, Failure};

/// The most of a child's stderr that is kept, from its end.
const MAX_STDERR: usize = 4096;

/// Arguments that a worker gives a load itself, written as they are here, or with `=` and a value behind
/// them. Those that belong to one machine are refused by `keepwarm load --fleet-check`.
const OF_THE_WORKER: [&str; 8] = [
    "--share",
    "--begin-at",
    "--live-lines",
    "--only",
    "--fleet-check",
    "--format",
    "--output",
    "-o",
];

/// The answer of `keepwarm load --fleet-check`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Description {
    pub(crate) url: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) connections: u64,
    pub(crate) duration_s: Option<f64>,
    pub(crate) peak_rate: Option<f64>,
    pub(crate) timeout_s: f64,
    /// Time before the run in which the target is loaded without counting.
    pub(crate) warm_up_s: f64,
}

/// A line of a running load.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Begun {
        monotonic_ns: u64,
    },
    Second(Second),
    /// The record, where its file could not be written.
    Record(Box<RawValue>),
}

/// One second of a running load.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) p99_us: Option<u64>,
    pub(crate) open: u64,
}

/// Returns the path of `keepwarm`: beside this program, or by PATH.
pub(crate) fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("keepwarm")));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("keepwarm"))
}

fn command() -> Command {
    let mut command = Command::new(program());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn not_started(error: &std::io::Error) -> Failure {
    let program = program();
    Failure::new(Exit::Child, format!("cannot start {}: {error}", program.display()))
}

/// Returns the version of `keepwarm`.
pub(crate) async fn version() -> Result<String, Failure> {
    let output = command().arg("--version").output().await.map_err(|error| not_started(&error))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Checks arguments by the load's own parser; `extra` are the worker's own.
pub(crate) async fn check(arguments: &[String], extra: &[String]) -> Result<Description, Failure> {
    let named = |argument: &str, name: &str| {
        argument.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    for argument in arguments {
        if let Some(name) = OF_THE_WORKER.iter().find(|name| named(argument, name)) {
            let message =
                format!("{name} cannot be shared by the workers of a fleet; leave it out");
            return Err(Failure::new(Exit::Usage, message));
        }
        if argument.starts_with('@') {
            let message = format!("{argument} is a file of one machine; write its arguments out");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    let output = command().arg("load").arg("--fleet-check").args(extra).args(arguments).output();
    let output = output.await.map_err(|error| not_started(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let prefixes = ["keepwarm: ", "error: "];
        let bare = prefixes.iter().find_map(|prefix| said.strip_prefix(prefix));
        let said = bare.unwrap_or(&said).to_owned();
        let exit = match output.status.code() {
            Some(3) => Exit::Unreachable,
            Some(7 | 8) | None => Exit::Child,
            Some(_) => Exit::Usage,
        };
        return Err(Failure::new(exit, said));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let message = format!("{} said something else: {error}", program().display());
        Failure::new(Exit::Child, message)
    })
}

/// Refuses networks that the load's own parser does not read.
pub(crate) async fn check_networks(networks: &[String]) -> Result<(), Failure> {
    // The check takes a target, which has to be allowed too: so its address is added to the list.
    let only = format!("--only={},127.0.0.1:1", networks.join(","));
    let output = command().args(["load", "--fleet-check", &only, "http://127.0.0.1:1/"]).output();
    let output = output.await.map_err(|error| not_started(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).replace("--only <", "--allow-target <");
    let said = said.trim().trim_start_matches("error: ").to_owned();
    Err(Failure::new(Exit::Usage, said))
}

/// A load that has been started.
#[derive(Debug)]
pub(crate) struct RunningLoad {
    child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    path: PathBuf,
    /// The record, where its file could not be written.
    record: Option<Box<RawValue>>,
}

/// The end of a load.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Exit code; -1 if a signal ended the load.
    pub(crate) exit: i32,
    pub(crate) message: String,
    pub(crate) path: PathBuf,
    /// Text of the record, from the file or, where that could not be written, from the load itself.
    pub(crate) record: Option<String>,
    /// Reason why the file does not hold the record.
    pub(crate) not_kept: Option<String>,
}

impl RunningLoad {
    /// Starts `keepwarm load` with the worker's own arguments before those of the plan.
    pub(crate) fn start(
        arguments: &[String],
        extra: &[String],
        begin_at_ns: u64,
        record: &Path,
    ) -> Result<Self, Failure> {
        let mut command = command();
        command.arg("load").arg("--live-lines").arg(format!("--begin-at={begin_at_ns}"));
        command.arg("--output").arg(record).args(extra).args(arguments);
        // The load ends with its stdin, so that none outlives a worker that was killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at a terminal reaches the coordinator and its local workers; these decide.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new(Exit::Child, "the load has no stdout".to_owned()))?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines, path: record.to_owned(), record: None })
    }

    /// Returns the next line; `None` when the load has closed its stdout.
    pub(crate) async fn next_line(&mut self) -> Option<Line> {
        while let Ok(Some(text)) = self.lines.next_line().await {
            match serde_json::from_str(&text) {
                Ok(Line::Record(record)) => self.record = Some(record),
                Ok(line) => return Some(line),
                // Another tool of the same version may print more lines.
                Err(_) => {}
            }
        }
        None
    }

    /// Sends SIGINT: the first ends a load in order, the second at once.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Waits for the end.
    pub(crate) async fn wait(mut self) -> Result<Ended, Failure> {
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // A load writes a few lines; more is cut.
            let _ = stderr.take(64 * 1024).read_to_end(&mut said).await;
        }
        let status = self.child.wait().await.map_err(|error| not_started(&error))?;
        let from = said.len().saturating_sub(MAX_STDERR);
        let message = String::from_utf8_lossy(&said[from..]).trim().to_owned();
        let exit = status.code().unwrap_or(-1);
        let (record, not_kept) = match self.record {
            Some(record) => (Some(String::from(Box::<str>::from(record))), Some(message.clone())),
            None => (std::fs::read_to_string(&self.path).ok(), None),
        };
        Ok(Ended { exit, message, path: self.path, record, not_kept })
    }
}
