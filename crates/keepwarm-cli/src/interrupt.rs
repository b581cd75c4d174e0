//! SIGINT, SIGTERM and SIGHUP: the first requests an orderly end, the last one ends the process at
//! once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::limits;

static SIGNALS: AtomicU32 = AtomicU32::new(0);
/// Readable from the first signal on.
static ARRIVED: OnceLock<OwnedFd> = OnceLock::new();

/// Longest sleep without asking whether a signal has come.
const NAP: Duration = Duration::from_millis(20);

/// Returns true if a signal has come since [`watch`].
pub(crate) fn happened() -> bool {
    count() > 0
}

/// Counts the signals that have come.
pub(crate) fn count() -> u32 {
    SIGNALS.load(Ordering::Relaxed)
}

/// Returns a descriptor that is readable from the first signal on, to wait for one; `None` before
/// [`watch`].
pub(crate) fn arrived() -> Option<BorrowedFd<'static>> {
    ARRIVED.get().map(AsFd::as_fd)
}

/// Sleeps for `length`, or until a signal has come.
pub(crate) fn sleep(length: Duration) {
    let end = Instant::now() + length;
    while !happened() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(NAP));
    }
}

/// The failure to report after a signal.
pub(crate) fn failure() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// Watches for signals on a separate thread, for commands that do not run on a runtime. The signal
/// of number `last` ends the process at once.
pub(crate) fn watch(last: u32) -> Result<(), Failure> {
    let failed = |error| limits::refused(Exit::Failed, "cannot watch for signals", &error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let arrived = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let arrived = arrived.map_err(|errno| failed(errno.into()))?;
    let arrived = ARRIVED.get_or_init(|| arrived);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let Ok(mut signals) = Signals::new() else { return };
                for _ in 1..last {
                    signals.next().await;
                    SIGNALS.fetch_add(1, Ordering::Relaxed);
                    // Fails only at a count that so few signals do not reach.
                    let _ = rustix::io::write(arrived, &1_u64.to_ne_bytes());
                }
                signals.next().await;
                std::process::exit(Exit::Interrupted as i32);
            });
        })
        .map_err(failed)?;
    Ok(())
}

/// Resolves at the next signal.
pub(crate) async fn arrives() -> std::io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

/// The signals. None is missed between two calls of `next`.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal went away. `None` if the parent, such as nohup(1), wants the process to go on.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(()) = hung_up(&mut self.hangup) => {}
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Reads the ignored signals from proc(5). Without procfs, SIGHUP counts as not ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
