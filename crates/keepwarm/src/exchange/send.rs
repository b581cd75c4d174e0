//! Sends a request and follows its redirects, under one deadline.

use std::time::Duration;

use http::{HeaderMap, StatusCode, Uri};

use super::cookies;
use super::outgoing::Outgoing;
use super::redirect::{self, Next, RedirectStopped};
use super::round_trip::{Arrived, round_trip};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::policy::ClientPolicy;
use crate::policy::redirect::{Hop, Judge, Redirect, RedirectAction, RedirectPolicy};
use crate::pool::closing::Closing;
use crate::pool::origin::Shared;
use crate::pool::origins::Origins;
use crate::settings::Settings;

/// A response, the rest of the request's time, and the reason why the response is a redirect that was
/// not followed.
pub(crate) struct Sent {
    pub(crate) arrived: Arrived,
    pub(crate) deadline: Deadline,
    /// Boxed, in a struct that is moved.
    pub(crate) stopped: Option<Box<RedirectStopped>>,
}

/// Sends a request, follows its redirects, and returns the first response that is not followed.
pub(crate) async fn send(
    origins: &Origins,
    outgoing: &mut Outgoing,
    timeout: Option<Duration>,
) -> Result<Sent> {
    let Shared { settings, closing, policy, .. } = &**origins.shared();
    closing.admit()?;
    outgoing.prepare(policy.as_deref())?;
    let mut deadline = Deadline::after(timeout.or(settings.timeout));
    let mut trail = Trail::default();
    let mut _between_hops = None;
    loop {
        let with_cookies = cookies::add(policy.as_deref(), outgoing);
        let mut arrived = round_trip(origins, outgoing, &mut deadline).await?;
        let head = arrived.head();
        cookies::store(policy.as_deref(), outgoing, with_cookies, &head.headers);
        let Some(next) = redirect::next(outgoing, head.status, &head.headers) else {
            return Ok(Sent { arrived, deadline, stopped: None });
        };
        let rules = Rules::of(outgoing, settings, policy.as_deref());
        if rules.limit == 0 && rules.judge.is_none() {
            return Ok(Sent { arrived, deadline, stopped: None });
        }
        let followed = match next {
            Ok(next) => trail.follow(outgoing, next, head.status, &rules)?,
            Err(stopped) => Err(stopped),
        };
        if let Err(stopped) = followed {
            return Ok(Sent { arrived, deadline, stopped: Some(Box::new(stopped)) });
        }
        // The connection returns below, and the next hop asks for one.
        _between_hops.get_or_insert_with(|| Closing::hold(closing));
        arrived.discard();
    }
}

/// The rules by which the redirects of one request are followed.
struct Rules<'a> {
    limit: u32,
    judge: Option<Judge>,
    client: Option<&'a ClientPolicy>,
}

impl<'a> Rules<'a> {
    fn of(outgoing: &Outgoing, settings: &Settings, client: Option<&'a ClientPolicy>) -> Self {
        let own = outgoing.policy.as_ref().and_then(|policy| policy.redirect.as_ref());
        let chosen = own.or_else(|| client?.redirect.as_ref());
        Self {
            limit: chosen.and_then(RedirectPolicy::limit).unwrap_or(settings.max_redirects),
            judge: chosen.and_then(RedirectPolicy::judge).cloned(),
            client,
        }
    }

    /// Refuses to leave https where that is not allowed.
    fn admit(&self, uri: &Uri, status: StatusCode) -> Result<()> {
        let admitted = self.client.map_or(Ok(()), |client| client.admit(uri));
        admitted.map_err(|why| refused(status).caused_by(why))
    }
}

fn refused(status: StatusCode) -> Error {
    Error::new(Stage::Answer, Kind::Redirect)
        .with_status(status)
        .with_message(format!("a redirect ({}) was refused", status.as_u16()))
}

/// The redirects that one request has followed.
#[derive(Default)]
struct Trail {
    followed: u32,
    /// The hops, for the function that decides. Empty without one.
    hops: Vec<Hop>,
}

impl Trail {
    /// Makes the next request of a redirect, unless the rules stop it or, by an error, refuse it.
    fn follow(
        &mut self,
        outgoing: &mut Outgoing,
        next: Next,
        status: StatusCode,
        rules: &Rules<'_>,
    ) -> Result<Result<(), RedirectStopped>> {
        if self.followed >= rules.limit {
            return Ok(Err(RedirectStopped::TooMany { limit: rules.limit }));
        }
        rules.admit(&next.uri, status)?;
        self.followed += 1;
        let Some(judge) = &rules.judge else {
            redirect::follow(outgoing, next);
            return Ok(Ok(()));
        };
        let from = outgoing.uri.clone();
        self.hops.push(Hop { method: outgoing.method.clone(), url: from.clone() });
        redirect::follow(outgoing, next);
        let headers: &mut HeaderMap = &mut outgoing.headers;
        let (method, url) = (&outgoing.method, &outgoing.uri);
        let mut redirect = Redirect { hops: &self.hops, status, method, url, headers };
        match judge.decide(&mut redirect) {
            RedirectAction::Follow => Ok(Ok(())),
            RedirectAction::Stop => {
                outgoing.uri = from;
                Ok(Err(RedirectStopped::ByPolicy))
            }
            RedirectAction::Refuse(why) => Err(refused(status).caused_by(why)),
        }
    }
}
