//! Response of a request: its head, and a body still to be read.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use keepwarm_pool::CloseReason;

use crate::error::{Error, Kind, Result, Stage};
pub use crate::exchange::redirect::RedirectStopped;
pub use crate::exchange::response_body::{ConnectionInfo, ResponseBody};
use crate::exchange::send::Sent;

/// A response: its head, and a body still to be read.
///
/// Read the body to its end: a [body that is dropped](ResponseBody) before it keeps its connection
/// only if the rest is small and comes fast.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client.get("http://127.0.0.1:8081/data").send().await?;
/// if response.status().is_success() {
///     println!("{}", response.text().await?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Response {
    inner: http::Response<ResponseBody>,
    connection: ConnectionInfo,
    stopped: Option<RedirectStopped>,
}

impl Response {
    pub(crate) fn new(Sent { response, connection, stopped }: Sent) -> Self {
        Self { inner: response, connection, stopped }
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        self.inner.status()
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &http::HeaderMap {
        self.inner.headers()
    }

    /// Returns the connection that carried the response.
    #[must_use]
    pub const fn connection(&self) -> ConnectionInfo {
        self.connection
    }

    /// Returns the reason why this redirect (301, 302, 303, 307 or 308) was not followed: there are
    /// too many, its `Location` is missing or leads nowhere that a request can be sent to, such as
    /// `mailto:`, or the body cannot be sent again. `None` for any other response, and where
    /// [`max_redirects`](crate::ClientBuilder::max_redirects) is zero.
    #[must_use]
    pub const fn redirect_stopped(&self) -> Option<&RedirectStopped> {
        self.stopped.as_ref()
    }

    /// Returns the body, to be read frame by frame.
    pub fn body_mut(&mut self) -> &mut ResponseBody {
        self.inner.body_mut()
    }

    /// Reads the whole body. Its size is bounded by memory only; see
    /// [`bytes_up_to`](Response::bytes_up_to).
    ///
    /// # Errors
    ///
    /// [`Stage::Body`] if the body breaks off or the total timeout passes.
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.inner.into_body().collect().await?.to_bytes())
    }

    /// Reads the whole body, of at most `limit` bytes. Beyond it the connection is closed, since
    /// the rest is not read.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes), and [`is_too_large`](Error::is_too_large).
    pub async fn bytes_up_to(self, limit: usize) -> Result<Bytes> {
        let mut body = self.inner.into_body();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > limit {
                let error = Error::new(Stage::Body, Kind::TooLarge)
                    .with_message(format!("more than the {limit} bytes that were allowed"));
                return Err(body.fail(error, CloseReason::Abandoned));
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Reads the whole body as text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes).
    pub async fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// Converts into a response of the `http` crate, with its [`ConnectionInfo`] as an extension, and
    /// [`RedirectStopped`] where a redirect was not followed.
    #[must_use]
    pub fn into_http(mut self) -> http::Response<ResponseBody> {
        self.inner.extensions_mut().insert(self.connection);
        if let Some(stopped) = self.stopped {
            self.inner.extensions_mut().insert(stopped);
        }
        self.inner
    }
}
