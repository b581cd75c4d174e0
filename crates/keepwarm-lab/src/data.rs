//! The data service: the upstream of the experiment.

use axum::Router;
use axum::routing::get;

use crate::blueprint::Blueprint;

/// What `GET /data` answers.
pub const BODY: &str = "Data OK.";

/// The whole service: `GET /data`, 405 for other methods there, 404 elsewhere.
pub fn router() -> Router {
    blueprint().register(Router::new())
}

fn blueprint() -> Blueprint {
    Blueprint::new(Router::new().route("/data", get(async || BODY)))
}
