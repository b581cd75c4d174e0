//! Layers of tower and tower-http over the client, as docs/layers.md lists them: `cargo run --example
//! layers -- URL`. `tests/layers.rs` holds them against real sockets.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::HeaderValue;
use http::header::{ACCEPT, RETRY_AFTER};
use http_body_util::BodyExt as _;
use keepwarm::{Body, BoxError, Client, ResponseBody};
use tower::retry::{Policy, RetryLayer};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::set_header::SetRequestHeaderLayer;
use tower_http::trace::TraceLayer;

pub(crate) type Asked = http::Request<Body>;
pub(crate) type Answered = http::Response<ResponseBody>;

/// Copies a request whose body can be sent again.
pub(crate) fn copy(request: &Asked) -> Option<Asked> {
    let mut copy = http::Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Sends a request again after 429 or 503, so many times, and as late as `Retry-After` says.
#[derive(Clone, Debug)]
pub(crate) struct OnBusy(pub(crate) u32);

impl<E> Policy<Asked, Answered, E> for OnBusy {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(&mut self, _: &mut Asked, result: &mut Result<Answered, E>) -> Option<Self::Future> {
        let response = result.as_ref().ok()?;
        let is_busy = matches!(response.status().as_u16(), 429 | 503);
        self.0 = self.0.checked_sub(1).filter(|_| is_busy)?;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
        // The server's word is bounded: a request does not sleep for an hour.
        let pause = Duration::from_secs(seconds).min(Duration::from_secs(5));
        Some(Box::pin(tokio::time::sleep(pause)))
    }

    fn clone_request(&mut self, request: &Asked) -> Option<Asked> {
        copy(request)
    }
}

/// Hedges what may be sent twice.
#[derive(Clone, Debug)]
pub(crate) struct SafeMethods;

impl tower::hedge::Policy<Asked> for SafeMethods {
    fn clone_request(&self, request: &Asked) -> Option<Asked> {
        copy(request)
    }

    fn can_retry(&self, request: &Asked) -> bool {
        request.method().is_safe()
    }
}

/// Makes a client that sends a second request when the first is slower than nine in ten were.
pub(crate) fn hedged(client: Client) -> tower::hedge::Hedge<Client, SafeMethods> {
    let (known, percentile, period) = (10, 0.9, Duration::from_secs(10));
    tower::hedge::Hedge::new(client, SafeMethods, known, percentile, period)
}

/// Gets a URL through all of the layers. The pool, decompression, cookies and proxies are those of
/// the client beneath them.
pub(crate) async fn get(client: Client, url: &str) -> Result<(u16, String), BoxError> {
    let mut service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(FollowRedirectLayer::new())
        .layer(SetRequestHeaderLayer::if_not_present(
            ACCEPT,
            HeaderValue::from_static("application/json"),
        ))
        .timeout(Duration::from_secs(10))
        .layer(RetryLayer::new(OnBusy(3)))
        .service(client);
    let request = http::Request::get(url).body(Body::empty())?;
    let response = service.ready().await?.call(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "a test reads the rest of this file as a module")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let url = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8081/data".to_owned());
    let client = Client::new();
    println!("{:?}", get(client.clone(), &url).await?);
    let mut hedged = hedged(client);
    let response = hedged.ready().await?.call(http::Request::get(url).body(Body::empty())?).await?;
    println!("{}", response.status());
    Ok(())
}
