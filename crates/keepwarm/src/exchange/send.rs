//! Sends a request and follows its redirects, under one deadline.

use std::time::Duration;

use super::attempt::{MAX_DISCARDED_BYTES, round_trip};
use super::outgoing::Outgoing;
use super::redirect::{self, RedirectStopped};
use super::response_body::{ConnectionInfo, ResponseBody};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::pool::closing::Closing;
use crate::pool::origin::Shared;
use crate::pool::origins::Origins;

/// A response, and the reason why it is a redirect that was not followed.
pub(crate) struct Sent {
    pub(crate) response: http::Response<ResponseBody>,
    pub(crate) connection: ConnectionInfo,
    pub(crate) stopped: Option<RedirectStopped>,
}

/// Sends a request, follows its redirects, and returns the first response that is not followed.
pub(crate) async fn send(
    origins: &Origins,
    outgoing: &mut Outgoing,
    timeout: Option<Duration>,
) -> Result<Sent> {
    let Shared { settings, closing, .. } = &**origins.shared();
    closing.admit()?;
    let limit = settings.max_redirects;
    let mut deadline = Deadline::after(timeout.or(settings.timeout));
    let mut followed = 0;
    let mut _between_hops = None;
    loop {
        let (response, connection) = round_trip(origins, outgoing, deadline).await?;
        let next = (limit > 0)
            .then(|| redirect::next(outgoing, response.status(), response.headers()))
            .flatten();
        let next = match next {
            Some(Ok(_)) if followed == limit => Some(Err(RedirectStopped::TooMany { limit })),
            next => next,
        };
        let Some(Ok(next)) = next else {
            let stopped = next.and_then(Result::err);
            return Ok(Sent { response, connection, stopped });
        };
        // The connection returns below, and the next hop asks for one.
        _between_hops.get_or_insert_with(|| Closing::hold(closing));
        let mut body = response.into_body();
        body.discard_arrived(MAX_DISCARDED_BYTES);
        redirect::follow(outgoing, next);
        deadline = body.into_deadline();
        followed += 1;
    }
}
