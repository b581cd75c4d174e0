//! Response of a request: its head, and a body still to be read.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use keepwarm_pool::CloseReason;

use crate::error::{Error, Kind, Result, Stage};
use crate::exchange::decoding;
use crate::exchange::outgoing::Outgoing;
use crate::exchange::received::Received;
pub use crate::exchange::redirect::RedirectStopped;
pub use crate::exchange::response_body::{ConnectionInfo, ResponseBody};
use crate::exchange::send::Sending;
use crate::exchange::upgrade::Switched;
pub use crate::exchange::upgrade::Upgraded;
use crate::url::printable;
pub use crate::wire::peer::TlsInfo;

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
    received: Received,
    stopped: Option<Box<RedirectStopped>>,
    url: Uri,
}

impl Response {
    /// Makes the response of a request that was sent.
    #[inline]
    pub(crate) fn new(sending: &mut Sending, outgoing: &mut Outgoing) -> Self {
        let mut response = Self {
            received: sending.receive(),
            stopped: sending.take_stopped(),
            url: std::mem::take(&mut outgoing.uri),
        };
        decoding::decode(outgoing, &mut response.received);
        response
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        self.received.status
    }

    /// Returns the URL that the response came from: the last one, after redirects. Go:
    /// `Response.Request.URL`.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        &self.url
    }

    /// Returns the version of HTTP that the server answered in.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.received.version
    }

    /// Returns the address of the peer that was connected to, see
    /// [`ConnectionInfo::remote_address`].
    #[must_use]
    pub const fn remote_addr(&self) -> Option<SocketAddr> {
        self.received.connection.remote_address
    }

    /// Returns the facts of the TLS connection that the response came by: the server's certificate
    /// chain, version, cipher suite and ALPN. `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.received.body.tls()
    }

    /// Returns the bytes of the body that are left to read; `None` if the response does not say.
    /// Go: `Response.ContentLength`, which is -1 then.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.received.body.size_hint().exact()
    }

    /// Returns an error if the status is one of a client or of a server (400 to 599), and the
    /// response otherwise. The body of the error is dropped; to read it, ask
    /// [`error_for_status_ref`](Self::error_for_status_ref) first.
    ///
    /// # Errors
    ///
    /// [`is_status`](Error::is_status), with the [`status`](Error::status).
    pub fn error_for_status(self) -> Result<Self> {
        self.error_for_status_ref()?;
        Ok(self)
    }

    /// Returns an error if the status is one of a client or of a server, and the response
    /// otherwise.
    ///
    /// # Errors
    ///
    /// Errors of [`error_for_status`](Self::error_for_status).
    pub fn error_for_status_ref(&self) -> Result<&Self> {
        let status = self.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(self);
        }
        let message = format!("{status} for {}", printable(&self.url.to_string()));
        let error = Error::new(Stage::Answer, Kind::Status).with_status(status);
        Err(error.with_message(message))
    }

    /// Returns the header fields, to be changed.
    pub fn headers_mut(&mut self) -> &mut http::HeaderMap {
        &mut self.received.headers
    }

    /// Returns the values that layers have attached.
    #[must_use]
    pub fn extensions(&self) -> &http::Extensions {
        &self.received.extensions
    }

    /// Returns the values that layers have attached, to be changed.
    pub fn extensions_mut(&mut self) -> &mut http::Extensions {
        &mut self.received.extensions
    }

    /// Reads the next piece of the body; `None` at its end. Trailers are skipped.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// let mut response = client.get("http://127.0.0.1:8081/large").send().await?;
    /// while let Some(chunk) = response.chunk().await? {
    ///     println!("{} bytes", chunk.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stage::Body`] if the body breaks off or a timeout passes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.received.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Converts into a stream of the body's pieces.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// use std::pin::pin;
    ///
    /// let response = client.get("http://127.0.0.1:8081/large").send().await?;
    /// let mut stream = pin!(response.bytes_stream());
    /// while let Some(bytes) = std::future::poll_fn(|cx| {
    ///     futures_core::Stream::poll_next(stream.as_mut(), cx)
    /// }).await {
    ///     println!("{} bytes", bytes?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "stream")]
    pub fn bytes_stream(self) -> impl futures_core::Stream<Item = Result<Bytes>> + Send + Unpin {
        http_body_util::BodyDataStream::new(self.received.body)
    }

    /// Reads the whole body, and converts it from JSON. A byte order mark is not skipped (RFC 8259,
    /// 8.1), and any `Content-Type` will do.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes), and [`is_decode`](Error::is_decode).
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|why| {
            Error::new(Stage::Body, Kind::Decode)
                .with_message("not the JSON expected")
                .caused_by(why)
        })
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &http::HeaderMap {
        &self.received.headers
    }

    /// Returns the connection that carried the response.
    #[must_use]
    pub const fn connection(&self) -> ConnectionInfo {
        self.received.connection
    }

    /// Returns the reason why this redirect (301, 302, 303, 307 or 308) was not followed: there are
    /// too many, its `Location` is missing or leads nowhere that a request can be sent to, such as
    /// `mailto:`, or the body cannot be sent again. `None` for any other response, and where
    /// [`max_redirects`](crate::ClientBuilder::max_redirects) is zero.
    #[must_use]
    pub fn redirect_stopped(&self) -> Option<&RedirectStopped> {
        self.stopped.as_deref()
    }

    /// Returns the body, to be read frame by frame.
    pub fn body_mut(&mut self) -> &mut ResponseBody {
        &mut self.received.body
    }

    /// Reads the whole body. Its size is bounded by memory only; see
    /// [`bytes_up_to`](Response::bytes_up_to).
    ///
    /// # Errors
    ///
    /// [`Stage::Body`] if the body breaks off or the total timeout passes.
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.received.body.collect().await?.to_bytes())
    }

    /// Reads the whole body, of at most `limit` bytes. Beyond it the connection is closed, since
    /// the rest is not read.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes), and [`is_too_large`](Error::is_too_large).
    pub async fn bytes_up_to(self, limit: usize) -> Result<Bytes> {
        let mut body = self.received.body;
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

    /// Reads the whole body as text, in the character set that `Content-Type` names, or else in
    /// UTF-8. Bytes that are not text in it become U+FFFD. Without the feature `charset`, UTF-8 and
    /// ASCII are known, and any other set is read as UTF-8; with it, all of the WHATWG's, and a byte
    /// order mark overrides the name.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes).
    pub async fn text(self) -> Result<String> {
        self.text_with_charset("utf-8").await
    }

    /// Reads the whole body as text, as [`text`](Self::text) does, in this character set where
    /// `Content-Type` names none.
    ///
    /// # Errors
    ///
    /// Errors of [`bytes`](Response::bytes).
    pub async fn text_with_charset(self, default: &str) -> Result<String> {
        let named = self.headers().get(CONTENT_TYPE).and_then(charset);
        let bytes = self.bytes().await?;
        Ok(decode(&bytes, named.as_deref().unwrap_or(default)))
    }

    /// Takes over the connection, after `101 Switching Protocols` to a request with `Connection:
    /// upgrade` and `Upgrade`, or a 2xx to a CONNECT. Go: `Response.Body`, which is a `Writer` then.
    ///
    /// The connection counts as active until it is dropped, so that limits hold, and then closes, as
    /// [`NotPersistent`](CloseReason::NotPersistent). No timeout of the request holds for it.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the response has not switched protocols.
    pub fn upgrade(self) -> Result<Upgraded> {
        let switched = self.received.extensions.get::<Switched>().and_then(Switched::take);
        switched.ok_or_else(|| {
            let status = self.status();
            Error::invalid(format!("{status}: the server did not switch protocols"))
        })
    }

    /// Converts into a response of the `http` crate, with its [`ConnectionInfo`] as an extension, and
    /// [`RedirectStopped`] where a redirect was not followed; the URL is an extension of type
    /// [`Uri`].
    #[must_use]
    pub fn into_http(self) -> http::Response<ResponseBody> {
        let mut response = self.received.into_http();
        response.extensions_mut().insert(self.url);
        if let Some(stopped) = self.stopped {
            response.extensions_mut().insert(*stopped);
        }
        response
    }
}

/// Returns the character set of a media type: the parameter `charset`, which may be quoted (RFC
/// 9110, 8.3.1).
fn charset(media: &HeaderValue) -> Option<String> {
    // Another parameter may have bytes above 127.
    let media = String::from_utf8_lossy(media.as_bytes());
    let parameters = media.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    named.next().map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

#[cfg(feature = "charset")]
fn decode(bytes: &[u8], charset: &str) -> String {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes());
    encoding.unwrap_or(encoding_rs::UTF_8).decode(bytes).0.into_owned()
}

#[cfg(not(feature = "charset"))]
fn decode(bytes: &[u8], _charset: &str) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
