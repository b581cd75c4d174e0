//! Hops of a merged record: one account for each port of each machine and network namespace.
//!
//! Parts of one machine that ran at the same time watched the same sockets, so one of their
//! accounts is kept. Accounts of one machine that followed each other add. A machine without an id
//! is taken for one of its own.

use super::Span;
use crate::load::{HopCloses, HopRecord, HopRequests, LoadRecord, PortUse, TimeWaits};

/// Time in seconds by which an account may miss the ends of one that it stands for.
const SAME_S: f64 = 1.0;

/// An account, and the time that it covers, from the start of the whole.
struct Account {
    /// Machine and network namespace; an unknown one is known by its part.
    place: Result<(String, u64), u64>,
    from_s: f64,
    to_s: f64,
    hop: HopRecord,
}

pub(super) fn merge(parts: &[LoadRecord], span: &Span, notes: &mut Vec<String>) -> Vec<HopRecord> {
    let mut accounts = accounts(parts, span);
    accounts.sort_by(|one, other| one.from_s.total_cmp(&other.from_s));
    let mut merged: Vec<Account> = Vec::new();
    for account in accounts {
        let is_same =
            |one: &&mut Account| one.place == account.place && one.hop.port == account.hop.port;
        match merged.iter_mut().find(is_same) {
            None => merged.push(account),
            Some(earlier) if earlier.to_s <= account.from_s => earlier.go_on(account),
            Some(earlier) => notes.extend(earlier.stand_for(account)),
        }
    }
    merged.sort_by_key(|one| (one.hop.part, one.hop.port));
    merged.into_iter().map(|one| one.hop).collect()
}

fn accounts(parts: &[LoadRecord], span: &Span) -> Vec<Account> {
    let mut accounts = Vec::new();
    let mut parts_before = 0_u64;
    for record in parts {
        let offset = span.offset_s(record);
        for hop in &record.hops {
            let own = hop.part.unwrap_or(1);
            let among = record.merged.as_ref().map(|merged| &merged.parts);
            let machine =
                among.and_then(|parts| parts.get(usize::try_from(own).ok()?.checked_sub(1)?));
            let machine = machine.map_or(&record.machine, |part| &part.machine);
            let part = parts_before.saturating_add(own);
            let place = machine.boot_id.clone().zip(machine.network_namespace).ok_or(part);
            let mut hop = hop.clone();
            hop.part = Some(part);
            for sample in &mut hop.samples {
                sample.at_s += offset;
            }
            if let Some(drain) = &mut hop.drain {
                drain.from_s += offset;
            }
            accounts.push(Account { place, from_s: offset, to_s: offset + hop.window_s, hop });
        }
        parts_before += record.merged.as_ref().map_or(1, |merged| merged.parts.len() as u64);
    }
    accounts
}

impl Account {
    /// Adds the account of a later time.
    fn go_on(&mut self, later: Self) {
        self.hop = in_turn(&self.hop, &later.hop);
        self.to_s = later.to_s;
    }

    /// Keeps the longer one of two accounts of the same sockets, and says so if it misses a time of
    /// the other one.
    fn stand_for(&mut self, mut other: Self) -> Option<String> {
        if other.hop.window_s > self.hop.window_s {
            std::mem::swap(self, &mut other);
        }
        let by_load = [self.hop.opened_by_load, other.hop.opened_by_load];
        self.hop.opened_by_load = by_load.into_iter().flatten().reduce(u64::saturating_add);
        self.hop.is_target |= other.hop.is_target;
        let missed = (self.from_s - other.from_s).max(other.to_s - self.to_s);
        (missed > SAME_S).then(|| {
            format!(
                "port {}: parts {} and {} watched the same sockets at the same time; the longer \
                 account is kept, and {missed:.1} s of the other one are not in it",
                self.hop.port,
                self.hop.part.unwrap_or(0),
                other.hop.part.unwrap_or(0),
            )
        })
    }
}

/// One account of two that followed each other.
fn in_turn(one: &HopRecord, next: &HopRecord) -> HopRecord {
    let is_worse = !next.finding.healthy && (one.finding.healthy || next.opened > one.opened);
    let mut findings = one.findings.clone();
    findings.extend(next.findings.iter().filter(|new| !one.findings.contains(new)).cloned());
    let by_load = [one.opened_by_load, next.opened_by_load];
    HopRecord {
        port: one.port,
        part: one.part,
        is_target: one.is_target || next.is_target,
        opened_by_load: by_load.into_iter().flatten().reduce(u64::saturating_add),
        window_s: one.window_s + next.window_s,
        opened: one.opened.saturating_add(next.opened),
        closed: closes(&one.closed, &next.closed),
        closed_by_the_end: one.closed_by_the_end.saturating_add(next.closed_by_the_end),
        requests: requests(&one.requests, &next.requests),
        alive_at_start: one.alive_at_start,
        alive_at_end: next.alive_at_end,
        established: next.established,
        close_wait: next.close_wait,
        time_wait: time_waits(&one.time_wait, &next.time_wait),
        ports: ports(&one.ports, &next.ports),
        time_waits_refused: one.time_waits_refused.zip(next.time_waits_refused).map(|(a, b)| a + b),
        lost_events: one.lost_events.saturating_add(next.lost_events),
        settled: one.settled && next.settled,
        samples: one.samples.iter().chain(&next.samples).copied().collect(),
        drain: next.drain,
        finding: if is_worse { next.finding.clone() } else { one.finding.clone() },
        findings,
        owner: next.owner.clone(),
    }
}

fn closes(one: &HopCloses, next: &HopCloses) -> HopCloses {
    let add = u64::saturating_add;
    HopCloses {
        client_fin: add(one.client_fin, next.client_fin),
        server_fin: add(one.server_fin, next.server_fin),
        crossed_fin: add(one.crossed_fin, next.crossed_fin),
        client_rst: add(one.client_rst, next.client_rst),
        server_rst: add(one.server_rst, next.server_rst),
        timed_out: add(one.timed_out, next.timed_out),
        unclassified: add(one.unclassified, next.unclassified),
    }
}

/// Adds the requests. A median of two is not known, unless it is the same.
fn requests(one: &HopRequests, next: &HopRequests) -> HopRequests {
    if let Some(why) = one.unknown.as_ref().or(next.unknown.as_ref()) {
        return HopRequests::unknown(why);
    }
    let connections = |of: &HopRequests| {
        of.mean.filter(|mean| *mean > 0.0).zip(of.total).map(|(mean, total)| total as f64 / mean)
    };
    let total = [one.total, next.total].into_iter().flatten().reduce(u64::saturating_add);
    let all = [connections(one), connections(next)].into_iter().flatten().reduce(|a, b| a + b);
    HopRequests {
        total,
        mean: total.zip(all).map(|(total, all)| total as f64 / all),
        p50: one.p50.filter(|p50| next.p50 == Some(*p50)),
        max: one.max.max(next.max),
        unknown: None,
    }
}

fn time_waits(one: &TimeWaits, next: &TimeWaits) -> TimeWaits {
    let mut peak = one.peak;
    peak.at_least(next.peak);
    let mut entered = next.entered;
    entered.client = entered.client.saturating_add(one.entered.client).min(next.after.client);
    entered.server = entered.server.saturating_add(one.entered.server).min(next.after.server);
    TimeWaits {
        before: one.before,
        peak,
        peak_sum: one.peak_sum.max(next.peak_sum),
        after: next.after,
        entered,
    }
}

fn ports(one: &PortUse, next: &PortUse) -> PortUse {
    let rate = |ports: &PortUse| ports.forecast.map_or(0.0, |forecast| forecast.closes_per_second);
    PortUse {
        range: next.range.or(one.range),
        peak: one.peak.max(next.peak),
        after: next.after,
        forecast: if rate(one) > rate(next) { one.forecast } else { next.forecast },
    }
}
