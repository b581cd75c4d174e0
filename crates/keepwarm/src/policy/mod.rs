//! Settings of a client or a request beyond pool and timeouts: defaults of requests, redirects,
//! proxies, cookies.
//!
//! Owns settings and pure rules. Opens no connection and reads no response. A client or a request
//! that sets none of these pays one branch: all its settings are one optional box.

pub(crate) mod cookies;
pub(crate) mod proxy;
pub(crate) mod redirect;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};

use self::cookies::CookieStore;
use self::proxy::{Choice, Proxy};
use self::redirect::RedirectPolicy;
use crate::decode::Codings;
use crate::error::{Error, Result};

/// Settings of all requests of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientPolicy {
    pub(crate) default_headers: HeaderMap,
    pub(crate) base_url: Option<Uri>,
    pub(crate) https_only: bool,
    pub(crate) redirect: Option<RedirectPolicy>,
    /// Content codings that are asked for and undone.
    pub(crate) codings: Codings,
    /// The caller's limit on a decompressed body: `None` if not set, `Some(None)` for no limit.
    pub(crate) max_decompressed: Option<Option<u64>>,
    /// Rules of proxies; the first that names one counts.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) cookies: Option<Arc<dyn CookieStore>>,
}

impl ClientPolicy {
    /// Rejects a URL that the client does not send requests to.
    pub(crate) fn admit(&self, uri: &Uri) -> Result<()> {
        if self.https_only && uri.scheme_str() != Some("https") {
            let host = uri.host().unwrap_or_default();
            return Err(Error::invalid(format!(
                "{host}: the URL is not https, and https_only is set"
            )));
        }
        Ok(())
    }

    /// Adds the default fields that the caller did not set.
    pub(crate) fn add_defaults(&self, headers: &mut HeaderMap) {
        for name in self.default_headers.keys() {
            if !headers.contains_key(name) {
                for value in self.default_headers.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
        }
    }
}

/// Settings of one request, which override its client's.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestPolicy {
    pub(crate) redirect: Option<RedirectPolicy>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) decompress: Option<bool>,
    pub(crate) proxy: Option<Choice>,
}
