//! One opaque error, with predicates and a stage.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use http::StatusCode;

/// Cause of a failure before a byte of the request was written.
pub(crate) const CLOSED_AT_ONCE: &str = "the server closed the connection at once";

/// Cause of a response by HTTP/2 whose head is beyond the limit.
pub(crate) const HEAD_TOO_LARGE: &str = "more than 1 MiB of header fields (RFC 9113, 6.5.2)";

/// A boxed cause.
///
/// ```
/// fn cause(error: &keepwarm::Error) -> Option<keepwarm::BoxError> {
///     std::error::Error::source(error).map(|cause| cause.to_string().into())
/// }
/// ```
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Stage of a request at which it failed.
///
/// ```
/// # async fn example(client: keepwarm::Client, url: &str) -> keepwarm::Result<u16> {
/// match client.get(url).send().await {
///     Ok(response) => Ok(response.status().as_u16()),
///     // Nothing was sent: it is safe to ask another server, whatever the method.
///     Err(error) if error.is_connect() || error.stage() == keepwarm::Stage::Wait => Ok(503),
///     Err(error) => Err(error),
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The request or the configuration is not usable; nothing was sent.
    Request,
    /// Waiting for a connection: for a return, a slot or a dial. Nothing was sent.
    Wait,
    /// Finding the addresses of the host. Nothing was sent.
    Resolve,
    /// Connecting, or starting the connection. Nothing was sent.
    Connect,
    /// The TLS handshake, or the configuration that it needs. Nothing of the request was sent.
    Tls,
    /// Sending the request and waiting for the response head.
    Exchange,
    /// Reading the response body.
    Body,
    /// Refusing a response that came: a redirect that the policy refuses, or an error status that
    /// [`error_for_status`](crate::Response::error_for_status) was asked about.
    Answer,
}

impl Stage {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Request => "request not usable",
            Self::Wait => "no connection was free",
            Self::Resolve => "resolving failed",
            Self::Connect => "connecting failed",
            Self::Tls => "TLS handshake failed",
            Self::Exchange => "no response",
            Self::Body => "reading the body failed",
            Self::Answer => "the response is refused",
        }
    }
}

/// Kind of failure, independent of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The input is wrong.
    Invalid,
    /// The total timeout passed.
    Timeout,
    /// The connect timeout passed.
    ConnectTimeout,
    /// The TLS handshake timeout passed.
    HandshakeTimeout,
    /// The request has waited for a connection as long as it may.
    AcquireTimeout,
    /// The response header timeout passed.
    HeaderTimeout,
    /// The stall timeout passed.
    StallTimeout,
    /// The queue for a connection was full.
    TooManyWaiters,
    /// The client was shut down.
    ShutDown,
    /// The operating system, the peer, or the protocol.
    Failed,
    /// A limit of ours was reached.
    TooLarge,
    /// The status of the response is an error.
    Status,
    /// The redirect policy refused a redirect.
    Redirect,
    /// The body is not what the caller asked for.
    Decode,
    /// The caller's body failed, or is not as long as declared.
    RequestBody,
    /// A proxy refused to connect, or failed.
    Proxy,
    /// The peer does not speak HTTP/2, and the client speaks nothing else.
    NotHttp2,
    /// One stream of an HTTP/2 connection failed.
    StreamError,
    /// An HTTP/2 connection failed.
    Http2Error,
}

/// A failed request, or settings that cannot be used.
///
/// The message names the stage, the origin and, once a connection was involved, whether it was new
/// or reused, which attempt it was, unless it was the first, and how much of the request had been
/// written; the cause is in [`source`](StdError::source).
///
/// ```
/// let refused = keepwarm::Client::builder().max_connections_per_origin(0).build();
/// let error = refused.expect_err("no request could ever be sent");
/// assert!(error.is_invalid() && !error.is_timeout());
/// assert!(error.to_string().contains("max_connections_per_origin is 0"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    stage: Stage,
    kind: Kind,
    origin: Option<Arc<str>>,
    reused: Option<bool>,
    attempts: u32,
    written: Option<u64>,
    message: Option<String>,
    status: Option<StatusCode>,
    /// Shared where several requests failed by the same cause.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The result of this crate's operations.
///
/// ```
/// async fn status_of(url: &str) -> keepwarm::Result<u16> {
///     let client = keepwarm::Client::new();
///     Ok(client.get(url).send().await?.status().as_u16())
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(stage: Stage, kind: Kind) -> Self {
        Self(Arc::new(Inner {
            stage,
            kind,
            origin: None,
            reused: None,
            attempts: 0,
            written: None,
            message: None,
            status: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Stage::Request, Kind::Invalid).with_message(message)
    }

    pub(crate) fn timeout(stage: Stage) -> Self {
        Self::new(stage, Kind::Timeout).with_message("timed out")
    }

    pub(crate) fn connect_timeout(stage: Stage) -> Self {
        Self::new(stage, Kind::ConnectTimeout).with_message("timed out (connect_timeout)")
    }

    #[cfg(feature = "tls")]
    pub(crate) fn handshake_timeout() -> Self {
        let words = "timed out (tls_handshake_timeout)";
        Self::new(Stage::Tls, Kind::HandshakeTimeout).with_message(words)
    }

    pub(crate) fn header_timeout() -> Self {
        Self::new(Stage::Exchange, Kind::HeaderTimeout)
            .with_message("the head of the response did not come within response_header_timeout")
    }

    pub(crate) fn stall_timeout(stage: Stage) -> Self {
        Self::new(stage, Kind::StallTimeout)
            .with_message("no byte passed in either direction within stall_timeout")
    }

    pub(crate) fn failed(stage: Stage, source: impl Into<BoxError>) -> Self {
        let error = Self::failed_with(stage, Arc::from(source.into()));
        // The kernel's own timeouts: which settings they are is in no error of the kernel.
        let by_kernel = error.io_error().is_some_and(|io| io.raw_os_error().is_some());
        if by_kernel && error.is_peer_silent() {
            return error.with_message(
                "the peer acknowledged nothing for tcp_user_timeout, took no byte for that long, \
                 or left keep-alive probes unanswered",
            );
        }
        error
    }

    pub(crate) fn failed_with(stage: Stage, source: Arc<dyn StdError + Send + Sync>) -> Self {
        Self::new(stage, Kind::Failed).edit(|inner| inner.source = Some(source))
    }

    pub(crate) fn caused(stage: Stage, kind: Kind, source: impl Into<BoxError>) -> Self {
        let source: Arc<dyn StdError + Send + Sync> = Arc::from(source.into());
        Self::new(stage, kind).edit(|inner| inner.source = Some(source))
    }

    pub(crate) fn with_message(self, message: impl Into<String>) -> Self {
        self.edit(|inner| inner.message = Some(message.into()))
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        self.edit(|inner| inner.status = Some(status))
    }

    /// Says that the handshake was with a proxy.
    #[cfg(feature = "tls")]
    pub(crate) fn in_handshake_with(self, proxy: impl fmt::Display) -> Self {
        let message = self.0.message.clone().map(|message| format!(": {message}"));
        self.with_message(format!("proxy {proxy}{}", message.unwrap_or_default()))
    }

    pub(crate) fn caused_by(self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(Arc::from(source.into())))
    }

    pub(crate) fn at(self, origin: &Arc<str>) -> Self {
        self.edit(|inner| inner.origin = Some(Arc::clone(origin)))
    }

    pub(crate) fn on_reused(self, reused: bool) -> Self {
        self.edit(|inner| inner.reused = Some(reused))
    }

    pub(crate) fn on_attempt(self, attempts: u32) -> Self {
        self.edit(|inner| inner.attempts = attempts)
    }

    pub(crate) fn after_writing(self, bytes: u64) -> Self {
        self.edit(|inner| inner.written = Some(bytes))
    }

    /// Turns the failure into a total timeout that passed before the request could be sent again.
    pub(crate) fn into_timeout(self) -> Self {
        self.edit(|inner| {
            inner.kind = Kind::Timeout;
            inner.message = Some("timed out before it could be sent again".to_owned());
        })
    }

    /// Annotates an error that has not been cloned yet, so that its `Arc` is unique.
    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        debug_assert_eq!(Arc::strong_count(&self.0), 1, "annotated before it is shared");
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Returns the stage at which the request failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// Returns the origin concerned, as `scheme://host:port`.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    /// Returns true if the connection had served an exchange before; `None` when no connection was
    /// involved.
    #[must_use]
    pub fn on_reused_connection(&self) -> Option<bool> {
        self.0.reused
    }

    /// Returns the number of connections that the request was handed to: 0 when no connection was
    /// involved, more than 1 when it was sent again, see
    /// [`RequestBuilder::send`](crate::RequestBuilder::send).
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the bytes of the request, head and body, that had been given to the kernel on the
    /// last connection that it was handed to; whether they reached the server is not known. `None`
    /// if there was no connection, and then nothing was sent; or, at [`Stage::Body`], if it is not
    /// known because the response had overtaken the request. Under TLS they are counted before
    /// encryption. By HTTP/2, whose heads are compressed, a head counts as one byte.
    ///
    /// ```
    /// # async fn example(client: keepwarm::Client, url: &str) -> keepwarm::Result<()> {
    /// if let Err(error) = client.post(url).body("once only").send().await {
    ///     let safe_to_repeat = error.bytes_written().is_none_or(|bytes| bytes == 0);
    ///     println!("{error}; safe to repeat: {safe_to_repeat}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn bytes_written(&self) -> Option<u64> {
        self.0.written
    }

    /// Returns true if a timeout of the client passed; the predicates that follow say which.
    /// [`expect_continue_timeout`](crate::ClientBuilder::expect_continue_timeout) makes no request
    /// fail.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.is_total_timeout()
            || self.is_connect_timeout()
            || self.is_tls_handshake_timeout()
            || self.is_acquire_timeout()
            || self.is_response_header_timeout()
            || self.is_stall_timeout()
    }

    /// Returns true if no byte passed in either direction for as long as
    /// [`stall_timeout`](crate::ClientBuilder::stall_timeout) allows, while the request waited for
    /// the peer.
    #[must_use]
    pub fn is_stall_timeout(&self) -> bool {
        self.0.kind == Kind::StallTimeout
    }

    /// Returns true if the name of the host could not be resolved: it is unknown, has no address,
    /// or the resolver failed. Nothing was sent.
    #[must_use]
    pub fn is_resolve(&self) -> bool {
        self.0.stage == Stage::Resolve
    }

    /// Returns true if the peer ended the connection, by a FIN or a reset, before the response was
    /// complete.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        matches!(self.0.stage, Stage::Exchange | Stage::Body) && self.cause() == Cause::Peer
    }

    /// Returns true if a connection was given up during the request because its peer said nothing any more:
    /// it acknowledged no data for [`tcp_user_timeout`](crate::ClientBuilder::tcp_user_timeout), left
    /// keep-alive probes unanswered, or, by HTTP/2, a ping for ten seconds. The host or the path to it is
    /// gone, or a firewall has forgotten the connection. No setting of the request's own has passed, so
    /// [`is_timeout`](Self::is_timeout) is false.
    #[must_use]
    pub fn is_peer_silent(&self) -> bool {
        let is_open = matches!(self.0.stage, Stage::Exchange | Stage::Body);
        let timed_out = || self.io_error().is_some_and(|io| io.kind() == ErrorKind::TimedOut);
        is_open && self.0.kind == Kind::Failed && timed_out()
    }

    /// Returns true if the peer answered, and the answer is not HTTP/1.1: another protocol, or
    /// bytes that another reader might read otherwise.
    #[must_use]
    pub fn is_not_http(&self) -> bool {
        matches!(self.0.stage, Stage::Exchange | Stage::Body) && self.cause() == Cause::NotHttp
    }

    /// Returns true if a limit of this client was reached: on the size of the body
    /// ([`is_too_large`](Self::is_too_large)) or of the head, or on the requests that wait
    /// ([`is_too_many_waiters`](Self::is_too_many_waiters)).
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.is_too_large() || self.is_too_many_waiters() || self.cause() == Cause::Limit
    }

    /// Returns true if the request took longer in all than
    /// [`timeout`](crate::ClientBuilder::timeout) allows, its own or the client's. The stage is the
    /// one that it had reached then.
    #[must_use]
    pub fn is_total_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// Returns true if resolving, connecting and the TLS handshake took longer than
    /// [`connect_timeout`](crate::ClientBuilder::connect_timeout) allows. The stage says which of
    /// them was under way. Nothing was sent.
    #[must_use]
    pub fn is_connect_timeout(&self) -> bool {
        self.0.kind == Kind::ConnectTimeout
    }

    /// Returns true if the TLS handshake took longer than `tls_handshake_timeout` allows. Nothing
    /// was sent.
    #[must_use]
    pub fn is_tls_handshake_timeout(&self) -> bool {
        self.0.kind == Kind::HandshakeTimeout
    }

    /// Returns true if the request waited for a connection as long as
    /// [`acquire_timeout`](crate::ClientBuilder::acquire_timeout) allows. Nothing was sent.
    #[must_use]
    pub fn is_acquire_timeout(&self) -> bool {
        self.0.kind == Kind::AcquireTimeout
    }

    /// Returns true if the request was written, and the head of the response did not come within
    /// [`response_header_timeout`](crate::ClientBuilder::response_header_timeout).
    #[must_use]
    pub fn is_response_header_timeout(&self) -> bool {
        self.0.kind == Kind::HeaderTimeout
    }

    /// Returns true if no connection could be established: resolving, connecting or the TLS
    /// handshake failed. Nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.0.stage, Stage::Resolve | Stage::Connect | Stage::Tls)
    }

    /// Returns true if TLS failed. At [`Stage::Tls`], the handshake failed or took too long: a
    /// certificate that is not trusted or for another name, no common version; nothing was sent. At
    /// a later stage, the server sent an alert after the handshake: with TLS 1.3 that is how it
    /// refuses a client certificate, or the want of one.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        let alert = self.causes().any(|cause| cause.is::<rustls::Error>());
        #[cfg(not(feature = "tls"))]
        let alert = false;
        self.0.stage == Stage::Tls || alert
    }

    /// Returns true if the request or the settings were rejected before anything was done.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.0.kind == Kind::Invalid
    }

    /// Returns true if as many requests as allowed were waiting for a connection already. Nothing
    /// was sent.
    #[must_use]
    pub fn is_too_many_waiters(&self) -> bool {
        self.0.kind == Kind::TooManyWaiters
    }

    /// Returns true if the client was dropped while the request waited. Nothing was sent.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.0.kind == Kind::ShutDown
    }

    /// Returns true if the body of the request failed with an error of its own, which is the
    /// [`source`](StdError::source), or was not as long as declared. A part of the request may have been sent.
    #[must_use]
    pub fn is_request_body(&self) -> bool {
        self.0.kind == Kind::RequestBody
    }

    /// Returns true if the response was larger than the caller allowed.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.0.kind == Kind::TooLarge
    }

    /// Returns true if the client speaks HTTP/2 only
    /// ([`http2_prior_knowledge`](crate::ClientBuilder::http2_prior_knowledge)), and the server does
    /// not: it answered in HTTP/1, or chose another protocol by ALPN. Nothing was sent.
    #[must_use]
    pub fn is_not_http2(&self) -> bool {
        self.0.kind == Kind::NotHttp2
    }

    /// Returns true if one HTTP/2 stream failed: the server reset it, or its response broke the
    /// rules or ended early. The other requests of its connection are unharmed.
    #[must_use]
    pub fn is_stream_error(&self) -> bool {
        self.0.kind == Kind::StreamError
    }

    /// Returns true if an HTTP/2 connection failed because either side broke the rules of HTTP/2: a
    /// malformed frame, for example.
    #[must_use]
    pub fn is_http2_error(&self) -> bool {
        self.0.kind == Kind::Http2Error
    }

    /// Returns true if the status of the response is an error, and
    /// [`error_for_status`](crate::Response::error_for_status) was asked.
    #[must_use]
    pub fn is_status(&self) -> bool {
        self.0.kind == Kind::Status
    }

    /// Returns true if a redirect was refused: by a
    /// [`RedirectPolicy`](crate::RedirectPolicy), or because it leads from https to http and
    /// [`https_only`](crate::ClientBuilder::https_only) is set.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        self.0.kind == Kind::Redirect
    }

    /// Returns true if a body came whole and is not what the caller asked for: not JSON, or not of
    /// the type that was expected.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        self.0.kind == Kind::Decode
    }

    /// Returns true if a proxy did not connect to the origin: it refused, its answer is not
    /// understood, or the connection to it broke meanwhile. The message tells its answer, and
    /// [`status`](Self::status) that of a CONNECT: 407 without credentials. Nothing was sent to the
    /// origin.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.0.kind == Kind::Proxy
    }

    /// Returns the status of the response that is the error: of
    /// [`is_status`](Self::is_status), [`is_redirect`](Self::is_redirect) and
    /// [`is_proxy`](Self::is_proxy).
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Returns the operating system's error at the bottom of the chain of causes, if there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&std::io::Error> {
        self.causes().find_map(|cause| cause.downcast_ref::<std::io::Error>())
    }

    /// Returns true if this process or this host has no file descriptor left: EMFILE or ENFILE.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        /// The numbers of ENFILE and EMFILE on every Unix.
        const NO_FILES: [i32; 2] = [23, 24];
        let code = self.io_error().and_then(std::io::Error::raw_os_error);
        cfg!(unix) && code.is_some_and(|code| NO_FILES.contains(&code))
    }

    /// Returns the chain of causes, errors that I/O errors carry included.
    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        std::iter::successors(self.source(), |&cause| carried(cause).or_else(|| cause.source()))
    }

    /// Reads the chain of causes of a failed exchange. What failed within a caller's body or a decoder is
    /// no news of the connection.
    fn cause(&self) -> Cause {
        if matches!(self.0.kind, Kind::RequestBody | Kind::Decode) {
            return Cause::Other;
        }
        for cause in self.causes() {
            if let Some(error) = cause.downcast_ref::<keepwarm_http1::Error>() {
                return match error.refusal {
                    refusal if refusal.is_end() => Cause::Peer,
                    refusal if refusal.is_limit() => Cause::Limit,
                    _ => Cause::NotHttp,
                };
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && let ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof = io.kind()
            {
                return Cause::Peer;
            }
            if cause.to_string() == CLOSED_AT_ONCE {
                return Cause::Peer;
            }
            if cause.to_string() == HEAD_TOO_LARGE {
                return Cause::Limit;
            }
        }
        Cause::Other
    }
}

/// Returns the error that an I/O error carries, which its `source` passes over.
fn carried<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    Some(inner)
}

/// Cause of an exchange that failed, as far as predicates tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The peer ended the connection.
    Peer,
    /// The answer is not HTTP/1.1.
    NotHttp,
    /// The head is larger than this client reads.
    Limit,
    Other,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(origin) = &inner.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(inner.stage.phrase())?;
        if let Some(reused) = inner.reused {
            write!(f, " on a {} connection", if reused { "reused" } else { "new" })?;
        }
        if inner.attempts > 1 {
            write!(f, ", attempt {}", inner.attempts)?;
        }
        // At a later stage the server has answered, so the number says nothing.
        if let (Stage::Exchange, Some(bytes)) = (inner.stage, inner.written) {
            write!(f, ", {bytes} {} written", if bytes == 1 { "byte" } else { "bytes" })?;
        }
        if let Some(message) = &inner.message {
            write!(f, ": {message}")?;
        }
        // The whole chain: a log with only the outer message still shows the cause.
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As `unwrap` prints it: what happened, and not how this type is made.
        write!(f, "Error({self})")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Returns the message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let string = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(string).unwrap_or("without a message")
}
