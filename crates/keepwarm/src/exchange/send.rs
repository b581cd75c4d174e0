//! Which redirect to follow, and with what (RFC 9110, section 15.4).

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::exchange::attempt::round_trip;
use crate::exchange::outgoing::Template;
use crate::pool::origins::Origins;
use crate::response::Response;
use crate::wire::body::Body;
use crate::wire::origin_key::{OriginRef, printable};

/// How much of a redirect's body is read to save its connection, if it has arrived with the head.
/// As in Go (`maxBodySlurpSize`); most such bodies are a line of text.
const MAX_DISCARDED_BYTES: usize = 2 << 10;

/// A request with its redirects, under one deadline.
pub(crate) async fn execute(
    origins: &Origins,
    template: &mut Template,
    timeout: Option<Duration>,
) -> Result<Response> {
    let settings = &origins.shared().settings;
    let limit = settings.max_redirects;
    let mut deadline = Deadline::after(timeout.or(settings.timeout));
    for _ in 0..=limit {
        let (response, info) = round_trip(origins, template, deadline).await?;
        let next = (limit > 0).then(|| template.next(response.status(), response.headers()));
        let Some(location) = next.flatten() else {
            return Ok(Response::new(response, info));
        };
        let (status, location) = (response.status(), location.clone());
        let mut body = response.into_body();
        body.discard_arrived(MAX_DISCARDED_BYTES);
        template.follow(status, &location)?;
        deadline = body.into_deadline();
    }
    Err(Error::new(Stage::Redirect, Kind::Failed)
        .with_message(format!("more than {limit} redirects")))
}

/// What a redirect makes of a request.
impl Template {
    /// Where a response points, if it is to be followed: a redirect with a location, and not one
    /// that asks for a body that cannot be sent again.
    fn next<'a>(&self, status: StatusCode, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let keeps_method = keeps_method(status)?;
        headers.get(LOCATION).filter(|_| !keeps_method || self.can_be_sent_again())
    }

    /// Moves on to `location`.
    fn follow(&mut self, status: StatusCode, location: &HeaderValue) -> Result<()> {
        let location = location.to_str().map_err(|error| Error::failed(Stage::Redirect, error))?;
        let next = resolve(&self.uri, location)?;
        if keeps_method(status) == Some(false) {
            self.drop_body();
        }
        if !same_origin(&self.uri, &next)? {
            for name in [&AUTHORIZATION, &COOKIE, &PROXY_AUTHORIZATION, &WWW_AUTHENTICATE] {
                self.headers.remove(name);
            }
        }
        // Made anew for each hop.
        self.headers.remove(HOST);
        self.uri = next;
        Ok(())
    }

    /// The request becomes a GET, HEAD excepted, as every client does it (RFC 9110, 15.4.2 to 4).
    fn drop_body(&mut self) {
        if self.method != Method::HEAD {
            self.method = Method::GET;
        }
        self.set_body(Body::empty());
        for name in [
            &CONTENT_TYPE,
            &CONTENT_ENCODING,
            &CONTENT_LANGUAGE,
            &CONTENT_LOCATION,
            &CONTENT_LENGTH,
            &TRANSFER_ENCODING,
        ] {
            self.headers.remove(name);
        }
    }
}

/// Whether this redirect repeats the method and the body; `None` for a status that is none.
fn keeps_method(status: StatusCode) -> Option<bool> {
    match status.as_u16() {
        301..=303 => Some(false),
        307 | 308 => Some(true),
        _ => None,
    }
}

/// An error if the client cannot speak to where the redirect leads.
fn same_origin(from: &Uri, to: &Uri) -> Result<bool> {
    let to = OriginRef::of(to).map_err(|error| Error::failed(Stage::Redirect, error))?;
    Ok(OriginRef::of(from)?.to_key() == to.to_key())
}

/// A location against the URI that answered with it: absolute, scheme-relative, absolute path,
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

/// `scheme ":"`, where a scheme is a letter and then letters, digits, "+", "-" or "."
/// (RFC 3986, 3.1).
fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// RFC 3986, 5.2.4, on the path only: a query is left as it is.
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
    fn locations_resolve_against_the_uri_that_answered() {
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
