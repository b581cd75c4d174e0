//! The client as a tower service: a limit, a timeout and a header are layers around it.
//! `cargo run --example tower_layers -- http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

use http::{HeaderValue, Request};
use keepwarm::{Body, Client};
use tower::{BoxError, Service as _, ServiceBuilder, ServiceExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let url = std::env::args().nth(1).ok_or("usage: tower_layers URL")?;
    let mut service = ServiceBuilder::new()
        .concurrency_limit(100)
        .timeout(Duration::from_secs(2))
        .map_request(|mut request: Request<Body>| {
            request.headers_mut().insert("x-request-id", HeaderValue::from_static("7"));
            request
        })
        .service(Client::new());
    let request = Request::get(url).body(Body::empty())?;
    let response = service.ready().await?.call(request).await?;
    println!("{}", response.status());
    Ok(())
}
