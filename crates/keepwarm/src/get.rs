//! A GET in one line, on a client that the whole process shares.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use crate::client::Client;
use crate::error::Result;

/// The largest body that [`get`] reads: 64 MiB.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// Response that [`get`] returns.
///
/// ```no_run
/// # async fn example() -> keepwarm::Result<()> {
/// let timeout = std::time::Duration::from_millis(100);
/// let keepwarm::Reply { status, body } = keepwarm::get("http://127.0.0.1:8081/data", timeout).await?;
/// assert_eq!((status, &body[..]), (200, &b"Data OK."[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code; an error status is not an [`Error`](crate::Error).
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Fetches `url` on one process-wide [`Client`] with the default settings.
///
/// `timeout` covers waiting, connecting, redirects, and reading the body to its end.
///
/// # Errors
///
/// See [`Error`](crate::Error): [`is_timeout`](crate::Error::is_timeout),
/// [`is_connect`](crate::Error::is_connect), and
/// [`is_too_large`](crate::Error::is_too_large) for a body beyond [`MAX_REPLY_BYTES`].
pub async fn get(url: impl AsRef<str>, timeout: Duration) -> Result<Reply> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = CLIENT.get_or_init(Client::new);
    let response = client.get(url).timeout(timeout).send().await?;
    let status = response.status().as_u16();
    let body = response.bytes_up_to(MAX_REPLY_BYTES).await?;
    Ok(Reply { status, body })
}
