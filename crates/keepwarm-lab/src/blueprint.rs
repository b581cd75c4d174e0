//! A module's own set of routes, made by the module and registered by the main program.

use axum::Router;

/// Routes of one module.
///
/// A module makes its blueprint without knowing where it will be mounted; the program registers the
/// blueprints it wants. State that the handlers need is given once all are registered.
#[derive(Debug)]
pub(crate) struct Blueprint<S = ()>(Router<S>);

impl<S: Clone + Send + Sync + 'static> Blueprint<S> {
    pub(crate) const fn new(routes: Router<S>) -> Self {
        Self(routes)
    }

    /// Adds this blueprint's routes to a router. A route that two blueprints claim is a programming
    /// error, and panics at start-up.
    pub(crate) fn register(self, router: Router<S>) -> Router<S> {
        router.merge(self.0)
    }
}
