//! The client as a tower service: one request and its response, safe for concurrent use. Go's
//! `RoundTripper`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tower_service::Service;

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{BoxError, Error, Result};
use crate::exchange::cookies;
use crate::exchange::decoding::decode;
use crate::exchange::outgoing::Outgoing;
use crate::exchange::response_body::ResponseBody;
use crate::exchange::round_trip::RoundTrip;
use crate::wire::body::Body;

/// The future of a [`Client`] used as a service.
type CallFuture = Pin<Box<dyn Future<Output = Result<http::Response<ResponseBody>>> + Send>>;

impl<B> Service<http::Request<B>> for Client
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Error;
    type Future = CallFuture;

    /// Returns `Ready` always: the request itself waits for a connection, in a queue and under a
    /// timeout.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends one request. Redirects are not followed; the response carries a
    /// [`ConnectionInfo`](crate::ConnectionInfo) among its extensions.
    fn call(&mut self, request: http::Request<B>) -> CallFuture {
        let client = self.clone();
        let mut outgoing = Outgoing::of(request.map(into_body));
        Box::pin(async move {
            let origins = client.origins();
            outgoing.prepare(origins.shared().policy.as_deref())?;
            let mut deadline = Deadline::after(origins.shared().settings.timeout);
            let policy = origins.shared().policy.as_deref();
            let with_cookies = cookies::add(policy, &mut outgoing);
            let mut trip = RoundTrip::begin(origins, &mut outgoing)?;
            poll_fn(|cx| trip.poll(&mut outgoing, &mut deadline, cx)).await?;
            cookies::store(policy, &mut outgoing, with_cookies, &trip.head().headers);
            let mut received = trip.receive(deadline);
            decode(&outgoing, &mut received);
            Ok(received.into_http())
        })
    }
}

/// Passes our own `Body` through unchanged, so an empty or replayable body stays so.
fn into_body<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut body = Some(body);
    let any: &mut dyn std::any::Any = &mut body;
    if let Some(own) = any.downcast_mut::<Option<Body>>() {
        return own.take().unwrap_or_default();
    }
    match body {
        Some(body) if !body.is_end_stream() => Body::stream(body),
        _ => Body::empty(),
    }
}
