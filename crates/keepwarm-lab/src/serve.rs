//! Serves a router until a signal to stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::slow_head::SlowHead;

/// Time that requests under way may take after the signal to stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// Listens on `address`, with the longest accept queue that the host allows (`net.core.somaxconn`):
/// a load that opens more connections at once than fit would measure a service that is slow to
/// connect to.
///
/// # Errors
///
/// The kernel's error for the socket, such as a port that is taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Like `TcpListener::bind`, so that TIME_WAITs of an earlier service do not hold its port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The kernel lowers this to its limit.
    socket.listen(u32::MAX)
}

/// The listener, whose connections have a limit on the time of a head.
struct Accepting(TcpListener);

impl Listener for Accepting {
    type Io = SlowHead<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Answers are small and written at once, so waiting for more bytes only costs time.
        drop(stream.set_nodelay(true));
        (SlowHead::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Serves until `stop` resolves, then lets requests under way finish for at most [`GRACE`].
///
/// A request's head that takes more than five seconds ends its connection, so that slow clients do
/// not hold a descriptor each. A connection between two requests has no limit.
///
/// # Errors
///
/// A fatal error of the listener. A failed accept is retried.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let server = axum::serve(Accepting(listener), router).with_graceful_shutdown(async move {
        stop.await;
        stopping.send_replace(true);
    });
    let grace_over = async {
        // The sender lives as long as the server, which is awaited beside this future.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = grace_over => Ok(()),
    }
}
