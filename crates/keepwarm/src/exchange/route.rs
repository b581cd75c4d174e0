//! The way of one request: directly to its origin, or through a proxy.
//!
//! Owns the choice of the pool. What a proxy is told is in `attempt` (each request) and in
//! `wire::tunnel` (each connection).

use std::sync::Arc;

use http::header::{PROXY_AUTHORIZATION, UPGRADE};
use keepwarm_pool::Sharing;

use super::outgoing::Outgoing;
use crate::error::Result;
use crate::origin_key::{OriginRef, Scheme};
use crate::policy::proxy::{Choice, Mode, Via, choose};
use crate::pool::origin::Origin;
use crate::pool::origins::Origins;

/// Returns the pool of a request, and takes credentials out of it that are for another server.
pub(crate) fn route(origins: &Origins, outgoing: &mut Outgoing) -> Result<Arc<Origin>> {
    let own = outgoing.policy.as_ref().and_then(|policy| policy.proxy.as_ref());
    let client = origins.shared().policy.as_ref().map_or(&[][..], |policy| &policy.proxies);
    let rules = match own {
        Some(Choice::Direct) => &[],
        Some(Choice::Through(proxy)) => std::slice::from_ref(proxy),
        None => client,
    };
    let switches = outgoing.headers.contains_key(UPGRADE);
    if own.is_none() && rules.is_empty() && !switches {
        return origins.of(&outgoing.uri);
    }
    let direct = OriginRef::of(&outgoing.uri)?;
    let sharing = origins.shared().settings.sharing_of(direct.scheme() == Scheme::Https);
    // HTTP/2 knows no upgrade (RFC 9113, 8.6).
    let direct = if switches && sharing == Sharing::Unknown { direct.by_http1() } else { direct };
    let server = choose(rules, &outgoing.uri, direct.scheme())?;
    let via = server.map(|server| Via::new(server, direct.scheme()));
    let origin = match &via {
        None => origins.get(direct),
        Some(via) if via.mode == Mode::Forward => origins.get(via.server.key.borrowed(Some(via))),
        Some(via) => origins.get(direct.through(via)),
    };
    if via.is_none_or(|via| via.mode == Mode::Tunnel) {
        outgoing.headers.remove(PROXY_AUTHORIZATION);
    }
    Ok(origin)
}
