//! SIGINT and SIGTERM: the first asks for an orderly end, the last one ends the process at once.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Whether a signal has come since [`watch`].
pub(crate) fn happened() -> bool {
    count() > 0
}

/// How many have come.
pub(crate) fn count() -> u32 {
    SIGNALS.load(Ordering::Relaxed)
}

/// The failure to report when one has.
pub(crate) fn failure() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// Watches for signals on a thread of its own, for commands that do not run on a runtime. The
/// signal of number `last` ends the process, whatever it does.
pub(crate) fn watch(last: u32) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot watch for signals: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let Ok(mut signals) = Signals::new() else { return };
                for _ in 1..last {
                    signals.next().await;
                    SIGNALS.fetch_add(1, Ordering::Relaxed);
                }
                signals.next().await;
                std::process::exit(Exit::Interrupted as i32);
            });
        })
        .map_err(failed)?;
    Ok(())
}

/// Resolves at the next SIGINT or SIGTERM.
pub(crate) async fn arrives() -> std::io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

/// Both signals, none of which is missed between two calls of `next`.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
