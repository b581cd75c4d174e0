//! What a connector and a resolver of your own are asked for.
//!
//! Both are [tower](tower_service) services that a client is given once, by
//! [`ClientBuilder::connector`](crate::ClientBuilder::connector) and
//! [`ClientBuilder::resolver`](crate::ClientBuilder::resolver). Dials belong to the pool: a service is
//! cloned for each of them, made ready and called once, in a task of the pool's on the runtime of a
//! request that waits. The request that caused the dial may be served otherwise, or be dropped; the
//! dial goes on, and its connection serves the next one. The future is dropped when
//! [`connect_timeout`](crate::ClientBuilder::connect_timeout) passes or the client ends. A panic
//! fails the dial, and nothing else.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tower_service::Service;

use crate::error::{BoxError, Result};
use crate::wire::origin_key::{OriginKey, Scheme};
use crate::wire::stream::{Io, Stream, words_of};

/// Addresses of one name that are tried at most: a resolver's list need not end.
const MAX_ADDRESSES: usize = 64;

/// Where a connector is to connect to: the origin of a URL.
///
/// For `https` the connector gives the stream below TLS, as for `http`; the client shakes hands on
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(Arc<OriginKey>);

impl Destination {
    pub(crate) fn new(key: &OriginKey) -> Self {
        Self(Arc::new(key.clone()))
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.scheme().name()
    }

    /// Whether the client will shake hands on the stream.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == Scheme::Https
    }

    /// A name in lower case, or an address; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// The port, also where the URL leaves it to the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

impl fmt::Display for Destination {
    /// As origins are named in [`Stats`](crate::Stats): `scheme://host:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name that a resolver is to find the addresses of: the host of a URL, in lower case, and never
/// an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

impl Name {
    pub(crate) fn new(host: &str) -> Self {
        Self(host.into())
    }

    /// The name.
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

/// A service of somebody else's. Of its type only the question and the answer are left.
pub(crate) struct Hook<Q, A> {
    what: &'static str,
    service: Arc<Mutex<Box<dyn Ask<Q, A>>>>,
}

type Asked<A> = Pin<Box<dyn Future<Output = Result<A, BoxError>> + Send>>;

trait Ask<Q, A>: Send {
    fn clone_box(&self) -> Box<dyn Ask<Q, A>>;
    fn ask(self: Box<Self>, question: Q) -> Asked<A>;
}

struct Typed<S, R, A> {
    service: S,
    convert: fn(R) -> A,
}

impl<Q, A, S> Ask<Q, A> for Typed<S, S::Response, A>
where
    Q: Send + 'static,
    A: 'static,
    S: Service<Q> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn clone_box(&self) -> Box<dyn Ask<Q, A>> {
        Box::new(Self { service: self.service.clone(), convert: self.convert })
    }

    fn ask(self: Box<Self>, question: Q) -> Asked<A> {
        let Self { mut service, convert } = *self;
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(question).await.map(convert).map_err(Into::into)
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
        let service: Box<dyn Ask<Q, A>> = Box::new(Typed { service, convert });
        Self { what, service: Arc::new(Mutex::new(service)) }
    }

    /// Asks a clone of the service. Its panic is an error.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, BoxError> {
        let mut asked = None;
        let mut question = Some(question);
        let mut step = move |cx: &mut std::task::Context<'_>| {
            let asked = asked.get_or_insert_with(|| {
                let question = question.take().expect("it is asked once");
                // A clone that panicked has not changed what it was to be cloned from.
                let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
                let service = service.clone_box();
                service.ask(question)
            });
            asked.as_mut().poll(cx)
        };
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| step(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                let words = format!("the {} panicked: {}", self.what, words_of(&*panic));
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
