//! `GET /account`: the client's account of its connections to the upstream, as JSON.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Context;

pub(super) fn routes() -> Router<Context> {
    Router::new().route("/account", get(account))
}

async fn account(State(context): State<Context>) -> Response {
    match serde_json::to_string(&context.upstream.account()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
