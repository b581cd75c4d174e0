//! SIGINT and SIGTERM: the first asks for an orderly end, the second one ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has come since [`watch`].
pub(crate) fn happened() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The failure to report when one has.
pub(crate) fn failure() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// Watches for signals on a thread of its own, for commands that do not run on a runtime.
pub(crate) fn watch() -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot watch for signals: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if arrives().await.is_ok() {
                    INTERRUPTED.store(true, Ordering::Relaxed);
                }
                if arrives().await.is_ok() {
                    std::process::exit(Exit::Interrupted as i32);
                }
            });
        })
        .map_err(failed)?;
    Ok(())
}

/// Resolves at the next SIGINT or SIGTERM.
pub(crate) async fn arrives() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
