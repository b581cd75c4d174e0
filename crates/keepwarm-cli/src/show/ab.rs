//! The text of a load in the layout of ApacheBench's report, for people and scripts that know it.
//!
//! The labels are ab's; the numbers are this engine's. Times are whole milliseconds, as in ab. Rows
//! of ab that this engine does not measure apart are left out.

use keepwarm_record::load::{Distribution, LoadRecord};

use super::printable;

/// The rows of ab's percentile table.
const PERCENTILES: [f64; 9] = [0.50, 0.66, 0.75, 0.80, 0.90, 0.95, 0.98, 0.99, 1.0];

pub(crate) fn render(record: &LoadRecord) -> String {
    let (settings, requests) = (&record.settings, &record.requests);
    let seconds = record.elapsed_s;
    let rate = record.requests_per_second;
    let per_request = if rate > 0.0 { 1000.0 / rate } else { 0.0 };
    let non_2xx: u64 = record
        .statuses
        .iter()
        .filter(|(status, _)| !(200..300).contains(*status))
        .map(|(_, count)| count)
        .sum();
    let mut lines = vec![
        ("Server Software:", printable(record.server.as_deref().unwrap_or_default()).into_owned()),
        ("Server Hostname:", settings.host.clone()),
        ("Server Port:", settings.port.to_string()),
        ("", String::new()),
        ("Document Path:", settings.path.clone()),
        ("Document Length:", format!("{} bytes", record.document_length.unwrap_or(0))),
        ("", String::new()),
        ("Concurrency Level:", settings.concurrency.to_string()),
        ("Time taken for tests:", format!("{seconds:.3} seconds")),
        ("Complete requests:", requests.completed.to_string()),
        ("Failed requests:", requests.failed.to_string()),
    ];
    if requests.failed > 0 {
        lines.push(("", failures(record)));
    }
    if non_2xx > 0 {
        lines.push(("Non-2xx responses:", non_2xx.to_string()));
    }
    if settings.keep_alive {
        lines.push(("Keep-Alive requests:", record.connections.reused.to_string()));
    }
    lines.extend([
        ("Total transferred:", format!("{} bytes", record.bytes.read)),
        ("HTML transferred:", format!("{} bytes", record.bytes.content)),
        ("Requests per second:", format!("{rate:.2} [#/sec] (mean)")),
        (
            "Time per request:",
            format!("{:.3} [ms] (mean)", per_request * settings.concurrency as f64),
        ),
        (
            "Time per request:",
            format!("{per_request:.3} [ms] (mean, across all concurrent requests)"),
        ),
        (
            "Transfer rate:",
            format!("{:.2} [Kbytes/sec] received", record.bytes.read as f64 / 1024.0 / seconds),
        ),
    ]);
    let head: String = lines
        .iter()
        .map(|(label, value)| {
            // ab's indent of a line without a label.
            let width = if label.is_empty() { 3 } else { 24 };
            format!("{label:<width$}{value}").trim_end().to_owned() + "\n"
        })
        .collect();
    // In an open loop, times count from the instants at which requests were due.
    let served = if settings.open_loop { &record.response_us } else { &record.latency_us };
    format!("\n{head}\n{}\n{}", times(record), percentages(served))
}

/// ab's second line on failures: no connection, no or half an answer, a body of another length
/// (which is not a failure here), and all others.
fn failures(record: &LoadRecord) -> String {
    let of = |classes: &[&str]| -> u64 {
        let errors = record.errors.iter();
        let errors = errors.filter(|error| classes.contains(&error.class.as_str()));
        errors.map(|error| error.count).sum()
    };
    let connect = of(&["connect", "connect_timeout", "tls"]);
    let receive = of(&[
        "reset_before_response",
        "reset_within_response",
        "eof_on_new",
        "eof_on_reused",
        "eof_within_response",
        "read",
    ]);
    let rest = record.requests.failed.saturating_sub(connect + receive);
    format!("(Connect: {connect}, Receive: {receive}, Length: 0, Exceptions: {rest})")
}

fn times(record: &LoadRecord) -> String {
    let mut text =
        String::from("Connection Times (ms)\n              min  mean[+/-sd] median   max\n");
    for (label, times) in [("Connect:", &record.connect_us), ("Processing:", &record.latency_us)] {
        let millis = |micros: Option<u64>| micros.unwrap_or(0) / 1000;
        text.push_str(&format!(
            "{label:<12}{:>5}{:>5.0}{:>7.1}{:>7}{:>8}\n",
            millis(times.min),
            times.mean.unwrap_or(0.0) / 1000.0,
            times.std_dev.unwrap_or(0.0) / 1000.0,
            millis(times.p50),
            millis(times.max),
        ));
    }
    text
}

fn percentages(latency: &Distribution) -> String {
    let mut text = String::from("Percentage of the requests served within a certain time (ms)\n");
    for quantile in PERCENTILES {
        let micros = if quantile < 1.0 { latency.quantile(quantile) } else { latency.max };
        let millis = (micros.unwrap_or(0) as f64 / 1000.0).round();
        let longest = if quantile < 1.0 { "" } else { " (longest request)" };
        text.push_str(&format!("{:>5.0}%{millis:>7}{longest}\n", quantile * 100.0));
    }
    text
}
