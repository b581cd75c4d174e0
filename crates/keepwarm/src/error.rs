//! One opaque error, with predicates and a stage.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

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
    /// The queue for a connection was full.
    TooManyWaiters,
    /// The client was shut down.
    ShutDown,
    /// The operating system, the peer, or the protocol.
    Failed,
    /// A limit of ours was reached.
    TooLarge,
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

#[derive(Debug)]
struct Inner {
    stage: Stage,
    kind: Kind,
    origin: Option<Arc<str>>,
    reused: Option<bool>,
    attempts: u32,
    written: Option<u64>,
    message: Option<String>,
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

    pub(crate) fn endless_head() -> Self {
        let words = "more than 1 MiB of interim responses (1xx), and no final one";
        Self::new(Stage::Exchange, Kind::Failed).with_message(words)
    }

    pub(crate) fn failed(stage: Stage, source: impl Into<BoxError>) -> Self {
        Self::failed_with(stage, Arc::from(source.into()))
    }

    pub(crate) fn failed_with(stage: Stage, source: Arc<dyn StdError + Send + Sync>) -> Self {
        Self::new(stage, Kind::Failed).edit(|inner| inner.source = Some(source))
    }

    pub(crate) fn with_message(self, message: impl Into<String>) -> Self {
        self.edit(|inner| inner.message = Some(message.into()))
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
    /// encryption.
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

    /// Returns true if the TLS handshake failed or took too long: a certificate that is not trusted
    /// or for another name, no common version, a client certificate that the server wants. Nothing
    /// was sent.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.stage == Stage::Tls
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

    /// Returns true if the response was larger than the caller allowed.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.0.kind == Kind::TooLarge
    }

    /// Returns the operating system's error at the bottom of the chain of causes, if there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&std::io::Error> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return Some(io);
            }
            cause = error.source();
        }
        None
    }
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
            write!(f, ", {bytes} bytes written")?;
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
        fmt::Debug::fmt(&*self.0, f)
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
