//! Serving a router until told to stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket};

/// How long requests under way may take after the signal to stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// Listens on `address`, with as long a queue of connections to accept as the host allows
/// (`net.core.somaxconn`): a load that opens more at once than fit finds a service that is slow to
/// connect to, and measures that instead.
///
/// # Errors
///
/// What the kernel says of the socket, such as that the port is taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: TIME_WAITs of an earlier service do not hold its port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The kernel takes what it allows of it.
    socket.listen(u32::MAX)
}

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
