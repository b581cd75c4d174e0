//! The caller's request, from which every attempt and every redirect is made.

use http::{Extensions, HeaderMap, Method, Uri};

use crate::url::encode_uri;
use crate::wire::body::Body;

/// A request as its caller made it. Each attempt is made from it, so that it need not be copied for
/// a second attempt that most requests never need.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    /// `None` once a body that can be sent only once is on its way.
    body: Option<Body>,
}

impl Outgoing {
    pub(crate) fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: HeaderMap::new(),
            extensions: Extensions::new(),
            body: Some(Body::empty()),
        }
    }

    pub(crate) fn of(request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            method: parts.method,
            uri: encode_uri(parts.uri),
            headers: parts.headers,
            extensions: parts.extensions,
            body: Some(body),
        }
    }

    pub(crate) fn set_body(&mut self, body: Body) {
        self.body = Some(body);
    }

    /// Returns the body to be sent: a copy, or the body itself if it can be sent only once.
    pub(crate) fn take_body(&mut self) -> Body {
        let copy = self.body.as_ref().and_then(Body::try_clone);
        copy.or_else(|| self.body.take()).unwrap_or_default()
    }

    /// Takes a body back that was not sent. A body that can be sent again is there already.
    pub(crate) fn put_back(&mut self, body: Body) {
        self.body.get_or_insert(body);
    }

    /// Returns true if the body is there, and will be after it was sent.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_repeatable)
    }

    /// Returns the body; `None` once a body that can be sent only once is on its way.
    pub(crate) const fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }
}
