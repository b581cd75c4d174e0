//! Child processes that cannot be left behind.
//!
//! Dropping the guard stops the child. If this process dies, by any signal, the child stops by
//! itself: it watches its standard input, whose other end only this process holds.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::exit::{Exit, Failure};
use crate::limits;

/// Time limit for a child to listen.
const START: Duration = Duration::from_secs(20);
/// Time limit for a child to stop, a little more than the grace of its own requests.
const STOP: Duration = keepwarm_lab::GRACE.saturating_add(Duration::from_secs(2));
/// Bytes of stderr that are kept: the end, which has the reason.
const STDERR_KEPT: usize = 16 * 1024;

/// A running service.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    /// Held, never written to: its end tells the child that this process is gone.
    stdin: Option<ChildStdin>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    readers: Vec<JoinHandle<()>>,
    address: SocketAddr,
}

impl Child {
    /// Starts this very program with other arguments, and waits until it listens.
    pub(crate) fn start(name: &str, arguments: &[String]) -> Result<Self, Failure> {
        let failed = |what: &str, error: std::io::Error| {
            limits::refused(Exit::Child, &format!("cannot {what} the {name} service"), &error)
        };
        let program = std::env::current_exe().map_err(|error| failed("find", error))?;
        let mut process = Command::new(program)
            .arg("serve")
            .args(arguments)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed("start", error))?;
        let (lines, listening) = mpsc::channel();
        let mut child = Self {
            name: name.to_owned(),
            stdin: process.stdin.take(),
            process,
            stderr: Arc::default(),
            readers: Vec::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let no_thread = |error: std::io::Error| {
            limits::refused(Exit::Child, &format!("cannot start a thread for {name}"), &error)
        };
        if let Some(pipe) = child.process.stdout.take() {
            child.readers.push(read_lines(pipe, lines).map_err(no_thread)?);
        }
        if let Some(pipe) = child.process.stderr.take() {
            child.readers.push(keep_end(pipe, Arc::clone(&child.stderr)).map_err(no_thread)?);
        }
        child.address = match listening.recv_timeout(START) {
            Ok(line) => child.parse_address(&line)?,
            Err(RecvTimeoutError::Disconnected) => return Err(child.why_ended()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(child.failure(&format!("did not listen within {} s", START.as_secs())));
            }
        };
        Ok(child)
    }

    /// Returns the address at which the child listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fails if the child has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(self.why_ended()),
        }
    }

    /// Stops the child, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.check()?;
        self.end();
        let status = self.process.wait();
        self.join();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.why_ended()),
        }
    }

    fn end(&mut self) {
        let pid = Pid::from_child(&self.process);
        // A failure here means that the child is gone already.
        let _ = kill_process(pid, Signal::TERM);
        drop(self.stdin.take());
        if !ends_within(pid, STOP) {
            let _ = self.process.kill();
        }
    }

    fn join(&mut self) {
        for reader in self.readers.drain(..) {
            // The result of a reader holds nothing.
            let _ = reader.join();
        }
    }

    fn parse_address(&mut self, line: &str) -> Result<SocketAddr, Failure> {
        line.trim_end()
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.split('/').next())
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| self.failure(&format!("said {line:?} instead of where it listens")))
    }

    /// The failure of a child that ended by itself. An exit code of this tool becomes our own.
    fn why_ended(&mut self) -> Failure {
        let status = self.process.wait();
        self.join();
        let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
        let exit = code.and_then(Exit::from_code).unwrap_or(Exit::Child);
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::new(exit, self.failure(&format!("ended by itself ({how})")).to_string())
    }

    fn failure(&self, what: &str) -> Failure {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let said = String::from_utf8_lossy(&bytes);
        let said = match said.trim() {
            "" => "; it wrote nothing to stderr".to_owned(),
            said => format!("; its stderr:\n{said}"),
        };
        Failure::new(Exit::Child, format!("the {} service {what}{said}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end();
            let _ = self.process.wait();
        }
    }
}

fn ends_within(pid: Pid, limit: Duration) -> bool {
    let Ok(pidfd): Result<OwnedFd, _> = pidfd_open(pid, PidfdFlags::empty()) else {
        // The child is gone already, or the kernel is older than 5.3: the wait that follows
        // decides.
        return true;
    };
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut watched, Some(&limit)), Ok(1..))
}

/// Passes the first line on, and reads the rest so that the child never blocks on its stdout.
fn read_lines(
    pipe: impl Read + Send + 'static,
    lines: mpsc::Sender<String>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = String::new();
        if matches!(reader.read_line(&mut line), Ok(1..)) {
            // The starter may have given up.
            let _ = lines.send(line);
        }
        drop(lines);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    })
}

fn keep_end(
    mut pipe: impl Read + Send + 'static,
    kept: Arc<Mutex<VecDeque<u8>>>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().spawn(move || {
        let mut chunk = [0; 1024];
        while let Ok(read @ 1..) = pipe.read(&mut chunk) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&chunk[..read]);
            let excess = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..excess);
        }
    })
}
