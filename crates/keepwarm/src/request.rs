//! Builder of one request.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::encode::{self, Pair};
use crate::error::{Error, Result};
use crate::exchange::outgoing::Outgoing;
use crate::exchange::send::Sending;
use crate::origin_key::OriginRef;
use crate::policy::proxy::{Choice, Proxy};
use crate::policy::redirect::RedirectPolicy;
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
        let base = origins.shared().policy.as_ref().and_then(|policy| policy.base_url.as_ref());
        let (uri, refused) = match parse_at(base, url) {
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

    /// Sets header fields. Of a name that occurs in them, earlier fields are replaced.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        let mut last = None;
        for (name, value) in headers {
            match name {
                Some(name) => {
                    self.outgoing.headers.insert(&name, value);
                    last = Some(name);
                }
                // A further value of the name before.
                None => drop(last.as_ref().map(|name| self.outgoing.headers.append(name, value))),
            }
        }
        self
    }

    /// Adds pairs to the query of the URL, encoded as a form (WHATWG URL, 5.2): a space is `+`.
    /// Pairs that the URL has stay.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// let request = client.get("http://127.0.0.1:8081/data?x=1").query([("city", "Köln")]);
    /// assert_eq!(request.build()?.url().query(), Some("x=1&city=K%C3%B6ln"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(mut self, pairs: impl IntoIterator<Item: Pair>) -> Self {
        let added = encode::pairs(pairs);
        if added.is_empty() || self.refused.is_some() {
            return self;
        }
        let uri = &self.outgoing.uri;
        let target = match uri.query() {
            None => format!("{}?{added}", uri.path()),
            Some("") => format!("{}?{added}", uri.path()),
            Some(query) => format!("{}?{query}&{added}", uri.path()),
        };
        let mut parts = uri.clone().into_parts();
        let encoded = target.parse().map_err(http::Error::from);
        match encoded.and_then(|target| {
            parts.path_and_query = Some(target);
            Ok(Uri::from_parts(parts)?)
        }) {
            Ok(uri) => self.outgoing.uri = uri,
            Err(why) => self.refuse(format!("the query is not usable: {why}")),
        }
        self
    }

    /// Sets the body to pairs, encoded as a form, and `Content-Type` to
    /// `application/x-www-form-urlencoded` unless it is set.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// let request = client.post("http://127.0.0.1:8081/login").form([("user", "me"), ("age", "7")]);
    /// request.send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn form(mut self, pairs: impl IntoIterator<Item: Pair>) -> Self {
        self.set_content_type("application/x-www-form-urlencoded");
        self.outgoing.set_body(encode::pairs(pairs).into());
        self
    }

    /// Sets the body to a value as JSON, and `Content-Type` to `application/json` unless it is set.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// let numbers = std::collections::BTreeMap::from([("one", 1), ("two", 2)]);
    /// client.post("http://127.0.0.1:8081/data").json(&numbers).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.set_content_type("application/json");
                self.outgoing.set_body(bytes.into());
            }
            Err(why) => self.refuse(format!("the value has no form in JSON: {why}")),
        }
        self
    }

    /// Sets the body to a form of several parts, and `Content-Type` to its media type.
    #[cfg(feature = "multipart")]
    pub fn multipart(mut self, form: crate::multipart::Form) -> Self {
        if let Ok(media) = HeaderValue::from_str(&form.media()) {
            self.outgoing.headers.insert(CONTENT_TYPE, media);
        }
        self.outgoing.set_body(form.into_body());
        self
    }

    /// Sets `Authorization` to a user and a password (RFC 7617), marked as sensitive: it is in no
    /// debug output. A colon in the user is refused.
    pub fn basic_auth<U: Display, P: Display>(mut self, user: U, password: Option<P>) -> Self {
        let user = user.to_string();
        if user.contains(':') {
            self.refuse("the user of basic_auth has a colon, which ends it (RFC 7617)".to_owned());
        }
        let password = password.map(|password| password.to_string()).unwrap_or_default();
        let credentials = encode::base64(format!("{user}:{password}").as_bytes());
        self.set_authorization(&format!("Basic {credentials}"));
        self
    }

    /// Sets `Authorization` to a token (RFC 6750), marked as sensitive: it is in no debug output.
    pub fn bearer_auth(mut self, token: impl Display) -> Self {
        self.set_authorization(&format!("Bearer {token}"));
        self
    }

    fn set_authorization(&mut self, credentials: &str) {
        match HeaderValue::from_str(credentials) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.outgoing.headers.insert(AUTHORIZATION, value);
            }
            Err(_) => self.refuse("the credentials have forbidden bytes".to_owned()),
        }
    }

    fn set_content_type(&mut self, media: &'static str) {
        let fields = self.outgoing.headers.entry(CONTENT_TYPE);
        fields.or_insert(HeaderValue::from_static(media));
    }

    /// Sets which redirects this request follows. Overrides
    /// [`ClientBuilder::redirect_policy`](crate::ClientBuilder::redirect_policy).
    pub fn redirect(mut self, policy: RedirectPolicy) -> Self {
        self.outgoing.policy_mut().redirect = Some(policy);
        self
    }

    /// Sends this request, and its redirects, as this rule says, and directly where it says nothing.
    /// Overrides [`ClientBuilder::proxy`](crate::ClientBuilder::proxy). The pool is the client's:
    /// requests through the same proxy share connections.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.outgoing.policy_mut().proxy = Some(Choice::Through(proxy));
        self
    }

    /// Sends this request directly, past the client's proxies.
    pub fn no_proxy(mut self) -> Self {
        self.outgoing.policy_mut().proxy = Some(Choice::Direct);
        self
    }

    /// Sets if this response is asked for compressed, and decompressed: by the codings of the
    /// client, or by all that are built in. Overrides
    /// [`ClientBuilder::decompress`](crate::ClientBuilder::decompress).
    pub fn decompress(mut self, decompress: bool) -> Self {
        self.outgoing.policy_mut().decompress = Some(decompress);
        self
    }

    /// Sets the time for which no byte may pass in either direction, for this request. Overrides
    /// [`ClientBuilder::stall_timeout`](crate::ClientBuilder::stall_timeout). Zero is refused.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() {
            self.refuse("stall_timeout is 0: the request would always fail".to_owned());
        }
        self.outgoing.policy_mut().stall_timeout = Some(timeout);
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
    /// 1 MiB is read; beyond it the request fails. `101 Switching Protocols` is not among
    /// them: it is a response, see [`Response::upgrade`], and an error unless the request has
    /// `Upgrade`.
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

    /// Builds the request, to be looked at, copied, and sent by
    /// [`Client::execute`](crate::Client::execute).
    ///
    /// # Errors
    ///
    /// Errors of [`check`](Self::check).
    pub fn build(self) -> Result<Request> {
        self.check()?;
        let Self { outgoing, timeout, .. } = self;
        Ok(Request { outgoing, timeout })
    }

    /// Returns a second copy; `None` if the body can be sent only once.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        Some(Self {
            origins: Arc::clone(&self.origins),
            outgoing: self.outgoing.try_clone()?,
            timeout: self.timeout,
            refused: self.refused.clone(),
        })
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
            let mut sending = Sending::new();
            sending.begin(&origins, &mut outgoing, timeout)?;
            poll_fn(|cx| sending.poll(&origins, &mut outgoing, cx)).await?;
            Ok(Response::new(&mut sending, &mut outgoing))
        }
    }

    fn refuse(&mut self, message: String) {
        self.refused.get_or_insert_with(|| Error::invalid(message));
    }
}

/// A request that was built: looked at, changed, copied, and sent by
/// [`Client::execute`](crate::Client::execute), as often as it is copied.
///
/// Additions of a client to each request, such as
/// [`default_headers`](crate::ClientBuilder::default_headers), is added when it is sent.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let request = client.get("http://127.0.0.1:8081/data").bearer_auth("secret").build()?;
/// println!("{} {}", request.method(), request.url());
/// let again = request.try_clone().expect("it has no stream");
/// client.execute(request).await?.bytes().await?;
/// client.execute(again).await?.bytes().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Request {
    outgoing: Outgoing,
    timeout: Option<Duration>,
}

impl Request {
    /// Makes a request to an absolute URL.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the URL is not usable.
    pub fn new(method: Method, url: impl AsRef<str>) -> Result<Self> {
        let uri = parse(url.as_ref())?;
        OriginRef::of(&uri)?;
        Ok(Self { outgoing: Outgoing::new(method, uri), timeout: None })
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.outgoing.method
    }

    /// Returns the method, to be changed.
    pub const fn method_mut(&mut self) -> &mut Method {
        &mut self.outgoing.method
    }

    /// Returns the URL.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        &self.outgoing.uri
    }

    /// Returns the URL, to be changed.
    pub const fn url_mut(&mut self) -> &mut Uri {
        &mut self.outgoing.uri
    }

    /// Returns the header fields.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.outgoing.headers
    }

    /// Returns the header fields, to be changed.
    pub const fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.outgoing.headers
    }

    /// Returns the body.
    #[must_use]
    pub const fn body(&self) -> Option<&Body> {
        self.outgoing.body()
    }

    /// Returns the body, to be changed.
    pub const fn body_mut(&mut self) -> &mut Option<Body> {
        self.outgoing.body_mut()
    }

    /// Returns the time that the request may take in all, if it has its own.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the time that the request may take in all, to be changed. `None` leaves it to the
    /// client.
    pub const fn timeout_mut(&mut self) -> &mut Option<Duration> {
        &mut self.timeout
    }

    /// Returns a second copy; `None` if the body can be sent only once.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        Some(Self { outgoing: self.outgoing.try_clone()?, timeout: self.timeout })
    }

    pub(crate) fn sent_by(self, origins: Arc<Origins>) -> RequestBuilder {
        let Self { outgoing, timeout } = self;
        RequestBuilder { origins, outgoing, timeout, refused: None }
    }
}

impl<B: Into<Body>> From<http::Request<B>> for Request {
    fn from(request: http::Request<B>) -> Self {
        Self { outgoing: Outgoing::of(request.map(Into::into)), timeout: None }
    }
}

/// Parses a URL that may be relative to the client's.
fn parse_at(base: Option<&Uri>, url: &str) -> Result<Uri> {
    match base {
        Some(base) if url::scheme_length(url.as_bytes()).is_none() => {
            url::resolve(base, url.as_bytes()).map_err(|why| {
                Error::invalid(format!("{:?} is not a URL below {base}: {why}", printable(url)))
            })
        }
        _ => parse(url),
    }
}

/// Parses an absolute URL. Bytes of path and query that may not stand in a URI are encoded, as in a
/// redirect.
pub(crate) fn parse(url: &str) -> Result<Uri> {
    let refuse = |why: &dyn std::fmt::Display| {
        let message = format!("{:?} is not a URL: {why}; write http://host/path", printable(url));
        Error::invalid(message)
    };
    let encoded = if url::is_clean(url) {
        Cow::Borrowed(url)
    } else {
        url::encode(url.as_bytes()).map_err(|why| refuse(&why))?
    };
    Uri::from_maybe_shared(url::shared(&encoded)).map_err(|why| refuse(&why))
}
