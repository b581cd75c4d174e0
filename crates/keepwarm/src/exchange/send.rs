//! Sends a request and follows its redirects, under one deadline.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, StatusCode, Uri};

use super::cookies;
use super::outgoing::Outgoing;
use super::received::Received;
use super::redirect::{self, Next, RedirectStopped};
use super::round_trip::RoundTrip;
use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::policy::ClientPolicy;
use crate::policy::redirect::{Hop, Judge, Redirect, RedirectAction, RedirectPolicy};
use crate::pool::closing::{Closing, Hold};
use crate::pool::origin::Shared;
use crate::pool::origins::Origins;
use crate::settings::Settings;

/// A request with its redirects, under one deadline: one state that is polled in place, as its
/// [`RoundTrip`] is.
pub(crate) struct Sending {
    deadline: Deadline,
    /// The hop under way, or the one whose response is not followed.
    trip: Option<RoundTrip>,
    /// The hop's request has cookies of the client's store.
    with_cookies: bool,
    trail: Trail,
    /// Set if the response is a redirect that was not followed.
    stopped: Option<Box<RedirectStopped>>,
    _between_hops: Option<Hold>,
}

impl Sending {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            deadline: Deadline::none(),
            trip: None,
            with_cookies: false,
            trail: Trail { followed: 0, hops: Vec::new() },
            stopped: None,
            _between_hops: None,
        }
    }

    /// Begins to send a request.
    pub(crate) fn begin(
        &mut self,
        origins: &Origins,
        outgoing: &mut Outgoing,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let Shared { settings, closing, policy, .. } = &**origins.shared();
        closing.admit()?;
        outgoing.prepare(policy.as_deref())?;
        self.deadline = Deadline::after(timeout.or(settings.timeout));
        Ok(())
    }

    /// Sends the request, follows its redirects, and waits for the head of the first response that
    /// is not followed.
    pub(crate) fn poll(
        &mut self,
        origins: &Origins,
        outgoing: &mut Outgoing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let shared = &**origins.shared();
        let policy = shared.policy.as_deref();
        loop {
            let trip = match &mut self.trip {
                Some(trip) => trip,
                None => {
                    self.with_cookies = cookies::add(policy, outgoing);
                    self.trip.insert(RoundTrip::begin(origins, outgoing)?)
                }
            };
            ready!(trip.poll(outgoing, &mut self.deadline, cx))?;
            let head = trip.head();
            cookies::store(policy, outgoing, self.with_cookies, &head.headers);
            let Some(next) = redirect::next(outgoing, head.status, &head.headers) else {
                return Poll::Ready(Ok(()));
            };
            let status = head.status;
            if !self.follow(shared, outgoing, next, status)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Makes the next hop of a redirect; false if the response is not followed.
    #[cold]
    fn follow(
        &mut self,
        shared: &Shared,
        outgoing: &mut Outgoing,
        next: Result<Next, RedirectStopped>,
        status: StatusCode,
    ) -> Result<bool> {
        let rules = Rules::of(outgoing, &shared.settings, shared.policy.as_deref());
        if rules.limit == 0 && rules.judge.is_none() {
            return Ok(false);
        }
        let followed = match next {
            Ok(next) => self.trail.follow(outgoing, next, status, &rules)?,
            Err(stopped) => Err(stopped),
        };
        if let Err(stopped) = followed {
            self.stopped = Some(Box::new(stopped));
            return Ok(false);
        }
        // The connection returns below, and the next hop asks for one.
        self._between_hops.get_or_insert_with(|| Closing::hold(&shared.closing));
        if let Some(mut trip) = self.trip.take() {
            trip.discard();
        }
        Ok(true)
    }

    /// Moves the response to the caller, once [`poll`](Self::poll) has ended. The rest of the request's
    /// time goes with the body.
    #[inline]
    pub(crate) fn receive(&mut self) -> Received {
        let trip = self.trip.as_mut().expect("a request that has been sent");
        trip.receive(std::mem::take(&mut self.deadline))
    }

    /// Returns the reason why the response is a redirect that was not followed.
    pub(crate) const fn take_stopped(&mut self) -> Option<Box<RedirectStopped>> {
        self.stopped.take()
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
