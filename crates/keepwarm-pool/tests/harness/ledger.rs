//! The obligations, checked on what the pool said and not on what it should have said.

use keepwarm_pool::{CloseReason, Closer, Counts, Pool, RejectReason, Replacement};

use super::Input;
use super::model::{Decision, Rules};

/// The sums of all effects so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    rules: Rules,
    now: u64,
    /// For each checkout, true while it waits.
    waiters: Vec<bool>,
    /// The checkouts that only a dial may serve.
    wants_fresh: Vec<usize>,
    /// The checkouts whose request had a connection that broke.
    again: Vec<usize>,
    dials: Vec<Dial>,
    /// How many checkouts there were when each dial began.
    began: Vec<usize>,
    /// The dials that have failed since a connection was open.
    failed: Vec<usize>,
    distrusts_used: bool,
    /// Dials and connections that this host has room for, and until when.
    crowded: Option<(usize, u64)>,
    /// The claims that are open, and how many there ever were.
    claims: Vec<usize>,
    claimed: usize,
    places: usize,
    connections: Vec<Place>,
    born: Vec<u64>,
    /// For each connection, true once it has served an exchange.
    used: Vec<bool>,
    /// When the server closes each, and how many exchanges it serves on it, by its own words.
    server_keeps: Vec<(Option<u64>, Option<u64>, u64)>,
    /// The connections that were open at the last dismissal: the first so many.
    dismissed: usize,
    shut_down: bool,
    /// The most requests and inspections that were ever under way at once.
    peak: usize,
    peak_open: usize,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Running,
    Aborted,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the pool, in the middle of an input.
    Loose,
    Active,
    Idle(u64),
    /// The driver said that it is over; the pool has not said so yet.
    Over,
    Closed,
}

type Audit = Result<(), String>;

fn hold(holds: bool, sentence: &str) -> Audit {
    if holds { Ok(()) } else { Err(sentence.to_owned()) }
}

impl Ledger {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: 0,
            waiters: Vec::new(),
            wants_fresh: Vec::new(),
            again: Vec::new(),
            dials: Vec::new(),
            began: Vec::new(),
            failed: Vec::new(),
            distrusts_used: false,
            crowded: None,
            claims: Vec::new(),
            claimed: 0,
            places: 0,
            connections: Vec::new(),
            born: Vec::new(),
            used: Vec::new(),
            server_keeps: Vec::new(),
            dismissed: 0,
            shut_down: false,
            peak: 0,
            peak_open: 0,
            counts: Counts::default(),
        }
    }

    /// The most connections that were ever open at once.
    pub(crate) const fn peak_open(&self) -> usize {
        self.peak_open
    }

    /// The numbers of the connections that have not closed.
    pub(crate) fn open(&self) -> Vec<usize> {
        let all = 0..self.connections.len();
        all.filter(|n| self.connections[*n] != Place::Closed).collect()
    }

    /// One input and what the pool made of it.
    pub(crate) fn enter(
        &mut self,
        input: Input,
        answer: Option<bool>,
        decisions: &[Decision],
        now: u64,
    ) -> Audit {
        // The two inputs that say nothing of the time.
        if !matches!(input, Input::Advised(..) | Input::OldestClaim(_)) {
            self.now = self.now.max(now);
        }
        if matches!(input, Input::Checkout | Input::Tick) {
            self.crowded = self.crowded.filter(|(_, until)| *until > self.now);
        }
        self.enter_input(input, answer)?;
        self.peak_open = self.peak_open.max(self.open().len());
        for decision in decisions {
            self.enter_decision(input, decision)?;
        }
        if self.connections.iter().any(|place| *place != Place::Closed) {
            self.failed.clear();
        }
        for place in &mut self.connections {
            if *place == Place::Loose {
                *place = Place::Idle(self.now);
            }
        }
        let looks =
            matches!(input, Input::Checkout | Input::Replace(..) | Input::Tick | Input::Inspect(_));
        if looks {
            let expired = self.idle().any(|since| self.is_expired(since));
            hold(!expired, "what has been idle for the idle timeout is closed")?;
            let idle = |n: usize| matches!(self.connections[n], Place::Idle(_));
            let old = (0..self.born.len()).any(|n| idle(n) && self.is_old(n));
            hold(!old, "what is idle and has come to the end of its lifetime is closed")?;
        }
        self.peak = self.peak.max(self.waiting() + self.active());
        Ok(())
    }

    fn enter_input(&mut self, input: Input, answer: Option<bool>) -> Audit {
        match input {
            Input::Checkout => self.waiters.push(true),
            Input::Replace(connection, wanted) => {
                self.change(connection, Place::Active, Place::Over)?;
                self.again.push(self.waiters.len());
                if wanted == Replacement::Fresh && self.crowded.is_none() {
                    self.wants_fresh.push(self.waiters.len());
                }
                self.waiters.push(true);
            }
            Input::Cancel(waiter) => {
                let waited = core::mem::replace(&mut self.waiters[waiter], false);
                hold(answer == Some(waited), "cancel says whether it waited")?;
            }
            Input::Dialed(dial) => {
                self.dials[dial] = Dial::Over;
                self.connections.push(Place::Loose);
                self.born.push(self.now);
                self.used.push(false);
                self.server_keeps.push((None, None, u64::MAX));
            }
            Input::DialFailed(dial) => {
                self.dials[dial] = Dial::Over;
                self.failed.push(dial);
            }
            Input::Advised(connection, idle, left) => {
                let (span, _, most) = &mut self.server_keeps[connection];
                *span = idle.or(*span);
                // As the server counts: from the latest answer on, and this one is not returned
                // yet.
                *most = left.map_or(*most, |left| left + 1);
            }
            Input::Returned(connection) | Input::ReturnedUnused(connection) => {
                if matches!(input, Input::Returned(_)) {
                    let (span, closes, most) = &mut self.server_keeps[connection];
                    *closes = span.map(|span| self.now + span);
                    self.used[connection] = true;
                    *most = most.saturating_sub(1);
                }
                self.change(connection, Place::Active, Place::Loose)?;
            }
            Input::Closed(connection, ..) => self.change(connection, Place::Active, Place::Over)?,
            Input::Inspect(connection) => {
                if answer == Some(true) {
                    let place = self.connections[connection];
                    let usable = matches!(place, Place::Idle(since) if !self.is_expired(since));
                    hold(usable, "only a usable idle connection is inspected")?;
                    self.connections[connection] = Place::Active;
                }
            }
            Input::DialRefused(dial) => {
                self.dials[dial] = Dial::Over;
                if self.open().is_empty() && self.dialing() == 0 {
                    self.failed.push(dial);
                } else {
                    let alive = self.dialing() + self.open().len();
                    self.wants_fresh.clear();
                    self.crowded = Some((alive, self.now + Pool::CROWDED_FOR.as_nanos() as u64));
                }
            }
            Input::CloseIdle => self.dismissed = self.connections.len(),
            Input::Distrust(distrusts) => self.distrusts_used = distrusts,
            Input::ShutDown => self.shut_down = true,
            Input::Granted(claim) => {
                let wanted = self.claims.iter().position(|open| *open == claim);
                hold(answer == Some(wanted.is_some()), "granted says whether it was wanted")?;
                if let Some(position) = wanted {
                    self.claims.remove(position);
                }
                self.places += 1;
            }
            Input::Deferred(_) | Input::OldestClaim(_) | Input::Evict | Input::Tick => {}
        }
        Ok(())
    }

    fn enter_decision(&mut self, input: Input, decision: &Decision) -> Audit {
        match *decision {
            Decision::Dial(_) => {
                let wanted = self.waiting() > self.dialing();
                hold(wanted, "a dial starts only while more waiters than dials exist")?;
                hold(!self.shut_down, "no dial starts after shutdown")?;
                self.dials.push(Dial::Running);
                self.began.push(self.waiters.len());
            }
            Decision::Claim(since) => {
                hold(self.rules.shared.is_some(), "places are claimed where they are shared")?;
                hold(since <= self.now, "a place is claimed for a waiter that has come")?;
                self.claims.push(self.claimed);
                self.claimed += 1;
            }
            Decision::Withdraw(claim) => {
                let open = self.claims.contains(&claim);
                hold(open, "what is withdrawn is an open claim")?;
                self.claims.retain(|other| *other != claim);
            }
            Decision::Release => {
                hold(self.places > 0, "what is released was granted")?;
                self.places -= 1;
            }
            Decision::Abort(dial) => {
                let once = self.shut_down && self.dials[dial] == Dial::Running;
                hold(once, "a dial is aborted at shutdown, while it runs, and once")?;
                self.dials[dial] = Dial::Aborted;
            }
            Decision::Assign { waiter, connection, exchanges, idle_since } => {
                if matches!(input, Input::Dialed(_)) {
                    self.end_oldest(waiter)?;
                } else {
                    self.end_oldest_content(waiter)?;
                }
                let place = self.connections[connection];
                let origin = idle_since.map_or(Place::Loose, Place::Idle);
                hold(place == origin, "what is assigned is unused, and idle since then")?;
                let trusted = exchanges == 0 || !self.distrusts_used;
                hold(trusted, "no used connection is assigned while those are distrusted")?;
                let usable = !idle_since.is_some_and(|since| self.is_expired(since));
                hold(usable, "an expired connection is never assigned")?;
                hold(!self.shut_down, "nothing is assigned after shutdown")?;
                let most = self.rules.max_exchanges.map(|most| u64::from(most).max(1));
                let may = most.is_none_or(|most| exchanges < most);
                hold(may, "no connection serves more exchanges than it may")?;
                let (_, closes, most) = self.server_keeps[connection];
                let open = closes.is_none_or(|moment| self.now < moment);
                hold(open, "no connection is assigned that the server may have closed")?;
                hold(most > 0, "no connection is assigned that the server has done with")?;
                let first_use = exchanges == 0 && idle_since.is_none();
                let young = first_use || !self.is_old(connection);
                hold(young, "no connection is assigned again after the end of its lifetime")?;
                hold(connection >= self.dismissed, "a dismissed connection is never assigned")?;
                self.connections[connection] = Place::Active;
            }
            Decision::Reject { waiter, reason } => match reason {
                RejectReason::DialFailed => self.end_first_to_come(waiter)?,
                _ => self.end(waiter)?,
            },
            Decision::Close { connection, reason, .. } => {
                let early = reason == CloseReason::Lifetime && !self.is_aging(connection);
                hold(!early, "no lifetime is shorter by more than a tenth")?;
                let place = self.connections[connection];
                hold(place != Place::Closed, "a connection closes once")?;
                hold(place != Place::Active, "a leased connection is not closed")?;
                self.connections[connection] = Place::Closed;
            }
        }
        Ok(())
    }

    /// All that can be said of a pool at rest.
    pub(crate) fn audit(&mut self, pool: &Pool) -> Audit {
        self.audit_safety(pool)?;
        self.audit_liveness(pool)?;
        self.audit_counts(pool)
    }

    fn audit_safety(&self, pool: &Pool) -> Audit {
        hold(pool.dialing() == self.dialing(), "dialing is the permits that are out")?;
        hold(pool.active() == self.active(), "active is the leases that are out")?;
        hold(pool.idle() == self.idle().count(), "idle is what is open and not out")?;
        hold(pool.waiting() == self.waiting(), "waiting is the checkouts without an answer")?;
        hold(pool.oldest_idle() == self.oldest(), "oldest_idle is the oldest's")?;
        let idle = |place: &Place| matches!(place, Place::Idle(_));
        let kept = self.connections[..self.dismissed].iter().any(idle);
        hold(!kept, "a dismissed connection is not idle")?;
        let over = self.connections.contains(&Place::Over);
        hold(!over, "a connection that is over is closed at once")?;

        let alive = pool.dialing() + pool.active() + pool.idle();
        hold(within(alive, self.rules.max_connections), "the connection limit")?;
        let shared = self.rules.shared.is_some();
        hold(!shared || self.places == alive, "a place for each dial and each connection")?;
        hold(pool.claiming() == self.claims.len(), "claiming is the claims without an end")?;
        hold(within(pool.idle(), self.rules.max_idle), "the idle limit")?;
        let hopeful = pool.dialing() + pool.claiming();
        let queued = pool.waiting().saturating_sub(hopeful);
        hold(within(queued, self.rules.max_waiters), "the limit of waiters")?;
        hold(alive <= self.peak, "no more connections than requests at once, ever")?;
        let used = |n: usize| matches!(self.connections[n], Place::Idle(_)) && self.used[n];
        let distrusted = self.distrusts_used && (0..self.used.len()).any(used);
        hold(!distrusted, "no used connection is idle while those are distrusted")
    }

    fn audit_liveness(&self, pool: &Pool) -> Audit {
        let waits = self.waiting_content().next().is_some();
        hold(!(waits && pool.idle() > 0), "no request waits while a connection is idle")?;
        let fresh = self.wants_fresh.iter().filter(|fresh| self.waiters[**fresh]).count();
        let coming = pool.dialing() + pool.claiming();
        hold(fresh <= coming, "each request that wants a fresh connection has a dial")?;
        self.audit_failures()?;
        let alive = pool.dialing() + pool.active() + pool.idle();
        let room = within(alive + 1, self.rules.max_connections);
        let room = room && within(alive + pool.claiming() + 1, self.rules.max_connections);
        let most = self.crowded.map_or(usize::MAX, |(most, _)| most);
        let room = room && alive + pool.claiming() < most;
        let coming = pool.dialing() + pool.claiming();
        let wanted = pool.waiting() > coming;
        hold(
            !(wanted && room),
            "no request waits while a dial could start, or a place be claimed",
        )?;
        let needed = pool.claiming() == 0 || pool.waiting() >= coming;
        hold(needed, "no place is claimed without a waiter")?;
        let ended = pool.waiting() == 0 && pool.idle() == 0;
        hold(
            !self.shut_down || ended,
            "after shutdown no request waits and no connection is idle",
        )?;
        hold(pool.is_shut_down() == self.shut_down, "is_shut_down")
    }

    /// No waiter waits longer than two dials take while no connection is open: a dial that began
    /// after it came, and failed, has answered for it, unless one that began earlier still runs.
    fn audit_failures(&self) -> Audit {
        for failed in &self.failed {
            let earlier = &self.dials[..*failed];
            let answered = earlier.iter().all(|dial| *dial == Dial::Over);
            let waits = self.waiters[..self.began[*failed]].contains(&true);
            hold(!(answered && waits), "a waiter is answered by a dial that failed after it came")?;
        }
        Ok(())
    }

    fn audit_counts(&mut self, pool: &Pool) -> Audit {
        let (old, new) = (self.counts, *pool.counts());
        let here = (pool.active() + pool.idle()) as u64;
        hold(new.opened == here + new.closed(), "opened = active + idle + closed")?;
        let served = new.assigned_new + new.reused;
        let unserved = new.rejected() + new.cancelled + pool.waiting() as u64;
        hold(new.checkouts == served + unserved, "checkouts are accounted for")?;
        let dials = new.opened + new.dials_failed + pool.dialing() as u64;
        hold(new.dials == dials, "dials = opened + failed + dialing")?;
        let by_closer: u64 = Closer::ALL.map(|closer| new.closed_by(closer)).iter().sum();
        hold(new.closed() == by_closer, "closed is the sum over closers")?;
        let by_reason = RejectReason::ALL.map(|reason| new.rejected_for(reason));
        hold(new.rejected() == by_reason.iter().sum(), "rejected is the sum over reasons")?;

        let mut grows = old.checkouts <= new.checkouts
            && old.assigned_new <= new.assigned_new
            && old.reused <= new.reused
            && old.cancelled <= new.cancelled
            && old.dials <= new.dials
            && old.dials_failed <= new.dials_failed
            && old.opened <= new.opened
            && old.rejected() <= new.rejected();
        for reason in CloseReason::ALL {
            for closer in Closer::ALL {
                grows &= old.closed_for(reason, closer) <= new.closed_for(reason, closer);
            }
        }
        self.counts = new;
        hold(grows, "counters only grow")
    }

    /// After shutdown and the end of all leases and permits.
    pub(crate) fn audit_end(&self, pool: &Pool) -> Audit {
        let left = pool.dialing() + pool.active() + pool.idle() + pool.waiting();
        hold(left == 0, "nothing is left")?;
        hold(pool.next_deadline().is_never(), "no deadline is left")?;
        hold(!self.waiters.contains(&true), "every waiter has ended")?;
        hold(self.open().is_empty(), "every connection has closed")?;
        let ended = self.dials.iter().all(|dial| *dial == Dial::Over);
        hold(ended, "every dial has ended")?;
        hold(pool.counts().opened == pool.counts().closed(), "as many closed as opened")
    }
}

impl Ledger {
    fn change(&mut self, connection: usize, from: Place, to: Place) -> Audit {
        let place = core::mem::replace(&mut self.connections[connection], to);
        hold(place == from, "a connection is in exactly one state")
    }

    fn end_oldest(&mut self, waiter: usize) -> Audit {
        let oldest = self.in_turn().next();
        hold(oldest == Some(waiter), "no waiter is overtaken by a later one")?;
        self.end(waiter)
    }

    fn end_first_to_come(&mut self, waiter: usize) -> Audit {
        let first = self.waiters.iter().position(|waits| *waits);
        hold(first == Some(waiter), "no waiter takes a failure before an earlier one")?;
        self.end(waiter)
    }

    /// Waiters in the order in which they are served: those that had a connection first.
    fn in_turn(&self) -> impl Iterator<Item = usize> + '_ {
        let first = |waiter: &usize| !self.again.contains(waiter);
        let again = self.again.iter().copied();
        again.chain((0..self.waiters.len()).filter(first)).filter(|waiter| self.waiters[*waiter])
    }

    /// Counts waiters that take a used connection.
    fn end_oldest_content(&mut self, waiter: usize) -> Audit {
        let oldest = self.waiting_content().next();
        hold(oldest == Some(waiter), "no waiter that takes any connection is overtaken")?;
        self.end(waiter)
    }

    /// Waiters that take any connection, oldest first.
    fn waiting_content(&self) -> impl Iterator<Item = usize> + '_ {
        self.in_turn().filter(|waiter| !self.wants_fresh.contains(waiter))
    }

    fn end(&mut self, waiter: usize) -> Audit {
        let waited = core::mem::replace(&mut self.waiters[waiter], false);
        hold(waited, "a waiter ends once")
    }

    fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waits| **waits).count()
    }

    fn dialing(&self) -> usize {
        self.dials.iter().filter(|dial| **dial != Dial::Over).count()
    }

    fn active(&self) -> usize {
        let active = self.connections.iter().filter(|place| **place == Place::Active);
        active.count()
    }

    fn idle(&self) -> impl Iterator<Item = u64> + '_ {
        self.connections.iter().filter_map(|place| match place {
            Place::Idle(since) => Some(*since),
            _ => None,
        })
    }

    /// Beyond the longest lifetime that there is.
    fn is_old(&self, connection: usize) -> bool {
        self.rules.max_lifetime.is_some_and(|span| self.born[connection] + span <= self.now)
    }

    /// Beyond the shortest lifetime that there is.
    fn is_aging(&self, connection: usize) -> bool {
        let shortest = self.rules.max_lifetime.map(|span| span - span / 10);
        shortest.is_some_and(|span| self.born[connection] + span <= self.now)
    }

    fn oldest(&self) -> Option<keepwarm_pool::Moment> {
        self.idle().min().map(keepwarm_pool::Moment::from_nanos)
    }

    fn is_expired(&self, since: u64) -> bool {
        let timeout = self.rules.idle_timeout;
        timeout.is_some_and(|timeout| since + timeout <= self.now)
    }
}

fn within(count: usize, limit: Option<u32>) -> bool {
    limit.is_none_or(|limit| count <= limit as usize)
}
