//! Rules of redirects (RFC 9110, section 15.4): which one is followed, and what it changes in a
//! request.

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::outgoing::Outgoing;
use crate::error::{Error, Result, Stage};
use crate::wire::body::Body;
use crate::wire::origin_key::{OriginRef, printable};

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
    let location = location.to_str().map_err(|error| Error::failed(Stage::Redirect, error))?;
    let next = resolve(&outgoing.uri, location)?;
    if keeps_method(status) == Some(false) {
        drop_body(outgoing);
    }
    if !same_origin(&outgoing.uri, &next)? {
        for name in [&AUTHORIZATION, &COOKIE, &PROXY_AUTHORIZATION, &WWW_AUTHENTICATE] {
            outgoing.headers.remove(name);
        }
    }
    // Made anew for each redirect.
    outgoing.headers.remove(HOST);
    outgoing.uri = next;
    Ok(())
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

/// Returns true if both URIs have the same origin; an error if the client does not support the
/// target.
fn same_origin(from: &Uri, to: &Uri) -> Result<bool> {
    let to = OriginRef::of(to).map_err(|error| Error::failed(Stage::Redirect, error))?;
    Ok(OriginRef::of(from)?.to_key() == to.to_key())
}

/// Resolves a location against the URI of the redirect: absolute, scheme-relative, absolute path,
/// query, or relative path (RFC 3986, 5.2). A fragment is not sent.
fn resolve(base: &Uri, location: &str) -> Result<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let path = base.path();
    let absolute = if has_scheme(location) {
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
    absolute.parse().map_err(|error| {
        Error::failed(Stage::Redirect, Box::new(error) as crate::error::BoxError)
            .with_message(format!("location {:?}", printable(location)))
    })
}

/// Returns true if the location begins with `scheme ":"`. A scheme is a letter and then letters,
/// digits, "+", "-" or "." (RFC 3986, 3.1).
fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
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
        resolve(&base.parse().unwrap(), location).unwrap().to_string()
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
                assert!(resolve(&base.parse().unwrap(), location).is_err(), "no such scheme form");
                continue;
            }
            assert_eq!(resolved(base, location), expected, "{location}");
        }
    }
}
