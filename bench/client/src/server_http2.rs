//! The server of the scenarios with HTTP/2: the `h2` crate on one thread, one fixed response.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use crate::clients::Failure;
use crate::place;

/// Streams at once on a connection, as nginx and nghttpd have it or nearly.
const STREAMS: u32 = 100;
const WINDOW: u32 = 1 << 20;

/// Runs until standard input ends. Prints its port first, and at its end the accepted connections.
pub(crate) fn serve(body_bytes: usize) -> Result<(), Failure> {
    rustix::thread::set_name(c"bench-server")?;
    place::raise_file_limit();
    place::pin(&[place::server_core()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let accepted = Arc::new(AtomicU64::new(0));
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _nothing = std::io::stdin().read(&mut [0]);
        let _ = ended.send(());
    });
    let body = Bytes::from(vec![b'x'; body_bytes]);
    let counter = Arc::clone(&accepted);
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let accepting = async {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(stream, body.clone()));
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = end => {}
        }
        Ok::<_, Failure>(())
    })?;
    println!("{}", accepted.load(Ordering::Relaxed));
    Ok(())
}

/// Serves one connection. A failure is seen by the client too, which is measured.
async fn connection(stream: TcpStream, body: Bytes) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake(stream).await?;
    let length = http::HeaderValue::from(body.len());
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let mut head = http::Response::new(());
        head.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
        head.headers_mut().insert("content-length", length.clone());
        respond.send_response(head, false)?.send_data(body.clone(), true)?;
    }
    Ok(())
}
