//! A service that answers from another one: `service_keepwarm UPSTREAM`, on port 8080.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use keepwarm::Client;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Item {
    id: u64,
    name: String,
}

#[derive(Clone)]
struct App {
    client: Client,
    upstream: String,
}

async fn item(State(app): State<App>, Path(id): Path<u64>) -> Result<Json<Item>, StatusCode> {
    let url = format!("{}/items/{id}", app.upstream);
    let request = app.client.get(url).bearer_auth("token").timeout(Duration::from_millis(500));
    let response = request.send().await.map_err(status)?.error_for_status().map_err(status)?;
    response.json().await.map(Json).map_err(status)
}

fn status(error: keepwarm::Error) -> StatusCode {
    match error.status() {
        Some(StatusCode::NOT_FOUND) => StatusCode::NOT_FOUND,
        _ if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8081".to_owned());
    let client = Client::builder().user_agent("service/1").build()?;
    let app = Router::new().route("/items/{id}", get(item)).with_state(App { client, upstream });
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await?;
    Ok(())
}
