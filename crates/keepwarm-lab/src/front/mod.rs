//! The front service: the service under load.
//!
//! Each module of it makes a blueprint of its routes; [`router`] registers them.

mod account;
mod stresstest;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use crate::policy::Policy;
use crate::upstream::Upstream;

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    upstream: Arc<Upstream>,
}

/// The whole service: `GET /stresstest`, which calls `upstream` under `timeout` with a client built
/// after `policy`, and `GET /account` for what that client did.
///
/// # Errors
///
/// The upstream's URL or the timeout, if no request could ever succeed with it.
pub fn router(
    upstream: &str,
    policy: Policy,
    timeout: Duration,
) -> Result<Router, keepwarm::Error> {
    let context = Context { upstream: Arc::new(Upstream::new(upstream, policy, timeout)?) };
    let blueprints = [stresstest::blueprint(), account::blueprint()];
    let router =
        blueprints.into_iter().fold(Router::new(), |router, module| module.register(router));
    Ok(router.with_state(context))
}
