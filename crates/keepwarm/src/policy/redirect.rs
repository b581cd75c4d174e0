//! The choice of the redirects that are followed: a limit, and a function of the caller's.
//!
//! Owns the caller's choice. The rules of RFC 9110 on what a redirect changes are in
//! `exchange::redirect`.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri};

use crate::error::BoxError;

/// The redirects that are followed: at most a number of them, and those that a function of the
/// caller allows. Go: `Client.CheckRedirect`. reqwest: `redirect::Policy`.
///
/// Set for a client by [`redirect_policy`](crate::ClientBuilder::redirect_policy), for one request by
/// [`redirect`](crate::RequestBuilder::redirect).
///
/// ```
/// use keepwarm::{RedirectAction, RedirectPolicy};
///
/// # fn main() -> keepwarm::Result<()> {
/// // Only within one host, and with a header of its own on each hop.
/// let policy = RedirectPolicy::custom(|redirect| {
///     let first = redirect.hops()[0].url().host().map(str::to_owned);
///     if redirect.url().host() != first.as_deref() {
///         return RedirectAction::Stop;
///     }
///     let hop = redirect.hops().len().into();
///     redirect.headers_mut().insert("x-hop", hop);
///     RedirectAction::Follow
/// });
/// let client = keepwarm::Client::builder().redirect_policy(policy).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RedirectPolicy {
    limit: Option<u32>,
    judge: Option<Judge>,
}

/// A caller's function that decides on redirects.
#[derive(Clone)]
pub(crate) struct Judge(Arc<JudgeFn>);

type JudgeFn = dyn Fn(&mut Redirect<'_>) -> RedirectAction + Send + Sync;

impl Judge {
    pub(crate) fn decide(&self, redirect: &mut Redirect<'_>) -> RedirectAction {
        (self.0)(redirect)
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

impl RedirectPolicy {
    /// Follows at most this number of redirects. With zero the first redirect is the response.
    #[must_use]
    pub const fn limited(limit: u32) -> Self {
        Self { limit: Some(limit), judge: None }
    }

    /// Follows none: the redirect is the response.
    #[must_use]
    pub const fn none() -> Self {
        Self::limited(0)
    }

    /// Asks a function about each redirect that could be followed. The client's
    /// [`max_redirects`](crate::ClientBuilder::max_redirects) bounds their number, unless
    /// [`with_limit`](Self::with_limit) sets another bound.
    ///
    /// The task of the request calls the function, so it should be quick.
    #[must_use]
    pub fn custom(
        judge: impl Fn(&mut Redirect<'_>) -> RedirectAction + Send + Sync + 'static,
    ) -> Self {
        Self { limit: None, judge: Some(Judge(Arc::new(judge))) }
    }

    /// Sets the number of redirects that are followed at most.
    #[must_use]
    pub const fn with_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) const fn limit(&self) -> Option<u32> {
        self.limit
    }

    pub(crate) const fn judge(&self) -> Option<&Judge> {
        self.judge.as_ref()
    }
}

/// Decision on one redirect.
///
/// ```
/// use keepwarm::{RedirectAction, RedirectPolicy};
///
/// let policy = RedirectPolicy::custom(|redirect| match redirect.url().scheme_str() {
///     Some("https") => RedirectAction::Follow,
///     _ => RedirectAction::Refuse("only https".into()),
/// });
/// # drop(policy);
/// ```
#[derive(Debug)]
pub enum RedirectAction {
    /// Sends the next request.
    Follow,
    /// Returns the redirect as the response, with its body to read. Go: `http.ErrUseLastResponse`.
    Stop,
    /// Fails the request with this cause, see [`Error::is_redirect`](crate::Error::is_redirect).
    Refuse(BoxError),
}

/// A redirect that could be followed: the hops so far, and the next request, whose header fields may
/// be changed.
///
/// Credentials that must not go to another origin have been removed; a field that the function adds
/// is sent.
///
/// ```
/// let policy = keepwarm::RedirectPolicy::custom(|redirect| {
///     println!("{} leads to {} {}", redirect.status(), redirect.method(), redirect.url());
///     keepwarm::RedirectAction::Follow
/// });
/// # drop(policy);
/// ```
#[derive(Debug)]
pub struct Redirect<'a> {
    pub(crate) hops: &'a [Hop],
    pub(crate) status: StatusCode,
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Uri,
    pub(crate) headers: &'a mut HeaderMap,
}

impl Redirect<'_> {
    /// Returns the requests so far, the first one first; never empty. Go: `via`.
    #[must_use]
    pub const fn hops(&self) -> &[Hop] {
        self.hops
    }

    /// Returns the status of the redirect.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the method of the next request.
    #[must_use]
    pub const fn method(&self) -> &Method {
        self.method
    }

    /// Returns the URL of the next request.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        self.url
    }

    /// Returns the header fields of the next request.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// Returns the header fields of the next request, to be changed.
    pub const fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers
    }
}

/// A request that was answered by a redirect.
///
/// ```
/// let policy = keepwarm::RedirectPolicy::custom(|redirect| {
///     for hop in redirect.hops() {
///         println!("{} {}", hop.method(), hop.url());
///     }
///     keepwarm::RedirectAction::Follow
/// });
/// # drop(policy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub(crate) method: Method,
    pub(crate) url: Uri,
}

impl Hop {
    /// Returns the method of the request.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URL of the request.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        &self.url
    }
}
