//! Cookies of one hop: added before its request, stored after its response.

use http::HeaderMap;
use http::header::{COOKIE, SET_COOKIE};

use super::outgoing::Outgoing;
use crate::policy::ClientPolicy;

/// Adds the store's cookies, unless the caller has set its own. Returns true if there are any.
pub(crate) fn add(policy: Option<&ClientPolicy>, outgoing: &mut Outgoing) -> bool {
    let Some(store) = policy.and_then(|policy| policy.cookies.as_ref()) else { return false };
    if outgoing.headers.contains_key(COOKIE) {
        return false;
    }
    let value = store.cookies(&outgoing.uri);
    value.map(|value| outgoing.headers.insert(COOKIE, value)).is_some()
}

/// Stores the cookies of a response, and takes out those that were added: the next hop has its own.
pub(crate) fn store(
    policy: Option<&ClientPolicy>,
    outgoing: &mut Outgoing,
    added: bool,
    headers: &HeaderMap,
) {
    if added {
        outgoing.headers.remove(COOKIE);
    }
    if let Some(store) = policy.and_then(|policy| policy.cookies.as_ref())
        && headers.contains_key(SET_COOKIE)
    {
        store.store(&outgoing.uri, &mut headers.get_all(SET_COOKIE).iter());
    }
}
