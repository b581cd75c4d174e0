//! The caller's request, from which every attempt and every redirect is made.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, RANGE};
use http::{Extensions, HeaderMap, Method, Uri};

use super::decoding::AskedCodings;
use crate::decode::Codings;
use crate::error::Result;
use crate::policy::{ClientPolicy, RequestPolicy};
use crate::settings::Settings;
use crate::url::encode_uri;
use crate::wire::body::Body;

/// Limit on a decompressed body where none is set.
const MAX_DECOMPRESSED: Option<u64> = Some(1 << 30);

/// A request as its caller made it. Each attempt is made from it, so that it need not be copied for
/// a second attempt that most requests never need.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    /// Settings of this request alone, which few have.
    pub(crate) policy: Option<Box<RequestPolicy>>,
    /// Codings that this client asked for, and so undoes.
    pub(crate) asked: Option<AskedCodings>,
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
            policy: None,
            asked: None,
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
            policy: None,
            asked: None,
            body: Some(body),
        }
    }

    /// Returns a second copy; `None` if the body can be sent only once.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        Some(Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            extensions: self.extensions.clone(),
            policy: self.policy.clone(),
            asked: self.asked,
            body: Some(self.body.as_ref()?.try_clone()?),
        })
    }

    /// Applies what the client was told about all of its requests.
    pub(crate) fn prepare(&mut self, policy: Option<&ClientPolicy>) -> Result<()> {
        if let Some(policy) = policy {
            policy.admit(&self.uri)?;
            policy.add_defaults(&mut self.headers);
        }
        if policy.is_some() || self.policy.is_some() {
            self.ask_for_codings(policy);
        }
        Ok(())
    }

    /// Asks for compressed responses, unless the caller asks by itself, or for a range, whose parts
    /// cannot be decoded. As in Go, which does not ask for HEAD either.
    fn ask_for_codings(&mut self, policy: Option<&ClientPolicy>) {
        let codings = policy.map(|policy| policy.codings).unwrap_or_default();
        let codings = match self.policy.as_ref().and_then(|own| own.decompress) {
            Some(false) => return,
            Some(true) if codings.is_empty() => Codings::all(),
            _ => codings,
        };
        let is_left_alone = codings.is_empty()
            || self.method == Method::HEAD
            || self.headers.contains_key(ACCEPT_ENCODING)
            || self.headers.contains_key(RANGE);
        if !is_left_alone {
            self.headers.insert(ACCEPT_ENCODING, codings.accepted());
            let limit = policy.and_then(|policy| policy.max_decompressed);
            self.asked = Some(AskedCodings { codings, limit: limit.unwrap_or(MAX_DECOMPRESSED) });
        }
    }

    /// Returns the policy of this request alone, made on first use.
    pub(crate) fn policy_mut(&mut self) -> &mut RequestPolicy {
        self.policy.get_or_insert_default()
    }

    /// Returns the stall timeout: the request's own, or its client's.
    pub(crate) fn stall_timeout(&self, settings: &Settings) -> Option<Duration> {
        let own = self.policy.as_ref().and_then(|policy| policy.stall_timeout);
        own.or(settings.stall_timeout)
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

    pub(crate) const fn body_mut(&mut self) -> &mut Option<Body> {
        &mut self.body
    }

    /// Returns the body; `None` once a body that can be sent only once is on its way.
    pub(crate) const fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }
}
