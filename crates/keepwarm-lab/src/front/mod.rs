//! The front service: the service under load. Each module makes the routes of its own, and
//! [`router`] merges them. A route that two modules claim is a programming error, and panics at
//! start-up.

mod account;
mod stresstest;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use crate::policy::Policy;
use crate::upstream::Upstream;

/// State that the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    upstream: Arc<Upstream>,
}

/// Returns the whole service: `GET /stresstest`, which calls `upstream` under `timeout` with a
/// client built after `policy`, and `GET /account`, which reports what that client did.
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
    Ok(stresstest::routes().merge(account::routes()).with_state(context))
}
