//! The data service: the upstream of the experiment.

use axum::Router;
use axum::routing::get;

/// The response body of `GET /data`.
pub const BODY: &str = "Data OK.";

/// Returns the whole service: `GET /data`, 405 for other methods there, 404 elsewhere.
pub fn router() -> Router {
    Router::new().route("/data", get(async || BODY))
}
