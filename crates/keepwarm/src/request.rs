//! Builder of one request.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::error::{Error, Result};
use crate::exchange::outgoing::Outgoing;
use crate::exchange::send::send;
use crate::origin_key::OriginRef;
use crate::pool::origins::Origins;
use crate::response::Response;
use crate::url::{self, printable};
use crate::wire::body::Body;
use crate::wire::interim::InterimListener;

/// A request in the making. Mistakes in it are reported by [`send`](RequestBuilder::send).
///
/// The request shares the client's pool but does not keep the client alive.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client
///     .post("http://127.0.0.1:8081/data")
///     .header("content-type", "text/plain")
///     .body("a new line")
///     .timeout(std::time::Duration::from_secs(1))
///     .send()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    origins: Arc<Origins>,
    outgoing: Outgoing,
    timeout: Option<Duration>,
    /// First mistake in the request, the URL checked first.
    refused: Option<Error>,
}

impl RequestBuilder {
    pub(crate) fn new(origins: Arc<Origins>, method: Method, url: &str) -> Self {
        let (uri, refused) = match parse(url) {
            Ok(uri) => (uri, None),
            Err(error) => (Uri::default(), Some(error)),
        };
        Self { origins, outgoing: Outgoing::new(method, uri), timeout: None, refused }
    }

    /// Adds a header field. Earlier fields of the same name stay.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.outgoing.headers.append(name, value);
            }
            (Err(_), _) => self.refuse(format!("{name:?} is not a header name")),
            // The value stays out of the message: it may be a secret.
            (_, Err(_)) => self.refuse(format!("the value of header {name} has forbidden bytes")),
        }
        self
    }

    /// Sets the body. Bytes in memory can be sent again for a redirect, a [`Body::stream`] cannot.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.outgoing.set_body(body.into());
        self
    }

    /// Sets a function that is called for each interim response (1xx) as it comes: `103 Early
    /// Hints` with its `Link`s, `102 Processing`, `100 Continue`. Without it they are ignored. Go:
    /// `ClientTrace.Got1xxResponse`.
    ///
    /// The task that drives the request calls the function, for each attempt and each redirect, so
    /// it should be quick. Of all interim responses and the head of the final one together at most
    /// 1 MiB is read; beyond it the request fails. `101 Switching Protocols` is always an error,
    /// since this client supports HTTP/1.1 only.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// let request = client.get("http://127.0.0.1:8081/data").on_interim(|status, headers| {
    ///     println!("{status}: {:?}", headers.get("link"));
    /// });
    /// request.send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_interim(
        mut self,
        listen: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.outgoing.extensions.insert(InterimListener::new(listen));
        self
    }

    /// Sets the time that this request may take in all, reading the body included. Overrides
    /// [`ClientBuilder::timeout`](crate::ClientBuilder::timeout). Zero is refused.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() {
            self.refuse("timeout is 0: the request would always fail".to_owned());
        }
        self.timeout = Some(timeout);
        self
    }

    /// Checks the request's URL, headers and timeout without sending it.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid), naming the mistake.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        OriginRef::of(&self.outgoing.uri).map(|_| ())
    }

    /// Sends the request, follows redirects, and waits for the head of the response.
    ///
    /// A server may close an idle connection just as a request is written to it. The request is
    /// then sent once more, on a new connection, if no byte of a response came, the connection was
    /// not new, the body is empty or in memory, and sending it twice is as good as once: the method
    /// is GET, HEAD, OPTIONS or TRACE, or a field `Idempotency-Key` or `X-Idempotency-Key` says so
    /// (Go: `Request.isReplayable`). Everything else is never sent twice once a byte was written;
    /// before that, another connection is taken whatever the method. The new connection takes the
    /// room of the broken one, so a request is sent again at a limit of connections too, before the
    /// requests that wait.
    ///
    /// A budget bounds what is sent again: at most one request in two to an origin, but a hundred at
    /// first and one a second in any case; no more than a thousand are saved up. Once it is spent,
    /// no request fails for that: connections to the origin are closed after one request, as
    /// [`Distrusted`](crate::CloseReason::Distrusted), until a hundred are in stock again. [`ConnectionInfo::attempts`](crate::ConnectionInfo::attempts) and
    /// [`Error::attempts`] count.
    ///
    /// Dropping the future gives up: a waiter leaves the queue, a connection that was not used yet
    /// returns to the pool. A connection that has the whole request is kept if the response begins
    /// within 50 ms and [is small and fast](crate::ResponseBody): the response is read in the
    /// background, inside a tokio runtime, and discarded. A timeout has the same effect. Otherwise
    /// the connection is closed, as [`Abandoned`](crate::CloseReason::Abandoned). (Go closes it in
    /// any case.)
    ///
    /// # Errors
    ///
    /// See [`Error`] and its predicates. A status such as 404 or 500 is not an error.
    pub fn send(self) -> impl Future<Output = Result<Response>> + Send {
        // An `async fn` would store the request twice in its future.
        let Self { origins, mut outgoing, timeout, refused } = self;
        async move {
            if let Some(error) = refused {
                return Err(error);
            }
            send(&origins, &mut outgoing, timeout).await.map(Response::new)
        }
    }

    fn refuse(&mut self, message: String) {
        self.refused.get_or_insert_with(|| Error::invalid(message));
    }
}

/// Parses an absolute URL. Bytes of path and query that may not stand in a URI are encoded, as in a
/// redirect.
pub(crate) fn parse(url: &str) -> Result<Uri> {
    let refuse = |why: &dyn std::fmt::Display| {
        let message = format!("{:?} is not a URL: {why}; write http://host/path", printable(url));
        Error::invalid(message)
    };
    let encoded = url::encode(url.as_bytes()).map_err(|why| refuse(&why))?;
    encoded.parse().map_err(|why: http::uri::InvalidUri| refuse(&why))
}
