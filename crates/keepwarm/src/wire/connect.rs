//! Requests that a connector and a resolver of your own receive.
//!
//! Both are [tower](tower_service) services that a client is given once, by
//! [`ClientBuilder::connector`](crate::ClientBuilder::connector) and
//! [`ClientBuilder::resolver`](crate::ClientBuilder::resolver). Dials belong to the pool: for each
//! dial the service is cloned, made ready and called once, in a task of the pool on the runtime of
//! a request that waits. The request that caused the dial may be served by another connection, or
//! be dropped; the dial goes on, and its connection serves the next request. The future is dropped
//! when [`connect_timeout`](crate::ClientBuilder::connect_timeout) passes or the client ends. A
//! panic fails the dial, and nothing else.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tower_service::Service;

use crate::error::{BoxError, Result, panic_message};
use crate::origin_key::{OriginKey, Scheme};
use crate::wire::stream::{Io, Stream};

/// Limit on the addresses of one name that are tried: a resolver's list need not end.
const MAX_ADDRESSES: usize = 64;

/// The origin that a connector is to connect to.
///
/// For `https` the connector returns the stream below TLS, as for `http`; the client does the
/// handshake on that stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(Arc<OriginKey>);

impl Destination {
    pub(crate) fn new(key: &OriginKey) -> Self {
        Self(Arc::new(key.clone()))
    }

    /// Returns `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.scheme().name()
    }

    /// Returns true if the client will do a TLS handshake on the stream.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == Scheme::Https
    }

    /// Returns a name in lower case, or an address; an IPv6 address without its brackets, and with
    /// its zone if the URL has one: `fe80::1%eth0`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// Returns the port, also where the URL leaves it to the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

impl fmt::Display for Destination {
    /// Writes `scheme://host:port`, the name of the origin in [`Stats`](crate::Stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name for which a resolver is to find addresses: the host of a URL, in lower case, and never an
/// address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

impl Name {
    pub(crate) fn new(host: &str) -> Self {
        Self(host.into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connector of the caller's, its types erased.
pub(crate) type Connector = Hook<Destination, Stream>;

/// A resolver of the caller's, its types erased.
pub(crate) type Resolver = Hook<Name, Vec<SocketAddr>>;

/// A caller's service with its type erased: only request and response types are left.
pub(crate) struct Hook<Q, A> {
    what: &'static str,
    service: Arc<Mutex<Box<dyn AnyService<Q, A>>>>,
}

type ServiceFuture<A> = Pin<Box<dyn Future<Output = Result<A, BoxError>> + Send>>;

trait AnyService<Q, A>: Send {
    fn clone_box(&self) -> Box<dyn AnyService<Q, A>>;
    fn call(self: Box<Self>, request: Q) -> ServiceFuture<A>;
}

struct Typed<S, R, A> {
    service: S,
    convert: fn(R) -> A,
}

impl<Q, A, S> AnyService<Q, A> for Typed<S, S::Response, A>
where
    Q: Send + 'static,
    A: 'static,
    S: Service<Q> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn clone_box(&self) -> Box<dyn AnyService<Q, A>> {
        Box::new(Self { service: self.service.clone(), convert: self.convert })
    }

    fn call(self: Box<Self>, request: Q) -> ServiceFuture<A> {
        let Self { mut service, convert } = *self;
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(request).await.map(convert).map_err(Into::into)
        })
    }
}

impl<Q: Send + 'static, A: 'static> Hook<Q, A> {
    fn new<S>(what: &'static str, service: S, convert: fn(S::Response) -> A) -> Self
    where
        S: Service<Q> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let service: Box<dyn AnyService<Q, A>> = Box::new(Typed { service, convert });
        Self { what, service: Arc::new(Mutex::new(service)) }
    }

    /// Calls a clone of the service. Its panic is an error.
    pub(crate) async fn call(&self, request: Q) -> Result<A, BoxError> {
        let mut future = None;
        let mut request = Some(request);
        let mut step = move |cx: &mut std::task::Context<'_>| {
            let future = future.get_or_insert_with(|| {
                let request = request.take().expect("the service is called once");
                // A panic while cloning has not changed the original.
                let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
                let service = service.clone_box();
                service.call(request)
            });
            future.as_mut().poll(cx)
        };
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| step(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                let words = format!("the {} panicked: {}", self.what, panic_message(&*panic));
                Poll::Ready(Err(words.into()))
            }
        })
        .await
    }
}

impl Connector {
    pub(crate) fn connector<S>(service: S) -> Self
    where
        S: Service<Destination> + Clone + Send + 'static,
        S::Response: Io + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self::new("connector", service, Stream::foreign)
    }
}

impl Resolver {
    pub(crate) fn resolver<S>(service: S) -> Self
    where
        S: Service<Name> + Clone + Send + 'static,
        S::Response: IntoIterator<Item = SocketAddr>,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let list = |found: S::Response| found.into_iter().take(MAX_ADDRESSES).collect();
        Self::new("resolver", service, list)
    }
}

impl<Q, A> Clone for Hook<Q, A> {
    fn clone(&self) -> Self {
        Self { what: self.what, service: Arc::clone(&self.service) }
    }
}

impl<Q, A> fmt::Debug for Hook<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}
