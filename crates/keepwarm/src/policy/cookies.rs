//! Cookies: the store that a client asks at each hop, and a jar for it.
//!
//! Owns the trait, and the rules of RFC 6265bis that `cookie_store` leaves to its caller: public
//! suffixes, prefixes, secure origins, sizes, numbers, order, lifetimes, and the mending of what
//! its parser breaks.

use std::fmt;

use http::{HeaderValue, Uri};

#[cfg(feature = "cookies")]
pub use jar::Jar;

#[cfg(feature = "cookies")]
mod jar;
#[cfg(feature = "cookies")]
mod set_cookie;

/// A store of cookies. Go: `http.CookieJar`. reqwest: `cookie::CookieStore`.
///
/// A client asks it before each request, and tells it of each response, redirects included. It may
/// be shared by clients.
///
/// ```
/// use std::sync::Mutex;
///
/// use keepwarm::http::{HeaderValue, Uri};
///
/// /// Sends back the last cookie, whatever it is.
/// #[derive(Debug, Default)]
/// struct Last(Mutex<Option<HeaderValue>>);
///
/// impl keepwarm::CookieStore for Last {
///     fn store(&self, _: &Uri, set_cookie: &mut dyn Iterator<Item = &HeaderValue>) {
///         if let Some(value) = set_cookie.last() {
///             *self.0.lock().expect("no panic") = Some(value.clone());
///         }
///     }
///
///     fn cookies(&self, _: &Uri) -> Option<HeaderValue> {
///         self.0.lock().expect("no panic").clone()
///     }
/// }
///
/// # fn main() -> keepwarm::Result<()> {
/// let client = keepwarm::Client::builder().cookie_store(Last::default()).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
pub trait CookieStore: fmt::Debug + Send + Sync + 'static {
    /// Stores the values of `Set-Cookie` of a response from this URL.
    fn store(&self, url: &Uri, set_cookie: &mut dyn Iterator<Item = &HeaderValue>);

    /// Returns the value of `Cookie` for a request to this URL; `None` if there is no cookie.
    fn cookies(&self, url: &Uri) -> Option<HeaderValue>;
}

impl<S: CookieStore + ?Sized> CookieStore for std::sync::Arc<S> {
    fn store(&self, url: &Uri, set_cookie: &mut dyn Iterator<Item = &HeaderValue>) {
        (**self).store(url, set_cookie);
    }

    fn cookies(&self, url: &Uri) -> Option<HeaderValue> {
        (**self).cookies(url)
    }
}
