//! A service that calls another one. The client is state of the router, built once: a client built in
//! the handler would open a connection for each request.
//! `cargo run --example axum_handler -- 127.0.0.1:8080 http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use keepwarm::Client;

struct Upstream {
    client: Client,
    url: String,
}

async fn handler(State(upstream): State<Arc<Upstream>>) -> Result<String, (StatusCode, String)> {
    let answer = async {
        let response = upstream.client.get(&upstream.url).send().await?;
        response.text().await
    };
    answer.await.map_err(|error| match error.is_timeout() {
        true => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        false => (StatusCode::BAD_GATEWAY, error.to_string()),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: axum_handler ADDRESS URL";
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or(usage)?;
    let url = arguments.next().ok_or(usage)?;
    let client = Client::builder().timeout(Duration::from_millis(100)).build()?;
    let router =
        Router::new().route("/", get(handler)).with_state(Arc::new(Upstream { client, url }));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
