//! The front service: the service under load.
//!
//! Each module of it makes a [`Blueprint`](crate::blueprint::Blueprint); [`router`] merges them.

mod account;
mod stresstest;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use crate::policy::Policy;
use crate::upstream::Upstream;

/// How long one call of the upstream may take: the post's 100 ms.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_millis(100);

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    upstream: Arc<Upstream>,
}

/// The whole service: `GET /stresstest`, and `GET /account` for what its client did.
///
/// # Errors
///
/// The upstream's URL, if no request could ever be sent to it.
pub fn router(upstream: &str, policy: Policy) -> Result<Router, keepwarm::Error> {
    let context = Context {
        upstream: Arc::new(Upstream::new(upstream, policy)?),
    };
    let blueprints = [stresstest::blueprint(), account::blueprint()];
    let router = blueprints
        .into_iter()
        .fold(Router::new(), |router, module| module.register(router));
    Ok(router.with_state(context))
}
