//! Rules of redirects (RFC 9110, section 15.4): which one is followed, and what it changes in a
//! request.

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::outgoing::Outgoing;
use crate::error::{BoxError, Error, Kind, Result, Stage};
use crate::origin_key::OriginRef;
use crate::url::{self, printable, scheme_length};
use crate::wire::body::Body;

/// Returns the location of a response if it is to be followed: a redirect with a location that does
/// not ask for a body that cannot be sent again.
pub(super) fn location<'a>(
    outgoing: &Outgoing,
    status: StatusCode,
    headers: &'a HeaderMap,
) -> Option<&'a HeaderValue> {
    let keeps_method = keeps_method(status)?;
    headers.get(LOCATION).filter(|_| !keeps_method || outgoing.can_be_sent_again())
}

/// Changes a request into the one that `location` asks for.
pub(super) fn follow(
    outgoing: &mut Outgoing,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<()> {
    let (next, same_origin) = target(&outgoing.uri, location.as_bytes())?;
    if keeps_method(status) == Some(false) {
        drop_body(outgoing);
    }
    if !same_origin {
        for name in [&AUTHORIZATION, &COOKIE, &PROXY_AUTHORIZATION, &WWW_AUTHENTICATE] {
            outgoing.headers.remove(name);
        }
    }
    // Made anew for each redirect.
    outgoing.headers.remove(HOST);
    outgoing.uri = next;
    Ok(())
}

/// Returns the error after the last redirect that may be followed: `from` has sent one more.
pub(super) fn too_many(limit: u32, from: Option<&Uri>, next: &Uri) -> Error {
    let message =
        format!("more than {limit} redirects, the last one to {:?}", printable(&next.to_string()));
    let error = Error::new(Stage::Redirect, Kind::Failed).with_message(message);
    match from.map(OriginRef::of) {
        Some(Ok(origin)) => error.at(&origin.to_key().to_string().into()),
        _ => error,
    }
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

/// Returns the URI that a location leads to, and true if that is at the same origin. The error
/// names the origin of the redirect and its location.
fn target(from: &Uri, location: &[u8]) -> Result<(Uri, bool)> {
    let origin = OriginRef::of(from)?.to_key();
    let next = resolve(from, location).and_then(|next| {
        let same_origin = OriginRef::of(&next)?.to_key() == origin;
        Ok((next, same_origin))
    });
    next.map_err(|why| {
        let location = printable(&String::from_utf8_lossy(location));
        Error::failed(Stage::Redirect, why)
            .with_message(format!("location {location:?}"))
            .at(&origin.to_string().into())
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
