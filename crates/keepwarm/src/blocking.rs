//! The same client for code without async: each call blocks its thread.
//!
//! Owns a thread with a runtime, which watches idle connections between calls. All else is the
//! async client's.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Method};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::builder::ClientBuilder;
use crate::client::Client as AsyncClient;
use crate::encode::Pair;
use crate::error::{Error, Result, Stage};
use crate::get::{MAX_REPLY_BYTES, Reply};
use crate::policy::proxy::Proxy;
use crate::policy::redirect::RedirectPolicy;
use crate::request::{Request, RequestBuilder as AsyncRequestBuilder};
use crate::response::Response as AsyncResponse;
use crate::wire::body::Body;

/// Gets a URL within a time, redirects and body included, on connections that all calls of this
/// process share. The blocking [`get`](crate::get()).
///
/// ```no_run
/// # fn main() -> keepwarm::Result<()> {
/// use std::time::Duration;
///
/// let reply = keepwarm::blocking::get("http://127.0.0.1:8081/data", Duration::from_millis(100))?;
/// assert_eq!(reply.status, 200);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Errors of [`get`](crate::get()), and [`is_invalid`](Error::is_invalid) inside an async runtime.
pub fn get(url: impl AsRef<str>, timeout: Duration) -> Result<Reply> {
    static CLIENT: OnceLock<Result<Client>> = OnceLock::new();
    let client = CLIENT.get_or_init(Client::new).as_ref().map_err(Clone::clone)?;
    let response = client.get(url).timeout(timeout).send()?;
    let status = response.status().as_u16();
    Ok(Reply { status, body: response.bytes_up_to(MAX_REPLY_BYTES)? })
}

/// A client whose requests block. Cloning is cheap, and clones share the pool.
///
/// Its runtime has one thread, which ends with the last clone and the last response. Calls come from
/// any thread outside an async runtime, and inside one from `spawn_blocking` and `block_in_place`; in
/// async code they are refused, since they would block it.
///
/// ```no_run
/// # fn main() -> keepwarm::Result<()> {
/// let client = keepwarm::blocking::Client::build(keepwarm::Client::builder().gzip(true))?;
/// let response = client.get("http://127.0.0.1:8081/data").send()?.error_for_status()?;
/// println!("{} {}", response.status(), response.text()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: AsyncClient,
    runtime: Arc<Runtime>,
}

/// The thread that drives sockets and timers.
#[derive(Debug)]
struct Runtime {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> Result<Self> {
        let failed = |why: io::Error| {
            Error::failed(Stage::Request, why).with_message("no thread for a blocking client")
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("keepwarm-blocking".to_owned());
        // Ends when `end` is dropped.
        let thread = thread.spawn(move || drop(runtime.block_on(ended)));
        Ok(Self { handle, end: Some(end), thread: Some(thread.map_err(failed)?) })
    }

    /// Blocks this thread until the future is done.
    fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        if is_async_code() {
            return Err(Error::invalid(
                "a blocking call inside an async runtime would block it; use keepwarm::Client, or \
                 tokio::task::spawn_blocking",
            ));
        }
        self.handle.block_on(future)
    }
}

/// Returns true where blocking would hold up a runtime's tasks: in the poll of a future, and not on
/// the threads of `spawn_blocking` or within `block_in_place`, which have a runtime too.
///
/// tokio gives each poll of a task, and of the future of `block_on`, a budget of 128 operations.
/// Code that may block has no budget. So a future that only consumes budget becomes pending in the
/// first case, and never in the second.
fn is_async_code() -> bool {
    const MORE_THAN_A_BUDGET: usize = 256;
    let used = || {
        let mut step = std::pin::pin!(tokio::task::coop::consume_budget());
        step.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    Handle::try_current().is_ok() && !(0..MORE_THAN_A_BUDGET).all(|_| used())
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && Handle::try_current().is_err()
        {
            // A panic of that thread is not this drop's to report.
            drop(thread.join());
        }
    }
}

impl Client {
    /// Makes a client with the default settings.
    ///
    /// # Errors
    ///
    /// The thread or its runtime cannot be made.
    pub fn new() -> Result<Self> {
        Self::build(ClientBuilder::new())
    }

    /// Makes a client of these settings.
    ///
    /// # Errors
    ///
    /// Errors of [`ClientBuilder::build`] and of [`new`](Self::new).
    pub fn build(settings: ClientBuilder) -> Result<Self> {
        Ok(Self { inner: settings.build()?, runtime: Arc::new(Runtime::start()?) })
    }

    /// Returns the async client below, for its statistics and settings.
    #[must_use]
    pub const fn inner(&self) -> &AsyncClient {
        &self.inner
    }

    /// Makes a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Makes a HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Makes a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Makes a PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Makes a PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Makes a DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Makes a request, see [`Client::request`](crate::Client::request).
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        let inner = self.inner.request(method, url);
        RequestBuilder { inner, runtime: Arc::clone(&self.runtime) }
    }

    /// Sends a request that was built.
    ///
    /// # Errors
    ///
    /// Errors of [`RequestBuilder::send`].
    pub fn execute(&self, request: Request) -> Result<Response> {
        let inner = self.runtime.wait(self.inner.execute(request))?;
        Ok(Response { inner: Some(inner), runtime: Arc::clone(&self.runtime), rest: Bytes::new() })
    }
}

/// A request in the making, as [`RequestBuilder`](crate::RequestBuilder).
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    inner: AsyncRequestBuilder,
    runtime: Arc<Runtime>,
}

impl RequestBuilder {
    fn with(self, change: impl FnOnce(AsyncRequestBuilder) -> AsyncRequestBuilder) -> Self {
        Self { inner: change(self.inner), runtime: self.runtime }
    }

    /// Adds a header field.
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.with(|request| request.header(name, value))
    }

    /// Sets header fields.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers(headers))
    }

    /// Adds pairs to the query.
    pub fn query(self, pairs: impl IntoIterator<Item: Pair>) -> Self {
        self.with(|request| request.query(pairs))
    }

    /// Sets the body to pairs, encoded as a form.
    pub fn form(self, pairs: impl IntoIterator<Item: Pair>) -> Self {
        self.with(|request| request.form(pairs))
    }

    /// Sets the body to a value as JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Self {
        self.with(|request| request.json(value))
    }

    /// Sets user and password.
    pub fn basic_auth<U: std::fmt::Display, P: std::fmt::Display>(
        self,
        user: U,
        password: Option<P>,
    ) -> Self {
        self.with(|request| request.basic_auth(user, password))
    }

    /// Sets a token.
    pub fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        self.with(|request| request.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|request| request.body(body))
    }

    /// Sets the body to a form of several parts.
    #[cfg(feature = "multipart")]
    pub fn multipart(self, form: crate::multipart::Form) -> Self {
        self.with(|request| request.multipart(form))
    }

    /// Sets the time that the request may take in all.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// Sets the longest time without a byte in either direction.
    pub fn stall_timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.stall_timeout(timeout))
    }

    /// Sets which redirects are followed.
    pub fn redirect(self, policy: RedirectPolicy) -> Self {
        self.with(|request| request.redirect(policy))
    }

    /// Sets the proxy.
    pub fn proxy(self, proxy: Proxy) -> Self {
        self.with(|request| request.proxy(proxy))
    }

    /// Builds the request.
    ///
    /// # Errors
    ///
    /// Errors of [`RequestBuilder::build`](crate::RequestBuilder::build).
    pub fn build(self) -> Result<Request> {
        self.inner.build()
    }

    /// Sends the request, and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// Errors of [`RequestBuilder::send`](crate::RequestBuilder::send), and
    /// [`is_invalid`](Error::is_invalid) inside an async runtime.
    pub fn send(self) -> Result<Response> {
        let Self { inner, runtime } = self;
        // Made within, since `send` may look for its runtime.
        let inner = runtime.wait(async { inner.send().await })?;
        Ok(Response { inner: Some(inner), runtime, rest: Bytes::new() })
    }
}

/// A response, whose body is read by blocking calls, or as a [`Read`](io::Read). Status, headers and
/// all that does not wait are those of [`Response`](crate::Response).
#[derive(Debug)]
pub struct Response {
    /// `None` once the body has been taken.
    inner: Option<AsyncResponse>,
    runtime: Arc<Runtime>,
    /// Bytes that were read and not given yet.
    rest: Bytes,
}

impl Deref for Response {
    type Target = AsyncResponse;

    fn deref(&self) -> &AsyncResponse {
        self.inner.as_ref().expect("a response is there until a call has consumed it")
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // The rest of the body is drained in the background, by the runtime.
        let _inside = self.runtime.handle.enter();
        self.inner = None;
    }
}

impl Response {
    fn take(mut self) -> (AsyncResponse, Arc<Runtime>) {
        let inner = self.inner.take().expect("a response is there until a call has consumed it");
        (inner, Arc::clone(&self.runtime))
    }

    /// Returns an error if the status is one.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::error_for_status`](crate::Response::error_for_status).
    pub fn error_for_status(self) -> Result<Self> {
        self.error_for_status_ref()?;
        Ok(self)
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::bytes`](crate::Response::bytes).
    pub fn bytes(self) -> Result<Bytes> {
        let (inner, runtime) = self.take();
        runtime.wait(inner.bytes())
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::bytes_up_to`](crate::Response::bytes_up_to).
    pub fn bytes_up_to(self, limit: usize) -> Result<Bytes> {
        let (inner, runtime) = self.take();
        runtime.wait(inner.bytes_up_to(limit))
    }

    /// Reads the whole body as text.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::text`](crate::Response::text).
    pub fn text(self) -> Result<String> {
        let (inner, runtime) = self.take();
        runtime.wait(inner.text())
    }

    /// Reads the whole body, and converts it from JSON.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::json`](crate::Response::json).
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let (inner, runtime) = self.take();
        runtime.wait(inner.json())
    }

    /// Reads the next piece of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// Errors of [`Response::chunk`](crate::Response::chunk).
    pub fn chunk(&mut self) -> Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let inner = self.inner.as_mut().expect("a response is there until a call has consumed it");
        self.runtime.wait(inner.chunk())
    }
}

impl io::Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunk().map_err(io::Error::other)? {
                None => return Ok(0),
                Some(chunk) => self.rest = chunk,
            }
        }
        let length = self.rest.len().min(buf.len());
        buf[..length].copy_from_slice(&self.rest[..length]);
        self.rest.advance(length);
        Ok(length)
    }
}
