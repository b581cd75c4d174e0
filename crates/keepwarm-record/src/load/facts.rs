//! Facts: the value that the record of a load has for each name that can be asserted on.

use super::{Distribution, HopRecord, LoadRecord};
use crate::assertion::Fact;
use crate::fold::SAMPLES_FOR_P999;

/// Returns the value of a name, or the reason why the record has none.
#[must_use]
pub fn fact(record: &LoadRecord, name: &str) -> Fact {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    match (first, rest) {
        ("rps", "") if record.elapsed_s > 0.0 => Fact::Known(record.requests_per_second),
        ("rps", "") => Fact::Absent("no time passed".to_owned()),
        ("connect", point) => of_times(&record.connect_us, point, "connection was opened"),
        ("handshake", point) => of_times(&record.handshake_us, point, "TLS handshake was made"),
        ("requests", _) => requests(record, rest),
        ("errors", _) => errors(record, rest),
        ("http_errors", "") => Fact::count(record.http_errors()),
        ("http_errors", "share") => share(record.http_errors(), record.ended()),
        ("misses", "") => misses(record, Fact::count),
        ("misses", "share") => misses(record, |misses| share(misses, record.ended())),
        ("status", _) => status(record, rest),
        ("streams", _) => streams(record, rest),
        ("conn", _) => connections(record, rest),
        ("lifetime", point) => {
            of_times(&record.connections.lifetime_us, point, "connection ended within the run")
        }
        ("hop", _) => hop(record, rest),
        ("loader", "cpu") => record
            .loader
            .cpu_share
            .map_or_else(|| Fact::Absent("no time passed".to_owned()), Fact::Known),
        ("service", point) => service(record, point),
        ("response", point) => response(record, point),
        ("lag", point) => of_open_loop(record, &record.send_lag_us, point),
        _ if record.settings.open_loop => response(record, name),
        _ => service(record, name),
    }
}

/// A point of times that count from the instants requests were due.
fn of_open_loop(record: &LoadRecord, times: &Distribution, point: &str) -> Fact {
    if !record.settings.open_loop {
        return Fact::Absent("a closed loop has no instants to count from: give --rate".to_owned());
    }
    of_times(times, point, "request completed")
}

fn service(record: &LoadRecord, point: &str) -> Fact {
    if is_beyond(point, record.without_answer(), record.requests.completed) {
        return no_answer(record.without_answer(), "had no answer in time");
    }
    of_times(&record.latency_us, point, "request completed")
}

/// A point of response times. Requests of an open loop that were never sent have waited too.
fn response(record: &LoadRecord, point: &str) -> Fact {
    let endless = record.without_answer() + record.requests.unsent;
    if record.settings.open_loop && is_beyond(point, endless, record.requests.completed) {
        return no_answer(endless, "had no answer in time, or were never sent");
    }
    of_open_loop(record, &record.response_us, point)
}

/// Returns true if a point of all requests lies among the `endless` ones, whose times are known
/// only to be long.
fn is_beyond(point: &str, endless: u64, completed: u64) -> bool {
    let share = match point {
        "max" => 1.0,
        _ => point.strip_prefix('p').and_then(|p| p.parse::<f64>().ok()).map_or(0.0, |p| p / 100.0),
    };
    let all = (endless + completed) as f64;
    completed > 0 && (all * share).ceil() > completed as f64
}

fn no_answer(endless: u64, what: &str) -> Fact {
    Fact::Absent(format!("it lies among the {endless} requests that {what}"))
}

fn of_times(times: &Distribution, point: &str, sample: &str) -> Fact {
    match times.point(point) {
        Some(value) => Fact::Known(value),
        None if times.count == 0 => Fact::Absent(format!("no {sample}")),
        None if point == "p99.9" => Fact::Absent(format!(
            "{} samples are too few to name it: it takes {SAMPLES_FOR_P999}",
            times.count
        )),
        None => unknown(point),
    }
}

fn requests(record: &LoadRecord, name: &str) -> Fact {
    let requests = &record.requests;
    Fact::count(match name {
        "scheduled" => requests.scheduled,
        "completed" => requests.completed,
        "failed" => requests.failed,
        "unsent" => requests.unsent,
        _ => return unknown(name),
    })
}

fn errors(record: &LoadRecord, name: &str) -> Fact {
    let class = match name {
        "" => return Fact::count(record.errors()),
        "share" => return share(record.errors(), record.ended()),
        "refused" => "econnrefused",
        class => class,
    };
    let of_class = record.errors.iter().filter(|error| {
        let errno = error.errno.as_deref();
        error.class == class || errno.is_some_and(|errno| errno.eq_ignore_ascii_case(class))
    });
    Fact::count(of_class.map(|error| error.count).sum())
}

/// A value made of the misses, if there were expectations to miss.
fn misses(record: &LoadRecord, of: impl Fn(u64) -> Fact) -> Fact {
    let none = || Fact::Absent("no expectation was given: --expect gives one".to_owned());
    record.misses.map_or_else(none, of)
}

fn share(errors: u64, ended: u64) -> Fact {
    match ended {
        0 => Fact::Absent("no request completed or failed".to_owned()),
        ended => Fact::Known(errors as f64 / ended as f64),
    }
}

fn status(record: &LoadRecord, code: &str) -> Fact {
    let asked = |status: u16| match code.strip_suffix("xx") {
        Some(kind) => kind.parse() == Ok(status / 100),
        None => code.parse() == Ok(status),
    };
    let counts = record.statuses.iter().filter(|(status, _)| asked(**status));
    Fact::count(counts.map(|(_, count)| count).sum())
}

fn connections(record: &LoadRecord, name: &str) -> Fact {
    let connections = &record.connections;
    let per_connection = &connections.requests_per_connection;
    let none = || Fact::Absent("no connection was opened".to_owned());
    Fact::count(match name {
        "opened" => connections.opened,
        "failed" => connections.failed.values().sum::<u64>() + connections.timed_out_connecting,
        "reused" => connections.reused,
        "closed" => connections.opened.saturating_sub(connections.still_open),
        "closed_by_us" => connections.closed_by_us_total(),
        "peer_fin" => connections.peer_fin,
        "peer_rst" => connections.peer_rst,
        "timed_out" => connections.timed_out,
        "still_open" => connections.still_open,
        "requests.mean" => return per_connection.mean.map_or_else(none, Fact::Known),
        "requests.min" => return per_connection.min.map_or_else(none, Fact::count),
        "requests.max" => return per_connection.max.map_or_else(none, Fact::count),
        _ => return unknown(name),
    })
}

/// A count of the streams of HTTP/2.
fn streams(record: &LoadRecord, name: &str) -> Fact {
    let Some(streams) = &record.connections.streams else {
        return Fact::Absent("HTTP/1.1 has no streams: --http2 has".to_owned());
    };
    let none = || Fact::Absent("no connection was opened".to_owned());
    Fact::count(match name {
        "refused" => streams.refused,
        "reset" => streams.reset,
        "unprocessed" => streams.unprocessed,
        "sent_again" => streams.sent_again,
        "cancelled" => streams.cancelled,
        "goaway" => streams.goaways,
        "connections" => streams.opened_for_streams,
        "at_once.mean" => return streams.at_once.mean.map_or_else(none, Fact::Known),
        "at_once.min" => return streams.at_once.min.map_or_else(none, Fact::count),
        "at_once.max" => return streams.at_once.max.map_or_else(none, Fact::count),
        _ => return unknown(name),
    })
}

fn hop(record: &LoadRecord, rest: &str) -> Fact {
    let (port, name) = rest.split_once('.').unwrap_or((rest, ""));
    let watched: Vec<&HopRecord> =
        record.hops.iter().filter(|hop| port.parse() == Ok(hop.port)).collect();
    match watched[..] {
        [] => Fact::Absent(format!(
            "the load did not watch port {port}: `keepwarm load --watch {port}` does"
        )),
        [hop] => of_hop(hop, name),
        [..] => of_machines(&watched, name),
    }
}

/// A fact of one port on several machines, in a merged record. Counts add. A peak, a share or a
/// maximum is the greatest of one machine: peaks of two machines need not be at one time.
fn of_machines(hops: &[&HopRecord], name: &str) -> Fact {
    if name == "requests.mean" {
        return Fact::Absent("a mean of several machines is not kept".to_owned());
    }
    let greatest = ["requests.max", "ports.peak", "ports.share"].contains(&name)
        || name.starts_with("time_wait.peak");
    let mut whole: Option<f64> = None;
    for hop in hops {
        match of_hop(hop, name) {
            Fact::Known(value) if greatest => {
                whole = Some(whole.map_or(value, |all| all.max(value)))
            }
            Fact::Known(value) => whole = Some(whole.unwrap_or(0.0) + value),
            absent @ Fact::Absent(_) => return absent,
        }
    }
    whole.map_or_else(|| unknown(name), Fact::Known)
}

fn of_hop(hop: &HopRecord, name: &str) -> Fact {
    let (closed, requests) = (&hop.closed, &hop.requests);
    let unknown_range = || Fact::Absent("the range of local ports is not known".to_owned());
    Fact::count(match name {
        "opened" => hop.opened,
        "closed" => closed.total(),
        "closed_by_client" => closed.client_fin,
        "closed_by_server" => closed.server_fin,
        "closed_at_once" => closed.crossed_fin,
        "reset" => closed.reset(),
        "reset_by_client" => closed.client_rst,
        "reset_by_server" => closed.server_rst,
        "established" => hop.established.client.max(hop.established.server),
        "close_wait" => hop.close_wait.sum(),
        "requests" => return of_requests(hop, requests.total.map(|total| total as f64)),
        "requests.mean" => return of_requests(hop, requests.mean),
        "requests.max" => return of_requests(hop, requests.max.map(|max| max as f64)),
        "ports.peak" => hop.ports.peak,
        "ports.share" => return hop.port_share().map_or_else(unknown_range, Fact::Known),
        name => return time_waits(hop, name),
    })
}

fn of_requests(hop: &HopRecord, value: Option<f64>) -> Fact {
    let none = || "no connection carried a request".to_owned();
    value.map_or_else(
        || Fact::Absent(hop.requests.unknown.clone().unwrap_or_else(none)),
        Fact::Known,
    )
}

/// TIME_WAITs, such as `time_wait.peak` and `time_wait.peak.client`.
fn time_waits(hop: &HopRecord, name: &str) -> Fact {
    let mut parts = name.split('.').skip(1);
    let waits = &hop.time_wait;
    let sides = match parts.next() {
        Some("before") => waits.before,
        Some("peak") => waits.peak,
        Some("after") => waits.after,
        _ => return unknown(name),
    };
    Fact::count(match (parts.next(), name) {
        (Some("client"), _) => sides.client,
        (Some("server"), _) => sides.server,
        (_, "time_wait.peak") => waits.peak_sum,
        _ => sides.sum(),
    })
}

/// A name of the table that has no fact here. A test proves that there is none.
fn unknown(name: &str) -> Fact {
    Fact::Absent(format!("{name} is not measured by this command"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::a_run;
    use super::*;
    use crate::assertion::{every_name, parse};

    #[test]
    fn every_name_has_a_fact_or_reason() {
        let record = a_run();
        for name in every_name() {
            if let Fact::Absent(why) = fact(&record, name.as_str()) {
                assert!(!why.contains("not measured by this command"), "{}", name.as_str());
            }
        }
    }

    #[test]
    fn percentiles_among_unanswered_requests_are_unknown() {
        let mut record = a_run();
        let with = |record: &mut LoadRecord, text: &str| {
            record.judge(&[parse(text).expect(text)]);
            record.assertions[0].outcome
        };
        use crate::assertion::AssertionOutcome::{Held, NotAvailable};
        assert_eq!(with(&mut record, "max < 1h"), Held);
        record.errors.push(super::super::tests::an_error("unanswered", 3));
        // The 99th percentile of 103 requests is the 102nd, and its time is not known.
        for (text, outcome) in
            [("p95 < 1h", Held), ("p99 < 1h", NotAvailable), ("max < 1h", NotAvailable)]
        {
            assert_eq!(with(&mut record, text), outcome, "{text}");
        }
        assert_eq!(with(&mut record, "mean < 1h"), Held, "the mean is of completed requests");
        record.settings.open_loop = true;
        record.response_us = record.latency_us.clone();
        assert_eq!(with(&mut record, "p90 < 1h"), Held);
        record.requests.unsent = 20;
        assert_eq!(with(&mut record, "p90 < 1h"), NotAvailable);
        assert_eq!(with(&mut record, "service.p90 < 1h"), Held, "unsent requests had no service");
    }

    #[test]
    fn error_statuses_are_errors() {
        let mut record = a_run();
        record.statuses = [(200, 20), (404, 30), (502, 50)].into();
        for text in
            ["errors == 80", "http_errors == 80", "errors.share == 80%", "http_errors.share == 80%"]
        {
            record.judge(&[parse(text).expect(text)]);
            assert_eq!(record.assertions[0].outcome, crate::assertion::AssertionOutcome::Held);
        }
        record.judge(&[parse("errors==0").expect("an assertion")]);
        assert_eq!(record.assertions[0].outcome, crate::assertion::AssertionOutcome::Failed);
    }

    #[test]
    fn facts_equal_the_record() {
        let mut record = a_run();
        let assertions: Vec<_> = [
            "requests.completed == 100",
            "conn.opened == 4",
            "conn.closed == 0",
            "conn.requests.mean == 25",
            "status.200 == 100",
            "status.2xx == 100",
            "status.5xx == 0",
            "errors == 0",
            "errors.refused == 0",
            "errors.share == 0%",
            "p50 > 0us",
            "connect.max > 0us",
            "rps > 0",
        ]
        .map(|text| parse(text).expect(text))
        .into();
        record.judge(&assertions);
        for one in &record.assertions {
            assert_eq!(one.outcome, crate::assertion::AssertionOutcome::Held, "{one:?}");
        }
        record.judge(&[parse("p99.9 < 1h").expect("an assertion")]);
        let outcome = record.assertions[0].outcome;
        assert_eq!(outcome, crate::assertion::AssertionOutcome::NotAvailable);
    }
}
