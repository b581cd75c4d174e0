//! Rules of redirects (RFC 9110, section 15.4): which one is followed, and what it changes in a
//! request.

use std::fmt;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::outgoing::Outgoing;
use crate::error::BoxError;
use crate::origin_key::OriginRef;
use crate::url::{self, printable, scheme_length};
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
    /// The response has no `Location`.
    NoLocation,
    /// No request can be sent to the location.
    UnusableLocation {
        /// The location, without credentials, and the reason.
        reason: String,
    },
    /// The redirect asks for the same body again, which could be sent only once.
    BodySpent,
}

impl fmt::Display for RedirectStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => write!(f, "{limit} redirects were followed before this one"),
            Self::NoLocation => f.write_str("the response has no Location"),
            Self::UnusableLocation { reason } => f.write_str(reason),
            Self::BodySpent => f.write_str("the body can be sent only once"),
        }
    }
}

/// The request that a redirect asks for, as far as it differs.
pub(super) struct Next {
    uri: Uri,
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

/// Resolves a location against the URI of the redirect: absolute, scheme-relative, absolute path,
/// query, or relative path (RFC 3986, 5.2). A fragment is not sent, and bytes that may not stand in
/// a URI are encoded, as in the URL of a request.
fn resolve(base: &Uri, location: &[u8]) -> Result<Uri, BoxError> {
    let location = &*url::encode(location)?;
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let path = base.path();
    let absolute = if scheme_length(location.as_bytes()).is_some() {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{}", remove_dot_segments(location))
    } else if location.is_empty() {
        base.to_string()
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{}", remove_dot_segments(&format!("{directory}/{location}")))
    };
    Ok(absolute.parse()?)
}

/// Removes dot segments (RFC 3986, 5.2.4) from the path only: a query is left unchanged.
fn remove_dot_segments(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, location: &str) -> String {
        resolve(&base.parse().unwrap(), location.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn locations_resolve_against_the_base() {
        let base = "http://host:8080/a/b?q=1";
        for (location, expected) in [
            ("http://other/x", "http://other/x"),
            ("//other/x", "http://other/x"),
            ("/x?y#z", "http://host:8080/x?y"),
            ("x", "http://host:8080/a/x"),
            ("../x", "http://host:8080/x"),
            ("../../../x", "http://host:8080/x"),
            ("./", "http://host:8080/a/"),
            ("?p=2", "http://host:8080/a/b?p=2"),
            ("", "http://host:8080/a/b?q=1"),
            ("x:y/z", "x:y/z"),
        ] {
            if location == "x:y/z" {
                assert!(
                    resolve(&base.parse().unwrap(), location.as_bytes()).is_err(),
                    "no such scheme form"
                );
                continue;
            }
            assert_eq!(resolved(base, location), expected, "{location}");
        }
    }
}
