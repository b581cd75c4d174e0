//! Writes to stdout and stderr. No other module does.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
use rustix::io::Errno;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::show::Columns;

/// Pause where waiting for the reader of stdout is of no use.
const HUNG_UP_PAUSE: Duration = Duration::from_millis(50);

/// Writes to stdout at once. A reader that has gone away, as in `| head`, is not a failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_with(|stdout| stdout.write_all(text.as_bytes()))
}

/// Lets `write` write to stdout. A reader that has gone away is not a failure.
pub(crate) fn print_with(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    say_once_if_lost();
    let mut stdout = io::stdout().lock();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Output, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on stderr, once, that nothing of stdout is kept, if stdout may have been closed.
///
/// Before any code of this program runs, Rust's runtime opens /dev/null for reading and writing in
/// place of a standard stream that is closed. So `>&-` cannot be told from a program that passes
/// such a /dev/null on purpose (Python's `DEVNULL`, Node's `ignore`), and ends with the same code.
/// A shell opens `>/dev/null` for writing only, which is left alone.
fn say_once_if_lost() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if is_lost().unwrap_or(false) && !SAID.swap(true, Ordering::Relaxed) {
        complain(&"stdout is closed, or is /dev/null: what this command prints is lost");
    }
}

/// Returns true if stdout is /dev/null, opened for reading and writing.
fn is_lost() -> io::Result<bool> {
    let (out, null) = (fstat(io::stdout())?, stat("/dev/null")?);
    let is_null = out.st_rdev == null.st_rdev && out.st_mode == null.st_mode;
    let mode = fcntl_getfl(io::stdout())? & OFlags::RWMODE;
    Ok(is_null && mode == OFlags::RDWR)
}

/// Writes one document on one line while it is being made: a long run's document would take much
/// memory.
pub(crate) fn write_json(record: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(to);
    serde_json::to_writer(&mut buffered, record)?;
    buffered.write_all(b"\n")?;
    buffered.flush()
}

/// Sleeps until `woken` is readable or the reader of stdout goes away, at most for `length`. Returns
/// false if it has gone away.
pub(crate) fn sleep_while_read(length: Duration, woken: Option<BorrowedFd<'_>>) -> bool {
    let stdout = io::stdout();
    let mut ends = vec![PollFd::new(&stdout, PollFlags::empty())];
    ends.extend(woken.map(|woken| PollFd::from_borrowed_fd(woken, PollFlags::IN)));
    let at_most = Timespec::try_from(length).ok();
    if poll(&mut ends, at_most.as_ref()).is_err_and(|errno| errno != Errno::INTR) {
        // A stdout that poll(2) does not take, as some files, counts as read.
        std::thread::sleep(length.min(HUNG_UP_PAUSE));
        return true;
    }
    let end = ends[0].revents();
    if !end.is_empty() && !end.contains(PollFlags::ERR) {
        // A terminal that has hung up ends no wait that begins.
        std::thread::sleep(length.min(HUNG_UP_PAUSE));
    }
    !end.contains(PollFlags::ERR)
}

/// Writes a failure to stderr. A failure of that write cannot be reported, so it is ignored.
pub(crate) fn complain(message: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "keepwarm: {message}");
}

/// Returns true if stdout may be coloured: a terminal that is not dumb, and neither `NO_COLOR`
/// (no-color.org) nor `CLICOLOR=0` set; or anything, if `CLICOLOR_FORCE` is set (bixense.com).
pub(crate) fn colour() -> bool {
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    let forced = !matches!(value("CLICOLOR_FORCE").as_str(), "" | "0");
    let refused = value("CLICOLOR") == "0" || value("TERM") == "dumb";
    value("NO_COLOR").is_empty() && (forced || (!refused && io::stdout().is_terminal()))
}

/// Returns the room for a report: that of the terminal at stdout, if there is one.
pub(crate) fn columns() -> Columns {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let terminal = size.filter(|_| io::stdout().is_terminal());
    let width = terminal.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    width.map_or(Columns::FILE, Columns::terminal)
}

/// Returns the width of the terminal at stderr; 80 where it does not say.
fn progress_columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Writes a report to stderr. A failure of that write cannot be reported, so it is ignored.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Progress on stderr: one line rewritten in place on a terminal, else a line now and then.
#[derive(Debug)]
pub(crate) struct Progress {
    live: bool,
    dirty: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { live: io::stderr().is_terminal() && !dumb, dirty: false }
    }

    /// Replaces the previous line. Only a terminal shows it.
    pub(crate) fn update(&mut self, line: &str) {
        if self.live {
            self.dirty = true;
            // A line that wraps could not be overwritten.
            let line: String = line.chars().take(progress_columns().saturating_sub(1)).collect();
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush());
        }
    }

    /// Writes a line that stays.
    pub(crate) fn note(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Empties the terminal's line.
    pub(crate) fn clear(&mut self) {
        if self.dirty {
            self.dirty = false;
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
