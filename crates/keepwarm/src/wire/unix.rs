//! Connecting to a Unix socket.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::error::{Error, Result, Stage};

/// First pause before another attempt at a socket whose accept queue was full; each is twice as
/// long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Connects. A TCP socket waits for room in the server's accept queue, but a Unix socket fails with
/// `EAGAIN` at once; this function waits then too.
pub(crate) async fn connect(path: &Path) -> Result<UnixStream> {
    let failed = |error| {
        Error::failed(Stage::Connect, error).with_message(format!("unix socket {}", Named(path)))
    };
    let address = address(path).map_err(failed)?.into();
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect_addr(&address).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            result => return result.map_err(failed),
        }
    }
}

/// Makes the error of a server that did not accept within the connect timeout.
pub(crate) fn too_late(path: &Path) -> Error {
    let words = format!("unix socket {}: timed out (connect_timeout)", Named(path));
    Error::connect_timeout(Stage::Connect).with_message(words)
}

/// Returns the address of a path: a file, or on Linux an abstract name.
pub(crate) fn address(path: &Path) -> io::Result<SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty path names no socket"));
    }
    #[cfg(target_os = "linux")]
    if let [b'@' | 0, name @ ..] = bytes {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

/// Displays a path in a message: without the zero byte of an abstract name.
pub(crate) struct Named<'a>(pub(crate) &'a Path);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_os_str().as_bytes() {
            [0, name @ ..] => write!(f, "@{}", name.escape_ascii()),
            _ => self.0.display().fmt(f),
        }
    }
}
