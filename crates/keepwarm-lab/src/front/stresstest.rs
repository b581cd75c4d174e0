//! `GET /stresstest`: fetches the data and writes it back.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Context;

pub(super) fn routes() -> Router<Context> {
    Router::new().route("/stresstest", get(stresstest))
}

/// Answers 200 with the upstream's body; 504 if the upstream took too long; 502 with the cause for
/// every other failure.
async fn stresstest(State(context): State<Context>) -> Response {
    match context.upstream.fetch().await {
        Ok(reply) if reply.status == StatusCode::OK => reply.body.into_response(),
        Ok(reply) => {
            let cause = format!("upstream answered {}\n", reply.status.as_u16());
            (StatusCode::BAD_GATEWAY, cause).into_response()
        }
        Err(error) if error.is_timeout() => {
            (StatusCode::GATEWAY_TIMEOUT, format!("{error}\n")).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}
