//! How a contract says that it was broken: by an error, so that the next one still runs.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

pub(crate) type Kept = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

/// Longer than anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(10);

/// Waits for a future, but not for longer than [`BOUND`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(BOUND, future).await.map_err(|_| format!("waited in vain for {what}"))
}

/// The result of a task, which is a result itself.
pub(crate) async fn done<T, E: Display>(
    what: &str,
    task: tokio::task::JoinHandle<Result<T, E>>,
) -> Result<T, String> {
    match within(what, task).await? {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(panic) => Err(format!("{what}: {panic}")),
    }
}
