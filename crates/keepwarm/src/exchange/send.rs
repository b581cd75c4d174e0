//! Sends a request and follows its redirects, under one deadline.

use std::time::Duration;

use super::attempt::round_trip;
use super::outgoing::Outgoing;
use super::redirect;
use super::response_body::{ConnectionInfo, ResponseBody};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::pool::origins::Origins;

/// Limit on the bytes of a redirect's body that are read to save its connection, if they have
/// arrived with the head. As in Go (`maxBodySlurpSize`); most such bodies are a line of text.
const MAX_DISCARDED_BYTES: usize = 2 << 10;

/// Sends a request, follows its redirects, and returns the first response that is not followed.
pub(crate) async fn send(
    origins: &Origins,
    outgoing: &mut Outgoing,
    timeout: Option<Duration>,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    let settings = &origins.shared().settings;
    let limit = settings.max_redirects;
    let mut deadline = Deadline::after(timeout.or(settings.timeout));
    let mut redirected = None;
    for _ in 0..=limit {
        let (response, info) = round_trip(origins, outgoing, deadline).await?;
        let next = (limit > 0)
            .then(|| redirect::location(outgoing, response.status(), response.headers()));
        let Some(location) = next.flatten() else {
            return Ok((response, info));
        };
        let (status, location) = (response.status(), location.clone());
        let mut body = response.into_body();
        body.discard_arrived(MAX_DISCARDED_BYTES);
        redirected = Some(outgoing.uri.clone());
        redirect::follow(outgoing, status, &location)?;
        deadline = body.into_deadline();
    }
    Err(redirect::too_many(limit, redirected.as_ref(), &outgoing.uri))
}
