//! The page of a load: verdict, assertions, figures, and a section for each question.

use keepwarm_record::assertion::AssertionOutcome;
use keepwarm_record::load::{HopRecord, LoadRecord, LostWorker, Merged, Part, Trust};
use keepwarm_record::numbers::{millis, share_of, thousands};
use serde_json::Value;

use super::figures::Figures;
use super::write::{Chart, Html, bar_cell, escape, text_cell};
use crate::show;

pub(super) fn body(record: &LoadRecord, value: &Value) -> Html {
    let mut html = Html::new();
    html.title(&show::load::outcome_sentence(record));
    html.of_kind("quiet what", &show::load::what(record));
    let figures = Figures::new(value, 0, "");
    verdict(&mut html, record);
    assertions(&mut html, record);
    if record.is_unreachable() {
        errors(&mut html, record, "0");
        settings(&mut html, record, &figures);
        return html;
    }
    tiles(&mut html, record, &figures);
    latency(&mut html, record, &figures, "0");
    capacity(&mut html, record);
    connections(&mut html, record, &figures, "0");
    hops(&mut html, record, "", value, "0");
    errors(&mut html, record, "0");
    details(&mut html, record);
    loader(&mut html, record, &figures);
    settings(&mut html, record, &figures);
    html
}

pub(super) fn verdict(html: &mut Html, record: &LoadRecord) {
    let verdict = &record.verdict;
    let (word, shade) = match verdict.trust {
        Trust::Trustworthy => ("The numbers are trustworthy", "good"),
        Trust::WithCare => ("Take the numbers with care", "care"),
        Trust::Invalid => ("The measurement is INVALID", "bad"),
    };
    let mut said = verdict.reasons.clone();
    said.push(verdict.evidence.clone());
    said.extend(record.merged.iter().flat_map(Merged::all_notes));
    html.verdict(shade, word, &said);
}

fn assertions(html: &mut Html, record: &LoadRecord) {
    if record.assertions.is_empty() {
        return;
    }
    let row = |one: &keepwarm_record::assertion::AssertionRecord| {
        let (mark, shade, rest) = match one.outcome {
            AssertionOutcome::Held => ("✓ holds", "good", &one.value),
            AssertionOutcome::Failed => ("✗ does not hold", "bad", &one.value),
            AssertionOutcome::NotAvailable => ("✗ could not be judged", "bad", &one.why),
        };
        vec![
            escape(&one.assertion),
            format!("<td class=\"text {shade}\">{mark}</td>"),
            text_cell(rest.as_deref().unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<String>> = record.assertions.iter().map(row).collect();
    html.table("Assertions", &["condition", "outcome", "value"], &rows);
}

pub(super) fn tiles(html: &mut Html, record: &LoadRecord, figures: &Figures<'_>) {
    let times = if record.settings.open_loop { "response_us" } else { "latency_us" };
    let what = if record.settings.open_loop { "response time" } else { "service time" };
    let path = |point: &str| format!("/{times}/{point}");
    let within = |point: &str| {
        let interval = figures.interval(&format!("/{times}/intervals/{point}"));
        if interval.is_empty() { String::new() } else { format!(", 95 % within {interval}") }
    };
    let mut tiles = vec![
        (figures.rate("/requests_per_second"), "requests completed".to_owned()),
        (figures.millis(&path("p50")), format!("p50, {what}{}", within("p50"))),
        (figures.millis(&path("p99")), format!("p99, {what}{}", within("p99"))),
        (figures.count("/requests/failed"), "requests failed".to_owned()),
        (figures.count("/connections/opened"), "connections opened".to_owned()),
        (figures.count("/connections/reused"), "requests on a reused connection".to_owned()),
    ];
    if record.requests.unsent > 0 {
        tiles.push((figures.count("/requests/unsent"), "requests never sent".to_owned()));
    }
    if record.http_errors.is_some() {
        tiles.push((figures.count("/http_errors"), "answered 4xx or 5xx".to_owned()));
    }
    html.raw("<ul class=\"tiles\">\n");
    for (figure, of) in tiles {
        html.raw(&format!("<li>{figure}<span class=\"of\">{of}</span></li>\n"));
    }
    html.raw("</ul>\n");
}

pub(super) fn latency(html: &mut Html, record: &LoadRecord, figures: &Figures<'_>, of: &str) {
    html.heading("Latency");
    let is_open = record.settings.open_loop;
    let what = if is_open {
        "Response times, from the instant a request was due,"
    } else {
        "Service times"
    };
    let says = format!(
        "{what} of each second: the darker, the more requests took that long. The lines are percentiles; \
         p99.9 needs 10,000 requests in a column."
    );
    html.chart(&Chart { name: "heat", of, title: "Latency by second", says: &says, more: "" });
    html.chart(&Chart {
        name: "curve",
        of,
        title: "Percentile curve",
        says: if is_open {
            "How long the slowest requests took. Service time begins with the first byte written, response \
             time when the request was due: their distance is the wait that a stall causes."
        } else {
            "How long the slowest requests took. A closed loop has service times alone: requests that wait \
             for a stall are not measured."
        },
        more: "",
    });
    let mut rows = vec![("service time", "/latency_us".to_owned())];
    let classes: Vec<(String, String)> = record
        .latency_us_by_class
        .keys()
        .map(|class| (format!("answered {class}"), format!("/latency_us_by_class/{class}")))
        .collect();
    rows.extend(classes.iter().map(|(label, path)| (label.as_str(), path.clone())));
    if is_open {
        rows.push(("response time", "/response_us".to_owned()));
        rows.push(("send lag", "/send_lag_us".to_owned()));
    }
    if record.connect_us.count > 0 {
        rows.push(("connect", "/connect_us".to_owned()));
    }
    if record.handshake_us.count > 0 {
        rows.push(("TLS handshake", "/handshake_us".to_owned()));
    }
    let row = |(label, path): (&str, String)| {
        let mut cells = vec![escape(label), figures.count(&format!("{path}/count"))];
        let points = ["min", "p50", "p90", "p99", "p999", "max"];
        cells.extend(points.map(|point| figures.millis(&format!("{path}/{point}"))));
        cells
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(row).collect();
    html.table("Times", &["", "count", "min", "p50", "p90", "p99", "p99.9", "max"], &rows);
}

fn capacity(html: &mut Html, record: &LoadRecord) {
    let Some(capacity) = &record.capacity else { return };
    html.heading("Capacity");
    html.paragraph(&capacity.sentence);
    let ms = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{} ms", millis(us)));
    let row = |step: &keepwarm_record::load::CapacityStep| {
        vec![
            format!("{:.0}/s", step.rate),
            format!("{:.0}/s", step.completed_per_second),
            ms(step.p50_us),
            ms(step.p99_us),
            format!("{:.2} %", step.errors_share * 100.0),
            text_cell(&step.outcome),
            text_cell(&step.why),
        ]
    };
    let rows: Vec<Vec<String>> = capacity.steps.iter().map(row).collect();
    let head = ["rate", "completed", "p50", "p99", "errors", "outcome", "because"];
    html.table("Steps of the search: latency against throughput", &head, &rows);
}

pub(super) fn connections(html: &mut Html, record: &LoadRecord, figures: &Figures<'_>, of: &str) {
    html.heading("Connections of the load");
    let says = "Connections opened and closed in each second, by the side that closed first. Where \
                connections are kept, both lines stay at the bottom after the start.";
    html.chart(&Chart { name: "connections", of, title: "Opened and closed", says, more: "" });
    let says = "Requests completed in each second, and those of them on a connection that had carried one \
                before.";
    html.chart(&Chart { name: "requests", of, title: "Requests and reuse", says, more: "" });
    let mut rows = vec![
        vec!["opened".to_owned(), figures.count("/connections/opened")],
        vec!["requests on a reused one".to_owned(), figures.count("/connections/reused")],
        vec!["closed by the peer's FIN".to_owned(), figures.count("/connections/peer_fin")],
        vec!["closed by the peer's RST".to_owned(), figures.count("/connections/peer_rst")],
        vec!["closed after a timeout".to_owned(), figures.count("/connections/timed_out")],
        vec!["still open at the end".to_owned(), figures.count("/connections/still_open")],
        vec![
            "requests per connection, mean".to_owned(),
            figures.decimal("/connections/requests_per_connection/mean"),
        ],
    ];
    for cause in record.connections.closed_by_us.keys() {
        let path = format!("/connections/closed_by_us/{}", pointer(cause));
        // A running load has them under one name.
        let why = if cause == "any" { String::new() } else { format!(": {cause}") };
        rows.insert(2, vec![escape(&format!("closed by the load{why}")), figures.count(&path)]);
    }
    html.table("Account of the connections", &["", "count"], &rows);
    let each = &record.connections.requests_per_connection.buckets;
    if !each.is_empty() {
        binned(html, "Requests per connection", each, thousands);
    }
    let lifetimes = &record.connections.lifetime_us.buckets;
    if !lifetimes.is_empty() {
        binned(html, "Lifetimes of those closed", lifetimes, |us| format!("{} ms", millis(us)));
    }
}

/// A part of a JSON pointer (RFC 6901).
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Buckets in bins that double, with a bar each.
fn binned(html: &mut Html, title: &str, buckets: &[(u64, u64)], show: impl Fn(u64) -> String) {
    let mut bins: Vec<(u64, u64, u64)> = Vec::new();
    for (value, count) in buckets {
        let from = if *value == 0 { 0 } else { 1 << value.ilog2() };
        match bins.last_mut().filter(|(there, ..)| *there == from) {
            Some((_, to, sum)) => {
                *to = *value;
                *sum = sum.saturating_add(*count);
            }
            None => bins.push((from, *value, *count)),
        }
    }
    let all = bins.iter().fold(0, |sum: u64, (_, _, count)| sum.saturating_add(*count));
    let most = bins.iter().map(|(_, _, count)| *count).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = bins
        .iter()
        .map(|(_, to, count)| {
            vec![
                format!("up to {}", escape(&show(*to))),
                thousands(*count),
                share_of(*count, all),
                bar_cell(*count, most),
            ]
        })
        .collect();
    html.table(title, &["", "connections", "share", ""], &rows);
}

/// Sections of the watched ports. `root` is the path of the load in its document.
pub(super) fn hops(html: &mut Html, record: &LoadRecord, root: &str, value: &Value, of: &str) {
    for (index, hop) in record.hops.iter().enumerate() {
        let whose = if hop.is_target { " (the target)" } else { "" };
        let part = hop.part.map(|part| format!(" of part {part}")).unwrap_or_default();
        let title = format!("Port {}{part}{whose}, by the kernel", hop.port);
        // A lab's finding is that of its upstream, and stands above it.
        if root.is_empty() {
            html.heading(&title);
            // A hop of a running load is not judged yet.
            if !hop.finding.code.is_empty() {
                finding(html, hop);
            }
        } else {
            html.subheading(&title);
        }
        let drained = hop.drain.map_or_else(String::new, |drain| {
            let ended = "The run ended where the shade begins; behind it the sockets drain";
            format!(" {ended}: {}.", drain.describe())
        });
        let says = format!(
            "Sockets of the port on this host. A TIME_WAIT stays for 60 s at the side that closed first, and \
             at a client holds a local port meanwhile.{drained}"
        );
        if !hop.samples.is_empty() {
            let more = format!("data-hop=\"{index}\"");
            html.chart(&Chart { name: "sockets", of, title: "Sockets", says: &says, more: &more });
        }
        let root = format!("{root}/hops/{index}");
        account(html, &Figures::new(value, 0, &root), hop.drain.is_some());
    }
}

fn finding(html: &mut Html, hop: &HopRecord) {
    let shade = if hop.finding.healthy { "good" } else { "bad" };
    let mut said = vec![hop.finding.sentences()];
    said.extend(
        hop.other_findings().into_iter().map(|one| format!("{}: {}", one.code, one.sentences())),
    );
    said.extend(hop.notes().into_iter().map(|note| format!("Note: {note}.")));
    said.extend(hop.doubts().into_iter().map(|doubt| format!("INVALID: {doubt}.")));
    html.verdict(shade, &hop.finding.code, &said);
}

fn account(html: &mut Html, figures: &Figures<'_>, is_drained: bool) {
    let rows = [
        ("opened", "/opened"),
        ("closed first by the client (FIN)", "/closed/client_fin"),
        ("closed first by the server (FIN)", "/closed/server_fin"),
        ("closed by both at once", "/closed/crossed_fin"),
        ("reset by the client", "/closed/client_rst"),
        ("reset by the server", "/closed/server_rst"),
        ("timed out", "/closed/timed_out"),
        ("not known by whom", "/closed/unclassified"),
        ("TIME_WAIT, client's side, at the peak", "/time_wait/peak/client"),
        ("TIME_WAIT, client's side, after", "/time_wait/after/client"),
        ("TIME_WAIT, server's side, at the peak", "/time_wait/peak/server"),
        ("TIME_WAIT, server's side, after", "/time_wait/after/server"),
        ("in CLOSE_WAIT at the end, client", "/close_wait/client"),
        ("in CLOSE_WAIT at the end, server", "/close_wait/server"),
        ("local ports held at the peak", "/ports/peak"),
        ("local ports that there are", "/ports/range"),
    ];
    let row = |(label, path): (&str, &str)| vec![escape(label), figures.count(path)];
    let mut rows: Vec<Vec<String>> = rows.map(row).into();
    if is_drained {
        rows.push(row(("TIME_WAIT, client's side, after the drain", "/drain/left/client")));
        rows.push(row(("TIME_WAIT, server's side, after the drain", "/drain/left/server")));
        rows.push(vec![
            "the last TIME_WAIT was gone after".to_owned(),
            figures.seconds("/drain/emptied_after_s"),
        ]);
    }
    rows.insert(
        1,
        vec!["requests per connection, mean".to_owned(), figures.decimal("/requests/mean")],
    );
    html.table("The kernel's account", &["", "sockets"], &rows);
}

pub(super) fn errors(html: &mut Html, record: &LoadRecord, of: &str) {
    if record.errors() == 0 {
        return;
    }
    html.heading("Errors");
    let says = "Failed requests by class, and responses that are 4xx or 5xx, in each second.";
    html.chart(&Chart { name: "errors", of, title: "Errors by second", says, more: "" });
    let row = |error: &keepwarm_record::load::ErrorRecord| {
        let errno = error.errno.as_ref().map(|errno| format!(" ({errno})")).unwrap_or_default();
        vec![
            escape(&format!("{}{errno}", error.class)),
            thousands(error.count),
            format!("{:.2} s", error.first_s),
            format!("{:.2} s", error.last_s),
            text_cell(&error.example),
            text_cell(error.hint.as_deref().unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<String>> = record.errors.iter().map(row).collect();
    if !rows.is_empty() {
        html.table(
            "Failed requests",
            &["class", "count", "first", "last", "example", "hint"],
            &rows,
        );
    }
    let rows: Vec<Vec<String>> = record
        .statuses
        .iter()
        .map(|(status, count)| {
            vec![status.to_string(), thousands(*count), share_of(*count, record.ended())]
        })
        .collect();
    html.table("Complete responses by status", &["status", "count", "share"], &rows);
}

/// Rows by request and by address, expectations, and single requests worth a look.
fn details(html: &mut Html, record: &LoadRecord) {
    let p = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{} ms", millis(us)));
    if !record.by_request.is_empty() {
        html.heading("By request");
        let row = |row: &keepwarm_record::load::RequestRow| {
            let times = &row.latency_us;
            vec![
                escape(&row.name),
                thousands(row.completed),
                thousands(row.failed),
                thousands(row.http_errors),
                p(times.p50),
                p(times.p99),
            ]
        };
        let rows: Vec<Vec<String>> = record.by_request.iter().map(row).collect();
        html.table(
            "Requests by name",
            &["name", "completed", "failed", "4xx, 5xx", "p50", "p99"],
            &rows,
        );
    }
    if !record.by_address.is_empty() {
        html.heading("By address");
        let row = |row: &keepwarm_record::load::AddressRow| {
            let times = &row.latency_us;
            vec![
                escape(&row.address),
                thousands(row.opened),
                thousands(row.completed),
                thousands(row.failed),
                p(times.p50),
                p(times.p99),
            ]
        };
        let rows: Vec<Vec<String>> = record.by_address.iter().map(row).collect();
        html.table(
            "Requests by address",
            &["address", "opened", "completed", "failed", "p50", "p99"],
            &rows,
        );
    }
    if !record.expectations.is_empty() {
        html.heading("Expectations");
        let row = |one: &keepwarm_record::load::ExpectationRecord| {
            vec![
                escape(&one.expectation),
                thousands(one.misses),
                text_cell(one.example.as_deref().unwrap_or_default()),
            ]
        };
        let rows: Vec<Vec<String>> = record.expectations.iter().map(row).collect();
        html.table("Responses that missed", &["expectation", "misses", "first miss"], &rows);
    }
    for (title, requests) in
        [("Slowest requests", &record.slowest), ("First failures", &record.first_failures)]
    {
        if requests.is_empty() {
            continue;
        }
        html.heading(title);
        let row = |one: &keepwarm_record::load::NotableRequest| {
            let answer = one.status.map(|status| status.to_string());
            let answer = answer.or_else(|| one.class.clone()).unwrap_or_default();
            vec![
                format!("{:.3} s", one.at_s),
                p(Some(one.service_us)),
                text_cell(&one.request),
                text_cell(&answer),
                one.connection.to_string(),
                one.nth.to_string(),
                text_cell(one.traceparent.as_deref().unwrap_or_default()),
            ]
        };
        let rows: Vec<Vec<String>> = requests.iter().map(row).collect();
        html.table(
            title,
            &[
                "at",
                "service time",
                "request",
                "answer",
                "connection",
                "its nth request",
                "traceparent",
            ],
            &rows,
        );
    }
}

fn loader(html: &mut Html, record: &LoadRecord, figures: &Figures<'_>) {
    html.heading("The load itself");
    html.paragraph(&record.verdict.evidence);
    let says = "Processor time of the load as a share of a core. A loader without processor time to spare \
                measures itself.";
    html.chart(&Chart { name: "loader", of: "0", title: "Load on the loader", says, more: "" });
    let rows = vec![
        vec!["threads".to_owned(), figures.count("/loader/threads")],
        vec!["busiest thread".to_owned(), figures.share("/loader/busiest_share")],
        vec!["waited for a core".to_owned(), figures.share("/loader/waited_share")],
        vec!["lateness, p99".to_owned(), figures.millis("/loader/lateness_us/p99")],
        vec!["noticed late, p99".to_owned(), figures.millis("/loader/lag_us/p99")],
    ];
    html.table("What the load used", &["", ""], &rows);
}

fn settings(html: &mut Html, record: &LoadRecord, figures: &Figures<'_>) {
    html.heading("Settings and machine");
    let (settings, machine) = (&record.settings, &record.machine);
    let mut rows = vec![
        vec!["URL".to_owned(), text_cell(&settings.url)],
        vec!["method".to_owned(), text_cell(&settings.method)],
        vec!["loop".to_owned(), text_cell(if settings.open_loop { "open" } else { "closed" })],
        vec!["connections".to_owned(), figures.count("/settings/concurrency")],
        vec!["threads".to_owned(), figures.count("/settings/threads")],
        vec!["requests asked for".to_owned(), figures.count("/settings/requests")],
        vec!["duration asked for".to_owned(), figures.seconds("/settings/duration_s")],
        vec!["rate".to_owned(), figures.decimal("/settings/schedule/rate")],
        vec!["keep-alive".to_owned(), text_cell(if settings.keep_alive { "yes" } else { "no" })],
        vec!["time limit".to_owned(), figures.seconds("/settings/timeout_s")],
        vec!["addresses".to_owned(), text_cell(&settings.addresses.join(", "))],
        vec!["server".to_owned(), text_cell(&known(&record.server))],
        vec!["keepwarm".to_owned(), text_cell(&machine.version)],
        vec!["kernel".to_owned(), text_cell(&known(&machine.kernel))],
        vec!["processor".to_owned(), text_cell(&known(&machine.processor))],
        vec!["cores".to_owned(), figures.count("/machine/cores")],
    ];
    for (key, label) in &record.labels {
        rows.push(vec![escape(&format!("label {key}")), text_cell(label)]);
    }
    if !record.command.is_empty() {
        rows.push(vec!["command".to_owned(), text_cell(&record.command.join(" "))]);
    }
    html.table("Settings and machine", &["", ""], &rows);
    if let Some(merged) = &record.merged {
        parts(html, merged);
    }
}

fn known(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "not known".to_owned())
}

/// The parts of a merged record, and the workers that a fleet lost.
fn parts(html: &mut Html, merged: &Merged) {
    let row = |(index, part): (usize, &Part)| {
        let began = part.began_us.map(|micros| format!("{:+.1} ms", micros as f64 / 1e3));
        vec![
            (index + 1).to_string(),
            text_cell(&known(&part.worker)),
            thousands(part.completed),
            text_cell(&known(&began)),
            format!("{:.2} s", part.elapsed_s),
            text_cell(&known(&part.machine.boot_id)),
        ]
    };
    let rows: Vec<Vec<String>> = merged.parts.iter().enumerate().map(row).collect();
    let heads = ["part", "worker", "completed", "began", "took", "boot id"];
    html.table("Parts", &heads, &rows);
    let lost = merged.fleet.iter().flat_map(|fleet| &fleet.lost);
    let row = |one: &LostWorker| {
        vec![text_cell(&one.worker), format!("{:.1} s", one.at_s), text_cell(&one.why)]
    };
    let rows: Vec<Vec<String>> = lost.map(row).collect();
    if !rows.is_empty() {
        html.table("Lost workers", &["worker", "lost at", "why"], &rows);
    }
}
