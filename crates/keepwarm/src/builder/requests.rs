//! Settings of each request: its time, its fields, redirects, cookies, content codings.

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use super::ClientBuilder;
#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
use crate::decode::Coding;
use crate::decode::Codings;
use crate::error::Error;
use crate::origin_key::OriginRef;
use crate::policy::cookies::CookieStore;
use crate::policy::redirect::RedirectPolicy;
use crate::request::parse;

impl ClientBuilder {
    /// Sets the time that a request may take in all: waiting, connecting, redirects, and reading
    /// the body to its end. Go: `Client.Timeout`. A request can set its own.
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = timeout.into();
        self
    }

    /// Sets the time for which no byte may pass in either direction while a request waits for the
    /// peer: for the head of the response, for more of its body, or for room to write to. Go has no
    /// such setting; reqwest's `read_timeout` is one direction of it.
    ///
    /// Default: `None`, no limit. Zero is refused. It bounds a download or an upload that has come
    /// to a standstill, where [`timeout`](Self::timeout) would bound a long one that goes on. The
    /// time during which the caller does not read the body, or its own body has nothing to send,
    /// does not count; an interim response does, as bytes. A request on it fails with
    /// [`is_stall_timeout`](crate::Error::is_stall_timeout), and the connection is closed. The rest
    /// of an upload whose response has begun is watched too: the reader of the response gets the
    /// error.
    pub fn stall_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.stall_timeout = timeout.into();
        self
    }

    /// Limits the redirects that a request may follow. Default: 10, as in Go
    /// (`Client.CheckRedirect`).
    ///
    /// The redirect beyond it is the response, and so is any other one that cannot be followed:
    /// [`Response::redirect_stopped`](crate::Response::redirect_stopped) has the reason. (Go returns
    /// an error too.) Zero returns the first redirect. The tower service never follows any.
    pub fn max_redirects(mut self, limit: u32) -> Self {
        self.settings.max_redirects = limit;
        self
    }

    /// Sets which redirects are followed, beyond their number. A request can set its own. Go:
    /// `Client.CheckRedirect`.
    ///
    /// Default: all that can be, up to [`max_redirects`](Self::max_redirects). A redirect from https
    /// to http is followed, unless [`https_only`](Self::https_only) is set. A redirect to another
    /// origin loses `Authorization`, `Cookie`, `Host`, `Proxy-Authorization` and `WWW-Authenticate`.
    pub fn redirect_policy(mut self, policy: RedirectPolicy) -> Self {
        self.policy_mut().redirect = Some(policy);
        self
    }

    /// Sets header fields that are added to every request that does not set a field of the same
    /// name. They are added once, before the first hop: a redirect to another origin loses
    /// credentials among them. The tower service adds them too.
    ///
    /// Default: none. Another call replaces fields of the same name.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        let ours = &mut self.policy_mut().default_headers;
        for name in headers.keys() {
            ours.remove(name);
        }
        for name in headers.keys() {
            for value in headers.get_all(name) {
                ours.append(name, value.clone());
            }
        }
        self
    }

    /// Sets `User-Agent` of every request that does not set its own.
    ///
    /// Default: `keepwarm/` and the version. A value with forbidden bytes is refused.
    pub fn user_agent(mut self, agent: impl AsRef<[u8]>) -> Self {
        match HeaderValue::from_bytes(agent.as_ref()) {
            Ok(agent) => drop(self.policy_mut().default_headers.insert(USER_AGENT, agent)),
            Err(_) => self.refuse(Error::invalid("user_agent has forbidden bytes")),
        }
        self
    }

    /// Sets the URL that relative URLs of requests resolve against (RFC 3986, 5.2):
    /// `client.get("users/7")`. The last segment of its path is replaced, so that
    /// `https://host/api/` ends in a slash; `client.get("/x")` leaves its path.
    ///
    /// Default: none; a relative URL is refused. A URL that no request can be sent to is refused.
    pub fn base_url(mut self, url: impl AsRef<str>) -> Self {
        let parsed = parse(url.as_ref()).and_then(|uri| OriginRef::of(&uri).map(|_| uri.clone()));
        match parsed {
            Ok(uri) => self.policy_mut().base_url = Some(uri),
            Err(why) => self.refuse(Error::invalid(format!("base_url: {why}"))),
        }
        self
    }

    /// Sets if only https may be used: a request to another URL is refused, and so is a redirect
    /// ([`is_redirect`](Error::is_redirect)).
    ///
    /// Default: false; a redirect from https to http is followed.
    pub fn https_only(mut self, only: bool) -> Self {
        self.policy_mut().https_only = only;
        self
    }

    /// Sets a store of cookies: asked before each request, redirects included, and told of every
    /// `Set-Cookie`, also of a redirect. Go: `Client.Jar`. The tower service uses it too.
    ///
    /// Default: none; cookies are not sent back. A request with a field `Cookie` of its own is not
    /// given the store's, until a redirect to another origin has removed it.
    pub fn cookie_store(mut self, store: impl CookieStore) -> Self {
        self.policy_mut().cookies = Some(Arc::new(store));
        self
    }

    /// Sets if cookies are kept in a [`Jar`](crate::Jar) of the client's own.
    ///
    /// Default: false.
    #[cfg(feature = "cookies")]
    pub fn cookies(mut self, keep: bool) -> Self {
        let jar =
            keep.then(|| Arc::new(crate::policy::cookies::Jar::new()) as Arc<dyn CookieStore>);
        self.policy_mut().cookies = jar;
        self
    }

    /// Sets if responses are asked for compressed, by all codings that are built in (features `gzip`,
    /// `brotli`, `zstd`), and decompressed while they are read. Go: `Transport.DisableCompression`,
    /// its opposite, for gzip alone.
    ///
    /// Default: false. `Accept-Encoding` is sent, unless the caller sets it, sets `Range`, or the
    /// method is HEAD; a response with one of the codings then loses `Content-Encoding` and
    /// `Content-Length`. Any other response is left as it came: without a body, in a coding that was
    /// not asked for, or in two at once. gzip may have several members, deflate may come bare, and
    /// bytes behind the end of the data are an error ([`is_decode`](Error::is_decode)), as is an
    /// early end. The wire is read to its end, so that the connection is kept.
    pub fn decompress(mut self, decompress: bool) -> Self {
        self.policy_mut().codings = if decompress { Codings::all() } else { Codings::default() };
        self
    }

    /// Sets if gzip is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "gzip")]
    pub fn gzip(self, wanted: bool) -> Self {
        self.coding(Coding::Gzip, wanted)
    }

    /// Sets if deflate is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "gzip")]
    pub fn deflate(self, wanted: bool) -> Self {
        self.coding(Coding::Deflate, wanted)
    }

    /// Sets if br is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "brotli")]
    pub fn brotli(self, wanted: bool) -> Self {
        self.coding(Coding::Brotli, wanted)
    }

    /// Sets if zstd is asked for and undone, see [`decompress`](Self::decompress). Its window is at
    /// most 8 MiB (RFC 9659).
    #[cfg(feature = "zstd")]
    pub fn zstd(self, wanted: bool) -> Self {
        self.coding(Coding::Zstd, wanted)
    }

    #[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
    fn coding(mut self, coding: Coding, wanted: bool) -> Self {
        self.policy_mut().codings.set(coding, wanted);
        self
    }

    /// Limits the bytes that the body of one response may have once it is decompressed. Beyond it
    /// reading fails with [`is_too_large`](Error::is_too_large). A body in memory is bounded by
    /// [`bytes_up_to`](crate::Response::bytes_up_to) too, which counts decompressed bytes.
    ///
    /// Default: 1 GiB, for a body that is streamed. `None` sets no limit. However large it becomes,
    /// decompressing holds one piece of it in memory, and the window of its coding (at most 16 MiB).
    pub fn max_decompressed_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.policy_mut().max_decompressed = Some(bytes.into());
        self
    }

    /// Sets the time that the head of a response may take, from the moment the whole request has
    /// been given to the kernel, its body included. Go: `Transport.ResponseHeaderTimeout`. The body
    /// of the response may take longer. The time starts anew for each attempt and each redirect;
    /// when it is over the connection is closed, and the error is
    /// [`is_response_header_timeout`](crate::Error::is_response_header_timeout).
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn response_header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.response_header_timeout = timeout.into();
        self
    }

    /// Sets the time that a request with `Expect: 100-continue` waits for permission to send its
    /// body, from the moment its head has been given to the kernel. Go:
    /// `Transport.ExpectContinueTimeout`.
    ///
    /// Default: 1 s. Zero sends the body at once, as in Go; [`Duration::MAX`] waits for the server
    /// alone. The body is sent when a `100 Continue` comes or the time is over: no request fails by
    /// this timeout, since a server need not support the field (RFC 9110, 10.1.1). If a final
    /// response comes instead, such as 417, 401 or 200, the body is not sent; the connection is
    /// closed when the response is read, as
    /// [`UploadUnfinished`](crate::CloseReason::UploadUnfinished), because the server may still
    /// wait for the body. (Go then sends the body, to keep the connection.) A 417 is answered by the same request
    /// without `Expect`, on another connection, unless the body is a [`Body::stream`](crate::Body::stream)
    /// that has begun, since the time was over: then the 417 is the response.
    /// [`response_header_timeout`](ClientBuilder::response_header_timeout) does not run meanwhile.
    pub fn expect_continue_timeout(mut self, timeout: Duration) -> Self {
        self.settings.expect_continue_timeout = timeout;
        self
    }
}
