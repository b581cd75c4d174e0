//! Serving a router until told to stop.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// How long requests under way may take after the signal to stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop` resolves, then lets requests under way finish for at most [`GRACE`].
///
/// # Errors
///
/// Only what the listener reports as fatal; a failed accept is retried.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    // Answers are small and come in one write: waiting for more of them only costs time.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        stopping.send_replace(true);
    });
    let grace_over = async {
        // The sender lives as long as the server, which is awaited beside this.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = grace_over => Ok(()),
    }
}
