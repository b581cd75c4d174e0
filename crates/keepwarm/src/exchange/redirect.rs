//! Rules of redirects (RFC 9110, section 15.4): which one is followed, and what it changes in a
//! request.

use std::fmt;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::outgoing::Outgoing;
use crate::origin_key::OriginRef;
use crate::url::{printable, resolve};
use crate::wire::body::Body;

/// Reason why a redirect was not followed, and is the response.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client.get("http://127.0.0.1:8081/moved").send().await?;
/// if let Some(reason) = response.redirect_stopped() {
///     println!("{}: {reason}", response.status());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectStopped {
    /// As many redirects as [`max_redirects`](crate::ClientBuilder::max_redirects) allows were
    /// followed, and this is one more.
    TooMany {
        /// The limit.
        limit: u32,
    },
    /// The response has no `Location`, or an empty one.
    NoLocation,
    /// No request can be sent to the location.
    UnusableLocation {
        /// The location, without credentials, and the reason.
        reason: String,
    },
    /// The redirect asks for the same body again, which could be sent only once.
    BodySpent,
    /// The [`RedirectPolicy`](crate::RedirectPolicy) stopped here.
    ByPolicy,
}

impl fmt::Display for RedirectStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => write!(f, "{limit} redirects were followed before this one"),
            Self::NoLocation => f.write_str("the response has no Location"),
            Self::UnusableLocation { reason } => f.write_str(reason),
            Self::BodySpent => f.write_str("the body can be sent only once"),
            Self::ByPolicy => f.write_str("the redirect policy stopped here"),
        }
    }
}

/// The request that a redirect asks for, as far as it differs.
pub(super) struct Next {
    pub(super) uri: Uri,
    same_origin: bool,
    keeps_method: bool,
}

/// Reads a response: `None` if it is not a redirect; otherwise the request that it asks for, or why
/// that is not sent.
pub(super) fn next(
    outgoing: &Outgoing,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Result<Next, RedirectStopped>> {
    let keeps_method = keeps_method(status)?;
    Some(match headers.get(LOCATION) {
        None => Err(RedirectStopped::NoLocation),
        // It would lead to where it came from. Browsers and Go take it for none.
        Some(location) if location.is_empty() => Err(RedirectStopped::NoLocation),
        Some(_) if keeps_method && !outgoing.can_be_sent_again() => Err(RedirectStopped::BodySpent),
        Some(location) => target(&outgoing.uri, location.as_bytes())
            .map(|(uri, same_origin)| Next { uri, same_origin, keeps_method })
            .map_err(|reason| RedirectStopped::UnusableLocation { reason }),
    })
}

/// Changes a request into the next one.
pub(super) fn follow(outgoing: &mut Outgoing, next: Next) {
    if !next.keeps_method {
        drop_body(outgoing);
    }
    // A `Host` of the caller's own names a part of its origin; another origin gets its own.
    if !next.same_origin {
        for name in [&AUTHORIZATION, &COOKIE, &HOST, &PROXY_AUTHORIZATION, &WWW_AUTHENTICATE] {
            outgoing.headers.remove(name);
        }
    }
    outgoing.uri = next.uri;
}

/// Turns a request into a GET without a body; HEAD stays HEAD. Every client does so (RFC 9110,
/// 15.4.2 to 4).
fn drop_body(outgoing: &mut Outgoing) {
    if outgoing.method != Method::HEAD {
        outgoing.method = Method::GET;
    }
    outgoing.set_body(Body::empty());
    for name in [
        &CONTENT_TYPE,
        &CONTENT_ENCODING,
        &CONTENT_LANGUAGE,
        &CONTENT_LOCATION,
        &CONTENT_LENGTH,
        &TRANSFER_ENCODING,
    ] {
        outgoing.headers.remove(name);
    }
}

/// Returns true if this redirect repeats the method and the body; `None` for a status that is not a
/// redirect.
fn keeps_method(status: StatusCode) -> Option<bool> {
    match status.as_u16() {
        301..=303 => Some(false),
        307 | 308 => Some(true),
        _ => None,
    }
}

/// Returns the URI that a location leads to, and true if that is at the same origin; or else the
/// location and what is wrong with it.
fn target(from: &Uri, location: &[u8]) -> Result<(Uri, bool), String> {
    let next = resolve(from, location).and_then(|next| {
        let same_origin = OriginRef::of(&next)?.to_key() == OriginRef::of(from)?.to_key();
        Ok((next, same_origin))
    });
    next.map_err(|why| {
        format!("location {:?}: {why}", printable(&String::from_utf8_lossy(location)))
    })
}
